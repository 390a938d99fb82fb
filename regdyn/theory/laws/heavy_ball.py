r"""SGD with momentum under L2: the heavy ball, a linear recursion that is solved exactly.

With k = lr * lambda and momentum mu, theta obeys

    theta_t = (1 + mu - k) theta_{t-1} - mu theta_{t-2} - lr g_t

(Nesterov: coefficients (1 + mu) (1 - k) and mu (1 - k)). Everything here is exact for any gradient
that is independent from step to step with mean 0, whatever its distribution.
"""

import cmath
import math
from typing import NamedTuple

import numpy as np

from regdyn.rules import SGD
from regdyn.theory.laws.law import Law, first_below, invalid, judged

UNSTABLE = (
    "lr * lambda must lie between 0 and 2 (1 + momentum), or 2 (1 + momentum) / (1 + 2 momentum) "
    "with Nesterov momentum."
)


class HeavyBall(NamedTuple):
    r"""Characteristic polynomial z^2 - trace z + det of SGD under L2.

    Attributes
    ----------
    roots : tuple of complex
        The slow root (largest modulus) first.
    trace, det : float
        Sum and product of the roots.
    oscillates : bool
        Complex roots: (1 - sqrt(mu))^2 < k < (1 + sqrt(mu))^2; or a negative one.
    stable : bool
        Both roots inside the unit circle: 0 < k < 2 (1 + mu); Nesterov 2 (1 + mu) / (1 + 2 mu).
    """

    roots: tuple[complex, complex]
    trace: float
    det: float
    oscillates: bool
    stable: bool


def heavy_ball(hp: SGD, lam: float) -> HeavyBall:
    r"""Roots of SGD with momentum under L2, and whether they oscillate or diverge.

    Formula: z^2 - (1 + mu - k) z + mu = 0, k = lr * lambda; Nesterov:
    z^2 - (1 + mu) (1 - k) z + mu (1 - k) = 0. Exact.

    Source: Polyak (1964); Nesterov's by the same substitution.
    """
    k, mu = hp.lr * lam, hp.momentum
    trace = (1 + mu) * (1 - k) if hp.nesterov else 1 + mu - k
    det = mu * (1 - k) if hp.nesterov else mu
    # the difference of the roots, from (1 - z1) (1 - z2) = k: no digits are lost at small k
    gap = cmath.sqrt((2 - trace) ** 2 - 4 * k)
    slow, fast = 1 - 2 * k / (2 - trace + gap) if k else 1.0 + 0j, (trace - gap) / 2
    if abs(fast) > abs(slow):
        slow, fast = fast, slow
    oscillates = abs(gap.imag) > 0 or slow.real < 0
    stable = abs(det) < 1 and abs(trace) < 1 + det
    return HeavyBall((slow, fast), trace, det, oscillates, stable)


def sgd_l2_means(hp: SGD, lam: float, theta0: float, t: np.ndarray) -> np.ndarray:
    r"""Mean of theta after `t` steps: theta_0 (c z1^t + (1 - c) z2^t), exact.

    c = (z_first - z2) / (z1 - z2), where z_first = E theta_1 / theta_0 = 1 - k (Nesterov:
    1 - (1 + mu) k). Equal roots are replaced by a pair 1e-7 apart.
    """
    ball = heavy_ball(hp, lam)
    z1, z2 = ball.roots
    if z1 == z2:
        z1, z2 = z1 * (1 + 1e-7), z2 * (1 - 1e-7)
    # 1 - c is small where z1 is close to 1: compute it from what it is proportional to
    first = hp.lr * lam * (1 + hp.momentum if hp.nesterov else 1)
    rest = (1 - z1 - first) / (z2 - z1)
    t = np.asarray(t, float)
    return theta0 * ((1 - rest) * z1**t + rest * z2**t).real


def sgd_l2_time(hp: SGD, lam: float, theta0: float, theta1: float) -> Law:
    r"""Steps until the mean of theta first falls from `theta0` to `theta1`, under SGD and L2.

    Formula: the first root of ``sgd_l2_means(t) = theta1``; while the roots do not oscillate and
    1 - z1 is small, ln(c theta_0 / theta_1) / -ln z1 with -ln z1 ~ lr * lambda / (1 - mu).
    Assumption: gradients independent from step to step, with mean 0. Range: where it is `stable`.
    Source: Polyak (1964).
    """
    ball = heavy_ball(hp, lam)
    if not ball.stable:
        return invalid(math.inf, UNSTABLE)
    # between t = slow / 4 and 4 slow a bisection on whole steps; earlier and oscillating: search
    slow = math.log(abs(theta0 / theta1)) / -math.log(abs(ball.roots[0]))
    if ball.oscillates or slow < 1000:
        t = np.arange(int(4 * slow) + 100)
        return judged(first_below(sgd_l2_means(hp, lam, theta0, t), theta1), {})
    low, high = 0.0, 4 * slow + 10 / (1 - abs(ball.roots[1]))
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        above = float(sgd_l2_means(hp, lam, theta0, np.array(middle))) > theta1
        low, high = (middle, high) if above else (low, middle)
    return judged(high, {})


def sgd_l2_std(hp: SGD, lam: float, sigma: float) -> Law:
    r"""Stationary standard deviation of theta under SGD and L2.

    Formula, the variance of an AR(2) (Nesterov: of an ARMA(2, 1), in the code)::

        V = lr sigma^2 (1 + mu) / ((1 - mu) lambda (2 (1 + mu) - lr lambda))

    so std ~ sigma sqrt(lr / (2 lambda (1 - mu))) while lr lambda is small. Assumption: gradients
    independent, mean 0, variance sigma^2. Range: where it is `stable`. Exact.
    Source: Mandt, Hoffman, Blei (2017) at small lr; the AR(2) variance is textbook (Yule-Walker).
    """
    ball, k, mu = heavy_ball(hp, lam), hp.lr * lam, hp.momentum
    if not ball.stable or k == 0:
        return invalid(math.inf, UNSTABLE)
    p, d = ball.trace, ball.det
    # x_t = p x_{t-1} - d x_{t-2} + e_t + c e_{t-1}, where 1 - p + d = k. What drives it is
    # e_t = -lr g_t, c = 0; with Nesterov momentum e_t = -lr (1 + mu) g_t
    c = -mu / (1 + mu) if hp.nesterov else 0.0
    e = hp.lr * sigma * (1 + mu if hp.nesterov else 1)
    variance = e * e * ((1 + c * c) * (1 + d) + 2 * c * p) / ((1 - d) * k * (1 + p + d))
    return judged(math.sqrt(variance), {})
