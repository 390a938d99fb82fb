r"""Theory against reference: predicted columns, errors, and who passes.

Accuracy that is asked for, in times of theta from 1, with 10^6 steps:

==========================================  =================================================
time to 0.5 and to 0.1 of the mean          within max(1 %, 1 step, 3 standard errors)
median first passage of abs(theta) < 1e-3   within max(3 %, 1 step)
late rms (the last tenth of the run)        within 2 %
==========================================  =================================================

What comes after the last step is censored: both are later, good; one is later, good only if the
other one is within its tolerance of the last step. A *score* is the error in units of the
tolerance: a cell passes up to 1. For passages and rms there is a second flag, `within`, that also
allows 3 standard errors of the simulation.

Passing says little where the simulation itself is no better than the tolerance. So there is also a
*verdict* on each of the four: `within` or `outside` the tolerance, or `open`, which the simulation
does not decide.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sims import _theory_reference as reference
from sims._theory_design import STEPS, THETA0, Cell

if TYPE_CHECKING:
    import pandas as pd

ORDERS = {"theory": 2, "naive": 1}  # the closure, and the mean field as a negative control
TOLERANCE = {"t50": 0.01, "t10": 0.01, "p1e-3": 0.03, "late": 0.02}
ALLOWS_ERRORS = ("t50", "t10")  # the tolerance includes 3 standard errors


def compare(
    measured: Any, cells: list[Cell], *, steps: int = STEPS, predict: Any = None
) -> "pd.DataFrame":
    """The measured columns, and for the closure and the naive mean field: values, errors, flags.

    Parameters
    ----------
    measured : DataFrame
        `_theory_reference.measure` of the same cells, in their order.
    cells : list of Cell
    steps : int
        Where events are censored.
    predict : callable, optional
        Default `regdyn.theory.predict`.
    """
    import pandas as pd

    out = measured.copy()
    for who, order in ORDERS.items():
        predicted = pd.DataFrame(list(predictions(cells, order, steps, predict)))
        out = pd.concat([out, predicted.add_prefix(f"{who}_")], axis=1)
        out = out.assign(**verdicts(out, who, steps), **decisions(out, who, steps))
    return out


def predictions(
    cells: list[Cell], order: int, steps: int, predict: Callable[..., Any] | None
) -> Iterator[dict[str, float]]:
    """Times and late rms of each cell from the theory, read off like those of the reference."""
    from regdyn.report import late_rms

    if predict is None:
        from regdyn import theory

        predict = theory.predict
    for some, (rule, reg, lam, gradient) in reference.grids(cells):
        ds: Any = predict(
            rule, reg=reg, lam=lam, gradient=gradient, steps=steps, theta0=THETA0,
            record=reference.record(steps), thresholds=list(reference.PASSAGES.values()),
            order=order,
        )  # fmt: skip
        ds = ds.assign(late=late_rms(ds))
        for _, one in reference.split(some, ds):
            step, mean = one["step"].values, one["mean"].values
            passages = one["first_passage_median"].fillna(np.inf)
            yield {
                **{k: reference.crossing(step, mean, b) for k, b in reference.LEVELS.items()},
                **{
                    k: float(passages.sel(threshold=b)) for k, b in reference.PASSAGES.items()
                },
                "late": float(one["late"]),
            }  # fmt: skip


def verdicts(cells: Any, who: str, steps: int) -> dict[str, Any]:
    """Columns `who`_*: relative errors, scores, `pass` and `within`, and over all criteria."""
    out: dict[str, Any] = {}
    for name, relative in TOLERANCE.items():
        value, true, low, high, unit = _bounded(cells, who, name, steps)
        plain = score(value, true, relative, unit=unit)
        within = score(value, true, relative, low, high, unit=unit)
        out[f"{who}_{name}_error"] = value / true - 1
        out[f"{who}_{name}_score"] = within if name in ALLOWS_ERRORS else plain
        out[f"{who}_{name}_pass"] = out[f"{who}_{name}_score"] <= 1
        out[f"{who}_{name}_within"] = within <= 1
    scores = np.array([out[f"{who}_{name}_score"] for name in TOLERANCE])
    out[f"{who}_score"] = scores.max(axis=0)
    out[f"{who}_pass"] = out[f"{who}_score"] <= 1
    out[f"{who}_within"] = np.all([out[f"{who}_{name}_within"] for name in TOLERANCE], axis=0)
    return out


def decisions(cells: Any, who: str, steps: int) -> dict[str, Any]:
    """Columns `who`_*_verdict: `within`, `outside` or `open`.

    Here the tolerance is the percentage (or 1 step) alone. `within`: so is the prediction, and
    both ends of the simulation's interval of 3 standard errors are as near to its value.
    `outside`: the prediction is further off than both the tolerance and the interval. Else `open`.
    """
    out: dict[str, Any] = {}
    for name, relative in TOLERANCE.items():
        value, true, low, high, unit = _bounded(cells, who, name, steps)
        near = score(value, true, relative, unit=unit) <= 1
        possible = score(value, true, relative, low, high, unit=unit) <= 1
        sharp = np.maximum(high - true, true - low) <= np.maximum(relative * true, unit)
        out[f"{who}_{name}_verdict"] = np.select(
            [near & sharp, ~possible], ["within", "outside"], default="open"
        )
    return out


def _bounded(
    cells: Any, who: str, name: str, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Predicted, measured, the interval's ends, and the least tolerance: times up to `steps`."""
    value, true = cells[f"{who}_{name}"].to_numpy(), cells[name].to_numpy()
    if name == "late":
        half = reference.Z * cells["late_se"].to_numpy()
        return value, true, true - half, true + half, 0.0
    low, high = (cells[f"{name}_{end}"].to_numpy() for end in ("low", "high"))
    value, true, low, high = (np.minimum(x, steps) for x in (value, true, low, high))
    return value, true, low, high, 1.0


def score(
    value: np.ndarray, true: np.ndarray, relative: float, low: Any = None, high: Any = None, *,
    unit: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Error in units of the tolerance; a NaN is infinitely wrong.

    The tolerance is the largest of `relative` times the true value, `unit`, and, on the side of
    the error, the distance to `low` or `high`.
    """
    error = np.abs(value - true)
    allowed = np.maximum(relative * np.abs(true), unit)
    if low is not None and high is not None:
        allowed = np.maximum(allowed, np.where(value < true, true - low, high - true))
    with np.errstate(all="ignore"):
        ratio = np.where(error == 0, 0.0, error / allowed)
    return np.where(np.isnan(ratio), np.inf, ratio)
