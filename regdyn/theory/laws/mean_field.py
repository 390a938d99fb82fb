r"""The rule itself, fed with averages: where theta moves before the memories have followed.

The laws of `adam_time` need theta to change little while m and v forget. Where it does not (large
learning rates, long memories, little noise), the recursion of the means is short, and is run:

    theta' = theta - E[delta],    g = lambda theta + sigma z,    E[g^2] = sigma^2 + lambda^2 theta^2

The mean of a step is that of the averages, corrected for the fluctuation of v to first order:

    E[m / (sqrt(v) + eps)] = m / (sqrt(v) + eps) * [1 + (r / 8 + r^2 / 4) Var(v) / v^2
                                                      - r Cov(m, v) / (2 m v)]

with r = sqrt(v) / (sqrt(v) + eps), and the variances from the same recursion. Without noise it is
the rule, bit for bit but for rounding. theta itself is not allowed to spread.
"""

import math
from collections.abc import Iterator
from typing import Any

from regdyn import rules
from regdyn.theory.laws.gaussian import EXACT_BELOW, slope
from regdyn.theory.laws.law import Law, betas, first_below, invalid, judged, overlap, samples
from regdyn.theory.laws.signs import sign_growth, sign_std

LONGEST = 200_000
"""Steps after which the recursion gives up."""


def mean_field_time(hp: Any, lam: float, sigma: float, theta0: float, theta1: float) -> Law:
    r"""Steps until the mean of theta falls from `theta0` to `theta1` under L2, by recursion.

    Formula: the recursion above, for adam, rmsprop, amsgrad, adadelta, lion.
    Assumption: independent Gaussian gradients, constant sigma; theta spreads little: neglected is
    kappa = lr lambda / (sigma + eps) while noise dominates; at the start, second order in 1 / t.
    Range: at most 200000 steps. Exact without noise.
    Source: mean-field limit; the correction is a Taylor expansion (docs/laws/mean-field.md).
    """
    name = rules.name_of(hp)
    if name not in MEANS or lam == 0 or hp.lr == 0:
        return invalid(math.inf, "There is nothing to run: no recursion, decay or learning rate.")
    path = [theta0]
    for theta in MEANS[name](hp, lam, sigma, theta0):
        path.append(theta)
        if theta <= theta1 or len(path) > LONGEST:
            break
    value = first_below(path, theta1)
    if math.isinf(value):
        return invalid(value, f"The mean takes more than {LONGEST} steps.")
    return judged(value, _neglected(hp, lam, sigma, path))


def _neglected(hp: Any, lam: float, sigma: float, path: list[float]) -> dict[str, float]:
    """What the recursion leaves out, averaged over the path.

    The spread P = Var(theta) that noise builds up changes D by about lambda^2 P / S^2 of itself as
    far as noise makes up S; v that follows theta's noise by kappa / 4 if kappa >> 1 - beta2.
    """
    eps = math.sqrt(hp.eps) if isinstance(hp, rules.Adadelta) else getattr(hp, "eps", 0.0)
    forget = 1 - getattr(hp, "beta2", getattr(hp, "alpha", 1.0))
    level, powers = _noise(hp, sigma)
    P = total = noise = fluctuation = 0.0
    for t, theta in enumerate(path, 1):
        S = math.hypot(level, lam * theta)
        share = (level / S) ** 2 * S / (S + eps) if S else 0.0
        if isinstance(hp, rules.Lion) and level:  # the slope of an error function
            share = math.exp(-math.pi / 4 * (lam * theta / level) ** 2)
        kappa = hp.lr * lam / (S + eps)
        power = powers[min(t, len(powers)) - 1]
        P += power * (hp.lr * level / (S + eps)) ** 2 - 2 * kappa * share * P
        P = max(P, 0.0)
        noise += share
        total += share * (lam * lam * P / (S * S) + 0.25 * kappa * kappa / (kappa + forget))
        if isinstance(hp, rules.Adadelta):
            fluctuation += _loss(hp, lam * theta, sigma, t)
    n = len(path)
    neglected = {"the spread of theta": total / n, "the first steps": 0.1 * noise / n / n}
    if isinstance(hp, rules.Adam | rules.RMSprop) and samples(betas(hp)[1]) < EXACT_BELOW:
        b1, b2 = betas(hp)
        first = 1 + 0.75 / samples(b2) - overlap(b1, b2)
        neglected["of second order in 1 / nu"] = noise / n * abs(slope(b1, b2) / first - 1)
    if isinstance(hp, rules.AMSGrad):
        square = (lam * path[0] / sigma) ** 2 if sigma else math.inf
        wide = math.sqrt((2 + 4 * square) / samples(hp.beta2)) / (1 + square) if sigma else 0.0
        wide = 0.5 * wide + 2 * noise / n / math.sqrt(samples(hp.beta2))
        neglected["the noise of v_max"] = -wide * math.expm1(-n * (1 - hp.beta2))
    if isinstance(hp, rules.Adadelta):
        neglected["the fluctuation of v and X"] = fluctuation / n
    return neglected


def _noise(hp: Any, sigma: float) -> tuple[float, list[float]]:
    """(what noise adds to S, variance that noise adds to a sum of steps at step t, per lr^2)."""
    if not isinstance(hp, rules.Lion):
        return sigma, [1.0]
    return math.sqrt(math.pi / 2) * sigma * sign_std(hp), sign_growth(hp).tolist()


def _loss(hp: rules.Adadelta, g: float, sigma: float, t: int) -> float:
    """What fluctuation keeps X from: R = (X + eps) / (v + eps) loses E[(v' - v)^2 / v^2] per step.

    Without it R grows by (1 - rho) eps / v per step, to 1 at most (see `adadelta`).
    """
    k, square = 1 - hp.rho, sigma**2 + g * g + hp.eps
    loss = k * k * sigma**2 * (2 * sigma**2 + 4 * g * g) / square**2
    return loss / (k * hp.eps / square + loss + 2 / t)


def _adam(hp: Any, lam: float, sigma: float, theta: float) -> Iterator[float]:
    """Adam, RMSprop and AMSGrad: m, v, Var(v), Cov(m, v), and AMSGrad's maximum of the mean v."""
    b1, b2 = betas(hp)
    adaptive = not isinstance(hp, rules.RMSprop)
    m = v = spread = shared = top = 0.0
    noise = sigma * sigma
    t = 0
    while True:
        t += 1
        g = lam * theta
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (noise + g * g)
        spread = b2 * b2 * spread + ((1 - b2) * noise) ** 2 * (
            2 + 4 * g * g / noise if noise else 0
        )
        shared = b1 * b2 * shared + (1 - b1) * (1 - b2) * 2 * g * noise
        step, inner, root = hp.lr, 1.0, 1.0
        if isinstance(hp, rules.AMSGrad):
            step, inner, root = rules.amsgrad_coef(hp, t, 1.0)
        elif adaptive:
            step, root = rules.adam_coef(hp, t, 1.0)
        used = v * inner
        if isinstance(hp, rules.AMSGrad):
            used = top = max(top, used)
        size = math.sqrt(used) * root
        r = size / (size + hp.eps) if size else 0.0
        live = used == v * inner and v > 0  # AMSGrad's maximum of long ago does not fluctuate
        mean = (
            m * (1 + (r / 8 + r * r / 4) * spread / (v * v)) - r * shared / (2 * v) if live else m
        )
        theta -= step * mean / (size + hp.eps) if size + hp.eps else 0.0
        yield theta


def _adadelta(hp: rules.Adadelta, lam: float, sigma: float, theta: float) -> Iterator[float]:
    """v and X, without fluctuation: for sigma << sqrt(eps) or without noise."""
    v = X = 0.0
    while True:
        g = lam * theta
        square = sigma * sigma + g * g
        v = hp.rho * v + (1 - hp.rho) * square
        ratio = (X + hp.eps) / (v + hp.eps)
        X = hp.rho * X + (1 - hp.rho) * ratio * square
        theta -= hp.lr * math.sqrt(ratio) * g
        yield theta


def _lion(hp: rules.Lion, lam: float, sigma: float, theta: float) -> Iterator[float]:
    """E sign(c) = erf(mean / (std sqrt(2))) of the Gaussian c; m has mean and variance."""
    b1, b2 = hp.beta1, hp.beta2
    m = variance = 0.0
    noise = sigma * sigma
    while True:
        g = lam * theta
        mean = b1 * m + (1 - b1) * g
        std = math.sqrt(b1 * b1 * variance + (1 - b1) ** 2 * noise)
        sign = math.erf(mean / (std * math.sqrt(2))) if std else math.copysign(1.0, mean)
        m = b2 * m + (1 - b2) * g
        variance = b2 * b2 * variance + (1 - b2) ** 2 * noise
        theta -= hp.lr * sign
        yield theta


MEANS = {
    "adam": _adam,
    "rmsprop": _adam,
    "amsgrad": _adam,
    "adadelta": _adadelta,
    "lion": _lion,
}
