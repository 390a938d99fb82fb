"""Sweeps: many runs, each once, whatever happens to one of them; the table and the picture.

Most tests put a small script in the place of training, which does as its seed says.
"""

import json
import math
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cnn import child, recipes, sweep_report
from cnn.config import Config, ModelConfig, OptimConfig
from cnn.sweep import Run, cores, main, sweep

FAILS, KILLED, STOPPED = 7, 8, 9  # seeds
FAKE = """
import json, os, signal, sys
from pathlib import Path
task = json.loads(sys.stdin.readline())
config, out = task["config"], Path(task["out"])
resumed = (out / "config.json").is_file()
out.mkdir(parents=True, exist_ok=True)
(out / "config.json").write_text(json.dumps(config))
with (out / "starts").open("a") as file:
    print("start", file=file)
if config["seed"] == 7:
    print("step 3")
    sys.exit("error: the loss is not a number.")
if config["seed"] == 8 or (config["seed"] == 9 and not resumed):
    os.kill(os.getpid(), signal.SIGKILL)
sparsity = 1000 * config["optim"]["lam"] + config["seed"]
summary = dict(sparsity_gamma=sparsity, sparsity_act=sparsity - 1, test_error=2.0 + config["seed"],
               layers=[dict(layer="C1", sparsity_gamma=0.0),
                       dict(layer="C2", sparsity_gamma=2 * sparsity)], seconds=3.0)
(out / "summary.json").write_text(json.dumps(summary))
"""
STRONG, WEAK = Config(), Config(optim=OptimConfig(lam=1e-3))
BOTH = {"strong": STRONG, "weak": WEAK}


@pytest.fixture
def fake(monkeypatch):
    """The script in the place of training."""
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", FAKE))


@pytest.fixture
def said():
    """What a sweep says."""
    return []


def starts(out):
    """How often each run was started, by its folder."""
    found = sorted(out.rglob("starts"))
    return {str(path.parent.relative_to(out)): len(path.read_text().splitlines()) for path in found}


# Runs --------------------------------------------------------------------------------------------


def test_every_setting_with_every_seed(fake, tmp_path, said):
    runs = sweep(BOTH, tmp_path, seeds=[0, 2], jobs=2, say=said.append)
    assert [(run.name, run.config.seed) for run in runs] == [
        ("strong", 0), ("strong", 2), ("weak", 0), ("weak", 2),
    ]  # fmt: skip
    assert [run.summary["sparsity_gamma"] for run in runs] == [10, 12, 1, 3]
    assert [run.folder for run in runs[:2]] == [
        tmp_path / "strong/seed-0",
        tmp_path / "strong/seed-2",
    ]
    assert said[0] == "4 runs: 0 finished before, 4 to do"
    assert any("weak seed 2: 3.0 % of filters inactive, test error 4.0 %, 3 s" in s for s in said)


def test_a_finished_run_is_not_done_again(fake, tmp_path, said):
    sweep(BOTH, tmp_path, seeds=[0], say=said.append)
    again = sweep(BOTH, tmp_path, seeds=[0, 1], jobs=3, say=said.append)  # other threads each
    assert starts(tmp_path) == dict.fromkeys(
        ["strong/seed-0", "strong/seed-1", "weak/seed-0", "weak/seed-1"], 1
    )
    assert "4 runs: 2 finished before, 2 to do" in said
    assert [run.summary["sparsity_gamma"] for run in again] == [10, 11, 1, 2]


def test_equal_settings_are_one_run(fake, tmp_path, said):
    """Tables 1 and 2 have rows in common."""
    names = ["table1/cifar100/adam-l2-1e-4", "table2/cifar100/adam-l2-1e-4"]
    configs = {name: recipes.get(name).config for name in names}
    runs = sweep(configs, tmp_path, say=said.append)
    assert said[0].startswith("1 runs") and starts(tmp_path) == {f"{names[0]}/seed-0": 1}
    assert [run.name for run in runs] == names and runs[0].summary == runs[1].summary != {}


def test_a_failing_run_is_reported_and_the_others_go_on(fake, tmp_path, said):
    runs = sweep({"strong": STRONG}, tmp_path, seeds=[FAILS, KILLED, 1], say=said.append)
    failed, killed, good = runs
    assert failed.failure == "the loss is not a number." and failed.summary == {}
    assert killed.failure.startswith("killed by SIGKILL")
    assert good.summary["sparsity_gamma"] == 11 and not good.failure
    assert any("strong seed 7: failed: the loss is not" in line for line in said)


def test_a_run_that_ends_without_a_result_has_failed(monkeypatch, tmp_path, said):
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", "pass"))
    (run,) = sweep({"strong": STRONG}, tmp_path, say=said.append)
    assert run.failure == "ended with exit code 0 and no word."


def test_a_task_that_is_sent_twice_runs_once(fake, tmp_path):
    """A cluster sends a task again if it loses the worker."""
    first = child.run(STRONG, tmp_path / "run")
    assert child.run(STRONG, tmp_path / "run") == first
    assert starts(tmp_path) == {"run": 1}


def test_an_interrupted_run_goes_on(fake, tmp_path, said):
    """The second time it is told where it stopped: the script then ends well."""
    first = sweep({"strong": STRONG}, tmp_path, seeds=[STOPPED], say=said.append)
    second = sweep({"strong": STRONG}, tmp_path, seeds=[STOPPED], say=said.append)
    assert first[0].failure and not second[0].failure and second[0].summary
    assert starts(tmp_path) == {f"strong/seed-{STOPPED}": 2}


def test_another_run_in_the_folder_is_refused_before_any_work(fake, tmp_path, said):
    sweep({"run": STRONG}, tmp_path, say=said.append)
    other = replace(STRONG, optim=OptimConfig(lam=1.0))
    with pytest.raises(
        ValueError, match=r"seed-0' holds another run: its optim\.lam is 0\.01, not"
    ):
        sweep({"new": WEAK, "run": other}, tmp_path, say=said.append)
    assert starts(tmp_path) == {"run/seed-0": 1}


@pytest.mark.parametrize(("file", "match"), [
    ("config.json", "config.json' is not the settings of a run"),
    ("summary.json", "summary.json' is damaged"),
])  # fmt: skip
def test_a_damaged_file_is_named(fake, tmp_path, said, file, match):
    sweep({"run": STRONG}, tmp_path, say=said.append)
    (tmp_path / "run/seed-0" / file).write_text('{"batch": ')
    with pytest.raises(ValueError, match=match):
        sweep({"run": STRONG}, tmp_path, say=said.append)


def test_cores_are_shared_out(fake, tmp_path, said):
    def threads(jobs, config=STRONG):
        (run,) = sweep({"run": config}, tmp_path / f"{jobs}", jobs=jobs, say=said.append)
        return json.loads((run.folder / "config.json").read_text())["threads"]

    assert threads(1) == cores()
    assert threads(2 * cores()) == 1
    assert threads(3 * cores(), replace(STRONG, threads=5)) == 5


def test_the_seed_of_a_setting_does_not_matter(fake, tmp_path, said):
    (run,) = sweep({"run": replace(STRONG, seed=5)}, tmp_path, seeds=[3], say=said.append)
    assert run.config.seed == 3 and run.folder.name == "seed-3"


@pytest.mark.parametrize(("words", "match"), [
    ({"jobs": 0}, "jobs must be a whole number >= 1"), ({"seeds": [-1]}, "seed must be a whole"),
])  # fmt: skip
def test_bad_input(tmp_path, words, match):
    with pytest.raises(ValueError, match=match):
        sweep(BOTH, tmp_path, **words)
    assert not list(tmp_path.iterdir())


# Where to run ------------------------------------------------------------------------------------


def test_any_executor(fake, tmp_path, said):
    with ThreadPoolExecutor(3) as pool:
        runs = sweep(BOTH, tmp_path, seeds=[0, FAILS], executor=pool, say=said.append)
    assert [bool(run.failure) for run in runs] == [False, True, False, True]
    assert all(run.config.threads == 1 for run in runs)


def test_processes(tmp_path, said):
    fake = f"from cnn import child; child.COMMAND = {(sys.executable, '-c', FAKE)!r}"
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=exec, initargs=(fake,))
    with pool:
        runs = sweep(BOTH, tmp_path, seeds=[0, FAILS], executor=pool, say=said.append)
    assert [run.failure for run in runs] == ["", "the loss is not a number."] * 2


def test_dask(fake, tmp_path, said):
    dask = pytest.importorskip("distributed")
    cluster = dask.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None,
        silence_logs=50,
    )  # fmt: skip
    with cluster, dask.Client(cluster) as client:
        pool = client.get_executor(pure=False)
        runs = sweep(BOTH, tmp_path, seeds=[0, FAILS], executor=pool, say=said.append)
    assert [bool(run.failure) for run in runs] == [False, True, False, True]


SLEEPER = """
import sys, threading, time
from cnn import child
sys.stdin.readline()
threading.Thread(target=child._end_with_caller, daemon=True).start()
print("begun", flush=True)
time.sleep(60)
"""
CALLER = """
import sys
from pathlib import Path
from cnn import child
from cnn.config import Config
child.COMMAND = (sys.executable, "-c", sys.argv[1])
child.run(Config(), Path(sys.argv[2]))
"""


def test_when_the_caller_is_killed_the_run_ends(tmp_path):
    """Else a forgotten process goes on, and the next sweep cannot resume what it is doing."""
    words = [sys.executable, "-c", CALLER, SLEEPER, str(tmp_path / "run")]
    log = tmp_path / "run.log"
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": child._path()}) as process:
        try:
            _until(lambda: log.is_file() and "begun" in log.read_text())
            (pid,) = _children(process.pid)
        finally:
            process.kill()
    _until(lambda: not _alive(pid))


def test_an_interrupted_sweep_ends_its_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))

    def interrupt(*_):
        _until(lambda: child._running)
        raise KeyboardInterrupt

    monkeypatch.setattr("cnn.sweep.as_completed", interrupt)
    begin = time.monotonic()
    assert main(["digits/quick", "--out", str(tmp_path)]) == 130
    assert time.monotonic() - begin < 30
    assert "the same command goes on from here" in capsys.readouterr().err


def _until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def _children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.is_file():
        pytest.skip("needs Linux's /proc")
    return [int(word) for word in path.read_text().split()]


def _alive(pid):
    state = Path(f"/proc/{pid}/stat")
    return state.is_file() and state.read_text().rpartition(")")[2].split()[0] != "Z"


# The command line, table and picture -------------------------------------------------------------


def test_the_command_line(fake, tmp_path, capsys):
    words = ["digits/quick*", "digits/sgd-l2-1e-3", "--seeds", "0", "1", "7", "--out"]
    assert main([*words, str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert err.count("the loss is not a number") == 3
    assert "digits/quick-none" in out and "2 (1 failed)" in out and "31.5, 1.0" in out
    names = ["digits/quick", "digits/quick-none", "digits/sgd-l2-1e-3"]
    table = pd.read_csv(tmp_path / "table.csv").set_index("recipe")
    assert list(table.index) == names
    assert list(table["n"]) == [2, 2, 2] and list(table["failed"]) == [1, 1, 1]
    assert table.loc["digits/quick", "sparsity_gamma"] == 3.5  # lambda 3e-3, seeds 0 and 1
    assert table.loc["digits/quick", "sparsity_gamma_sd"] == pytest.approx(math.sqrt(0.5), 1e-3)
    assert table.loc["digits/quick", "source_sparsity"] == 31.5
    each = pd.read_csv(tmp_path / "runs.csv")
    assert list(each["C2"].dropna()) == [6, 8, 0, 2, 2, 4] and each["failure"].count() == 3
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_device_and_threads_reach_the_runs(fake, tmp_path):
    words = ["digits/quick", "--device", "cuda:1", "--threads", "3", "--out", str(tmp_path)]
    assert main(words) == 0
    config = json.loads((tmp_path / "digits/quick/seed-0/config.json").read_text())
    assert (config["device"], config["threads"]) == ("cuda:1", 3)


@pytest.mark.parametrize(("words", "match"), [
    (["digits/quik"], "did you mean 'digits/quick'"),
    (["digits/x*"], "no recipe matches 'digits/x*'"),
    ([], "give at least one recipe"),
    (["digits/quick", "--jobs", "2", "--cluster", "tcp://127.0.0.1:1"], "--jobs is for this"),
    (["digits/quick", "--jobs", "0"], "jobs must be"),
    (["digits/quick", "--threads", "0"], "--threads must be"),
    (["digits/quick", "--seeds"], "--seeds is empty"),
])  # fmt: skip
def test_bad_input_on_the_command_line(words, match, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path / "new")]) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def runs_of(*summaries, name="digits/quick"):
    return [
        Run(name, replace(STRONG, seed=i), Path(name), summary=s or {}, failure="" if s else "bad")
        for i, s in enumerate(summaries)
    ]


def summary(sparsity, error=1.0):
    return {
        "sparsity_gamma": sparsity, "sparsity_act": 0.0, "test_error": error, "seconds": 1.0,
        "layers": [{"layer": "C1", "sparsity_gamma": sparsity}],
    }  # fmt: skip


def test_the_table_counts_only_what_succeeded():
    runs = [*runs_of(summary(10.0), None, summary(14.0)), *runs_of(summary(5.0), name="own")]
    first, second = sweep_report.table(runs).to_dict("records")
    assert (first["n"], first["failed"], first["sparsity_gamma"]) == (2, 1, 12)
    assert first["sparsity_gamma_sd"] == pytest.approx(np.std([10, 14], ddof=1))
    assert second["n"] == 1 and np.isnan(second["sparsity_gamma_sd"])  # one run has no spread
    assert second["source"] == "" and pd.isna(second["source_sparsity"])


def test_the_table_of_runs_that_all_failed(capsys):
    runs = runs_of(None, None)
    (row,) = sweep_report.table(runs).to_dict("records")
    assert (row["n"], row["failed"]) == (0, 2) and np.isnan(row["sparsity_gamma"])
    sweep_report.draw(runs)
    sweep_report.show(runs)
    assert "0 (2 failed)" in (out := capsys.readouterr().out) and "nan" not in out


def test_spread_is_drawn_where_there_are_several_runs():
    def bars(runs):
        (ax,) = sweep_report.draw(runs).axes
        return [len(line.get_segments()) for line in ax.collections]

    assert bars(runs_of(summary(10.0, 1.0), summary(14.0, 3.0))) == [1, 1]
    assert bars(runs_of(summary(10.0, 1.0))) == []


def test_the_picture_shows_what_was_measured_and_what_was_reported():
    figure = sweep_report.draw(runs_of(summary(10.0, 1.0), summary(14.0, 3.0)))
    (ax,) = figure.axes
    points = {
        (float(x), float(y)) for line in ax.lines for x, y in zip(*line.get_data(), strict=True)
    }
    assert {(1, 10), (3, 14), (2, 12), (1, 31.5)} <= points
    assert [text.get_text() for text in ax.texts] == ["1"]
    (legend,) = [text.get_text() for text in ax.get_legend().texts if "digits" in text.get_text()]
    assert legend.split() == ["1", "digits/quick"]


# Real training -----------------------------------------------------------------------------------


TINY = Config(model=ModelConfig(width=0.0625), steps=20, threads=1)


def test_what_training_leaves_is_finished_in_the_eyes_of_a_sweep(tmp_path, said):
    """Training in this process stands for one in a process of its own, which the next test runs."""
    assert child._train(TINY, tmp_path / "tiny" / "seed-0") == 0
    (run,) = sweep({"tiny": TINY}, tmp_path, say=said.append)
    assert said == ["1 runs: 1 finished before, 0 to do"]
    assert 0 <= run.summary["test_error"] <= 100
    columns = list(sweep_report.per_run([run]).columns)
    assert columns[-8:-1] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]


@pytest.mark.slow
def test_a_real_run_that_is_stopped_goes_on_to_the_same_end(tmp_path, said):
    """Stopped as by ctrl-C in the middle; then the same numbers as never stopped."""
    config = replace(TINY, steps=400, deterministic=True)
    folder = tmp_path / "stopped" / "tiny" / "seed-0"
    stopper = threading.Thread(target=_stop_when, args=(folder / "checkpoint-40.pt",))
    stopper.start()
    (first,) = sweep({"tiny": config}, tmp_path / "stopped", say=said.append)
    stopper.join()
    assert first.failure == "stopped: the same sweep goes on from the last checkpoint."
    (second,) = sweep({"tiny": config}, tmp_path / "stopped", say=said.append)
    (whole,) = sweep({"tiny": config}, tmp_path / "whole", say=said.append)
    assert not second.failure and not whole.failure
    same = ("sparsity_gamma", "test_loss", "train_loss", "layers")
    assert [second.summary[name] for name in same] == [whole.summary[name] for name in same]


def _stop_when(checkpoint):
    _until(checkpoint.is_file, seconds=300)
    child.stop()
