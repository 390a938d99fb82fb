r"""Monte Carlo reference: what is measured of a cell, with its standard error.

Times are not Gaussian and may be censored, so an uncertainty is given as an interval of 3 standard
errors, (low, value, high):

* time at which the mean of theta over lanes first falls below a level b, linear between recorded
  steps. The interval holds the times at which the mean may be b: from the first one at which it is
  less than 3 standard errors std / sqrt(n) above, to the last one at which it is less than 3 below.
  (What is after the mean has been 6 below does not count: a mean may swing.)
* median first passage of |theta|: the order statistics of rank n/2 -+ 3 sqrt(n)/2. Exact: tested at
  every step.

`inf` is later than the last step. The late rms has a standard error from the spread over lanes of
each lane's mean square over the last tenth of the run.
"""

from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sims._theory_design import LANES, STEPS, THETA0, Cell

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

LEVELS = {"t50": 0.5, "t10": 0.1}  # of the mean
PASSAGES = {"p50": 0.5, "p10": 0.1, "p1e-2": 1e-2, "p1e-3": 1e-3}  # of |theta|
HYPER = ("lr", "momentum", "beta1", "beta2", "rho", "alpha", "eps")
BATCH = 1024  # lanes whose trajectories are held at a time, of a grid of settings
Z = 3.0  # standard errors


def record(steps: int) -> np.ndarray:
    """Steps at which the mean is recorded: 1500 logarithmic and 500 even ones, and the start."""
    dense = np.geomspace(1, steps, 1500)
    return np.unique(np.round(np.append(dense, np.linspace(0, steps, 501))).astype(np.int64))


def measure(
    cells: list[Cell], *, lanes: int = LANES, steps: int = STEPS, seed: int = 0
) -> "pd.DataFrame":
    """One row per cell: its settings, and what `simulate` gives."""
    import pandas as pd

    grids = simulations(cells, lanes=lanes, steps=steps, seed=seed)
    return pd.DataFrame([row for some, ds in grids for row in rows(some, ds)])


def simulations(
    cells: list[Cell], *, lanes: int, steps: int, seed: int
) -> Iterator[tuple[list[Cell], "xr.Dataset"]]:
    """Cells under one gradient process, a grid, and their simulation, process by process.

    The cells of a grid share their noise; grid number k has the seed `seed` + k.
    """
    for k, (some, (rule, reg, lam, gradient)) in enumerate(grids(cells)):
        yield some, _simulate(rule, reg, lam, gradient, lanes, steps, seed + k)


def grids(cells: list[Cell]) -> "Iterator[tuple[list[Cell], list[Any]]]":
    """Neighbouring cells under one gradient process; their rules, regularisers, strengths, it."""
    for gradient, group in groupby(cells, key=lambda cell: cell.gradient):
        some = list(group)
        axes = [list(dict.fromkeys(values)) for values in list(zip(*some, strict=True))[:3]]
        if len(some) != np.prod([len(axis) for axis in axes]):
            raise ValueError("the cells of one gradient process must be a whole grid.")
        yield some, [*axes, gradient]


def _simulate(
    rule: list[Any], reg: list[str], lam: list[float], gradient: Any, lanes: int, steps: int,
    seed: int,
) -> "xr.Dataset":  # fmt: skip
    """A grid, in batches of lanes that fit the memory: moments, passages, late mean squares."""
    import xarray as xr

    from regdyn import simulate

    single = len(rule) * len(reg) * len(lam) == 1
    cuts = [*range(0, lanes, 4 * BATCH if single else BATCH), lanes]
    parts = []
    for first, end in pairwise(cuts):
        ds = simulate(
            rule, reg, lam, gradient=gradient, steps=steps, lanes=range(first, end), theta0=THETA0,
            seed=seed, record=record(steps), thresholds=list(PASSAGES.values()),
            keep_lanes=True, keep_passages=True,
        )  # fmt: skip
        late = ds["theta"].sel(step=slice(0.9 * steps, None))
        kept = ds[["mean", "std", "share_below", "first_passage"]]
        parts.append(kept.assign(late=(late**2).mean("step", skipna=False)))
    n = xr.DataArray([part.sizes["lane"] for part in parts], dims="batch")

    def pooled(values: list[Any]) -> "xr.DataArray":
        return xr.concat(values, "batch").weighted(n).mean("batch", skipna=False)

    mean = pooled([part["mean"] for part in parts])
    square = [part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts]
    return xr.Dataset(
        {
            "mean": mean,
            "std": pooled(square) ** 0.5,
            "share_below": pooled([part["share_below"] for part in parts]),
            "first_passage": xr.concat([part["first_passage"] for part in parts], "lane"),
            "late": xr.concat([part["late"] for part in parts], "lane"),
        },
        attrs={"seed": seed, "lanes": lanes},
    )


def rows(cells: list[Cell], ds: "xr.Dataset") -> Iterator[dict[str, Any]]:
    """The settings and the measurements of each cell of a grid."""
    for cell, one in split(cells, ds):
        yield settings(cell) | measurements(one)


def split(cells: list[Cell], ds: "xr.Dataset") -> "Iterator[tuple[Cell, xr.Dataset]]":
    """Each cell of a grid and its part of the data."""
    names = dict(zip(dict.fromkeys(cell.rule for cell in cells), ds["rule"].values, strict=True))
    for cell in cells:
        yield cell, ds.sel(rule=names[cell.rule], reg=cell.reg, lam=cell.lam)


def settings(cell: Cell) -> dict[str, Any]:
    """The columns that say what a cell is; what a rule does not have is NaN."""
    from regdyn import rules

    hyper = cell.rule._asdict()
    noise = cell.gradient._asdict()
    return {
        "rule": rules.name_of(cell.rule),
        "reg": cell.reg,
        "lam": cell.lam,
        "std": noise["std"],
        "std0": noise.get("std0", noise["std"]),
        "steps0": noise.get("steps0", 0),
        **{name: hyper.get(name, np.nan) for name in HYPER},
    }


def measurements(ds: "xr.Dataset") -> dict[str, float]:
    """Of one cell: times as (low, value, high), the late rms, and the end."""
    step, mean, std = (ds[name].values for name in ("step", "mean", "std"))
    n = ds.sizes["lane"]
    error = Z * std / np.sqrt(n)
    out: dict[str, float] = {}
    for name, level in LEVELS.items():
        out[name] = crossing(step, mean, level)
        out[f"{name}_low"] = crossing(step, mean - error, level)
        out[f"{name}_high"] = last_crossing(step, mean + error, level, mean + 2 * error < level)
    for name, level in PASSAGES.items():
        out |= passage(name, ds["first_passage"].sel(threshold=level).values)
    late = ds["late"].values
    rms = np.sqrt(late.mean())
    out |= {"late": rms, "late_se": late.std() / np.sqrt(n) / (2 * rms) if rms > 0 else 0.0}
    out |= {"mean": mean[-1], "sd": std[-1]}
    for name, level in PASSAGES.items():
        out[f"below_{name[1:]}"] = float(ds["share_below"].sel(threshold=level)[-1])
    return out | {"lanes": n, "seed": ds.attrs["seed"]}


def crossing(step: np.ndarray, y: np.ndarray, level: float) -> float:
    """First time at which y, linear between the steps, is below the level; inf if never."""
    below = y < level
    k = int(below.argmax())
    if not below[k]:
        return np.inf
    if k == 0:
        return float(step[0])
    part = (y[k - 1] - level) / (y[k - 1] - y[k])
    return float(step[k - 1] + part * (step[k] - step[k - 1]))


def last_crossing(step: np.ndarray, y: np.ndarray, level: float, over: np.ndarray) -> float:
    """Last time at which y falls below the level before `over` is true; inf if it has not."""
    end = int(over.argmax()) + 1 if over.any() else len(y)
    above = np.flatnonzero(y[:end] >= level)
    start = int(above[-1]) if len(above) else 0
    return crossing(step[start:end], y[start:end], level)


def passage(name: str, first: np.ndarray) -> dict[str, float]:
    """Median of first passages over lanes and its order-statistic interval; NaN never passes."""
    ordered = np.sort(np.where(np.isnan(first), np.inf, first))
    n, half = len(ordered), Z * np.sqrt(len(ordered)) / 2
    low, high = int(n / 2 - half), int(np.ceil(n / 2 + half))
    middle = ordered[(n - 1) // 2], ordered[n // 2]
    return {
        name: float(np.mean(middle) if np.isfinite(middle[1]) else middle[0]),
        f"{name}_low": float(ordered[max(low, 0)]),
        f"{name}_high": float(ordered[min(high, n - 1)]),
    }
