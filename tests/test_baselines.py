"""Baselines against closed forms, the theory, and records whose fate is known."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regdyn import baselines, fitted, rules
from regdyn.baselines import BASELINES, NEED_PILOT, cut
from regdyn.filters.record import GRADIENT, STATE, Record, Run
from regdyn.gradients import Gaussian
from regdyn.theory.times import times_to

EVERY = 20
ADAM = rules.Adam()


def record(gamma, sigma=1e-3, **rest):
    """A record of these gamma, shape (K, n), under noise of this size; one layer by default."""
    k, n = np.shape(gamma)
    arrays = dict.fromkeys(STATE, np.ones((k, n))) | dict.fromkeys(GRADIENT, np.zeros((k - 1, n)))
    known = dict.fromkeys(Record._fields, np.ones(n)) | arrays
    known |= {"step": np.arange(k) * EVERY, "gamma": np.array(gamma), "names": ("C1", "C2")}
    known |= {"grad_gamma_std": np.broadcast_to(sigma, (k - 1, n)), "layer": np.zeros(n, int)}
    return Record(**(known | rest))


def steady(gammas, sigma=1e-3, *, at=100, steps=4000, rule=ADAM, reg="l2", lam=1e-2, **rest):
    """A run with these gamma from step 0 to `at`, of which nothing more is known."""
    gamma = np.tile(np.asarray(gammas, float), (at // EVERY + 1, 1))
    return Run(record(gamma, sigma, **rest), rule, reg, lam, np.ones(steps))


# The scalar law ---------------------------------------------------------------------------------


@given(st.floats(0.05, 1.5), st.floats(-5.0, -1.0), st.floats(-3.0, -1.0))
def test_frozen_sigma_is_the_closed_form_under_adam(start, log_sigma, log_lam):
    """t = (F(g0) - F(g1)) / lr, F(g) = sqrt(g^2 + a^2) - a asinh(a / g), of a v without memory."""
    rule, sigma, lam = ADAM._replace(beta2=0.8), 10**log_sigma, 10**log_lam
    a = sigma / lam

    def F(g):
        return math.hypot(g, a) - a * math.asinh(a / g)

    exact = (F(start) - F(0.01)) / rule.lr
    steps = 100 + int(1.5 * min(exact, 2e4)) + 200
    said = baselines.frozen_sigma(steady([start], sigma, rule=rule, lam=lam, steps=steps))
    if exact > steps:
        assert said.t == math.inf and said.p == 0
    elif exact < 0.9 * steps:  # v lags by a few steps: docs/laws/adam-time.md
        assert said.t[0] - 100 == pytest.approx(exact, rel=0.02, abs=40)


@pytest.mark.parametrize("rule", [rules.SGD(), ADAM, rules.RMSprop()])
@pytest.mark.parametrize("sigma", [1e-3, 1e-4])
def test_every_rule_is_as_the_theory_has_it(rule, sigma):
    """The mean's time from 0.5 to 0.01, against the closure.

    RMSprop's first steps are long: there, once v is full, it is Adam without momentum.
    """
    lam, same = 1e-2, rules.Adam(beta1=0.0) if isinstance(rule, rules.RMSprop) else rule
    theory = times_to(same, "l2", lam, Gaussian(std=sigma), level=0.01, theta0=0.5)
    early = steady([0.5], sigma, rule=rule, lam=lam, steps=100 + 2 * int(theory.mean) + 400)
    assert baselines.frozen_sigma(early).t[0] - 100 == pytest.approx(theory.mean, rel=0.1)


def test_adagrad_remembers_what_it_has_seen():
    """Its S holds 100 steps of noise 1e-2: d ln gamma = -lr lam / sqrt(S), S = 100 sigma^2 + ..."""
    sigma, lam, rule = 1e-2, 1e-3, rules.Adagrad(lr=0.1)
    early = steady([1.0], sigma, rule=rule, lam=lam, steps=2100)
    path, grid = baselines.law_path(early, lambda step: np.ones(1))
    efolds = rule.lr * lam / sigma * 2 * (np.sqrt(grid) - 10.0)  # lam gamma is small beside sigma
    assert -path[:, 0] == pytest.approx(efolds, rel=0.03)


def test_amsgrad_remembers_the_largest():
    """Noise was ten times larger once: ten times fewer e-folds are left."""
    rule, quiet, n = rules.AMSGrad(), 1e-2, 500 // EVERY
    loud = np.where(np.arange(n) < 10, 10 * quiet, quiet)[:, None]
    gamma = np.full((n + 1, 1), 0.1)
    left = []
    for sigma in (loud, quiet):
        early = Run(record(gamma, sigma), rule, "l2", 1e-3, np.ones(2000))
        path, _ = baselines.law_path(early, lambda step: np.ones(1))
        left.append(path[0, 0] - path[-1, 0])
    largest = math.sqrt(1 - 0.99**200)  # of 100: v after 200 steps, which is looked at corrected
    assert left[1] / left[0] == pytest.approx(10, rel=0.02) and 0.9 < largest < 1


@pytest.mark.parametrize("reg, rate", [("wd", 4e-3), ("adamw", 4e-3 * 1e-3)])
def test_decay_shrinks_whatever_the_noise_is(reg, rate):
    time = math.log(0.8 / 0.01) / rate
    early = steady([0.8, 0.8], [1e-6, 10.0], reg=reg, lam=4e-3, steps=int(2.5 * time))
    said = baselines.frozen_sigma(early)
    assert said.t - 100 == pytest.approx(time, rel=2e-3)
    assert said.p.tolist() == [1, 1] and said.total == 100


def test_the_schedule_counts():
    """A drop to a tenth at step 1100: what is left then takes ten times as long."""
    early = steady([1.0], reg="wd", lam=2e-3, steps=40_000)
    free = baselines.frozen_sigma(early).t[0]
    scale = np.where(np.arange(40_000) < 1100, 1.0, 0.1)
    slow = baselines.frozen_sigma(early._replace(scale=scale)).t[0]
    assert slow == pytest.approx(1100 + 10 * (free - 1100), rel=2e-3)


@pytest.mark.parametrize("reg, lam", [("none", 0.0), ("l2", 0.0)])
def test_without_decay_nothing_dies(reg, lam):
    said = baselines.frozen_sigma(steady([1.0, 0.02], reg=reg, lam=lam))
    assert said.total == 0 and np.all(said.t == math.inf)


def test_noise_is_that_of_the_last_quarter():
    noise = np.concatenate([np.full(15, 1.0), np.full(5, 1e-3)])[:, None]
    early = Run(
        record(np.full((21, 1), 0.1), noise), rules.Adam(beta2=0.0), "l2", 1e-3, np.ones(800)
    )
    assert baselines.sigma(early) == pytest.approx(1e-3)
    assert baselines.recent(early.record) == slice(15, 20)
    assert baselines.recent(record(np.ones((2, 1)))) == slice(0, 1)


def test_collapsed_is_not_yet_dead():
    """exp(-4.9) = 7e-3 at the end: below 1e-2, above 1e-3."""
    said = baselines.frozen_sigma(steady([1.0, 0.1], reg="wd", lam=4.9e-3, steps=1100))
    assert said.p.tolist() == [0, 1]
    assert said.t - 100 == pytest.approx([math.log(100) / 4.9e-3, math.log(10) / 4.9e-3])


# With a pilot -----------------------------------------------------------------------------------


def pair(course, *, factor=1.0):
    """An early run of four filters in two layers, and a pilot whose noise follows `course`."""
    layer = np.array([0, 0, 1, 1])
    early = steady([0.5, 0.5, 0.5, 0.5], [1e-2, 2e-2, 1e-2, 2e-2], lam=1e-2, layer=layer)
    windows = early.steps // EVERY
    gamma = np.ones((windows + 1, 4))
    gamma[windows // 2 :, 2:] = 1e-4
    noise = factor * course(np.arange(windows) / windows)
    return early, early._replace(record=record(gamma, noise, layer=layer))


def test_constant_noise_in_the_pilot_is_frozen_sigma():
    early, pilot = pair(lambda x: np.full((len(x), 4), 3e-3))
    ours, frozen = baselines.pilot_sigma(early, pilot), baselines.frozen_sigma(early)
    assert ours.score == pytest.approx(frozen.score) and ours.t == pytest.approx(frozen.t)


def test_noise_follows_its_own_layer_and_its_course_only():
    def course(x):
        return np.stack([0 * x + 1e-2] * 2 + [1e-2 * np.exp(-6 * x)] * 2, axis=1)

    early, pilot = pair(course)
    ours, frozen = baselines.pilot_sigma(early, pilot), baselines.frozen_sigma(early)
    assert ours.score[:2] == pytest.approx(frozen.score[:2])
    assert np.all(ours.score[2:] > frozen.score[2:] + 1)
    louder = baselines.pilot_sigma(early, pair(course, factor=7.0)[1])
    assert louder.score == pytest.approx(ours.score, rel=1e-6)


def test_same_as_pilot():
    early, pilot = pair(lambda x: np.ones((len(x), 4)))
    said = baselines.same_as_pilot(early, pilot)
    assert said.layer_share.tolist() == [0, 100] and said.total == 50 and said.score is None
    half = early.steps // EVERY // 2 * EVERY
    assert said.p.tolist() == [0, 0, 1, 1] and said.t[:2].tolist() == [math.inf] * 2
    assert half <= said.t[2] == said.t[3] <= half + 60


def test_every_filter_is_as_likely_as_its_layer_was_in_the_pilot():
    early, pilot = pair(lambda x: np.ones((len(x), 4)))
    layer = np.array([0, 0, 0, 1])  # two of three live in the first, none in the second
    early, pilot = (one._replace(record=one.record._replace(layer=layer)) for one in (early, pilot))
    said = baselines.same_as_pilot(early, pilot)
    assert said.p == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1]) and said.total == pytest.approx(50)
    assert said.layer_share == pytest.approx([100 / 3, 100])


@pytest.mark.parametrize("name", NEED_PILOT)
def test_a_pilot_must_be_there_and_fit(name):
    early = steady([1.0, 1.0])
    with pytest.raises(ValueError, match="needs a pilot"):
        BASELINES[name](early, None)
    other = steady([1.0, 1.0], layer=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"every layer \(\[2\]\), not \[1, 1\]"):
        BASELINES[name](early, other)


# Lines, orders, cuts -----------------------------------------------------------------------------


@given(st.floats(-6e-4, 6e-4), st.floats(0.05, 1.0))
def test_linear_drift_meets_a_line(slope, start):
    """|gamma| = start + slope * effective steps, with a drop at step 2000 of 4000."""
    scale = np.where(np.arange(4000) < 2000, 1.0, 0.1)
    gamma = start + slope * np.arange(0, 401, EVERY)[:, None] * np.array([1.0, 0.0])
    early = Run(record(gamma), ADAM, "l2", 1e-2, scale)
    said = baselines.linear_drift(early)
    assert said.t[1] == math.inf and said.p[1] == 0
    if (
        abs(slope) < 1e-15
        or np.min(np.abs(gamma[:, 0])) <= 0.01
        or np.any(np.diff(np.sign(gamma), axis=0))
    ):
        return
    crossing = (start - 0.01) / -slope if slope < 0 else math.inf
    exact = crossing if crossing <= 2000 else 2000 + 10 * (crossing - 2000)
    if exact < 3990:
        assert said.t[0] == pytest.approx(exact, abs=1.0)
    elif exact > 4010:
        assert said.t[0] == math.inf
    assert (said.score[0] > said.score[1]) == (slope < 0)


def test_linear_drift_forgets_the_first_half():
    """Up first, down later: it dies."""
    gamma = np.concatenate([np.linspace(0.2, 0.8, 11), np.linspace(0.76, 0.5, 10)])[:, None]
    said = baselines.linear_drift(Run(record(gamma), ADAM, "l2", 1e-2, np.ones(4000)))
    assert said.p.tolist() == [1.0] and 700 < said.t[0] < 760


def test_abs_gamma_is_an_order_only():
    said = baselines.abs_gamma(steady([-0.5, 0.1, -0.01]))
    assert np.argsort(said.score).tolist() == [0, 1, 2]
    assert said.p is said.t is said.total is None


@pytest.mark.parametrize("name", BASELINES)
def test_what_is_dead_is_forecast_dead(name):
    early = steady([1e-5, 0.7], sigma=[0.0, 1e-1])
    gamma = np.tile([1e-5, 0.7], (201, 1))
    said = BASELINES[name](early, early._replace(record=record(gamma)))
    if name != "same_as_pilot":
        assert said.score[0] > said.score[1]
    if said.p is not None and name != "same_as_pilot":
        assert said.p.tolist() == [1, 0] and said.t.tolist() == [100, math.inf]
        assert said.layer_share.tolist() == [50.0]


def test_cut_shows_the_past_only():
    run = steady([1.0, 0.5], at=400)
    early = cut(run, 115)
    assert early.record.step.tolist() == [0, 20, 40, 60, 80, 100] and early.steps == 4000
    for at in (19, 401, 2.5):
        with pytest.raises(ValueError, match="at must be a whole number from 20 to 400"):
            cut(run, at)


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_of_the_future_is_looked_at(name):
    """The same forecast of two runs that differ only after it."""
    rng = np.random.default_rng(0)
    gamma = np.abs(rng.normal(0.5, 0.1, (201, 6)))
    one = Run(record(gamma), ADAM, "l2", 1e-2, np.ones(4000))
    gamma = gamma.copy()
    gamma[21:] = 1e-6
    two = one._replace(record=record(gamma))
    said = [BASELINES[name](cut(run, 400), one) for run in (one, two)]
    for a, b in zip(*said, strict=True):
        assert a is b is None or np.array_equal(a, b)


# The regression ----------------------------------------------------------------------------------


@dataclass
class Made:
    """Runs whose filters die if |gamma| at step 400 is small, up to luck."""

    rng: np.random.Generator

    def run(self, n=80, luck=0.1):
        layer = np.repeat([0, 1], n // 2)
        now = self.rng.uniform(0.05, 1.0, n)
        dies = now + luck * self.rng.normal(size=n) < 0.5
        gamma = np.repeat(now[None], 201, axis=0)
        gamma[100:, dies] = 1e-4
        noise = self.rng.uniform(0.5, 2.0, (200, n)) * 1e-2
        return Run(record(gamma, noise, layer=layer), ADAM, "l2", 1e-2, np.ones(4000))


def test_the_regression_finds_what_matters():
    made = Made(np.random.default_rng(0))
    model = fitted.fit([made.run() for _ in range(6)], 0.1)
    weight = dict(zip(fitted.FEATURES, model.weights, strict=True))
    assert len(weight) == 16 and weight["log |gamma|"] < 0
    new = made.run(n=400)
    said = model(cut(new, 400), None)
    dead = np.abs(new.record.gamma[-1]) < 1e-3
    assert np.mean((said.p > 0.5) == dead) > 0.85
    assert said.total == pytest.approx(100 * dead.mean(), abs=8)
    assert said.t is None and np.array_equal(np.argsort(said.score), np.argsort(said.p))


@settings(max_examples=8)
@given(st.integers(0, 50), st.sampled_from([0.01, 1.0, 100.0]))
def test_probabilities_of_its_own_runs_have_the_right_mean(seed, penalty):
    """The bias is free: the sum of p - y is 0 at the optimum. And no weight is worth its cost."""
    made = Made(np.random.default_rng(seed))
    runs = [made.run(n=40), made.run(n=20)]
    model = fitted.fit(runs, 0.1, penalty=penalty)
    said = np.concatenate([model(cut(run, 400)).p for run in runs])
    dead = np.concatenate([np.abs(run.record.gamma[-1]) < 1e-3 for run in runs])
    assert said.mean() == pytest.approx(dead.mean(), abs=2e-3)
    x = np.vstack([fitted.features(cut(run, 400)) for run in runs])
    z = np.where(model.spread > 1e-8, (x - model.centre) / np.maximum(model.spread, 1e-8), 0.0)
    assert z.T @ (said - dead) + penalty * model.weights == pytest.approx(0, abs=0.05)


def test_a_heavy_penalty_leaves_the_base_rate():
    made = Made(np.random.default_rng(1))
    model = fitted.fit([made.run()], 0.1, penalty=1e9)
    assert np.abs(model.weights).max() < 1e-3


def test_what_is_not_known_counts_as_the_mean():
    made = Made(np.random.default_rng(2))
    model = fitted.fit([made.run(), made.run()], 0.1)
    early = cut(made.run(), 400)
    blind = early.record._replace(norm_out=np.full_like(early.record.norm_out, np.nan))
    said = model(early._replace(record=blind))
    assert np.isfinite(said.p).all()
    run = made.run()
    nothing = run.record._replace(norm_out=np.full_like(run.record.norm_out, np.nan))
    model = fitted.fit([run._replace(record=nothing)], 0.1)
    assert model.weights[2] == 0 and np.isfinite(model(early).p).all()


def test_features_by_hand():
    gamma = np.linspace(-1.0, -0.5, 6)[:, None] * np.array([1.0, 0.5])
    mean, std = np.full((5, 2), -2e-3), np.full((5, 2), 1e-2)
    run = Run(
        record(gamma, std, grad_gamma_mean=mean, beta=np.full((6, 2), 0.25),
               grad_gamma_zero=np.full((5, 2), 0.125)),
        rules.SGD(momentum=0.9), "l2", 1e-2, np.ones(1100),
    )  # fmt: skip
    x = dict(zip(fitted.FEATURES, fitted.features(run).T, strict=True))
    assert x["log |gamma|"] == pytest.approx(np.log([0.5, 0.25]))
    assert x["rho"] == pytest.approx([0.2, 0.2])  # the loss pushes down: sign(gamma) dL > 0
    assert x["beta / |gamma|"] == pytest.approx([0.5, 1.0])
    assert x["drift"] == pytest.approx(np.log(0.5 / 0.7) * np.ones(2))
    assert x["rank |gamma|"] == pytest.approx([0.75, 0.25]) and np.all(x["zero share"] == 0.125)
    noise = math.hypot(2e-3, 1e-2)
    assert x["log sigma"] == pytest.approx([math.log(noise)] * 2)
    assert np.exp(x["log (lambda |gamma| / sigma)"]) == pytest.approx(
        np.array([5e-3, 2.5e-3]) / noise
    )
    assert np.expm1(x["log (1 + e-folds left)"]) == pytest.approx(1000 * 0.1 * 1e-2 / 0.1)
    apart = run._replace(record=run.record._replace(layer=np.array([0, 1])))
    x = dict(zip(fitted.FEATURES, fitted.features(apart).T, strict=True))
    assert x["rank |gamma|"].tolist() == [0.5, 0.5] and x["depth"].tolist() == [0, 1]


def test_kin_die_in_the_same_way():
    worn = steady([1.0])
    absorbed, plain = worn._replace(reg="wd"), worn._replace(rule=rules.SGD())
    amsgrad, other = worn._replace(rule=rules.AMSGrad()), worn._replace(reg="adamw")
    decayed = plain._replace(reg="wd")
    every = [worn, absorbed, plain, amsgrad, other, decayed]
    assert fitted.kin(worn, every) == [worn, amsgrad]
    assert fitted.kin(absorbed, every) == [absorbed, other]
    assert fitted.kin(plain, every) == [plain, decayed]


def test_a_regression_needs_both_fates():
    with pytest.raises(ValueError, match="at least one finished run"):
        fitted.fit([], 0.1)
    alive = Run(record(np.ones((201, 4))), ADAM, "l2", 1e-2, np.ones(4000))
    with pytest.raises(ValueError, match="some filters die and some live"):
        fitted.fit([alive], 0.1)
    for share in (0, 1, "a"):
        with pytest.raises(ValueError, match="share must be a finite number > 0 and < 1"):
            fitted.fit([alive], share)
    with pytest.raises(ValueError, match="penalty must be a finite number >= 0"):
        fitted.fit([alive], 0.1, penalty=-1)
