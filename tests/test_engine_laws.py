"""The simulator against closed forms and known half-lives, within 4 standard errors."""

import math

import numpy as np
import pytest

from regdyn import rules, simulate
from regdyn.gradients import Gaussian
from regdyn.rules import Adam, AMSGrad

SIGMA, LANES = 1e-3, 20_000
NOISE = {"gradient": Gaussian(std=SIGMA), "lanes": LANES}


def mean_error(ds):
    """Four standard errors of the mean over lanes, and rounding."""
    return 4 * ds["std"].values.ravel() / math.sqrt(ds.attrs["lanes"]) + 1e-12


@pytest.mark.parametrize("rule", rules.RULES)
def test_mean_under_wd_decays_geometrically(rule):
    """E theta_t = (1 - lambda)^t theta_0 under any rule, the gradient being symmetric about 0."""
    ds = simulate(rule, "wd", 1e-2, steps=200, lanes=4000, theta0=2.0)
    mean, t = ds["mean"].values.ravel(), ds.step.values
    assert np.all(np.abs(mean - 2 * 0.99**t) <= mean_error(ds))
    assert np.any(np.abs(mean - 2 * 0.99 ** (t + 1)) > mean_error(ds))  # negative control


def test_mean_of_sgd_under_l2_is_that_of_the_heavy_ball():
    """theta_0 (c z1^t + (1 - c) z2^t) with the roots of z^2 - (1 + mu - lr lambda) z + mu."""
    lr, mu, lam = 0.1, 0.9, 1e-2
    z1, z2 = np.roots([1, -(1 + mu - lr * lam), mu])
    c = (1 - lr * lam - z2) / (z1 - z2)
    ds = simulate("sgd", "l2", lam, steps=1000, **NOISE)
    mean, t = ds["mean"].values.ravel(), ds.step.values
    assert np.all(np.abs(mean - (c * z1**t + (1 - c) * z2**t)) <= mean_error(ds))
    assert np.any(np.abs(mean - z1**t) > mean_error(ds))  # the slow root alone


def sgd_l2(lam, lr=0.1, mu=0.9):
    """Heavy ball: variance lr sigma^2 (1 + mu) / ((1 - mu) lambda (2 (1 + mu) - lr lambda))."""
    return math.sqrt(lr * SIGMA**2 * (1 + mu) / ((1 - mu) * lam * (2 * (1 + mu) - lr * lam)))


def moved_then_decayed(lam, step_std, correlation):
    """theta <- q (theta - u), q = 1 - lambda, u an AR(1): variance q^2 U / (1 - q^2) ..."""
    q = 1 - lam
    memory = (1 + q * correlation) / (1 - q * correlation)
    return q * step_std * math.sqrt(memory / (1 - q * q))


def sgd_wd(lam, lr=0.1, mu=0.9):
    """The step is lr b, and b has variance sigma^2 / (1 - mu^2) and correlation mu."""
    return moved_then_decayed(lam, lr * SIGMA / math.sqrt(1 - mu * mu), mu)


def leading_order(lam, lr=1e-3):
    """Adam and RMSprop: lr / sqrt(2 lambda), whatever sigma."""
    return lr / math.sqrt(2 * lam)


def adam_l2(lam, lr=1e-3):
    """sqrt(lr sigma / (2 lambda)), while lambda theta << sigma and lr lambda << sigma."""
    return math.sqrt(lr * SIGMA / (2 * lam))


# rule, regulariser, lambda, predicted standard deviation, stated accuracy of the law
FLOORS = [
    ("sgd", "l2", 1e-2, sgd_l2, 0.0),
    ("sgd", "l2", 0.2, sgd_l2, 0.0),
    ("sgd", "wd", 1e-2, sgd_wd, 0.0),
    ("adam", "wd", 2e-3, leading_order, 0.03),  # corrections of order lambda / (1 - beta1)
    ("rmsprop", "wd", 2e-3, leading_order, 0.03),
    ("adam", "l2", 1e-2, adam_l2, 0.02),
    ("rmsprop", "l2", 1e-2, adam_l2, 0.02),
]


@pytest.mark.parametrize(("rule", "reg", "lam", "law", "accuracy"), FLOORS)
def test_noise_floor(rule, reg, lam, law, accuracy):
    """From 0, after 4 e-folds or more of the variance; 10 % beside the law is told apart."""
    ds = simulate(rule, reg, lam, steps=1500, theta0=0.0, record=[1500], **NOISE)
    ratio = ds["std"].item() / law(lam)
    tolerance = accuracy + 4 / math.sqrt(2 * LANES)
    assert abs(ratio - 1) <= tolerance
    assert abs(1.1 * ratio - 1) > tolerance


# Half-lives of the mean at the setting of the paper's Figure 4, strength 1e-4: theta_0 = 1, the
# default gradient. Measured once by an independent simulation that agrees with torch.optim.
HALF_LIVES = [
    ("adam", "l2", 954),
    ("rmsprop", "l2", 946),
    (Adam(beta2=0.999), "l2", 1886),
    ("amsgrad", "l2", 5588),
    (AMSGrad(flavour="optax"), "l2", 8981),
    (AMSGrad(flavour="original"), "l2", 5510),
    ("sgd", "l2", 6933),
    ("adadelta", "l2", 6939),
    ("adagrad", "l2", 7580),
    *((rule, "wd", 6931) for rule in rules.RULES),
]


@pytest.mark.parametrize(("rule", "reg", "expected"), HALF_LIVES, ids=str)
def test_half_life_of_the_mean(rule, reg, expected):
    """Within 1 %: the mean is still above a half 1 % before, and below it 1 % after."""
    around = [math.floor(0.99 * expected), math.ceil(1.01 * expected)]
    ds = simulate(rule, reg, 1e-4, steps=around[1], lanes=4000, record=around)
    before, after = ds["mean"].values.ravel()
    assert before > 0.5 > after
