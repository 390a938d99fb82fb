r"""The memory of a burst: Adam and RMSprop + l2 after the gradient's noise has dropped.

The paper's Figure 4: sigma_0 for steps0 steps, then sigma << sigma_0. v remembers the burst and
lets go of it at the rate k = -ln beta2; until then theta is held by sqrt(v) >> sigma:

    v = sigma^2 + D exp(-k (t - steps0)),     D = (sigma_0^2 - sigma^2) (1 - beta2^steps0)
"""

import math
from typing import Any

import numpy as np

from regdyn.theory.laws.gaussian import slope
from regdyn.theory.laws.law import Law, betas, invalid, judged, lag


def burst_delay(hp: Any, sigma0: float, steps0: int, sigma: float) -> Law:
    r"""Steps by which the burst delays the decay at the rate lr lambda / sigma.

    Formula: ln(D / (4 sigma^2)) / k; about 2 ln(sigma_0 / sigma) / (1 - beta2).
    Assumption: lambda theta << sigma, sigma << sigma_0: neglected is sigma^2 / D (relative to the
    logarithm) and the decay during the burst, steps0 sigma / sigma_0 of the delay.
    Source: derived in docs/laws/burst.md.
    """
    k, D = _memory(hp, sigma0, steps0, sigma)
    if not D > 4 * sigma**2 > 0 or math.isinf(k):
        return invalid(math.nan, "sigma must be above 0, far below the burst, and v remember it.")
    value = math.log(D / (4 * sigma**2)) / k
    small = sigma**2 / D / math.log(D / (4 * sigma**2))
    return judged(value, {"sigma^2 / D": small, "the burst": steps0 * sigma / sigma0 / value})


def burst_time(
    hp: Any, lam: float, sigma: float, theta0: float, theta1: float, *, sigma0: float, steps0: int
) -> Law:
    r"""Steps, from the start of the burst, until the mean of theta is at `theta1`.

    Formula: the t at which ln(theta_0 / theta_1) is lr lambda times

        int dt / sqrt(v) = (1 / (k sigma)) [ln((y + sigma) / (y - sigma))] from steps0 to t,
        y = sqrt(v),

    times the slope of phi, plus the decay within the burst. The integral is summed, with eps and
    Adam's bias correction of v; the lag of m, N1 + 1/2 times the rate, is added to first order.
    Assumption: lambda theta << sqrt(v) all the way: half the mean of lambda^2 theta^2 / v, as old
    as v is, is neglected, and the spread of theta.
    Source: derived in docs/laws/burst.md.
    """
    b1, b2 = betas(hp)
    k, D = _memory(hp, sigma0, steps0, sigma)
    if lam == 0 or hp.lr == 0 or sigma <= 0 or D <= 0 or math.isinf(k):
        return invalid(math.inf, "There is no decay, or no burst to remember.")
    gain = hp.lr * lam * slope(b1, b2, hp.eps / sigma)
    wanted = math.log(theta0 / theta1)
    corrected = hasattr(hp, "beta1")
    age = np.arange(1, steps0 + 1) if not corrected else np.full(steps0, math.inf)
    before = float(np.sum(gain / (sigma0 * np.sqrt(1 - b2**age) + hp.eps)))
    if before >= wanted:
        return invalid(math.nan, "theta is down before the burst is over: `adam_l2_time`.")
    # steps after the burst, dense while v falls; beyond, the rate is constant
    t = np.linspace(0.0, 45 / k, 20_000)
    v = sigma**2 + D * np.exp(-k * t)
    v = v / (1 - b2 ** (steps0 + t)) if corrected else v
    rate = gain / (np.sqrt(v) + hp.eps)
    done = before + np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2) * t[1]])
    if done[-1] >= wanted:
        after = float(np.interp(wanted, done, t))
    else:
        after = t[-1] + (wanted - done[-1]) / rate[-1]
    passed = done <= wanted
    rates, at = rate[passed], float(np.interp(after, t, rate))
    theta = theta0 * np.exp(-done[passed])
    part = np.append(np.diff(done[passed]), max(wanted - done[passed][-1], 0.0))
    value = steps0 + after - (lag(b1) + 0.5) * float(np.sum(part * rates)) / at
    push = (lam * theta) ** 2 / v[passed] * (1 + 2 * lag(b2) * rates)
    neglected = {
        "lambda theta in v": 0.5 * float(np.sum(part * push)) / (at * value),
        "the second order of the lag": (lag(b1) * float(rates.max())) ** 2,
        "the spread of theta": 0.5 * at,
    }
    return judged(value, neglected)


def _memory(hp: Any, sigma0: float, steps0: int, sigma: float) -> tuple[float, float]:
    """(k, D) of the module's formula."""
    _, b2 = betas(hp)
    k = -math.log(b2) if b2 > 0 else math.inf
    return k, (sigma0**2 - sigma**2) * (1 - b2**steps0)
