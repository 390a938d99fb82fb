r"""Noise that is a Gaussian of random variance: x^2 = tau z^2, E tau = 1.

Student-t and intermittent gradients are such scale mixtures. The closure knows noise by Var(x) and
Var(x^2) only, and takes v as a gamma variable. Here are the values of these two with which what the
closure says of a step is exact, for v in its stationary state and next to no signal.

By v^-1/2 = pi^-1/2 int s^-1/2 exp(-s v) ds, for v = sum_k w_k g_k^2 and d = sum_i c_i (b + g_i),

    E[v^-1/2]         =  pi^-1/2  int  s^-1/2  prod_k L(s w_k)  ds,    L(a) = E (1 + 2 a tau)^-1/2
    E[d / sqrt(v)]/b  =  the same with sum_i c_i L3(s w_i) / L(s w_i)  inside,
    E[g_0^2 / v]      =  int  M(s w_0) / L(s w_0)  prod_k L(s w_k)  ds,

L3(a) = E (1 + 2 a tau)^-3/2 and M(a) = E tau (1 + 2 a tau)^-3/2: given all tau, x is Gaussian, and
the i-th square has two degrees of freedom more (Stein's lemma; compare `regdyn.theory.gains`). All
is positive and smooth in ln s. Where noise comes more rarely than v remembers, p < (1 - bv) / 2,
E[v^-1/2] is infinite: only lambda theta and eps bound v then, and nothing here can stand for that.
"""

from math import exp, inf, log, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from regdyn import gradients
from regdyn.theory.largest import SPACING as LEVEL_SPACING
from regdyn.theory.largest import levels, update
from regdyn.theory.moments import inverse, inverse_root

SPACING = 0.2  # of ln s: enough for the trapezoidal rule
LOG_S = np.arange(-36.0, 24.0, SPACING)
RESPONSE, SQUARE = 0, 1


class Memory(NamedTuple):
    """A rule's memories bm of m and bv < 1 of v; eps / E g^2 where eps stands under the root."""

    bm: float
    bv: float
    eps: float = 0.0


def mixture(process: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values of tau and their probabilities."""
    if isinstance(process, gradients.Intermittent):
        p = gradients.fires_below(process) / 2**32
        return np.array([0.0, 1 / p]), np.array([1 - p, p])
    nu = process.nu  # tau = (nu - 2) / chi^2, by the trapezoidal rule in y = ln(chi^2 / nu)
    narrow = min(1.0, sqrt(10 / nu))
    y = np.arange(-min(36.0, 2 + 36 / (nu / 2 - 1)), 4.5 * narrow, 0.25 * narrow)
    weight = np.exp(nu / 2 * (y + 1 - np.exp(y)))
    return (nu - 2) / nu * np.exp(-y), weight / weight.sum()


def effective_square(process: Any, memory: Memory, which: int) -> float:
    """Var(x^2) for which the closure's `expected` is exact; the nearest where there is none.

    `which`: RESPONSE or SQUARE, the two that `exact` returns. What the closure is wrong by under
    Gaussian noise, of Var(x^2) = 2, is taken out.
    """
    wanted = exact(*mixture(process), memory)[which] / exact(np.ones(1), np.ones(1), memory)[which]
    wanted *= expected(2.0, memory)[which]
    low, high = 0.0, 2 * min(true_square(process), (1 + memory.bv) / (1 - memory.bv))
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = expected(middle, memory)[which] < wanted
        low, high = (middle, high) if below == (which == RESPONSE) else (low, middle)
    return high


def true_square(process: Any) -> float:
    """Var(x^2), infinite for nu <= 4."""
    if isinstance(process, gradients.Intermittent):
        return 3 * 2**32 / gradients.fires_below(process) - 1
    return 3 * (process.nu - 2) / (process.nu - 4) - 1 if process.nu > 4 else inf


def expected(square: float, memory: Memory) -> tuple[float, float]:
    """What the closure has for `exact`, by the gamma variable of `regdyn.theory.moments`."""
    bm, bv, eps = memory
    km, kv = 1 - bm, 1 - bv
    var, third = kv * square / (1 + bv), 2 * kv**3 * square**2 / (1 - bv**3)
    bias = 2 * km * kv / (1 - bm * bv)
    response = inverse_root(1 + eps + bias, var + bias**2, third + 2 * bias**3)
    bias = kv * square
    return response, inverse(1 + eps + bias, var + bias**2, third + 2 * bias**3)[0]


def exact(tau: np.ndarray, weight: np.ndarray, memory: Memory) -> tuple[float, float]:
    """E[d / sqrt(v + eps)] / b and E[g^2 / (v + eps)], for E g^2 = 1."""
    bm, bv, eps = memory
    a = np.exp(LOG_S)  # s w_0
    root = 1 / np.sqrt(1 + 2 * np.outer(a, tau))
    L, L3, M = root @ weight, root**3 @ weight, root**3 @ (weight * tau)
    h, s = -log(max(bv, 1e-9)), a / (1 - bv)
    product = np.exp(geometric_sum(np.log(L), h) - s * eps)
    ratio = np.interp(LOG_S - h * bm / (1 - bm), LOG_S, L3 / L)  # at the mean age of what is in m
    response = SPACING * np.sum(np.sqrt(s / pi) * product * ratio)
    return float(response), float(SPACING * np.sum(s * product / L * M))


def geometric_sum(f: np.ndarray, h: float) -> np.ndarray:
    """Sum over k >= 0 of f(ln s - k h), for f on LOG_S that vanishes like s.

    For short steps Euler and Maclaurin's formula, which corrects the trapezoidal rule of the
    integral, too.
    """
    if h > 0.5:
        terms = range(int((LOG_S[-1] - LOG_S[0]) / h) + 1)
        return np.sum([np.interp(LOG_S - k * h, LOG_S, f) for k in terms], axis=0)
    slope = np.gradient(f, SPACING)
    integral = f[0] + np.append(0, np.cumsum(0.5 * SPACING * (f[1:] + f[:-1])))
    return (integral - SPACING**2 / 12 * slope) / h + f / 2 + h / 12 * slope


def sign_scale(process: Any, newest: float, first: float, bm: float) -> float:
    r"""Factor on sigma with which a Gaussian c has the density at 0 that c has (Lion).

    E sign(b + c) = 2 b density(0) for small b. c has weight `newest` for g_t and first bm^k for
    those before:  density(0) = pi^-1 int prod_k E exp(-s^2 w_k^2 tau / 2) ds.
    """
    tau, weight = mixture(process)
    a = np.exp(LOG_S)  # s^2 newest^2 / 2
    f = np.log(np.maximum(np.exp(-np.outer(a, tau)) @ weight, 1e-300))
    if first > 0:
        older = geometric_sum(f, -2 * log(bm)) if bm > 0 else f
        f = f + np.interp(LOG_S + 2 * log(first / newest), LOG_S, older)
    density = SPACING / 2 * np.sum(np.sqrt(2 * a) / newest * np.exp(f)) / pi
    return float(1 / (density * sqrt(2 * pi * (newest**2 + first**2 / (1 - bm**2)))))


def largest_square(process: Any, bv: float, steps: int) -> float:
    """Var(x^2) for which AMSGrad's largest v after half of the steps has the right E[v^-1/2]."""
    bv, steps = min(bv, 1 - 1e-9), max(steps // 2, 1)
    wanted = largest(*mixture(process), bv, steps) / largest(np.ones(1), np.ones(1), bv, steps)
    wanted *= largest_of_gamma(2.0, bv, steps)
    low, high = 0.0, 2 * (1 + bv) / (1 - bv)
    for _ in range(30):
        middle = 0.5 * (low + high)
        below = largest_of_gamma(middle, bv, steps) < wanted
        low, high = (low, middle) if below else (middle, high)
    return high


def largest(tau: np.ndarray, weight: np.ndarray, bv: float, steps: int) -> float:
    r"""E[(largest v)^-1/2] after so many steps.

    Squares that come less than once in ten memories of v jump one by one,

        P(no jump above u)  =  exp(-steps P(kv x^2 > u - E v)),

    and the others make up the gamma variable of `regdyn.theory.largest`.
    """
    from scipy.special import erfc

    kv = 1 - bv
    y = np.exp(np.arange(log(1e-6), log(1e9), 0.1))
    with np.errstate(divide="ignore"):
        above = erfc(np.sqrt(y / 2)[:, None] / np.sqrt(tau)) @ weight  # P(x^2 > y)
    big = y[np.argmax(above < 0.1 * kv)]
    p = np.append(-np.diff(above), 0.0) * (y < big)
    m1, m2, m3 = (p @ (y * exp(0.05)) ** n for n in (1, 2, 3))
    var, third = m2 - m1 * m1, m3 - 3 * m1 * m2 + 2 * m1**3
    x, F = levels(1.0, 1e6)
    update(x, F, 0, (m1, kv / (1 + bv) * var, kv**3 / (1 - bv**3) * third), bv, steps)
    jump = np.maximum((np.exp(x) - m1) / kv, big)
    return _inverse_root(x, F * np.exp(-steps * np.interp(np.log(jump), np.log(y), above)))


def largest_of_gamma(square: float, bv: float, steps: int) -> float:
    """The same as the closure has it, with Var(x^2) = `square`."""
    kv = 1 - bv
    x, F = levels(1.0, 1e6)
    var, third = kv * square / (1 + bv), 2 * kv**3 * square**2 / (1 - bv**3)
    mean, spread, _, _ = update(x, F, 0, (1.0, var, third), bv, steps)
    return inverse_root(mean, spread, 2 * spread**2 / mean)


def _inverse_root(x: np.ndarray, F: np.ndarray) -> float:
    """E[v^-1/2] of v with the distribution F at levels exp(x)."""
    return float(np.diff(F, prepend=0.0) @ np.exp(-0.5 * (x - 0.5 * LEVEL_SPACING)))
