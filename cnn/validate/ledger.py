"""``python -m cnn.validate ledger RUN``: how and when each filter of a run died."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

ABSORBED = "#d55e00"  # vermilion: told from cividis by all kinds of colour vision


@dataclass(frozen=True)
class Settings:
    """When each filter fired last, fell below thresholds, came back; and how it died.

    Written to --out: ledger.nc (docs/forecast.md), ledger.png.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a finished run of cnn.train."""
    out: Path = Path("results/ledger")
    """Folder for the results."""
    silence: int = 200
    """Steps without gradient, up to the end, after which a filter counts as absorbed."""


def main(argv: list[str] | None = None) -> int:
    """Print, draw and write the ledger of a run."""
    settings = tyro.cli(Settings, prog="python -m cnn.validate ledger", args=argv)
    from rich.console import Console

    from cnn.validate import folders
    from regdyn import store
    from regdyn.ledger import ledger, silences

    run, _ = folders.load(settings.run)
    ds = ledger(run.record, silence=settings.silence)
    words = {"config": json.dumps(asdict(settings), default=str), "run": settings.run.name}
    ds = ds.assign_attrs(words, **store.provenance())
    with store.folder(settings.out) as out:
        store.save(ds, out / "ledger.nc")
        with store.temporary(out / "ledger.png") as name:
            draw(ds).savefig(name)
    Console(width=100).print(table(ds))
    long = silences(run.record)
    woken = long.woken[long.steps >= settings.silence]
    print(f"{len(woken)} silences of {settings.silence} steps or more; {woken.sum()} of them ended")
    print(f"written to {settings.out}{os.sep}: ledger.nc, ledger.png")
    return 0


def rows(ds: "xr.Dataset") -> list[dict[str, Any]]:
    """A row per layer and one for all: counts, and medians (None where there is no number)."""
    names = [str(name) for name in dict.fromkeys(ds["layer"].values.tolist())]
    return [_row(name, ds.isel(filter=ds["layer"].values == name)) for name in names] + [
        _row("all", ds)
    ]


def _row(name: str, ds: "xr.Dataset") -> dict[str, Any]:
    fate = ds["fate"].values
    absorbed = ds.isel(filter=fate == "absorbed")
    return {
        "layer": name,
        "filters": len(fate),
        "dead": int(ds["dead"].sum()),
        "worn_down": int((fate == "worn down").sum()),
        "absorbed": len(absorbed["fate"]),
        "below_1e-2": _median(ds["below_for_good"].sel(threshold=1e-2).values),
        "last_firing": _median(absorbed["last_firing"].values),
        "gamma_silenced": _median(absorbed["gamma_silenced"].values),
        "z": _median(absorbed["z"].values),
        "revived": int((ds["revivals"].sel(threshold=1e-2) > 0).sum()),
    }


def _median(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def table(ds: "xr.Dataset") -> "Table":
    """`rows` for a terminal."""
    from rich import box
    from rich.table import Table

    heads = {
        "layer": "", "filters": "", "dead": ".0f", "worn_down": ".0f", "absorbed": ".0f",
        "below_1e-2": ".0f", "last_firing": ".0f", "gamma_silenced": ".4f", "z": ".1f",
        "revived": ".0f",
    }  # fmt: skip
    titles = {
        "worn_down": "worn\ndown", "below_1e-2": "below\n1e-2 at", "last_firing": "absorbed\nat",
        "gamma_silenced": "|γ|\nthere", "z": "z\nthere", "revived": "back\nabove 1e-2",
    }  # fmt: skip
    shown = Table(title="how filters died (medians)", title_justify="left", box=box.SIMPLE_HEAD)
    for name in heads:
        shown.add_column(
            titles.get(name, name), justify="left" if name == "layer" else "right", no_wrap=True
        )
    for row in rows(ds):
        if row["layer"] == "all":
            shown.add_section()
        cells = (
            "-" if row[name] is None else f"{row[name]:{form}}" for name, form in heads.items()
        )
        shown.add_row(*cells)
    return shown


def draw(ds: "xr.Dataset") -> "Figure":
    """A line per filter over the steps, first those that fell first; a panel per layer.

    Colours: |gamma| above 1e-1, 1e-2, 1e-3 and below, as it stayed. A mark where an absorbed
    filter fired last.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from regdyn.plotting import STYLE, strength_label

    names = [str(name) for name in dict.fromkeys(ds["layer"].values.tolist())]
    levels = ds["threshold"].values.tolist()
    colours = [colormaps["cividis"](0.95 * (1 - i / len(levels))) for i in range(len(levels) + 1)]
    with rc_context(STYLE):
        fig = Figure(figsize=(7.5, 0.9 + 1.0 * len(names)))
        axes = fig.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
        for name, ax in zip(names, axes, strict=True):
            one = ds.isel(filter=ds["layer"].values == name)
            _lines(ax, one, int(ds.attrs["until"]), colours)
            fates = one["fate"].values
            ax.set_title(
                f"{name}: {len(fates)} filters, {(fates == 'worn down').sum()} worn down, "
                f"{(fates == 'absorbed').sum()} absorbed"
            )
        axes[-1].set_xlabel("step")
        labels = [f"|γ| ≥ {strength_label(levels[0])}"]
        labels += [f"< {strength_label(level)}" for level in levels]
        marks = [
            Line2D([], [], color=colour, linewidth=3, label=label)
            for colour, label in zip(colours, labels, strict=True)
        ]
        marks.append(
            Line2D([], [], color=ABSORBED, marker="o", markersize=3, ls="", label="absorbed")
        )
        fig.legend(handles=marks, loc="outside upper center", ncols=len(marks), fontsize=8)
    return fig


def _lines(ax: "Axes", ds: "xr.Dataset", until: int, colours: list) -> None:
    """Filters of a layer, from the bottom up in the order in which they fell."""
    fell = np.nan_to_num(ds["below_for_good"].values, nan=until)
    order = np.lexsort(np.roll(fell, 1, axis=0))  # by 1e-2, then 1e-1, then 1e-3
    edges = np.vstack([np.zeros(fell.shape[1]), fell, np.full(fell.shape[1], until)])[:, order]
    edges = np.maximum.accumulate(edges, axis=0)
    at = np.arange(fell.shape[1])
    for i, colour in enumerate(colours):
        ax.barh(at, np.diff(edges, axis=0)[i], left=edges[i], height=1.0, color=colour, lw=0)
    absorbed = ds["fate"].values[order] == "absorbed"
    ax.plot(
        ds["last_firing"].values[order][absorbed], at[absorbed], "o", markersize=2, color=ABSORBED
    )
    ax.set(xlim=(0, until), ylim=(-0.5, fell.shape[1] - 0.5), yticks=[])
    ax.grid(visible=False)
