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
def excess(mean, var, third):
    """Third cumulant beyond that of the gamma variable, over mean^3."""
    e = (third - 2.0 * var * var / mean) / (mean * mean * mean)
    return min(max(e, -0.3), 0.3)


@compiled
def inverse_root(mean, var, third):
    r"""E[v^-1/2] from three cumulants of v.

    Of a gamma variable of shape k, to 1 % for k >= 1 and 0.2 % for k >= 1.5::

        (Gamma(k - 1/2) / Gamma(k))^2 k ~ 1 / (1 - (3/4 - e) / k),    e = 1 / (32 k - 16)

    What the third cumulant has beyond a gamma variable's enters to first order.
    """
    k = shape(mean, var)
    gamma = sqrt(1.0 / (1.0 - (0.75 - 1.0 / (32.0 * k - 16.0)) / k))
    return (gamma - 0.3125 * excess(mean, var, third)) / sqrt(mean)


@compiled
def inverse(mean, var, third):
    """E[1 / v] and E[1 / v^2], likewise."""
    k, e = shape(mean, var), excess(mean, var, third)
    one = 1.0 / (1.0 - 1.0 / k)
    two = one / max(1.0 - 2.0 / k, 0.05)
    return max(one - e, 0.5) / mean, max(two - 4.0 * e, 0.5) / (mean * mean)


@compiled
def divided(mean, var, third, eps):
    r"""E[1 / (sqrt(v) + eps)] and E[1 / (sqrt(v) + eps)^2].

    v is a sum of many squares with unequal weights; the gamma variable with its mean and variance
    stands for it (as in Welch and Satterthwaite's approximation of such sums), corrected by the
    third cumulant. eps is carried to second order in the fluctuations of s = sqrt(v): of a gamma
    variable of shape k >= 1.1, off by 0.11 / k at most (for the square, from k = 3 on).
    """
    if mean <= 0.0:
        return (1.0 / eps, 1.0 / (eps * eps)) if eps > 0.0 else (0.0, 0.0)
    k = shape(mean, var)
    s = sqrt(1.0 - (0.25 - 1.0 / (32.0 * k)) / k) + 0.0625 * excess(mean, var, third)
    s *= sqrt(mean)
    r = s / (s + eps)
    one = s * inverse_root(mean, var, third) - 1.0
    two = s * s * inverse(mean, var, third)[0] - 1.0
    return (1.0 + one * r * r) / (s + eps), (1.0 + two * r * r) / ((s + eps) * (s + eps))
