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

from regdyn.compile import compiled
from regdyn.theory.forms import ADADELTA, AMSGRAD, LION, SGD
from regdyn.theory.moments import divided, inverse_root, larger, pdf, shape

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
    """What noise alone does: variance of v, its covariance with y and with m's, and the bias."""

    v: float  # Var(v)
    y: float  # Cov(v, y)
    dy: float  # sum of m's weights times Cov(y_i, y)
    dv: float  # sum of m's weights times Cov(y_i, v)
    mv: float  # Cov(m, v) from x


class Gains(NamedTuple):
    """E delta; response to d and (negative) to v; noise amplitude beside it; variance of the rest."""

    mean: float
    d: float
    v: float
    noise: float
    rest: float


@compiled
def own_noise(own, form, noise, b, s2, ratio):
    """`Own` after a step with mean gradient b and variance s2."""
    phi, square = noise
    phi2, bm, km, bv, kv = phi * phi, form.bm, form.km, form.bv, form.kv
    y = bv * phi2 * own.y + kv * s2 * square
    v = bv * bv * own.v + 2.0 * bv * kv * s2 * phi2 * own.y
    v += kv * kv * (s2 * s2 * square + 4.0 * b * b * s2)
    dy = bm * phi2 * own.dy + km * square
    dv = bm * bv * own.dv + kv * s2 * bm * phi2 * own.dy + km * y
    mv = bm * bv * own.mv + km * kv * 2.0 * b * s2 * ratio
    return Own(v, y, dy, dv, mv)


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
    mean, var = v
    if mean <= 0.0:
        gain = size / eps if eps > 0.0 else 0.0
        return Gains(gain * d, gain, 0.0, 1.0, 0.0)
    scale = root * root
    one, two = divided(scale * (mean + bias), scale * scale * (var + bias * bias), eps)
    s = sqrt(mean) * root
    pull = 0.5 * s / (s + eps) / mean
    spread = 1.0 + min(1.5 * pull * slow_vv / mean, 0.5)
    gain = size * one
    return Gains(gain * (d * spread - pull * slow_dv), gain, gain * d * pull, sqrt(two) / one, 0.0)


@compiled
def adadelta_gains(size, eps, d, v, bias, slow_dv, slow_vv, X, bv):
    r"""delta = size sqrt((X + eps) / (v + eps)) g, X = (mean, variance, Cov(X, v))."""
    mean, var = v
    V, Y = mean + eps, X[0] + eps
    k = shape(V + bias, var + bias * bias)
    cross = bv * X[2] / (Y * V)
    gain = size * sqrt(Y) * inverse_root(V + bias, k)
    gain *= max(1.0 - 0.125 * X[1] / (Y * Y) - 0.25 * cross, 0.3)
    two = size * size * Y / ((1.0 - 1.0 / k) * (V + bias)) * max(1.0 - cross, 0.1)
    pull = 0.5 / V
    mean_step = gain * (d * (1.0 + 1.5 * pull * slow_vv / V) - pull * slow_dv)
    return Gains(mean_step, gain, 0.0, sqrt(two) / gain if gain > 0.0 else 1.0, 0.0)


@compiled
def next_X(X, form, noise, b, s2, square_g, v, own_v):
    """Mean and variance of Adadelta's X, and its covariance with v, after a step (v: new mean)."""
    mean, var, cov = X
    bv, kv, eps = form.bv, form.kv, form.eps
    V, Y = v[0] + eps, mean + eps
    var_g2 = noise[1] * s2 * s2 + 4.0 * s2 * b * b
    biased = V + kv * var_g2 / max(square_g, 1e-300)
    k = shape(biased, v[1])
    moved = Y * square_g / (biased * (1.0 - 1.0 / k)) - bv * cov * square_g / (V * V)
    by_X = bv + kv * square_g / V
    by_g = kv * Y / V * (1.0 - kv * square_g / V)
    by_v = -kv * Y * square_g / (V * V) * bv
    var = by_X * by_X * var + by_v * by_v * own_v + 2.0 * by_X * by_v * cov + by_g * by_g * var_g2
    cov = bv * by_X * cov + by_v * bv * own_v + by_g * kv * var_g2
    return bv * mean + kv * moved, var, cov


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
    largest, X = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
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
            old, own = own, own_noise(own, form, xy, b, s2, 1.0)
            unseen *= form.bm
            bias = own.dv / (1.0 - unseen)
            slow_dv = slow_vv = 0.0
            if order > 1:
                g2 = 2.0 * b * form.kv
                gv = form.cg * K * (g2 * K * c.tt + form.bv * c.tv)
                slow_dv = gv + form.cm * (g2 * K * c.tm + form.bv * c.mv - form.bv * old.mv)
                slow_vv = g2 * K * (g2 * K * c.tt + 2.0 * form.bv * c.tv) + form.bv * form.bv * (
                    c.vv - old.v
                )
                slow_vv = max(slow_vv, 0.0)
            seen = (new_v, own.v)
            if order == 1:
                bias, seen = 0.0, (new_v, 0.0)
            if form.kind == AMSGRAD:
                inner = steps.inner[t]
                shrink = form.bv * (inner / steps.inner[t - 1] if t > 0 else 1.0)
                cov = shrink * largest[2]
                top, top_var, fresh = larger(
                    largest[0], largest[1], seen[0] * inner, seen[1] * inner * inner, cov
                )
                largest = (top, top_var, cov * (1.0 - fresh) + seen[1] * inner * inner * fresh)
                seen, bias = (top, top_var), bias * inner * fresh
                slow_dv = slow_vv = 0.0
            if form.kind == ADADELTA:
                gains = adadelta_gains(size, form.eps, d, seen, bias, slow_dv, slow_vv, X, form.bv)
                X = next_X(
                    X,
                    form,
                    xy if order > 1 else (0.0, 0.0),
                    b,
                    s2,
                    square_g,
                    seen,
                    old.v if order > 1 else 0.0,
                )
            else:
                gains = root_gains(size, steps.root[t], form.eps, d, seen, bias, slow_dv, slow_vv)
                if form.kind == AMSGRAD:
                    gains = Gains(gains.mean, gains.d, 0.0, gains.noise, 0.0)
            ratio = 1.0 + (gains.noise - 1.0) * steps.settle[t]
            own = Own(
                own.v,
                own.y,
                own.dy,
                own.dv,
                form.bm * form.bv * old.mv + form.km * form.kv * 2.0 * b * s2 * ratio,
            )
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
