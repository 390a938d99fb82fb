"""The noise floor, what is left of theta in the long run: by closed form, and by the closure."""

import math
from typing import Any, NamedTuple

from regdyn import rules
from regdyn.checks import finite, integer
from regdyn.gradients import Gaussian
from regdyn.regularizers import check_strength
from regdyn.theory import laws
from regdyn.theory.laws.law import invalid

TRAINING = 406_250
"""Steps of the paper's training (325 epochs of 1250): the horizon where nothing is stationary."""
_LONGEST = 1_000_000  # steps for which the closure is followed towards a stationary state


class Floor(NamedTuple):
    """What is left of theta in the long run.

    Attributes
    ----------
    mean, std : float
        Of theta. std is the law's if it is valid or nothing else is known, otherwise the closure's.
    law : Law
        The closed form for the std.
    closure : float
        The closure's std; NaN without noise or decay, or if it is not stationary after a million
        steps.
    steps : int or None
        Steps after which this holds; None for the stationary state.
    """

    mean: float
    std: float
    law: laws.Law
    closure: float
    steps: int | None


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
    end = math.inf if steps is None else integer("steps", steps, 1)
    if steps is None and (lam == 0 or reg == "none" or (hp.lr == 0 and reg != "wd")):
        std = math.inf if sigma > 0 and hp.lr > 0 else 0.0
        return Floor(theta0, std, invalid(std, "Nothing pulls theta to 0."), math.nan, None)
    if steps is None and sigma == 0:
        size = _noiseless(hp, reg, lam)
        return Floor(0.0, size, invalid(size, "There is no noise."), math.nan, None)
    law = laws.late_std(hp, reg, lam, sigma, theta0=theta0, steps=end)
    mean, std = _closure(hp, reg, lam, sigma, steps, theta0)
    best = law.value if law.valid or math.isnan(std) else std
    return Floor(mean, best, law, std, steps)


def _noiseless(hp: Any, reg: str, lam: float) -> float:
    """Size of theta in the long run when no gradient comes but the regulariser's."""
    if reg != "l2":
        return 0.0
    if isinstance(hp, rules.SGD):
        return 0.0 if laws.heavy_ball(hp, lam).stable else math.inf
    if isinstance(hp, rules.Adadelta):
        return 0.0 if hp.lr * lam < 2 else math.inf  # v and X are gone: SGD with its lr
    if isinstance(hp, rules.Lion):
        return hp.lr / math.sqrt(3)  # to and fro between x and x - lr, x anywhere in (0, lr)
    stable = hp.eps > 0 and laws.eps_endgame(hp, lam, 0.0).valid
    return 0.0 if stable else laws.edge_floor(hp, lam).value


def _closure(
    hp: Any, reg: str, lam: float, sigma: float, steps: int | None, theta0: float
) -> tuple[float, float]:
    """Mean and std of the closure: after so many steps, or in the long run.

    The approach to a stationary variance is exponential: its end follows from three equidistant
    times (Aitken), as soon as most of the way is done.
    """
    slowest = max(getattr(hp, b, 0.0) for b in ("beta1", "beta2", "alpha", "rho", "momentum"))
    n = steps or 2000 + round(20 / (1 - slowest))
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
        if n >= _LONGEST or not all(map(math.isfinite, var)):
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
