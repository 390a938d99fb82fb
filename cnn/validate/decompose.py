"""``python -m cnn.validate decompose RUN``: what of a run's sparsity is due to what."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

from cnn.config import Config
from regdyn.filters.record import Run

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

CASES = {
    "noise+push+hold+death": "all, replayed",
    "noise+hold+death": "without the loss's push",
    "noise+push+death": "without what holds",
    "noise+death": "without both",
    "noise+push+hold": "without the ReLU's death",
    "push+hold+death": "without noise",
    "decay": "decay alone",
}
"""What the table shows."""
MORE, LESS, TOTAL = "#d55e00", "#0072b2", "0.6"  # told apart by all kinds of colour vision


@dataclass(frozen=True)
class Settings:
    """How much of a run's sparsity is speed of decay, noise, the loss's push and hold, dead ReLUs.

    The gradients of gamma are replayed with some of it left out. Written to --out:
    decomposition.nc, decomposition.png. docs/forecast.md says what a replay cannot know.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a finished run of cnn.train; with --tape, its gradients are known step by step."""
    out: Path = Path("results/decomposition")
    """Folder for the results."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the noise within a window."""
    span: int = 500
    """Steps over which a mean is slow: push or hold, and not noise."""


def main(argv: list[str] | None = None) -> int:
    """Replay, print, draw and write."""
    settings = tyro.cli(Settings, prog="python -m cnn.validate decompose", args=argv)
    from rich.console import Console

    from cnn.validate import folders
    from regdyn import store
    from regdyn.decomposition import decompose
    from regdyn.progress import bar

    run, config = folders.load(settings.run)
    run = of_gamma(run, config)
    total = run.steps * run.record.filters * len(settings.seeds)
    with store.folder(settings.out) as out:
        with bar("replaying", total) as advance:
            ds = decompose(
                run, seeds=settings.seeds, span=settings.span, tape=_tape(settings.run),
                progress=advance,
            )  # fmt: skip
        words = {"config": json.dumps(asdict(settings), default=str), "run": settings.run.name}
        ds = ds.assign_attrs(words, **store.provenance())
        store.save(ds, out / "decomposition.nc")
        with store.temporary(out / "decomposition.png") as name:
            draw(ds).savefig(name)
    console = Console(width=100)
    console.print(shares(ds))
    console.print(changes(ds))
    agree = ds["agreement"].sel(layer="all").values.mean()
    print(f"the replay gives {agree:.1f} % of the filters the fate that they had")
    print(f"written to {settings.out}{os.sep}: decomposition.nc, decomposition.png")
    return 0


def of_gamma(run: Run, config: Config) -> Run:
    """The run as BatchNorm's gamma sees it: with its own learning rate, and regularised or not."""
    optim = config.optim
    rule = run.rule._replace(lr=run.rule.lr * optim.gamma_lr)
    return (
        run._replace(rule=rule, lam=0.0) if optim.regularize != "all" else run._replace(rule=rule)
    )


def _tape(folder: Path) -> np.ndarray | None:
    """The gradients of all steps, if the run recorded them and skipped none."""
    from regdyn import store

    ds = store.load(folder / "run.nc")
    if "tape" not in ds or bool(ds["tape"].isnull().any()):
        return None
    return ds["tape"].transpose("t", "filter").values.astype(float)


# Tables and picture ------------------------------------------------------------------------------


def shares(ds: "xr.Dataset") -> "Table":
    """Dead filters per layer, in percent: in the run, and in the replays of `CASES`."""
    shown = _table("dead filters, %; mean ± spread over seeds", ds["layer"].values.tolist())
    shown.add_row("the run", *(f"{x:.0f}" for x in ds["measured"].values), "", _step(ds, None))
    for case, about in CASES.items():
        one = ds["share"].sel(case=case)
        spread = f"± {one.sel(layer='all').values.std():.1f}"
        cells = (f"{x:.0f}" for x in one.mean("seed").values)
        shown.add_row(about, *cells, spread, _step(ds, case))
    return shown


def _step(ds: "xr.Dataset", case: str | None) -> str:
    """Median step at which those that died in the run passed 1e-2."""
    if case is None:
        return ""
    late = ds["time"].sel(case=case, layer="all").values
    return "-" if np.isnan(late).any() else f"{late.mean():.0f}"


def changes(ds: "xr.Dataset") -> "Table":
    """What each factor adds to the share of dead filters, in three ways of counting."""
    names = ds["layer"].values.tolist()
    shown = _table("change of the share, points", names, step=False)
    for effect in ds["effect"].values.tolist():
        for factor in ds["factor"].values.tolist():
            one = ds["change"].sel(effect=effect, factor=factor)
            spread = f"± {one.sel(layer='all').values.std():.1f}"
            cells = (f"{x:+d}" if x else "0" for x in np.rint(one.mean("seed").values).astype(int))
            shown.add_row(f"{factor}, {effect}", *cells, spread)
        shown.add_section()
    return shown


def _table(title: str, layers: list[str], *, step: bool = True) -> "Table":
    from rich import box
    from rich.table import Table

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("", *layers, "", *(["1e-2 at step"] if step else [])):
        shown.add_column(name, justify="right" if shown.columns else "left", no_wrap=True)
    return shown


def draw(ds: "xr.Dataset") -> "Figure":
    """From decay alone to the run, by the mean contribution of each factor; a panel per layer."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    names = ["all", *(str(x) for x in ds["layer"].values if x != "all")]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with rc_context(STYLE):
        fig = Figure(figsize=(7.5, 0.6 + 2.2 * rows))
        axes = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for ax in axes.flat[len(names) :]:
            ax.set_visible(False)
        for name, ax in zip(names, axes.flat, strict=False):
            _waterfall(ax, ds.sel(layer=name))
            ax.set_title(f"{name}: {float(ds['measured'].sel(layer=name)):.0f} % dead")
        for row in axes:
            row[0].set_ylabel("dead filters, %")
        fig.suptitle(
            "Replayed: mean over the orders in which the parts can be added; bars: spread of seeds",
            fontsize=9, x=0.01, ha="left",
        )  # fmt: skip
    return fig


def _waterfall(ax: "Axes", ds: "xr.Dataset") -> None:
    """Decay alone, the factors one after the other, all of them, the run."""
    factors = ds["factor"].values.tolist()
    part = ds["change"].sel(effect="shapley")
    change, spread = part.mean("seed").values, part.std("seed").values
    level = float(ds["share"].sel(case="decay").mean("seed")) + np.cumsum([0.0, *change])
    at = np.arange(1, len(factors) + 1)
    colours = [MORE if x > 0 else LESS for x in change]
    ax.bar(at, change, bottom=level[:-1], color=colours, yerr=spread, error_kw={"lw": 0.8})
    ends = {0: level[0], len(factors) + 1: level[-1], len(factors) + 2: float(ds["measured"])}
    ax.bar(list(ends), list(ends.values()), color=TOTAL)
    for i, y in enumerate(level):
        ax.plot([i - 0.4, i + 1.4], [y, y], color="0.3", linewidth=0.6)
    labels: list[Any] = ["decay", *factors, "replay", "run"]
    ax.set_xticks(range(len(labels)), labels=labels, rotation=90)
    ax.set_ylim(0, 105)
    ax.grid(axis="x", visible=False)
    ax.set_axisbelow(True)
