"""Verdicts: what the checks of each claim add up to."""

from __future__ import annotations

from collections import Counter
from math import ceil
from typing import NamedTuple

from figures.claims import of_ours, of_paper, of_paper_late
from figures.claims.checks import LEVEL, Outcome
from figures.claims.recorded import Recorded
from figures.tables import load

__all__ = ["COLUMNS", "VERDICTS", "Entry", "Statistics", "beyond", "of_claims", "statistics"]

HOLDS, PART, NOT, UNTESTED = VERDICTS = (
    "holds", "holds in part", "does not hold at this scale", "not tested",
)  # fmt: skip
COLUMNS: tuple[str, ...] = ("id", "verdict", "n", "ours", "spread", "runs", "reason")
POWER = 0.84  # standard deviations: 80 %
MANY = 100  # runs
FAMILY = 0.05  # of all checks together, after Holm


class Entry(NamedTuple):
    """A claim with its verdict.

    Attributes
    ----------
    id, section, claim : str
    verdict : str
        One of `VERDICTS`. All checks are shown: it holds. Some: in part. None, and the opposite of
        at least one: it does not hold. None, and all undecided or not done: not tested.
    checks : list of (str, Outcome)
        What each check asks, and what it gave.
    note : str
        What the checks leave out.
    """

    id: str
    section: str
    claim: str
    verdict: str
    checks: list[tuple[str, Outcome]]
    note: str

    @property
    def done(self) -> list[Outcome]:
        """The checks that could be done."""
        return [outcome for _, outcome in self.checks if outcome.holds is not None]

    def row(self) -> dict[str, str]:
        """The row of claims.csv: checks are separated by semicolons, groups by blanks."""
        names = dict.fromkeys(name for outcome in self.done for name in outcome.names)
        return {
            "id": self.id,
            "verdict": self.verdict,
            "n": str(min(outcome.n for outcome in self.done)) if self.done else "",
            "ours": "; ".join(_numbers(outcome.means) for outcome in self.done),
            "spread": "; ".join(_numbers(outcome.sds) for outcome in self.done if outcome.sds),
            "runs": " ".join(names),
            "reason": self.reason,
        }

    @property
    def reason(self) -> str:
        """Why this verdict, in a line."""
        if self.verdict == UNTESTED:
            return self.note
        shown = sum(outcome.holds is True for outcome in self.done)
        against = sum(outcome.against for outcome in self.done)
        words = [f"{shown} of {len(self.done)} checks shown"]
        if against:
            words.append(f"the opposite of {against}")
        if undecided := len(self.done) - shown - against:
            words.append(f"{undecided} undecided")
        if missing := len(self.checks) - len(self.done):
            words.append(f"{missing} could not be done")
        return f"{', '.join(words)}. {self.note}".strip()


def of_claims(runs: Recorded) -> list[Entry]:
    """The paper's claims, in its order."""
    known = {**of_paper.CLAIMS, **of_paper_late.CLAIMS}
    rows = load("claims", as_printed=True).to_dict("records")
    return [_entry(row["id"], row["section"], row["claim"], known[row["id"]], runs) for row in rows]


def beyond(runs: Recorded) -> list[Entry]:
    """Those of ours."""
    found = of_ours.CLAIMS.items()
    return [_entry(key, "ours", one.claim, one, runs) for key, one in found]


def _entry(key: str, section: str, claim: str, tests, runs: Recorded) -> Entry:
    checks = [(check.about, check(runs)) for check in tests.checks]
    done = [outcome for _, outcome in checks if outcome.holds is not None]
    verdict, note = _verdict(done, len(checks)), tests.note
    if verdict == UNTESTED:
        note = _undecided(done) if done else getattr(tests, "cost", "") or _missing(checks)
    return Entry(key, section, claim, verdict, checks, note)


def _missing(checks: list[tuple[str, Outcome]]) -> str:
    return f"not run: {'; '.join(dict.fromkeys(outcome.text for _, outcome in checks))}"


def _undecided(done: list[Outcome]) -> str:
    """How many runs a side would decide: 80 % power for the difference that was found."""
    from scipy import stats

    wanted = []
    for one in done:
        if one.p is not None:
            t = abs(stats.t.isf(one.p, 2 * (one.n - 1)))
            ratio = (stats.norm.isf(LEVEL) + POWER) / max(t, 0.1)
            wanted.append(ceil(one.n * ratio**2))
    most = "runs lie on both sides"
    if wanted:
        most = f"about {max(wanted)} would decide" if max(wanted) < MANY else "they hardly differ"
    return f"undecided by {min(one.n for one in done)} runs a side: {most}"


def _verdict(done: list[Outcome], asked: int) -> str:
    shown = sum(bool(outcome.holds) for outcome in done)
    if not shown:
        return NOT if any(outcome.against for outcome in done) else UNTESTED
    return HOLDS if shown == asked else PART


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


class Statistics(NamedTuple):
    """What many checks at once do to chance.

    Attributes
    ----------
    verdicts : Counter
    tests : int
        Checks with a p-value, each counted once.
    shown : int
        Of them with p below the level.
    by_chance : float
        So many would be expected below the level, were there no effect anywhere.
    after_holm : int
        Of them that stay if the chance of one false among all is kept at 5 % (Holm).
    """

    verdicts: Counter
    tests: int
    shown: int
    by_chance: float
    after_holm: int


def statistics(entries: list[Entry]) -> Statistics:
    """Of these claims."""
    tests = {about: one.p for entry in entries for about, one in entry.checks if one.p is not None}
    ordered = sorted(tests.values())
    kept = 0
    for i, p in enumerate(ordered):
        if p > FAMILY / (len(ordered) - i):
            break
        kept += 1
    return Statistics(
        Counter(entry.verdict for entry in entries), len(tests),
        sum(p < LEVEL for p in ordered), LEVEL * len(tests), kept,
    )  # fmt: skip
