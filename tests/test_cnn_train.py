"""Training: what is written, going on with the same bits, branches, bad input, options."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from copy import deepcopy as copy_of
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from cnn import checkpoint, models, place, rundir, stopping
from cnn.config import Config, DataConfig, ModelConfig, OptimConfig, RecordConfig, from_dict
from cnn.optim import Update, hyperparameters
from cnn.record import Recorder
from cnn.step import GraphedStep, Step
from cnn.train import main, train
from regdyn import replay, store
from regdyn.regularizers import StepDecay

ROOT = Path(__file__).parents[1]
STEPS = 24
TINY = Config(
    model=ModelConfig(widths=(3, 4, 5)),
    data=DataConfig(images=100),
    optim=OptimConfig(lam=1e-2),
    record=RecordConfig(every=5),
    batch=20, steps=STEPS, threads=1, deterministic=True,
)  # fmt: skip
KINDS = {
    "adam-tape": replace(TINY, record=RecordConfig(every=5, tape=True)),
    "sgd-wd-channels-last": replace(
        TINY, optim=OptimConfig(opt="sgd", reg="wd", lam=1e-3), channels_last=True
    ),
    "adadelta-adamw-amp-flips": replace(
        TINY, optim=OptimConfig(opt="adadelta", reg="adamw", lam=1e-3), amp=True,
        data=DataConfig(images=100, flip=True, noise=0.5),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks are faster on one, and other tests may run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(config, out, **how):
    """Train without pictures, checkpoints after every step."""
    return train(config, out, **{"plot": False, "checkpoint_seconds": 0.0, **how})


def tensors(entry, above=""):
    """(name, value) of everything in a checkpoint but clock and place."""
    if isinstance(entry, dict):
        for name, value in entry.items():
            if name not in ("seconds", "places"):
                yield from tensors(value, f"{above}/{name}")
    elif isinstance(entry, list | tuple):
        for i, value in enumerate(entry):
            yield from tensors(value, f"{above}/{i}")
    else:
        yield above, entry


def same_bits(one, other, names=("checkpoint.pt",)):
    """Whether the checkpoints and the records of two folders have the same bits."""
    for name in names:
        ours, theirs = (dict(tensors(checkpoint.read(out / name))) for out in (one, other))
        assert ours.keys() == theirs.keys() and len(ours) > 20
        for key, value in ours.items():
            if isinstance(value, torch.Tensor):
                if not same_tensor(value, theirs[key]):
                    return False
            elif value != theirs[key]:
                return False
    return store.digest(store.load(one / "run.nc")) == store.digest(store.load(other / "run.nc"))


def same_tensor(one, other):
    """Bit by bit: NaN is NaN, and 0 is not -0."""
    one, other = (t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other))
    return torch.equal(one, other)


@pytest.fixture
def stop_after(monkeypatch):
    """Function that makes the run get a signal in a step; a checkpoint follows."""

    def prepare(step, number=signal.SIGINT):
        whole = Step.__call__

        def call(self, at, x, y):
            if at == step:
                os.kill(os.getpid(), number)
            whole(self, at, x, y)

        monkeypatch.setattr(Step, "__call__", call)

    return prepare


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished run of TINY with all that belongs to it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run(TINY, out, plot=True)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it that may be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


# What is written ---------------------------------------------------------------------------------


def test_what_a_run_leaves(finished):
    ds, summary = store.load(finished / "run.nc"), rundir.finished(finished)
    last = checkpoint.read(finished / "checkpoint.pt")
    config = json.loads((finished / "config.json").read_text())
    assert {path.name for path in finished.iterdir()} == {
        "run.nc", "summary.json", "config.json", "filters.png", "sparsity.png", "checkpoint.pt",
        "checkpoint-previous.pt", "checkpoint-1.pt", "checkpoint-2.pt", "checkpoint-5.pt",
    }  # fmt: skip
    assert from_dict(config) == TINY == checkpoint.config_of(last)
    assert from_dict(json.loads(ds.attrs["config"])) == TINY and ds.attrs["seed"] == "0"
    assert ds["gamma"].dims == ("step", "filter") and ds["layer"].dims == ("filter",)
    assert ds["step"].values.tolist() == [0, 5, 10, 15, 20, 24]
    assert "".join(ds["layer"].values) == "C1" * 3 + "C2" * 4 + "C3" * 5
    gamma = torch.cat([v for k, v in last["model"].items() if k.endswith(".bn.weight")])
    np.testing.assert_array_equal(ds["gamma"][-1], gamma)
    assert np.all(ds["gamma"][0] == 1) and not np.isnan(ds["gamma"]).any()
    assert last["step"] == summary["steps"] == STEPS
    assert summary["batch"] == {"global": 20, "per_rank": 20, "ranks": 1}
    assert summary["images"] == {"train": 100, "test": 360}
    assert 0 <= summary["test_error"] <= 100 and summary["seconds"] > 0
    assert [row["filters"] for row in summary["layers"]] == [3, 4, 5]
    for name in ("sparsity_gamma", "sparsity_act", "sparsity_gamma_1e-2", "sparsity_act_1e-4"):
        shares = [row[name] * row["filters"] for row in summary["layers"]]
        assert summary[name] == pytest.approx(sum(shares) / 12)


def test_the_order_of_images_has_its_own_seed(tmp_path, finished):
    """A data seed equal to the seed is no other run; another changes the order, not the weights."""
    run(replace(TINY, data_seed=0), tmp_path / "same")
    run(replace(TINY, data_seed=1), tmp_path / "other")
    records = {out: store.load(out / "run.nc") for out in (finished, *tmp_path.iterdir())}
    one, same, other = (records[p] for p in (finished, tmp_path / "same", tmp_path / "other"))
    assert store.digest(one) == store.digest(same) != store.digest(other)
    assert one["norm_in"][0].identical(other["norm_in"][0].assign_attrs(one["norm_in"].attrs))


def test_replaying_the_recorded_gradients_gives_the_recorded_gamma(tmp_path):
    """regdyn.replay in float64 against the network's float32: 24 steps of rounding, and the drop of
    the learning rate after 19 of them; without that drop gamma would be elsewhere."""
    config = KINDS["adam-tape"]
    run(config, tmp_path / "run")
    ds = store.load(tmp_path / "run" / "run.nc")
    rule, start = hyperparameters(config.optim), ds["gamma"][0].values.astype(float)
    tape = ds["tape"].values.astype(float)
    assert tape.shape == (STEPS, 12)

    def path(schedule):
        return replay(tape, rule, "l2", 1e-2, start, schedule=schedule, engine="numpy")

    ours = path(StepDecay((0.8,)))[ds["step"].values]
    np.testing.assert_allclose(ds["gamma"], ours, atol=2e-6)
    assert np.abs(path(None)[-1] - ds["gamma"][-1].values).max() > 1e-4


def test_pictures_show_every_filter(finished):
    from cnn.pictures import draw_filters, draw_sparsity

    ds, summary = store.load(finished / "run.nc"), rundir.finished(finished)
    axes = draw_filters(ds).axes
    lines = [sum(len(c.get_segments()) for c in ax.collections) for ax in axes]
    assert lines == [3, 3, 4, 4, 5, 5]
    assert axes[0].get_title("left") == "C1: 0 of 3 filters inactive"
    ds["gamma"][-1, 0] = np.inf  # a run that diverges
    draw_filters(ds)
    curves, bars = draw_sparsity(ds, summary["layers"]).axes
    assert len(curves.lines) == 4 and len(bars.patches) == 6


def test_a_run_that_diverges_says_so_and_ends_well(tmp_path):
    config = replace(TINY, optim=OptimConfig(opt="sgd", lr=1e30), deterministic=False)
    with pytest.warns(RuntimeWarning, match="the loss is not finite: this run diverged"):
        summary = run(config, tmp_path / "run", plot=True, checkpoint_seconds=1e6)
    assert summary["train_loss"] is None and summary["sparsity_gamma"] == 0
    assert rundir.finished(tmp_path / "run") == summary
    assert (tmp_path / "run" / "filters.png").exists()


# Going on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_interrupted(
    kind, tmp_path, monkeypatch, stop_after
):
    """Stopped within a window, between the checkpoints at 10 and 20 %, and after them."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(KINDS[kind], whole)
    for step in (4, 13):
        with monkeypatch.context(), pytest.raises(stopping.Interrupted, match=f"step {step}:"):
            stop_after(step)
            run(KINDS[kind], broken, resume=True, checkpoint_seconds=1e6)
        monkeypatch.undo()
    run(KINDS[kind], broken, resume=True)
    kept = [f"checkpoint-{step}.pt" for step in (1, 2, 5)]
    assert same_bits(whole, broken, ["checkpoint.pt", *kept])
    assert rundir.finished(whole)["places"] == rundir.finished(broken)["places"]


@pytest.mark.parametrize("lost", ["update", "recorder", "model"])
def test_every_part_of_a_checkpoint_counts(lost, tmp_path, finished, monkeypatch, stop_after):
    """Negative control: with a part left out the bits are others, and it is seen."""
    out = tmp_path / "run"
    stop_after(13)
    with pytest.raises(stopping.Interrupted):
        run(TINY, out)
    monkeypatch.undo()
    kind = {"update": Update, "recorder": Recorder, "model": nn.Module}[lost]
    monkeypatch.setattr(kind, "load_state_dict", lambda self, entry: None)
    if lost == "recorder":
        with pytest.raises(ValueError, match="after step 0 come"):
            run(TINY, out, resume=True)
    else:
        run(TINY, out, resume=True)
        assert not same_bits(finished, out)


def test_a_finished_run_is_not_done_again(copy, monkeypatch):
    monkeypatch.delattr(Step, "__call__")
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    assert run(TINY, copy, resume=True) == rundir.finished(copy)
    assert before == {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}


def test_results_are_made_again_from_the_last_checkpoint(copy, finished, monkeypatch):
    """As after a kill between the last step and the summary."""
    for name in ("summary.json", "run.nc"):
        (copy / name).unlink()
    monkeypatch.delattr(Step, "__call__")
    run(TINY, copy, resume=True)
    assert same_bits(copy, finished)
    ours, theirs = rundir.finished(copy), rundir.finished(finished)
    assert ours == theirs


def test_going_on_elsewhere_is_said_and_written_down(tmp_path, stop_after, monkeypatch):
    out = tmp_path / "run"
    stop_after(7)
    with pytest.raises(stopping.Interrupted):
        run(TINY, out)
    monkeypatch.undo()
    with pytest.warns(RuntimeWarning, match=r"goes on elsewhere \(deterministic True -> False\)"):
        summary = run(replace(TINY, deterministic=False), out, resume=True)
    assert [(p["after"], p["deterministic"]) for p in summary["places"]] == [(0, True), (7, False)]
    assert json.loads(store.load(out / "run.nc").attrs["places"]) == summary["places"]


def test_another_setting_is_refused_and_named(copy):
    before = store.digest(store.load(copy / "run.nc"))
    other = replace(TINY, optim=replace(TINY.optim, lam=1e-3))
    with pytest.raises(ValueError, match=r"other settings: optim.lam is 0.01, not 0.001\. "):
        run(other, copy, resume=True)
    for path in copy.glob("checkpoint*"):
        path.unlink()
    with pytest.raises(ValueError, match="other settings: batch is 20, not 10"):
        run(replace(TINY, batch=10), copy, resume=True)
    assert store.digest(store.load(copy / "run.nc")) == before


def test_a_folder_with_a_run_is_left_alone_unless_told(copy):
    with pytest.raises(ValueError, match="holds a run: --resume goes on with it, --overwrite"):
        run(TINY, copy)
    with pytest.raises(ValueError, match="give one of them"):
        run(TINY, copy, resume=True, overwrite=True)
    summary = run(replace(TINY, steps=30), copy, overwrite=True)
    assert summary["steps"] == 30 and not (copy / "filters.png").exists()


def test_only_one_process_trains_in_a_folder(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process trains in"):
            run(TINY, tmp_path)
    finally:
        os.close(handle)
    assert not list(tmp_path.iterdir())


# Checkpoints -------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_offered(copy, damage):
    path = copy / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(
        {"cut": content[: len(content) // 2], "flip": content, "empty": b"", "text": b"x" * 99}[
            damage
        ]
    )
    (copy / "summary.json").unlink()
    with pytest.raises(ValueError) as error:
        run(TINY, copy, resume=True)
    assert str(error.value).startswith(f"{str(path)!r} is damaged or truncated; ")
    assert f"of step {STEPS - 1}, is whole: move it there to go on." in str(error.value)
    os.replace(copy / "checkpoint-previous.pt", path)
    assert run(TINY, copy, resume=True)["steps"] == STEPS


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, copy):
    entry = checkpoint.read(copy / "checkpoint.pt")
    for content, message in (
        ({**entry, "format": 99}, "was written by another version"),
        ({"model": 1}, "is not a checkpoint of a training run"),
        (nn.Linear(1, 1), "is not a checkpoint of a training run"),
    ):
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=message):
            run(TINY, tmp_path / "out", branch=tmp_path / "other.pt")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_loses_nothing(tmp_path, finished, monkeypatch):
    """A limit on the size of files stands for the disk: while a checkpoint is written, then while
    the results are."""
    resource = pytest.importorskip("resource")
    out, saved, netcdf = tmp_path / "run", torch.save, xr.Dataset.to_netcdf
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(work, *words, **more):
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            return work(*words, **more)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with monkeypatch.context() as patch:
        patch.setattr(
            torch, "save", lambda e, f: limited(saved, e, f) if e["step"] == 9 else saved(e, f)
        )
        with pytest.raises(
            OSError, match=r"\(File too large\): full\? That of step 8 is as it was"
        ):
            run(TINY, out)
    assert checkpoint.read(out / "checkpoint.pt")["step"] == 8
    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_netcdf", lambda *a, **more: limited(netcdf, *a, **more))
        with pytest.raises(OSError, match=r"full\? The last checkpoint is there"):
            run(TINY, out, resume=True)
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    assert not {"run.nc", "summary.json"} & {path.name for path in out.iterdir()}
    run(TINY, out, resume=True)
    assert same_bits(out, finished)


def test_checkpoints_take_their_share_of_the_time(tmp_path, monkeypatch):
    """By a clock of one second per step: every 10 s; writing one takes 1 s, then every 50 s."""
    clock, written = [0.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def write(entry, path, keep=None):
        clock[0] += 1
        written.append(entry["step"])

    monkeypatch.setattr(checkpoint, "write", write)

    class Fake(checkpoint.Run):
        def state_dict(self):
            return {"step": self.step}

    made = Fake(replace(TINY, steps=100_000), *[None] * 3)
    keeper = checkpoint.Keeper(made, tmp_path, 10.0)
    for step in range(1, 200):
        clock[0] += 1
        keeper.after(step)
    assert written == [10, 60, 110, 160]


# Branches ----------------------------------------------------------------------------------------


def test_a_branch_goes_on_with_another_order_of_images(finished, tmp_path, monkeypatch, stop_after):
    start = finished / "checkpoint-5.pt"
    run(TINY, tmp_path / "same", branch=start)
    same = store.load(tmp_path / "same" / "run.nc")
    assert store.digest(same) == store.digest(store.load(finished / "run.nc"))

    other = replace(TINY, data_seed=7)
    run(other, tmp_path / "other", branch=start)
    ds = store.load(tmp_path / "other" / "run.nc")
    assert ds["gamma"][:2].equals(same["gamma"][:2])
    assert np.all(ds["gamma"][2] != same["gamma"][2])
    (origin,) = rundir.finished(tmp_path / "other")["branches"]
    assert origin == {"after": 5, "data_seed": 7, "checkpoint": checkpoint.digest(start)}

    # killed before its first step, or later, it goes on from there without being told
    for step in (6, 11):
        stop_after(step)
        with pytest.raises(stopping.Interrupted):
            branch = start if step == 6 else None
            run(other, tmp_path / "broken", branch=branch, resume=True, checkpoint_seconds=1e6)
        monkeypatch.undo()
    with pytest.raises(ValueError, match="did not begin at"):
        run(other, tmp_path / "broken", branch=finished / "checkpoint-2.pt", resume=True)
    run(other, tmp_path / "broken", branch=start, resume=True)
    assert same_bits(tmp_path / "broken", tmp_path / "other")


def test_a_branch_changes_the_order_only(finished, tmp_path):
    with pytest.raises(ValueError, match=r"other settings: steps is 24, not 30\. A branch"):
        run(replace(TINY, steps=30), tmp_path / "x", branch=finished / "checkpoint-5.pt")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        run(TINY, tmp_path / "x", branch=finished / "checkpoint-6.pt")
    assert not (tmp_path / "x").exists()


# Signals -----------------------------------------------------------------------------------------


def test_a_signal_in_time_and_a_second_one_at_once():
    before = signal.getsignal(signal.SIGINT)  # a shell's background jobs ignore it
    with stopping.signals() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_line_says_how_to_go_on(number, code, tmp_path, stop_after, capsys):
    stop_after(3, number)
    words = "--widths 3 4 5 --images 100 --batch 20 --steps 9 --threads 1 --no-plot".split()
    assert main([*words, "--out", str(tmp_path / "run")]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err == (
        f"stopped after step 3: go on with python -m cnn.train --out {tmp_path / 'run'} --resume\n"
    )
    # and so it does, with the settings of the run
    assert main(["--out", str(tmp_path / "run"), "--resume"]) == 0
    said = capsys.readouterr()
    assert "9 steps in" in said.out and f"written to {tmp_path / 'run'}/: run.nc" in said.out
    assert said.err == ""


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--data digit", "unknown data set 'digit': did you mean 'digits'?"),
        ("--net basiknet", "unknown net 'basiknet': did you mean 'basicnet'?"),
        ("--opt adan", "unknown optimizer 'adan': did you mean 'adam'?"),
        ("--opt adamw", "give opt='adam', reg='adamw'"),
        ("--reg l1", "unknown regulariser 'l1': did you mean 'l2'?"),
        ("--recipe digits/adam-l2-1e-3", "unknown recipe"),
        ("--lam -1", "lambda must be a finite number >= 0"),
        ("--batch 1438", "batch must be at most the number of training images, 1437"),
        ("--batch 1", "batch must be a whole number >= 2"),
        ("--steps 0", "steps must be a whole number >= 1"),
        ("--drop 2", "drop must be a finite number >= 0 and <= 1"),
        ("--seed -1", "seed must be a whole number from 0"),
        ("--threads 0", "threads must be a whole number >= 1"),
        ("--device gpu", "device must be cpu, cuda or cuda:N, not 'gpu'"),
        ("--device cuda:99", "device 'cuda:99' is not there"),
        ("--cuda-graphs", "cuda_graphs needs a CUDA device"),
        ("--record-every 0", "record-every must be a whole number >= 1"),
        ("--checkpoint-seconds -1", "checkpoint_seconds must be a finite number >= 0"),
        ("--branch no/such.pt", "there is no checkpoint 'no/such.pt'"),
        (
            "--data fashion-mnist --root no/such/folder",
            "Fashion-MNIST is not there (looked in 'no/such/folder'",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_made(words, sentence, tmp_path, capsys):
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and sentence in said.err
    assert said.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "run")]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write or read")


def test_damaged_settings_are_named(copy, capsys):
    (copy / "config.json").write_text("{")
    assert main(["--out", str(copy), "--resume"]) == 2
    assert f"error: {str(copy / 'config.json')!r} is not the settings" in capsys.readouterr().err


# Flags -------------------------------------------------------------------------------------------


def test_flags_change_a_recipe(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr("cnn.train.train", lambda config, out, **how: seen.update(c=config, o=out))
    assert main(["--recipe", "digits/sgd-l2-1e-3", "--seed", "3"]) == 0
    assert (seen["c"].optim.opt, seen["c"].optim.lam, seen["c"].seed) == ("sgd", 1e-3, 3)
    assert seen["o"] == Path("results/cnn/digits-sgd-l2-1e-3-seed-3")
    assert main([]) == 0 and seen["c"] == Config()
    assert seen["o"] == Path("results/cnn/digits-adam-l2-0.01-seed-0")


def test_a_branch_takes_the_settings_of_its_checkpoint(monkeypatch, finished):
    seen = {}
    monkeypatch.setattr("cnn.train.train", lambda config, out, **how: seen.update(c=config, **how))
    assert main(["--branch", str(finished / "checkpoint-2.pt"), "--data-seed", "5"]) == 0
    assert seen["c"] == replace(TINY, data_seed=5)


def test_help_does_not_load_torch():
    words = [sys.executable, "-X", "importtime", "-m", "cnn.train", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "--resume" in done.stdout
    assert "tyro" in loaded and not loaded & {"torch", "xarray", "matplotlib", "numba", "sklearn"}


# Options that a GPU user would want --------------------------------------------------------------


def make_step(config, *, device="cpu", size=8, scaler=None, steps=4):
    """A step and what belongs to it."""
    torch.manual_seed(0)
    with torch.device(device):
        model = models.build(config.model, channels=3, classes=10, size=size)
    update, recorder = Update(model, config.optim), Recorder(model, steps=steps, every=2)
    here = place.Place(torch.device(device), 0, 1, {})
    return Step(model, update, recorder, here, scaler=scaler)


NETS = {
    "basicnet": (ModelConfig(), 8),
    "basicnet-imagenet": (ModelConfig(head="imagenet", pools=(1, 2, 3)), 64),
    **{name: (ModelConfig(name=name, width=0.1), 32) for name in ("vgg11", "vgg16", "vgg19")},
}


@pytest.mark.parametrize(
    ("net", "opt"),
    [*((net, "adam") for net in NETS), ("basicnet", "sgd"), ("basicnet", "adadelta")],
)
def test_a_step_runs_on_another_device_and_waits_for_nothing(net, opt):
    """On `meta`, which refuses tensors that were left on the CPU, and to be asked for a value."""
    model, size = NETS[net]
    step = make_step(Config(model=model, optim=OptimConfig(opt=opt)), device="meta", size=size)
    x, y = torch.empty(4, 3, size, size, device="meta"), torch.zeros(4, dtype=torch.long).to("meta")
    step(1, x, y)
    step(2, x, y)
    with pytest.raises((RuntimeError, NotImplementedError)):
        step(3, x, y.new_zeros(4, device="cpu"))
    with pytest.raises((RuntimeError, NotImplementedError)):
        x.sum().item()


def batches_of(n=4):
    """Random images and labels."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(n):
        x = torch.randn(6, 3, 8, 8, generator=generator)
        yield x, torch.randint(10, (6,), generator=generator)


def test_a_scaled_loss_gives_the_same_bits_and_unscaled_records():
    """Scaling by a power of 2 is exact: weights and records as without."""
    found = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**10)):
        step = make_step(TINY, scaler=scaler)
        for i, (x, y) in enumerate(batches_of(), 1):
            step(i, x, y)
        found.append((place.digest(step.net), store.digest(step.recorder.dataset())))
    assert found[0] == found[1]


def test_a_step_that_overflows_is_skipped_and_counted():
    """The scale halves until the gradients are finite; skipped steps move nothing."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-60)
    step = make_step(TINY, scaler=scaler)
    before = [p.detach().clone() for p in step.net.parameters()]
    for i, (x, y) in enumerate(batches_of(), 1):
        step(i, x, y)
        if i == 1:
            assert all(map(torch.equal, before, step.net.parameters()))
    assert not any(map(torch.equal, before[:1], step.net.parameters()))
    ds = step.recorder.dataset()
    assert (
        ds["steps_skipped"].values.tolist() == [1, 0] and np.isfinite(ds["grad_gamma_ema2"]).all()
    )


class FakeStream:
    """Stands for a CUDA stream."""

    def wait_stream(self, other):
        pass


class FakeGraph:
    """Stands for a CUDA graph: capturing changes nothing, replaying does the step."""

    made = []

    def __init__(self):
        self.made.append(self)
        self.replayed = 0

    def replay(self):
        self.replayed += 1
        self.step._captured()


def test_a_graphed_step_is_the_same_step(monkeypatch):
    """Its book-keeping, with stand-ins for CUDA: which steps run as they are, which inputs a replay
    reads, what is recorded. What a GPU computes is for tests marked gpu."""
    step, plain = (make_step(TINY, steps=7) for _ in range(2))
    graphed = GraphedStep(step.net, step.update, step.recorder, step.place)

    @contextmanager
    def capture(graph):
        graph.step = graphed
        parts = step.net, step.update.optimizer
        before = [copy_of(part.state_dict()) for part in parts]
        yield
        for part, state in zip(parts, before, strict=True):
            part.load_state_dict(state)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    for i, (x, y) in enumerate(batches_of(7), 1):
        for one in (plain, graphed):
            one.update.set_scale(1.0 if i < 6 else 0.1)
            one(i, x, y)
    assert [graph.replayed for graph in FakeGraph.made] == [4]
    assert place.digest(plain.net) == place.digest(step.net)
    assert store.digest(plain.recorder.dataset()) == store.digest(step.recorder.dataset())


def test_what_the_run_sets_is_as_before_afterwards(tmp_path):
    def state():
        return (
            torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark, torch.get_rng_state().tolist(),
        )  # fmt: skip

    before = state()
    with place.place(replace(TINY, threads=1)) as here:
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
        assert here.label["threads"] == 1 and here.label["ranks"] == 1
        torch.rand(3)
    assert state() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optim", "low", "high"),
    [
        (OptimConfig(), 40, 48),
        (OptimConfig(reg="none", lam=0.0), 0, 0),
        (OptimConfig("amsgrad"), 0, 0),
        (OptimConfig("sgd", lam=1e-3), 0, 0),
    ],
)
def test_filters_collapse_under_adam_and_l2_and_not_otherwise(tmp_path, optim, low, high):
    """The default run and its controls, as docs/training.md has them: percent of the filters."""
    found = train(replace(Config(), optim=optim, threads=1), tmp_path, plot=False)
    assert low <= found["sparsity_gamma"] <= high and found["test_error"] <= 3
