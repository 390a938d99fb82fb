r"""What a check is: one comparison of recorded runs, and when it counts as shown.

Said once, for all:

* A **difference** is shown if Student's t-test (pooled variance) rejects its absence, one-sided,
  at `LEVEL`; its opposite, if the same test rejects it the other way. That two numbers are **the
  same** is shown if two such tests reject that they differ by more than a margin (TOST). A pooled
  standard deviation below the measure's floor counts as the floor: equal runs do not prove that
  there is no noise. Else it is **undecided**.
* A **limit** is a rule without a test: shown if every single run is on its side, the opposite if
  every one is on the other.
* Errors are **comparable** if their means differ by no more than 1 point or one standard deviation,
  whichever is larger.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from figures.claims.recorded import ERROR, GAMMA, Measure, Recorded, Unknown

__all__ = ["LEVEL", "Check", "Outcome", "at_least", "at_most", "best", "comparable", "differ",
           "given", "more", "rises", "same"]  # fmt: skip

LEVEL = 0.01
LEAST_RUNS = 3
POINT = 1.0


@dataclass(frozen=True)
class Outcome:
    """What a check gave.

    Attributes
    ----------
    holds : bool or None
        Whether it is shown; None: it could not be done, and `text` says why.
    text : str
        What was compared, with means and standard deviations.
    p : float or None
        Of the test; None where the check is a rule without one.
    against : bool
        Whether the opposite is shown.
    means, sds : tuple of float
    n : int
        Runs of the smallest group.
    names : tuple of str
        Experiments.
    """

    holds: bool | None
    text: str
    p: float | None = None
    against: bool = False
    means: tuple[float, ...] = ()
    sds: tuple[float, ...] = ()
    n: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A measure on the runs of an experiment."""

    name: str
    values: np.ndarray
    floor: float

    @property
    def mean(self) -> float:
        """Over the runs."""
        return float(np.mean(self.values))

    @property
    def sd(self) -> float:
        """Standard deviation, divisor n - 1; NaN of one run."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else float("nan")

    def __str__(self) -> str:
        return f"{self.name} {self.mean:.3g} ± {self.sd:.2g} (n {len(self.values)})"


@dataclass(frozen=True)
class Check:
    """A comparison: `made` does it, `about` says it in words."""

    about: str
    made: Callable[[Recorded], Outcome] = field(repr=False)

    def __call__(self, runs: Recorded) -> Outcome:
        try:
            return self.made(runs)
        except Unknown as missing:
            return Outcome(None, f"{missing}")


def _group(runs: Recorded, name: str, what: Measure) -> Group:
    values = what.of(runs, name)
    if len(values) < LEAST_RUNS:
        raise Unknown(f"{len(values)} runs of {name}, and {LEAST_RUNS} are needed")
    return Group(name, values, what.floor)


def _p_above(difference: float, one: Group, other: Group) -> float:
    """One-sided p of Student's test that the difference of their means is 0."""
    from scipy import stats

    a, b = len(one.values), len(other.values)
    pooled = ((a - 1) * one.sd**2 + (b - 1) * other.sd**2) / (a + b - 2)
    sd = max(np.sqrt(pooled), one.floor)
    return float(stats.t.sf(difference / (sd * np.sqrt(1 / a + 1 / b)), a + b - 2))


def _outcome(p: float, p_other: float, text: str, *groups: Group) -> Outcome:
    return Outcome(
        p < LEVEL, text, p, p_other < LEVEL,
        tuple(one.mean for one in groups), tuple(one.sd for one in groups),
        min(len(one.values) for one in groups), tuple(one.name for one in groups),
    )  # fmt: skip


# The kinds of checks -----------------------------------------------------------------------------


def more(a: str, b: str, what: Measure = GAMMA, by: float = 0.0) -> Check:
    """a has more of it than b, by more than `by`."""

    def made(runs: Recorded) -> Outcome:
        one, other = _group(runs, a, what), _group(runs, b, what)
        size = one.mean - other.mean - by
        text = f"{one} against {other}"
        return _outcome(_p_above(size, one, other), _p_above(-size, one, other), text, one, other)

    than = f" by more than {by:g}" if by else ""
    return Check(f"{what.label}: {a} above {b}{than}", made)


def same(a: str, b: str, within: float, what: Measure = GAMMA) -> Check:
    """a and b differ by less than `within`."""

    def made(runs: Recorded) -> Outcome:
        one, other = _group(runs, a, what), _group(runs, b, what)
        size = abs(one.mean - other.mean)
        p = _p_above(within - size, one, other)
        text = f"{one} against {other}"
        return _outcome(p, _p_above(size - within, one, other), text, one, other)

    return Check(f"{what.label}: {a} and {b} within {within:g}", made)


def differ(a: str, b: str, what: Measure = GAMMA) -> Check:
    """a and b differ, either way (two-sided test)."""

    def made(runs: Recorded) -> Outcome:
        one, other = _group(runs, a, what), _group(runs, b, what)
        p = min(1.0, 2 * _p_above(abs(one.mean - other.mean), one, other))
        return _outcome(p, 1.0, f"{one} against {other}", one, other)

    return Check(f"{what.label}: {a} and {b} differ", made)


def at_least(a: str, limit: float, what: Measure = GAMMA) -> Check:
    """Every run of a has more of it than `limit`."""
    return _limit(a, limit, what, 1, "above")


def at_most(a: str, limit: float, what: Measure = GAMMA) -> Check:
    """Every run of a has less of it than `limit`."""
    return _limit(a, limit, what, -1, "below")


def _limit(a: str, limit: float, what: Measure, sign: int, word: str) -> Check:
    def made(runs: Recorded) -> Outcome:
        one = _group(runs, a, what)
        beyond = sign * (one.values - limit)
        holds, against = bool((beyond > 0).all()), bool((beyond < 0).all())
        return Outcome(
            holds, f"{one}", None, against, (one.mean,), (one.sd,), len(one.values), (a,)
        )

    return Check(f"{what.label}: {a} {word} {limit:g}", made)


def rises(names: tuple[str, ...], what: Measure = GAMMA) -> Check:
    """It never falls from one mean to the next by more than one standard deviation, and the last
    is above the first."""

    def made(runs: Recorded) -> Outcome:
        found = [_group(runs, name, what) for name in names]
        steps = [
            later.mean - before.mean + max(before.sd, later.sd, what.floor)
            for before, later in itertools.pairwise(found)
        ]
        first, last = found[0], found[-1]
        p = _p_above(last.mean - first.mean, first, last) if min(steps) > 0 else 1.0
        falls = [_p_above(a.mean - b.mean, a, b) for a, b in itertools.pairwise(found)]
        return _outcome(p, min(falls), ", ".join(map(str, found)), *found)

    return Check(f"{what.label} rises: {', '.join(names)}", made)


def comparable(a: str, b: str) -> Check:
    """Their test errors are comparable, or that of a is lower."""

    def made(runs: Recorded) -> Outcome:
        one, other = _group(runs, a, ERROR), _group(runs, b, ERROR)
        holds = one.mean - other.mean <= max(POINT, one.sd, other.sd)
        found = _outcome(1.0, 1.0, f"test error {one} against {other}", one, other)
        return Outcome(
            holds, found.text, None, not holds, found.means, found.sds, found.n, found.names
        )

    return Check(f"test error of {a} comparable with that of {b}, or lower", made)


def best(a: tuple[str, ...], b: tuple[str, ...], what: Measure = GAMMA) -> Check:
    """At comparable error, the family a has more of it than b.

    Of each family: the setting that has most, among those whose error is comparable with the
    family's lowest. And a's error is comparable with b's, or lower.
    """

    def made(runs: Recorded) -> Outcome:
        one, other = _best(runs, a, what), _best(runs, b, what)
        compared = more(one, other, what)(runs)
        errors = comparable(one, other)(runs)
        text = f"{compared.text}; {errors.text}"
        if not errors.holds:
            return Outcome(None, f"no comparable error: {text}")
        return Outcome(
            compared.holds, text, compared.p, compared.against, compared.means, compared.sds,
            compared.n, compared.names,
        )  # fmt: skip

    return Check(f"{what.label} at comparable error: {_family(a)} above {_family(b)}", made)


def _best(runs: Recorded, names: tuple[str, ...], what: Measure) -> str:
    errors = {name: _group(runs, name, ERROR) for name in names if name in runs.rows}
    if not errors:
        raise Unknown(f"no run of {', '.join(names)}")
    lowest = min(errors.values(), key=lambda one: one.mean)
    near = [
        name
        for name, one in errors.items()
        if one.mean - lowest.mean <= max(POINT, one.sd, lowest.sd)
    ]
    return max(near, key=lambda name: _group(runs, name, what).mean)


def _family(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def given(about: str, made: Callable[[Recorded], Outcome]) -> Check:
    """A check of another kind, such as one on the simulation of Figure 4."""
    return Check(about, made)
