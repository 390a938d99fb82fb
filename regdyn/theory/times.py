"""How long theta takes to a level: by the closed form if there is one, and by the closure."""

import math
from typing import Any, NamedTuple

import numpy as np

from regdyn import gradients, rules
from regdyn.checks import finite, integer
from regdyn.gradients import Gaussian, LowGradient, Tape, Well
from regdyn.regularizers import check_strength
from regdyn.theory import laws
from regdyn.theory.laws.choose import TIMES

LONGEST = 2_000_000
"""Steps for which the closure is followed if no length is asked for."""


class Times(NamedTuple):
    """When theta reaches a level, in steps; infinite if later than `steps`.

    Attributes
    ----------
    name : str
        The closed form's; empty if there is none for this gradient or schedule.
    law : Law or None
        Its answer: the time of the mean.
    mean : float
        First step at which the mean is below the level, by the closure.
    median : float
        First step at which half of all lanes have been below it, by the closure.
    steps : int
        How long the closure was followed.
    """

    name: str
    law: laws.Law | None
    mean: float
    median: float
    steps: int


def times_to(
    rule: Any, reg: str, lam: float, gradient: Any, *, level: float, theta0: float = 1.0,
    schedule: str = "constant", steps: int | None = None,
) -> Times:  # fmt: skip
    """When the mean of theta, and when half of all lanes, are below `level` in size.

    Parameters
    ----------
    rule, reg, lam, gradient, theta0, schedule
        As in `regdyn.theory.predict`, one of each.
    level : float
        0 < level < abs(theta0).
    steps : int, optional
        How long to follow; a schedule needs it. By default as long as it takes, `LONGEST` at most.

    Raises
    ------
    ValueError
        For bad input, in one sentence.
    """
    hp, gradient = rules.resolve(rule), gradients.resolve(gradient)
    lam, theta0 = check_strength(reg, lam, hp), finite("theta0", theta0)
    if steps is not None:
        integer("steps", steps, 1)
    elif schedule != "constant":
        raise ValueError("a schedule needs steps, the length of the run.")
    if not 0 < level < abs(theta0):
        raise ValueError(f"a time needs 0 < threshold < |theta0|, not {level:g} and {theta0:g}.")
    name, law = "", None
    if schedule == "constant":
        name, law = _closed_form(hp, reg, lam, gradient, abs(theta0), level)
    n = steps or 1000
    if law and not steps and math.isfinite(law.value):
        n = min(round(1.3 * law.value) + 1000, LONGEST)
    while True:
        mean, median = _followed(hp, reg, lam, gradient, n, (theta0, level, schedule))
        if steps or n >= LONGEST or min(mean, median) < math.inf:
            return Times(name, law, mean, median, n)
        n = min(10 * n, LONGEST)


def _closed_form(
    hp: Any, reg: str, lam: float, gradient: Any, start: float, level: float
) -> tuple[str, laws.Law | None]:
    """Name and answer of the law for this gradient; "", None if there is none."""
    if isinstance(gradient, Well | Tape) or np.ndim(gradient.std) > 0:
        return "", None
    if isinstance(gradient, Gaussian) and np.any(gradient.mean):
        return "", None
    sigma, adam = gradient.std, isinstance(hp, rules.Adam | rules.RMSprop)
    if reg != "l2" or lam == 0:  # of any symmetric gradient
        return "wd_time", laws.time_to(hp, reg, lam, sigma, theta0=start, theta1=level)
    if isinstance(hp, rules.SGD):  # of any gradient of mean 0
        return "sgd_l2_time", laws.time_to(hp, reg, lam, sigma, theta0=start, theta1=level)
    if isinstance(gradient, LowGradient) and adam:
        burst = {"sigma0": gradient.std0, "steps0": gradient.steps0}
        return "burst_time", laws.burst_time(hp, lam, sigma, start, level, **burst)
    if not isinstance(gradient, Gaussian):
        return "", None
    name, law = "", None
    for of in TIMES[rules.name_of(hp)]:
        name, law = of.__name__, of(hp, lam, sigma, start, level)
        if law.valid:
            break
    return name, law


def _followed(
    hp: Any, reg: str, lam: float, gradient: Any, n: int, rest: tuple
) -> tuple[float, float]:
    """The closure's times of the mean and of the median lane, in n steps."""
    from regdyn.theory.prediction import predict

    theta0, level, schedule = rest
    # on a grid so fine, a line between recorded steps finds the mean's time to 1e-5
    record = np.unique(np.concatenate([np.geomspace(1, n, 6000), np.linspace(0, n, 2000)]).round())
    ds = predict(
        hp, reg=reg, lam=lam, gradient=gradient, steps=n, schedule=schedule, theta0=theta0,
        thresholds=level, record=record.astype(int),
    )  # fmt: skip
    t, mean = ds["step"].values, np.abs(ds["mean"].values.ravel())
    i, time = int(np.argmax(mean < level)), math.inf
    if mean[i] < level:
        part = (mean[i - 1] - level) / (mean[i - 1] - mean[i])
        time = float(math.ceil(t[i - 1] + part * (t[i] - t[i - 1])))
    median = float(ds["first_passage_median"].squeeze())
    return time, math.inf if math.isnan(median) else median
