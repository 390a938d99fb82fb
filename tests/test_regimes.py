"""Regimes, noise floors and whether theta stays below a threshold: each against the simulator."""

import math

import numpy as np
import pytest

from regdyn import replay, simulate
from regdyn.gradients import Gaussian, LowGradient
from regdyn.rules import SGD, Adadelta, Adagrad, Adam, AMSGrad, Lion, RMSprop
from regdyn.theory import floor, regime, stay_below
from regdyn.theory.regimes import NAMES

LANES = 512


def mean(hp, reg, lam, gradient, steps, theta0=1.0):
    """Mean of theta over lanes, at every step."""
    ds = simulate(
        hp, reg, lam, gradient=gradient, steps=steps, lanes=LANES, seed=5, theta0=theta0,
        record=1, statistics="moments", threads=1,
    )  # fmt: skip
    return ds["mean"].squeeze().values


def late(hp, reg, lam, sigma, steps, *, theta0=0.0, last=None, seed=3, lanes=1024):
    """theta (step, lane) at some 40 steps of the second half, or at each of the last `last`."""
    record = np.arange(steps // 2, steps + 1, max(steps // 80, 1))
    record = record if last is None else np.arange(steps - last, steps) + 1
    ds = simulate(
        hp, reg, lam, gradient=Gaussian(std=sigma), steps=steps, lanes=lanes, seed=seed,
        theta0=theta0, record=record, keep_lanes=True, statistics="moments", threads=1,
    )  # fmt: skip
    theta = ds["theta"].squeeze(["rule", "reg", "lam"])
    return theta.transpose("step", "lane").values[-len(record) :]


def seen_below(theta, b):
    """Share of lanes and times below b, and its standard error: lanes are independent."""
    of_lanes = (np.abs(theta) < b).mean(axis=0)
    return of_lanes.mean(), of_lanes.std() / math.sqrt(len(of_lanes))


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
    path = mean(hp, reg, lam, Gaussian(std=sigma), 5000)
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
    rms = math.sqrt((late(hp, reg, lam, sigma, 3000) ** 2).mean())
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


# Floors ------------------------------------------------------------------------------------------


def test_a_floor_is_the_law_if_valid_else_the_closure():
    end = floor("adam", "l2", 1e-3, 1e-4)
    assert end.law.valid and end.std == end.law.value
    assert end.closure == pytest.approx(end.std, rel=0.02)
    end = floor("adam", "l2", 1e-2, 1e-7)  # theta makes most of v: the law refuses
    assert not end.law.valid and end.std == end.closure != end.law.value
    seen = late(Adam(), "l2", 1e-2, 1e-7, 4000)
    assert math.sqrt((seen**2).mean()) == pytest.approx(end.std, rel=0.05)
    assert floor("adagrad", steps=1000).steps == 1000 and floor("adagrad").steps == 406_250


def test_a_floor_of_what_has_not_arrived():
    """AMSGrad after 2000 steps: mean and spread as simulated."""
    end = floor("amsgrad", "l2", 1e-3, 1e-3, steps=2000)
    seen = late(AMSGrad(), "l2", 1e-3, 1e-3, 2000, theta0=1.0, last=1)[0]
    assert end.mean == pytest.approx(seen.mean(), abs=4 * seen.std() / 32)
    assert end.std == pytest.approx(seen.std(), rel=4 / math.sqrt(2 * 1024) + 0.02)


@pytest.mark.parametrize(
    "hp", [RMSprop(1e-2, 0.9, 0.0), Adam(1e-2, 0.9, 0.99, 0.0), Lion(1e-2), SGD(), Adam(eps=1e-3)]
)
def test_a_floor_without_noise(hp):
    """A cycle whose size is that of lr, or nothing. Where momentum modulates it: within 12 %."""
    starts = np.linspace(0.02, 0.98, 9) * 1e-2
    theta = replay(np.zeros((6000, 9)), hp, "l2", 1e-2, starts)[3000:]
    end, rms = floor(hp, "l2", 1e-2, 0.0), math.sqrt((theta**2).mean())
    assert end.std == pytest.approx(rms, rel=0.12, abs=1e-9)
    assert floor(hp, "wd", 1e-2, 0.0).std == 0


def test_what_has_no_floor():
    assert (
        floor("adam", "none").std == math.inf and floor(SGD(50.0), "l2", 0.1, 0.0).std == math.inf
    )
    assert floor(Adam(lr=0.0), "l2")[:2] == (1.0, 0.0)
    assert stay_below("adam", "none").share == 0.0


# Will it stay? -----------------------------------------------------------------------------------

STAYS = [
    (Adam(), "l2", 1e-2, 1e-4, 2e-3, 4000),
    (Adam(), "l2", 1e-3, 1e-6, 1e-3, 4000),
    (Adam(1e-2, 0.5, 0.9), "l2", 1e-2, 1e-2, 0.1, 4000),
    (RMSprop(), "wd", 1e-2, 1e-3, 5e-3, 4000),
    (SGD(), "l2", 1e-2, 1e-4, 1e-3, 4000),
    (AMSGrad(), "wd", 1e-2, 1e-4, 3e-3, 4000),
    (Adagrad(), "wd", 1e-2, 1e-3, 1e-3, 4000),
    (Adadelta(), "l2", 1e-2, 1e-3, 1e-2, 4000),
    (Lion(1e-5), "l2", 1e-2, 1e-3, 3e-3, 20_000),
]


@pytest.mark.parametrize(("hp", "reg", "lam", "sigma", "b", "steps"), STAYS)
def test_the_share_below_is_that_of_the_simulator(hp, reg, lam, sigma, b, steps):
    """To 1 point (2 % of the std) and 3 standard errors; the control is a floor 15 % off."""
    lasting = steps if isinstance(hp, Adagrad | AMSGrad) else None
    theta = late(
        hp, reg, lam, sigma, steps, last=1 if lasting else None, lanes=4096 if lasting else 1024
    )
    share, error = seen_below(theta, b)
    stay = stay_below(hp, reg, lam, sigma, threshold=b, steps=lasting, theta0=0.0)
    assert stay.valid, stay.reason
    assert abs(stay.share - share) < 0.01 + 3 * error < 0.04
    wrong = math.erf(b / (1.2 * stay.floor.std) / math.sqrt(2))
    assert abs(wrong - share) > 0.01 + 3 * error


def test_at_the_bound_68_percent_are_below_only_where_the_leading_order_holds():
    r"""sigma = 2 lambda b^2 / lr: lr lambda / sigma is then lr^2 / (2 b^2).

    With lr = b / 10 and sigma far above eps it is 0.005, and the floor's rms is b. At the paper's
    lr = b it is 0.5, whatever lambda: the rms is 5 % low, and 59 % low at lambda = 1e-6, where
    sigma is a fifth of eps. The share that `stay_below` gives there holds everywhere.
    """
    b = 1e-3
    expected = {
        (1e-4, 1e-2): (0.0, 0.683), (1e-3, 1e-2): (-0.05, 0.705), (1e-3, 1e-3): (-0.05, 0.706),
        (1e-3, 1e-4): (-0.07, 0.716), (1e-3, 1e-5): (-0.20, 0.79), (1e-3, 1e-6): (-0.59, 0.986),
    }  # fmt: skip
    for (lr, lam), (off, below) in expected.items():
        hp, sigma = Adam(lr), 2 * lam * b * b / lr
        stay = stay_below(hp, "l2", lam, sigma, threshold=b)
        assert stay.bound == pytest.approx(sigma) and stay.bound_share == stay.share and stay.valid
        theta = late(hp, "l2", lam, sigma, 8000)
        share, error = seen_below(theta, b)
        assert abs(stay.share - share) < 0.01 + 3 * error
        assert math.sqrt((theta**2).mean()) / b - 1 == pytest.approx(off, abs=0.015)
        assert share == pytest.approx(below, abs=0.005 + 3 * error)
        if lr == b:
            assert abs(share - 0.683) > 3 * error + 0.01


@pytest.mark.parametrize(("rule", "b"), [("adam", 1e-3), ("rmsprop", 1e-3), ("adam", 3e-3)])
def test_under_weight_decay_only_a_dead_feature_stays_below(rule, b):
    """Gradients of 1e-7 to 1: few are below, and as few. The line is drawn by eps."""
    shares = [stay_below(rule, "wd", 1e-2, s, threshold=b).share for s in (1e-7, 1e-5, 1e-3, 1.0)]
    assert max(shares) < 0.4 and max(shares) - min(shares) < 0.05
    stay = stay_below(rule, "wd", 1e-2, 1e-3, threshold=b)
    assert "only a dead feature" in stay.reason and stay.bound < 1e-8
    hp = {"adam": Adam(), "rmsprop": RMSprop()}[rule]
    for sigma, expected in (
        (1e-3, stay.share),
        (stay.bound, stay.bound_share),
        (stay.bound / 10, 1.0),
    ):
        share, error = seen_below(late(hp, "wd", 1e-2, sigma, 3000), b)
        assert abs(share - expected) < 0.02 + 3 * error
    assert stay_below(rule, "wd", 1e-2, stay.bound / 10, threshold=b).share > 0.999
    dead = stay_below(rule, "wd", 1e-2, 0.0, threshold=b)
    assert (dead.share, dead.valid) == (1.0, True)
    assert stay_below(rule, "wd", 0.9, 1e-3, threshold=b).bound == math.inf  # lr^2 / 2 lambda < b^2
    assert "dead" not in stay_below(rule, "l2", 1e-2, 1e-3, threshold=b).reason


@pytest.mark.parametrize(
    ("hp", "reg", "lam", "sigma", "b"),
    [
        (SGD(1.0, 0.0), "l2", 5e-2, 1e-2, 0.09),
        (SGD(1e-2, 0.9), "wd", 1e-3, 1e-2, 3e-2),
        (Adam(1e-2), "l2", 1e-2, 1e-1, 0.4),
        (RMSprop(), "wd", 3e-2, 1e-3, 1.2e-2),
    ],
)
def test_staying_for_a_while(hp, reg, lam, sigma, b, monkeypatch):
    """Each of 300 steps below b: within 2 points and 3 standard errors; not so if steps were
    independent of each other or, where they are a tenth of b, if theta were watched all the time.
    """
    theta = late(hp, reg, lam, sigma, 6000, last=300, lanes=2048)
    seen = (np.abs(theta) < b).all(axis=0).mean()
    error = math.sqrt(seen * (1 - seen) / 2048)
    stay = stay_below(hp, reg, lam, sigma, threshold=b, window=300)
    assert 0.1 < seen < 0.9 and abs(stay.window - seen) < 0.02 + 3 * error
    assert stay.share**300 < seen - 0.1 and seen + 0.1 < stay.share
    monkeypatch.setattr("regdyn.theory.passage.OVERSHOOT", 0.0)
    monkeypatch.setattr("regdyn.theory.passage.milne", lambda bm: 0.0)
    watched = stay_below(hp, reg, lam, sigma, threshold=b, window=300).window
    assert watched < stay.window
    if isinstance(hp, RMSprop) or hp == SGD(1.0, 0.0):
        assert watched < seen - 0.02 - 3 * error


def test_a_window_far_out_and_one_without_an_estimate():
    assert stay_below("sgd", "l2", 1e-4, 1e-9, window=1000).window == pytest.approx(1.0, abs=1e-9)
    assert stay_below("adam", "l2", 1e-4, 1e-5, window=1000).window < 1e-6
    assert math.isnan(stay_below("lion", "wd", 1e-3, 1e-5, window=10).window)
    assert stay_below("adam", "wd", 1e-3, 1e-12, window=10).window == pytest.approx(1.0, abs=1e-9)


def test_a_cycle_is_no_gaussian_and_said_so():
    """RMSprop near the edge, a quarter of the cycle's size below: the Gaussian share is wrong."""
    hp, lam, sigma = RMSprop(1e-2, 0.99, 1e-12), 1e-2, 1e-6
    stay = stay_below(hp, "l2", lam, sigma, threshold=3.7e-3)
    share, error = seen_below(late(hp, "l2", lam, sigma, 6000), 3.7e-3)
    assert not stay.valid and "edge of stability" in stay.reason
    assert abs(stay.share - share) > 0.05 + 3 * error
    far = stay_below(hp, "l2", lam, sigma, threshold=0.1)  # Chebyshev
    assert far.valid and far.share > 0.98
    lattice = stay_below("lion", "l2", 1e-2, 1e-5, threshold=1e-4)
    assert not lattice.valid and "not Gaussian" in lattice.reason


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (dict(rule="adm"), "did you mean 'adam'"), (dict(reg="l1"), "did you mean 'l2'"),
        (dict(lam=-1), "lambda"), (dict(lam=2, reg="wd"), "< 1 under wd"),
        (dict(sigma=math.nan), "sigma"), (dict(threshold=0), "threshold"),
        (dict(window=0), "window"), (dict(steps=0), "steps"), (dict(theta0=math.inf), "theta0"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(asked, words):
    asked = {"rule": "adam", **asked}
    with pytest.raises(ValueError, match=words) as error:
        stay_below(**asked)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "asked", [dict(theta=math.nan), dict(past=-1), dict(ago=1.5), dict(threshold=0)]
)
def test_bad_input_to_a_regime(asked):
    with pytest.raises(ValueError, match=next(iter(asked))):
        regime("adam", **asked)


# How often it is right ---------------------------------------------------------------------------


def settings(seed, each):
    """Random rules, strengths and sizes: log-uniform, as in `sims.laws_check`."""
    rng = np.random.default_rng(seed)

    def log(low, high):
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    for name in ("sgd", "adam", "rmsprop", "lion", "adadelta", "amsgrad", "adagrad"):
        for reg in ("l2", "wd"):
            for _ in range(each):
                lr, b1, b2, eps = (
                    log(1e-4, 0.1),
                    1 - log(0.01, 1),
                    1 - log(5e-4, 0.2),
                    log(1e-12, 1e-4),
                )
                hp = {
                    "sgd": SGD(lr, b1), "adam": Adam(lr, b1, b2, eps), "lion": Lion(lr, b1, b2),
                    "rmsprop": RMSprop(lr, b2, eps), "adadelta": Adadelta(1.0, b2, eps),
                    "amsgrad": AMSGrad(lr, b1, b2, eps), "adagrad": Adagrad(lr, eps),
                }[name]  # fmt: skip
                yield hp, reg, log(1e-4, 0.1), log(1e-7, 1.0), log(0.1, 10.0)


@pytest.mark.slow
def test_how_often_the_share_is_right():
    """What docs/laws/stay-below.md says of 112 random settings; `-s` prints the counts."""
    counts = dict.fromkeys(
        ("settled", "valid", "right", "refused, wrong", "windows", "right windows"), 0
    )
    for hp, reg, lam, sigma, level in settings(20261124, 8):
        n, lasting = 40_000, isinstance(hp, Adagrad | AMSGrad)
        asked = {"steps": n if lasting else None, "theta0": 1.0 if lasting else 0.0}
        b = level * floor(hp, reg, lam, sigma, **asked).std
        stay = stay_below(hp, reg, lam, sigma, threshold=b, window=200, **asked)
        record = np.unique(np.r_[10_000 : n - 200 : 500, n - 200 : n] + 1)
        ds = simulate(
            hp, reg, lam, gradient=Gaussian(std=sigma), steps=n, lanes=1000, seed=11,
            theta0=asked["theta0"], record=record, keep_lanes=True, statistics="moments", threads=1,
        )  # fmt: skip
        theta = ds["theta"].squeeze(["rule", "reg", "lam"]).transpose("step", "lane").values
        half, last = (record <= 20_000), (record > (0.9 * n if lasting else 20_000))
        early, rms = (math.sqrt((theta[at] ** 2).mean()) for at in (half, last))
        if not lasting and abs(early - rms) > 0.03 * rms:
            continue
        share, error = seen_below(theta[last], b)
        right = abs(stay.share - share) <= 0.02 + 3 * error
        counts["settled"] += 1
        counts["valid"] += stay.valid
        counts["right"] += stay.valid and right
        counts["refused, wrong"] += not stay.valid and not right
        if stay.valid and not right:
            print(hp, reg, lam, sigma, stay, share, rms)
        if not math.isnan(stay.window):
            seen = (np.abs(theta[-200:]) < b).all(axis=0).mean()
            error = math.sqrt(max(seen * (1 - seen), 1e-3) / 1000)
            counts["windows"] += 0.02 < seen < 0.98
            counts["right windows"] += (
                0.02 < seen < 0.98 and abs(stay.window - seen) <= 0.02 + 3 * error
            )
    print(counts)
    assert counts["right"] >= 0.98 * counts["valid"]
