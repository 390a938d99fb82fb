"""Decomposition: the replay against the engine and a network, made-up runs with a known cause."""

import json
import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.config import Config, DataConfig, ModelConfig, OptimConfig, RecordConfig
from cnn.validate import decompose as command
from cnn.validate import folders
from regdyn import store
from regdyn.counterfactual import FACTORS, Noise, Signal, noise, replayed, signal
from regdyn.decomposition import decompose, shapley
from regdyn.engine import replay
from regdyn.filters.record import Record, Run
from regdyn.rules import SGD, Adam

EVERY = 20
ALL, NONE = "+".join(FACTORS), "decay"


def recorded(tape, start, *, rule, reg, lam, layers=2):
    """The run whose gradients of gamma were `tape`, (steps, n); nothing else of it is known."""
    tape = np.asarray(tape, dtype=float)
    steps, n = tape.shape
    scale = np.where(np.arange(steps) < 0.8 * steps, 1.0, 0.1)
    path = replay(tape, rule, reg, lam, np.broadcast_to(start, n), schedule=scale)
    step = np.unique(np.append(np.arange(0, steps + 1, EVERY), steps))
    parts = np.split(tape, step[1:-1])
    like, windows = np.ones((len(step), n)), np.ones((len(step) - 1, n))
    record = Record(
        step=step, gamma=path[step], beta=like, norm_in=like, norm_out=like, var=like,
        grad_gamma_mean=np.array([x.mean(axis=0) for x in parts]),
        grad_gamma_std=np.array([x.std(axis=0) for x in parts]),
        grad_gamma_zero=np.array([(x == 0).mean(axis=0) for x in parts]),
        grad_beta_mean=windows, grad_beta_std=windows, grad_out2=windows,
        layer=np.arange(n) % layers, names=tuple(f"C{i + 1}" for i in range(layers)),
        bn_eps=np.full(n, 1e-5), weights_out=np.full(n, 9),
    )  # fmt: skip
    return Run(record, rule, reg, lam, scale, 40)


def noisy(steps=600, n=40, *, mean=0.0, std=1e-3, seed=0):
    return mean + std * np.random.default_rng(seed).normal(size=(steps, n))


def of(ds, case):
    """Dead filters of a case in percent, all layers."""
    return ds["share"].sel(case=case, layer="all").mean("seed").item()


# The replay --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reg", ["l2", "wd", "adamw"])
@pytest.mark.parametrize("rule", [SGD(lr=0.1, momentum=0.9), Adam(lr=1e-2)], ids=["sgd", "adam"])
def test_without_signal_it_is_the_engine_s(rule, reg):
    """All of the tape as noise: bit for bit `regdyn.replay`."""
    tape = noisy(100, 5)
    run = recorded(tape, 0.5, rule=rule, reg=reg, lam=1e-2)
    zero = np.zeros_like(run.record.grad_gamma_mean)
    slow = Signal(zero, zero, zero + 1)
    end, passed = replayed(run, [FACTORS], slow, Noise(tape, 0 * tape))
    path = replay(tape, rule, reg, 1e-2, np.full(5, 0.5), schedule=run.scale)
    assert np.array_equal(end[0], path[-1])
    below = np.abs(path) < 1e-2
    assert np.array_equal(passed[0], np.where(below.any(axis=0), below.argmax(axis=0), np.inf))


@given(st.integers(0, 2**20), st.sampled_from([30, 100, 1000]))
@settings(max_examples=15)
def test_the_parts_add_up_to_the_gradient(seed, span):
    """On the path of the run itself, whatever is called signal."""
    tape = noisy(200, 4, mean=3e-4, seed=seed)
    run = recorded(tape, 0.02, rule=Adam(lr=1e-3), reg="l2", lam=1e-2)
    slow = signal(run.record, span=span)
    which = np.repeat(np.arange(len(run.record.window)), run.record.window)
    taped = noise(run.record, slow, seed, span=span, tape=tape)
    np.testing.assert_allclose(taped.seen + slow.recorded[which], tape, rtol=0, atol=1e-18)
    drawn = noise(run.record, slow, seed, span=span).seen + slow.recorded[which]
    for w, part in enumerate(np.split(drawn, run.record.step[1:-1])):
        np.testing.assert_allclose(part.mean(axis=0), run.record.grad_gamma_mean[w], atol=1e-15)
        np.testing.assert_allclose(part.std(axis=0), run.record.grad_gamma_std[w], rtol=1e-9)
    assert not np.array_equal(taped.seen, noise(run.record, slow, seed, span=span).seen)


def test_windows_of_one_step_are_their_mean():
    tape = noisy(EVERY + 1, 3)
    run = recorded(tape, 0.5, rule=SGD(lr=0.1), reg="l2", lam=1e-2)
    slow = signal(run.record)
    drawn = noise(run.record, slow, 0).seen + slow.recorded[[0] * EVERY + [1]]
    np.testing.assert_allclose(drawn[-1], tape[-1], rtol=1e-12)


def test_the_replay_of_sgd_ends_where_the_run_did():
    """Without momentum gamma sees the sum of its gradients, and decay hardly knows their order."""
    run = recorded(noisy(), 0.05, rule=SGD(lr=0.1, momentum=0.0), reg="wd", lam=1e-4)
    none = Noise(*(0 * x for x in noise(run.record, signal(run.record), 1)))
    slow = signal(run.record)
    rest = noise(run.record, slow, 1)
    (end,), _ = replayed(run, [FACTORS], slow, rest)
    (still,), _ = replayed(run, [()], slow, none)
    moved = np.abs(run.record.gamma[-1] - still)
    assert np.abs(end - run.record.gamma[-1]).max() < 0.01 * np.median(moved)


# Signal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_signal_is_seen_in_the_direction_of_gamma(sign):
    """A gradient that points along gamma makes it smaller when it is descended: push."""
    tape = sign * np.stack([noisy(1000, 1, mean=5e-4), noisy(1000, 1, mean=-5e-4)], 1)[:, :, 0]
    run = recorded(tape, sign * 0.5, rule=SGD(lr=1e-3), reg="none", lam=0.0, layers=1)
    slow = signal(run.record)
    assert (slow.push[:, 0] > 2e-4).all() and not slow.hold[:, 0].any()
    assert (slow.hold[:, 1] < -2e-4).all() and not slow.push[:, 1].any()
    assert (slow.sign == sign).all()
    np.testing.assert_allclose(slow.recorded[:, 0].mean(), sign * 5e-4, rtol=0.15)


def test_of_pure_noise_little_is_called_signal():
    """What the docstring says: .13 standard errors each, instead of .4."""
    run = recorded(noisy(4000, 200), 0.5, rule=SGD(lr=1e-6), reg="none", lam=0.0)
    slow = signal(run.record, span=500)
    error = 1e-3 / math.sqrt(500)
    assert slow.push[20:-20].mean() / error == pytest.approx(0.13, abs=0.03)
    assert -slow.hold[20:-20].mean() / error == pytest.approx(0.13, abs=0.03)


def test_a_loud_time_does_not_spill_into_a_quiet_one():
    """The gradient falls a thousandfold at once: its signal too, and keeps its share."""
    tape = noisy(1000, 50, mean=3e-4) * np.where(np.arange(1000) < 500, 1.0, 1e-3)[:, None]
    run = recorded(tape, 0.5, rule=SGD(lr=1e-6), reg="none", lam=0.0)
    slow = signal(run.record, span=400)
    rms = np.hypot(run.record.grad_gamma_mean, run.record.grad_gamma_std)
    share = (slow.push / rms).mean(axis=1)
    assert np.abs(share - 0.3 / math.sqrt(1.09)).max() < 0.04


def test_in_silence_there_is_no_signal():
    tape = noisy(400, 3, mean=1e-3)
    tape[200:] = 0.0
    slow = signal(recorded(tape, 0.5, rule=SGD(lr=1e-3), reg="none", lam=0.0).record)
    assert not slow.recorded[10:].any() and slow.recorded[:10].all()


# Causes that are known ---------------------------------------------------------------------------


def test_decay_alone():
    """Without gradient all die; with the noise of Adam none does."""
    run = recorded(noisy(), 0.2, rule=Adam(lr=1e-3), reg="l2", lam=1e-4)
    ds = decompose(run, seeds=(0, 1))
    assert of(ds, NONE) == of(ds, "death") == 100 and of(ds, ALL) == of(ds, "noise") == 0
    assert (
        ds["change"].sel(effect="added", factor="noise", layer="all").values.tolist() == [-100] * 2
    )
    assert ds["measured"].values.tolist() == [0, 0, 0]
    assert (ds["agreement"] == 100).all()


def test_push_and_hold():
    """C1 would outlive the run by decay alone and is pushed to 0; C2 would not, and is held."""
    kind = np.arange(40) % 2
    start, lr, lam = np.where(kind, 0.08, 0.5), 0.5, 1.2e-2
    tape, gamma = noisy(1000, 40, std=1e-4), start.copy()
    for t in range(1000):
        tape[t] += np.sign(gamma) * np.where(kind, -4e-4, 4e-4)
        gamma -= lr * (1.0 if t < 800 else 0.1) * (tape[t] + lam * gamma)
    run = recorded(tape, start, rule=SGD(lr=lr, momentum=0.0), reg="l2", lam=lam)
    np.testing.assert_allclose(run.record.gamma[-1], gamma, atol=1e-12)
    ds = decompose(run, seeds=(0,))
    assert ds["measured"].values.tolist() == [100, 0, 50]
    removed = ds["change"].sel(effect="removed").isel(seed=0)
    assert removed.sel(factor="push").values.tolist() == [100, 0, 50]
    assert removed.sel(factor="hold", layer="C1") == 0
    assert removed.sel(factor="hold", layer="C2") < -50
    time = ds["time"].isel(seed=0).sel(layer="C1")
    assert (
        time.sel(case=ALL) < 0.7 * time.sel(case=NONE)
        and np.isnan(ds["time"].sel(layer="C2")).all()
    )


def test_a_push_ends_at_zero():
    """gamma is brought to 0 and not beyond: a fixed gradient would carry it on to -1."""
    run = recorded(noisy(1000, 4, mean=1e-3, std=1e-4), 0.5, rule=SGD(lr=1.0), reg="none", lam=0.0)
    assert (run.record.gamma[-1] < -0.2).all()
    slow = signal(run.record)
    slow = slow._replace(push=np.abs(slow.recorded), hold=0 * slow.hold)
    zero = np.zeros((1000, 4))
    end, passed = replayed(run, [("push",), ()], slow, Noise(zero, zero))
    assert (np.abs(end[0]) < 0.02).all() and (passed[0] < 600).all()
    assert (end[1] == 0.5).all() and (passed[1] == np.inf).all()


def test_death_of_the_relu():
    """Half of the filters fall silent at 500 and decay to the end; noise alone would keep them."""
    tape = noisy(2000, 40, std=1e-2)
    tape[500:, ::2] = 0.0
    run = recorded(tape, 0.2, rule=Adam(lr=1e-3), reg="wd", lam=5e-3)
    ds = decompose(run, seeds=(0, 1, 2))
    assert ds["measured"].sel(layer="C1") == 100 and ds["measured"].sel(layer="C2") < 30
    change = ds["change"].sel(factor="death", effect="removed")
    assert (change.sel(layer="C1") > 70).all() and (change.sel(layer="C2") == 0).all()
    late = decompose(run, seeds=(0,), silence=1600)  # nobody is silent for so long
    assert (late["change"].sel(factor="death") == 0).all()


def test_the_noise_goes_on_as_it_was():
    tape = noisy(1000, 8, std=np.linspace(1e-3, 8e-3, 8))
    tape[:200] *= 100  # long ago
    tape[700:, :4] = 0.0
    record = recorded(tape, 0.5, rule=SGD(lr=1e-3), reg="none", lam=0.0).record
    beyond = noise(record, signal(record), 3, span=400).beyond
    assert not beyond[:700].any() and not beyond[:, 4:].any()
    np.testing.assert_allclose(
        beyond[700:, :4].std(axis=0), np.linspace(1, 8, 8)[:4] / 1e3, rtol=0.15
    )


# Sums --------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-100, 100), min_size=16, max_size=16))
def test_shapley_is_the_mean_over_orders(values):
    names = "abcd"
    subsets = [frozenset(x for i, x in enumerate(names) if k >> i & 1) for k in range(16)]
    game = {some: np.array([float(v), 1.0]) for some, v in zip(subsets, values, strict=True)}
    found = shapley(game, names)
    orders = list(permutations(names))
    for x, value in zip(names, found, strict=True):
        steps = [
            game[frozenset(o[: o.index(x) + 1])] - game[frozenset(o[: o.index(x)])] for o in orders
        ]
        np.testing.assert_allclose(value, np.mean(steps, axis=0), atol=1e-9)
    total = game[frozenset(names)] - game[frozenset()]
    np.testing.assert_allclose(np.sum(found, axis=0), total, atol=1e-9)


@pytest.fixture(scope="module")
def made():
    """A run in which this and that happens, and its decomposition."""
    tape = noisy(800, 30, mean=np.linspace(-3e-4, 3e-4, 30), std=1e-3)
    tape[400:, ::3] = 0.0
    run = recorded(tape, 0.3, rule=Adam(lr=1e-3), reg="l2", lam=3e-3)
    return run, decompose(run, seeds=(5, 6))


def test_what_is_returned(made):
    run, ds = made
    assert dict(ds.sizes) == {"case": 16, "factor": 4, "effect": 3, "seed": 2, "layer": 3}
    assert set(command.CASES) <= set(ds["case"].values.tolist())
    total = ds["change"].sel(effect="shapley").sum("factor")
    np.testing.assert_allclose(total, ds["share"].sel(case=ALL) - ds["share"].sel(case=NONE))
    mean = 0.5 * (ds["share"].sel(layer="C1") + ds["share"].sel(layer="C2"))
    np.testing.assert_allclose(mean, ds["share"].sel(layer="all"))
    gone = np.abs(run.record.gamma[-1]) < 1e-3
    assert ds["measured"].sel(layer="all") == 100 * gone.mean()
    assert ds["agreement"].sel(layer="all").min() > 85
    still = ["decay", "push", "hold", "push+hold"]
    assert (ds["share"].sel(case=still).std("seed") == 0).all()  # no chance in them


def test_parts_of_the_filters_are_replayed_like_the_whole(made, monkeypatch):
    run, ds = made
    told = []
    monkeypatch.setattr("regdyn.decomposition.BLOCK", 7 * run.steps)
    parts = decompose(run, seeds=(5, 6), progress=told.append)
    assert store.digest(parts) == store.digest(ds)
    assert sum(told) == run.steps * 30 * 2 and len(told) == 10


def test_a_known_tape_is_exact():
    """Then no seed matters but to the noise of the dead."""
    tape = noisy(600, 30, mean=2e-4)
    run = recorded(tape, 0.2, rule=Adam(lr=1e-3), reg="l2", lam=3e-3)
    ds = decompose(run, seeds=(0, 1), tape=tape)
    assert (ds["agreement"] == 100).all()
    assert (ds["share"].std("seed") == 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (-1,)}, "seed must be a whole number from 0"),
        ({"span": 0}, "span must be a whole number >= 1"),
        ({"silence": 1.5}, "silence must be a whole number >= 1"),
        ({"tape": np.ones((3, 30))}, r"tape must have the shape \(800, 30\), not \(3, 30\)"),
        ({"tape": np.full((800, 30), np.nan)}, "tape must be finite"),
    ],
)
def test_bad_input(made, change, said):
    with pytest.raises(ValueError, match=said):
        decompose(made[0], **change)


def test_an_unfinished_run(made):
    run = made[0]._replace(record=made[0].record.until(400))
    with pytest.raises(ValueError, match="its record ends after 400 of 800 steps"):
        decompose(run)


# The command -------------------------------------------------------------------------------------


def test_the_command_prints_and_writes(made, tmp_path, capsys, monkeypatch):
    run, ds = made
    monkeypatch.setattr(folders, "load", lambda folder: (run, Config()))
    monkeypatch.setattr(command, "_tape", lambda folder: None)
    words = [str(tmp_path / "run-7"), "--out", str(tmp_path / "out"), "--seeds", "5", "6"]
    assert command.main(words) == 0
    said = capsys.readouterr().out
    assert (
        "without the loss's push" in said and "noise, shapley" in said and "fate that they" in said
    )
    found = store.load(tmp_path / "out" / "decomposition.nc")
    assert store.digest(found) == store.digest(ds)
    assert json.loads(found.attrs["config"])["span"] == 500 and "git_revision" in found.attrs
    names = ["decomposition.nc", "decomposition.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names


def test_the_waterfall_goes_from_decay_to_the_replay(made):
    ds = made[1]
    fig = command.draw(ds)
    axes = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_title("left").partition(":")[0] for ax in axes] == ["all", "C1", "C2"]
    bars = axes[0].patches
    tops = [bar.get_y() + bar.get_height() for bar in bars[:4]]
    assert tops[3] == pytest.approx(of(ds, ALL)) and bars[4].get_height() == of(ds, NONE)
    assert bars[5].get_height() == pytest.approx(of(ds, ALL))
    assert bars[6].get_height() == ds["measured"].sel(layer="all")


def test_gamma_has_a_rate_and_a_strength_of_its_own(made):
    config = Config(optim=OptimConfig(gamma_lr=0.5))
    assert command.of_gamma(made[0], config).rule.lr == 5e-4
    assert command.of_gamma(made[0], config).lam == 3e-3
    config = Config(optim=OptimConfig(regularize="no-batchnorm"))
    assert command.of_gamma(made[0], config).lam == 0


@pytest.mark.slow
def test_a_trained_network_replayed_from_its_tape(tmp_path):
    """float32 in training, float64 here: the same fates, and gamma to 1e-4."""
    import torch

    from cnn.train import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = Config(
        model=ModelConfig(widths=(3, 4, 8)), data=DataConfig(images=100),
        optim=OptimConfig(lam=0.03, lr=0.01, gamma_lr=2.0), batch=20, steps=60, threads=1,
        record=RecordConfig(every=20, tape=True),
    )  # fmt: skip
    train(config, tmp_path / "run", plot=False)
    torch.set_num_threads(threads)
    run = command.of_gamma(*folders.load(tmp_path / "run"))
    tape = command._tape(tmp_path / "run")
    zero = np.zeros_like(run.record.grad_gamma_mean)
    end, _ = replayed(run, [FACTORS], Signal(zero, zero, zero + 1), Noise(tape, 0 * tape))
    np.testing.assert_allclose(end[0], run.record.gamma[-1], atol=1e-4)
    ds = decompose(run, seeds=(0,), tape=tape)
    assert ds.attrs["tape"] == 1 and (ds["agreement"] == 100).all()
    plain = store.load(tmp_path / "run" / "run.nc")
    skipped = plain["tape"].where(plain["t"] != 7)
    for other in (plain.drop_vars("tape"), plain.assign(tape=skipped)):
        store.save(other, tmp_path / "run.nc")
        assert command._tape(tmp_path) is None


def test_a_table_of_nothing_dead():
    run = recorded(noisy(100, 4), 0.5, rule=Adam(lr=1e-3), reg="none", lam=0.0)
    ds = decompose(run, seeds=(0,))
    assert np.isnan(ds["time"]).all() and of(ds, NONE) == 0
    command.shares(ds), command.changes(ds), command.draw(ds)


def test_a_folder_without_a_run(tmp_path, capsys):
    from cnn.validate.__main__ import main

    assert main(["decompose", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no run.nc" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
