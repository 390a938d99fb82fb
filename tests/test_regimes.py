"""The name of a regime: each where the simulator shows it."""

import math

import numpy as np
import pytest

from regdyn import replay, simulate
from regdyn.gradients import Gaussian, LowGradient
from regdyn.rules import SGD, Adadelta, Adagrad, Adam, AMSGrad, Lion, RMSprop
from regdyn.theory import regime
from regdyn.theory.regimes import NAMES

LANES = 512


def mean(hp, reg, lam, gradient, steps, theta0=1.0):
    """Mean of theta over lanes, at every step."""
    ds = simulate(
        hp, reg, lam, gradient=gradient, steps=steps, lanes=LANES, seed=5, theta0=theta0,
        record=1, statistics="moments", threads=1,
    )  # fmt: skip
    return ds["mean"].squeeze().values


# Regimes with a rate -----------------------------------------------------------------------------

RATES = [
    ("linear", Adam(), "wd", 1e-3, 1e-4, 0.5),
    ("linear", Adam(), "adamw", 1.0, 1e-4, 0.5),
    ("linear", SGD(), "l2", 1e-3, 1e-4, 0.5),
    ("sign-like", Adam(), "l2", 1e-2, 1e-5, 0.5),
    ("sign-like", RMSprop(), "l2", 1e-3, 1e-5, 0.5),
    ("sign-like", Lion(1e-3), "l2", 1e-2, 1e-5, 0.5),
    ("noise-dominated", Adam(), "l2", 1e-2, 1e-1, 0.7),
    ("noise-dominated", RMSprop(3e-3), "l2", 1e-3, 1e-2, 0.7),
    ("noise-dominated", Adadelta(), "l2", 1e-2, 1e-1, 0.7),
    ("noise-dominated", Lion(3e-4), "l2", 1e-2, 1e-1, 0.7),
    ("eps-limited", Adam(eps=1e-2), "l2", 3e-3, 1e-3, 0.7),
    ("eps-limited", Adadelta(eps=1e-2), "l2", 3e-3, 1e-3, 0.7),
]


@pytest.mark.parametrize(("name", "hp", "reg", "lam", "sigma", "theta"), RATES)
def test_a_regime_has_the_rate_that_the_simulator_shows(name, hp, reg, lam, sigma, theta):
    """Leading order: within 10 %; the rates of the other regimes are more than 30 % off."""
    path = mean(hp, reg, lam, Gaussian(std=sigma), 5000 if name == "noise-dominated" else 2500)
    i = int(np.argmax(path < theta))
    around = max(i // 4, 5)
    seen = math.log(path[i - around] / path[i + around]) / (2 * around)
    found = regime(hp, reg, lam, sigma, path[i])
    assert found.name == name
    assert found.rate == pytest.approx(seen, rel=0.1)
    if reg == "l2" and isinstance(hp, Adam | RMSprop):
        rates = {
            "sign-like": hp.lr / theta, "noise-dominated": hp.lr * lam / sigma,
            "eps-limited": hp.lr * lam / hp.eps, "linear": lam,
        }  # fmt: skip
        del rates[name]
        assert all(abs(rate / seen - 1) > 0.3 for rate in rates.values())


def test_sign_like_decay_knows_no_strength():
    """A hundred times the strength, the same path; in the linear regime it is a hundred times."""
    for lam in (1e-3, 1e-1):
        path = mean(Adam(), "l2", lam, Gaussian(std=1e-5), 600)
        assert int(np.argmax(path < 0.5)) == pytest.approx(543, abs=1)
        assert regime("adam", "l2", lam, 1e-5).name == "sign-like"
    rates = [regime("adam", "wd", lam, 1e-5).rate for lam in (1e-3, 1e-1)]
    assert rates[1] / rates[0] == pytest.approx(100)


def test_memory_of_a_burst():
    """Figure 4's: 200 steps after the burst theta waits for v; without the memory it would not."""
    low, lam = LowGradient(), 1e-5
    path, past = mean(Adam(), "l2", lam, low, 400), low.std0 * math.sqrt(1 - 0.99**100)
    seen = math.log(path[280] / path[320]) / 40
    found = regime("adam", "l2", lam, low.std, path[300], past=past, ago=200)
    assert found.name == "memory" and found.rate == pytest.approx(seen, rel=0.05)
    fresh = regime("adam", "l2", lam, low.std, path[300], past=past)
    none = regime("adam", "l2", lam, low.std, path[300])
    assert none.name in ("sign-like", "noise-dominated")
    assert fresh.rate < 0.5 * seen and none.rate > 3 * seen
    assert regime("adam", "l2", lam, low.std, path[300], past=past, ago=2000).name == none.name


def test_amsgrad_remembers_for_ever():
    """Two thousand steps after the burst its rate is the same, and as simulated."""
    low = LowGradient()
    path, past = mean(AMSGrad(), "l2", 1e-4, low, 3000), low.std0 * math.sqrt(1 - 0.99**100)
    for t in (600, 2600):
        found = regime("amsgrad", "l2", 1e-4, low.std, path[t], past=past, ago=t - 100)
        assert found.name == "memory"
        assert found.rate == pytest.approx(math.log(path[t - 100] / path[t + 100]) / 200, rel=0.05)


def test_v_remembers_the_fall_of_theta_itself():
    """Adam without noise at 0.03: v is that of 0.13, so the name is memory and no rate is given."""
    found = regime("adam", "l2", 1e-2, 0.0, 0.03)
    assert found.name == "memory" and math.isnan(found.rate)
    theta = replay(np.zeros((1200, 1)), Adam(), "l2", 1e-2)[:, 0]
    i = int(np.argmax(theta < 0.03))
    seen = math.log(theta[i - 5] / theta[i + 5]) / 10
    assert abs(1e-3 / 0.03 / seen - 1) > 0.5  # a sign-like step would be more than twice as long


# Regimes without decay ---------------------------------------------------------------------------


def test_oscillating_swings_through_zero():
    """SGD above lr lambda = (1 - sqrt(momentum))^2 = 0.0026, and Adam as SGD once eps rules."""
    ball = Adam(1e-3, eps=1e-6)
    for hp, lam, theta in ((SGD(1.0), 0.1, 1.0), (ball, 1e-4, 1e-3)):
        found = regime(hp, "l2", lam, 0.0, theta)
        path = replay(np.zeros((200, 1)), hp, "l2", lam, theta)[:, 0]
        assert found.name == "oscillating" and path.min() < -0.1 * theta < path[-1]
        size = np.abs(path)
        peaks = np.flatnonzero((size[1:-1] > size[:-2]) & (size[1:-1] >= size[2:])) + 1
        seen = math.log(size[peaks[0]] / size[peaks[-1]]) / (peaks[-1] - peaks[0])
        assert -math.log1p(-found.rate) == pytest.approx(seen, rel=0.02)
    assert regime(SGD(1.0), "l2", 2e-3, 0.0).name == "linear"
    assert replay(np.zeros((5000, 1)), SGD(1.0), "l2", 2e-3)[:, 0].min() > 0


def test_unstable_and_edge_of_stability_grow():
    found = regime(SGD(39.0), "l2", 0.1, 0.0)  # lr lambda above 2 (1 + momentum) = 3.8
    assert found.name == "unstable" and found.rate < 0
    grows = np.abs(replay(np.zeros((200, 1)), SGD(39.0), "l2", 0.1)[:, 0])
    assert math.log(grows[-1] / grows[-101]) / 100 == pytest.approx(
        math.log1p(-found.rate), rel=0.05
    )
    assert regime(SGD(37.0), "l2", 0.1, 0.0).name == "oscillating"
    found = regime(AMSGrad(), "l2", 1e-2, 0.0, 1e-6)  # a first step of lr: a thousand times theta
    path = np.abs(replay(np.zeros((5000, 1)), AMSGrad(), "l2", 1e-2, 1e-6)[:, 0])
    assert found.name == "edge of stability" and path.max() > 100e-6 > path[-1]


@pytest.mark.parametrize(
    ("hp", "reg", "lam", "sigma", "side"),
    [
        (Adam(), "l2", 1e-2, 1e-3, "above"), (Adam(), "l2", 1e-2, 1e-6, "below"),
        (Adam(), "wd", 1e-2, 1e-6, "above"), (SGD(), "l2", 1e-2, 1e-5, "below"),
        (Lion(), "l2", 1e-2, 1e-5, "below"),
    ],
)  # fmt: skip
def test_the_floor_is_on_the_side_that_the_simulator_shows(hp, reg, lam, sigma, side):
    ds = simulate(
        hp, reg, lam, gradient=Gaussian(std=sigma), steps=3000, lanes=LANES, seed=3, theta0=0.0,
        record=range(1500, 3001, 50), statistics="moments", threads=1,
    )  # fmt: skip
    rms = math.sqrt((ds["rms"] ** 2).mean())
    assert regime(hp, reg, lam, sigma, 0.9 * rms).name == f"floor {side} threshold"
    assert (rms > 1e-3) == (side == "above")
    above = regime(hp, reg, lam, sigma, 1.1 * rms)
    assert not above.name.startswith("floor") and f"{side} the threshold" in above.reason


def test_nothing_decays_without_a_pull():
    for asked in (("none", 1e-2), ("l2", 0.0), ("wd", 0.0)):
        assert regime("adam", *asked, 1e-5).name == "no decay"
    assert regime(Adam(lr=0.0), "l2").name == regime(Adam(lr=0.0), "adamw").name == "no decay"
    assert regime(Adam(lr=0.0), "wd").name == "linear"  # decays, though nothing else moves


@pytest.mark.parametrize("draws", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_every_name_is_explained_and_no_setting_raises(draws):
    rng, found = np.random.default_rng(0), set()
    for hp in (SGD(), Adam(), Adam(eps=0.0), RMSprop(), AMSGrad(), Adagrad(), Adadelta(), Lion()):
        for _ in range(draws):
            sizes = 10 ** rng.uniform(-9, -0.1, 4) * (rng.random(4) < 0.9)  # or 0
            lam, sigma, theta, past = sizes
            reg = ("l2", "l2", "wd", "adamw", "none")[rng.integers(5)]
            one = regime(hp, reg, lam, sigma, theta, past=past, ago=int(rng.integers(500)))
            assert one.name in NAMES and one.reason.endswith(".") and "nan" not in one.reason
            found.add(one.name)
    assert len(found) >= 6


@pytest.mark.parametrize(
    "asked", [dict(theta=math.nan), dict(past=-1), dict(ago=1.5), dict(threshold=0)]
)
def test_bad_input_to_a_regime(asked):
    with pytest.raises(ValueError, match=next(iter(asked))):
        regime("adam", **asked)
