r"""Lion: signs of a Gaussian.

Lion steps along the sign of c = beta1 m + (1 - beta1) g, m the average of earlier g with beta2.
For Gaussian gradients c is Gaussian, and what is needed of its sign is known exactly:

    E sign(c)             = erf(mean(c) / (sqrt(2) std(c)))  ~ sqrt(2 / pi) mean(c) / std(c)
    E sign(c_t) sign(c_s) = (2 / pi) arcsin(rho_|t-s|)       (the arcsine law; mean 0)
"""

import math

import numpy as np

from regdyn.rules import Lion
from regdyn.theory.laws.law import Law, invalid, judged

_NODES = np.polynomial.legendre.leggauss(60)


def sign_std(hp: Lion) -> float:
    """std(c) / sigma = sqrt((1 - b1)^2 + b1^2 (1 - b2) / (1 + b2)), long after the start."""
    b1, b2 = hp.beta1, hp.beta2
    return math.sqrt((1 - b1) ** 2 + b1 * b1 * (1 - b2) / (1 + b2))


def sign_noise(hp: Lion, q: float = 1.0) -> float:
    r"""Variance of a sum of many signs, per step: 1 + 2 sum_k q^k (2 / pi) arcsin(rho_k).

    Formula: rho_k = rho_1 b2^(k-1), rho_1 std(c)^2 / sigma^2 = (1 - b1) b1 (1 - b2)
    + b1^2 b2 (1 - b2) / (1 + b2). Exact. Source: the arcsine law (Van Vleck & Middleton, 1966).
    """
    rho = _correlations(hp)
    k = np.arange(len(rho))
    R = 2 / np.pi * np.arcsin(np.minimum(rho, 1.0))
    return float(2 * np.sum(q**k * R) - R[0])


def sign_growth(hp: Lion) -> np.ndarray:
    """How fast a sum of signs spreads at step t = 1, 2, ...: 1 + 2 sum_(k < t) of R_k."""
    R = 2 / np.pi * np.arcsin(np.minimum(_correlations(hp), 1.0))
    return 2 * np.cumsum(R) - 1


def _correlations(hp: Lion) -> np.ndarray:
    """rho_0 = 1, rho_1, ... of c under noise, until they are below 1e-9."""
    b1, b2 = hp.beta1, hp.beta2
    first = (1 - b1) * b1 * (1 - b2) + b1 * b1 * b2 * (1 - b2) / (1 + b2)
    n = math.ceil(-21 / math.log(b2)) + 2 if b2 > 0 else 2
    return np.append(1.0, first / sign_std(hp) ** 2 * b2 ** np.arange(n - 1.0))


def lion_l2_time(hp: Lion, lam: float, sigma: float, theta0: float, theta1: float) -> Law:
    r"""Steps until the mean of theta falls from `theta0` to `theta1` under Lion and L2.

    Formula, with x = lambda theta / (sqrt(2) std(c))::

        t = (1 / lr) int dtheta / erf(x) - (L + 1/2) ln(erf(x0) / erf(x1)) + start

    where L = b1 / (1 - b2) is the mean age of c: theta of L steps ago is larger, which speeds theta
    up. At the start m = 0 does not know theta yet: sum over t of 1 - E sign(c_t) / erf(x0), up to L
    steps.
    Leading orders: theta0 / lr while lambda theta >> std(c); below, the rate
    lr lambda sqrt(2 / pi) / std(c).
    Assumption: independent Gaussian gradients, constant sigma; neglected: the lag's second order,
    (L rate)^2, and the spread of theta, rate * sign_noise / 2.
    Source: derived in docs/laws/lion.md.
    """
    std = sigma * sign_std(hp)
    if lam == 0 or hp.lr == 0 or std == 0:
        return invalid(math.inf, "Without decay, learning rate or noise: use the recursion.")
    half = math.log(theta0 / theta1) / 2
    theta, weight = theta1 * np.exp(half * (1 + _NODES[0])), half * _NODES[1]
    drift = hp.lr * _erf(lam * theta / std)
    slope = hp.lr * lam * math.sqrt(2 / math.pi) / std
    slopes = slope * np.exp(-((lam * theta / std) ** 2) / 2)
    age = hp.beta1 / (1 - hp.beta2)
    time = float(np.sum(weight * theta / drift))
    ends = _erf(lam * np.array([theta0, theta1]) / std)
    start = float(np.sum(1 - _young(hp, lam * theta0 / sigma) / ends[0]))
    value = time - (age + 0.5) * math.log(ends[0] / ends[1]) + start
    second = float(np.sum(weight * theta / drift * (slopes * (age + 0.5)) ** 2))
    spread = float(np.sum(weight * theta / drift * slopes**2 / slope)) / time * sign_noise(hp) / 2
    unfilled = _young(hp, lam * theta1 / sigma)
    filled = unfilled[min(max(int(value), 0), len(unfilled) - 1)] / ends[1]
    neglected = {
        "that m is still young": 0.5 * (1 - float(filled)),
        "the second order of the lag": second / abs(value),
        "the second order of the start": abs(start) * age * hp.lr * ends[0] / theta0 / abs(value),
        "the spread of theta": spread,
    }
    return judged(value, neglected)


def _erf(x: np.ndarray) -> np.ndarray:
    """E sign of a Gaussian of mean x and variance 1."""
    from scipy.special import erf

    return erf(x / math.sqrt(2))


def _young(hp: Lion, a: float) -> np.ndarray:
    """E sign(c_t) at steps t = 1, 2, ... while theta stays at a = lambda theta / sigma."""
    b1, b2 = hp.beta1, hp.beta2
    n = math.ceil(-30 / math.log(b2)) + 1 if b2 > 0 else 2
    kept = b2 ** np.arange(n)
    mean = a * (1 - b1 + b1 * (1 - kept))
    variance = (1 - b1) ** 2 + b1 * b1 * (1 - b2) / (1 + b2) * (1 - kept**2)
    return _erf(mean / np.sqrt(variance))


def lion_l2_std(hp: Lion, lam: float, sigma: float) -> Law:
    r"""Stationary standard deviation of theta under Lion and L2.

    Formula: sign(c) is split into G c, G = sqrt(2 / pi) / s, s = std(c), and a rest whose
    autocorrelation is (2 / pi) (arcsin(rho_k) - rho_k). Then theta and the part of m that is made
    of theta obey a linear recursion with feedback, driven by G c_noise + rest; V and s follow.
    Leading order, K = lr lambda G small against 1 - b2:

        std = lr sqrt(sign_noise / (2 K))

    Assumption: independent Gaussian gradients, c Gaussian. Neglected: that c is not Gaussian where
    lambda theta is a large share of it and oscillates with a small damping ratio zeta, or where
    theta is about one step wide: 0.005 share / zeta^2 + 0.01 K^4 (form and coefficients are
    measured, not derived: docs/laws/lion.md). Range: fails once theta oscillates by itself.
    Source: statistical linearisation (Booton, 1954); docs/laws/lion.md.
    """
    if lam == 0 or sigma == 0 or hp.lr == 0:
        return invalid(math.nan, "Without noise and decay there is no stationary state.")
    noise = sigma * sign_std(hp)
    s, V, damping = noise, math.nan, math.inf
    for _ in range(200):
        V, square, damping = _linear(hp, lam, sigma, s)
        if not square > 0:
            return invalid(
                math.nan, "theta oscillates by itself: the linear recursion is unstable."
            )
        s, before = math.sqrt(s * math.sqrt(square)), s
        if abs(s - before) < 1e-7 * s:
            break
    share = (lam * lam * V + abs(s * s - noise * noise)) / (s * s)
    rough = 0.005 * share / (1 + share) / damping**2
    step = hp.lr * lam * math.sqrt(2 / math.pi) / s
    return judged(math.sqrt(V), {"that c is not Gaussian": rough + 0.01 * step**4})


def _linear(hp: Lion, lam: float, sigma: float, s: float) -> tuple[float, float, float]:
    """(Var theta, Var c, damping ratio) with the gain sqrt(2 / pi) / s; Var c = 0: unstable.

    theta' = theta - K ((1 - b1) theta + b1 M) - lr x,  M' = b2 M + (1 - b2) theta.
    """
    b1, b2 = hp.beta1, hp.beta2
    gain = math.sqrt(2 / math.pi) / s
    K = hp.lr * lam * gain
    A = np.array([[1 - K * (1 - b1), -K * b1], [1 - b2, b2]])
    z, vectors = np.linalg.eig(A)
    if np.abs(z).max() >= 1 or abs(z[0] - z[1]) < 1e-9:
        return math.nan, 0.0, 0.0
    # responses h_j = sum_i B_i z_i^j of theta, and e_j of (1 - b1) theta + b1 M, to x = 1 at j = 0
    start = np.linalg.solve(vectors, np.array([1.0 + 0j, 0.0]))
    B, E = vectors[0] * start, (np.array([1 - b1, b1]) @ vectors) * start
    rho = _correlations(hp)
    R = (gain * sigma * sign_std(hp)) ** 2 * rho + 2 / np.pi * (np.arcsin(rho) - rho)
    k = np.arange(len(rho))
    powers = z[:, None] ** k
    pairs = 1 / (1 - np.multiply.outer(z, z))

    def variance(C: np.ndarray) -> float:
        """lr^2 sum_k R_k sum_j c_j c_(j + k), both signs of k."""
        overlaps = ((C @ (np.multiply.outer(C, np.ones(2)).T * pairs)) @ powers).real
        return hp.lr**2 * float(2 * np.sum(R * overlaps) - R[0] * overlaps[0])

    mixed = float(np.sum((E @ powers).real[:-1] * rho[1:])) if len(rho) > 1 else 0.0
    noise = (sigma * sign_std(hp)) ** 2
    square = noise + lam * lam * variance(E) - 2 * hp.lr * lam * gain * noise * mixed
    slowest = np.log(z[np.argmax(np.abs(z))] + 0j)
    damping = -slowest.real / max(abs(slowest.imag), 1e-9)
    return variance(B), square, float(damping)
