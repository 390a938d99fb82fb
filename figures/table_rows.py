"""The rows of a table: what the paper prints, and a run of ours beside it where there is one."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import mean, stdev

from figures.table_layouts import LAYOUTS, Layout
from figures.tables import load
from regdyn.checks import choose

__all__ = ["Ours", "Row", "Table", "build"]

DATA = files("figures") / "data"
LEDGER = ("reproduce-runs.csv", "reproduce-explicit.csv")
ROW_KEYS = ("dataset", "optimizer", "regularizer", "strength", "batch_size")


@dataclass(frozen=True)
class Ours:
    r"""What runs of one recipe gave.

    Attributes
    ----------
    recipe, setting, why : str
        Its name in `cnn.recipes`, the setting in words, and why it stands beside this row.
    n : int
        Runs that ended, one for each seed.
    mean, sd : dict
        Column of the paper to the mean and the standard deviation (divisor n - 1) over the runs,
        in percent. With one run `sd` is empty.
    """

    recipe: str
    setting: str
    why: str
    n: int
    mean: dict[str, float]
    sd: dict[str, float]


@dataclass(frozen=True)
class Row:
    """A row: `printed` holds the paper's cells as printed, "" where there is none."""

    printed: dict[str, str]
    ours: Ours | None

    @property
    def of_paper(self) -> bool:
        """Whether the paper has this row; else it is a run of ours that no row corresponds to."""
        return "dataset" in self.printed


@dataclass(frozen=True)
class Table:
    """A table of the paper, with ours."""

    name: str
    layout: Layout
    rows: list[Row]

    @property
    def runs(self) -> list[Ours]:
        """Ours, in the order of the rows."""
        return [row.ours for row in self.rows if row.ours is not None]


def build(name: str) -> Table:
    r"""A table of the paper with our counterparts, from the files kept with the code.

    ``figures/data/counterparts.csv`` says which recipe stands beside which row. One that names no
    strength belongs to no row: it gets its own, after the rows of its rule and regulariser. An
    experiment of the ledger needs no setting there: it is the command that trains it.

    Parameters
    ----------
    name : str
        ``"table01"`` to ``"table10"``.

    Raises
    ------
    ValueError
        If there is no such table, or a counterpart has no run or fits no row, or more than one.
    """
    layout = LAYOUTS[choose("table", name, LAYOUTS)]
    given = _counterparts(name)
    paired = [pair for pair in given if pair["strength"]]
    rows = []
    for printed in load(layout.source, as_printed=True).to_dict("records"):
        fits = [pair for pair in paired if _fits(pair, printed)]
        if len(fits) > 1:
            raise ValueError(f"{name}: a row has {len(fits)} counterparts, allowed is one.")
        rows.append(Row(printed, _ours(fits[0], layout) if fits else None))
    if sum(row.ours is not None for row in rows) != len(paired):
        raise ValueError(f"{name}: every counterpart with a strength must fit one row.")
    for pair in given:
        if not pair["strength"]:
            _insert(rows, pair, layout)
    return Table(name, layout, rows)


def _fits(pair: dict[str, str], printed: dict[str, str]) -> bool:
    return all(printed.get(key) == pair[key] for key in ROW_KEYS if pair[key])


def _insert(rows: list[Row], pair: dict[str, str], layout: Layout) -> None:
    """A row of ours alone, after the last of the same rule and regulariser."""
    rule = {key: pair[key] for key in ("optimizer", "regularizer")}
    last = [i for i, row in enumerate(rows) if rule.items() <= row.printed.items()]
    if not last:
        raise ValueError(f"counterpart {pair['recipe']!r}: no row has its rule and regulariser.")
    batch = {"batch_size": pair["batch_size"]} if pair["batch_size"] else {}
    rows.insert(last[-1] + 1, Row({**rule, **batch}, _ours(pair, layout)))


def _ours(pair: dict[str, str], layout: Layout) -> Ours:
    runs = [run for run in _runs() if run["recipe"] == pair["recipe"] and not run["failure"]]
    if not runs:
        raise ValueError(f"counterpart {pair['recipe']!r} has no run in figures/data.")
    values = {
        theirs: [float(run[column]) for run in runs]
        for theirs, column in layout.ours.items()
        if all(run.get(column) for run in runs)
    }
    sd = {theirs: stdev(some) for theirs, some in values.items() if len(some) > 1}
    means = {theirs: mean(some) for theirs, some in values.items()}
    setting = pair["setting"] or _flags()[pair["recipe"]]
    return Ours(pair["recipe"], setting, pair["why"], len(runs), means, sd)


def _counterparts(name: str) -> list[dict[str, str]]:
    return [pair for pair in _read("counterparts.csv") if pair["table"] == name]


@cache
def _runs() -> list[dict[str, str]]:
    """Every run that is kept with the code; of two lists with a recipe, that of the ledger."""
    names = sorted(entry.name for entry in DATA.iterdir())
    first = [_of_ledger(row) for name in names if name in LEDGER for row in _read(name)]
    known = {run["recipe"] for run in first}
    rest = [run for name in names if _holds_runs(name) for run in _read(name)]
    return first + [run for run in rest if run["recipe"] not in known]


def _of_ledger(row: dict[str, str]) -> dict[str, str]:
    """A run of `cnn.reproduce` with the columns of a sweep's: a column for each layer."""
    shares = row.get("layers", "").split()
    layers = {f"C{i}": share for i, share in enumerate(shares, 1)}
    return {**row, **layers, "recipe": row["name"], "failure": ""}


@cache
def _flags() -> dict[str, str]:
    """What trains each experiment of the ledger."""
    return {row["name"]: f"cnn.train {row['flags']}" for row in _read("experiments.csv")}


def _holds_runs(name: str) -> bool:
    return name.startswith("cnn-") and name.endswith("-runs.csv")


def _read(name: str) -> Iterator[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8") as file:
        yield from csv.DictReader(file)
