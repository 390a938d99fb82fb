"""Training on several ranks: two gloo processes on the CPU, as torchrun would start them."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cnn import models, rundir
from cnn.config import RecordConfig, to_dict
from cnn.data import Batches, load
from regdyn import store

from .test_cnn_train import TINY, same_bits

ROOT = Path(__file__).parents[1]
TAPE = replace(TINY, steps=12, record=RecordConfig(every=5, tape=True))
RANK = """
import json, sys
from cnn import place
from cnn.config import from_dict
from cnn.train import train

settle = place.Place.settle
def settled(self, model):
    {before}
    settle(self, model)
    print(place.digest(model))
place.Place.settle = settled
config, out, how = json.loads(sys.argv[1])
found = train(from_dict(config), out, plot=False, checkpoint_seconds=0.0, **how)
print(found.get("steps"))
"""


def ranks(config, out, *, before="", **how):
    """Two ranks as processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-c", RANK.format(before=before or "pass")]
    words.append(json.dumps([to_dict(config), str(out), how]))
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return [
        subprocess.Popen(
            words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | address | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip


def done(processes):
    """Exit code and output of each."""
    found = [(*process.communicate(timeout=240), process.returncode) for process in processes]
    return [(code, out.split(), err) for out, err, code in found]


def first_gradients(config):
    """Gradients of gamma in the first step: of both halves of the batch, each normalised alone."""
    data = load(config.data)
    torch.manual_seed(config.seed)
    model = models.build(config.model, channels=1, classes=10, size=8)
    x, y = next(Batches(data.train, batch=config.batch, seed=config.seed).start(0))
    found = []
    for half, labels in zip(x.chunk(2), y.chunk(2), strict=True):
        model.zero_grad()
        F.cross_entropy(model(half), labels).backward()
        found.append(torch.cat([layer.bn.weight.grad for layer in models.layers(model)]))
    return np.array([g.numpy() for g in found])


def test_ranks_train_the_same_network_and_record_the_mean_gradient(tmp_path):
    (first, second) = done(ranks(TAPE, tmp_path / "run"))
    assert (first[0], second[0]) == (0, 0), (first[2], second[2])
    assert first[1][0] == second[1][0] and len(first[1][0]) == 64
    assert (first[1][1], second[1][1]) == ("12", "None")
    summary, ds = rundir.finished(tmp_path / "run"), store.load(tmp_path / "run" / "run.nc")
    assert summary["batch"] == {"global": 20, "per_rank": 10, "ranks": 2}
    assert summary["place"]["ranks"] == 2
    one, other = first_gradients(TAPE)
    np.testing.assert_allclose(ds["tape"][0], (one + other) / 2, rtol=1e-4, atol=1e-7)
    assert np.abs(ds["tape"][0] - one).max() > 1e-3  # negative control: rank 0 alone
    assert not np.isnan(ds["loss"]).any()


@pytest.mark.slow
def test_ranks_that_drift_apart_are_noticed(tmp_path):
    """Negative control: rank 1 changes a weight."""
    nudge = "self.rank and next(model.parameters()).data.add_(1e-6)"
    for code, _, error in done(ranks(TAPE, tmp_path / "run", before=nudge)):
        assert code == 1 and "their weights differ" in error
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["both", "rank 0", "rank 1"])
def test_killed_ranks_go_on_with_the_same_bits(which, tmp_path):
    """Killed after some steps; a rank that is left alone ends by itself."""
    config = replace(TAPE, steps=60)
    assert [code for code, _, _ in done(ranks(config, tmp_path / "whole"))] == [0, 0]
    out = tmp_path / "broken"
    for step in (5, 30):
        processes = ranks(config, out, resume=True)
        wait_for(out, step, processes)
        for process in {"both": processes, "rank 0": processes[:1], "rank 1": processes[1:]}[which]:
            process.kill()
        codes = [code for code, _, _ in done(processes)]
        assert -9 in codes and 0 not in codes
    found = done(ranks(config, out, resume=True))
    assert [code for code, _, _ in found] == [0, 0]
    assert same_bits(tmp_path / "whole", out, ["checkpoint.pt", "checkpoint-6.pt"])
    assert len(rundir.finished(out)["places"]) == 1


def wait_for(folder, step, processes):
    """Until a checkpoint of this step or a later one is there."""
    import time

    from cnn import checkpoint

    for _ in range(6000):
        assert all(process.poll() is None for process in processes)
        entry = checkpoint.last(folder)
        if entry is not None and entry["step"] >= step:
            return
        time.sleep(0.02)
    raise TimeoutError


@pytest.mark.slow
def test_another_number_of_ranks_is_said_and_written_down(tmp_path):
    processes = ranks(replace(TAPE, steps=40), tmp_path / "run")
    wait_for(tmp_path / "run", 5, processes)
    for process in processes:
        process.kill()
    done(processes)
    from cnn.train import train

    with pytest.warns(RuntimeWarning, match=r"goes on elsewhere \(ranks 2 -> 1\)"):
        found = train(replace(TAPE, steps=40), tmp_path / "run", resume=True, plot=False)
    assert [at["ranks"] for at in found["places"]] == [2, 1]


@pytest.mark.slow
def test_a_signal_ends_all_ranks_after_the_same_step(tmp_path):
    """They agree every 20 steps; one of them is enough."""
    import signal

    processes = ranks(replace(TAPE, steps=400), tmp_path / "run")
    wait_for(tmp_path / "run", 3, processes)
    processes[1].send_signal(signal.SIGTERM)
    found = done(processes)
    steps = {error.split("stopped after step ")[1].split(":")[0] for _, _, error in found}
    (step,) = steps
    assert int(step) % 20 == 0 and [code for code, _, _ in found] != [0, 0]


def test_bad_batches_for_ranks_are_refused(tmp_path, monkeypatch):
    from cnn.train import train

    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    for batch in (20, 3):
        with pytest.raises(ValueError, match="at least 2 images for each of 3 ranks"):
            train(replace(TINY, batch=batch), tmp_path / "run")
    assert not (tmp_path / "run").exists()
