"""``python -m cnn.validate forecast RUN --at 0.1``: which filters will be gone, when, and why."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from regdyn.checks import finite

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Settings:
    """Forecast the fate of every filter of a run from its first steps; compare if it is finished.

    Prints a table of layers. Writes forecast.nc (every filter), forecast.json (shares in percent)
    and forecast.png to --out.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a run of cnn.train."""
    at: float = 0.1
    """Share of the run's steps after which the forecast is made; nothing later is read."""
    pilot: Path | None = None
    """Folder of a finished run of the same network and data, with another seed or setting."""
    out: Path | None = None
    """Folder for the results [default: RUN/forecast]."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON in place of the table."""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    settings = tyro.cli(Settings, prog="python -m cnn.validate forecast", args=argv)
    from cnn.validate import folders
    from regdyn import forecast, store

    finite("--at", settings.at, 0.0, 1.0, open_below=True, open_above=True)
    run, config = folders.for_forecast(settings.run)
    pilot = None if settings.pilot is None else folders.for_forecast(settings.pilot)[0]
    at = max(int(settings.at * run.steps), 1)
    ds = forecast.of_run(run, at, pilot)
    finished = run.record.step[-1] >= run.steps
    true = forecast.measured(run) if finished else None
    words = summary(ds, true)
    with store.folder(settings.out or settings.run / "forecast") as folder:
        from cnn.validate.pictures_forecast import draw

        figure = draw(ds, run.record, f"{config.data.name}, forecast after {at} steps")
        with store.temporary(folder / "forecast.png") as name:
            figure.savefig(name, format="png", dpi=150)
        with store.temporary(folder / "forecast.nc") as name:
            ds.to_netcdf(name, engine="netcdf4")
        with store.temporary(folder / "forecast.json") as name:
            Path(name).write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
    if settings.as_json:
        print(json.dumps(words))
    else:
        show(ds, true)
        print(f"written to {folder}: forecast.nc, forecast.json, forecast.png")
    return 0


def summary(ds: "xr.Dataset", true: Any = None) -> dict[str, Any]:
    """Shares in percent, for JSON; with what the run came to, if it is finished."""
    words = {
        "share": round(float(ds["total"]), 2), "share_lo": round(float(ds["total_lo"]), 2),
        "share_hi": round(float(ds["total_hi"]), 2),
        "layers": dict(zip(ds["layer_name"].values.tolist(), _rounded(ds["share"]), strict=True)),
    }  # fmt: skip
    if true is not None:
        layers = zip(ds["layer_name"].values.tolist(), _rounded(true.share), strict=True)
        words |= {"measured": round(true.total, 2), "measured_layers": dict(layers)}
    return words


def show(ds: "xr.Dataset", true: Any = None) -> None:
    """Print a table of the layers, and the reasons."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="filters that are gone at the end, percent")
    for column in ("layer", "forecast", "80 % interval", *(["measured"] if true else [])):
        table.add_column(column, justify="left" if column == "layer" else "right")
    names = [*ds["layer_name"].values, "all"]
    columns = [[*ds[f"share{end}"].values, float(ds[f"total{end}"])] for end in ("", "_lo", "_hi")]
    found = [*true.share, true.total] if true else [0.0] * len(names)
    for name, share, lo, hi, came in zip(names, *columns, found, strict=True):
        last = [f"{came:.1f}"] if true else []
        table.add_row(str(name), f"{share:.1f}", f"{lo:.0f} to {hi:.0f}", *last)
    console = Console(width=100)
    console.print(table)
    if "reason" in ds:
        reasons, counts = np.unique(ds["reason"].values.astype(str), return_counts=True)
        for count, reason in sorted(zip(counts, reasons, strict=True), reverse=True):
            console.print(f"{count:5d}  {reason}", highlight=False)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 2) for value in values]
