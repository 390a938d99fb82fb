"""The moment closure: exact where it must be, near the simulation elsewhere, wrong at order 1."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regdyn
from regdyn.gradients import AR1, Gaussian, Tape, Well
from regdyn.rules import (
    RULES,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AMSGrad,
    Lion,
    RMSprop,
    name_of,
)  # fmt: skip
from regdyn.theory import predict

LANES = 2048


def both(rule, reg, lam, *, steps, **kwargs):
    """Prediction, simulation, and one standard error of the simulated mean and rms."""
    args = {"reg": reg, "lam": lam, "steps": steps, "record": max(steps // 50, 1), **kwargs}
    seen = regdyn.simulate(rule, lanes=LANES, seed=7, threads=1, **args)
    error = seen["std"] / math.sqrt(LANES)
    return predict(rule, **args), seen, error


def linear(hp, reg, lam, std, steps, *, curvature=0.0, center=0.0, mean=0.0):
    """Mean and variance of theta under SGD by its matrix, written out independently."""
    l2, decay = (lam, 0.0) if reg == "l2" else (0.0, lam)
    mu, lr, K = hp.momentum, hp.lr, l2 + curvature
    grow = np.array([[0.0, 0.0], [K, mu]])
    move = np.array([lr * K, lr * mu])
    if hp.nesterov:
        move = lr * (np.array([K, 0.0]) + mu * grow[1])
    A = np.array([(1 - decay) * (np.array([1.0, 0.0]) - move), grow[1]])
    kick = np.array([-(1 - decay) * lr * (1 + mu if hp.nesterov else 1.0), 1.0])
    x, P, out = np.array([1.0, 0.0]), np.zeros((2, 2)), [(1.0, 0.0)]
    for _ in range(steps):
        x = A @ x + kick * (mean - curvature * center)
        P = A @ P @ A.T + std**2 * np.outer(kick, kick)
        out.append((x[0], P[0, 0]))
    return np.array(out).T


@pytest.mark.parametrize("reg", ["l2", "wd"])
@pytest.mark.parametrize(
    "hp", [SGD(), SGD(momentum=0.0), SGD(lr=0.03, momentum=0.97, nesterov=True)]
)
@pytest.mark.parametrize("curvature", [0.0, 0.02])
def test_sgd_is_exact(hp, reg, curvature):
    gradient = Well(curvature, 0.3, 1e-2) if curvature else Gaussian(mean=2e-3, std=1e-2)
    ds = predict(hp, reg=reg, lam=3e-3, gradient=gradient, steps=300, record=1).squeeze()
    push = {"curvature": curvature, "center": 0.3} if curvature else {"mean": 2e-3}
    mean, var = linear(hp, reg, 3e-3, 1e-2, 300, **push)
    np.testing.assert_allclose(ds["mean"], mean, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(ds["std"] ** 2, var, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("name", RULES)
def test_weight_decay_of_the_mean_is_exact(name):
    """Under wd and symmetric noise E theta_t = (1 - lambda)^t, whatever the rule."""
    ds = predict(name, reg="wd", lam=2e-3, gradient=Gaussian(std=1e-3), steps=2000, record=50)
    np.testing.assert_allclose(
        ds["mean"].squeeze(), (1 - 2e-3) ** ds["step"].values, rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adagrad", "rmsprop", "lion"])
def test_first_step_of_noise(name):
    """The first step is lr sign(g), or a multiple: E = lr erf(b / sqrt(2) sigma), exactly."""
    hp = RULES[name].hyper(**({"eps": 0.0} if name != "lion" else {}))
    scale = 1 / math.sqrt(1 - hp.alpha) if name == "rmsprop" else 1.0
    b = 0.1
    gradient = Gaussian(std=1.0)
    ds = predict(hp, lam=b, gradient=gradient, steps=1)
    step = float(1 - ds["mean"].squeeze()[-1]) / (hp.lr * scale)
    accuracy = 0.03 if name == "amsgrad" else 0.01  # its largest v is on a grid
    assert step == pytest.approx(math.erf(b / math.sqrt(2)), rel=accuracy)
    naive = predict(hp, lam=b, gradient=gradient, steps=1, order=1)
    naive = float(1 - naive["mean"].squeeze()[-1]) / (hp.lr * scale)
    assert abs(naive / step - 1) > 0.2


CELLS = [
    (Adam(), "l2", 1e-3, Gaussian(std=1e-3), 8000),
    (Adam(), "l2", 1e-4, "low", 8000),
    (Adam(), "wd", 1e-3, "low", 8000),
    (Adam(beta1=0.5, beta2=0.85, eps=1e-4), "l2", 1e-2, Gaussian(std=3e-4), 8000),
    (RMSprop(alpha=0.9), "l2", 1e-3, Gaussian(std=1e-3), 8000),
    (RMSprop(), "wd", 1e-3, Gaussian(std=1e-2), 8000),
    (AMSGrad(), "l2", 1e-3, Gaussian(std=1e-3), 10_000),
    (AMSGrad(beta2=0.9), "l2", 1e-3, "low", 10_000),
    (AMSGrad(flavour="original"), "wd", 1e-3, Gaussian(std=1e-3), 8000),
    (Adagrad(), "l2", 1e-3, "low", 10_000),
    (Adagrad(), "wd", 1e-3, Gaussian(std=1e-3), 8000),
    (Adadelta(), "l2", 1e-3, Gaussian(std=1e-3), 8000),
    (Adadelta(), "l2", 1e-3, Gaussian(std=1e-2), 8000),
    (Adadelta(rho=0.8), "wd", 1e-2, Gaussian(std=1.0), 4000),
    (Lion(), "l2", 1e-3, Gaussian(std=1e-3), 20_000),
    (Lion(), "wd", 1e-3, Gaussian(std=1e-3), 8000),
    (Adam(), "l2", 1e-3, AR1(phi=0.5, std=1e-3), 8000),
]


@pytest.mark.parametrize(
    "cell", CELLS, ids=[f"{name_of(hp)}-{r}-{i}" for i, (hp, r, *_) in enumerate(CELLS)]
)
def test_against_simulation(cell):
    """Mean within 0.6 % of the start, late rms within 2 %, both beside 4 standard errors."""
    hp, reg, lam, gradient, steps = cell
    ours, seen, error = both(hp, reg, lam, gradient=gradient, steps=steps)
    assert (np.abs(ours["mean"] - seen["mean"]) < 4 * error + 0.006).all()
    late = {"step": slice(0.9 * steps, None)}
    a, b = (float(np.sqrt((ds["rms"].sel(**late) ** 2).mean())) for ds in (ours, seen))
    assert abs(a / b - 1) < 0.02 + 4 / math.sqrt(2 * LANES)
    shares = np.abs(ours["share_below"] - seen["share_below"]).sel(**late).mean()
    assert shares < 0.02


def test_mean_field_misses():
    """The negative control: without fluctuations nothing spreads, and Adam's start is too fast."""
    cells = [CELLS[0], CELLS[3], CELLS[7], CELLS[13]]
    for hp, reg, lam, gradient, steps in cells:
        args = {"reg": reg, "lam": lam, "gradient": gradient, "steps": steps}
        naive, ours = predict(hp, order=1, **args), predict(hp, **args)
        assert float(naive["std"].max()) == 0
        assert float(naive["rms"].squeeze()[-1]) < 0.5 * float(ours["rms"].squeeze()[-1])


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adagrad", "rmsprop"])
def test_without_noise_it_is_the_rule(name):
    """No noise, no spread: the closure is the rule itself while theta is far from 0."""
    args = {"lam": 1e-2, "gradient": Gaussian(std=0.0), "steps": 150, "record": 1}
    seen = regdyn.simulate(name, lanes=1, **args)
    np.testing.assert_allclose(predict(name, **args)["mean"], seen["mean"], rtol=1e-8)


def test_amsgrad_flavours_differ():
    """They remember a burst at different heights; optax's, set by a few first steps, badly."""
    kinds = [AMSGrad(flavour=f) for f in ("torch", "original", "optax")]
    t = predict(kinds, lam=1e-3, steps=30_000)["first_passage_median"].sel(threshold=0.1)
    seen = regdyn.simulate(kinds, lam=1e-3, steps=30_000, lanes=1000, threads=1)
    seen = seen["first_passage_median"].sel(threshold=0.1)
    error = np.abs(t / seen - 1).squeeze().values
    assert (error[:2] < 0.015).all()
    assert error[2] < 0.35
    assert float((seen[2] / seen[0]).squeeze()) > 1.3


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(RULES)),
    st.sampled_from(["l2", "wd", "adamw"]),
    st.floats(1e-6, 1e-2),
    st.floats(1e-6, 1e-1),
)
def test_odd_symmetry(name, reg, lam, std):
    """theta -> -theta: the mean changes sign, nothing else changes."""
    args = {"reg": reg, "lam": lam, "gradient": Gaussian(std=std), "steps": 400}
    a, b = predict(name, **args), predict(name, theta0=-1.0, **args)
    np.testing.assert_array_equal(a["mean"], -b["mean"])
    for name_ in ("std", "rms", "share_below", "first_passage_median"):
        np.testing.assert_allclose(a[name_], b[name_], rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["sgd", "adagrad", "adam"]), st.floats(0.1, 10.0))
def test_scale_of_the_gradient(name, c):
    """Adam and Adagrad at eps = 0 do not see c in c (g + lambda theta); SGD takes it as lr."""
    hp = RULES[name].hyper()
    hp = hp._replace(eps=0.0) if name != "sgd" else hp
    other = hp._replace(lr=hp.lr / c) if name == "sgd" else hp
    a = predict(hp, lam=1e-3, gradient=Gaussian(std=1e-3), steps=500)
    b = predict(other, lam=c * 1e-3, gradient=Gaussian(std=c * 1e-3), steps=500)
    np.testing.assert_allclose(a["mean"].squeeze(), b["mean"].squeeze(), rtol=1e-8)
    np.testing.assert_allclose(a["std"].squeeze(), b["std"].squeeze(), rtol=1e-6, atol=1e-14)


def test_dataset_has_the_shape_of_a_simulation():
    args = {"reg": ["l2", "wd"], "lam": [1e-3, 1e-4], "steps": 2000, "schedule": "paper"}
    rules = [Adam(), Adam(beta2=0.999), "sgd"]
    ours = predict(rules, theta0=[1.0, 0.1], **args)
    seen = regdyn.simulate(rules, theta0=[1.0, 0.1], lanes=8, **args)
    for name in ours.data_vars:
        assert ours[name].dims == seen[name].dims, name
        assert ours[name].attrs["units"] == seen[name].attrs["units"]
        assert ours[name].shape == seen[name].shape
    assert list(ours["rule"].values) == list(seen["rule"].values)
    assert "config" in ours.attrs and "git_revision" in ours.attrs
    assert "lanes" not in ours.attrs and "seed" not in ours.attrs


def test_schedule_and_start():
    """A cosine schedule, a start below the first threshold, and a start elsewhere."""
    ours, seen, error = both(Adam(), "wd", 2e-3, steps=3000, schedule="cosine", theta0=0.3)
    assert (np.abs(ours["mean"] - seen["mean"]) < 4 * error + 0.003).all()
    assert float(ours["first_passage_median"].sel(threshold=0.5).squeeze()) == 0


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"gradient": Tape(np.ones(10)), "steps": 10}, "replay"),
        ({"order": 3}, "order"),
        ({"lam": -1.0}, "lambda"),
        ({"reg": "l3"}, "regulariser"),
        ({"steps": 0}, "steps"),
        ({"theta0": math.nan}, "theta0"),
    ],
)
def test_bad_input(kwargs, words):
    with pytest.raises(ValueError, match=words) as error:
        predict("adam", **kwargs)
    assert "\n" not in str(error.value)


def test_growth_is_announced():
    with pytest.warns(RuntimeWarning, match="grows without bound"):
        predict(SGD(lr=3.0, momentum=0.0), lam=1.0, steps=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict("adam", lam=10.0, steps=5)


@pytest.mark.parametrize("rule", ["sgd", "adam", "adadelta", "rmsprop", "lion"])
@pytest.mark.parametrize("reg", ["l2", "wd"])
def test_a_setting_at_rest_is_not_followed_but_stays_the_same(rule, reg):
    """A schedule that changes at the very end keeps the closure going to there."""
    args = {"reg": reg, "lam": [1e-4, 1e-2], "gradient": Gaussian(1e-4), "steps": 20_000}
    late = np.ones(20_000)
    late[-1] = 0.999
    short = predict(rule, record=50, **args).isel(step=slice(-1))
    long = predict(rule, record=50, schedule=late, **args).isel(step=slice(-1))
    size = long["rms"].values
    np.testing.assert_array_less(np.abs(short["mean"] - long["mean"]), 1e-6 * size)
    np.testing.assert_allclose(short["std"], long["std"], rtol=1e-6)
    np.testing.assert_array_equal(short["first_passage_median"], long["first_passage_median"])
