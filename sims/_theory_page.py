"""The generated part of docs/theory-accuracy.md, and its picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sims._theory_compare import TOLERANCE
from sims._theory_reference import HYPER
from sims.common import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "theory-accuracy.md", DOCS / "images" / "theory-accuracy.png"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
WORST = 20  # rows of each set that are shown; the others are folded
SETS = {"matrix": "paper's settings", "test": "random, test", "dev": "random, dev"}
TITLES = {"t50": "mean 0.5", "t10": "mean 0.1", "p1e-3": "passage", "late": "late rms"}


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
    """Counts, rule by rule, the negative control, what fails, and every row, worst first."""
    from sims import _theory_counts as counts

    lines = [
        counts.short(cells),
        "### Settings within the tolerance\n",
        *counts.summary(cells),
        "\n### What the simulation decides\n",
        *counts.decided(cells),
        "\n### Rule by rule\n",
        *counts.by_rule(cells),
        "\n### Large learning rates\n",
        *counts.by_rate(cells),
        "\n### Negative control\n",
        *counts.control(cells),
        "\n### What fails\n",
        *failures(cells),
        "\n### Every setting, worst first\n",
        "In a cell: measured → predicted, error in percent. **Bold** fails; ~ is what the "
        "simulation does not decide. Score: the largest error in units of its tolerance, of the "
        "closure and of the naive mean field.\n",
    ]
    for name, title in SETS.items():
        some = cells[cells["set"] == name]
        if len(some):
            lines += [f"#### {title[0].upper()}{title[1:]}\n", *worst(some)]
    return "\n".join(lines) + "\n"


def failures(cells: Any) -> list[str]:
    """A line for every criterion that the closure does not meet, the largest errors first."""
    head = ["set", "rule", "reg", "λ", "σ", "quantity", "measured, ± 3 s.e.", "closure", "error, %"]
    lines = [row([*head, "simulation says"]), rule(len(head) + 1, left=3)]
    for name in SETS:
        found = []
        for _, cell in cells[cells["set"] == name].iterrows():
            found += [(cell, k) for k in TOLERANCE if not cell[f"theory_{k}_pass"]]
        lines += [row(_failure(*one)) for one in sorted(found, key=_size, reverse=True)]
    exact = cells[(cells["rule"] == "sgd") | (cells["reg"] == "wd")]
    off = sum(int((~exact[f"theory_{k}_pass"]).sum()) for k in ("t50", "t10"))
    lines.append(
        "\n`open`: the error is larger than the tolerance, and not larger than 3 standard errors "
        "of the simulation. The mean of θ is known exactly for SGD, and under `wd` for every rule "
        "(the step does not depend on θ and has mean 0), and the closure gives it. Of the "
        f"{2 * len(exact)} times of the mean of these {len(exact)} settings "
        f"{off} {'fails' if off == 1 else 'fail'}: there it is the simulation that is off, by "
        "more than 3 standard errors somewhere on its way."
    )
    return lines


def _size(failure: tuple[Any, str]) -> float:
    """The absolute error, for sorting; NaN is the largest."""
    cell, name = failure
    return float(np.nan_to_num(abs(cell[f"theory_{name}_error"]), nan=np.inf))


def _failure(cell: Any, name: str) -> list[Any]:
    """The entries of a criterion that is not met."""
    if name == "late":
        ends = cell["late"] - 3 * cell["late_se"], cell["late"] + 3 * cell["late_se"]
    else:
        ends = cell[f"{name}_low"], cell[f"{name}_high"]
    measured = f"{time(cell[name])} ({time(ends[0])} … {time(ends[1])})"
    error = f"{100 * cell[f'theory_{name}_error']:+.1f}"
    says = cell[f"theory_{name}_verdict"]
    own = "" if cell["set"] == "matrix" else f" ({hyper(cell)})"
    where = [cell["set"], f"{cell['rule']}{own}", cell["reg"], shown(cell["lam"]), sigma(cell)]
    return [*where, TITLES[name], measured, time(cell[f"theory_{name}"]), error, says]


def worst(cells: Any) -> list[str]:
    """All rows of a set, those with the largest scores first; folded after the first few."""
    ordered = cells.sort_values("theory_score", ascending=False, kind="stable")
    lines = _rows(ordered.head(WORST))
    if len(ordered) > WORST:
        rest = ordered.iloc[WORST:]
        lines += [f"\n<details><summary>The other {len(rest)}</summary>\n", *_rows(rest)]
        lines.append("\n</details>")
    return [*lines, ""]


def _rows(cells: Any) -> list[str]:
    """A table with a line for each setting."""
    random = set(cells["set"]) != {"matrix"}
    head = ["rule", "reg", "λ", "σ", *TITLES.values(), "score", "naive"]
    lines = [row(head + ["rule's settings"] * random), rule(len(head), left=2) + "---|" * random]
    for _, cell in cells.iterrows():
        where = [cell["rule"], cell["reg"], shown(cell["lam"]), sigma(cell)]
        scores = [number(cell["theory_score"]), number(cell["naive_score"])]
        entries = [*where, *(entry(cell, name) for name in TOLERANCE), *scores]
        lines.append(row(entries + [hyper(cell)] * random))
    return lines


def entry(cell: Any, name: str) -> str:
    """Measured -> predicted (error), bold where it fails, ~ where the simulation is open."""
    true, value = cell[name], cell[f"theory_{name}"]
    error = 100 * cell[f"theory_{name}_error"]
    open_ = cell[f"theory_{name}_verdict"] == "open"
    text = f"{'~' if open_ else ''}{time(true)} → {time(value)}"
    if np.isfinite(error) and np.isfinite(value):
        text += f" ({error:+.1f})"
    return text if cell[f"theory_{name}_pass"] else f"**{text}**"


def hyper(cell: Any) -> str:
    """The hyper-parameters that the rule has, in words."""
    return ", ".join(f"{name} {cell[name]:.4g}" for name in HYPER if not np.isnan(cell[name]))


def sigma(cell: Any) -> str:
    """The noise, and whether it begins with a burst."""
    return shown(cell["std"]) + (" (burst)" if cell["steps0"] else "")


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
