r"""Which law for which case: the first that calls itself valid.

Each of the two functions answers one question for every rule and regulariser. If no law is valid,
the answer is that of the law tried last, with its reason.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from regdyn import rules
from regdyn.regularizers import check_strength
from regdyn.theory.laws.adadelta import adadelta_l2_std, adadelta_l2_time
from regdyn.theory.laws.adagrad import adagrad_l2_std, adagrad_l2_time
from regdyn.theory.laws.adam_floor import adam_l2_std
from regdyn.theory.laws.adam_time import adam_l2_time
from regdyn.theory.laws.amsgrad import amsgrad_l2_std, amsgrad_l2_time
from regdyn.theory.laws.heavy_ball import sgd_l2_std, sgd_l2_time
from regdyn.theory.laws.law import Law, invalid
from regdyn.theory.laws.mean_field import mean_field_time
from regdyn.theory.laws.signs import lion_l2_std, lion_l2_time
from regdyn.theory.laws.weight_decay import wd_std, wd_time

TIMES: dict[str, tuple[Callable[..., Law], ...]] = {
    "adam": (adam_l2_time, mean_field_time),
    "rmsprop": (adam_l2_time, mean_field_time),
    "amsgrad": (amsgrad_l2_time, mean_field_time),
    "adagrad": (adagrad_l2_time,),
    "adadelta": (adadelta_l2_time, mean_field_time),
    "lion": (lion_l2_time, mean_field_time),
}


def time_to(
    hp: Any, reg: str, lam: float, sigma: float, *, theta0: float = 1.0, theta1: float = 0.5
) -> Law:
    """Steps until the mean of theta falls from `theta0` to `theta1`, at constant sigma.

    Parameters
    ----------
    hp : str or NamedTuple
        A rule's name (its preset `paper`), or its hyper-parameters.
    reg : {'none', 'l2', 'wd', 'adamw'}
    lam, sigma : float
        Strength; standard deviation of the loss gradient, which has mean 0.
    theta0, theta1 : float
        0 < theta1 < theta0.

    Raises
    ------
    ValueError
        For an unknown rule or regulariser, a strength out of range, or not 0 < theta1 < theta0.
    """
    hp = rules.resolve(hp)
    lam = check_strength(reg, lam, hp)
    if not 0 < theta1 < theta0 < math.inf:
        raise ValueError(f"a time needs 0 < theta1 < theta0, not {theta1!r} and {theta0!r}.")
    if lam == 0 or reg == "none":
        return invalid(math.inf, "Without decay the mean stays.")
    if reg != "l2":
        return wd_time(hp, lam, theta0, theta1, reg=reg)
    if isinstance(hp, rules.SGD):
        return sgd_l2_time(hp, lam, theta0, theta1)
    laws = TIMES[rules.name_of(hp)]
    return _first(partial(law, hp, lam, sigma, theta0, theta1) for law in laws)


def late_std(
    hp: Any, reg: str, lam: float, sigma: float, *, theta0: float = 1.0, steps: float = math.inf
) -> Law:
    """Standard deviation of theta after `steps` steps, at constant sigma; infinite: stationary.

    Adagrad and AMSGrad need `steps`: they have no stationary state. The start of the others, of
    about 1 / rate steps, must be over. Parameters and errors as in `time_to`.
    """
    hp = rules.resolve(hp)
    lam = check_strength(reg, lam, hp)
    if lam == 0 or reg == "none":
        return invalid(math.inf, "Without decay theta spreads for ever.")
    if reg != "l2":
        return wd_std(hp, lam, sigma, reg=reg, steps=steps)
    name = rules.name_of(hp)
    if name in ("adagrad", "amsgrad"):
        if not math.isfinite(steps):
            return invalid(math.nan, f"{name} has no stationary state: give the number of steps.")
        law = adagrad_l2_std if name == "adagrad" else amsgrad_l2_std
        return law(hp, lam, sigma, theta0=theta0, steps=steps)
    if name == "adadelta":
        return adadelta_l2_std(hp, lam, sigma, steps=steps)
    law = {"sgd": sgd_l2_std, "lion": lion_l2_std}.get(name, adam_l2_std)
    return law(hp, lam, sigma)


def _first(tries: Iterable[Callable[[], Law]]) -> Law:
    """The first valid answer, or the last."""
    answer = invalid(math.nan, "No law.")
    for law in tries:
        answer = law()
        if answer.valid:
            break
    return answer
