"""The generated part of docs/theory-accuracy.md, and its picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sims._theory_compare import ORDERS, TOLERANCE, informative, shares
from sims._theory_reference import HYPER
from sims.common import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "theory-accuracy.md", DOCS / "images" / "theory-accuracy.png"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
WORST = 40  # rows that are shown, and every row that fails by more than twice its tolerance
SETS = {"matrix": "paper's settings", "test": "random, test", "dev": "random, dev"}
TITLES = {"t50": "mean 0.5", "t10": "mean 0.1", "p1e-3": "passage", "late": "late rms"}
TIMES = ("t50", "t10", "p1e-3")


def write(cells: Any, figure: "Figure") -> None:
    """Put the tables between the markers of the page, and the picture beside it."""
    from regdyn import store

    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with store.temporary(PICTURE) as name:
        figure.savefig(name)
    PAGE.write_text(f"{before}{BEGIN}\n{body(cells)}{END}{after}", encoding="utf-8")


def body(cells: Any) -> str:
    """Summary, rule by rule, and the worst rows."""
    return "\n".join(
        [
            "### Share of settings that pass\n",
            *summary(shares(cells, ["set"]), cells),
            "\n### Rule by rule\n",
            "Paper's settings and test sets; in each column closure / naive mean field.\n",
            *by_rule(shares(cells[cells["set"] != "dev"], ["set", "rule", "reg"])),
            "\n### Worst first\n",
            *worst(cells),
            "",
        ]
    )


def summary(groups: Any, cells: Any) -> list[str]:
    """One line for each set and order."""
    head = ["set", "theory", "n", *TITLES.values(), "passage ± 3 s.e.", "rms ± 3 s.e.", "all four"]
    lines = [row(head), rule(len(head), left=2)]
    for name, title in SETS.items():
        for _, group in groups[groups["set"] == name].iterrows():
            for who in ORDERS:
                marks = [f"{who}_{k}_pass" for k in TOLERANCE]
                marks += [f"{who}_p1e-3_within", f"{who}_late_within", f"{who}_pass"]
                what = "closure" if who == "theory" else "naive mean field"
                lines.append(row([title, what, group["cells"], *(share(group[m]) for m in marks)]))
    some = cells[cells["set"] != "dev"]
    known = [int(informative(some, name).sum()) for name in TIMES]
    lines.append(
        "\nThe simulation itself knows a time to 5 % or better (3 standard errors), or that it is "
        f"censored, in {known[0]} (mean 0.5), {known[1]} (mean 0.1) and {known[2]} (passage) of "
        f"the {len(some)} settings without the dev sets. In the others the noise exceeds what "
        "is left of theta's start, and passing says little."
    )
    return lines


def by_rule(groups: Any) -> list[str]:
    """One line for each set, rule and regulariser."""
    head = ["set", "rule", "reg", "n", *TITLES.values(), "all four"]
    lines = [row(head), rule(len(head), left=3)]
    for name in ("matrix", "test"):
        for _, group in groups[groups["set"] == name].iterrows():
            marks = [f"{k}_pass" for k in TOLERANCE] + ["pass"]
            both = [" / ".join(share(group[f"{who}_{mark}"]) for who in ORDERS) for mark in marks]
            lines.append(row([SETS[name], group["rule"], group["reg"], group["cells"], *both]))
    return lines


def worst(cells: Any) -> list[str]:
    """The rows with the largest scores: measured / predicted, error in percent."""
    ordered = cells.sort_values("theory_score", ascending=False, kind="stable")
    ordered = ordered.assign(**{f"{name} known": informative(ordered, name) for name in TIMES})
    count = max(WORST, int((ordered["theory_score"] > 2).sum()))
    head = ["set", "rule", "reg", "λ", "σ", *TITLES.values(), "score", "naive", "rule's settings"]
    lines = [
        f"The {min(count, len(ordered))} of {len(ordered)} settings with the largest score; all "
        "are in the data. In a cell: measured → predicted, error in percent; **bold** fails; ~ is "
        "what the simulation does not know to 5 %.\n",
        row(head),
        rule(len(head), left=3).removesuffix("---:|") + "---|",
    ]
    for _, cell in ordered.head(count).iterrows():
        sigma = shown(cell["std"]) if cell["steps0"] == 0 else f"{shown(cell['std'])} (burst)"
        where = [cell["set"], cell["rule"], cell["reg"], shown(cell["lam"]), sigma]
        scores = [number(cell["theory_score"]), number(cell["naive_score"])]
        own = "paper" if cell["set"] == "matrix" else hyper(cell)
        lines.append(row([*where, *(entry(cell, name) for name in TOLERANCE), *scores, own]))
    return lines


def hyper(cell: Any) -> str:
    """The hyper-parameters that the rule has, in words."""
    return ", ".join(f"{name} {cell[name]:.4g}" for name in HYPER if not np.isnan(cell[name]))


def entry(cell: Any, name: str) -> str:
    """Measured -> predicted (error), bold where it fails."""
    true, value = cell[name], cell[f"theory_{name}"]
    error = 100 * cell[f"theory_{name}_error"]
    text = f"{'' if cell.get(f'{name} known', True) else '~'}{time(true)} → {time(value)}"
    if np.isfinite(error) and np.isfinite(value):
        text += f" ({error:+.1f})"
    return text if cell[f"theory_{name}_pass"] else f"**{text}**"


def time(value: float) -> str:
    """A number for the table; what is later than the run is 'later'."""
    return "later" if np.isinf(value) else shown(value)


def number(value: float) -> str:
    """A score."""
    return f"{value:.1f}" if value < 1000 else "> 1000"


def share(value: float) -> str:
    """A share in percent, rounded down, so that 100 means all."""
    return f"{int(np.floor(100 * value + 1e-9))} %"


def row(entries: list[Any]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(map(str, entries)) + " |"


def rule(columns: int, left: int) -> str:
    """The line under its head: the first columns to the left, numbers to the right."""
    return "|" + "|".join(["---"] * left + ["---:"] * (columns - left)) + "|"
