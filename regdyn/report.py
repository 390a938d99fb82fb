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


def compared(ds: "xr.Dataset", theory: "xr.Dataset") -> list[dict[str, Any]]:
    """One row per setting: the prediction's numbers, and its errors relative to the simulation's.

    An error is None where the simulation has no number other than 0, or the prediction none.
    """
    table = []
    for measured, predicted in zip(rows(ds), rows(theory), strict=True):
        errors = {
            name: _number(predicted[name] / measured[name] - 1)
            if measured[name] and predicted[name] is not None
            else None
            for name in (*TIMES, "rms")
        }
        table.append({**predicted, "error": errors})
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
        shown.add_row(*cells, *(_cell(row[name], name) for name in (*TIMES, "rms")))
    return shown


def compared_table(rows_: list[dict[str, Any]], theory: list[dict[str, Any]]) -> "Table":
    """Simulation and prediction side by side for a terminal: a row per setting and quantity."""
    from rich import box
    from rich.table import Table

    title = "first step with |theta| below, median; and late rms"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    vector = "param" in rows_[0]
    for name in ("rule", "reg"):
        shown.add_column(name)
    numbers = ("lambda", *(["param"] if vector else []), "level", "simulated", "predicted", "error")
    for name in numbers:
        shown.add_column(name, justify="right", no_wrap=True)
    for measured, predicted in zip(rows_, theory, strict=True):
        setting = [measured["rule"], measured["reg"], f"{measured['lam']:g}"]
        setting += [str(measured["param"])] if vector else []
        for name in (*TIMES, "rms"):
            error = predicted["error"][name]
            label = f"{TIMES[name]:g}" if name in TIMES else "late rms"
            cells = [_cell(row[name], name) for row in (measured, predicted)]
            shown.add_row(*setting, label, *cells, "-" if error is None else _percent(error))
            setting = [""] * len(setting)
        shown.add_section()
    return shown


def _cell(value: float | None, name: str) -> str:
    """A time or a size as the tables print it."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if name in TIMES else f"{value:.3g}"


def _percent(error: float) -> str:
    """A signed error in percent; what rounds to 0 has no sign."""
    return f"{error:+.1%}" if abs(error) >= 5e-4 else "0.0%"
