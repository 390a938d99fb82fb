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


def _correlations(hp: Lion) -> np.ndarray:
    """rho_0 = 1, rho_1, ... of c under noise, until they are below 1e-12."""
    b1, b2 = hp.beta1, hp.beta2
    first = (1 - b1) * b1 * (1 - b2) + b1 * b1 * b2 * (1 - b2) / (1 + b2)
    n = math.ceil(-28 / math.log(b2)) + 2 if b2 > 0 else 2
    return np.append(1.0, first / sign_std(hp) ** 2 * b2 ** np.arange(n - 1.0))


def lion_l2_time(hp: Lion, lam: float, sigma: float, theta0: float, theta1: float) -> Law:
    r"""Steps until the mean of theta falls from `theta0` to `theta1` under Lion and L2.

    Formula, with x = lambda theta / (sqrt(2) std(c))::

        t = (1 / lr) int dtheta / erf(x) - (L + 1/2) ln(x-drift ratio) + L (x0 / erf(x0)) erf'(x0)

    where L = b1 / (1 - b2) is the mean age of c: theta of L steps ago is larger, which speeds theta
    up, and at the start m = 0 does not know theta yet, which slows it down by as much as one L.
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
    drift = hp.lr * np.array([math.erf(lam * x / (std * math.sqrt(2))) for x in theta])
    slope = hp.lr * lam * math.sqrt(2 / math.pi) / std
    slopes = slope * np.exp(-((lam * theta / std) ** 2) / 2)
    age = hp.beta1 / (1 - hp.beta2)
    time = float(np.sum(weight * theta / drift))
    ends = [math.erf(lam * x / (std * math.sqrt(2))) for x in (theta0, theta1)]
    start = float(slopes[-1] * theta[-1] / drift[-1])
    value = time - (age + 0.5) * math.log(ends[0] / ends[1]) + age * start
    second = float(np.sum(weight * theta / drift * (slopes * (age + 0.5)) ** 2)) / abs(value)
    spread = float(np.sum(weight * theta / drift * slopes**2 / slope)) / time * sign_noise(hp) / 2
    neglected = {
        "the second order of the lag": second + slope * age * age * start / abs(value),
        "the spread of theta": spread,
    }
    return judged(value, neglected)


def lion_l2_std(hp: Lion, lam: float, sigma: float) -> Law:
    r"""Stationary standard deviation of theta under Lion and L2.

    Formula: sign(c) is split into G c, G = sqrt(2 / pi) / s, s = std(c), and a rest whose
    autocorrelation is (2 / pi) (arcsin(rho_k) - rho_k). Then theta and the part of m that is made
    of theta obey a linear recursion with feedback, driven by G c_noise + rest; V and s follow.
    Leading order, K = lr lambda G small against 1 - b2:

        std = lr sqrt(sign_noise / (2 K))

    Assumption: independent Gaussian gradients, c Gaussian. Neglected: that c is not Gaussian once
    lambda theta is a large share of it: 1 / 40 of that share (the coefficient is measured, see
    docs/laws/lion.md). Range: fails once theta oscillates by itself.
    Source: statistical linearisation (Booton, 1954); docs/laws/lion.md.
    """
    if lam == 0 or sigma == 0 or hp.lr == 0:
        return invalid(math.nan, "Without noise and decay there is no stationary state.")
    noise = sigma * sign_std(hp)
    s, V = noise, math.nan
    for _ in range(200):
        V, square = _linear(hp, lam, sigma, s)
        if not square > 0:
            return invalid(
                math.nan, "theta oscillates by itself: the linear recursion is unstable."
            )
        s, before = math.sqrt(s * math.sqrt(square)), s
        if abs(s - before) < 1e-10 * s:
            break
    share = abs(1 - (noise / s) ** 2) + lam * lam * V / (s * s)
    return judged(math.sqrt(V), {"lambda theta in c": share / 40})


def _linear(hp: Lion, lam: float, sigma: float, s: float) -> tuple[float, float]:
    """(Var theta, Var c) of the linear recursion with gain sqrt(2 / pi) / s; c square 0: unstable.

    theta' = theta - K ((1 - b1) theta + b1 M) - lr x,  M' = b2 M + (1 - b2) theta.
    """
    b1, b2 = hp.beta1, hp.beta2
    gain = math.sqrt(2 / math.pi) / s
    K = hp.lr * lam * gain
    A = np.array([[1 - K * (1 - b1), -K * b1], [1 - b2, b2]])
    z, vectors = np.linalg.eig(A)
    if np.abs(z).max() >= 1 or abs(z[0] - z[1]) < 1e-9:
        return math.nan, 0.0
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
    return variance(B), noise + lam * lam * variance(E) - 2 * hp.lr * lam * gain * noise * mixed
