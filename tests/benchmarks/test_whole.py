"""Whole jobs and whole processes: threads, the typical job, memory, the command line, compiling."""

import os
import resource
import subprocess
import sys
import time

import pytest

from regdyn import kernels

from .measure import LANES, RATE, ROUNDS, SCALE, STEPS, STRENGTHS, run, scaled, seconds, warm_up

pytestmark = pytest.mark.benchmark(timer=time.process_time)

TYPICAL = {"lam": STRENGTHS, "lanes": 1000, "record": None, "statistics": "full"}
COMMAND = ["-m", "regdyn.sim", "--opt", "adam", "--reg", "l2"]
MEMORY = """
import sys
from regdyn import simulate
simulate("adam", "l2", 1e-4, lanes=int(sys.argv[1]), steps=10_000, record=100, engine="compiled")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
COMPILE = """
from regdyn import gradients, rules, simulate
for process in gradients.GRADIENTS.values():
    if process is not gradients.Tape:
        simulate(list(rules.RULES), gradient=process(), steps=8, lanes=64, engine="compiled")
for rule in rules.RULES:
    simulate(rule, gradient=gradients.Tape([[0.0] * 64] * 8), steps=8, lanes=64, engine="compiled")
"""


def python(*arguments, **environment):
    """Run a Python process; its output, wall and CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, *map(str, arguments)]
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.benchmark(timer=time.perf_counter)
def test_two_threads_against_one(pairs, rows):
    """By the clock on the wall, and by CPU time, which other jobs on the machine disturb less."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two threads need two cores.")
    warm_up()
    amount, cpu = scaled(LANES) * STEPS, {1: [], 2: []}

    def work(threads):
        cpu[threads].append(amount / seconds(lambda: run(threads=threads)))

    def one():
        return amount / seconds(lambda: work(1), time.perf_counter)

    name = "two threads"
    pairs(name, lambda: work(2), amount, f"{RATE} of wall time", {"one thread": one}, goal=">= 1.9")
    rows.compare(name, cpu[2], cpu[1], f"{RATE} of CPU time", against="one thread", goal="1")


def test_typical_job_against_its_kernel(benchmark, rows, monkeypatch):
    """The whole of `simulate` against the time in `kernels.advance` during the same call."""
    warm_up(**TYPICAL)
    advance, inside, kernel = kernels.advance, [], []

    def timed(*arguments):
        inside.append(seconds(lambda: advance(*arguments)))

    def job():
        inside.clear()
        run(**TYPICAL)
        kernel.append(sum(inside))

    monkeypatch.setattr(kernels, "advance", timed)
    benchmark.pedantic(job, rounds=ROUNDS)
    name, data = "typical job: 7 strengths x 1000 lanes x 20,000 steps", benchmark.stats.stats.data
    rows.compare(name, data, kernel, "s of CPU", against="its kernel alone", goal="<= 1.3")


@pytest.mark.benchmark(timer=time.perf_counter)
def test_memory_of_a_million_lanes(benchmark, rows):
    """Of a process of its own. (The maximum in getrusage is inherited from the parent.)"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc.")
    lanes = scaled(1_000_000)
    found = benchmark.pedantic(lambda: int(python("-c", MEMORY, lanes)[0]) / 1024, rounds=1)
    name = f"peak memory: {lanes:,} lanes x 10,000 steps, recorded every 100"
    rows.add(name, [found], "MiB resident", goal="< 1024")


def measure_processes(benchmark, rows, name, work, rounds, goal):
    """Wall and CPU seconds of a process, in two rows."""
    times = []
    benchmark.pedantic(lambda: times.append(work()[1:]), rounds=rounds)
    wall, cpu = zip(*times, strict=True)
    rows.add(name, wall, "s", goal=goal)
    rows.add(name, cpu, "s of CPU")


@pytest.mark.benchmark(timer=time.perf_counter)
def test_help(benchmark, rows):
    command = ["-m", "regdyn.sim", "--help"]
    measure_processes(benchmark, rows, "--help", lambda: python(*command), ROUNDS, "<= 0.7")


@pytest.mark.benchmark(timer=time.perf_counter)
def test_command_line(benchmark, rows, tmp_path):
    def work():
        return python(*COMMAND, "--out", tmp_path)

    work()
    name = "python -m regdyn.sim --opt adam --reg l2, compiled before"
    measure_processes(benchmark, rows, name, work, ROUNDS, "<= 2")


@pytest.mark.benchmark(timer=time.perf_counter)
def test_first_run_ever(benchmark, rows, tmp_path_factory):
    def work():
        folder = tmp_path_factory.mktemp("first")
        return python(*COMMAND, "--out", folder / "out", REGDYN_CACHE=str(folder / "cache"))

    name = "python -m regdyn.sim --opt adam --reg l2, first ever"
    measure_processes(benchmark, rows, name, work, 3 if SCALE >= 1 else 1, "<= 15")


@pytest.mark.benchmark(timer=time.perf_counter)
def test_compile_everything(benchmark, rows, tmp_path):
    """All rules under all processes, with nothing compiled before."""
    *_, cpu = benchmark.pedantic(
        lambda: python("-c", COMPILE, REGDYN_CACHE=str(tmp_path)), rounds=1
    )
    variants = len(list(tmp_path.rglob("*.nbc")))
    rows.add("compiling all rules x all processes", [cpu], "s of CPU", goal="<= 120")
    rows.add("compiled functions, all rules x all processes", [variants], "variants", goal="<= 60")
