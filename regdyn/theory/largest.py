r"""Distribution of the largest v so far: what AMSGrad divides by.

F(x) = P(no v up to now above x) on a grid of levels x. Read through its own distribution, v is
close to a Gaussian process with correlation beta2 from step to step: u(x) is the score of level x.
Such a process that has not yet been above u gets there at the rate kappa rate(u) per step, kappa =
-ln beta2, and F cannot be larger than P(v_t < x) = Phi(u):

    F(x)  <-  min( F(x) exp(-kappa rate(u + 0.5826 sqrt(2 kappa))),  Phi(u(x)) )

The shift is that of a walk that is seen at whole steps only (Siegmund, 1979). v, a sum of squares
with unequal weights, is taken as a gamma variable shifted so that three cumulants agree (two are
not enough: the tail of a sum of squares is that of its largest weight), and u(x) by the cube root
of Wilson and Hilferty (1931).
"""

from math import exp, log, sqrt

import numpy as np

from regdyn.compile import compiled
from regdyn.theory.moments import cdf, pdf

SPACING = 0.03  # of ln x between two levels
FAR = 8.0  # standard scores beyond which nothing happens


@compiled
def rate(u):
    r"""First eigenvalue of dU = -U dt + sqrt(2) dW killed above u: rate of first passages.

    1, 2 and 3 at u = 0, -1 and -sqrt(3) (zeros of Hermite polynomials); u phi(u) for large u. In
    between polynomials through the numerical eigenvalues, good to 1 %.
    """
    if u < 0.0:
        return 1.0 - 0.8 * u + 0.2 * u * u
    if u > 3.0:
        return (u - 1.2 / u) * pdf(u)
    g = (((0.03051 * u - 0.26991) * u + 1.15676) * u - 1.8262) * u + 2.50506
    return g * pdf(u)


@compiled
def levels(lowest, highest):
    """ln x of the grid, and F before the first step."""
    n = min(max(int(log(highest / lowest) / SPACING), 2), 4000)
    x = np.empty(n)
    for i in range(n):
        x[i] = log(lowest) + i * SPACING
    return x, np.ones(n)


@compiled
def update(x, F, start, v, b2, lapse):
    """Take in `lapse` steps at cumulants v of v.

    Returns mean and variance of the largest v, the share of lanes that have a new one, and the
    first level with F > 0 (`start` is the old one).
    """
    mean, var, third = v
    shape = 4.0 * var * var * var / (third * third) if third > 0.0 else 1e300
    scale = third / (2.0 * var) if var > 0.0 else 0.0
    low = mean - shape * scale if third > 0.0 else mean
    k9 = 9.0 * shape
    kappa = -log(b2) if b2 > 0.0 else 100.0
    shift = 0.5826 * sqrt(2.0 * min(kappa, 0.5))
    total = first = second = stayed = 0.0
    before = before_old = 0.0
    for i in range(start, x.shape[0]):
        level, old = exp(x[i]), F[i]
        if third <= 0.0:
            u = FAR + 1.0 if level > mean else -FAR - 1.0
        elif level <= low:
            u = -FAR - 1.0
        else:
            u = (((level - low) / (shape * scale)) ** (1.0 / 3.0) - (1.0 - 1.0 / k9)) * sqrt(k9)
        if u < -FAR:
            F[i] = 0.0
        elif u < FAR:
            F[i] = min(F[i] * exp(-min(kappa * lapse * rate(u + shift), 700.0)), cdf(u))
        stayed += (old - before_old) * F[i] / old if old > 0.0 else 0.0
        before_old = old
        if F[i] < 1e-9:
            start, before = i + 1, 0.0
            continue
        p, middle = F[i] - before, level * exp(-0.5 * SPACING)
        before = F[i]
        total, first, second = total + p, first + p * middle, second + p * middle * middle
        if old > 1.0 - 1e-12 and F[i] > 1.0 - 1e-12:
            break
    if total <= 0.0:
        return mean, var, 1.0, start
    first /= total
    renewed = min(max(1.0 - stayed, 0.0), 1.0)
    return first, max(second / total - first * first, 0.0), renewed, start
