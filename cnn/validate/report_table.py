"""The comparison on the screen: a line for each method and step, then what-if by pilot."""

import math
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

HEADS = {
    "runs": ("runs", ".0f"), "auc": ("AUC", ".3f"), "auc_above_limit": ("- limit", "+.3f"),
    "share_mae": ("layers\npoints", ".1f"), "total_error": ("total\npoints", ".1f"),
    "coverage": ("in 80 %\ninterval", ".0f"), "ece": ("ECE", ".3f"),
    "time_ratio": ("time\nratio", ".2f"), "within_1_25": ("x1.25\n%", ".0f"),
    "remaining_within_1_25": ("left\nx1.25 %", ".0f"), "false_deaths": ("false\ndeaths %", ".1f"),
}  # fmt: skip
GROUPS = {
    "all": "all", "worn": "filters worn down: adaptive rules, l2",
    "absorbed": "filters absorbed: wd, and SGD",
}  # fmt: skip
TARGET_HEADS = {
    "pilots": ("pilots", ".0f"), "targets": ("targets", ".0f"), "refused": ("refused", ".0f"),
    "error": ("total\npoints", ".1f"), "worst_pilot": ("worst\npilot", ".1f"),
    "rank": ("rank\ncorr.", ".3f"), "layer_error": ("layers\npoints", ".1f"),
    "covered": ("in 80 %\ninterval", ".0f"), "same": ("same:\ntotal", ".1f"),
    "layer_same": ("same:\nlayers", ".1f"),
}  # fmt: skip


def show(content: dict[str, Any], split: str) -> None:
    """Print what validate.json says of a split."""
    console = Console(width=150)
    every = [row for row in content["summary"] if row["split"] == split]
    for group in dict.fromkeys(row["group"] for row in every):
        rows = [row for row in every if row["group"] == group]
        console.print(methods(rows, f"{split} settings, {GROUPS[group]}"))
    aims = [row for row in content["target_summary"] if row["split"] == split]
    if aims:
        console.print(what_if(aims))


def methods(rows: list[dict[str, Any]], title: str) -> Table:
    """A line for each method and step of the forecast."""
    table = _begun(title, ("at", "method", "pilot"), HEADS)
    before = None
    for row in rows:
        if before not in (None, row["at"]):
            table.add_section()
        before = row["at"]
        cells = [cell(row.get(name), form) for name, (_, form) in HEADS.items()]
        table.add_row(f"{row['at']:g}", row["method"], "yes" if row["pilot"] else "", *cells)
    return table


def what_if(rows: list[dict[str, Any]]) -> Table:
    """A line for each kind of other settings and setting of the pilots."""
    table = _begun("what-if of other settings", ("what changes", "pilot"), TARGET_HEADS)
    for row in rows:
        cells = [cell(row.get(name), form) for name, (_, form) in TARGET_HEADS.items()]
        table.add_row(row["kind"], row["pilot"], *cells)
    return table


def cell(value: Any, form: str) -> str:
    """A number; "-" if there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:{form}}"


def _begun(title: str, left: tuple[str, ...], heads: dict[str, tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name, _ in heads.values():
        table.add_column(name, justify="right", no_wrap=True)
    return table
