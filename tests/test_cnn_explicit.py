"""Explicit pruning: the L1 penalty on gamma, which filters go, fine-tuning, training anew."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnn import checkpoint, data, models
from cnn.config import (
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RecordConfig,
    from_dict,
    to_dict,
)
from cnn.optim import OPTIMIZERS, Update
from cnn.reproduce import masks
from cnn.reproduce.explicit import explicit, main
from cnn.reproduce.pruning import Pruning, fine_tuning, from_scratch
from cnn.train import train as train_run

STEPS = 40
torch.set_num_threads(1)


# Slimming: the penalty in the step ----------------------------------------------------------------


def net(dtype=torch.float64):
    """Convolution, two BatchNorms and a linear layer; gammas of either sign, and one that is 0."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2),
    ).to(dtype)  # fmt: skip
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.5, -0.3, 0.0, 0.01]))
    return model


def tape(model, seed=1):
    """Gradients of every step, parameter by parameter; the third gamma's are 0."""
    rng = np.random.default_rng(seed)
    rows = [[rng.normal(0.1, 1.0, p.shape) for p in model.parameters()] for _ in range(STEPS)]
    for row in rows:
        row[1][2] = 0.0
    return rows


def train(model, config, rows):
    """Parameters after every step."""
    update, path = Update(model, config), []
    for row in rows:
        for p, g in zip(model.parameters(), row, strict=True):
            p.grad = torch.as_tensor(g, dtype=p.dtype)
        update.step()
        path.append([p.detach().clone() for p in model.parameters()])
    return path


def sgd(theta, grads, lr, lam, momentum=0.9):
    """SGD with L2, from its paper; `grads` is a function of step and theta."""
    v = np.zeros_like(theta)
    for t in range(STEPS):
        v = momentum * v + grads(t, theta) + lam * theta
        theta = theta - lr * v
    return theta


def adam(theta, grads, lr, lam, b1=0.9, b2=0.99, eps=1e-8):
    """Adam with L2."""
    m = s = np.zeros_like(theta)
    for t in range(STEPS):
        g = grads(t, theta) + lam * theta
        m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g * g
        root = np.sqrt(s / (1 - b2 ** (t + 1)))
        theta = theta - lr * m / (1 - b1 ** (t + 1)) / (root + eps)
    return theta


@pytest.mark.parametrize(("opt", "by_hand"), [("sgd", sgd), ("adam", adam)])
def test_slimming_adds_the_sign_of_gamma_to_its_gradient_alone(opt, by_hand):
    """Of both BatchNorms, with sign(0) = 0: a gamma at 0 without a gradient stays there."""
    hyper = ("beta2=0.99", "eps=1e-8") if opt == "adam" else ("momentum=0.9",)
    config = OptimConfig(opt=opt, lr=0.01, lam=1e-3, hyper=hyper, gamma_l1=0.05)
    model = net()
    start, rows = [p.detach().numpy().copy() for p in model.parameters()], tape(model)
    path = train(model, config, rows)
    for i, theta in enumerate(start):
        l1 = 0.05 if i in (1, 5) else 0.0

        def grads(t, theta, i=i, l1=l1):
            return rows[t][i] + l1 * np.sign(theta)

        ours = by_hand(theta, grads, 0.01, 1e-3)
        np.testing.assert_allclose(path[-1][i].numpy(), ours, rtol=1e-12, atol=1e-12)
    assert path[-1][1][2] == 0


@pytest.mark.parametrize("reg", ["none", "l2", "wd", "adamw"])
@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_slimming_is_a_change_of_the_gradient_and_leaves_grad_as_it_was(opt, reg):
    """The recorder sees the gradient of the loss, also after the step, as a CUDA graph needs it."""
    config = OptimConfig(opt=opt, reg=reg, lam=1e-3, gamma_l1=0.05)
    one, two = net(torch.float32), net(torch.float32)
    update, plain = Update(one, config), Update(two, dataclasses.replace(config, gamma_l1=0.0))
    for row in tape(one)[:5]:
        for model in (one, two):
            for p, g in zip(model.parameters(), row, strict=True):
                p.grad = torch.as_tensor(g, dtype=p.dtype)
        grads = [p.grad for p in one.parameters()]
        bits = [g.clone() for g in grads]
        for bn in (two[1], two[5]):
            bn.weight.grad += 0.05 * torch.sign(bn.weight.detach())
        update.step()
        plain.step()
        assert all(p.grad is g for p, g in zip(one.parameters(), grads, strict=True))
        assert all(torch.equal(g, b) for g, b in zip(grads, bits, strict=True))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_slimming_is_added_to_the_unscaled_gradient(opt):
    """Scaled by 4, a power of 2: the same bits as without a scaler."""
    config = OptimConfig(opt=opt, gamma_l1=0.05)
    model, plain = net(torch.float32), net(torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    update = Update(model, config)
    rows = tape(model)[:6]
    train(plain, config, rows)
    for row in rows:
        for p, g in zip(model.parameters(), row, strict=True):
            p.grad = scaler.scale(torch.as_tensor(g, dtype=p.dtype))
        update.step(scaler)
        scaler.update()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_without_slimming_nothing_touches_the_gradients(opt, monkeypatch):
    """Off is the step as it was: its bits cannot change."""
    monkeypatch.setattr(torch, "sign", lambda *_: pytest.fail("a penalty of 0 was computed"))
    train(net(), OptimConfig(opt=opt), tape(net())[:2])


def test_frozen_gammas_and_a_batchnorm_without_gamma_are_left_out():
    model = net()
    model[5] = nn.BatchNorm1d(3, affine=False, dtype=torch.float64)
    model[1].weight.requires_grad_(False)
    before = model[1].weight.clone()
    update = Update(model, OptimConfig(gamma_l1=1.0))
    model(torch.randn(5, 1, 3, 3, dtype=torch.float64)).sum().backward()
    update.step()
    assert torch.equal(model[1].weight, before)


def test_settings_written_before_slimming_still_load():
    entry = to_dict(Config())
    del entry["optim"]["gamma_l1"]
    assert from_dict(entry) == Config()


@pytest.mark.parametrize("given", [-1e-4, float("nan")])
def test_a_bad_strength_gets_one_sentence(given):
    with pytest.raises(ValueError, match="gamma_l1 must be a finite number >= 0"):
        Update(net(), OptimConfig(gamma_l1=given))


# Which filters go ---------------------------------------------------------------------------------


def chain():
    """Three layers of 4, 6 and 2 filters, with gammas and weights that are known."""
    torch.manual_seed(3)
    model = models.build(ModelConfig(widths=(4, 6, 2), pools=(1,)), channels=1, classes=3, size=8)
    gammas = [[0.5, -1e-4, 0.2, 9e-4], [0.01, 0.02, -0.03, 0.04, 0.9, 2e-3], [1e-5, -2e-5]]
    with torch.no_grad():
        for values, bn in zip(gammas, convolutions(model, nn.BatchNorm2d), strict=True):
            bn.weight.copy_(torch.tensor(values))
            bn.bias.fill_(0.3)
        kernel = convolutions(model)[1].weight[5]
        kernel.zero_()
        kernel[0, 0, 0] = 3.0  # of its layer the smallest L1 norm, and the largest L2 norm
    return model


def convolutions(model, kind=nn.Conv2d):
    return [m for m in model.modules() if isinstance(m, kind)]


def gone(chosen):
    """Layer -> the filters that are pruned."""
    return {name: [int(i) for i in np.flatnonzero(mask)] for name, mask in chosen.items()}


def test_implicit_takes_the_inactive_filters_but_never_a_whole_layer():
    assert gone(masks.implicit(chain())) == {"C1": [1, 3], "C2": [], "C3": [0]}


def test_slimming_takes_the_smallest_gammas_of_all_layers_together():
    """Half of 12: one of C3, where the other must stay; then 1e-4, 9e-4, 2e-3, 0.01, 0.02."""
    assert gone(masks.slimming(chain(), 50)) == {"C1": [1, 3], "C2": [0, 1, 5], "C3": [0]}
    assert sum(mask.sum() for mask in masks.slimming(chain(), 0).values()) == 0
    most = masks.slimming(chain(), 75)  # 9 of 12: a filter of each layer is left
    assert [len(mask) - mask.sum() for mask in most.values()] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"share must be at most 75 .* 3 layers keeps .* not 90"):
        masks.slimming(chain(), 90)


def test_l1_norm_takes_the_smallest_weights_of_each_layer():
    model = chain()
    expected = {}
    for name, conv in zip(("C1", "C2", "C3"), convolutions(model), strict=True):
        norms = [sum(abs(w) for w in kernel.flatten().tolist()) for kernel in conv.weight]
        count = len(norms) // 2
        expected[name] = sorted(sorted(range(len(norms)), key=norms.__getitem__)[:count])
    assert gone(masks.l1_norm(model, 50)) == expected
    by_layer = masks.l1_norm(model, {"C1": 25.0, "C2": 0.0, "C3": 100.0})
    assert [int(mask.sum()) for mask in by_layer.values()] == [1, 0, 1]
    with pytest.raises(ValueError, match="share must have the layers C1, C2, C3"):
        masks.l1_norm(model, {"C1": 25.0})


def test_held_filters_stay_at_zero_under_momentum_and_the_others_move():
    model = chain()
    chosen = masks.slimming(model, 50)
    seen = {}
    for name, layer in zip(chosen, convolutions(model, nn.BatchNorm2d), strict=True):
        layer.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    update, x = Update(model, OptimConfig(reg="none", lam=0.0)), torch.randn(8, 1, 8, 8)
    F.cross_entropy(model(x), torch.arange(8) % 3).backward()
    update.step()  # a momentum that would move them
    held, before = masks.Held(model, chosen), None
    for _ in range(3):
        update.optimizer.zero_grad()
        before = [bn.weight.clone() for bn in convolutions(model, nn.BatchNorm2d)]
        F.cross_entropy(model(x), torch.arange(8) % 3).backward()
        update.step()
        held()
    model(x)
    norms = convolutions(model, nn.BatchNorm2d)
    for mask, bn, old, out in zip(chosen.values(), norms, before, seen.values(), strict=True):
        assert (bn.weight[mask] == 0).all() and (bn.bias[mask] == 0).all()
        assert (out[:, mask] == 0).all()
        assert (bn.weight[~mask] != old[~mask]).all()


# What is asked ------------------------------------------------------------------------------------


def test_fine_tuning_is_the_runs_rule_at_its_last_learning_rate_without_regulariser():
    optim = OptimConfig(opt="sgd", lam=1e-3, lr=0.5, hyper=("momentum=0.8",), gamma_l1=1e-3)
    config = Config(optim=optim, steps=1000, drop=0.8, seed=3)
    tuned = fine_tuning(config, Pruning())
    plain = OptimConfig(opt="sgd", reg="none", lam=0.0, lr=0.05, hyper=("momentum=0.8",))
    assert replace(tuned, optim=replace(tuned.optim, lr=0.05)) == replace(
        config, optim=plain, steps=200, drop=None
    )
    assert tuned.optim.lr == pytest.approx(0.05)
    assert fine_tuning(replace(config, drop=None), Pruning()).optim.lr == 0.5
    asked = fine_tuning(config, Pruning(steps=7, lr=0.0, seed=4))
    assert (asked.steps, asked.optim.lr, asked.data_seed, asked.seed) == (7, 0.0, 4, 3)


def test_scratch_is_the_run_without_regulariser_at_the_widths_that_stay():
    config = Config(optim=OptimConfig(lam=1e-2, gamma_l1=1e-3), seed=3, data_seed=8)
    new = from_scratch(config, masks.implicit(chain()), Pruning("scratch"))
    plain = OptimConfig(reg="none", lam=0.0)
    model = replace(config.model, widths=(2, 6, 1))
    assert new == replace(config, model=model, optim=plain)
    other = from_scratch(config, masks.implicit(chain()), Pruning("scratch", seed=5, steps=9))
    assert (other.seed, other.data_seed, other.steps) == (5, None, 9)


# A finished run -----------------------------------------------------------------------------------

TINY = Config(
    model=ModelConfig(widths=(3, 4, 5), negative_slope=0.1),  # with ReLU, beta has no gradient at 0
    data=DataConfig(images=100, flip=True), optim=OptimConfig(lr=0.02, lam=0.3),
    record=RecordConfig(every=5), batch=20, steps=30, threads=1, channels_last=True, seed=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train_run(TINY, folder, plot=False, progress=False)
    return folder


def test_a_network_is_pruned_and_fine_tuned_and_the_run_is_only_read(finished, tmp_path):
    """The bits are those of a loop with torch's own Adam that sets masked gamma and beta to 0."""
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    found = explicit(finished, tmp_path, Pruning("slimming", share=34, steps=6))
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before
    assert found == json.loads((tmp_path / "summary.json").read_text())
    assert [row["filters"] for row in found["layers"]] == [3, 4, 5]
    assert sum(row["pruned"] for row in found["layers"]) == 4
    assert found["pruned_percent"] == pytest.approx(100 / 3) and found["steps"] == 6
    assert found["test_error_before"] == json.loads(before["summary.json"])["test_error"]
    assert from_dict(found["run_config"]) == TINY and "git_revision" in found["provenance"]

    images = data.load(TINY.data)
    model = models.build(TINY.model, channels=1, classes=10, size=8)
    model.load_state_dict(checkpoint.read(finished / "checkpoint.pt")["model"])
    model = model.to(memory_format=torch.channels_last)
    chosen = masks.slimming(model, 34)
    norms = convolutions(model, nn.BatchNorm2d)

    def zero():
        with torch.no_grad():
            for mask, bn in zip(chosen.values(), norms, strict=True):
                bn.weight[mask] = bn.bias[mask] = 0.0

    zero()
    lr = from_dict(found["config"]).optim.lr
    assert lr == pytest.approx(0.002)
    adam = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.99), fused=True)
    order = data.Batches(
        images.train, batch=20, seed=2, flip=True, memory_format=torch.channels_last
    ).start(30)
    for _, (x, y) in zip(range(6), order, strict=False):
        adam.zero_grad()
        F.cross_entropy(model(x), y).backward()
        adam.step()
        zero()
    stored = checkpoint.read(tmp_path / "network.pt")["model"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name]), name


def test_what_is_done_is_not_done_again_and_other_results_are_left_alone(finished, tmp_path):
    asked = Pruning("l1-norm", share=40, steps=2)
    first = explicit(finished, tmp_path, asked)
    (tmp_path / "network.pt").unlink()
    assert explicit(finished, tmp_path, asked) == first
    assert not (tmp_path / "network.pt").exists()
    for folder in (tmp_path, finished):
        with pytest.raises(ValueError, match="holds other results: take another --out"):
            explicit(finished, folder, replace(asked, share=41))


def test_l1_norm_takes_the_shares_of_another_run_layer_by_layer(finished, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    rows = [("C1", 33.3333), ("C2", 0.0), ("C3", 40.0)]
    layers = [{"layer": name, "sparsity_gamma": share} for name, share in rows]
    (other / "summary.json").write_text(json.dumps({"layers": layers}))
    asked = Pruning("l1-norm", per_layer_of=other, steps=1)
    found = explicit(finished, tmp_path / "out", asked)
    assert [row["pruned"] for row in found["layers"]] == [1, 0, 2]


def test_scratch_trains_the_thinner_network_as_a_run_of_its_own(finished, tmp_path):
    found = explicit(finished, tmp_path, Pruning("scratch", like="slimming", share=50, steps=10))
    widths = tuple(row["filters"] - row["pruned"] for row in found["layers"])
    assert sum(widths) == 6 and from_dict(found["config"]).model.widths == widths
    run = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (run["steps"], run["test_error"]) == (10, found["test_error"])
    assert found["test_error_pruned"] is None and not (tmp_path / "network.pt").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--method", "slimming"], "slimming takes a share"),
        (["--method", "l1-norm"], "l1-norm takes either a share, in percent, or per_layer_of"),
        (["--share", "40"], "implicit takes neither share nor per_layer_of"),
        (
            ["--method", "slimming", "--share", "100"],
            "share must be a finite number >= 0 and < 100",
        ),
        (["--method", "slimming", "--share", "90"], "share must be at most 75"),
        (["--like", "slimming", "--share", "9"], "like is for scratch"),
        (["--steps", "0"], "steps must be a whole number >= 1, not 0"),
        (["--lr", "-1"], "lr must be a finite number >= 0, not -1"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--device", "tpu"], "device must be cpu"),
        (["--method", "l1-norm", "--per-layer-of", "nowhere"], "'nowhere/summary.json'"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    flags, sentence, finished, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main([str(finished), "--out", "out", *flags]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not any(tmp_path.iterdir())


def test_a_run_that_is_not_finished_is_refused(finished, tmp_path, capsys):
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no finished run: give a folder with" in capsys.readouterr().err


def test_the_command_line_says_what_came_out(finished, tmp_path, capsys):
    flags = ["--method", "l1-norm", "--share", "50", "--steps", "1"]
    assert main([str(finished), "--out", str(tmp_path), *flags]) == 0
    said = capsys.readouterr().out
    assert "  C2: 2 of 4 filters pruned" in said and "after 1 steps" in said
