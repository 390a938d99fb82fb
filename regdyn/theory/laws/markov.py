r"""v under constant noise as a Markov chain: v' = b v + (1 - b) z^2, in units of sigma^2.

Two laws need more of v than its moments: how long its maximum stays below a level (AMSGrad), and
what X, which v multiplies, averages to (Adadelta). Both solve u(v) = source(v) + E[gain u(v')]:
u smooth, so a polynomial in ln v through Chebyshev nodes, and the mean over z by Gauss's rules.
"""

import math
from functools import lru_cache

import numpy as np

NODES = 60


def _chebyshev(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """(nodes in v, their barycentric weights), on Chebyshev points of the second kind in ln v."""
    j = np.arange(NODES)
    x = np.cos(np.pi * j / (NODES - 1))
    weights = np.where(j % 2, -1.0, 1.0)
    weights[[0, -1]] /= 2
    return np.exp((math.log(high) + math.log(low) + x * math.log(high / low)) / 2), weights


def _reading(nodes: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Matrix that takes u at the nodes to u at the points `at` (outside the range: its ends)."""
    x = np.log(np.clip(at, nodes[-1], nodes[0]))[..., None] - np.log(nodes)
    exact = x == 0
    terms = weights / np.where(exact, 1.0, x)
    rows = terms / terms.sum(axis=-1, keepdims=True)
    return np.where(exact.any(axis=-1, keepdims=True), exact.astype(float), rows)


def _low(b: float) -> float:
    """v is hardly ever below: the 1e-9 quantile of chi^2_nu / nu."""
    from scipy.special import gammaincinv

    nu = (1 + b) / (1 - b)
    return float(gammaincinv(nu / 2, 1e-9)) * 2 / nu


@lru_cache(maxsize=256)
def exit_time(b: float, level: float) -> float:
    r"""Mean steps until v, long after the start and below `level` now, first exceeds `level`.

    Formula: u(v) = 1 + int_{|z| < z_c} u(v') phi(z) dz, z_c^2 = (level - b v) / (1 - b); u(1).
    The maximum of v over t >> 1 / (1 - b) steps is at most `level` with probability exp(-t / u).
    """
    nodes, weights = _chebyshev(_low(b), level)
    x, w = np.polynomial.legendre.leggauss(40)
    edge = np.minimum(np.sqrt((level - b * nodes) / (1 - b)), 9.0)[:, None]
    z = edge * (1 + x) / 2
    density = edge * w / 2 * np.exp(-z * z / 2) * math.sqrt(2 / math.pi)
    after = _reading(nodes, weights, b * nodes[:, None] + (1 - b) * z * z)
    moves = np.einsum("iz,izj->ij", density, after)
    u = np.linalg.solve(np.eye(NODES) - moves, np.ones(NODES))
    return float((_reading(nodes, weights, np.array([min(1.0, level)])) @ u)[0])


@lru_cache(maxsize=64)
def exit_table(b: float) -> tuple[np.ndarray, np.ndarray]:
    """(levels, ln of `exit_time`), from the bulk of v to levels that 10^9 steps do not reach."""
    std = math.sqrt(2 * (1 - b) / (1 + b))
    levels, logs = [], []
    for x in np.arange(-2.0, 40.0, 0.5):
        level = 1 + x * std
        if level > 0.8 * _low(b) + 0.2:
            time = exit_time(b, level)
            if not 0 < time < 1e9:
                break
            levels.append(level)
            logs.append(math.log(time))
    return np.array(levels), np.array(logs)


@lru_cache(maxsize=256)
def growth(rho: float, eps: float) -> tuple[float, float, float]:
    r"""Adadelta's (E[X + eps] / eps, E[R], slope of its drift); eps in units of sigma^2.

    R = (X + eps) / w, w = v + eps, is multiplied and fed:

        R' = M R + s,   M = (w / w') (rho + (1 - rho) z^2 / w'),   s = (1 - rho) eps / w'

    so E R = E_p[E_z s psi(v')] with psi = 1 + E_z[M psi(v')], p the stationary law of v. In the
    same way E[R^2], E[R h(v)], and E[X + eps] with M w' / w and s w' in place of M and s. The drift
    under a small push a is a E[sqrt(R) h], to second order in the spread of R about its mean, with

        h = E_z[sqrt(w / w') (1 - (1 - rho) z^2 / w')]
    """
    high = 1 + 9 * math.sqrt(2 * (1 - rho) / (1 + rho)) + 30 * (1 - rho)
    nodes, weights = _chebyshev(_low(rho), high)
    z, density = np.polynomial.hermite_e.hermegauss(80)
    density = density / density.sum()
    w = nodes[:, None] + eps
    v = rho * nodes[:, None] + (1 - rho) * z * z
    read = _reading(nodes, weights, v)
    gain = rho + (1 - rho) * z * z / (v + eps)
    M, s = gain * w / (v + eps), (1 - rho) * eps / (v + eps)

    def mean(of: np.ndarray) -> np.ndarray:
        """Operator u -> E_z[of(v, z) u(v')] on the nodes."""
        return np.einsum("z,iz,izj->ij", density, of, read)

    def summed(of: np.ndarray, start: np.ndarray) -> np.ndarray:
        """u = start + E_z[of u(v')]."""
        return np.linalg.solve(np.eye(NODES) - mean(of), start)

    ones = np.ones(NODES)
    balance = mean(np.ones_like(v)).T - np.eye(NODES)
    p = np.linalg.lstsq(np.vstack([balance, ones]), np.append(0 * ones, 1.0), rcond=None)[0]
    first = float(p @ (mean(s) @ summed(M, ones)))
    whole = float(p @ (mean(np.full_like(v, (1 - rho) * eps)) @ summed(gain, ones)))
    square = summed(M * M, ones)
    cross = summed(M, mean(2 * M * s) @ square)
    second = float(p @ (mean(s * s) @ square + mean(s) @ cross))
    h = ((1 - (1 - rho) * z * z / (v + eps)) * np.sqrt(w / (v + eps))) @ density
    plain, with_R = float(p @ h), float(p @ (mean(s) @ summed(M, h))) / first
    curved = (second / first**2 - 1) / 8 * plain
    return whole / eps, first, math.sqrt(first) * ((plain + with_R) / 2 - curved)
