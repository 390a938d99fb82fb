"""The picture of theory-processes, and the generated part of its page."""

from typing import TYPE_CHECKING, Any

import numpy as np

from regdyn import rules
from sims import _theory_page as page
from sims._theory_compare import TOLERANCE as OF_TIMES
from sims.common import INK, note, share_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "t50": "mean 0.5",
    "t10": "mean 0.1",
    "p1e-3": "passage 1e-3",
    "late": "late rms",
    "centre": "late mean",
}
TOLERANCE = OF_TIMES | {"centre": 0.02}
LIMIT = 200.0  # percent: what is further off is drawn there
WORST = 40  # rows on the page
RARE = ("intermittent", "rare-rms")
FAR = ("ar1", "student-t", *RARE)  # not white, or not Gaussian


def picture(cells: Any, lanes: int) -> "Figure":
    """A row per case, a column per quantity, a dot per setting, a colour per rule."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    names = list(dict.fromkeys(cells["case"]))
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.6, 8.0))
        axes = fig.subplots(1, len(TITLES), sharey=True, sharex=True)
        for ax, (name, title) in zip(axes, TITLES.items(), strict=True):
            tolerance = 100 * TOLERANCE[name]
            ax.axvspan(-tolerance, tolerance, color="0.9", zorder=0)
            for k, (rule, colour) in enumerate(zip(rules.RULES, INK, strict=True)):
                some = cells[cells["rule"] == rule]
                y = np.array([names.index(case) for case in some["case"]]) + 0.09 * (k - 3)
                error = np.nan_to_num(100 * some[f"theory_{name}_error"].to_numpy(float), nan=LIMIT)
                x = np.clip(error, -LIMIT, LIMIT)
                ax.scatter(x, y, s=6, color=colour, linewidths=0, label=rule, clip_on=False)
            ax.set_xscale("symlog", linthresh=1)
            ax.set(title=title, xlim=(-LIMIT, LIMIT))
            ax.set_xticks([-100, 0, 100], ["-100", "0", "100"])
            ax.set_xticks([-10, -1, 1, 10], minor=True)
            ax.tick_params(axis="y", length=0)
            for y in range(len(names) - 1):
                ax.axhline(y + 0.5, color="0.9", lw=0.5)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_ylim(len(names) - 0.5, -0.5)
        axes[2].set_xlabel("error of the theory, %")
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=7, markerscale=2)
        note(
            fig,
            f"{len(cells)} settings: 7 rules, l2 and wd, strengths 1e-4, 1e-3, 1e-2, n = "
            f"{lanes:,} lanes. Shaded: tolerances without the simulation's own "
            "standard error, which dominates for times near the noise (start 0.01). Linear up to "
            f"1 %, logarithmic beyond, drawn at {LIMIT:g} % if larger or not a number. The late "
            "mean's error is in late rms.",
        )
    return fig


def words(cells: Any, lanes: int) -> str:
    """What was asked, what came out."""
    groups = dict(list(cells.groupby("group", sort=False)))
    passed = [f"{name} {share_text(some['theory_pass'].mean())}" for name, some in groups.items()]
    off = [
        f"{name} {_off(some, 't50', 't10')}, {_off(some, 'p1e-3')} and {_off(some, 'late')}"
        for name, some in groups.items()
        if name in FAR
    ]
    return (
        "Asked: does the theory, built for white Gaussian gradients around 0, hold for others? Of "
        f"{len(cells)} settings ({lanes:,} lanes each) all five criteria (times of "
        "the mean to half and a tenth of the start, median passage below 1e-3, late rms, late "
        f"mean) are met in {share_text(cells['theory_pass'].mean())}: {', '.join(passed)}. White "
        "noise with a mean, in a well, under a schedule or from another start is within what the "
        "closure is made for. Memory, heavy tails and rarity are not: there nine settings in ten "
        f"are within these errors of times of the mean, passage and late rms: {'; '.join(off)}. "
        "For the paper: its gradients are white and Gaussian by construction, so that its figure "
        f"can be read off the theory. A real feature fires rarely.{_slowest(cells)} What it "
        "fluctuates by in the end needs a simulation."
    )


def _off(cells: Any, *names: str) -> str:
    """The error that nine in ten do not exceed, in percent."""
    errors = np.concatenate([abs(cells[f"theory_{name}_error"]) for name in names])
    errors = np.nan_to_num(errors, nan=np.inf)
    return f"{_percent(100 * np.quantile(errors, 0.9, method='lower'))} %"


def _slowest(cells: Any) -> str:
    """What becomes of a rare feature's times, and where the predicted one is furthest too late."""
    rare = cells[cells["group"].isin(RARE)]
    if rare.empty:
        return ""
    one = rare.loc[rare["theory_t50_error"].idxmax()]
    return (
        " The times of its mean hold under wd, and under l2 where lambda theta is far above the "
        "rms of its gradients; where it is not, v is small from one firing to the next, which the "
        "theory does not see, and theta decays faster than predicted: at worst half of the start "
        f"is reached after {one['t50']:,.0f} steps, in theory after {one['theory_t50']:,.0f} "
        f"({one['rule']} + {one['reg']} at {one['lam']:g}, {one['case']})."
    )


def body(cells: Any, answer: str) -> str:
    """The generated part of the page: shares and errors per case, worst rows, the answer."""
    from textwrap import fill

    head = ["case", *TITLES.values(), "all five"]
    lines = ["### Case by case\n", page.row(head), page.rule(len(head), left=1)]
    for case, some in cells.groupby("case", sort=False):
        entries = []
        for name in TITLES:
            error = 100 * some[f"theory_{name}_error"].abs()
            entries.append(
                f"{page.share(some[f'theory_{name}_pass'].mean())}, "
                f"{_percent(error.median())}, {_percent(error.max())}"
            )
        lines.append(page.row([case, *entries, page.share(some["theory_pass"].mean())]))
    head = ["rule", *(f"{g}" for g in dict.fromkeys(cells["group"]))]
    lines += ["\n### Rule by rule: share that meets all five\n", page.row(head)]
    lines.append(page.rule(len(head), left=1))
    for rule, some in cells.groupby("rule", sort=False):
        shares = some.groupby("group", sort=False)["theory_pass"].mean()
        lines.append(page.row([rule, *map(page.share, shares)]))
    lines += ["\n### Worst first\n", *_worst(cells)]
    lines += ["\n### Answer\n", fill(answer, 118, break_on_hyphens=False)]
    return "\n".join(lines) + "\n"


def _worst(cells: Any) -> list[str]:
    """The rows with the largest scores: measured, predicted, error."""
    head = ["case", "rule", "reg", "λ", *TITLES.values(), "score"]
    lines = [page.row(head), page.rule(len(head), left=3)]
    ordered = cells.sort_values("theory_score", ascending=False, kind="stable").head(WORST)
    for _, cell in ordered.iterrows():
        entries = [_entry(cell, name) for name in TITLES]
        at = [cell["case"], cell["rule"], cell["reg"], f"{cell['lam']:g}"]
        lines.append(page.row([*at, *entries, page.number(cell["theory_score"])]))
    return lines


def _percent(value: float) -> str:
    """An error for the table."""
    return f"{value:.2g}" if value < 100 else f"{value:.0f}" if value < 1000 else "> 1000"


def _entry(cell: Any, name: str) -> str:
    """Measured -> predicted (error), bold where it fails."""
    error, theory = 100 * cell[f"theory_{name}_error"], cell[f"theory_{name}"]
    if name == "centre" and abs(theory) < 1e-6 * cell["late"]:
        theory = 0.0  # what is left of (1 - lambda)^t says nothing
    text = f"{page.time(cell[name])} → {page.time(theory)}"
    if np.isfinite(error):
        text += f" ({error:+.3g})" if abs(error) < 1000 else " (> 1000)"
    return text if cell[f"theory_{name}_pass"] else f"**{text}**"
