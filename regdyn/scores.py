r"""How good a forecast of filter death was: ranks, probabilities, shares and times.

A method says what it can of n filters in L layers (`Prediction`), the finished run says what came
of them (`Outcome`); a score takes plain arrays of these. `regdyn.scoring` scores runs with them.
"""

from typing import Any, NamedTuple

import numpy as np

from regdyn.checks import integer, shown
from regdyn.filters.record import Record, collapse_step, dead

LEAST = 3
"""Dead filters, and living ones, that a layer needs to have an AUC."""
NEAR = 1.25
"""A time is right if it is off by less than this factor."""


class Prediction(NamedTuple):
    """What a method says; None where it says nothing. Shares are percent, steps count from 0.

    Attributes
    ----------
    score : ndarray, shape (n,)
        The larger, the more likely the filter dies; only the order counts.
    p : ndarray, shape (n,)
        Probability that the filter is dead at the end of the run.
    t : ndarray, shape (n,)
        Step of its collapse; inf if it does not collapse before the end.
    layer_share, layer_lo, layer_hi : ndarray, shape (L,)
        Share of each layer that is dead at the end, and its 80 % interval.
    total, lo, hi : float
        The same of all filters.
    """

    score: np.ndarray | None = None
    p: np.ndarray | None = None
    t: np.ndarray | None = None
    layer_share: np.ndarray | None = None
    layer_lo: np.ndarray | None = None
    layer_hi: np.ndarray | None = None
    total: float | None = None
    lo: float | None = None
    hi: float | None = None


class Outcome(NamedTuple):
    """What came of the n filters of a run.

    Attributes
    ----------
    dead : ndarray of bool, shape (n,)
        Whether |gamma| < 1e-3 at the end.
    t : ndarray, shape (n,)
        Step of the collapse, inf if there was none.
    layer : ndarray of int, shape (n,)
        From 0.
    at : int
        Step of the forecast.
    """

    dead: np.ndarray
    t: np.ndarray
    layer: np.ndarray
    at: int

    @property
    def layer_share(self) -> np.ndarray:
        """Percent of each layer that is dead, shape (L,)."""
        return layer_means(100.0 * self.dead, self.layer)

    @property
    def total(self) -> float:
        """Percent of all filters that are dead."""
        return 100.0 * float(self.dead.mean())


def outcome(record: Record, at: int) -> Outcome:
    """What came of the filters of a finished run that was forecast at step `at`."""
    last = int(record.step[-1])
    at = integer("at", at, 0, last)
    return Outcome(dead(record), collapse_step(record), record.layer, at)


def of_probabilities(p: np.ndarray, layer: np.ndarray, **rest: Any) -> Prediction:
    """A prediction whose shares are the means of its probabilities; `rest` are other entries."""
    share = layer_means(100.0 * p, layer)
    said = Prediction(score=p, p=p, layer_share=share, total=100.0 * float(np.mean(p)))
    return said._replace(**rest)


def layer_means(values: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Mean over the filters of each layer, shape (L,)."""
    return np.bincount(layer, weights=values) / np.bincount(layer)


# Scores of arrays ------------------------------------------------------------------------------


def auc(score: np.ndarray, dead: np.ndarray, layer: np.ndarray, *, least: int = LEAST) -> float:
    r"""Mean over layers of the chance that a dead filter has a larger score than a living one.

    Equal scores count one half. Ranks within a layer only: that a layer dies as a whole is scored
    by `share_error`.

    Parameters
    ----------
    score, dead, layer : ndarray, shape (n,)
    least : int
        A layer with fewer dead or fewer living filters does not count.

    Returns
    -------
    float
        0.5 is chance; NaN if no layer counts.

    Raises
    ------
    ValueError
        If the shapes differ or a score is NaN.

    Notes
    -----
    Formula: Mann-Whitney's U / (n_dead n_alive), per layer.
    """
    score, dead, layer = _alike(score=score, dead=dead, layer=layer)
    integer("least", least, 1)
    dead = dead.astype(bool)
    if np.isnan(score).any():
        raise ValueError("score must have no NaN: inf is allowed.")
    found = []
    for number in np.unique(layer):
        here = layer == number
        gone, alive = score[here & dead], np.sort(score[here & ~dead])
        if min(len(gone), len(alive)) >= least:
            below = np.searchsorted(alive, gone, "left") + np.searchsorted(alive, gone, "right")
            found.append(below.mean() / (2 * len(alive)))
    return float(np.mean(found)) if found else np.nan


class Calibration(NamedTuple):
    """Reliability of probabilities, by bin.

    Attributes
    ----------
    p, share : ndarray, shape (bins,)
        Mean probability, and the share that died.
    count : ndarray of int, shape (bins,)
    error : float
        Expected calibration error: mean over filters of abs(share - p) of their bin.
    floor : float
        What `error` would be on average if every probability were right and filters independent.
    """

    p: np.ndarray
    share: np.ndarray
    count: np.ndarray
    error: float
    floor: float


def calibration(p: np.ndarray, dead: np.ndarray, *, bins: int = 10) -> Calibration:
    r"""Expected calibration error and the table of the reliability diagram.

    Bins hold equally many filters, except that equal probabilities stay together (there may be
    fewer bins then). Bins of equal width would put most filters into the two at 0 and 1, in which
    errors of either sign cancel, and leave few to the rest.

    Parameters
    ----------
    p, dead : ndarray, shape (n,)
    bins : int

    Raises
    ------
    ValueError
        If the shapes differ or a probability lies outside [0, 1].

    Notes
    -----
    Formula: error = sum_b n_b / n |share_b - p_b|; floor puts sqrt(2 / pi sum p (1 - p)) / n_b for
    the absolute value, as of a normal variable. Few filters make `error` large also where the
    probabilities are right: pool runs before you judge it.

    Source: Naeini, Cooper, Hauskrecht (2015); Guo et al. (2017) with bins of equal width.
    """
    p, dead = _alike(p=p, dead=dead)
    integer("bins", bins, 1)
    if p.size == 0 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p must be probabilities from 0 to 1, not {shown(p.tolist())}.")
    edges = np.sort(p)[np.arange(1, bins) * p.size // bins]
    which = np.unique(np.searchsorted(edges, p, side="right"), return_inverse=True)[1]
    count = np.bincount(which)
    mean, share = (np.bincount(which, weights=x) / count for x in (p, dead.astype(float)))
    spread = np.sqrt(2 / np.pi * np.bincount(which, weights=p * (1 - p)))
    error = float(np.sum(count * np.abs(share - mean)) / p.size)
    return Calibration(mean, share, count, error, float(spread.sum() / p.size))


class TimeRatio(NamedTuple):
    """Forecast time over true time: median, percent within x1.25, number of filters."""

    median: float
    within: float
    count: int


def time_ratio(
    t: np.ndarray, true: np.ndarray, dead: np.ndarray, at: Any, *, remaining: bool = False
) -> TimeRatio:
    """Forecast over true collapse time, of the filters that died and had not collapsed at `at`.

    Parameters
    ----------
    t, true : ndarray, shape (n,)
        Forecast and true step of collapse; one that is forecast never (inf) is off by more than
        any factor.
    dead : ndarray, shape (n,)
    at : int or ndarray, shape (n,)
        Step of the forecast.
    remaining : bool
        Count from the step of the forecast instead of from 0.

    Returns
    -------
    TimeRatio
        NaN if there is no such filter.
    """
    t, true, dead = _alike(t=t, true=true, dead=dead)
    some = dead.astype(bool) & np.isfinite(true) & (true > at)
    if not some.any():
        return TimeRatio(np.nan, np.nan, 0)
    start = np.broadcast_to(np.asarray(at) if remaining else 0, t.shape)[some]
    ratio = np.maximum(t[some] - start, 0) / (true[some] - start)
    within = (ratio > 1 / NEAR) & (ratio < NEAR)
    return TimeRatio(float(np.median(ratio)), 100.0 * float(within.mean()), int(some.sum()))


def share_error(said: np.ndarray, true: np.ndarray) -> float:
    """Mean over layers of abs(said - true), in percent points; shapes (L,)."""
    said, true = _alike(said=said, true=true)
    return float(np.mean(np.abs(said - true)))


def covered(lo: np.ndarray, hi: np.ndarray, true: np.ndarray) -> float:
    """Percent of layers whose true share lies in [lo, hi]; shapes (L,)."""
    lo, hi, true = _alike(lo=lo, hi=hi, true=true)
    return 100.0 * float(np.mean((lo <= true) & (true <= hi)))


def false_deaths(p: np.ndarray, dead: np.ndarray) -> float:
    """Percent of the filters that live that were forecast to die (p > 1/2); NaN if none lives."""
    p, dead = _alike(p=p, dead=dead)
    alive = ~dead.astype(bool)
    return 100.0 * float(np.mean(p[alive] > 0.5)) if alive.any() else np.nan


def _alike(**arrays: Any) -> list[np.ndarray]:
    """The arrays, if they are of one dimension and one length."""
    found = {name: np.asarray(values) for name, values in arrays.items()}
    first = next(iter(found.values()))
    for name, values in found.items():
        if values.ndim != 1 or values.shape != first.shape:
            sizes = ", ".join(f"{name} {values.shape}" for name, values in found.items())
            raise ValueError(f"arrays of one dimension and length are needed, not {sizes}.")
    return list(found.values())
