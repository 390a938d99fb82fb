r"""Will theta stay below a threshold? The noise floor, turned into probabilities.

Late in a run theta fluctuates about 0 with a standard deviation s, the noise floor. theta is then
nearly Gaussian, so it is below b at a given step with probability erf(b / (sqrt(2) s)).
docs/laws/stay-below.md derives it, and says where theta is not Gaussian.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from regdyn import rules
from regdyn.checks import finite, integer
from regdyn.gradients import Gaussian
from regdyn.regularizers import check_strength, decay, strength
from regdyn.theory import laws, passage
from regdyn.theory.laws.heavy_ball import HeavyBall
from regdyn.theory.laws.law import betas, invalid, lag

TRAINING = 406_250
"""Steps of the paper's training (325 epochs of 1250): the horizon where nothing is stationary."""
_LONGEST = 1_000_000  # steps for which the closure is followed towards a stationary state


class Floor(NamedTuple):
    """What is left of theta in the long run.

    Attributes
    ----------
    mean, std : float
        Of theta: the law's std if it is valid, else the closure's.
    law : Law
        The closed form for the std.
    closure : float
        The closure's std; NaN if it is not stationary after a million steps.
    steps : int or None
        Steps after which this holds; None for the stationary state.
    """

    mean: float
    std: float
    law: laws.Law
    closure: float
    steps: int | None


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
        The sigma at which the std equals the threshold by the leading-order floor
        (2 lambda threshold^2 / lr under Adam and RMSprop + l2): `share` is 68 % there, if the
        formula holds. NaN if there is none.
    valid : bool
        Whether `share` is expected to be right to 2 points.
    reason : str
    """

    share: float
    window: float
    floor: Floor
    bound: float
    valid: bool
    reason: str


def floor(
    rule: Any, reg: str = "l2", lam: float = 1e-4, sigma: float = 1e-5, *,
    steps: int | None = None, theta0: float = 1.0,
) -> Floor:  # fmt: skip
    """The noise floor under independent gradients of mean 0 and standard deviation `sigma`.

    Parameters
    ----------
    rule : str or NamedTuple
        A rule's name, or its hyper-parameters.
    reg, lam, sigma
        Regulariser, strength, standard deviation of the loss gradient.
    steps : int, optional
        Moments after so many steps from `theta0`. By default the stationary state; Adagrad and
        AMSGrad have none and take `TRAINING` steps.

    Raises
    ------
    ValueError
        For bad input, in one sentence.
    """
    hp = rules.resolve(rule)
    lam, sigma = check_strength(reg, lam, hp), finite("sigma", sigma, 0.0)
    theta0 = finite("theta0", theta0)
    if steps is None and isinstance(hp, rules.Adagrad | rules.AMSGrad):
        steps = TRAINING
    if steps is not None:
        integer("steps", steps, 1)
    if steps is None and (lam == 0 or reg == "none"):
        std = math.inf if sigma > 0 and hp.lr > 0 else 0.0
        return Floor(
            0.0 if sigma > 0 else theta0, std, invalid(std, "Nothing pulls back."), std, None
        )
    if steps is None and sigma == 0:
        size = _noiseless(hp, reg, lam)
        return Floor(0.0, size, invalid(size, "Without noise."), size, None)
    law = laws.late_std(hp, reg, lam, sigma, theta0=theta0, steps=steps or math.inf)
    mean, std = _closure(hp, reg, lam, sigma, steps, theta0)
    return Floor(mean, law.value if law.valid else std, law, std, steps)


def _noiseless(hp: Any, reg: str, lam: float) -> float:
    """Size of theta in the long run when no gradient comes but the regulariser's."""
    if reg != "l2" or hp.lr == 0 or isinstance(hp, rules.Adagrad | rules.AMSGrad):
        return 0.0  # the last two: sqrt(v) never falls, so that lr lambda / sqrt(v) theta is small
    if isinstance(hp, rules.SGD):
        return 0.0 if laws.heavy_ball(hp, lam).stable else math.inf
    if isinstance(hp, rules.Adadelta):
        return 0.0 if hp.lr * lam < 2 else math.inf
    if isinstance(hp, rules.Lion):
        return _cycle(hp, lam)
    stable = hp.eps > 0 and laws.eps_endgame(hp, lam, 0.0).valid
    return 0.0 if stable else laws.edge_floor(hp, lam).value


def _cycle(hp: rules.Lion, lam: float) -> float:
    """rms of Lion's cycle about 0: all its steps have the size lr. Ten memories of m long."""
    theta, state = 0.5 * hp.lr, rules.init(0.0, hp)
    coef, n = rules.coef(hp, 1), min(round(10 / (1 - hp.beta2)) + 10, 100_000)
    path = np.empty(n)
    for t in range(n):
        delta, state = rules.lion(lam * theta, state, hp, coef)
        theta = path[t] = theta - delta
    return float(np.sqrt(np.mean(path[n // 2 :] ** 2)))


def _closure(
    hp: Any, reg: str, lam: float, sigma: float, steps: int | None, theta0: float
) -> tuple[float, float]:
    """Mean and std of the closure: after so many steps, or in the long run.

    The approach to a stationary variance is exponential: its end follows from three equidistant
    times (Aitken), as soon as most of the way is done.
    """
    n = steps or 2000 + round(20 / (1 - max(_memories(hp))))
    while True:
        at = [n] if steps else [n // 3, 2 * (n // 3), 3 * (n // 3)]
        ds = _predict(hp, reg, lam, sigma, n, theta0 if steps else 0.0, at)
        mean, var = ds["mean"].values.ravel()[1:], ds["std"].values.ravel()[1:] ** 2
        if steps:
            return float(mean[0]), math.sqrt(var[0])
        first, second = var[1] - var[0], var[2] - var[1]
        end = var[2] + second * second / (first - second) if first > second > 0 else var[2]
        if abs(second) < 1e-3 * var[2] or (first > second > 0 and var[2] > 0.6 * end):
            return 0.0, math.sqrt(end)
        if n >= _LONGEST or not np.all(np.isfinite(var)):
            return 0.0, math.nan
        n = min(4 * n, _LONGEST)


def _predict(hp: Any, reg: str, lam: float, sigma: float, n: int, theta0: float, at: Any) -> Any:
    import warnings

    from regdyn.theory.prediction import predict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it is unstable shows in the result
        return predict(
            hp, reg=reg, lam=lam, gradient=Gaussian(std=sigma), steps=n, theta0=theta0,
            record=[0, *at], thresholds=1e-3,
        )  # fmt: skip


def _memories(hp: Any) -> list[float]:
    """The forgetting factors of a rule's averages."""
    names = ("beta1", "beta2", "alpha", "rho", "momentum")
    return [getattr(hp, name) for name in names if hasattr(hp, name)] or [0.0]


# Probabilities ---------------------------------------------------------------------------------


def stay_below(
    rule: Any, reg: str = "l2", lam: float = 1e-4, sigma: float = 1e-5, *,
    threshold: float = 1e-3, window: int = 1, steps: int | None = None, theta0: float = 1.0,
) -> Stay:  # fmt: skip
    """The probability that abs(theta) is below `threshold` in the long run, and for how long.

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
    share, bound = _share(end, b), _bound(hp, reg, lam, b)
    if not (end.std > 0 and math.isfinite(end.std)):
        why = "it spreads for ever" if end.std == math.inf else "no stationary state was found"
        why = "without noise theta does not fluctuate" if end.std == 0 else why
        known = not math.isnan(end.std)
        return Stay(share, share if known else math.nan, end, bound, known, f"{why}.".capitalize())
    shape = _not_gaussian(hp, reg, lam, sigma, end.std, b)
    where = "" if end.steps is None else f" after {end.steps:,} steps"
    reason = f"The std{where} is {end.std:.3g}, {end.std / b:.3g} times the threshold."
    if not end.law.valid:
        reason += f" It is the closure's, since no closed form is valid: {end.law.reason}"
    if shape:
        reason += f" theta is not Gaussian: {shape}."
    longer = share if window == 1 else _window(hp, reg, lam, sigma, end, b, window)
    longer = share if longer > share else longer
    return Stay(share, longer, end, bound, end.law.valid and not shape, reason)


def _share(end: Floor, b: float) -> float:
    """P(abs(theta) < b) of a Gaussian theta."""
    if end.std == math.inf:
        return 0.0
    if not end.std > 0:
        return math.nan if math.isnan(end.std) else float(abs(end.mean) < b)
    x = [(b - end.mean) / end.std, (-b - end.mean) / end.std]
    return 0.5 * (math.erf(x[0] / math.sqrt(2)) - math.erf(x[1] / math.sqrt(2)))


def _bound(hp: Any, reg: str, lam: float, b: float) -> float:
    """sigma at which the leading-order floor equals b."""
    if reg != "l2" or lam == 0 or hp.lr == 0:
        return math.nan
    if isinstance(hp, rules.SGD):
        return b * math.sqrt(2 * lam * (1 - hp.momentum) / hp.lr)
    adaptive = isinstance(hp, rules.Adam | rules.RMSprop)
    return 2 * lam * b * b / hp.lr if adaptive else math.nan


def _not_gaussian(hp: Any, reg: str, lam: float, sigma: float, std: float, b: float) -> str:
    """Why theta is not Gaussian by more than 2 points; empty if it is."""
    if isinstance(hp, rules.Lion):
        memory = _relaxation(hp, reg, lam, sigma, std)[0] / (1 - hp.beta2)
        if memory > 0.1:
            return "its signs are remembered as long as theta itself"
        spread = 2 * math.exp(-0.5 * (b / std) ** 2) / math.sqrt(2 * math.pi) * hp.lr / std
        if reg == "l2" and spread > 0.02:
            return "all steps have the size lr, so that theta stays on a lattice"
    if reg == "l2" and isinstance(hp, rules.Adam | rules.RMSprop):
        pull = (lam * std) ** 2
        share, (z, _) = pull / (pull + sigma * sigma), _ball(hp, lam, sigma, std).roots
        cycles = abs(z.imag) > 0 or z.real < 0
        if share > 0.1 and cycles and (1 - abs(z)) * lag(betas(hp)[1]) < 4:
            return "it cycles at the edge of stability, about +-s, and v follows"
    return ""


def _ball(hp: Any, lam: float, sigma: float, std: float) -> HeavyBall:
    """Adam under l2 as theta feels it: a heavy ball whose learning rate v sets."""
    b1, _ = betas(hp)
    size = math.hypot(sigma, lam * std) + hp.eps
    return laws.heavy_ball(rules.SGD(hp.lr * (1 - b1) / size, b1), lam)


# Staying for a while ---------------------------------------------------------------------------


def _relaxation(hp: Any, reg: str, lam: float, sigma: float, std: float) -> tuple[float, float]:
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
        z = _ball(hp, lam, sigma, std).roots[0]
    else:
        return math.nan, bm
    return (1 - z.real if z.imag == 0 and 0 < z.real < 1 else math.nan), bm


def _window(hp: Any, reg: str, lam: float, sigma: float, end: Floor, b: float, steps: int) -> float:
    r"""P(abs(theta) < b at each of `steps` steps), theta an Ornstein-Uhlenbeck process.

    Its density obeys dp/dt = r (x p)' + r s^2 p'' with p = 0 at +-(b + x_M): a walk is lost
    only when it steps over b, which is as if the wall stood a Milne length x_M behind (see
    `regdyn.theory.passage`). Finite volumes on (-b - x_M, b + x_M); starts as a Gaussian inside b.
    """
    from scipy.linalg import eigh_tridiagonal

    r, bm = _relaxation(hp, reg, lam, sigma, end.std)
    far = abs(end.mean) > 1e-2 * b
    if not r * lag(bm) < 0.1 or isinstance(hp, rules.Lion) or far:
        return math.nan  # theta is no diffusion, or has not arrived
    kick = end.std * math.sqrt(
        r * (2 - r)
    )  # long-run step: variance of theta = kick^2 / (2 r - r^2)
    wall = b + kick * (
        passage.OVERSHOOT * math.sqrt((1 - bm) / (1 + bm))
        + passage.milne(bm) * bm / math.sqrt(1 - bm * bm)
    )
    n = 400
    edges = np.linspace(-wall, wall, n + 1) / end.std
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
