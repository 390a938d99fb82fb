r"""What a law returns, how it judges itself, and the averages that several laws share.

A law computes its value, and beside it the size of the first terms that it neglects, each relative
to the value. It calls itself valid if their sum is at most 2 %.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

TOLERANCE = 0.02
"""Relative error up to which a law calls itself valid."""


class Law(NamedTuple):
    """A closed form's answer, and whether to trust it.

    Attributes
    ----------
    value : float
        In steps, or in units of theta; each law says which.
    valid : bool
        Whether the terms that the law neglects are estimated at 2 % of the value or less.
    reason : str
        One sentence: what the estimate rests on.
    """

    value: float
    valid: bool
    reason: str


def judged(value: float, neglected: Mapping[str, float]) -> Law:
    """`value`, valid if the relative sizes of the neglected terms add up to 2 % at most."""
    if not neglected:
        return Law(value, True, "Exact for gradients that are independent and symmetric about 0.")
    sizes = {name: abs(size) for name, size in neglected.items()}
    total = math.fsum(sizes.values())
    worst = max(sizes, key=lambda name: (math.isnan(sizes[name]), sizes[name]))
    valid = math.isfinite(value) and total <= TOLERANCE
    verb = "at most" if valid else "too large:"
    reason = f"Neglected terms are {verb} {100 * total:.2g} %; the largest is {worst}."
    return Law(float(value), valid, reason)


def invalid(value: float, reason: str) -> Law:
    """`value`, of which the law says that its assumptions do not hold, and which."""
    return Law(float(value), False, reason)


# Averages with weights (1 - b) b^k, k = 0, 1, 2, ... -------------------------------------------


def lag(b: float) -> float:
    """Mean age N = b / (1 - b) of what an exponential average remembers, in steps."""
    return b / (1 - b)


def samples(b: float) -> float:
    """nu = 1 / sum of squared weights = (1 + b) / (1 - b): v is as noisy as chi^2_nu / nu."""
    return (1 + b) / (1 - b)


def overlap(b1: float, b2: float) -> float:
    """w12 = sum of the products of two averages' weights = (1 - b1) (1 - b2) / (1 - b1 b2)."""
    return (1 - b1) * (1 - b2) / (1 - b1 * b2)


def betas(hp: Any) -> tuple[float, float]:
    """(beta1, beta2) of Adam and AMSGrad, (0, alpha) of RMSprop."""
    return (hp.beta1, hp.beta2) if hasattr(hp, "beta2") else (0.0, hp.alpha)


def first_below(means: Any, level: float) -> float:
    """Time at which a sequence of means, joined by straight lines, is first at or below `level`.

    `means` starts with step 0 and may be endless; infinite if the level is not reached.
    """
    above = math.inf
    for t, mean in enumerate(means):
        if mean <= level:
            return float(t) if t == 0 else t - (level - mean) / (above - mean)
        above = mean
    return math.inf
