"""The counts on docs/theory-accuracy.md: who passes, what is decided, the negative control."""

from itertools import pairwise
from typing import Any

import numpy as np

from sims._theory_compare import ORDERS, TOLERANCE
from sims._theory_page import SETS, TITLES, row, rule, share
from sims.common import shown

WHO = {"theory": "closure", "naive": "naive mean field"}
VERDICTS = ("within", "open", "outside")
LEVEL = 1e-3  # of the passage
SPREAD = 0.04  # of the mean square: without it the rms is 2 % lower
NORMED = ("adam", "amsgrad", "rmsprop", "lion")  # their step is of the size of the learning rate
RATES = (0.0, 1e-3, 1e-2, 1e-1)


def short(cells: Any) -> str:
    """The result in a few sentences."""
    said = []
    for name, some in _sets(cells):
        verdicts = some[[f"theory_{k}_verdict" for k in TOLERANCE]].to_numpy()
        outside, open_ = int((verdicts == "outside").sum()), int((verdicts == "open").sum())
        said.append(
            f"{SETS[name][0].upper()}{SETS[name][1:]}: the closure meets all four criteria in "
            f"{_of(int(some['theory_pass'].sum()), len(some))} of {len(some)} settings, the naive "
            f"mean field in {_of(int(some['naive_pass'].sum()), len(some))}. Of the closure's "
            f"{verdicts.size} values {outside} are outside the tolerance by more than "
            f"3 standard errors of the simulation, and {open_} are not decided by it."
        )
    return "\n".join(f"* {sentence}" for sentence in said) + "\n"


def summary(cells: Any) -> list[str]:
    """One line for each set and order: how many settings pass."""
    head = ["set", "theory", "n", *TITLES.values(), "all four"]
    lines = [row(head), rule(len(head), left=2)]
    for name, some in _sets(cells):
        for who in ORDERS:
            marks = [f"{who}_{k}_pass" for k in TOLERANCE] + [f"{who}_pass"]
            counts = [_of(int(some[m].sum()), len(some)) for m in marks]
            lines.append(row([SETS[name], WHO[who], len(some), *counts]))
    return lines


def decided(cells: Any) -> list[str]:
    """Verdicts on the closure, and the errors where there is one."""
    head = ["set", "quantity", "n", *VERDICTS, "both later"]
    head += ["median error, %", "90 % below", "largest"]
    lines = [row(head), rule(len(head), left=2)]
    for name, some in _sets(cells):
        for k, title in TITLES.items():
            verdict = some[f"theory_{k}_verdict"]
            later = np.isinf(some[k]) & np.isinf(some[f"theory_{k}"])
            errors = 100 * some[f"theory_{k}_error"][(verdict != "open") & ~later].abs()
            counts = [int((verdict == word).sum()) for word in VERDICTS] + [int(later.sum())]
            sizes = (
                [percent(x) for x in errors.quantile([0.5, 0.9, 1])] if len(errors) else ["-"] * 3
            )
            lines.append(row([SETS[name], title, len(some), *counts, *sizes]))
    lines.append(
        "\n`within` and `outside` are decided. `open` is not: either 3 standard errors of the "
        "simulation are more than the tolerance (passing then says that theory and simulation "
        "agree, not that the theory is that accurate), or the prediction is outside the tolerance "
        "and inside 3 standard errors. Here the tolerance is the percentage or 1 step alone. *Both "
        "later*: measured and predicted are later than the run. Errors are absolute, of what is "
        "decided and not both later."
    )
    return lines


def by_rule(cells: Any) -> list[str]:
    """One line for each set, rule and regulariser."""
    head = ["set", "rule", "reg", "n", *TITLES.values(), "all four"]
    lines = ["How many pass: closure / naive mean field.\n", row(head), rule(len(head), left=3)]
    for name, some in _sets(cells):
        for (word, reg), group in some.groupby(["rule", "reg"], sort=False):
            both = [
                " / ".join(str(int(group[f"{who}_{mark}"].sum())) for who in ORDERS)
                for mark in [*(f"{k}_pass" for k in TOLERANCE), "pass"]
            ]
            lines.append(row([SETS[name], word, reg, len(group), *both]))
    return lines


def by_rate(cells: Any) -> list[str]:
    """Random settings by learning rate, of the rules whose step is about as large."""
    head = ["set", "learning rate", "n", *TITLES.values(), "all four"]
    lines = [row(head), rule(len(head), left=2)]
    for name, some in _sets(cells[(cells["set"] != "matrix") & cells["rule"].isin(NORMED)]):
        for low, high in pairwise(RATES):
            group = some[(some["lr"] > low) & (some["lr"] <= high)]
            marks = [*(f"theory_{k}_pass" for k in TOLERANCE), "theory_pass"]
            counts = [int(group[mark].sum()) for mark in marks]
            lines.append(row([SETS[name], _bin(low, high), len(group), *counts]))
    lines.append(
        "\nOf Adam, AMSGrad, RMSprop and Lion, whose step is about as large as the learning rate: "
        "how many random settings pass. The paper's is 1e-3, of Lion 1e-4. The bins were chosen "
        "when the test sets were known."
    )
    return lines


def control(cells: Any) -> list[str]:
    """Where fluctuations matter, as the simulation says, and where not: who passes."""
    head = ["set", "quantity", "where", "n", "closure passes", "naive passes"]
    lines = [row(head), rule(len(head), left=3)]
    for name, some in _sets(cells):
        for title, where, rows, marks in _cases(some):
            passes = [
                sum(int(some[f"{who}_{k}_pass"][rows].sum()) for k in marks) for who in ORDERS
            ]
            n = len(marks) * int(rows.sum())
            lines.append(row([SETS[name], title, where, n, *passes]))
    lines.append(
        "\nThe mean field has no spread: its rms is its mean, and every lane passes a level when "
        "the mean does. So it must fail the rms where the spread over lanes holds more than 4 % of "
        "the mean square (without it the rms is 2 % lower), and may pass elsewhere. It should miss "
        "passages where the spread is larger than the level. For SGD, and under `wd`, the mean "
        "does not depend on the spread: there it should give the times of the mean like the "
        "closure. "
        "Spread and mean are the simulation's, at the last step; passages are counted that come "
        "within the run in the simulation or in the mean field."
    )
    return lines


def _cases(cells: Any) -> list[tuple[str, str, Any, tuple[str, ...]]]:
    """Quantity, where, which cells, and the criteria that are counted."""
    spread = cells["sd"] ** 2 / (cells["mean"] ** 2 + cells["sd"] ** 2) > SPREAD
    wide = cells["sd"] > LEVEL
    event = np.isfinite(cells["p1e-3"]) | np.isfinite(cells["naive_p1e-3"])
    exact = (cells["rule"] == "sgd") | (cells["reg"] == "wd")
    means = ("t50", "t10")
    return [
        ("late rms", "spread more than 4 % of the mean square", spread, ("late",)),
        ("late rms", "less", ~spread, ("late",)),
        ("passage", "spread more than 1e-3", wide & event, ("p1e-3",)),
        ("passage", "less", ~wide & event, ("p1e-3",)),
        ("times of the mean", "the other rules under `l2`", ~exact, means),
        ("times of the mean", "SGD, and `wd`", exact, means),
    ]


def percent(value: float) -> str:
    """An error for the table; a dash where there is none."""
    if np.isnan(value):
        return "-"
    return f"{value:.2g}" if value < 1000 else "> 1000"


def _sets(cells: Any) -> list[tuple[str, Any]]:
    """The sets that are there, in their order."""
    return [(name, cells[cells["set"] == name]) for name in SETS if (cells["set"] == name).any()]


def _bin(low: float, high: float) -> str:
    """A range of learning rates."""
    return f"{shown(low)} to {shown(high)}" if low else f"up to {shown(high)}"


def _of(count: int, n: int) -> str:
    """A count and its share."""
    return f"{count} ({share(count / n)})"
