r"""Moment closure: mean and covariance of (theta, m, v) of one setting, step by step.

A rule is  delta = F(d, v)  in the form of `regdyn.theory.forms`, under  g = b + K (theta - E theta)
+ sigma x,  where b = E g, K is lambda (l2) plus the curvature of a well, x is noise of variance 1,
and y = x^2 - 1. Each step takes F's mean and its linear response to d and v; means follow the
rule, covariances the linear map.

The mean of F is where accuracy is decided. For Gaussian x and any function f, exactly,

    E[g_i f(v)] = b_i E*[f(v)],        E[x_i^2 f(v)] = E*[f(v)],

where under E* the i-th square in v has two degrees of freedom more: v is larger by 2 w_i sigma^2
(w_i its weight in v). So a step d / sqrt(v) is taken with v at that size-biased mean, averaged
over i with d's weights (`bias` below), and v as a gamma variable: at the first step, where
v = g^2, that gives E|x| = 0.798 of sign noise, exactly. Order 1 leaves all fluctuations out: the
naive mean field.
"""

from math import asin, erf, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from regdyn.compile import compiled
from regdyn.theory.largest import levels, update
from regdyn.theory.forms import ADADELTA, AMSGRAD, LION, SGD
from regdyn.theory.moments import cdf, divided, inverse, inverse_root, pdf

# what is kept of a step; w is the way that m is still to move theta, kick what a new x will
FIELDS = (
    "mean",
    "var",
    "w_mean",
    "w_var",
    "w_cov",
    "kick",
    "speed",
    "slow",
    "fast",
    "turn",
    "own",
    "lag",
)
MEAN, VAR, W_MEAN, W_VAR, W_COV, KICK, SPEED, SLOW, FAST, TURN, OWN, LAG = range(len(FIELDS))


class Cov(NamedTuple):
    """Covariances of theta, m, v with each other, and with the last x and y."""

    tt: float
    tm: float
    tv: float
    mm: float
    mv: float
    vv: float
    tx: float
    mx: float
    vx: float
    ty: float
    my: float
    vy: float


class Own(NamedTuple):
    """What noise alone does to v, and with y and m."""

    v: float  # Var(v)
    y: float  # Cov(v, y)
    dy: float  # sum of m's weights times Cov(y_i, y)
    dv: float  # sum of m's weights times Cov(y_i, v)
    third: float  # third cumulant of v


class Gains(NamedTuple):
    """E delta; response to d and (negative) to v; noise amplitude beside it; variance of the rest."""

    mean: float
    d: float
    v: float
    noise: float
    rest: float


@compiled
def own_noise(own, form, noise, b, s2):
    """`Own` after a step with mean gradient b and variance s2."""
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
    return Own(v, y, dy, dv, third)


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
def root_gains(size, root, eps, d, v, bias, slow_dv, slow_vv):
    r"""Adam's kind: delta = size d / (sqrt(v) root + eps).

    v = (mean, variance due to noise); slow_*: covariances due to theta's spread over lanes,
    expanded to second order.
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
    spread = 1.0 + min(1.5 * pull * slow_vv / mean, 0.5)
    gain = size * one
    return Gains(gain * (d * spread - pull * slow_dv), gain, gain * d * pull, sqrt(two) / one, 0.0)


@compiled
def adadelta_gains(size, eps, d, v, bias, slow_dv, slow_vv, Y, old, bv):
    r"""delta = size sqrt(Y / (v + eps)) g, with Y = X + eps of the step before.

    Y is large where v is: weighted by Y, the old v is larger by Cov(Y, v) / E Y, and half of that
    under sqrt(Y).
    """
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
    pull = 0.5 / (mean + eps)
    step = gain * (d * (1.0 + 1.5 * pull * slow_vv / (mean + eps)) - pull * slow_dv)
    return Gains(step, gain, 0.0, sqrt(two) / gain if gain > 0.0 else 1.0, 0.0)


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


@compiled
def largest_grid(form, steps, noise, K, theta0):
    """Levels from the first v to well above the largest that noise and theta0 can make."""
    biggest = 0.0
    for t in range(noise.sigma.shape[0]):
        signal = abs(noise.push[t]) + abs(K * theta0)
        biggest = max(biggest, noise.sigma[t] ** 2 + signal * signal)
    first = noise.sigma[0] ** 2 + (noise.push[0] + K * theta0) ** 2
    inner = steps.inner[0]
    return levels(
        1e-4 * max(first, 1e-20 * biggest, 1e-290) * form.kv * inner, 100.0 * max(biggest, 1e-280)
    )


@compiled
def spread(c, form, noise, gains, K, b, s, before, after, ratio):
    """Covariances after a step: the linear map applied; also its theta row's first two entries."""
    phi, square = noise
    # with the noise to come
    tx, mx, vx = phi * c.tx, phi * c.mx, phi * c.vx
    ty, my, vy = phi * phi * c.ty, phi * phi * c.my, phi * phi * c.vy
    g2 = 2.0 * b * form.kv
    m0, m1, mX = form.km * K, form.bm, form.km * s * ratio
    v0, v2, vX, vY = g2 * K, form.bv, g2 * s, form.kv * s * s
    t0 = after * (before - gains.d * form.cg * K + gains.v * v0)
    t1, t2 = -after * gains.d * form.cm, after * gains.v * v2
    tX = after * (gains.v * vX - gains.d * gains.noise * form.cg * s)
    tY = after * gains.v * vY
    # rows of (map) (covariance)
    pt = t0 * c.tt + t1 * c.tm + t2 * c.tv
    pm = t0 * c.tm + t1 * c.mm + t2 * c.mv
    pv = t0 * c.tv + t1 * c.mv + t2 * c.vv
    rt, rm, rv = m0 * c.tt + m1 * c.tm, m0 * c.tm + m1 * c.mm, m0 * c.tv + m1 * c.mv
    qt, qv = v0 * c.tt + v2 * c.tv, v0 * c.tv + v2 * c.vv
    x0, x1, x2 = t0 * tx + t1 * mx + t2 * vx, m0 * tx + m1 * mx, v0 * tx + v2 * vx
    y0, y1, y2 = t0 * ty + t1 * my + t2 * vy, m0 * ty + m1 * my, v0 * ty + v2 * vy
    tt = pt * t0 + pm * t1 + pv * t2 + tX * tX + square * tY * tY
    tt += 2.0 * (x0 * tX + y0 * tY) + after * after * gains.rest
    tm = pt * m0 + pm * m1 + (tX + x0) * mX + x1 * tX + y1 * tY
    tv = pt * v0 + pv * v2 + tX * vX + square * tY * vY + x0 * vX + x2 * tX + y0 * vY + y2 * tY
    mm = rt * m0 + rm * m1 + mX * mX + 2.0 * x1 * mX
    mv = rt * v0 + rv * v2 + (mX + x1) * vX + x2 * mX + y1 * vY
    vv = qt * v0 + qv * v2 + vX * vX + square * vY * vY + 2.0 * (x2 * vX + y2 * vY)
    new = Cov(
        tt, tm, tv, mm, mv, vv, x0 + tX, x1 + mX, x2 + vX, y0 + square * tY, y1, y2 + square * vY
    )
    return new, after * (before - gains.d * form.cg * K), t1, m0


@compiled
def roots(a, b, c, d):
    """Eigenvalues of ((a, b), (c, d)): both moduli, and the angle by which a pair turns."""
    half, det = 0.5 * (a + d), a * d - b * c
    disc = half * half - det
    if disc >= 0.0:
        z = half + sqrt(disc) if half >= 0.0 else half - sqrt(disc)
        return abs(z), abs(det / z) if z != 0.0 else 0.0, 0.0
    r = sqrt(det)
    return r, r, 0.5 * pi - asin(half / r)


@compiled
def closure(form, steps, noise, force, order, theta0, at, levels, out, passed):
    """Follow the moments of one setting.

    Parameters
    ----------
    form, steps, noise : Form, Steps, Noise
    force : tuple of 3 floats
        Strengths of l2, wd, adamw; adamw's times lr.
    order : int
        2, or 1 for the mean field.
    theta0 : float
    at : int64 (n,)
        Steps at which `out` is filled, ascending, from 0.
    levels : float64 (levels,)
        Thresholds, descending.
    out : float64 (n, len(FIELDS))
    passed : float64 (levels,)
        First step at which the mean is below each level in size; left alone where it never is.
    """
    sigma, push, curvature, phi, square = noise
    l2, wd, adamw = force
    K, xy = l2 + curvature, (phi, square)
    mean, m, v = theta0, 0.0, 0.0
    c = Cov(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    own = Own(0.0, 0.0, 0.0, 0.0, 0.0)
    own_mv = 0.0  # Cov(m, v) from x
    largest, looked, start = (0.0, 0.0), 0, 0
    x = F = np.ones(1)
    if form.kind == AMSGRAD and order > 1:
        x, F = largest_grid(form, steps, noise, K, theta0)
    Y = (form.eps, 0.0, form.eps * form.eps, 0.0)
    unseen = 1.0  # 1 - sum of m's weights
    log_slow = log_fast = 0.0
    level, j = 0, 0
    while level < levels.shape[0] and abs(mean) < levels[level]:
        passed[level] = 0.0
        level += 1
    if at[0] == 0:
        out[0] = 0.0
        out[0, MEAN], j = mean, 1
    for t in range(sigma.shape[0]):
        s = sigma[t]
        s2 = s * s
        size, scale = steps.size[t], steps.scale[t]
        before, after = 1.0 - adamw * scale, 1.0 - wd * scale
        b = push[t] + K * mean
        square_g = s2 + b * b
        if order > 1:
            square_g += K * K * c.tt + 2.0 * K * s * phi * c.tx
        d = form.cm * m + form.cg * b
        new_v = form.bv * v + form.kv * square_g
        ratio = 1.0
        if form.kind == SGD:
            gains = Gains(size * d, size, 0.0, 1.0, 0.0)
        elif form.kind == LION:
            cross = form.cg * K * c.tm + form.cg * s * phi * c.mx
            var = form.cg * form.cg * (square_g - b * b) + form.cm * (form.cm * c.mm + 2.0 * cross)
            lag1 = form.cm * form.cg * form.km * s2 + form.cm * form.cm * form.bm * c.mm
            gains = sign_gains(size, d, var, lag1, form.bm)
        else:
            old_own, own = own, own_noise(own, form, xy, b, s2)
            unseen *= form.bm
            bias = own.dv / (1.0 - unseen)
            slow_dv = slow_vv = 0.0
            if order > 1:
                g2 = 2.0 * b * form.kv
                gv = form.cg * K * (g2 * K * c.tt + form.bv * c.tv)
                slow_dv = gv + form.cm * (g2 * K * c.tm + form.bv * c.mv - form.bv * own_mv)
                slow_vv = g2 * K * (g2 * K * c.tt + 2.0 * form.bv * c.tv) + form.bv * form.bv * (
                    c.vv - old_own.v
                )
                slow_vv = max(slow_vv, 0.0)
            seen, old = (new_v, own.v, own.third), (v, old_own.v)
            if order == 1:
                bias, seen, old = 0.0, (new_v, 0.0, 0.0), (v, 0.0)
            if form.kind == AMSGRAD:
                inner = steps.inner[t]
                here = (seen[0] * inner, seen[1] * inner**2, seen[2] * inner**3)
                if order == 1:
                    largest = (max(largest[0], here[0]), 0.0)
                elif t + 1 - looked >= min(0.02 * t, 0.2 / form.kv):
                    top, top_var, start = update(x, F, start, here, form.bv, t + 1 - looked)
                    largest, looked = (top, top_var), t + 1
                top, top_var = largest
                apart = (
                    (top - here[0]) / sqrt(top_var + here[1])
                    if order > 1 and here[1] > 0.0
                    else 9.0
                )
                bias *= inner * min(2.0 * cdf(-apart), 1.0)  # if v itself is the largest
                seen = (top, top_var, 2.0 * top_var * top_var / top if top > 0.0 else 0.0)
                slow_dv = slow_vv = 0.0
            if form.kind == ADADELTA:
                gains = adadelta_gains(
                    size, form.eps, d, seen, bias, slow_dv, slow_vv, Y, old, form.bv
                )
                Y = next_Y(
                    Y,
                    form,
                    square if order > 1 else 0.0,
                    b,
                    s2 if order > 1 else 0.0,
                    square_g,
                    seen,
                    old,
                )
            else:
                gains = root_gains(size, steps.root[t], form.eps, d, seen, bias, slow_dv, slow_vv)
                if form.kind == AMSGRAD:
                    gains = Gains(gains.mean, gains.d, 0.0, gains.noise, 0.0)
            ratio = 1.0 + (gains.noise - 1.0) * steps.settle[t]
            own_mv = form.bm * form.bv * own_mv + form.km * form.kv * 2.0 * b * s2 * ratio
        speed = form.cm * form.cm * c.mm + 2.0 * form.cm * form.cg * K * c.tm
        c, a00, a01, a10 = spread(c, form, xy, gains, K, b, s, before, after, ratio)
        m = form.bm * m + form.km * b
        v = new_v
        mean = after * (before * mean - gains.mean)
        slow, fast, turn = roots(a00, a01, a10, form.bm)
        log_slow += log(max(slow, 1e-300))
        log_fast += log(max(fast, 1e-300))
        while level < levels.shape[0] and abs(mean) < levels[level]:
            passed[level] = t + 1.0
            level += 1
        if j < at.shape[0] and at[j] == t + 1:
            lag = (
                gains.d / size * steps.future[t] * form.cm / form.bm
                if form.bm > 0.0 and size > 0.0
                else 0.0
            )
            kick = gains.d * form.cg * gains.noise + lag * form.km * ratio
            noise2 = gains.noise * form.cg * s
            out[j, MEAN], out[j, VAR] = mean, c.tt
            out[j, W_MEAN], out[j, W_VAR], out[j, W_COV] = lag * m, lag * lag * c.mm, lag * c.tm
            out[j, KICK] = kick * kick * s2 + gains.rest
            out[j, SPEED] = gains.d * gains.d * (speed + noise2 * noise2) + gains.rest
            out[j, SLOW], out[j, FAST], out[j, TURN], out[j, OWN] = log_slow, log_fast, turn, a00
            out[j, LAG] = lag
            j += 1
