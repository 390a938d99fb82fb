r"""Adagrad under L2: the sum S never forgets, so the rate falls as 1 / sqrt(t).

    theta' = theta - lr lambda theta / (sqrt(S) + eps),   S' = S + sigma^2 + lambda^2 theta^2

Two limits are closed; the pair of equations serves between them.

noise        S = S_0 + sigma^2 t: a stretched exponential, exp(-2 lr lambda sqrt(t) / sigma)
decay        S = sum of lambda^2 theta^2: theta^2 + (4 lr / lambda) sqrt(S) is conserved, and
             lambda drops out: at last the rate is lr / y, y = theta_0^2 / (4 lr) + 0.73 theta_0

There is no stationary state: the standard deviation falls as t^(-1/4).
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from regdyn.rules import Adagrad
from regdyn.theory.laws.law import Law, invalid, judged

_CHUNKS = 400
"""After so many single steps the equations advance by t / 400 at a time."""


class _State(NamedTuple):
    """Step, mean of theta, its variance, neglected: what the spread of theta adds to S."""

    t: float
    theta: float
    variance: float
    neglected: float


def adagrad_noise_time(
    hp: Adagrad, lam: float, sigma: float, theta0: float, theta1: float, *, S0: float = 0.0
) -> Law:
    r"""Steps from `theta0` to `theta1` while noise dominates: the stretched exponential.

    Formula: theta = theta_0 exp(-(2 lr lambda / sigma^2) (sqrt(S_0 + sigma^2 t) - sqrt(S_0))), so

        t = ((sqrt(S_0) + sigma^2 ln(theta_0 / theta_1) / (2 lr lambda))^2 - S_0) / sigma^2

    At S_0 = 0 the first sums are noisy: for Gaussian gradients the slope of E[g_t / sqrt(S_t)] is
    sqrt(2) [G(t + 2) - G(t)] / sigma, G(t) = Gamma((t + 1) / 2) / Gamma(t / 2), whose sum over
    steps is 2 sqrt(t) - c instead of 2 sqrt(t), c = sqrt(2 / pi) + sqrt(pi / 2) = 2.05:

        t = (sigma ln(theta_0 / theta_1) / (lr lambda) + c)^2 / 4

    Assumption: independent Gaussian gradients, lambda theta << sigma. Neglected: half of
    lambda^2 theta_0^2 / (sigma^2 + S_0), eps, and that a step is not small, (lr lambda / sigma)^2.
    Source: mean field; docs/laws/adagrad.md.
    """
    if lam == 0 or hp.lr == 0 or sigma == 0:
        return invalid(math.inf, "Without decay, learning rate or noise this limit is empty.")
    half = sigma**2 * math.log(theta0 / theta1) / (2 * hp.lr * lam)
    first = 0.0 if S0 else sigma * (math.sqrt(2 / math.pi) + math.sqrt(math.pi / 2)) / 2
    value = ((math.sqrt(S0) + half + first) ** 2 - S0) / sigma**2
    root = math.sqrt(S0 + sigma**2 * value)
    neglected = {
        "lambda theta": 0.5 * (lam * theta0) ** 2 / (sigma**2 + S0),
        "eps": 2 * hp.eps / root,
        "the length of a step": (hp.lr * lam) ** 2 / (sigma**2 + S0) * math.log(1 + value),
    }
    return judged(value, neglected)


def adagrad_decay_time(hp: Adagrad, lam: float, theta0: float, theta1: float) -> Law:
    r"""Steps from `theta0` to `theta1` without noise, whatever lambda.

    Formula: t = (y / lr) ln(theta_0 / theta_1) - (theta_0^2 - theta_1^2) / (8 lr^2), from the
    invariant theta^2 + (4 lr / lambda) sqrt(S) = 4 lr y with y = theta_0^2 / (4 lr) + 0.73 theta_0:
    -zeta(1/2) / 2 = 0.73 is what the first steps, where S jumps, add to it.
    Assumption: sigma = 0, eps << lambda theta_0; neglected: (lr / theta_0)^2, half a step.
    Source: mean field; docs/laws/adagrad.md.
    """
    y = theta0**2 / (4 * hp.lr) + 0.5 * 1.4603545088 * theta0
    value = y / hp.lr * math.log(theta0 / theta1) - (theta0**2 - theta1**2) / (8 * hp.lr**2)
    damped = hp.eps / (lam * theta0) if lam else math.inf
    return judged(
        value,
        {"the length of a step": (hp.lr / theta0) ** 2 + 0.5 / abs(value), "eps": damped},
    )


def adagrad_l2_time(hp: Adagrad, lam: float, sigma: float, theta0: float, theta1: float) -> Law:
    r"""Steps until the mean of theta falls from `theta0` to `theta1` under Adagrad and L2.

    Formula: the two equations above, step by step and then by t / 400, with the fluctuation of S to
    first order: a step is g / (sqrt(S) + eps) [1 + (r / 8 + r^2 / 4) Var(S) / S^2 - r sigma^2 / S].
    Assumption: independent Gaussian gradients, constant sigma. Neglected: the spread P of theta, as
    far as lambda^2 P adds to S / t; 0.1 steps at the start. Range: 10^8 steps.
    Source: mean field; docs/laws/adagrad.md.
    """
    if lam == 0 or hp.lr == 0:
        return invalid(math.inf, "Without decay or learning rate theta stays.")
    before = _State(0.0, theta0, 0.0, 0.0)
    for state in _path(hp, lam, sigma, theta0):
        if state.theta <= theta1:
            part = (before.theta - theta1) / (before.theta - state.theta)
            value = before.t + part * (state.t - before.t)
            noise = sigma**2 / (sigma**2 + (lam * theta0) ** 2)
            neglected = {"the spread of theta": state.neglected, "the start": 0.1 * noise / value}
            return judged(value, neglected)
        if state.t > 1e8:
            break
        before = state
    return invalid(math.inf, "The mean takes more than 10^8 steps.")


def adagrad_l2_std(hp: Adagrad, lam: float, sigma: float, *, theta0: float, steps: float) -> Law:
    r"""Standard deviation of theta after `steps` steps of Adagrad and L2 from `theta0`.

    Formula: V' = V (1 - rate)^2 + lr^2 sigma^2 / (sqrt(S) + eps)^2, rate = lr lambda / (sqrt(S) +
    eps), beside the equations of the mean; at last V = lr sigma^2 / (2 lambda sqrt(S)).
    Assumption and range as in `adagrad_l2_time`. Source: docs/laws/adagrad.md.
    """
    if lam == 0 or hp.lr == 0 or sigma == 0:
        return invalid(math.nan, "Without decay, learning rate or noise there is none.")
    state = _State(0.0, theta0, 0.0, 0.0)
    for state in _path(hp, lam, sigma, theta0, steps):
        if state.t >= steps:
            break
    noise = sigma**2 / (sigma**2 + (lam * theta0) ** 2)
    return judged(
        math.sqrt(state.variance),
        {"the spread of theta": state.neglected, "the start": 0.1 * noise / steps},
    )


def _path(
    hp: Adagrad, lam: float, sigma: float, theta: float, last: float = math.inf
) -> Iterator[_State]:
    """States after single steps, then after chunks that double in about 280."""
    S = spread = P = t = total = 0.0
    noise = sigma * sigma
    while True:
        h = max(1.0, min(t // _CHUNKS, last - t))
        g = lam * theta
        square = noise + g * g + lam * lam * P
        middle = S + square * (h + 1) / 2  # the mean over the chunk of S after each step
        S += h * square
        spread += h * noise * (2 * noise + 4 * g * g)
        root = math.sqrt(middle)
        r = root / (root + hp.eps)
        gain = 1 + (r / 8 + r * r / 4) * spread / (S * S) - r * noise / S
        rate = hp.lr * lam * gain / (root + hp.eps)
        theta *= (1 - rate) ** h
        left = (1 - rate) ** (2 * h)
        whole = (1 - left) / (1 - (1 - rate) ** 2) if rate else h
        P = P * left + (hp.lr / (root + hp.eps)) ** 2 * noise * whole
        t += h
        total += h * r * 0.5 * noise / square * lam * lam * P / square
        yield _State(t, theta, P, total / t)
