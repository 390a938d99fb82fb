"""First passages: of walks whose moments are exact, so that only the passage equation is tested."""

import math

import numpy as np
import pytest

import regdyn
from regdyn.gradients import Gaussian
from regdyn.rules import SGD, Adam, Lion
from regdyn.theory import passage, predict

LANES = 4000


def medians(rule, reg, lam, gradient, steps, levels):
    """Predicted and simulated medians, and one standard error of the latter."""
    args = {"reg": reg, "lam": lam, "gradient": gradient, "steps": steps, "thresholds": levels}
    ours = predict(rule, **args)["first_passage_median"].squeeze().values
    seen = regdyn.simulate(rule, lanes=LANES, seed=3, threads=1, keep_passages=True, **args)
    first = np.sort(np.nan_to_num(seen["first_passage"].squeeze().values, nan=np.inf), axis=-1)
    half = round(0.5 * math.sqrt(LANES))  # one standard error of a median, in ranks
    error = (first[:, LANES // 2 + half] - first[:, LANES // 2 - half]) / 2
    return ours, first[:, LANES // 2], error


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("lam", [1e-3, 1e-2])
def test_walks(momentum, lam):
    """SGD of step 0.03: levels far above a step, near it, and far below (most crossings miss)."""
    hp = SGD(lr=0.03 * (1 - momentum), momentum=momentum)
    levels = (0.3, 0.1, 0.03, 0.01, 0.003)
    ours, seen, error = medians(hp, "wd", lam, Gaussian(std=1.0), 6000, levels)
    assert (np.abs(ours - seen) < 4 * error + 0.025 * seen + 1).all()


def test_missed_crossings_count():
    """The negative control: if every crossing landed, the smallest level would pass too soon."""
    hp = SGD(lr=0.03, momentum=0.0)
    ours, seen, error = medians(hp, "wd", 1e-3, Gaussian(std=1.0), 6000, (0.3, 0.1, 0.001))
    row = np.zeros(passage.LAND + 1)
    row[passage.KICK] = row[passage.SPEED] = 0.03**2
    assert passage.landing(0.001, row, 100.0, 0.0, 0.0, (0.0, 0.0, 0.0)) < 0.1
    assert abs(ours[1] - seen[2]) > 0.3 * seen[2]
    assert abs(ours[2] - seen[2]) < 4 * error[2] + 0.03 * seen[2]


def test_floor_above_the_level():
    """The paper's Adam + l2: the median passes where the floor is seven times the level."""
    ours, seen, error = medians(Adam(), "l2", 1e-4, "low", 8000, (0.5, 0.1, 0.01, 0.001))
    assert (np.abs(ours - seen) < 4 * error + 0.01 * seen).all()


def test_memory_as_long_as_the_decay():
    """Lion under wd: m remembers as long as theta lives, so the two modes meet."""
    ours, seen, error = medians(Lion(), "wd", 1e-2, Gaussian(std=1e-3), 2000, (0.1, 0.01, 0.001))
    assert (np.abs(ours - seen) < 4 * error + 0.03 * seen).all()


def test_lion_stays_on_its_lattice():
    """Steps of 0.03 from 1 pass 0.01 and -0.02: |theta| is below 0.02, and never below 0.005."""
    args = {"lam": 1e-3, "gradient": Gaussian(std=1e-2), "steps": 20_000}
    levels = (0.02, 0.005)
    hp = Lion(lr=0.03)
    ours = predict(hp, thresholds=levels, **args)["first_passage_median"].squeeze()
    seen = regdyn.simulate(hp, thresholds=levels, lanes=500, threads=1, **args)
    seen = seen["first_passage_median"].squeeze()
    assert np.isnan(ours[1]) and np.isnan(seen[1])
    assert float(ours[0]) == pytest.approx(float(seen[0]), rel=0.15)


def test_without_noise_the_mean_passes():
    args = {"lam": 1e-2, "gradient": Gaussian(std=0.0), "steps": 3000}
    for rule in ("sgd", "adagrad"):
        ours = predict(rule, **args)["first_passage_median"]
        seen = regdyn.simulate(rule, lanes=1, **args)["first_passage_median"]
        np.testing.assert_allclose(ours, seen, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("bm", [0.0, 0.4, 0.8, 0.95])
def test_milne_length_of_walks(bm):
    r"""Overshoot + E[w] at the first passage of a stationary AR(1) walk, drift 0, far start.

    psi = theta - w is a martingale, so its mean overshoot is the length. 20,000 walks.
    """
    rng, n = np.random.default_rng(2), 20_000
    kick = math.sqrt(1 - bm * bm)  # of psi per step: the unit of length is kick / sqrt(1 - bm^2)
    v = rng.standard_normal(n) * kick * (1 - bm) / math.sqrt(1 - bm * bm)
    x, lengths = np.full(n, 12.0), []
    while len(x) > 0.01 * n:
        v = bm * v + (1 - bm) * kick * rng.standard_normal(len(x))
        x = x + v
        lengths.extend(-(x + bm / (1 - bm) * v)[x <= 0])
        alive = (x > 0) & (x < 100)
        x, v = x[alive], v[alive]
    speed = kick * (1 - bm) / math.sqrt(1 - bm * bm)
    ours = passage.OVERSHOOT * speed + passage.milne(bm) * bm
    error = np.std(lengths) / math.sqrt(len(lengths))
    assert abs(ours - np.mean(lengths)) < 4 * error + 0.015 * ours
