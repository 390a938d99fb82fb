r"""Simple forecasts of filter death, which a good one must beat.

Each takes a run whose record ends at the step of the forecast (`cut`) and a finished run of the
same network, or None; it returns a `regdyn.scores.Prediction`. `regdyn.fitted` has the one that is
fitted to other runs.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from regdyn.checks import integer
from regdyn.filters import preconditioner
from regdyn.filters.laws import mean_square
from regdyn.filters.record import COLLAPSED, DEAD, Record, Run, collapse_step, dead
from regdyn.scores import Prediction, layer_means, of_probabilities

INTERVALS = 200
"""Between forecast and end of the run, for laws that are integrated."""
TINY = 1e-30


def cut(run: Run, at: int) -> Run:
    """The run as it is known after step `at`; settings and schedule stay those of the whole.

    Raises
    ------
    ValueError
        If the record then holds no window.
    """
    last = int(run.record.step[-1])
    record = run.record.until(integer("at", at, int(run.record.step[1]), last))
    return run._replace(record=record)


# What is known early ------------------------------------------------------------------------------


def size_now(record: Record) -> np.ndarray:
    """|gamma| at the end of the record, shape (n,)."""
    return np.abs(record.gamma[-1])


def recent(record: Record) -> slice:
    """The last quarter of the windows, at least one."""
    windows = len(record.window)
    return slice(windows - max(windows // 4, 1), windows)


def sigma(run: Run) -> np.ndarray:
    """Size of gamma's gradient of late, as the rule sees it; shape (n,)."""
    record = run.record
    return preconditioner.size(
        run.rule, mean_square(record, "gamma"), record.window, recent(record)
    )


def effective(run: Run) -> np.ndarray:
    """Steps so far, each counted as lr_t / lr, after 0, 1, ... all steps; shape (steps + 1,)."""
    return np.concatenate([[0.0], np.cumsum(run.scale)])


# The baselines ------------------------------------------------------------------------------------


def abs_gamma(early: Run, pilot: Run | None = None) -> Prediction:
    """The smaller |gamma| is now, the likelier its death: an order, and nothing else."""
    return Prediction(score=-size_now(early.record))


def linear_drift(early: Run, pilot: Run | None = None) -> Prediction:
    """|gamma| goes on along a straight line over effective steps.

    Its slope is the least-squares one of the last half of the record, its start |gamma| now.
    """
    record, time = early.record, effective(early)
    half = record.step >= record.step[-1] / 2
    x = time[record.step[half]]
    x = x - x.mean()
    slope = x @ np.abs(record.gamma[half]) / max(float(x @ x), TINY)
    now, grid = size_now(record), grid_of(early)
    path = np.maximum(now + slope * (time[grid] - time[grid[0]])[:, None], 0.0)
    score = np.where(now < COLLAPSED, np.inf, -slope / np.maximum(now, COLLAPSED))
    return of_path(path, grid, record.layer, score=score)


def frozen_sigma(early: Run, pilot: Run | None = None) -> Prediction:
    r"""The scalar law: no mean gradient, and noise that stays what it is now.

    Under Adam and L2 it takes (F(g0) - F(g1)) / lr steps from g0 to g1, with
    F(g) = sqrt(g^2 + a^2) - a asinh(a / g), a = sigma / lambda.
    """
    return scalar_law(early, lambda step: np.ones(early.record.filters))


def pilot_sigma(early: Run, pilot: Run | None = None) -> Prediction:
    """The scalar law with noise that follows the course of its layer in the pilot.

    Raises
    ------
    ValueError
        If there is no pilot, or it is of another network.
    """
    pilot, record = _same_network(early, pilot), early.record
    known = preconditioner.averages(
        pilot.rule, mean_square(pilot.record, "gamma"), pilot.record.window
    )
    course = np.sqrt([layer_means(row, pilot.record.layer) for row in known])
    ends = pilot.record.step[1:]

    def at(step: int) -> np.ndarray:  # a window is one number: that of its end
        return np.array([np.interp(step, ends, one) for one in course.T])

    start = np.maximum(at(int(record.step[-1])), TINY)
    return scalar_law(early, lambda step: (at(step) / start)[record.layer])


def same_as_pilot(early: Run, pilot: Run | None = None) -> Prediction:
    """Every layer loses the share that it lost in the pilot; each filter is as likely.

    Raises
    ------
    ValueError
        If there is no pilot, or it is of another network.
    """
    pilot = _same_network(early, pilot)
    layer = early.record.layer
    gone, fell = dead(pilot.record), collapse_step(pilot.record)
    p = layer_means(gone.astype(float), layer)[layer]
    t = np.full(len(p), np.inf)
    for number in np.unique(layer):
        here = gone & (layer == number)
        if here.any():
            t[layer == number] = np.median(fell[here])
    return of_probabilities(p, layer, score=None, t=t)


BASELINES: dict[str, Callable[[Run, Run | None], Prediction]] = {
    "abs_gamma": abs_gamma,
    "linear_drift": linear_drift,
    "frozen_sigma": frozen_sigma,
    "pilot_sigma": pilot_sigma,
    "same_as_pilot": same_as_pilot,
}
NEED_PILOT = ("pilot_sigma", "same_as_pilot")


def _same_network(early: Run, pilot: Run | None) -> Run:
    if pilot is None:
        raise ValueError("this baseline needs a pilot: a finished run of the same network.")
    if not np.array_equal(pilot.record.layer, early.record.layer):
        raise ValueError(
            "the pilot must have the run's network: as many filters in every layer "
            f"({np.bincount(early.record.layer).tolist()}), "
            f"not {np.bincount(pilot.record.layer).tolist()}."
        )
    return pilot


# A path of |gamma| --------------------------------------------------------------------------------


def grid_of(early: Run) -> np.ndarray:
    """Steps from the end of the record to that of the run, INTERVALS + 1 at most."""
    first = int(early.record.step[-1])
    return np.unique(np.linspace(first, early.steps, INTERVALS + 1).round().astype(int))


def scalar_law(early: Run, course: Callable[[int], np.ndarray]) -> Prediction:
    r"""|gamma| under the rule and its regulariser alone, the loss being noise of mean 0.

    d gamma = - lr_t P lambda gamma per step under `l2`, P the rule's gain at noise sigma_j times
    ``course(step)``; `wd` and `adamw` shrink whatever the noise is.
    """
    log, grid = law_path(early, course)
    levels = (np.log(COLLAPSED), np.log(DEAD))
    return of_path(log, grid, early.record.layer, levels=levels, score=-log[-1])


def law_path(early: Run, course: Callable[[int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """ln |gamma| of `scalar_law` at steps, shapes (G, n) and (G,)."""
    rule, lam, record = early.rule, early.lam, early.record
    time, grid, noise = effective(early), grid_of(early), sigma(early)
    log = np.log(np.maximum(size_now(record), TINY))
    path, memory = [log], None
    for start, end in pairwise(grid.tolist()):
        passed = time[end] - time[start]
        if early.reg != "l2":
            log = log - passed * (early.lam if early.reg == "wd" else early.lam * rule.lr)
        else:
            v = (noise * course(start)) ** 2 + (lam * np.exp(log)) ** 2
            if memory is None:
                known = mean_square(record, "gamma") + (lam * record.gamma[1:]) ** 2
                memory = preconditioner.begin(rule, known, record.window, v)
            memory = preconditioner.advance(rule, memory, v, end - start)
            log = log - passed * rule.lr * lam * preconditioner.gain(
                rule, memory, lam * np.exp(log)
            )
        path.append(log)
    return np.array(path), grid


def of_path(
    path: np.ndarray, grid: np.ndarray, layer: np.ndarray, *,
    levels: tuple[float, float] = (COLLAPSED, DEAD), **rest: Any,
) -> Prediction:  # fmt: skip
    """The fate that a path, shape (G, n), gives each filter: certain, so p is 0 or 1.

    The path is of |gamma|, or of what grows with it; `levels` are those of collapse and death. It
    is a line between steps of the grid.
    """
    collapsed, gone = levels
    below = path < collapsed
    i, n = np.maximum(np.argmax(below, axis=0), 1), np.arange(path.shape[1])
    above, under = path[i - 1, n], path[i, n]
    part = np.clip((above - collapsed) / np.maximum(above - under, TINY), 0.0, 1.0)
    t = np.where(below.any(axis=0), grid[i - 1] + part * (grid[i] - grid[i - 1]), np.inf)
    return of_probabilities((path[-1] < gone).astype(float), layer, t=t, **rest)
