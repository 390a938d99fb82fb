r"""Expectations that the closure needs: of functions of v, and of the larger of two Gaussians."""

from math import erf, exp, pi, sqrt

from regdyn.compile import compiled

MIN_SHAPE = 1.06  # of the gamma variable: E[1/v] exists above 1


@compiled
def cdf(x):
    """Of the standard normal."""
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


@compiled
def pdf(x):
    """Of the standard normal."""
    return exp(-0.5 * x * x) / sqrt(2.0 * pi)


@compiled
def shape(mean, var):
    """Shape of the gamma variable with this mean and variance; at least `MIN_SHAPE`."""
    return max(mean * mean / var, MIN_SHAPE) if var > 0.0 else 1e300


@compiled
def inverse_root(mean, k):
    r"""E[v^-1/2] of a gamma variable of shape k: to 0.3 % for k >= 1::

    E[v^-1/2]^2 = k / mean * (Gamma(k - 1/2) / Gamma(k))^2 ~ 1 / (mean (1 - (3/4 - e) / k)),
    e = 1 / (32 k - 16)
    """
    return sqrt(1.0 / (mean * (1.0 - (0.75 - 1.0 / (32.0 * k - 16.0)) / k)))


@compiled
def divided(mean, var, eps):
    r"""E[1 / (sqrt(v) + eps)] and E[1 / (sqrt(v) + eps)^2].

    v is a sum of many squares with unequal weights; the gamma variable with its mean and variance
    stands for it (as in Welch and Satterthwaite's approximation of such sums). eps is carried to
    second order in the fluctuations of s = sqrt(v), with E s ~ sqrt(mean (1 - (1/4 - 1/32k)/k)).
    """
    if mean <= 0.0:
        return (1.0 / eps, 1.0 / (eps * eps)) if eps > 0.0 else (0.0, 0.0)
    k = shape(mean, var)
    s = sqrt(mean * (1.0 - (0.25 - 1.0 / (32.0 * k)) / k))
    r = s / (s + eps)
    one = s * inverse_root(mean, k) - 1.0
    two = s * s / (mean * (1.0 - 1.0 / k)) - 1.0
    return (1.0 + one * r * r) / (s + eps), (1.0 + two * r * r) / ((s + eps) * (s + eps))


@compiled
def larger(a, var_a, b, var_b, cov):
    """Mean and variance of max(A, B) of two Gaussians, and P(B > A) (Clark, 1961)."""
    spread = var_a + var_b - 2.0 * cov
    if spread <= 1e-12 * b * b:
        return (b, var_b, 1.0) if b > a else (a, var_a, 0.0)
    s = sqrt(spread)
    x = (a - b) / s
    p, density = cdf(x), pdf(x)
    mean = a * p + b * (1.0 - p) + s * density
    square = (a * a + var_a) * p + (b * b + var_b) * (1.0 - p) + (a + b) * s * density
    return mean, max(square - mean * mean, 0.0), 1.0 - p
