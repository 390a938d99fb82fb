"""Explicit pruning: the L1 penalty on gamma, against a step written by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from cnn.config import Config, OptimConfig, from_dict, to_dict
from cnn.optim import OPTIMIZERS, Update

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
