r"""What of a run's sparsity is due to what: its gradients replayed with some of it left out.

It tells causes apart, and does not say what another network would do: `regdyn.counterfactual`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np

from regdyn import random
from regdyn.checks import integer, numbers
from regdyn.counterfactual import FACTORS, SPAN, noise, replayed, signal
from regdyn.filters.record import DEAD, Record, Run, dead
from regdyn.ledger import SILENT

if TYPE_CHECKING:
    import xarray as xr

BLOCK = 2**22  # entries of a tape at a time


def decompose(
    run: Run,
    *,
    seeds: Iterable[int] = (0, 1, 2),
    span: int = SPAN,
    silence: int = SILENT,
    tape: Any = None,
    progress: Callable[[float], Any] = lambda steps: None,
) -> "xr.Dataset":
    r"""Share of filters that are dead at the end, with and without each factor.

    Every combination of `counterfactual.FACTORS` is replayed, from the run's first gamma.

    Parameters
    ----------
    run : Run
        Finished.
    seeds : iterable of int
        Of the normals; each gives a replay of every case.
    span : int
        Steps over which a mean is slow: push or hold, and not noise.
    silence : int
        Steps without gradient, up to the end, from which on a filter is silent for good
        (`regdyn.ledger`).
    tape : array_like, shape (steps, n), optional
        The gradient of gamma in every step. Without it, it is drawn: `counterfactual.noise`.
    progress : callable
        Told how many of ``steps * n * seeds`` have been done since it was last.

    Returns
    -------
    xarray.Dataset
        Dimensions case, factor, effect, seed, layer (the last is 'all'):

        share
            Percent that is dead (case, seed, layer). A case names the factors that are there, such
            as 'noise+push'; 'decay' has none.
        time
            Of the filters that are dead in the run: median first step with abs(gamma) < 1e-2, NaN
            where fewer than half get there (case, seed, layer).
        measured
            Percent that is dead in the run (layer).
        agreement
            Percent of filters with the fate that they had, all factors there (seed, layer).
        change
            Of the share, in percent points (effect, factor, seed, layer). 'removed': all factors
            less all but this one. 'added': this one less none. 'shapley': the mean over all orders
            in which factors can be added to none; these sum up to all less none.

    Raises
    ------
    ValueError
        If the record ends before the run, there is no seed, or the tape does not fit.
    """
    import xarray as xr

    record, seeds = run.record, [random.check_seed(seed) for seed in seeds]
    if not seeds:
        raise ValueError("seeds is empty: give at least one.")
    if record.step[-1] != run.steps:
        last = f"{record.step[-1]} of {run.steps}"
        raise ValueError(f"the run must be finished, and its record ends after {last} steps.")
    span, silence = integer("span", span, 1), integer("silence", silence, 1)
    values = None if tape is None else _checked(tape, record)
    cases = [frozenset(some) for k in range(5) for some in combinations(FACTORS, k)]
    end, passed = (np.empty((len(cases), len(seeds), record.filters)) for _ in range(2))
    size = max(1, BLOCK // run.steps)
    for first in range(0, record.filters, size):
        some = slice(first, first + size)
        part = run._replace(record=_of_filters(record, some))
        slow = signal(part.record, span=span)
        taped = None if values is None else values[:, some]
        for row, seed in enumerate(seeds):
            rest = noise(
                part.record, slow, seed, span=span, silence=silence, tape=taped, first=first
            )
            found = replayed(part, cases, slow, rest)
            end[:, row, some], passed[:, row, some] = found
            progress(run.steps * part.record.filters)
    gone = np.abs(end) < DEAD
    shares = _by_layer(100.0 * gone, record, np.mean)
    value = dict(zip(cases, shares, strict=True))
    every, none = frozenset(FACTORS), frozenset[str]()
    removed = [value[every] - value[every - {one}] for one in FACTORS]
    added = [value[frozenset({one})] - value[none] for one in FACTORS]
    change = np.array([removed, added, shapley(value, FACTORS)])
    fate = dead(record)
    late = _by_layer(np.where(fate, passed, np.nan), record, _median)
    percent, points = {"units": "percent"}, {"units": "percent points"}
    return xr.Dataset(
        {
            "share": (("case", "seed", "layer"), shares, percent),
            "time": (("case", "seed", "layer"), late, {"units": "step"}),
            "measured": ("layer", _by_layer(100.0 * fate, record, np.mean), percent),
            "agreement": (
                ("seed", "layer"), _by_layer(100.0 * (gone[-1] == fate), record, np.mean), percent,
            ),
            "change": (("effect", "factor", "seed", "layer"), change, points),
        },
        {
            "case": ["+".join(f for f in FACTORS if f in case) or "decay" for case in cases],
            "factor": list(FACTORS),
            "effect": ["removed", "added", "shapley"],
            "seed": [str(seed) for seed in seeds],  # 64 bits
            "layer": [*record.names, "all"],
        },
        {"span": span, "silence": silence, "tape": int(tape is not None)},
    )  # fmt: skip


def shapley(
    values: Mapping[frozenset[str], np.ndarray], factors: Sequence[str]
) -> list[np.ndarray]:
    r"""What each factor adds, on average over all orders in which they can be added.

    Notes
    -----
    Formula: :math:`\phi_f = \sum_{S \not\ni f} |S|! (k - |S| - 1)! / k! \, (v(S \cup f) - v(S))`.

    Source: Shapley, "A value for n-person games", 1953.
    """
    found, k = [], len(factors)
    for one in factors:
        rest = [other for other in factors if other != one]
        total = np.zeros_like(values[frozenset()])
        for size in range(k):
            weight = factorial(size) * factorial(k - size - 1) / factorial(k)
            for some in map(frozenset, combinations(rest, size)):
                total = total + weight * (values[some | {one}] - values[some])
        found.append(total)
    return found


# Parts -------------------------------------------------------------------------------------------


def _checked(tape: Any, record: Record) -> np.ndarray:
    values, shape = numbers("tape", tape), (int(record.step[-1]), record.filters)
    if values.shape != shape:
        raise ValueError(f"tape must have the shape {shape}, not {values.shape}.")
    return values


def _of_filters(record: Record, some: slice) -> Record:
    """The record of some filters."""
    whole = ("step", "names")
    return record._replace(
        **{name: x[..., some] for name, x in record._asdict().items() if name not in whole}
    )


def _by_layer(values: np.ndarray, record: Record, mean: Callable) -> np.ndarray:
    """`mean` over the filters of each layer, and over all: shape (..., L + 1)."""
    layers = [values[..., record.layer == i] for i in range(len(record.names))]
    return np.stack([mean(x, axis=-1) for x in (*layers, values)], axis=-1)


def _median(values: np.ndarray, axis: int) -> np.ndarray:
    """Of what is not NaN; NaN if there is nothing, or it is not finite."""
    known = values[..., ~np.isnan(values).all(axis=tuple(range(values.ndim - 1)))]
    if not known.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    found = np.median(known, axis=axis)
    return np.where(np.isfinite(found), found, np.nan)
