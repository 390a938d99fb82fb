r"""Moment closure: mean and covariance of (theta, m, v) of one setting, step by step.

A rule is  delta = F(d, v)  in the form of `regdyn.theory.forms`, under  g = b + K (theta - E theta)
+ sigma x,  where b = E g, K is lambda (l2) plus the curvature of a well, x is noise of variance 1,
and y = x^2 - 1. Each step takes F's mean and its linear response to d and v
(`regdyn.theory.gains`); means follow the rule, covariances the linear map. Order 1 leaves all
fluctuations out: the naive mean field.
"""

from math import asin, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from regdyn.compile import compiled
from regdyn.theory.forms import ADADELTA, AMSGRAD, LION, SGD
from regdyn.theory.gains import (
    Gains,
    Largest,
    Own,
    adadelta_gains,
    largest_of,
    next_Y,
    own_noise,
    root_gains,
    sign_gains,
    slow_part,
)
from regdyn.theory.largest import levels as largest_levels
from regdyn.theory.rest import at_rest, steady_from

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


@compiled
def largest_grid(form, steps, noise, K, theta0):
    """Levels from the first v to well above the largest that noise and theta0 can make."""
    biggest = 0.0
    for t in range(noise.sigma.shape[0]):
        signal = abs(noise.push[t]) + abs(K * theta0)
        biggest = max(biggest, noise.sigma[t] ** 2 + signal * signal)
    first = noise.sigma[0] ** 2 + (noise.push[0] + K * theta0) ** 2
    return largest_levels(
        1e-4 * max(first, 1e-20 * biggest, 1e-290) * form.kv * steps.inner[0],
        100.0 * max(biggest, 1e-280),
    )


@compiled
def spread(c, form, v_row, noise, gains, K, b, s, before, after, ratio):
    """Covariances after a step: the linear map applied; also what it does to (theta, m).

    v_row = (bv, kv) of what stands in v's place: v; AMSGrad's largest v; Adadelta's Y.
    """
    phi, square = noise
    # with the noise to come
    tx, mx, vx = phi * c.tx, phi * c.mx, phi * c.vx
    ty, my, vy = phi * phi * c.ty, phi * phi * c.my, phi * phi * c.vy
    bv, kv = v_row
    g2 = 2.0 * b * kv
    m0, m1, mX = form.km * K, form.bm, form.km * s * ratio
    v0, v2, vX, vY = g2 * K, bv, g2 * s, kv * s * s
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
def in_place_of_v(c, var):
    """Covariances with a variable of variance `var` in v's place."""
    return Cov(c.tt, c.tm, c.tv, c.mm, c.mv, var, c.tx, c.mx, 0.0, c.ty, c.my, 0.0)


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
def keep(row, mean, c, form, gains, lag, ratio, s, K):
    """Moments for `out`, without the modes."""
    speed = form.cm * (form.cm * c.mm + 2.0 * form.cg * K * c.tm) + (gains.noise * form.cg * s) ** 2
    kick = (gains.d * form.cg * gains.noise + lag * form.km * ratio) * s
    row[MEAN], row[VAR] = mean, c.tt
    row[W_VAR], row[W_COV], row[LAG] = lag * lag * c.mm, lag * c.tm, lag
    row[KICK] = kick * kick + gains.rest
    row[SPEED] = gains.d * gains.d * speed + gains.rest


@compiled
def stay(out, j, at, slow, fast):
    """Fill the rows from j on: as the one before, but for the products of the modes."""
    for i in range(j, at.shape[0]):
        out[i] = out[j - 1]
        out[i, SLOW] += (at[i] - at[j - 1]) * slow
        out[i, FAST] += (at[i] - at[j - 1]) * fast


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
    K, full = l2 + curvature, order > 1
    xy = (phi, square if full else 0.0)
    mean, m, v = theta0, 0.0, 0.0
    c = Cov(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    own = Own(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    largest, x, F = Largest(0.0, 0.0, 0.0, 0, 0), np.ones(1), np.ones(1)
    if form.kind == AMSGRAD and full:
        x, F = largest_grid(form, steps, noise, K, theta0)
    Y = (form.eps, 0.0, form.eps * form.eps, 0.0)
    seen_of_m, ratio, v_row = 0.0, 1.0, (form.bv, form.kv)
    log_slow, log_fast, run_slow, run_fast = 0.0, 0.0, 1.0, 1.0  # products of the modes
    level, j = 0, 0
    while level < levels.shape[0] and abs(mean) < levels[level]:
        passed[level] = 0.0
        level += 1
    steady, looked, then = steady_from(form, steps, noise), 0, (theta0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if at[0] == 0:
        out[0] = 0.0
        out[0, MEAN], j = mean, 1
    for t in range(1, sigma.shape[0] + 1):
        s, size, scale = sigma[t - 1], steps.size[t - 1], steps.scale[t - 1]
        s2 = s * s
        before, after = 1.0 - adamw * scale, 1.0 - wd * scale
        b = push[t - 1] + K * mean
        square_g = s2 + b * b
        if full:
            square_g += K * K * c.tt + 2.0 * K * s * phi * c.tx
        d = form.cm * m + form.cg * b
        if form.kind == SGD:
            gains = Gains(size * d, size, 0.0, 1.0, 0.0)
        elif form.kind == LION:
            cross = form.cg * K * c.tm + form.cg * s * phi * c.mx
            var = form.cg * form.cg * (square_g - b * b) + form.cm * (form.cm * c.mm + 2.0 * cross)
            lag1 = form.cm * (form.cg * form.km * s2 + form.cm * form.bm * c.mm)
            gains = sign_gains(size, d, var if full else 0.0, lag1, form.bm)
        else:
            old, new = own, Own(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            slow = (0.0, 0.0)
            if full:
                slow = slow_part(c, form, b, K, own)
                new = own_noise(own, form, xy, b, s2, ratio)
            own, v_before, v = new, v, form.bv * v + form.kv * square_g
            seen_of_m = form.bm * seen_of_m + 1.0 - form.bm
            bias, seen = own.dv / seen_of_m, (v, own.v, own.third)
            if form.kind == ADADELTA:
                before_v = (v_before, old.v)
                gains = adadelta_gains(size, form, d, seen, bias, (b, K, c.tt, c.tv), Y, before_v)
                c = in_place_of_v(c, max(Y[2] - Y[0] * Y[0], 0.0) if full else 0.0)
                before_Y = Y[0]
                Y = next_Y(Y, form, xy[1], b, s2 if full else 0.0, square_g, seen, before_v)
                v_row = (min((Y[0] - form.kv * form.eps) / before_Y, 1.0), 0.0)
            elif form.kind == AMSGRAD:
                inner = steps.inner[t - 1]
                largest = largest_of(largest, x, F, seen, inner, t, form)
                top, var, fresh = largest.mean, largest.var, largest.fresh
                seen = (top, var, 2.0 * var * var / top if top > 0.0 else 0.0)
                slow = (form.cg * K * c.tv + form.cm * c.mv, 0.0)
                gains = root_gains(
                    size, steps.root[t - 1], form.eps, d, seen, bias * inner * fresh, slow
                )
                c, v_row = in_place_of_v(c, var), (1.0 - fresh, 0.0)
            else:
                gains = root_gains(size, steps.root[t - 1], form.eps, d, seen, bias, slow)
            ratio = 1.0 + (gains.noise - 1.0) * steps.settle[t - 1]
        kept = j < at.shape[0] and at[j] == t
        if kept:
            lag = 0.0
            if form.bm > 0.0 and size > 0.0:
                lag = gains.d / size * steps.future[t - 1] * form.cm / form.bm
        c, a, a01, a10 = spread(c, form, v_row, xy, gains, K, b, s, before, after, ratio)
        m = form.bm * m + form.km * b
        was, mean = mean, after * (before * mean - gains.mean)
        slow_z, fast_z, turn = roots(a, a01, a10, form.bm)
        run_slow, run_fast = run_slow * slow_z, run_fast * fast_z
        if kept or run_fast < 1e-150 or run_slow > 1e150:
            log_slow += log(max(run_slow, 1e-300))
            log_fast += log(max(run_fast, 1e-300))
            run_slow = run_fast = 1.0
        while level < levels.shape[0] and abs(mean) < levels[level]:
            passed[level] = t
            level += 1
        if kept:
            keep(out[j], mean, c, form, gains, lag, ratio, s, K)
            out[j, W_MEAN] = lag * m
            out[j, SLOW], out[j, FAST], out[j, TURN], out[j, OWN] = log_slow, log_fast, turn, a
            j += 1
            if full and t >= steady and t - looked >= 256:
                now = (mean, c.tt, c.mm, v, own.v, Y[0])
                if at_rest(now, then, mean - was):
                    stay(out, j, at, log(max(slow_z, 1e-300)), log(max(fast_z, 1e-300)))
                    return
                looked, then = t, now
