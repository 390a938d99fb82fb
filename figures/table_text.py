"""A table as text, CSV and LaTeX: the paper's cells as printed, ours beside them."""

from __future__ import annotations

import csv
import io
import re
from string import ascii_letters
from typing import NamedTuple

from figures.table_layouts import HEADS
from figures.table_rows import Ours, Row, Table

__all__ = ["FORMATS", "latex", "plain", "separated"]

NONE = "–"
PAPER = "Mehta, Kim, Theobalt, arXiv 1811.12495"
SCALE = (
    "Ours: another data set, width and number of steps than the paper's (letters), so the two "
    "sides need not agree; percent, mean ± standard deviation (divisor n - 1) over n seeds."
)
DEFAULT = "* Not in the printed table: section 5's default (Adam, L2 1e-4, batch 40)."


class Grid(NamedTuple):
    """Cells with heads; `groups` says of each column whose it is: "", "paper" or "ours"."""

    groups: list[str]
    heads: list[str]
    cells: list[list[str]]


def plain(table: Table) -> str:
    r"""The table for a terminal or an editor.

    Parameters
    ----------
    table : Table
        From `figures.table_rows.build`.

    Returns
    -------
    str
        Columns of the paper, columns of ours ("–" where there is none), notes with the setting of
        each of our runs. Tables with layers show ours layer by layer below.
    """
    parts = [_title(table), _drawn(_grid(table))]
    if table.layout.layers and table.runs:
        parts += ["Ours, layer by layer", _drawn(_layers(table))]
    return "\n\n".join([*parts, "\n".join(_notes(table))]) + "\n"


def separated(table: Table) -> str:
    r"""The table as CSV: every column of the reference file, then ``ours_...``; "-" where none.

    Ours have the mean, and the standard deviation in a column of its own (``_sd``), then n,
    recipe, setting and why it stands there.
    """
    layout = table.layout
    names = list(table.rows[0].printed)
    measures = [name for name in layout.values if name in layout.ours]
    head = [f"ours_{name}{end}" for name in measures for end in ("", "_sd")]
    theirs = [f"paper_{name}" if name in layout.values else name for name in names]
    file = io.StringIO()
    write = csv.writer(file, lineterminator="\n").writerow
    write([*theirs, *head, "ours_n", "ours_recipe", "ours_setting", "ours_why"])
    for row in table.rows:
        cells = [row.printed.get(name, "") for name in names]
        cells += _numbers(row.ours, measures) if row.ours else [""] * (len(head) + 4)
        write([cell or "-" for cell in cells])
    return file.getvalue()


def latex(table: Table) -> str:
    r"""The table for LaTeX: a longtable with booktabs' lines.

    Its packages are named in the first line.
    """
    lines = [r"% needs \usepackage{booktabs,longtable}; " + _revision(), r"{\footnotesize"]
    lines += _longtable(_grid(table), _title(table))
    if table.layout.layers and table.runs:
        lines += _longtable(_layers(table), f"{_title(table)}: ours, layer by layer")
    lines += [rf"\par {_escaped(note)}" for note in _notes(table)]
    return "\n".join([*lines, "}"]) + "\n"


FORMATS = {"csv": separated, "tex": latex, "txt": plain}
"""What a table is written as: ending of the file, and function of the table."""


# Cells ------------------------------------------------------------------------------------------


def _grid(table: Table) -> Grid:
    """The columns for reading; ours without layers."""
    layout = table.layout
    ours = [name for name in layout.values if name in layout.ours and name not in layout.layers]
    letters = _letters(table)
    groups = [""] * len(layout.keys) + ["paper"] * len(layout.values) + ["ours"] * (len(ours) + 2)
    heads = [HEADS.get(name, name) for name in (*layout.keys, *layout.values, *ours)]
    cells = []
    for row in table.rows:
        cell = [_printed(row, name) for name in (*layout.keys, *layout.values)]
        cell += [_spread(row.ours, name) for name in ours]
        found = (str(row.ours.n), letters[row.ours.recipe]) if row.ours else (NONE, NONE)
        cells.append([*cell, *found])
    return Grid(groups, [*heads, "n", "run"], cells)


def _layers(table: Table) -> Grid:
    """Ours alone, with layers."""
    names = [name for name in table.layout.values if name in table.layout.ours]
    letters = _letters(table)
    cells = [
        [letters[ours.recipe], *(_spread(ours, name) for name in names), str(ours.n)]
        for ours in table.runs
    ]
    heads = ["run", *(HEADS.get(name, name) for name in names), "n"]
    return Grid(["ours"] * len(heads), heads, cells)


def _printed(row: Row, name: str) -> str:
    """As printed; a star where it is not in the table itself."""
    star = "*" if name in row.printed.get("from_default", "").split(";") else ""
    return (row.printed.get(name) or NONE) + star


def _spread(ours: Ours | None, name: str) -> str:
    if ours is None or name not in ours.mean:
        return NONE
    spread = f" ± {ours.sd[name]:.1f}" if name in ours.sd else ""
    return f"{ours.mean[name]:.1f}{spread}"


def _numbers(ours: Ours, names: list[str]) -> list[str]:
    pairs = ((ours.mean.get(name), ours.sd.get(name)) for name in names)
    cells = ["" if value is None else f"{value:.4g}" for pair in pairs for value in pair]
    return [*cells, str(ours.n), ours.recipe, ours.setting, ours.why]


def _letters(table: Table) -> dict[str, str]:
    """A letter for each of our recipes, in the order of the rows."""
    recipes = dict.fromkeys(ours.recipe for ours in table.runs)
    return dict(zip(recipes, ascii_letters, strict=False))


# Words ------------------------------------------------------------------------------------------


def _title(table: Table) -> str:
    return f"Table {int(table.name[-2:])}. {table.layout.title}"


def _notes(table: Table) -> list[str]:
    notes = [f"Paper: {PAPER}, Table {int(table.name[-2:])}, as printed."]
    notes += [table.layout.note] if table.layout.note else []
    notes += [DEFAULT] if any(row.printed.get("from_default") for row in table.rows) else []
    if not table.runs:
        return [*notes, "Ours: no counterpart has been run yet.", _revision()]
    letters = _letters(table)
    told = {ours.recipe: ours for ours in table.runs}
    notes.append(SCALE)
    for recipe, ours in told.items():
        notes.append(f"{letters[recipe]}: {recipe} ({ours.setting}; n = {ours.n}): {ours.why}.")
    return [*notes, _revision()]


def _revision() -> str:
    from regdyn import store

    made = store.provenance()
    return f"regdyn {made['regdyn_version']}, revision {made['git_revision']}"


def _drawn(grid: Grid) -> str:
    """Aligned columns."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Drawn

    drawn = Drawn(box=SIMPLE_HEAD, pad_edge=False)
    for group, head in zip(grid.groups, grid.heads, strict=True):
        first, _, unit = head.partition(", ")
        lines = [group, *re.sub(r" (?=\S+$)", "\n", first).split("\n"), *([unit] if unit else [])]
        drawn.add_column("\n".join(lines), justify="right" if group else "left", no_wrap=True)
    for cells in grid.cells:
        drawn.add_row(*cells)
    console = Console(file=io.StringIO(), width=400, color_system=None, highlight=False)
    console.print(drawn)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def _longtable(grid: Grid, title: str) -> list[str]:
    columns = "".join("r" if group else "l" for group in grid.groups)
    spans = []
    for group in dict.fromkeys(grid.groups):
        width = grid.groups.count(group)
        spans.append(rf"\multicolumn{{{width}}}{{l}}{{{group}}}")
    lines = [rf"\begin{{longtable}}{{{columns}}}", rf"\caption{{{_escaped(title)}}} \\"]
    lines += [r"\toprule", rf"{' & '.join(spans)} \\"]
    lines += [rf"{' & '.join(map(_escaped, grid.heads))} \\", r"\midrule", r"\endhead"]
    lines += [rf"{' & '.join(map(_escaped, cells))} \\" for cells in grid.cells]
    return [*lines, r"\bottomrule", r"\end{longtable}"]


SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$",
    "{": r"\{", "}": r"\}", "±": r"$\pm$", "–": "--", "γ": r"$\gamma$", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(SIGNS.get(sign, sign) for sign in text)
