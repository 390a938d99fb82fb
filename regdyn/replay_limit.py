r"""How far the death of filters can be foreseen at all: runs from one start, in another order.

The runs have the same weights and the same state of the optimizer at step `at`, and from there on
other orders of the images. What differs between their ends was not decided at that step, so that
no forecast made there can foretell it.
"""

from collections.abc import Iterable
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np

from regdyn.checks import finite, numbers
from regdyn.filters.record import DEAD, Record, collapse_step
from regdyn.scores import auc, layer_means, time_ratio

SUBSETS = 200  # sets of K runs that are tried, per run that they predict


class Ends(NamedTuple):
    """How R runs ended; n filters.

    Attributes
    ----------
    gamma : ndarray, shape (R, n)
        abs(gamma) at the end.
    collapse : ndarray, shape (R, n)
        Step of the collapse; inf if there was none.
    layer : ndarray of int, shape (n,)
        From 0.
    at : int
        Step up to which the runs are one.
    """

    gamma: np.ndarray
    collapse: np.ndarray
    layer: np.ndarray
    at: int

    @property
    def dead(self) -> np.ndarray:
        """abs(gamma) < 1e-3, shape (R, n)."""
        return self.gamma < DEAD

    def without(self, run: int) -> "Ends":
        """All but one."""
        gamma, collapse = (np.delete(x, run, axis=0) for x in (self.gamma, self.collapse))
        return self._replace(gamma=gamma, collapse=collapse)


class Limit(NamedTuple):
    """How far R runs agree. Shares are percent; NaN where there is nothing to count.

    Attributes
    ----------
    jaccard : float
        Mean over pairs of \\|both dead\\| / \\|one dead\\|.
    mixed : float
        Share of filters that are dead in some runs and alive in others; grows with R.
    differ : float
        Share of filters that differ between two runs, mean over pairs.
    auc : ndarray, shape (R - 1,)
        AUC within layers of one run's deaths from K = 1 ... R - 1 others: see `auc_from`.
    auc_limit, auc_error : float
        Its limit for many runs, and the standard error (jackknife over runs; from 4 runs
        on), rather too large.
    layer_error, total_error : float
        Mean over pairs of the difference of the dead share: mean over layers; of all filters.
    within, within_remaining : float
        Share of the collapse times of dead filters that another run foretells to x1.25, counted
        from step 0 and from `at` (`scores.time_ratio`: wrong where the other does not collapse).
    within_rest, within_remaining_rest : float
        The same, foretold by the median of all other runs.
    within_both, within_remaining_both : float
        The same for pairs, of filters that are dead in both.
    """

    jaccard: float
    mixed: float
    differ: float
    auc: np.ndarray
    auc_limit: float
    auc_error: float
    layer_error: float
    total_error: float
    within: float
    within_remaining: float
    within_rest: float
    within_remaining_rest: float
    within_both: float
    within_remaining_both: float


def ends(records: Iterable[Record], at: int) -> Ends:
    """How the runs ended whose records are given.

    Raises
    ------
    ValueError
        If there are fewer than two, or they do not have the same filters and steps, or one ends
        at `at`.
    """
    found = list(records)
    if len(found) < 2:
        raise ValueError(f"at least 2 runs are needed to compare, not {len(found)}.")
    for other in found[1:]:
        same = np.array_equal(other.layer, found[0].layer)
        if not same or other.step[-1] != found[0].step[-1]:
            raise ValueError("the runs must have the same layers and the same number of steps.")
    at = int(finite("at", at, 0, int(found[0].step[-1]), open_above=True))
    gamma = np.abs([record.gamma[-1] for record in found])
    return Ends(gamma, np.array([collapse_step(r) for r in found]), found[0].layer, at)


def limit(runs: Ends) -> Limit:
    r"""Agreement of all runs with each other.

    Notes
    -----
    Formula: the score of K runs is the mean of :math:`-\log\max(|\gamma|, 10^{-3})` at their ends;
    the AUC for many runs is a of the least squares fit a - b / K over K = 1 ... R - 1, at most 1.
    """
    dead, count = runs.dead, len(runs.gamma)
    pairs = list(combinations(range(count), 2))
    shares = np.array([layer_means(100.0 * d, runs.layer) for d in dead])
    aucs = np.array([auc_from(runs, k) for k in range(1, count)])
    return Limit(
        jaccard=_mean([_jaccard(dead[i], dead[j]) for i, j in pairs]),
        mixed=100.0 * float(np.mean(dead.any(axis=0) & ~dead.all(axis=0))),
        differ=100.0 * _mean([np.mean(dead[i] != dead[j]) for i, j in pairs]),
        auc=aucs,
        auc_limit=extrapolated(aucs),
        auc_error=_jackknife(runs),
        layer_error=_mean([np.mean(np.abs(shares[i] - shares[j])) for i, j in pairs]),
        total_error=_mean([100 * abs(dead[i].mean() - dead[j].mean()) for i, j in pairs]),
        **_times(runs),
    )


def auc_from(runs: Ends, others: int) -> float:
    """AUC within layers of one run's deaths, foretold by the ends of `others` other runs.

    The mean over runs, and over at most 200 sets of others for each; NaN if no layer has 3 dead
    and 3 living filters.
    """
    score = -np.log(np.maximum(runs.gamma, DEAD))
    found = []
    for target in range(len(score)):
        rest = [k for k in range(len(score)) if k != target]
        for some in islice(combinations(rest, others), SUBSETS):
            mean = score[list(some)].mean(axis=0)
            found.append(auc(mean, runs.dead[target], runs.layer))
    return _mean(found)


def extrapolated(aucs: Any) -> float:
    """a of the fit a - b / K to the AUCs from K = 1, 2, ... runs, at most 1; NaN for fewer than 2.

    Raises
    ------
    ValueError
        If they are not numbers in one dimension; NaN is allowed.
    """
    values = np.asarray(aucs, dtype=float)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("aucs must be numbers, for K = 1, 2, ... runs.")
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.nan
    k = 1.0 + np.flatnonzero(known)
    line = np.stack([np.ones_like(k), -1.0 / k], axis=1)
    (a, _), *_ = np.linalg.lstsq(line, numbers("aucs", values[known]), rcond=None)
    return min(float(a), 1.0)


def _jackknife(runs: Ends) -> float:
    """Standard error of the limit: how it changes if a run is left out."""
    count = len(runs.gamma)
    if count < 4:  # a fit to what is left needs K = 1 and 2
        return np.nan
    some = (runs.without(j) for j in range(count))
    left = [extrapolated([auc_from(one, k) for k in range(1, count - 1)]) for one in some]
    return float(np.sqrt((count - 1) * np.var(left)))


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Two runs in which nothing died agree."""
    either = np.sum(one | other)
    return float(np.sum(one & other) / either) if either else 1.0


def _times(runs: Ends) -> dict[str, float]:
    """The entries of `Limit` that begin with `within`."""
    count = range(len(runs.gamma))
    found = {}
    for name, remaining in (("within", False), ("within_remaining", True)):

        def score(t: np.ndarray, target: int, some: Any = True, remaining=remaining) -> float:
            dead = runs.dead[target] & some
            return time_ratio(t, runs.collapse[target], dead, runs.at, remaining=remaining).within

        pairs = [(i, j) for i in count for j in count if i != j]
        middle = [np.median(runs.without(j).collapse, axis=0) for j in count]
        found[name] = _mean([score(runs.collapse[i], j) for i, j in pairs])
        found[f"{name}_rest"] = _mean([score(middle[j], j) for j in count])
        found[f"{name}_both"] = _mean([score(runs.collapse[i], j, runs.dead[i]) for i, j in pairs])
    return found


def _mean(values: Any) -> float:
    """Of those that are numbers."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else np.nan
