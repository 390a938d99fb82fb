r"""What a rule does in a step: E delta and its linear response, from the moments of d and v.

Under g = b + K (theta - E theta) + sigma x, with x of variance 1 and y = x^2 - 1. The mean of a
step is where accuracy is decided. For Gaussian x and any function f, exactly,

    E[g_i f(v)] = b_i E*[f(v)],        E[x_i^2 f(v)] = E*[f(v)],

where under E* the i-th square in v has two degrees of freedom more: v is larger by 2 w_i sigma^2
(w_i its weight in v). So a step d / sqrt(v) is taken with v at that size-biased mean, averaged
over i with d's weights (`bias` below), and v by three cumulants (`regdyn.theory.moments`). At the
first step, where v = g^2, that gives E|x| = 0.798 of sign noise, exactly.
"""

from math import erf, pi, sqrt
from typing import NamedTuple

from regdyn.compile import compiled
from regdyn.theory.largest import update
from regdyn.theory.moments import divided, inverse, inverse_root, pdf


class Gains(NamedTuple):
    """E delta; response to d and (negative) to v; noise beside it; variance of the rest."""

    mean: float
    d: float
    v: float
    noise: float
    rest: float


class Own(NamedTuple):
    """What noise alone does to v, and with y and m."""

    v: float  # Var(v)
    third: float  # third cumulant of v
    y: float  # Cov(v, y)
    dy: float  # sum of m's weights times Cov(y_i, y)
    dv: float  # sum of m's weights times Cov(y_i, v)
    mv: float  # Cov(m, v) from x


class Largest(NamedTuple):
    """AMSGrad's largest v: moments, chance of a new one in a step, and where `update` stands."""

    mean: float
    var: float
    fresh: float
    looked: int
    start: int


@compiled
def slow_part(c, form, b, K, own):
    """Cov(d, v) and Var(v) of a step that come from theta's spread over lanes, not from noise."""
    pull = 2.0 * b * form.kv * K
    dv = form.cg * K * (pull * c.tt + form.bv * c.tv)
    dv += form.cm * (pull * c.tm + form.bv * (c.mv - own.mv))
    vv = pull * (pull * c.tt + 2.0 * form.bv * c.tv) + form.bv * form.bv * (c.vv - own.v)
    return dv, max(vv, 0.0)


@compiled
def largest_of(largest, x, F, v, inner, t, form):
    """AMSGrad: the largest v * inner so far.

    Looked at whenever t has grown by 2 %, or by a fifth of v's memory.
    """
    mean, var, third = v[0] * inner, v[1] * inner**2, v[2] * inner**3
    if var <= 0.0:  # the mean field, or no noise
        return Largest(max(largest.mean, mean), 0.0, 0.0, t, 0)
    lapse = t - largest.looked
    if lapse < min(0.02 * t, 0.2 / form.kv):
        return largest
    top, spread, renewed, start = update(x, F, largest.start, (mean, var, third), form.bv, lapse)
    return Largest(top, spread, 1.0 - (1.0 - renewed) ** (1.0 / lapse), t, start)


@compiled
def own_noise(own, form, noise, b, s2, ratio):
    """`Own` after a step with mean gradient b, variance s2; `ratio` is what noise m takes."""
    phi, square = noise
    phi2, bm, km, bv, kv = phi * phi, form.bm, form.km, form.bv, form.kv
    y = bv * phi2 * own.y + kv * s2 * square
    v = bv * bv * own.v + 2.0 * bv * kv * s2 * phi2 * own.y
    v += kv * kv * (s2 * s2 * square + 4.0 * b * b * s2)
    dy = bm * phi2 * own.dy + km * square
    dv = bm * bv * own.dv + kv * s2 * bm * phi2 * own.dy + km * y
    third = bv * bv * bv * own.third + kv * kv * kv * s2 * s2 * (
        2.0 * square * square * s2 + 24.0 * b * b
    )
    mv = bm * bv * own.mv + km * kv * 2.0 * b * s2 * ratio
    return Own(v, third, y, dy, dv, mv)


@compiled
def sign_gains(size, d, var, lag1, bm):
    r"""Lion: delta = size sign(c), c Gaussian (mean d, variance var).

    E sign(c) = erf(d / sqrt(2 var)); slope 2 phi / sd. What the linear response leaves of the
    variance is correlated by the arcsine law: E[sign c sign c'] = 2/pi asin(rho).
    """
    if var <= 0.0:
        return Gains(size * ((d > 0.0) - (d < 0.0)), 0.0, 0.0, 1.0, 0.0)
    sd = sqrt(var)
    e = erf(d / (sd * sqrt(2.0)))
    slope = 2.0 * size * pdf(d / sd) / sd
    rest = max(size * size * (1.0 - e * e) - slope * slope * var, 0.0)
    x = min(max(lag1 / var, 0.0), 1.0)  # rho_k = x bm^(k-1): sum of asin(rho) - rho
    tail = x**3 / 6.0 / (1.0 - bm**3) + 0.075 * x**5 / (1.0 - bm**5)
    return Gains(size * e, slope, 0.0, 1.0, rest * (1.0 + 2.0 * tail / (0.5 * pi - 1.0)))


@compiled
def root_gains(size, root, eps, d, v, bias, slow):
    r"""Adam's kind: delta = size d / (sqrt(v) root + eps).

    v = three cumulants due to noise; slow = covariances with d and of v due to theta's spread
    over lanes (`slow_part`), expanded to second order.
    """
    mean, var, third = v
    if mean <= 0.0:
        gain = size / eps if eps > 0.0 else 0.0
        return Gains(gain * d, gain, 0.0, 1.0, 0.0)
    scale = root * root
    third = scale * scale * scale * (third + 2.0 * bias * bias * bias)
    one, two = divided(scale * (mean + bias), scale * scale * (var + bias * bias), third, eps)
    s = sqrt(mean) * root
    pull = 0.5 * s / (s + eps) / mean
    spread = 1.0 + min(1.5 * pull * slow[1] / mean, 0.5)
    gain = size * one
    return Gains(gain * (d * spread - pull * slow[0]), gain, gain * d * pull, sqrt(two) / one, 0.0)


@compiled
def adadelta_gains(size, form, d, v, bias, slow, Y, old):
    r"""delta = size sqrt(Y / (v + eps)) g, with Y = X + eps of the step before.

    Y is large where v is: weighted by Y, the old v is larger by Cov(Y, v) / E Y, and half of that
    under sqrt(Y). slow = (b, K, Var(theta), Cov(theta, Y)): v, whose memory is short, follows
    theta's spread; Y, whose memory is long, is what theta's step responds to.
    """
    bv, eps = form.bv, form.eps
    mean, var, third = v
    tilt = 0.5 * bv * Y[1] / Y[0]
    wide = bv * old[1] / old[0] if old[0] > 0.0 else 0.0
    V = mean + eps + bias + tilt
    var += bias * bias + wide * tilt
    third += 2.0 * bias**3 + 2.0 * wide * wide * tilt
    relative = max(Y[2] / (Y[0] * Y[0]) - 1.0, 0.0)
    root = sqrt(Y[0]) * max(1.0 - 0.125 * relative, 0.3)
    gain = size * root * inverse_root(V, var, third)
    two = (
        size
        * size
        * Y[0]
        * inverse(V + tilt, var + wide * tilt, third + 2.0 * wide * wide * tilt)[0]
    )
    pull, (at, K, spread, with_Y) = 0.5 / (mean + eps), slow
    by_v = 2.0 * at * K  # d v / d theta
    step = d * (1.0 + 1.5 * pull * by_v * by_v * spread / (mean + eps)) - pull * K * by_v * spread
    step = gain * (step + 0.5 * K * with_Y / Y[0])
    noise = sqrt(two) / gain if gain > 0.0 else 1.0
    return Gains(step, gain, -0.5 * gain * d / Y[0], noise, 0.0)


@compiled
def next_Y(Y, form, square, b, s2, q, v, old):
    r"""Adadelta's Y = X + eps after a step: (E Y, Cov(Y, v), E Y^2, Cov(Y^2, v)).

        Y  <-  rho Y + (1 - rho) (Y g^2 / Z + eps),      Z = new v + eps

    E[Y g^2 / Z] = E Y E[g^2] E'[1 / Z], where E' weights by g^2 and by Y: both make Z larger. The
    covariances with v close exactly, since Y g^2 / Z times Z is Y g^2, of independent factors.
    """
    bv, kv, eps = form.bv, form.kv, form.eps
    mean, cov, second, cov2 = Y
    Z = v[0] + eps
    spread = square * s2 * s2 + 4.0 * s2 * b * b  # Var(g^2)
    bias = kv * spread / q if q > 0.0 else 0.0
    wide = bv * old[1] / old[0] if old[0] > 0.0 else 0.0
    by, by2 = bv * cov / mean, bv * cov2 / second
    third, w3 = v[2], 2.0 * wide * wide
    var1, third1 = v[1] + bias * bias, third + 2.0 * bias**3
    var2, third2 = v[1] + 2.0 * bias * bias, third + 4.0 * bias**3
    one = inverse(Z + bias + by, var1 + wide * by, third1 + w3 * by)[0]
    one2 = inverse(Z + bias + by2, var1 + wide * by2, third1 + w3 * by2)[0]
    four, four2 = inverse(Z + 2.0 * bias + by2, var2 + wide * by2, third2 + w3 * by2)
    g4 = q * q + spread
    c = kv * eps
    moved = mean * q * one
    new = bv * mean + kv * moved + c
    new_cov = bv * (mean * Z + bv * cov) + kv * mean * q + c * Z - new * Z
    new2 = bv * bv * second + 2.0 * bv * kv * second * q * one2 + kv * kv * second * g4 * four2
    new2 += 2.0 * c * (bv * mean + kv * moved) + c * c
    new_cov2 = bv * bv * (second * Z + bv * cov2) + 2.0 * bv * kv * second * q
    new_cov2 += kv * kv * second * g4 * four + c * c * Z - new2 * Z
    new_cov2 += 2.0 * c * (bv * (mean * Z + bv * cov) + kv * mean * q)
    return new, new_cov, max(new2, new * new), new_cov2
