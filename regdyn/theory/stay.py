r"""Will theta stay below a threshold? The noise floor, turned into probabilities.

Late in a run theta fluctuates about 0 with a standard deviation s, the noise floor. theta is then
nearly Gaussian, so it is below b at a given step with probability erf(b / (sqrt(2) s)).
docs/laws/stay-below.md derives it, and says where theta is not Gaussian.
"""

import math
from typing import Any, NamedTuple

from regdyn import rules
from regdyn.checks import finite, integer
from regdyn.regularizers import decay, strength
from regdyn.theory import laws, passage
from regdyn.theory.floors import Floor, floor
from regdyn.theory.laws.heavy_ball import HeavyBall
from regdyn.theory.laws.law import TOLERANCE, betas, lag

_UNSURE = 0.2  # relative error of the std that is allowed for where no closed form is valid


class Stay(NamedTuple):
    """Whether theta stays below a threshold.

    Attributes
    ----------
    share : float
        Probability that abs(theta) < threshold at a given step of the long run.
    window : float
        Probability that it is so at each of `window` consecutive steps; at most `share`. NaN where
        there is no estimate.
    floor : Floor
    bound : float
        The sigma at which the leading-order floor equals the threshold, so that 68 % are below if
        that formula holds (2 lambda threshold^2 / lr under Adam and RMSprop + l2). NaN if there is
        none; infinite if no sigma lifts the floor to the threshold.
    bound_share : float
        The share that is below at that sigma, by the law and not by its leading order.
    valid : bool
        Whether `share` is expected to be right to 2 points.
    reason : str
    """

    share: float
    window: float
    floor: Floor
    bound: float
    bound_share: float
    valid: bool
    reason: str


def stay_below(
    rule: Any, reg: str = "l2", lam: float = 1e-4, sigma: float = 1e-5, *,
    threshold: float = 1e-3, window: int = 1, steps: int | None = None, theta0: float = 1.0,
) -> Stay:  # fmt: skip
    r"""The probability that abs(theta) is below `threshold` in the long run, and for how long.

    Formula: share = erf(b / (sqrt(2) s)), s the noise floor; for a mean that has not arrived at 0
    the same Gaussian around it. Over a window theta is an Ornstein-Uhlenbeck process with an
    absorbing wall. Source: derived in docs/laws/stay-below.md.

    Parameters
    ----------
    rule, reg, lam, sigma, steps, theta0
        As in `floor`.
    threshold : float
    window : int
        Also the probability of being below at each of so many consecutive steps.

    Raises
    ------
    ValueError
        For bad input, in one sentence.
    """
    hp = rules.resolve(rule)
    b = finite("threshold", threshold, 0.0, open_below=True)
    integer("window", window, 1)
    end = floor(hp, reg, lam, sigma, steps=steps, theta0=theta0)
    share, s = _share(end.mean, end.std, b), end.std
    bound = _bound(hp, reg, lam, b)
    at_bound = math.nan
    if 0 < bound < math.inf:
        law = laws.late_std(hp, reg, lam, bound)
        at_bound = _share(0.0, law.value if law.valid else floor(hp, reg, lam, bound).std, b)
    if s == 0 or math.isnan(s) or s == math.inf:
        why = {0.0: "Without noise theta does not fluctuate.", math.inf: "theta spreads for ever."}
        reason = why.get(s, "No stationary state was found.")
        return Stay(share, share, end, bound, at_bound, not math.isnan(s), reason)
    error = TOLERANCE if end.law.valid else _UNSURE
    apart = _share(end.mean, s / (1 + error), b) - _share(end.mean, s * (1 + error), b)
    shape = _not_gaussian(hp, reg, lam, sigma, s, b)
    certain = s * (1 + error) < b / 7.1  # Chebyshev: below at 98 % whatever the distribution
    where = "" if end.steps is None else f" after {end.steps:,} steps"
    reason = f"The std{where} is {s:.3g}, {s / b:.3g} times the threshold."
    if not end.law.valid:
        reason += f" No closed form for it is valid: {end.law.reason}"
    if math.isnan(end.closure) and sigma > 0:
        reason += " The closure has not settled after a million steps."
    if shape:
        reason += f" theta is not Gaussian: {shape}."
    if reg in ("wd", "adamw") and isinstance(hp, rules.Adam | rules.RMSprop) and bound < sigma:
        reason += " Above eps it hardly depends on sigma: only a dead feature stays below."
    longer = share if window == 1 else _window(hp, reg, lam, sigma, end, b, window)
    valid = certain or (abs(apart) / 2 <= 0.02 and not shape)
    return Stay(share, longer, end, bound, at_bound, valid, reason)


def _share(mean: float, s: float, b: float) -> float:
    """P(abs(theta) < b) of a Gaussian theta."""
    if s == 0 or math.isnan(s):
        return float(abs(mean) < b) if s == 0 else math.nan
    return 0.5 * (math.erf((b - mean) / s / math.sqrt(2)) + math.erf((b + mean) / s / math.sqrt(2)))


def _bound(hp: Any, reg: str, lam: float, b: float) -> float:
    """sigma at which the leading-order floor equals b."""
    if lam == 0 or reg == "none" or hp.lr == 0:
        return math.nan
    c = decay(strength(reg, lam), hp.lr)
    loss = math.sqrt(2 * (1 - c.before * c.after))  # 0 under l2
    if isinstance(hp, rules.SGD):
        if reg != "l2":
            return b * (1 - hp.momentum) * loss / hp.lr
        stable = laws.heavy_ball(hp, lam).stable
        return b * math.sqrt(2 * lam * (1 - hp.momentum) / hp.lr) if stable else math.nan
    if not isinstance(hp, rules.Adam | rules.RMSprop):
        return math.nan
    if reg == "l2":
        return 2 * lam * b * b / hp.lr
    free = hp.lr / loss  # the floor of any sigma far above eps; it goes as sigma / (sigma + eps)
    return math.inf if free <= b else hp.eps * b / (free - b)


def _not_gaussian(hp: Any, reg: str, lam: float, sigma: float, s: float, b: float) -> str:
    """Why theta is not Gaussian by more than 2 points; empty if it is."""
    if sigma == 0:
        return "without noise it ends in a cycle"
    if isinstance(hp, rules.Lion):
        memory = _relaxation(hp, reg, lam, sigma, s)[0] / (1 - hp.beta2)
        if memory > 0.1:
            return "its signs are remembered as long as theta itself"
        spread = 2 * math.exp(-0.5 * (b / s) ** 2) / math.sqrt(2 * math.pi) * hp.lr / s
        if reg == "l2" and spread > 0.02:
            return "all steps have the size lr, so that theta stays on a lattice"
    if reg == "l2" and isinstance(hp, rules.Adam | rules.RMSprop):
        pull = (lam * s) ** 2
        share, (z, _) = pull / (pull + sigma * sigma), _ball(hp, lam, sigma, s).roots
        cycles = abs(z.imag) > 0 or z.real < 0
        if share > 0.1 and cycles and (1 - abs(z)) * lag(betas(hp)[1]) < 4:
            return "it cycles at the edge of stability, about +-s, and v follows"
    return ""


def _ball(hp: Any, lam: float, sigma: float, s: float) -> HeavyBall:
    """Adam under l2 as theta feels it: a heavy ball whose learning rate v sets."""
    b1, _ = betas(hp)
    size = math.hypot(sigma, lam * s) + hp.eps
    return laws.heavy_ball(rules.SGD(hp.lr * (1 - b1) / size, b1), lam)


# Staying for a while ---------------------------------------------------------------------------


def _relaxation(hp: Any, reg: str, lam: float, sigma: float, s: float) -> tuple[float, float]:
    """(share of theta that the mean loses per step, memory of the steps); NaN: no estimate."""
    memory = {rules.SGD: "momentum", rules.Lion: "beta2"}.get(type(hp), "beta1")
    bm = getattr(hp, memory, 0.0)
    if reg != "l2":
        c = decay(strength(reg, lam), hp.lr)
        return 1 - c.before * c.after, bm
    if isinstance(hp, rules.Lion):
        return hp.lr * lam * math.sqrt(2 / math.pi) / (sigma * laws.sign_std(hp)), bm
    if isinstance(hp, rules.SGD):
        z = laws.heavy_ball(hp, lam).roots[0]
    elif isinstance(hp, rules.Adam | rules.RMSprop):
        z = _ball(hp, lam, sigma, s).roots[0]
    else:
        return math.nan, bm
    return (1 - z.real if z.imag == 0 and 0 < z.real < 1 else math.nan), bm


def _window(hp: Any, reg: str, lam: float, sigma: float, end: Floor, b: float, steps: int) -> float:
    r"""P(abs(theta) < b at each of `steps` steps), theta an Ornstein-Uhlenbeck process.

    Its density obeys dp/dt = r (x p)' + r s^2 p'' with p = 0 at +-(b + x_M): a walk is lost
    only when it steps over b, which is as if the wall stood a Milne length x_M behind (see
    `regdyn.theory.passage`). Finite volumes on (-b - x_M, b + x_M); starts as a Gaussian inside b.
    """
    import numpy as np
    from scipy.linalg import eigh_tridiagonal

    if isinstance(hp, rules.Lion) or sigma == 0 or abs(end.mean) > 1e-2 * b:
        return math.nan  # a walk on a lattice, a cycle, or not yet arrived
    r, bm = _relaxation(hp, reg, lam, sigma, end.std)
    if not r * lag(bm) < 0.1:
        return math.nan  # no diffusion
    # long-run step: the variance of theta is kick^2 / (2 r - r^2)
    kick = end.std * math.sqrt(r * (2 - r))
    wall = b + kick * (
        passage.OVERSHOOT * math.sqrt((1 - bm) / (1 + bm))
        + passage.milne(bm) * bm / math.sqrt(1 - bm * bm)
    )
    n, far_out = 400, min(wall / end.std, 10.0)  # ten standard deviations are never crossed
    edges = np.linspace(-far_out, far_out, n + 1)
    x, h = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    # symmetric form: fluxes between cells weighted by exp(-x^2 / 2)
    weight = np.exp(-0.25 * x * x)
    across = r * np.exp(-0.5 * edges * edges) / (h * h)
    diagonal = -(across[1:] + across[:-1]) / weight**2
    diagonal[[0, -1]] -= across[[0, -1]] / weight[[0, -1]] ** 2  # the wall is half a cell away
    rates, vectors = eigh_tridiagonal(diagonal, across[1:-1] / (weight[1:] * weight[:-1]))
    inside = np.clip((b / end.std - np.abs(x)) / h + 0.5, 0.0, 1.0)
    start = weight * inside * h / math.sqrt(2 * math.pi)
    left = np.exp(rates * (steps - 1)) * (vectors.T @ start)
    return float(weight @ (vectors @ left))
