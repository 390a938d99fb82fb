r"""First passage below a level, from the moments that the closure kept.

theta is followed as a Gaussian process with a memory: beside theta itself, w = the way that the
momentum is still to move it (downwards if w > 0). Let D(t) be the rate at which lanes cross the
level b from above. At any t, a lane below b has crossed before, so with the moments of theta,

    P(theta_t < b)  =  sum over s <= t of  D(s) P(theta_t < b | crossed at s)

(Fortet's equation), solved for D on some 150 nodes in time. Where a lane is and how fast it moves
when it crosses is the renewal's one approximation: theta = b less the overshoot of a random walk,
0.5826 steps (Siegmund, 1979), w of the flux-weighted Gaussian, enlarged so that the total is the
Milne length of a correlated walk.

A step longer than the band (-b, b) may jump over it. Then a crossing lands in the band with some
probability only; lanes that missed it come back from below at a rate U(t), which is a second such
equation, coupled to the first.
"""

from math import cos, erfc, exp, expm1, inf, log, pi, sin, sqrt

import numpy as np

from regdyn.compile import compiled
from regdyn.theory.closure import (
    FAST,
    FIELDS,
    KICK,
    LAG,
    MEAN,
    OWN,
    SLOW,
    SPEED,
    TURN,
    VAR,
    W_COV,
    W_MEAN,
    W_VAR,
)  # fmt: skip
from regdyn.theory.moments import cdf, pdf

OVERSHOOT = 0.5826  # -zeta(1/2) / sqrt(2 pi): mean overshoot of a Gaussian walk, in steps
MAX_NODES = 400
# of a row of nodes beside FIELDS
Z1, Z2, ENTRY_W, ENTRY_VAR, LAND = range(len(FIELDS), len(FIELDS) + 5)


@compiled
def milne(bm):
    r"""E[w] at a crossing without drift, in standard deviations of w.

    1.46 = -zeta(1/2) for smooth paths (bm -> 1; the Milne problem of a diffusing particle). In
    between a line through first passages of AR(1) walks, good to 1 % (docs/laws/passage.md).
    """
    return 1.608 - 0.147 * bm


@compiled
def entrance(b, row, bm):
    """Mean and variance of w, less its mean over all lanes, when theta crosses b from above.

    Over lanes at theta = b, w is Gaussian (m, s); those that cross are weighted by w > 0.
    """
    var = row[W_VAR]
    if var <= 0.0:
        return 0.0, 0.0
    slope = row[W_COV] / row[VAR] if row[VAR] > 0.0 else 0.0
    s = sqrt(max(var - slope * row[W_COV], 1e-12 * var))
    u = max((row[W_MEAN] + slope * (b - row[MEAN])) / s, -6.0)
    flux = u * cdf(u) + pdf(u)
    mean = ((u * u + 1.0) * cdf(u) + u * pdf(u)) / flux
    square = ((u * u * u + 3.0 * u) * cdf(u) + (u * u + 2.0) * pdf(u)) / flux
    more = (milne(bm) - sqrt(0.5 * pi)) * exp(-0.5 * u * u)
    return s * (mean + more) - row[W_MEAN], s * s * max(square - mean * mean, 0.0)


@compiled
def on_lattice(b, when, kick2, jump):
    """Probability that a point of Lion's lattice lies in (-b, b).

    Steps are +-lr: theta stays on theta0 + k lr, which decay at `rate` shifts as a whole, and
    smears, since it shrinks steps by their age. jump is (lr, theta0, rate).
    """
    lr, theta0, rate = jump
    if 2.0 * b >= lr:
        return 1.0
    smear = rate * sqrt(kick2 * when * when * when / 3.0)
    if smear > 0.5 * lr:
        return 2.0 * b / lr
    point = theta0 * exp(-rate * when) % lr
    share = 0.0
    for k in range(-3, 3):
        x = point + k * lr
        if smear > 0.0:
            share += cdf((b - x) / smear) - cdf((-b - x) / smear)
        else:
            share += 1.0 if abs(x) < b else 0.0
    return min(share, 1.0)


@compiled
def landing(b, row, when, moved, bm, jump):
    r"""Share of crossings of the band (-b, b) that land in it.

    A step v lands if it is shorter than the band, else with probability 2 b / |v|:
    E min(|v|, 2 b) / E|v|, v Gaussian, or all of one size (`on_lattice`). A missed crossing costs
    the walk 1 / E|v| of local time; the equations of this module make it cost twice the Milne
    length, so the share is rescaled. The last term is fitted (the module's one number that is):
    slow crossings land more often, and come in bunches.
    """
    kick2, speed2 = row[KICK], row[SPEED] + moved * moved
    if kick2 <= 0.0 or speed2 <= 0.0:
        return 1.0
    if jump[0] > 0.0:
        mean_speed = jump[0]
        share = on_lattice(b, when, kick2, jump)
        if share < 1e-9:
            return 0.0
    else:
        v = sqrt(speed2)
        mean_speed = v * sqrt(2.0 / pi)
        u = 2.0 * b / v
        share = 1.0 - exp(-0.5 * u * u) + 2.0 * b * erfc(u / sqrt(2.0)) / mean_speed
    length = OVERSHOOT * sqrt(row[SPEED]) + milne(bm) * sqrt(row[W_VAR])
    bunched = 0.55 * (1.0 - share**3) * sqrt(kick2 + row[W_VAR])
    return 1.0 / (1.0 + ((1.0 / share - 1.0) * kick2 / mean_speed + bunched) / (2.0 * length))


@compiled
def propagate(start, end, steps, bm):
    """theta_end = R theta_start - G w_start + noise: R and G, by the two modes of (theta, m)."""
    slow, fast = exp(end[SLOW] - start[SLOW]), exp(end[FAST] - start[FAST])
    own, turn = start[OWN], start[TURN]
    if turn > 0.0:
        z, wave = start[Z1], sin(turn)
        real, imag = z * cos(turn), z * wave
        s = sin(turn * steps) / imag
        return slow * (cos(turn * steps) + (own - real) * s), slow * s * (1.0 - bm)
    # (slow - fast) / (z1 - z2) keeps its digits where the two modes meet
    apart = (end[SLOW] - start[SLOW]) - (end[FAST] - start[FAST])
    modes = slow * steps / start[Z1]
    if apart > 1e-6:
        modes = slow * -expm1(-apart) / (start[Z1] * -expm1(-apart / steps))
    left = end[LAG] / start[LAG] if start[LAG] > 0.0 else 1.0
    return fast + (own - start[Z2]) * modes, (1.0 - bm) * modes + fast * (1.0 - left)


@compiled
def _row(steps, path, a, when, b, bm, jump, row):
    """The moments at time `when`, from grid point a on, and what crossing b is like then."""
    while a + 2 < steps.shape[0] and steps[a + 1] < when:
        a += 1
    width = steps[a + 1] - steps[a]
    f = (when - steps[a]) / width
    for k in range(len(FIELDS)):
        row[k] = path[a, k] * (1.0 - f) + path[a + 1, k] * f
    row[TURN], row[OWN] = path[a + 1, TURN], path[a + 1, OWN]
    row[Z1] = exp((path[a + 1, SLOW] - path[a, SLOW]) / width)
    row[Z2] = exp((path[a + 1, FAST] - path[a, FAST]) / width)
    row[ENTRY_W], row[ENTRY_VAR] = entrance(b, row, bm)
    row[LAND] = landing(b, row, when, (path[a + 1, MEAN] - path[a, MEAN]) / width, bm, jump)


@compiled
def _nodes(steps, path, b, fineness):
    """Grid points that are nodes: even in log t, denser where theta's mean nears the level."""
    n = steps.shape[0]
    start = n
    for i in range(n):
        if abs(path[i, MEAN]) - b < 6.0 * sqrt(path[i, VAR]):
            start = max(i - 1, 0)
            break
    clock = np.zeros(n)
    for i in range(max(start, 1), n):
        z0 = path[i - 1, MEAN] / sqrt(path[i - 1, VAR] + 1e-300)
        z1 = path[i, MEAN] / sqrt(path[i, VAR] + 1e-300)
        near = min(abs(z0), abs(z1)) < 8.0
        clock[i] = clock[i - 1] + fineness * log(steps[i] / max(steps[i - 1], 1.0))
        clock[i] += min(abs(z1 - z0), 1.0) * 0.6 * fineness if near else 0.0
    tick = max(1.0, clock[-1] / (MAX_NODES - 2))
    nodes = np.empty(MAX_NODES, np.int64)
    m, mark = 0, -1e300
    for i in range(start, n):
        if clock[i] - mark >= tick or i == n - 1:
            nodes[m], mark = i, clock[i]
            m += 1
    return nodes[:m]


@compiled
def median_passage(steps, path, b, bm, jump, target, fineness):
    r"""Step at which a share `target` of lanes has been below b in size; inf if later.

    Parameters
    ----------
    steps : float64 (n,)
    path : float64 (n, len(FIELDS))
        What `closure` kept.
    b : float
    bm : float
        Memory of m.
    jump : tuple of 3 floats
        Size of every step where all are equal, else 0; start; decay per step (`on_lattice`).
    target, fineness : float
    """
    nodes = _nodes(steps, path, b, fineness)
    m = len(nodes)
    if m == 0:
        return inf
    width = len(FIELDS) + 5
    end, middle, last = np.empty((m, width)), np.empty((m, width)), np.empty((m, width))
    t, t_middle, t_last = np.empty(m), np.empty(m), np.empty(m)
    D, U = np.zeros(m), np.zeros(m)
    total, leaky = 0.0, False
    for i in range(m):
        before = nodes[i - 1] if i > 0 else max(nodes[i] - 1, 0)
        t[i] = steps[nodes[i]]
        t0 = t[i - 1] if i > 0 else t[i]
        # of a kernel that goes as lag^-1/2 the average over the own cell is at a quarter
        t_middle[i], t_last[i] = 0.5 * (t0 + t[i]), 0.25 * t0 + 0.75 * t[i]
        _row(steps, path, before, t[i], b, bm, jump, end[i])
        _row(steps, path, before, t_middle[i], b, bm, jump, middle[i])
        _row(steps, path, before, t_last[i], b, bm, jump, last[i])
        land = end[i, LAND]
        leaky = leaky or land < 0.999
        mean, var = end[i, MEAN], end[i, VAR]
        if var <= 0.0:
            D[i] = max((1.0 if mean < b else 0.0) - total, 0.0)
        else:
            down, up = cdf((b - mean) / sqrt(var)), 0.0
            dd, uu, du, ud = 0.5, 0.5, 0.0, 0.0
            for j in range(1, i + 1):
                e = last[i] if j == i else middle[j]
                R, G = propagate(e, end[i], t[i] - (t_last[i] if j == i else t_middle[j]), bm)
                spread = (
                    var - R * R * e[VAR] + G * (2.0 * R * e[W_COV] - G * (e[W_VAR] - e[ENTRY_VAR]))
                )
                s = sqrt(max(spread, 1e-6 * var))
                base = mean - R * e[MEAN]
                gone = R * (b - OVERSHOOT * sqrt(e[SPEED])) - G * e[ENTRY_W]
                below = cdf((b - base - gone) / s)
                above, missed, returned = 0.0, 0.0, 0.0
                if leaky:
                    miss = 1.0 - end[j, LAND]
                    above = cdf((base - gone + b) / s)
                    returned = miss * cdf((b - base + gone) / s)
                    missed = miss * cdf((base + gone + b) / s)
                if j == i:
                    dd, uu, du, ud = max(below, 0.05), max(above, 0.05), returned, missed
                else:
                    down += returned * U[j] - below * D[j]
                    up += missed * D[j] - above * U[j]
            det = max(dd * uu - du * ud, 0.01)
            D[i] = max((uu * down + du * up) / det, 0.0)
            U[i] = max((dd * up + ud * down) / det, 0.0) if leaky else 0.0
        new = min(land * (D[i] + U[i]), 1.0 - total)
        if total + new >= target:
            return t0 + (target - total) / new * (t[i] - t0)
        total += new
    return inf
