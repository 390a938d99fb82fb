r"""AMSGrad: the maximum of v.

AMSGrad divides by sqrt(v_max) + eps, and v_max only grows. What sets it is the largest of

    a burst          sigma_0^2 (1 - b2^T0), kept for ever
    lambda theta     lambda^2 theta_0^2, kept for ever: the decay is at a rate lr / theta_0 then
    the noise        v fluctuates, and its maximum grows like a logarithm of the time

The last two together: v has mean sigma^2 (1 + a^2) and variance sigma^4 (2 + 4 a^2) / nu at
a = lambda theta / sigma, so it exceeds c sigma^2 as noise alone exceeds

    1 + (c - 1 - a^2) / sqrt(1 + 2 a^2),

whose mean waiting time tau is known (`markov.exit_time`). P(v_max <= c) = exp(-int dt / tau).
"""

import math

import numpy as np

from regdyn.rules import AMSGrad
from regdyn.theory.laws.law import Law, invalid, judged, lag, samples
from regdyn.theory.laws.markov import exit_table

OPTAX = "optax's corrected v is noisy in the first steps: simulate it."
_SHARES = (np.arange(8) + 0.5) / 8
_CELLS = 200


def amsgrad_vmax(hp: AMSGrad, sigma: float, steps: float) -> Law:
    r"""Median of v_max after `steps` steps of constant noise.

    Formula: sigma^2 c with steps / tau(c) = ln 2; for large nu, with u the threshold in standard
    deviations of v, steps (1 - b2) u exp(-u^2 / 2) / sqrt(2 pi) = ln 2 and c = 1 + u sqrt(2 / nu).
    Assumption: independent Gaussian gradients. Range: steps >> 1 / (1 - b2); flavours torch and
    original (optax remembers the first, noisy v / (1 - b2^t)).
    Source: extreme values of a Markov chain; Leadbetter, Lindgren, Rootzen (1983).
    """
    if hp.flavour == "optax":
        return invalid(math.nan, OPTAX)
    value = sigma**2 * _level(hp.beta2, steps, 0.5)
    return judged(value, {"the start of v": 2 * _start(hp, steps), "the grid of levels": 1e-3})


def amsgrad_burst(hp: AMSGrad, sigma0: float, steps0: int, sigma: float = 0.0) -> Law:
    r"""Median of the v_max that a burst of `sigma0` for `steps0` steps leaves for ever.

    Formula: sigma_0^2 (1 - b2^steps0) c, c from the waiting times above along the rising v (c = 1
    while steps0 < 1 / (1 - b2)), less a third of v's relative variance while v is young: it is
    skewed.
    Assumption: independent Gaussian gradients, sigma << sigma_0 (neglected: the squared ratio).
    Neglected: that the young v fluctuates otherwise than the old. Flavours as in `amsgrad_vmax`.
    Source: paper, section 4, for the argument; docs/laws/amsgrad.md.
    """
    if hp.flavour == "optax":
        return invalid(math.nan, OPTAX)
    peak = _Peak(hp, 1e-9, 1.0, 1.0)
    for _ in range(100):
        peak.wait(0.0, steps0 / 100)
    age = steps0 * (1 - hp.beta2)
    mean = 1 - hp.beta2**steps0
    stationary = 2 / samples(hp.beta2)
    variance = stationary * (1 - hp.beta2 ** (2 * steps0)) / mean**2
    value = sigma0**2 * mean * (peak.quantile(0.5) - math.exp(-age) * variance / 3)
    young = 0.2 * math.sqrt(stationary) * math.exp(-age / 10) * -math.expm1(-age)
    neglected = {"the young v": young + variance / 6, "sigma": (sigma / sigma0) ** 2}
    return judged(value, neglected)


def amsgrad_l2_time(hp: AMSGrad, lam: float, sigma: float, theta0: float, theta1: float) -> Law:
    r"""Steps until the mean of theta falls from `theta0` to `theta1` under AMSGrad and L2.

    Formula, v_max the median above, along the way::

        t = int dtheta (sqrt(v_max) + eps) / (lr lambda theta)
            - (N1 + 1/2) ln(theta_0 / theta_1) + (pi^2 / 6) N1^2 rate_0

    While lambda theta_0 << sigma the rate is lr lambda / sqrt(v_max), while it is >> sigma it is
    lr / theta_0.
    Assumption: independent Gaussian gradients, constant sigma, theta slower than v. v's own
    lag and start are followed. Neglected: the second order of the lags, the spread of theta and of
    v_max, the fluctuation of v in its first steps.
    Source: derived in docs/laws/amsgrad.md.
    """
    if lam == 0 or hp.lr == 0 or sigma == 0 or hp.flavour == "optax":
        return invalid(math.inf, "Without decay, learning rate, noise, or for optax: simulate it.")
    grid = np.geomspace(theta0, theta1, _CELLS + 1)
    width = math.log(theta0 / theta1) / _CELLS
    peak, time, rate0 = _Peak(hp, lam, sigma, theta0), 0.0, 0.0
    for theta in np.sqrt(grid[1:] * grid[:-1]):
        rate = peak.rate()
        duration, rate0 = width / rate, rate0 or rate
        peak.wait(theta * math.exp(rate / 2), duration)  # a step sees theta half a step ago
        time += duration
    n1, n2 = lag(hp.beta1), lag(hp.beta2)
    value = time - (n1 + 0.5) * math.log(theta0 / theta1) + math.pi**2 / 6 * n1**2 * rate0
    a0 = (lam * theta0 / sigma) ** 2
    signal = a0 / (1 + a0)
    spread = math.log(peak.quantile(0.75) / peak.quantile(0.25))
    neglected = {
        "the lag of m": ((1 + n1) * rate0) ** 2 + 1.2 * n1**3 * rate0**2 / value,
        "the lag of m, and a step's length, in v_max": (0.25 * n1 + 0.2) * signal * rate0,
        "the spread of theta": 0.5 * rate0 * (1 - signal),
        "the spread of v_max": spread**2 / 8,
        "the start of v": (1 - signal) * _start(hp, time),
    }
    if hp.flavour == "original":  # m and v start at 0, uncorrected
        neglected["the start without bias correction"] = (n1 + 1.4 * n2) / value
    return judged(value, neglected)


def amsgrad_l2_std(hp: AMSGrad, lam: float, sigma: float, *, theta0: float, steps: float) -> Law:
    r"""Standard deviation of theta after `steps` steps of AMSGrad and L2, from `theta0`.

    Formula: V = lr sigma^2 (1 + b1) / (lambda D (2 (1 + b1) - (1 - b1) lr lambda / D)),
    D = sqrt(v_max) + eps; leading order sqrt(lr sigma^2 / (2 lambda sqrt(v_max))). Averaged over
    v_max. Assumption and range as in `amsgrad_l2_time`; exp(-2 rate steps) is neglected.
    Source: docs/laws/amsgrad.md.
    """
    if lam == 0 or hp.lr == 0 or sigma == 0 or hp.flavour == "optax":
        return invalid(math.nan, "Without decay, learning rate, noise, or for optax: simulate it.")
    peak, theta, left = _Peak(hp, lam, sigma, theta0), theta0, steps
    while left > 0 and theta > 1e-3 * min(theta0, sigma / lam):
        rate = peak.rate()
        duration = min(0.02 / rate, left)
        peak.wait(theta * math.exp((1 - duration) * rate / 2), duration)
        theta, left = theta * math.exp(-rate * duration), left - duration
    peak.wait(0.0, max(left, 0.0))
    b1, start = hp.beta1, hp.lr * lam / (math.hypot(sigma, lam * theta0) + hp.eps)
    D = sigma * np.sqrt([peak.quantile(share) for share in _SHARES]) + hp.eps
    rates = hp.lr * lam / D
    left = 2 * (1 + b1) - (1 - b1) * rates
    if left.min() <= 0:
        return invalid(math.nan, "The decay of a step is beyond the edge of stability.")
    V = hp.lr * sigma**2 * (1 + b1) / (lam * D * left)
    rate = float(np.median(rates))
    a0 = (lam * theta0 / sigma) ** 2
    neglected = {
        "the lag of m in v_max": 0.25 * a0 / (1 + a0) * lag(b1) * start,
        "theta's own v": 0.25 * rate * min(1.0, sigma / (float(D[0]) - hp.eps)) ** 2,
        "the start": math.exp(-2 * rate * steps),
        "the start of v": _start(hp, steps) / (1 + a0),
    }
    return judged(math.sqrt(V.mean()), neglected)


def step_noise(
    hp: AMSGrad, sigma: float, q: float, steps: float
) -> tuple[float, dict[str, float]] | str:
    """R_0 + 2 sum q^k R_k of AMSGrad's steps under weight decay, and what is neglected."""
    if hp.flavour == "optax":
        return OPTAX
    if not math.isfinite(steps):
        return "AMSGrad's v_max grows like a logarithm: give the number of steps."
    time = max(steps - 0.5 / (1 - q), steps / 2)  # when the steps were made that are still seen
    c = np.array([_level(hp.beta2, time, share) for share in _SHARES])
    memory = (1 - hp.beta1) / (1 + hp.beta1) * (1 + q * hp.beta1) / (1 - q * hp.beta1)
    power = hp.lr**2 * memory * float(np.mean((sigma / (sigma * np.sqrt(c) + hp.eps)) ** 2))
    return power, {"the start of v": _start(hp, steps)}


def _start(hp: AMSGrad, steps: float) -> float:
    """Relative error of sqrt(v_max) before v has been through many memories."""
    return 0.5 * math.sqrt(2 / samples(hp.beta2)) * math.exp(-steps * (1 - hp.beta2) / 10)


def _level(b2: float, steps: float, share: float) -> float:
    """c with P(max of v <= c) = `share` after `steps` steps, at least 1."""
    levels, logs = exit_table(b2)
    return max(1.0, float(np.interp(math.log(steps / math.log(1 / share)), logs, levels)))


class _Peak:
    """Distribution of v_max / sigma^2 along theta's way: -ln P(v_max <= c) on a grid of c.

    v starts at 0 and follows: its mean is 1 - b2^t + A, A' = (1 - b2) (a^2 - A).
    """

    def __init__(self, hp: AMSGrad, lam: float, sigma: float, theta0: float) -> None:
        self.hp, self.lam, self.sigma = hp, lam, sigma
        self.levels, self.logs = exit_table(hp.beta2)
        a = lam * theta0 / sigma
        self.c = np.geomspace(1e-3, a * a + self.levels[-1] * (1 + 2 * a), 4 * _CELLS)
        self.hazard = np.zeros_like(self.c)
        self.t, self.signal, self.least = 0.0, 0.0, 0.0
        self.start = 1 + a * a

    def wait(self, theta: float, duration: float) -> None:
        """theta stays where it is for `duration` steps."""
        square = (self.lam * theta / self.sigma) ** 2
        self.t += duration
        keep = self.hp.beta2**duration
        self.signal = square + (self.signal - square) * keep
        mean = 1 - self.hp.beta2**self.t + self.signal
        self.least = max(self.least, mean)
        seen = 1 + (self.c - mean) / math.sqrt(1 + 2 * square)
        self.hazard += duration / np.exp(np.interp(seen, self.levels, self.logs, right=50.0))

    def quantile(self, share: float) -> float:
        """c with P(v_max <= c) = `share`, not below the mean of v; corrected for the start."""
        if self.t == 0:
            return self.start
        log = np.log(np.maximum(self.hazard[::-1], 1e-300))
        c = float(np.interp(math.log(math.log(1 / share)), log, self.c[::-1]))
        return max(c, self.least) / (1 - self.hp.beta2**self.t)

    def rate(self) -> float:
        """Decay of theta per step at the median of v_max."""
        return self.hp.lr * self.lam / (self.sigma * math.sqrt(self.quantile(0.5)) + self.hp.eps)
