"""Training runs that are killed (SIGKILL) at random moments and go on: the same bits. Slow."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnn import checkpoint, rundir

from .test_cnn_train import same_bits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STEPS = 200
WORDS = [
    *("--widths 3 4 5 --images 100 --batch 20 --threads 1 --deterministic --no-plot").split(),
    *("--record-every 7 --checkpoint-seconds 0").split(),
]
KINDS = {
    "adam": "--lam 1e-2",
    "adam-tape": "--lam 1e-2 --tape",
    "sgd-wd": "--opt sgd --reg wd --lam 1e-3 --channels-last",
    "adadelta-amp": "--opt adadelta --reg adamw --lam 1e-3 --amp --flip True --noise 0.5",
    "amsgrad-branch": "--opt amsgrad --data-seed 5",
}
KILLS = 5  # of each kind


def start(out, *words):
    command = [sys.executable, "-m", "cnn.train", "--out", str(out), *words]
    return subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE,
                            stdout=subprocess.DEVNULL)  # fmt: skip


def finish(out, *words):
    process = start(out, *words)
    _, error = process.communicate(timeout=300)
    assert (process.returncode, error) == (0, "")


def kill_at_random(process, out, chance, *, early):
    """Kill it while it starts, or within half a second after it wrote its first checkpoint."""
    last = out / checkpoint.LAST
    before = last.stat().st_mtime_ns if last.exists() else 0
    if early:
        time.sleep(chance.uniform(0, 4))
    else:
        while not (last.exists() and last.stat().st_mtime_ns != before):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.5))
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -9, "it was done before it was killed: give more steps"


@pytest.mark.parametrize("kind", KINDS)
def test_killed_runs_end_with_the_bits_of_one_that_was_not(kind, tmp_path):
    words = [*WORDS, *KINDS[kind].split(), "--steps", str(STEPS)]
    if kind.endswith("branch"):
        finish(tmp_path / "origin", *words, "--data-seed", "None")
        words += ["--branch", str(tmp_path / "origin" / f"checkpoint-{STEPS // 20}.pt")]
    finish(tmp_path / "whole", *words)
    chance, out = random.Random(kind), tmp_path / "broken"
    out.mkdir()
    for i in range(KILLS):
        kill_at_random(start(out, *words, "--resume"), out, chance, early=i == 2)
        checkpoint.last(out)  # whole, whatever was being written
    finish(out, *words, "--resume")
    kept = [f"checkpoint-{step}.pt" for step in sorted(checkpoint.kept_steps(STEPS))]
    there = [name for name in kept if (tmp_path / "whole" / name).exists()]
    assert len(there) >= 2 and same_bits(tmp_path / "whole", out, ["checkpoint.pt", *there])
    ours, theirs = (rundir.finished(tmp_path / name) for name in ("broken", "whole"))
    clock = {"seconds": 0, "ms_per_step": 0, "provenance": 0}  # others may have committed
    assert ours | clock == theirs | clock
    left = {path.name for path in out.iterdir()} - {p.name for p in (tmp_path / "whole").iterdir()}
    assert not left
