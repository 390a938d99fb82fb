r"""Adam and RMSprop under L2: how long theta takes.

The gradient is lambda theta + sigma z. As long as m and v follow, theta falls by D(theta) per step:

    D = lr phi = lr lambda theta / (S + eps) * [1 + ...],    S^2 = sigma^2 + lambda^2 theta^2

a constant lr while lambda theta >> sigma, a rate lr lambda / sigma below, and lr lambda / eps once
eps is the largest. The time is the integral of dtheta / D, F below, plus what the lags of m and v
and the start add.
"""

import math
from typing import Any

import numpy as np

from regdyn.theory.laws.gaussian import phi
from regdyn.theory.laws.law import Law, betas, invalid, judged, lag, overlap, samples

_NODES = np.polynomial.legendre.leggauss(40)


def F(a: float) -> float:
    r"""Time in units of sigma / (lr lambda) from a = lambda theta / sigma: F(a0) - F(a1).

    Formula: F(a) = sqrt(1 + a^2) + ln(a / (1 + sqrt(1 + a^2))), the integral of sqrt(1 + a^2) / a.
    Linear for a >> 1, logarithmic for a << 1.
    """
    root = math.sqrt(1 + a * a)
    return root + math.log(a / (1 + root))


def adam_l2_time(hp: Any, lam: float, sigma: float, theta0: float, theta1: float) -> Law:
    r"""Steps until the mean of theta falls from `theta0` to `theta1` under Adam or RMSprop and L2.

    Formula, with a = lambda theta / sigma, w = a^2 / (1 + a^2), N = b / (1 - b), eps = 0::

        t = (sigma / (lr lambda)) (F(a0) - F(a1)) * [1 + O(1 / nu)]
            - (N1 + 1/2) ln(theta0 / theta1) + (N2 + 1/2) / 2 ln((1 + a0^2) / (1 + a1^2))
            + (pi^2 / 6) (N1^2 - w0 N2^2) lr lambda / (sigma sqrt(1 + a0^2))

    The bracket is the fluctuation of v, `phi`; the second line the lags of m and v; the third that
    a bias-corrected average has no lag at first. With eps the integral of dtheta / D and
    (N2 + 1/2) ln((S0 + eps) / (S1 + eps)). RMSprop has no bias correction: v starts at 0 and the
    first steps are larger, sum over t of D_t / D - 1, instead of the third line.

    Assumption: independent Gaussian gradients, constant sigma; theta changes little within N1 and
    N2 steps. Neglected: the lags' second order; that theta spreads, of order
    kappa = lr lambda / (sigma + eps) while noise dominates.
    Source: derived in docs/laws/adam-time.md.
    """
    if lam == 0 or hp.lr == 0:
        return invalid(math.inf, "Without decay or learning rate theta stays.")
    b1, b2 = betas(hp)
    n1, n2 = lag(b1), lag(b2)
    theta, weight = _grid(theta0, theta1)
    S = np.hypot(sigma, lam * theta)
    rate = _drift(hp, lam, sigma, theta) / theta
    follows = lam * lam * theta * theta / (S * (S + hp.eps))  # d ln(S + eps) / d ln theta
    time = float(np.sum(weight / rate))
    logs = math.log(theta0 / theta1)
    ends = [math.hypot(sigma, lam * x) + hp.eps for x in (theta0, theta1)]
    value = time - (n1 + 0.5) * logs + (n2 + 0.5) * math.log(ends[0] / ends[1])
    start, beyond = _start(hp, lam, sigma, theta0)
    value += start
    second = float(np.sum(weight * rate * (n1 * n1 + 0.5 * follows * (n1 + n2) ** 2)))
    spread = float(np.sum(weight / rate * _spread(hp, lam, sigma, theta))) / time
    neglected = {
        "second order of the lags": second / abs(value),
        "second order of the start": beyond / abs(value),
        "spread of theta": spread,
    }
    return judged(value, neglected)


def adam_l2_noiseless_time(hp: Any, theta0: float, theta1: float) -> Law:
    r"""Steps from `theta0` to `theta1` under Adam and L2 without noise: lambda drops out.

    Formula::

        t = (theta_0 - theta_1) / lr + (N2 - N1) ln(theta_0 / theta_1)
            - (N2^2 / 2) lr (1 / theta_1 - 1 / theta_0) - (pi^2 / 6) (N2^2 - N1^2) lr / theta_0

    Sign descent, slower as v still remembers a larger theta, and once theta is near lr N2 faster
    than any exponential: there the law ends, and `mean_field_time` is exact.
    Assumption: sigma = eps = 0. Neglected: the next order in lr N2 / theta, of both ends.
    Source: derived in docs/laws/adam-time.md.
    """
    if not hasattr(hp, "beta2"):
        return invalid(math.nan, "RMSprop starts without bias correction: use `adam_l2_time`.")
    n1, n2 = lag(hp.beta1), lag(hp.beta2)
    value = (theta0 - theta1) / hp.lr + (n2 - n1) * math.log(theta0 / theta1)
    value -= 0.5 * n2**2 * hp.lr * (1 / theta1 - 1 / theta0)
    value -= math.pi**2 / 6 * (n2**2 - n1**2) * hp.lr / theta0
    end, start = (hp.lr * (n1 + n2) / theta1) ** 2, (hp.lr * (n1 + n2) / theta0) ** 2
    neglected = {
        "the next order of the lags": (n1 + n2) * (end - start) / abs(value),
        "the next order of the start": 1.2 * (n1 + n2) * start / abs(value),
        "the second order of m's lag": 0.5
        * n1
        * (n1 + 2 * n2)
        * hp.lr
        * (1 / theta1 - 1 / theta0)
        / abs(value),
    }
    return judged(value, neglected)


def _grid(theta0: float, theta1: float) -> tuple[np.ndarray, np.ndarray]:
    """theta at nodes of Gauss and Legendre in ln theta, and the weights."""
    half = math.log(theta0 / theta1) / 2
    return theta1 * np.exp(half * (1 + _NODES[0])), half * _NODES[1]


def _drift(hp: Any, lam: float, sigma: float, theta: np.ndarray) -> np.ndarray:
    """D(theta) = lr phi; without noise lr lambda theta / (lambda theta + eps)."""
    if sigma == 0:
        return hp.lr * lam * theta / (lam * theta + hp.eps)
    b1, b2 = betas(hp)
    return hp.lr * np.array([phi(lam * x / sigma, b1, b2, hp.eps / sigma) for x in theta])


def _spread(hp: Any, lam: float, sigma: float, theta: np.ndarray) -> np.ndarray:
    """Relative change of D as theta spreads: of order kappa, as far as noise makes up S + eps."""
    S = np.hypot(sigma, lam * theta)
    kappa = hp.lr * lam / (S + hp.eps)
    return 0.5 * kappa * (sigma / S) ** 2 * S / (S + hp.eps)


def _start(hp: Any, lam: float, sigma: float, theta0: float) -> tuple[float, float]:
    """(steps that the start adds, size of the next order)."""
    b1, b2 = betas(hp)
    n1, n2 = lag(b1), lag(b2)
    S = math.hypot(sigma, lam * theta0)
    r, w = S / (S + hp.eps), (lam * theta0 / S) ** 2
    rate = hp.lr * lam / (S + hp.eps)
    t = np.arange(1, math.ceil(-30 / math.log(b2)) + 1 if b2 > 0 else 2, dtype=float)
    if not hasattr(hp, "beta1"):
        grown = np.sqrt(1 - b2**t)
        few = 1 - (1 - w) * r * np.exp(-t * (1 - b2)) / (4 * t)  # E[g / sqrt(mean of t g^2)]
        total = float(np.sum((S + hp.eps) / (S * grown + hp.eps) * few - 1))
        return -total, rate * total**2
    fluctuation = 0.75 * (r + 2 * r * r) / 3 * (_inverse_samples(b2, t) - 1 / samples(b2))
    fluctuation -= r * (_overlap(b1, b2, t) - overlap(b1, b2))
    fluctuation = float(np.sum(fluctuation)) * (1 - w)
    lags = math.pi**2 / 6 * rate * (n1 * n1 - w * r * n2 * n2)
    return lags - fluctuation, 1.2 * rate**2 * (n1**3 + w * r * n2**3)


def _inverse_samples(b: float, t: np.ndarray) -> np.ndarray:
    """1 / nu of a bias-corrected average after t steps."""
    power = b**t
    return (1 - b) / (1 + b) * (1 + power) / (1 - power)


def _overlap(b1: float, b2: float, t: np.ndarray) -> np.ndarray:
    """w12 of two bias-corrected averages after t steps."""
    return overlap(b1, b2) * (1 - (b1 * b2) ** t) / ((1 - b1**t) * (1 - b2**t))
