# ruff: noqa: E501 -- the page is wrapped as other pages are, not as code is
"""The ledger for readers: a page in Markdown, two tables, a picture."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from figures.claims import ledger
from figures.claims.checks import LEAST_RUNS, LEVEL, POINT, Outcome
from figures.claims.ledger import COLUMNS, VERDICTS, Entry
from figures.claims.recorded import GAMMA, Recorded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "markdown", "smallest_effect", "summary", "table"]

SIGN = {True: "shown", False: "undecided", None: "not done"}
INK = {"shown": "#0072B2", "undecided": "#999999", "opposite": "#D55E00", "not done": "#dddddd"}
SHADE: dict[str, str] = dict(
    zip(VERDICTS, ("#0072B2", "#56B4E9", "#D55E00", "#bbbbbb"), strict=True)
)


def table(entries: list[Entry]) -> str:
    """claims.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow(entry.row())
    return text.getvalue()


def smallest_effect(runs: Recorded) -> tuple[float, float]:
    """Median standard deviation of the sparsity over seeds, and the difference that is shown.

    In points, of the experiments in which between 2 and 98 % of the filters are inactive; the
    difference between two settings of `LEAST_RUNS` runs each with that standard deviation at which
    the test's p is `LEVEL`.
    """
    import numpy as np
    from scipy import stats

    spreads = []
    for name, rows in runs.rows.items():
        if len(rows) >= LEAST_RUNS and "sparsity_gamma" in rows[0]:
            values = GAMMA.of(runs, name)
            if 2 < values.mean() < 98:
                spreads.append(values.std(ddof=1))
    sd = float(np.median(spreads)) if spreads else float("nan")
    quantile = stats.t.isf(LEVEL, 2 * (LEAST_RUNS - 1))
    return sd, float(quantile * sd * np.sqrt(2 / LEAST_RUNS))


def summary(entries: list[Entry]) -> str:
    """How many of each verdict, in a line."""
    count = ledger.statistics(entries).verdicts
    return ", ".join(f"{verdict}: {count[verdict]}" for verdict in VERDICTS if count[verdict])


def markdown(claims: list[Entry], beyond: list[Entry], runs: Recorded) -> str:
    """docs/claims.md."""
    parts = [_head(claims, beyond), _rules(claims + beyond, runs)]
    parts += ["## The paper's claims\n", _overview(claims), "## Beyond the paper\n"]
    parts += [_overview(beyond), "## Check by check\n"]
    parts += [_details(entry) for entry in claims + beyond]
    return "\n".join(parts)


HEAD = """# The paper, claim by claim

Every checkable claim of the paper, held against runs of ours. Of the paper's {many}: {summary}. Of {ours} more of our own:
{beyond}. Written by `python -m figures claims` from [recorded runs](../figures/data/reproduce-runs.csv); do not edit by
hand.

![Every check of every claim: shown, undecided, or the opposite](images/claims.png)

**This is another scale.** BasicNet at an eighth of its width, 4,000 to 6,000 steps, on digits and on
[pairs of Fashion-MNIST garments](data.md) with 2, 10 and 100 labels in place of CIFAR10 and CIFAR100. A verdict says what
holds *here*; [scaling.md](scaling.md) says which products of steps, rate and strength were kept. The paper's contradictions with
itself are listed in [figures/reference](../figures/reference/README.md#inconsistencies-in-the-source).

```bash
python -m figures claims                                       # this page, from what is kept
python -m cnn.reproduce 'digits/batch/*' --list                # the commands that train the runs of a claim
python -m cnn.reproduce 'digits/batch/*' --out results/reproduce --jobs 2
python -m cnn.reproduce --tier core --jobs 2                   # about an hour; without --tier: all
python -m figures claims --refresh                             # train what is missing, and judge again
```
"""

RULES = """## How a verdict is made

A claim has checks, each one comparison of {n} runs or more a side.

* A **difference** is shown if a one-sided t-test (pooled variance) rejects its absence, p < {level:g}; that two are **the same**, if it
  rejects that they differ by more than a margin. The opposite may be shown as well. Else it is undecided.
* A **limit** is shown if every run is on its side; the opposite, if every run is on the other.
* Errors are **comparable** within max({point:g} point, 1 standard deviation). ± is one standard deviation (divisor n − 1); one below a
  filter's share counts as that.

**Holds**: all checks are shown. **In part**: some. **Does not hold at this scale**: none, and the opposite of at
least one. **Not tested**: nothing could be run, or all is undecided.

* *What {n} runs can show*: the standard deviation of the sparsity over seeds is {sd:.1f} points in the median, so a difference
  has to be some {effect:.1f} points. A smaller one may be real and is undecided.
* *What so many checks do to chance*: {tests} tests at p < {level:g} would give {chance:.1f} false ones, were there no effect
  anywhere. {shown} are shown; {holm} of them stay if the chance of a single false one among all is held at 5 % (Holm).
* The checks and their margins were written down when one seed of some runs had been seen. With two seeds in, the tests were
  changed once, for all checks: Student's in place of Welch's, whose level is right for unequal variances but which could not have
  told 42 ± 4 from 0 ± 0 with two runs; limits by every run in place of a test; "undecided". With all in, the opposite of a limit was made as strict as the limit: every run,
  not the mean (c16 became undecided). No margin was changed. Of the checks, one family lost a strength that was not to be trained
  (SGD, L2 1e-2, 10 labels), and b16 was added when the runs of b11 at half the steps had been seen. SGD's four settings on digits were given 12 seeds when
  3 had left c09 and c14 undecided, Adam's with L2 1e-2 and the three scaled from it 6 when 3 had left b11 and b16 undecided; the
  numbers were fixed before these ran.
"""


def _head(claims: list[Entry], beyond: list[Entry]) -> str:
    return HEAD.format(
        many=len(claims), summary=summary(claims), ours=len(beyond), beyond=summary(beyond)
    )


def _rules(entries: list[Entry], runs: Recorded) -> str:
    found = ledger.statistics(entries)
    sd, effect = smallest_effect(runs)
    return RULES.format(
        level=LEVEL, point=POINT, n=LEAST_RUNS, sd=sd, effect=effect, tests=found.tests,
        chance=found.by_chance, shown=found.shown, holm=found.after_holm,
    )  # fmt: skip


def _overview(entries: list[Entry]) -> str:
    rows = ["| | claim | verdict | checks shown |", "|---|---|---|---|"]
    for entry in entries:
        shown = sum(outcome.holds is True for outcome in entry.done)
        count = f"{shown} of {len(entry.done)}" if entry.done else "–"
        rows.append(
            f"| [{entry.id}](#{entry.id}) | {_cell(entry.claim)} | {entry.verdict} | {count} |"
        )
    return "\n".join(rows) + "\n"


def _details(entry: Entry) -> str:
    lines = [
        f"### {entry.id}",
        "",
        f"{entry.claim}. **{entry.verdict.capitalize()}.** {entry.note}",
    ]
    if entry.done:
        lines += ["", "| check | | measured |", "|---|---|---|"]
        for about, outcome in entry.checks:
            word = "**opposite**" if outcome.against else SIGN[outcome.holds]
            lines.append(f"| {_cell(about)} | {word} | {_cell(outcome.text)} |")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def draw(entries: list[Entry]) -> Figure:
    """A row for each claim: a mark for each check, and the verdict."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.2, 0.9 + 0.19 * len(entries)))
        ax = fig.subplots()
        for row, entry in enumerate(entries):
            for i, (_, outcome) in enumerate(entry.checks):
                state = _state(outcome)
                marker = {"opposite": "X", "not done": "_"}.get(state, "o")
                face = INK[state] if state != "undecided" else "none"
                ax.plot(i, row, marker, ms=5.5, mec=INK[state], mfc=face)
            ax.text(
                -0.9, row, f"{_short(entry.claim)}  {entry.id}", ha="right", va="center", fontsize=7
            )
            ax.plot(-0.5, row, "s", ms=6, color=SHADE[entry.verdict])
        widest = max(len(entry.checks) for entry in entries)
        ax.set(xlim=(-1, widest), ylim=(len(entries) - 0.4, -0.6), xticks=[], yticks=[])
        ax.set_title("squares: verdict; circles: checks", fontsize=8, loc="left")
        for side in ax.spines.values():
            side.set_visible(False)
        fig.legend(handles=list(_legend()), loc="outside lower center", ncols=4, fontsize=7)
    return fig


def _state(outcome: Outcome) -> str:
    if outcome.holds is None:
        return "not done"
    return "opposite" if outcome.against else "shown" if outcome.holds else "undecided"


def _short(text: str, most: int = 72) -> str:
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + " …"


def _legend():
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str, colour: str, face: str | None = None):
        return Line2D(
            [], [], marker=marker, ls="none", ms=5.5, mec=colour, mfc=face or colour, label=label
        )

    yield from (mark(verdict, "s", SHADE[verdict]) for verdict in VERDICTS)
    yield mark("check shown", "o", INK["shown"])
    yield mark("undecided", "o", INK["undecided"], "none")
    yield mark("the opposite shown", "X", INK["opposite"])
    yield mark("not done", "_", INK["not done"])
