r"""Averages over Gaussian gradients of what an adaptive rule divides by its own second moment.

g = a + z in units of sigma, m and v averages of g and g^2 with beta1 and beta2. Two ways:

exact
    1 / (sqrt(v) + eps) is a mixture of exponentials exp(-s v), and the mean of exp(-s v) over
    independent Gaussians is a product. One integral over s is left.
expansion
    v = S^2 (1 + x), S^2 = 1 + a^2, where x has variance (2 + 4 a^2) / (nu S^4). To first order in
    1 / nu, nu = (1 + beta2) / (1 - beta2). The next order is (1 / nu)^2.

Bias corrections are those of a long run (none).
"""

import math
from functools import lru_cache

import numpy as np

from regdyn.theory.laws.law import overlap, samples

EXACT_BELOW = 60.0
"""Below so many samples nu the exact integral is taken; above, 1 / nu^2 is less than 3e-4."""


def _weights(b: float, tail: float = 1e-14) -> np.ndarray:
    """(1 - b) b^k until b^k < `tail`."""
    n = 1 if b == 0 else math.ceil(math.log(tail) / math.log(b)) + 1
    return (1 - b) * b ** np.arange(n)


def _mixture(eps: float, power: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Nodes s and weights so that (sqrt(v) + eps)^-power = sum of weight * exp(-s v).

    Inverse Laplace transforms, with E(s) = exp(eps^2 s) erfc(eps sqrt(s))::

        power 1:  1 / sqrt(pi s) - eps E(s)
        power 2:  (1 + 2 eps^2 s) E(s) - 2 eps sqrt(s / pi)

    The first is in every table of Laplace transforms, the second is minus its derivative by eps.
    s = e^x, trapezoidal rule in x.
    """
    from scipy.special import erfcx

    x = np.linspace(-45.0, 45.0, 901)
    s = np.exp(x)
    root = eps * np.sqrt(s)
    if power == 1:
        density = 1 / np.sqrt(np.pi * s) - eps * erfcx(root)
    else:
        density = (1 + 2 * root * root) * erfcx(root) - 2 * root / math.sqrt(np.pi)
        large = root > 1e3  # the difference loses its digits: asymptotic series of erfcx
        density[large] = 2 / (math.sqrt(np.pi) * root[large]) * (0.5 / root[large] ** 2)
    return s, density * s * (x[1] - x[0])


def phi_exact(a: float, b1: float, b2: float, eps: float = 0.0) -> float:
    r"""E[m / (sqrt(v) + eps)] for g = a + z, by the exact integral.

    Formula, with w_k = (1 - beta2) beta2^k and h_k = (1 - beta1) beta1^k::

        int ds rho(s) prod_k (1 + 2 w_k s)^(-1/2) exp(-a^2 w_k s / (1 + 2 w_k s))
                      * a sum_k h_k / (1 + 2 w_k s)
    """
    w, h = _weights(b2), _weights(b1)
    s, weight = _mixture(eps, 1)
    d = 1 + 2 * np.multiply.outer(s, w)
    log = -0.5 * np.log(d).sum(axis=1) - a * a * ((d - 1) / (2 * d)).sum(axis=1)
    n = min(len(h), len(w))
    mean = (h[:n] / d[:, :n]).sum(axis=1) + h[n:].sum()
    return float(a * np.sum(weight * np.exp(log) * mean))


def phi(a: float, b1: float, b2: float, eps: float = 0.0) -> float:
    r"""E[m / (sqrt(v) + eps)] for g = a + z: what Adam steps along, in units of lr.

    Formula, to first order in 1 / nu, with r = S / (S + eps)::

        a / (S + eps) * [1 + (r + 2 r^2) (1 + 2 a^2) / (4 nu S^4) - r w12 / S^2]

    (eps = 0: a / S [1 + 3 (1 + 2 a^2) / (4 nu S^4) - w12 / S^2]; slope at 0
    1 + 3 / (4 nu) - w12.) Exact integral for nu < 60.
    Assumption: independent Gaussian gradients, long after the start.
    """
    nu = samples(b2)
    if nu < EXACT_BELOW and a < 30:
        return phi_exact(a, b1, b2, eps)
    square = 1 + a * a
    root = math.sqrt(square)
    r = root / (root + eps)
    spread = (r + 2 * r * r) * (1 + 2 * a * a) / (4 * nu * square * square)
    return a / (root + eps) * (1 + spread - r * overlap(b1, b2) / square)


def slope(b1: float, b2: float, eps: float = 0.0) -> float:
    """Slope of phi at a = 0, times 1 + eps: 1 for averages that never fluctuate."""
    return phi(1e-6, b1, b2, eps) / 1e-6 * (1 + eps)


@lru_cache(maxsize=256)
def _mean_of(power: int, b2: float, eps: float, square: bool) -> float:
    """E[(sqrt(v) + eps)^-power], times g_0^2 inside if `square`, by the exact integral."""
    s, weight = _mixture(eps, power)
    w, log = _weights(b2), np.zeros_like(s)
    for part in np.array_split(w, max(1, len(w) // 256)):
        log -= 0.5 * np.log1p(2 * np.multiply.outer(s, part)).sum(axis=1)
    return float(np.sum(weight * np.exp(log) / (1 + 2 * w[0] * s if square else 1)))


def square_step(b2: float, eps: float = 0.0) -> float:
    r"""c2 = E[g^2 / (sqrt(v) + eps)^2] for g = z, without momentum, by the exact integral.

    Formula: int ds rho_2(s) (1 + 2 w_0 s)^(-1) prod_k (1 + 2 w_k s)^(-1/2).
    First order, eps = 0: 1 + 2 / nu - 2 (1 - beta2).
    """
    return _mean_of(2, b2, eps, True)


def noise_gain(b1: float, b2: float, eps: float = 0.0, q: float = 1.0) -> tuple[float, float]:
    r"""Long-run variance of Adam's steps, relative to that of m / (1 + eps); and what is neglected.

    The signs of the g are independent of v: only terms with one and the same g_i are left, the
    average, with weights h_t h_s q^|t-s|, of E[g_0^2 f(v_t) f(v_s)], f(v) = 1 / (sqrt(v) + eps).

    Formula, to first order in 1 / nu, with r = 1 / (1 + eps)::

        1 + (r + 2 r^2) / (2 nu) + r^2 <beta2^|t-s|> / (2 nu) - 2 r <(1 - beta2) beta2^t>

    Without momentum the exact c2 is known, with a long one the limit E[f]^2. The second order is
    interpolated between them, linearly in <beta2^|t-s|>; half of what that moves is neglected.
    """
    r, nu = 1 / (1 + eps), samples(b2)
    memory = (1 + q * b1) / (1 - q * b1)
    b12 = b1 * b2 * q
    same = (1 + b12) / (1 - b12) / memory
    shared = (1 - b2) * (1 / (1 - b1 * q) + b12 / (1 - b12)) / (1 - b1 * b1 * b2)
    shared *= (1 - b1 * b1) / memory
    spread = 1 + (r + 2 * r * r) / (2 * nu)
    first = spread + r * r * same / (2 * nu) - 2 * r * shared
    if nu > 1000:
        return first, 4 / nu**2
    short = square_step(b2, eps) / r**2 - (spread + r * r / (2 * nu) - 2 * r * (1 - b2))
    long = (_mean_of(1, b2, eps, False) / r) ** 2 - spread
    return first + same * short + (1 - same) * long, 2 * same * (1 - same) * (short - long)
