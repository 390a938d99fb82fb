"""A layer whose loss does not see its scale: the identity in torch, then what follows from it.

Pages: docs/laws/scale-invariance.md, docs/studies/scale-invariance.md.
"""

import copy
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from regdyn import random, regularizers, rules
from regdyn.rules import SGD, Adam, Lion, RMSprop
from regdyn.theory import invariance
from regdyn.theory.invariance import Layer, equilibrium, path
from sims import scale_invariance as study

ROOT = Path(__file__).parents[1]
TINY = 1e-30  # an eps that is not there: the variances before BatchNorm are about 0.1
WIDTH = 6


@pytest.fixture(autouse=True)
def one_thread():
    """These nets are too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# The identity, in torch --------------------------------------------------------------------------


class Stack(nn.Module):
    """Three times conv, BatchNorm, activation; then a linear head on averaged maps."""

    def __init__(self, activation, eps, residual=False):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3 if k == 0 else WIDTH, WIDTH, 3, padding=1, bias=k == 1) for k in range(3)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(WIDTH, eps=eps) for _ in range(3))
        self.activation, self.residual = activation, residual
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(WIDTH, 5)

    def forward(self, x):
        self.before = []  # what enters each BatchNorm
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            into = conv(self.pool(x) if k == 1 and not self.residual else x)
            self.before.append(into.detach())
            after = self.activation(norm(into))
            x = x + after if self.residual and k == 1 else after
        return self.head(x.mean((2, 3)))


def stack(activation=None, eps=TINY, **options):
    """A net with gammas of both signs and betas, its loss already differentiated."""
    torch.manual_seed(0)
    net = Stack(activation or nn.ReLU(), eps, **options).double()
    for norm in net.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x, y = torch.randn(32, 3, 8, 8).double(), torch.randint(5, (32,))
    return differentiated(net, x, y)


def differentiated(net, x, y):
    net.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    return net


def radial(norm):
    """Terms gamma_j dL/dgamma_j and beta_j dL/dbeta_j."""
    return torch.cat([norm.weight * norm.weight.grad, norm.bias * norm.bias.grad]).detach()


def imbalance(*norms):
    """Absolute sum of the terms over the sum of their absolute values."""
    terms = torch.cat([radial(norm) for norm in norms])
    return float(terms.sum().abs() / terms.abs().sum())


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.Identity()])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_gradient_is_orthogonal_to_the_layer(activation, layer):
    """Also through a max-pool, zero padding and a conv bias, which lie between."""
    assert imbalance(stack(activation).norms[layer]) < 1e-10


def test_it_does_not_hold_where_a_condition_fails():
    """Each is off by more than a percent: so the test above would see it."""
    x, y = torch.randn(32, 3, 8, 8).double(), torch.randint(5, (32,))
    before_head = imbalance(stack().norms[2])
    evaluating = imbalance(differentiated(stack().eval(), x, y).norms[0])
    smooth = [imbalance(stack(act).norms[0]) for act in (nn.SiLU(), nn.Tanh(), nn.ReLU6())]
    assert min(before_head, evaluating, *smooth[:2]) > 0.01
    assert smooth[2] > 1e-6  # ReLU6 is homogeneous below 6, and few values are above


def test_across_a_sum_only_all_its_summands_together_are_free():
    net = stack(residual=True)
    first, second = net.norms[0], net.norms[1]
    assert imbalance(first) > 0.01 and imbalance(second) > 0.01
    assert imbalance(first, second) < 1e-10


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("layer", [0, 1])
def test_eps_breaks_it_by_exactly_this_much(eps, layer):
    r"""sum(theta dL/dtheta) = sum_k eps / (s_k^2 + eps) gamma'_k dL/dgamma'_k of the next one."""
    net = stack(eps=eps)
    following = net.norms[layer + 1]
    variance = net.before[layer + 1].var((0, 2, 3), correction=0)
    held = (following.weight * following.weight.grad).detach() * eps / (variance + eps)
    terms = radial(net.norms[layer])
    whole = float(terms.abs().sum())
    assert abs(float(terms.sum() - held.sum())) < 1e-10 * whole
    assert abs(float(held.sum())) > 1e-8 * whole  # there is something to see


def test_a_layer_below_the_threshold_computes_the_same():
    """|gamma| < 1e-3 everywhere, and not one logit has changed."""
    net = stack()
    small = copy.deepcopy(net)
    with torch.no_grad():
        small.norms[1].weight *= 1e-4
        small.norms[1].bias *= 1e-4
        x = torch.randn(16, 3, 8, 8).double()
        difference = (net(x) - small(x)).abs().max()
    assert small.norms[1].weight.abs().max() < 1e-3 < net.norms[1].weight.abs().min()
    assert difference < 1e-12 * net(x).abs().max()


# Second moments and closed forms -----------------------------------------------------------------


def halved(names, first, second):
    """Parametrised by all pairs; every other one, as on a chessboard, is slow."""
    pairs = [
        pytest.param(a, b, marks=[pytest.mark.slow] * ((i + j) % 2))
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]
    return pytest.mark.parametrize(names, pairs)


EVEN = Layer([64, 64], 8e-3, theta0=[1.0, 0.0])  # 64 filters, gradients of std 1e-3 at the start
PULLED = Layer([8, 56, 8, 56], [8e-3, 8e-5] * 2, [8e-4, 0, 0, 0], [1.0, 1.0, 0.0, 0.0])


def layers(rule, reg, lam, layer, *, steps, lanes=24, seed=5, late=0.5, warm=None):
    """Step `lanes` layers: mean and standard error of the late norm^2, and theta's rms.

    `warm`: the norm at which Adam's and RMSprop's v, and its bias correction, have long settled.
    """
    hp = rules.resolve(rule)
    _, s, d, theta0 = (
        np.repeat(field, invariance.check_layer(layer).count.astype(int))
        for field in invariance.check_layer(layer)
    )
    decay = regularizers.decay(regularizers.strength(reg, lam), hp.lr)
    theta = np.tile(theta0, (lanes, 1))
    state, clock = rules.init(theta, hp), 0
    if warm and "v" in state._fields:
        state, clock = state._replace(v=np.tile((s / warm) ** 2, (lanes, 1))), 10**6
    step, norms, squares = rules.RULES[rules.name_of(hp)].step, [], []
    for t in range(1, steps + 1):
        if t % 100 == 1:
            z = random.normals(seed, np.arange(theta.size), t, 100).reshape(100, *theta.shape)
        r = np.linalg.norm(theta, axis=1, keepdims=True)
        u = theta / r
        force = s * z[(t - 1) % 100] - d
        grad = (force - u * (u * force).sum(1, keepdims=True)) / r
        delta, state = step(grad + decay.l2 * theta, state, hp, rules.coef(hp, clock + t))
        theta = decay.after * (decay.before * theta - delta)
        if t > late * steps:
            norms.append((theta**2).sum(1))
            squares.append(theta**2)
    mean = np.mean(norms, axis=0)
    rms = np.sqrt(np.mean(squares, axis=(0, 1)))
    return mean.mean(), mean.std(ddof=1) / math.sqrt(lanes), rms


@pytest.mark.parametrize("reg", ["l2", "wd", "adamw"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_heavy_ball_by_hand(reg, momentum):
    """r^4 = G V with the V of the page; the fixed point of the library is the same."""
    lr, lam, N = 0.1, 1e-2, 10**8  # so many that the projection takes nothing
    a = 1 - (lr * lam if reg == "adamw" else lam)
    if reg == "l2":
        V = lr / (lam * (1 - momentum) * (2 - lr * lam / (1 + momentum)))
    else:
        V = lr**2 * (1 + a * momentum) / ((1 - a**2) * (1 - momentum**2) * (1 - a * momentum))
        V *= a**2 if reg == "wd" else 1
    found = equilibrium(SGD(lr, momentum), reg, lam, layer=Layer(N, 1e-3))
    assert found.valid
    np.testing.assert_allclose(found.norm**4, N * 1e-6 * V, rtol=1e-6)
    np.testing.assert_allclose(found.rms, found.norm / N**0.5, rtol=1e-6)


@halved(
    ("rule", "strength"),
    [SGD(0.1, 0.9, True), Adam(), RMSprop(), Lion()],
    [("l2", 1e-2), ("adamw", 3.0)],
)
def test_the_closed_form_is_where_the_second_moments_end(rule, strength):
    """Within 0.2 %, from a start 2 % beside it; the rest of the way is a geometric series."""
    reg, lam = strength
    found = equilibrium(rule, reg, lam, layer=EVEN)
    assert found.valid, found.reason
    start = EVEN._replace(theta0=1.02 * found.norm / 128**0.5)
    at = path(rule, reg, lam, layer=start, steps=2000, record=[1000, 1500, 2000]).norm
    first, second = np.diff(at)
    rest = 0.0 if abs(second) < 1e-6 * at[2] else second**2 / (first - second)
    assert abs(second) < 0.8 * abs(first) + 1e-6 * at[2]  # it comes to rest
    np.testing.assert_allclose(found.norm, at[2] + rest, rtol=2e-3)


@halved(("rule", "reg"), [SGD(), SGD(0.3, 0.0), Lion(1e-4, 0.95, 0.9), Adam()], ["l2", "wd"])
def test_layers_settle_where_the_closed_form_says(rule, reg):
    """Within 4 standard errors and 1 % of the norm; 2 % of its square. A law of another power, or
    with N for N - 1, momentum for none, would be seen under SGD."""
    found = equilibrium(rule, reg, 1e-2, layer=EVEN)
    start = EVEN._replace(theta0=found.norm / 128**0.5)
    mean, error, _ = layers(rule, reg, 1e-2, start, steps=2000)
    assert found.valid, found.reason
    tolerance = 4 * error + (0.002 if isinstance(rule, SGD) else 0.02) * found.norm**2
    assert abs(mean - found.norm**2) < tolerance


def test_the_fourth_power_relaxes_exponentially():
    """r^4 = r_inf^4 + (r_0^4 - r_inf^4) exp(-4 lr lambda t) of plain SGD; O(lr lambda) off."""
    hp, lam = SGD(0.1, 0.0), 1e-2
    end = equilibrium(hp, "l2", lam, layer=EVEN).norm
    for factor in (0.5, 5.0):
        start = EVEN._replace(theta0=factor * end / 128**0.5)
        found = path(hp, "l2", lam, layer=start, steps=2000)
        law = end**4 * (1 + (factor**4 - 1) * np.exp(-4 * hp.lr * lam * found.step))
        np.testing.assert_allclose(found.norm, law**0.25, rtol=0.01)


def test_adagrad_never_settles():
    """r^2 = N lr^2 / (lambda t) under wd, to 2 % of r where the start is forgotten."""
    start = EVEN._replace(theta0=1e-3)
    found = path("adagrad", "wd", 1e-2, layer=start, steps=5000, record=[2500, 5000])
    law = np.sqrt(128 * 0.01**2 / (1e-2 * found.step))
    np.testing.assert_allclose(found.norm, law, rtol=0.02)


@halved(("rule", "reg"), ["sgd", "adam", "adagrad", "lion"], ["l2", "wd"])
def test_second_moments_follow_the_layers(rule, reg):
    """From the usual start, where theta is not at rest: within 4 standard errors and 2 %."""
    steps = 600
    mean, error, _ = layers(rule, reg, 1e-2, EVEN, steps=steps, late=1 - 1.5 / steps)
    found = path(rule, reg, 1e-2, layer=EVEN, steps=steps, record=[steps - 1, steps])
    assert abs(mean - (found.norm**2).mean()) < 4 * error + 0.04 * mean
    assert 0.02 < found.norm[-1] < 7.9  # on its way, or there


def test_a_pull_leaves_the_norm_to_sgd_and_takes_it_from_adam():
    """Second moments say so, and who wins and loses; steps agree within 4 standard errors, 10 %."""
    free = PULLED._replace(pull=0.0)
    for rule, changes in (("sgd", False), (RMSprop(), True)):
        with_, without = (
            path(rule, "wd", 2e-3, layer=layer, steps=1500, record=[1500])
            for layer in (PULLED, free)
        )
        assert (with_.norm[0] < 0.5 * without.norm[0]) == changes
        if not changes:
            np.testing.assert_allclose(with_.norm, without.norm, rtol=0.01)
            weak = with_.rms[0, 1] / without.rms[0, 1]
            assert weak < 0.6  # it loses all the same
    mean, error, rms = layers("sgd", "wd", 1e-2, PULLED, steps=1500)
    found = path("sgd", "wd", 1e-2, layer=PULLED, steps=1500, record=[1500])
    assert abs(mean - found.norm[0] ** 2) < 4 * error + 0.01 * mean
    groups = [np.sqrt((part**2).mean()) for part in np.split(rms, [8, 64, 72])]
    np.testing.assert_allclose(groups, found.rms[0], rtol=0.1)


def test_sgd_never_shrinks_a_layer_and_a_preconditioned_pull_does():
    """Without regularisation and noise: |theta|^2 grows by lr^2 |g|^2 under SGD to the last bit or
    so, and falls at first order in lr under RMSprop, where many lose a little to few."""
    d = np.where(np.arange(64) < 4, 1.0, 0.0)
    for hp, falls in ((SGD(1e-3, 0.0), False), (RMSprop(lr=1e-3), True)):
        theta = np.ones(64)
        state, step, norms = rules.init(theta, hp), rules.RULES[rules.name_of(hp)].step, []
        for t in range(1, 301):
            r2 = theta @ theta
            g = -(d - theta * (theta @ d) / r2) / math.sqrt(r2)
            delta, state = step(g, state, hp, rules.coef(hp, t))
            theta = theta - delta
            norms.append(theta @ theta - r2)
            if not falls:
                np.testing.assert_allclose(norms[-1], hp.lr**2 * (g @ g), atol=1e-13)
        assert (sum(norms) < -5.0) == falls  # of 64


@pytest.mark.parametrize("ratio", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
def test_drift_of_the_norm_under_rmsprop(ratio):
    """-E<theta, delta> = -lr^2 N_w (1 - s_w / s_s) / 2 where a pull on the strong holds the weak.

    Within 4 standard errors and 3 % of the second-order term lr^2 N / 2, which is within 3 %.
    """
    hp, lanes, N, strong = RMSprop(lr=1e-3), 16, 128, 16
    s = np.where(np.arange(N) < strong, 8e-3, ratio * 8e-3)
    d = np.where(np.arange(N) < strong, 0.8e-3, 0.0)
    theta = np.tile(np.where(np.arange(N) < strong, 0.25, 0.02), (lanes, 1))
    state, first, second = rules.init(theta, hp), [], []
    z = random.normals(1, np.arange(theta.size), 1, 3000).reshape(3000, lanes, N)
    for t in range(1, 3001):
        r = np.linalg.norm(theta, axis=1, keepdims=True)
        u, force = theta / r, s * z[t - 1] - d
        grad = (force - u * (u * force).sum(1, keepdims=True)) / r
        delta, state = rules.rmsprop(grad, state, hp, rules.coef(hp, t))
        if t > 1500:
            first.append(-(theta * delta).sum(1) / hp.lr**2)
            second.append((delta * delta).sum(1) / 2 / hp.lr**2)
        theta = theta - delta
    mean = np.mean(first, axis=0)
    law = -(N - strong) * (1 - ratio) / 2
    assert abs(mean.mean() - law) < 4 * mean.std(ddof=1) / lanes**0.5 + 0.03 * N / 2
    assert abs(np.mean(second) - N / 2) < 0.03 * N / 2


# Validity, and bad input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "reg", "lam", "layer", "word"),
    [
        ("sgd", "l2", 1e-3, Layer(4, 1e-3), "one coordinate"),
        (SGD(30.0, 0.5), "l2", 0.2, EVEN, "unstable"),
        ("adam", "wd", 1e-3, PULLED, "pull"),
        ("adam", "l2", 1e-3, PULLED._replace(pull=0.0), "projection"),
        (Adam(beta2=0.9), "l2", 1e-3, EVEN, "less than 50 steps"),
        (Adam(eps=1.0), "l2", 1e-3, EVEN, "eps"),
        (Adam(lr=1.0), "l2", 1e-1, EVEN, "not small"),
        ("lion", "l2", 1e-2, EVEN._replace(size=1e-5), "memory"),
    ],
)
def test_the_flag_names_what_fails(rule, reg, lam, layer, word):
    found = equilibrium(rule, reg, lam, layer=layer)
    assert not found.valid and word in found.reason


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: equilibrium("adagrad", "l2", 1e-3, layer=EVEN), "no closed form"),
        (lambda: equilibrium("sgd", "none", 0.0, layer=EVEN), "grows for ever"),
        (
            lambda: equilibrium("sgd", "l2", 1e-3, layer=Layer([64, 64], [1, 2, 3])),
            "fit each other",
        ),
        (lambda: equilibrium("sgd", "l2", 1e-3, layer=Layer(0.5, 1.0)), "whole numbers"),
        (lambda: equilibrium("sgd", "l2", 1e-3, layer=Layer(4, 0.0)), "not all 0"),
        (lambda: path("adadelta", "l2", 1e-3, layer=EVEN, steps=5), "do not describe"),
        (lambda: path("sgd", [["l2"]], 1e-3, layer=EVEN, steps=5), "a list"),
        (lambda: path("sgd", "l2", 1e-3, layer=EVEN, steps=5, record=[9]), "from 0 to 5"),
        (lambda: path("adam", "wd", 1.5, layer=EVEN, steps=5), "< 1 under wd"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_a_grid_is_its_parts():
    whole = path("adam", ["l2", "wd"], [1e-2, 1e-3], layer=PULLED, steps=50, record=[0, 7, 50])
    one = path("adam", "wd", 1e-3, layer=PULLED, steps=50, record=[0, 7, 50])
    np.testing.assert_allclose(whole.norm[:, 1, 1], one.norm, rtol=1e-12)
    np.testing.assert_allclose(whole.rms[:, 1, 1], one.rms, rtol=1e-12)
    assert whole.norm.shape == (3, 2, 2) and whole.mean.shape == (3, 2, 2, 4)
    np.testing.assert_allclose(whole.norm[0], 8.0)


@pytest.mark.parametrize("reg", ["l2", "wd"])
def test_a_schedule_moves_the_equilibrium(reg):
    """At a tenth of the learning rate r^4 of SGD under l2 is a tenth: under wd, whose decay
    follows the schedule, too."""
    hp, lam = SGD(0.1, 0.0), 0.1 if reg == "l2" else 0.01
    start = equilibrium(hp, reg, lam, layer=EVEN).norm / 128**0.5
    scale = np.where(np.arange(3000) < 1000, 1.0, 0.1)
    found = path(
        hp, reg, lam, layer=EVEN._replace(theta0=start), steps=3000, record=[1000, 3000],
        schedule=scale,
    )  # fmt: skip
    np.testing.assert_allclose((found.norm[1] / found.norm[0]) ** 4, 0.1, rtol=0.02)


@pytest.mark.slow
def test_the_flag_is_right_on_random_settings():
    """60 settings: where it says valid the layers settle within 2 % and 4 standard errors, in at
    least 95 % of them; and it says so in at least 60 %."""
    rng = np.random.default_rng(11)
    right = []
    while len(right) < 60:
        hp, reg, lam, layer = drawn(rng)
        found = equilibrium(hp, reg, lam, layer=layer)
        if not found.valid:
            right.append(None)
            continue
        step = hp.lr / (1 - getattr(hp, "momentum", 0.0))
        if reg == "l2" and not isinstance(hp, SGD):  # the fastest coordinate's
            step = hp.lr * found.norm / invariance.check_layer(layer).size.max()
        rate = lam * (step if reg != "wd" else 1.0)
        steps = int(min(max(6 / rate, 1500), 12_000))
        start = layer._replace(theta0=found.rms)
        mean, error, _ = layers(hp, reg, lam, start, steps=steps, warm=found.norm)
        tolerance = 0.04 * found.norm**2 + 4 * error
        right.append(abs(mean - found.norm**2) < tolerance)
    judged = [one for one in right if one is not None]
    assert len(judged) >= 36
    assert sum(judged) >= 0.95 * len(judged)


def drawn(rng):
    """A rule, a regulariser, its strength and a layer of one or two classes."""

    def between(low, high):
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    rule = rng.choice(["sgd", "adam", "rmsprop", "lion"])
    lr = {"sgd": between(0.01, 1), "lion": between(1e-5, 1e-3)}.get(rule, between(1e-4, 1e-2))
    hp = {
        "sgd": SGD(lr, float(rng.choice([0, 0.5, 0.9, 0.95])), bool(rng.integers(2))),
        "adam": Adam(lr, float(rng.choice([0, 0.9, 0.95])), float(rng.choice([0.9, 0.99, 0.999]))),
        "rmsprop": RMSprop(lr, float(rng.choice([0.9, 0.99, 0.999]))),
        "lion": Lion(lr, float(rng.choice([0, 0.9, 0.95])), float(rng.choice([0.9, 0.99]))),
    }[rule]
    reg, lam = str(rng.choice(["l2", "wd", "adamw"])), between(1e-3, 3e-2)
    count, size = int(between(8, 256)), between(1e-5, 1e-1)
    alike = rng.random() < 0.6
    layer = Layer(count, size) if alike else Layer([max(count // 4, 1), count], [size, size / 3])
    return hp, reg, lam / lr if reg == "adamw" else lam, layer


# The study ---------------------------------------------------------------------------------------


def test_the_study_runs():
    data = study.run(lanes=10, steps=20)
    table, text = study.table(data), study.answer(data)
    assert len(table) == data["norm"].isel(step=0).size and "Asked" in text
    assert len(study.draw(data).axes) == 6
    np.testing.assert_allclose(data["norm"].sel(step=0), 8.0)
    one = data["norm"].sel(rule="sgd", case="even", reg="l2", lam=1e-2)
    theory = data["theory"].sel(rule="sgd", case="even", reg="l2", lam=1e-2)
    np.testing.assert_allclose(one, theory, rtol=1e-3)  # noise has hardly begun to tell


def test_what_the_study_says_of_its_numbers():
    """The committed table, within 4 of its standard errors and what the page claims."""
    kept = pd.read_csv(ROOT / "sims/data/scale-invariance.csv")
    kept = kept.set_index(["case", "rule", "reg", "lam"])
    even = kept.loc["even"].dropna(subset="theory")
    assert len(even) == 30 and (even["norm"] / even["theory"] - 1).abs().max() < 0.01
    floor = 1e-3 * math.sqrt(128 * 0.1 / (1e-2 * 0.1 * (2 - 1e-3 / 1.9)))  # a lone parameter's
    free = kept.loc["free"]
    for rule, reg, law in (("sgd", "l2", floor), ("adam", "wd", even["norm"]["adam", "wd", 1e-2])):
        one = free.loc[rule, reg, 1e-2]
        assert abs(one["norm"] - law) < 4 * one["norm_se"]
    sgd, adam = (kept.loc[:, rule, "wd", 1e-3] for rule in ("sgd", "adam"))
    assert abs(sgd["norm"]["pull"] - sgd["norm"]["uneven"]) < 4 * sgd["norm_se"]["pull"]
    gap = adam["norm"]["uneven"] - adam["norm"]["pull"]
    assert gap > 4 * np.hypot(adam["norm_se"]["uneven"], adam["norm_se"]["pull"])
    weak = kept.loc["pull", "sgd", "l2", 1e-3]
    assert weak["below_weak"] > 5 * weak["below_weak_rescaled"]


# A real, small network ---------------------------------------------------------------------------


def trained(optimizer, steps, *, eps=1e-5, seed=0, wrong=0.2):
    """A toy conv-BN-ReLU-conv-BN-ReLU net on a noisy toy task; what layer 1 of it did.

    Returns (norm^2, gradients at norm 1) of its (gamma, beta) at each step.
    """
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, eps=eps), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, eps=eps), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    draw = torch.Generator().manual_seed(seed)
    prototypes = 0.3 * torch.randn(10, 3, 8, 8, generator=draw)
    step_of = optimizer(net.parameters())
    norms, grads = [], []
    for _ in range(steps):
        y = torch.randint(10, (32,), generator=draw)
        x = prototypes[y] + torch.randn(32, 3, 8, 8, generator=draw)
        flip = torch.rand(32, generator=draw) < wrong
        y = torch.where(flip, torch.randint(10, (32,), generator=draw), y)
        step_of.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        theta = torch.cat([net[1].weight, net[1].bias]).detach()
        grad = torch.cat([net[1].weight.grad, net[1].bias.grad])
        norms.append(float(theta @ theta))
        grads.append(grad.numpy() * norms[-1] ** 0.5)
        step_of.step()
    return np.array(norms), np.array(grads)


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_layer_of_a_network_settles_where_the_law_says_under_sgd(momentum):
    """From the gradients at norm 1, seen in the last half: within 2 % of r (8 % of G or V)."""
    steps = 6000 if momentum == 0 else 3000
    norms, grads = trained(
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=momentum, weight_decay=1e-2), steps
    )
    late = slice(steps // 2, None)
    G = (grads[late] ** 2).sum(1).mean()
    law = (0.1 * G / (1e-2 * (1 - momentum) * (2 - 1e-3 / (1 + momentum)))) ** 0.25
    settled = norms[late].mean() ** 0.5
    assert norms[0] == 16 and settled < 2  # it starts at norm 4
    assert abs(settled / law - 1) < 0.02
    halves = [part.mean() ** 0.5 for part in np.split(norms[late], 2)]
    assert abs(halves[1] / halves[0] - 1) < 0.03  # it has settled


@pytest.mark.slow
def test_a_layer_of_a_network_under_adam_and_l2():
    """r^3 = lr sum(s) / (2 lambda), s the rms of each gradient at norm 1: within 6 %."""
    steps = 6000
    norms, grads = trained(
        lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.9, 0.99), weight_decay=1e-2), steps
    )
    late = slice(steps // 2, None)
    s = np.sqrt((grads[late] ** 2).mean(0))
    law = (1e-2 * s.sum() / (2 * 1e-2)) ** (1 / 3)
    assert abs(norms[late].mean() ** 0.5 / law - 1) < 0.06


@pytest.mark.slow
def test_eps_holds_a_layer_that_weight_decay_makes_small():
    """Adam + wd would settle at lr sqrt(N / (2 lambda)) = 0.089; BatchNorm's eps holds it above.

    With an eps that is not there it settles 8 to 17 % below that, by seed and by how the machine
    rounds: the law does not know a network's pull.
    """
    ends = []
    for eps in (1e-5, 1e-13):
        norms, _ = trained(
            lambda p: torch.optim.AdamW(p, lr=1e-3, betas=(0.9, 0.99), weight_decay=2.0),
            6000,
            eps=eps,
        )
        ends.append(norms[4500:].mean() ** 0.5)
    law = equilibrium(Adam(), "adamw", 2.0, layer=Layer(32, 0.1)).norm
    assert abs(law - 1e-3 * (32 / (2 * 2e-3)) ** 0.5) < 0.01 * law
    assert ends[0] > 2 * law and 0.8 * law < ends[1] < 1.02 * law


@pytest.mark.slow
def test_a_layer_with_nothing_to_learn_decays_as_without_gradient():
    """All labels random: the head decays, G with it, and r = r_0 exp(-lr lambda t) to 5 %."""
    norms, _ = trained(lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=1e-2), 3000, wrong=1.0)
    assert norms[-1] ** 0.5 == pytest.approx(4 * math.exp(-3.0), rel=0.05)
