r"""Scores of forecasts over many runs, with intervals: `row` of one run, `bootstrap` of many.

A forecast and what came of it are a `Case`. Every score of `STATISTICS` takes a list of cases.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from regdyn import scores
from regdyn.checks import choose, integer
from regdyn.scores import Outcome, Prediction

FILTERS, LAYERS, RUNS = "filters", "layers", "runs"
LEVEL = (10.0, 90.0)  # percentiles of an interval: 80 %, as those of the forecasts


class Case(NamedTuple):
    """A forecast of one run, and what came of it."""

    said: Prediction
    true: Outcome


class Statistic(NamedTuple):
    """A score of many runs.

    Attributes
    ----------
    of : callable
        List of `Case` to float; NaN if there is nothing to score.
    unit : {'filters', 'layers', 'runs'}
        What is drawn anew, within each run that is drawn, for an interval.
    """

    of: Callable[[Sequence[Case]], float]
    unit: str


class Interval(NamedTuple):
    """A score, and its 10 and 90 % percentiles over bootstrap samples."""

    value: float
    lo: float
    hi: float


def row(case: Case) -> dict[str, Any]:
    """All scores of one run; None where the method says nothing or there is nothing to score.

    Keys: n_dead, filters, total_true, total_said, ece_floor, and those of `STATISTICS`. Shares and
    their errors are percent, except ece.
    """
    said, true = case
    found: dict[str, Any] = {"n_dead": int(true.dead.sum()), "filters": len(true.dead)}
    found |= {"total_true": true.total, "total_said": said.total}
    found |= {name: statistic.of([case]) for name, statistic in STATISTICS.items()}
    floor = None if said.p is None else scores.calibration(said.p, true.dead).floor
    found |= {"ece_floor": floor}
    return {name: _known(value) for name, value in found.items()}


def bootstrap(
    cases: Sequence[Case], rng: np.random.Generator, *, names: Iterable[str] = (), draws: int = 200
) -> dict[str, Interval]:
    """Scores over many runs, with intervals for other runs and other filters.

    Runs are drawn with replacement, then, within each, filters of the same layer (or layers, where
    the score is of layers). With one run the interval is that of its filters.

    Parameters
    ----------
    cases : sequence of Case
        One for each run.
    rng : numpy.random.Generator
    names : iterable of str
        Scores of `STATISTICS`; by default all.
    draws : int

    Raises
    ------
    ValueError
        If there is no case, or no such score.
    """
    chosen = [choose("score", name, STATISTICS) for name in names] or list(STATISTICS)
    integer("draws", draws, 1)
    if not cases:
        raise ValueError("a score needs at least one run.")
    drawn: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(draws):
        runs = [cases[i] for i in rng.integers(len(cases), size=len(cases))]
        again = {FILTERS: [_other_filters(one, rng) for one in runs], RUNS: runs}
        again[LAYERS] = [_other_layers(one, rng) for one in runs]
        for name, values in drawn.items():
            values.append(STATISTICS[name].of(again[STATISTICS[name].unit]))
    return {name: _interval(STATISTICS[name].of(cases), values) for name, values in drawn.items()}


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    kept = [x for x in drawn if not np.isnan(x)]
    if np.isnan(value) or not kept:
        return Interval(value, np.nan, np.nan)
    # by rank: a median time may be infinite
    lo, hi = np.percentile(kept, LEVEL, method="nearest")
    return Interval(value, float(lo), float(hi))


def _known(value: Any) -> Any:
    """None for NaN."""
    return None if isinstance(value, float) and np.isnan(value) else value


# Drawing anew -----------------------------------------------------------------------------------


def _other_filters(case: Case, rng: np.random.Generator) -> Case:
    """As many filters of every layer, drawn with replacement."""
    layer = case.true.layer
    order, size = np.argsort(layer, kind="stable"), np.bincount(layer)
    of = layer[order]
    drawn = (np.cumsum(size) - size)[of] + (rng.random(len(of)) * size[of]).astype(int)
    return _filters(case, order[drawn])


def _other_layers(case: Case, rng: np.random.Generator) -> Case:
    """As many layers, drawn with replacement, with all their filters."""
    layer = case.true.layer
    count = int(layer.max()) + 1
    drawn = rng.integers(count, size=count)
    members = [np.flatnonzero(layer == number) for number in drawn]
    said, true = _filters(case, np.concatenate(members))
    new = np.repeat(np.arange(count), [len(some) for some in members])
    by_layer = {name: _picked(getattr(said, name), drawn) for name in BY_LAYER}
    return Case(said._replace(**by_layer), true._replace(layer=new))


def _filters(case: Case, chosen: np.ndarray) -> Case:
    """The case with these filters."""
    said, true = case
    by_filter = {name: _picked(getattr(said, name), chosen) for name in BY_FILTER}
    true = true._replace(dead=true.dead[chosen], t=true.t[chosen], layer=true.layer[chosen])
    return Case(said._replace(**by_filter), true)


def _picked(values: np.ndarray | None, chosen: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[chosen]


# The scores -------------------------------------------------------------------------------------


def _mean_over_runs(of: Callable[[Prediction, Outcome], float]) -> Callable:
    """Mean over the runs that have the score."""

    def mean(cases: Sequence[Case]) -> float:
        found = [value for value in (of(*case) for case in cases) if not np.isnan(value)]
        return float(np.mean(found)) if found else np.nan

    return mean


def _pooled(needs: str, of: Callable[..., float]) -> Callable:
    """The score of all filters of all runs together, where the method says `needs` of them."""

    def score(cases: Sequence[Case]) -> float:
        cases = [case for case in cases if getattr(case.said, needs) is not None]
        if not cases:
            return np.nan
        said = np.concatenate([getattr(case.said, needs) for case in cases])
        return of(said, cases)

    return score


def _auc(said: Prediction, true: Outcome) -> float:
    return np.nan if said.score is None else scores.auc(said.score, true.dead, true.layer)


def _share(said: Prediction, true: Outcome) -> float:
    shares = said.layer_share
    return np.nan if shares is None else scores.share_error(shares, true.layer_share)


def _total(said: Prediction, true: Outcome) -> float:
    return np.nan if said.total is None else abs(said.total - true.total)


def _coverage(said: Prediction, true: Outcome) -> float:
    if said.layer_lo is None or said.layer_hi is None:
        return np.nan
    return scores.covered(said.layer_lo, said.layer_hi, true.layer_share)


def _total_covered(said: Prediction, true: Outcome) -> float:
    if said.lo is None or said.hi is None:
        return np.nan
    return 100.0 * (said.lo <= true.total <= said.hi)


def _dead(cases: Iterable[Case]) -> np.ndarray:
    return np.concatenate([case.true.dead for case in cases])


def _ece(p: np.ndarray, cases: Sequence[Case]) -> float:
    return scores.calibration(p, _dead(cases)).error


def _false_deaths(p: np.ndarray, cases: Sequence[Case]) -> float:
    return scores.false_deaths(p, _dead(cases))


def _time(entry: int, remaining: bool) -> Callable:
    """Median (entry 0), or percent within x1.25 (1), of forecast over true collapse time."""

    def score(t: np.ndarray, cases: Sequence[Case]) -> float:
        at = np.concatenate([np.full(len(case.true.t), case.true.at) for case in cases])
        true = np.concatenate([case.true.t for case in cases])
        return scores.time_ratio(t, true, _dead(cases), at, remaining=remaining)[entry]

    return score


BY_FILTER = ("score", "p", "t")
BY_LAYER = ("layer_share", "layer_lo", "layer_hi")
STATISTICS = {
    "auc": Statistic(_mean_over_runs(_auc), FILTERS),
    "share_mae": Statistic(_mean_over_runs(_share), LAYERS),
    "total_error": Statistic(_mean_over_runs(_total), RUNS),
    "coverage": Statistic(_mean_over_runs(_coverage), LAYERS),
    "total_covered": Statistic(_mean_over_runs(_total_covered), RUNS),
    "ece": Statistic(_pooled("p", _ece), FILTERS),
    "false_deaths": Statistic(_pooled("p", _false_deaths), FILTERS),
    "time_ratio": Statistic(_pooled("t", _time(0, False)), FILTERS),
    "within_1_25": Statistic(_pooled("t", _time(1, False)), FILTERS),
    "remaining_ratio": Statistic(_pooled("t", _time(0, True)), FILTERS),
    "remaining_within_1_25": Statistic(_pooled("t", _time(1, True)), FILTERS),
}
"""Mean over runs, or of all filters of all runs together (ece, false_deaths, times)."""
