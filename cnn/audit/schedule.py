"""The learning rates to come, from a schedule in any of the forms that a user may have."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regdyn.checks import finite, integer, numbers, shown

Schedule = Callable[[int], float] | Sequence[float] | np.ndarray


def factors(schedule: Any, steps: int | None, steps_per_epoch: int | None) -> np.ndarray:
    """Factors on the learning rate of the steps to come, float64 (steps,); empty: constant.

    Parameters
    ----------
    schedule : callable, sequence of float, or None
        A function of the number of the step (of the epoch, if `steps_per_epoch` is given), from 0,
        or its values.
    steps : int, optional
        Length of the run. A function needs it; a longer list is cut, a shorter one is an error.
    steps_per_epoch : int, optional

    Raises
    ------
    ValueError
        For bad input, in one sentence.
    """
    if steps is not None:
        integer("steps", steps, 1)
    if steps_per_epoch is not None:
        integer("steps_per_epoch", steps_per_epoch, 1)
    if schedule is None:
        return np.empty(0)
    each = steps_per_epoch or 1
    if hasattr(schedule, "optimizer") and hasattr(schedule, "get_last_lr"):
        raise ValueError(
            f"schedule must be factors on the learning rate or a function that returns them, not "
            f"the scheduler {type(schedule).__name__}: give, say, the function of its LambdaLR."
        )
    if callable(schedule):
        if steps is None:
            raise ValueError("a schedule that is a function needs steps, the length of the run.")
        given = [finite(f"schedule({i})", schedule(i), 0.0) for i in range(-(-steps // each))]
    else:
        given = numbers("schedule", schedule)
        if given.ndim != 1 or (given < 0).any():
            raise ValueError(f"schedule must be a list of factors >= 0, not {shown(schedule)}.")
    found = np.repeat(np.asarray(given, float), each)
    if steps is not None and len(found) < steps:
        raise ValueError(
            f"schedule must have a factor for each of {-(-steps // each)} "
            f"{'epochs' if steps_per_epoch else 'steps'}, not {len(found) // each}."
        )
    return found[:steps]
