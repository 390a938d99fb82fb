"""What came of a sweep: mean, spread and number of runs per recipe, as a table and a picture."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from cnn.sweep import Run

MEASURES = ("sparsity_gamma", "sparsity_act", "test_error", "seconds")
INK = {
    "adam": "#0072B2", "sgd": "#D55E00", "adadelta": "#009E73", "adagrad": "#CC79A7",
    "amsgrad": "#E69F00", "rmsprop": "#56B4E9",
}  # fmt: skip
MARKS = {"l2": "o", "wd": "s", "adamw": "^", "none": "D"}
NUMBERED = 24  # recipes that are numbered in the picture


def per_run(runs: "list[Run]") -> "DataFrame":
    """A row per run: recipe, seed, what was measured, sparsity of each layer, why it failed."""
    import pandas as pd

    rows = []
    for run in runs:
        measured = {name: run.summary.get(name) for name in MEASURES}
        layers = {row["layer"]: row["sparsity_gamma"] for row in run.summary.get("layers", ())}
        seed = run.config.seed
        rows.append(
            {"recipe": run.name, "seed": seed, **measured, **layers, "failure": run.failure}
        )
    frame = pd.DataFrame(rows)
    frame["failure"] = frame.pop("failure")  # last: layers differ from recipe to recipe
    return frame


def table(runs: "list[Run]") -> "DataFrame":
    """A row per recipe: n, mean and standard deviation (divisor n - 1) over seeds.

    Sparsity and error are percent. `source_*` is what the paper, or a prototype, reports.
    """
    import pandas as pd

    each = per_run(runs)
    rows = []
    for name, some in each.groupby("recipe", sort=False):
        good = some[some["failure"] == ""]
        row: dict[str, Any] = {"recipe": name, "n": len(good), "failed": len(some) - len(good)}
        for measure in MEASURES:
            row[measure] = good[measure].mean()
            row[f"{measure}_sd"] = good[measure].std(ddof=1)
        rows.append({**row, **_reported(str(name))})
    return pd.DataFrame(rows)


def write(runs: "list[Run]", out: Path) -> None:
    """table.csv, runs.csv and figure.png: all of them whole, or none."""
    from regdyn import store

    with ExitStack() as files:
        for name, frame in {"table.csv": table(runs), "runs.csv": per_run(runs)}.items():
            path = files.enter_context(store.temporary(out / name))
            frame.to_csv(path, index=False, float_format="%.4g", lineterminator="\n")
        draw(runs).savefig(files.enter_context(store.temporary(out / "figure.png")))


def show(runs: "list[Run]") -> None:
    """Print the table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    heads = (
        "recipe",
        "n",
        "inactive %",
        "by activation %",
        "test error %",
        "s",
        "source: %, error %",
    )
    grid = Table(box=box.SIMPLE_HEAD)
    for head in heads:
        grid.add_column(head, justify="left" if head == "recipe" else "right", no_wrap=True)
    for row in table(runs).to_dict("records"):
        grid.add_row(
            row["recipe"], f"{row['n']}" + (f" ({row['failed']} failed)" if row["failed"] else ""),
            *(_spread(row, name) for name in MEASURES[:3]), _number(row["seconds"], 0),
            f"{_number(row['source_sparsity'])}, {_number(row['source_error'])}",
        )  # fmt: skip
    Console(width=160).print(grid)


def draw(runs: "list[Run]") -> "Figure":
    """Sparsity against test error: small points are runs, numbered ones means with spread."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    rows = [row for row in table(runs).to_dict("records") if _is_number(row["test_error"])]
    good = [run for run in runs if _is_number(run.summary.get("test_error"))]
    with rc_context(STYLE):
        lines = min(len(rows), NUMBERED) + 10  # of the legend
        figure = Figure(figsize=(7.2, max(4.4, 0.17 * lines)))
        ax = figure.subplots()
        for run in good:
            colour, mark = _look(run)
            x, y = run.summary["test_error"], run.summary["sparsity_gamma"]
            ax.plot(x, y, mark, color=colour, markersize=3, alpha=0.5, markeredgewidth=0)
        for number, row in enumerate(rows, 1):
            _point(ax, row, number, next(run for run in good if run.name == row["recipe"]))
        _legend(ax, good)
        ax.set(xlabel="test error (%)", ylabel=r"filters with $|\gamma| < 10^{-3}$ (%)")
        ax.margins(0.08)
    return figure


def _point(ax: Any, row: dict[str, Any], number: int, run: "Run") -> None:
    """Mean with spread; open, and joined by a dotted line: what the source reports."""
    colour, mark = _look(run)
    x, y = row["test_error"], row["sparsity_gamma"]
    if row["n"] > 1:
        bars = {"xerr": row["test_error_sd"], "yerr": row["sparsity_gamma_sd"]}
        ax.errorbar(x, y, **bars, fmt="none", ecolor=colour, elinewidth=0.8, capsize=2)
    if _is_number(row["source_sparsity"]) and _is_number(row["source_error"]):
        there = (row["source_error"], row["source_sparsity"])
        ax.plot([x, there[0]], [y, there[1]], color=colour, linewidth=0.7, linestyle=":")
        ax.plot(*there, mark, color=colour, markersize=8, markerfacecolor="none")
    name = f"{number:2}  {row['recipe']}" if number <= NUMBERED else None
    ax.plot(x, y, mark, color=colour, markersize=10, label=name)
    if name:
        style = {"color": "white", "fontsize": 6.5, "ha": "center", "va": "center_baseline"}
        ax.annotate(f"{number}", (x, y), weight="bold", **style)


def _legend(ax: Any, runs: "list[Run]") -> None:
    """The numbers; the rules and regularisers that occur; open is what the source reports."""
    for opt, colour in INK.items():
        if any(run.config.optim.opt == opt for run in runs):
            ax.plot([], [], color=colour, linewidth=4, label=opt)
    for reg, mark in MARKS.items():
        if any(run.config.optim.reg == reg for run in runs):
            ax.plot([], [], mark, color="0.4", label=reg)
    ax.plot([], [], "o", color="0.4", markerfacecolor="none", label="as the source reports")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, markerscale=0.6)


def _look(run: "Run") -> tuple[str, str]:
    optim = run.config.optim
    return INK.get(optim.opt, "0.3"), MARKS.get(optim.reg, "o")


def _reported(name: str) -> dict[str, Any]:
    """What a recipe's source reports; nothing for a setting that is no recipe."""
    from cnn import recipes

    if name not in recipes.names():
        return {"source": "", "source_sparsity": None, "source_error": None}
    recipe = recipes.get(name)
    source = recipe.source if recipe.source != "ours" else recipe.note
    return {
        "source": source, "source_sparsity": recipe.sparsity, "source_error": recipe.error,
    }  # fmt: skip


def _spread(row: dict[str, Any], name: str) -> str:
    text = _number(row[name])
    return f"{text} ± {_number(row[f'{name}_sd'])}" if _is_number(row[f"{name}_sd"]) else text


def _number(value: Any, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if _is_number(value) else "-"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value  # not None, not NaN
