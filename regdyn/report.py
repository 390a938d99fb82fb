"""What a result says, in a few numbers per setting."""

import math
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

TIMES = {"t50": 0.5, "t10": 0.1, "t1e-2": 1e-2, "t1e-3": 1e-3}
LATE = 0.1  # share of the run, at its end, over which the late rms is taken


def late_rms(ds: "xr.Dataset") -> "xr.DataArray":
    """Root mean square of theta over lanes and over the recorded steps of the last tenth."""
    last = ds["rms"].sel(step=slice((1 - LATE) * float(ds["step"][-1]), None))
    return (last**2).mean("step", skipna=False) ** 0.5


def rows(ds: "xr.Dataset") -> list[dict[str, Any]]:
    """One row per setting; times in steps, None where fewer than half of the lanes get there.

    A vector parameter gets one row per entry, numbered by `param`.
    """
    if "first_passage_median" not in ds:
        raise ValueError("a table needs first passages: simulate with statistics='full'.")
    passage, late = ds["first_passage_median"], late_rms(ds)
    params = [None] if "param" not in ds.dims else ds["param"].values.tolist()
    table = []
    grid = product(ds["rule"].values, ds["reg"].values, ds["lam"].values)
    for rule, reg, lam in grid:
        for param in params:
            at: dict[str, Any] = {"rule": str(rule), "reg": str(reg), "lam": float(lam)}
            here = at if param is None else at | {"param": param}
            times = {
                name: _number(passage.sel(**here, threshold=b)) if b in ds["threshold"] else None
                for name, b in TIMES.items()
            }
            table.append({**here, **times, "rms": _number(late.sel(**here))})
    return table


def _number(value: Any) -> float | None:
    """A JSON number: None if it is not finite, whole numbers without a point."""
    value = float(value)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def table(rows_: list[dict[str, Any]]) -> "Table":
    """The rows for a terminal."""
    from rich import box
    from rich.table import Table

    title = "first step with |theta| below, median"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("rule", "reg"):
        shown.add_column(name)
    shown.add_column("lambda", justify="right")
    vector = "param" in rows_[0]
    if vector:
        shown.add_column("param", justify="right")
    for b in TIMES.values():
        shown.add_column(f"{b:g}", justify="right", no_wrap=True)
    shown.add_column("late rms", justify="right", no_wrap=True)
    for row in rows_:
        cells = [row["rule"], row["reg"], f"{row['lam']:g}"]
        cells += [str(row["param"])] if vector else []
        cells += ["-" if row[name] is None else f"{row[name]:,.0f}" for name in TIMES]
        cells += ["-" if row["rms"] is None else f"{row['rms']:.3g}"]
        shown.add_row(*cells)
    return shown
