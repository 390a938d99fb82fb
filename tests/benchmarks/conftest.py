"""Benchmarks: timings, never a pass or fail. Fixtures: rows, measuring in pairs, the C limit.

    python -m pytest -m benchmark tests/benchmarks           (ten minutes; -k for some of them)
    python -m tests.benchmarks.table results/benchmarks.json

$REGDYN_BENCH_OUT names another file, $REGDYN_BENCH_SCALE=0.01 makes a quick check of all of it.
To compile the engine for the vectors of limit.c: NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES=+avx2
(the name alone is not enough: it leaves AVX-512 on).
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from .machine import cpu
from .measure import ROUNDS, Rows

BUILDS = {"limit": ["-mavx2", "-mfma"], "limit-without-fma": ["-mavx2", "-ffp-contract=off"]}


@pytest.fixture(scope="session")
def rows():
    """Rows of the run, written when it ends."""
    found = Rows()
    yield found
    if found.rows:
        found.write()


@pytest.fixture
def pairs(benchmark, rows):
    """Function that times `ours` in turns with others, and adds a row for each of them.

    An other is a function that returns its own rate. The clock is that of the benchmark's marker.
    """

    def measure(name, ours, amount, unit, others, *, goal=""):
        rates = {against: [] for against in others}

        def before_each_round():
            for against, other in others.items():
                rates[against].append(other())

        benchmark.pedantic(ours, setup=before_each_round, rounds=ROUNDS)
        ours_ = [amount / s for s in benchmark.stats.stats.data]
        for against, theirs in rates.items():
            rows.compare(name, ours_, theirs, unit, against=against, goal=goal)
            goal = ""  # that of the first

    return measure


@pytest.fixture(scope="session")
def limit(tmp_path_factory):
    """Function (build, kernel, lanes, steps) -> what limit.c prints."""
    missing = [flag for flag in ("avx2", "fma") if flag not in cpu("flags").split()]
    if shutil.which("cc") is None or missing:
        pytest.skip(f"limit.c needs a C compiler (cc) and a processor with {missing or 'AVX2'}.")
    folder, source = tmp_path_factory.mktemp("limit"), Path(__file__).with_name("limit.c")
    for name, flags in BUILDS.items():
        command = ["cc", "-O3", *flags, str(source), "-lm", "-o", str(folder / name)]
        subprocess.run(command, check=True, timeout=120)

    def run(build, kernel, lanes, steps):
        command = [str(folder / build), kernel, str(lanes), str(steps)]
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
        return json.loads(found.stdout)

    return run
