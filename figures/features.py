r"""Filters of recorded runs: what Figures 2, 3 and 5 read, and how they show universality.

The universality of a filter is the percentage of training images that activate it, its selectivity
is 100 minus that (section 3 of the paper). The paper draws histograms. We draw the filters of a
layer in the order of their universality: nothing is binned, and how many are at 0 can be read off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COURSE", "FILTERS", "Curve", "axes_of_layers", "caption", "counted", "load", "ordered",
           "pooled", "rule_of", "runs_of", "said", "set_of", "show", "widths"]  # fmt: skip

FILTERS, COURSE = "reproduce-filters.nc", "reproduce-course.nc"
SETS = {
    "pairs2": "2 labels", "pairs10": "10 labels", "pairs100": "100 labels", "digits": "digits",
}  # fmt: skip
SLOT = 0.42  # half of the room of a layer, in layers
LINES = (-11, -26)  # where the shares at 0 are written, below the axis


class Curve(NamedTuple):
    """An experiment in a panel: its runs, what it is called there, its colour."""

    name: str
    label: str
    colour: str


# Data -------------------------------------------------------------------------------------------


def load(path: Path) -> xr.Dataset:
    """The filters of recorded runs, read into memory."""
    import xarray as xr

    return xr.load_dataset(path, engine="netcdf4")


def runs_of(data: xr.Dataset, name: str) -> xr.Dataset:
    """The runs of an experiment, one for each seed.

    Raises
    ------
    ValueError
        If the data hold no run of this name.
    """
    rows = np.flatnonzero(data["name"].values.astype(str) == name)
    if rows.size == 0:
        raise ValueError(f"there is no recorded run {name!r}: python -m cnn.reproduce trains it.")
    return data.isel(run=rows)


def pooled(data: xr.Dataset, name: str, layer: int, variable: str = "universality") -> np.ndarray:
    r"""The filters of one layer, those of all seeds together, seed after seed.

    Parameters
    ----------
    data : xarray.Dataset
        Dimensions run and filter, coordinates name (run) and layer (run, filter).
    name : str
        Of the experiment, such as ``"pairs100/adam-l2-1e-3"``.
    layer : int
        6 is C6.
    variable : str, default "universality"
        ``"universality"`` (percent of the training images), ``"gamma"`` or ``"beta"``.

    Returns
    -------
    ndarray of float, shape (filters of all seeds,)

    Raises
    ------
    ValueError
        If the data hold no such run, or it has no such layer, or a value is not finite.
    """
    runs = runs_of(data, name)
    found = runs[variable].values[runs["layer"].values == layer]
    if found.size == 0 or not np.isfinite(found).all():
        what = "filters" if found.size == 0 else f"finite {variable}"
        raise ValueError(f"run {name!r} has no {what} in layer C{layer}.")
    return found


def ordered(data: xr.Dataset, name: str, layer: int) -> tuple[np.ndarray, int]:
    r"""Universality of the filters of one layer, the least first, and how many are left out.

    Activations are divided by the filter's own largest, so universality does not see how strong
    they are. A filter with :math:`|\gamma| < 10^{-3}` that some image activates, however weakly,
    can have a universality of 100. Such filters are left out.

    Returns
    -------
    values : ndarray of float
        Percent of the training images, sorted; 0 for what no image activates.
    weak : int
        Number of filters that are left out.
    """
    from regdyn.plotting import COLLAPSED

    values = pooled(data, name, layer)
    weak = (np.abs(pooled(data, name, layer, "gamma")) < COLLAPSED) & (values > 0)
    return np.sort(values[~weak]), int(weak.sum())


def widths(data: xr.Dataset, name: str, layers: tuple[int, ...]) -> list[int]:
    """Number of filters of each layer of an experiment's network."""
    seeds = runs_of(data, name).sizes["run"]
    return [len(pooled(data, name, layer)) // seeds for layer in layers]


# Words ------------------------------------------------------------------------------------------


def set_of(name: str) -> str:
    """Data set of an experiment: pairs100/adam-l2-1e-3 gives 100 labels."""
    prefix = name.partition("/")[0]
    return SETS.get(prefix, prefix)


def rule_of(name: str) -> str:
    """Rule, regulariser and strength: pairs100/adam-l2-1e-3 gives adam, l2 1e-3."""
    rule, reg, *strength = name.rpartition("/")[2].split("-", 2)
    return f"{rule}, {' '.join([reg, *strength])}"


def counted(data: xr.Dataset, names: list[str]) -> str:
    """How many seeds the experiments have: 3 seeds, or 2 to 3 seeds."""
    n = sorted({runs_of(data, name).sizes["run"] for name in names})
    if n == [1]:
        return "1 seed"
    return f"{n[0]} seeds" if len(n) == 1 else f"{n[0]} to {n[-1]} seeds"


def said(share: float) -> str:
    """A percentage without decimals; with one where it would be rounded to 0."""
    return f"{share:.1f} %" if 0 < share < 1 else f"{share:.0f} %"


def caption(fig: Figure, text: str, width: int) -> None:
    """Text below the panels, in lines of so many letters."""
    from textwrap import fill

    fig.supxlabel(fill(text, width), fontsize=8, x=0.01, ha="left")


# A panel ----------------------------------------------------------------------------------------


def axes_of_layers(ax: Axes, layers: tuple[int, ...]) -> None:
    """A slot for each layer; universality upwards, room for the shares at 0 below."""
    ax.set_xlim(-0.55, len(layers) - 0.45)
    ax.set_xticks(range(len(layers)), [f"C{layer}" for layer in layers])
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.set_ylim(LINES[-1] - 9, 104)
    ax.set_yticks(range(0, 101, 25))
    ax.spines["left"].set_bounds(0, 100)
    ax.set_ylabel("universality, %", y=0.63)
    for border in range(1, len(layers)):
        ax.axvline(border - 0.5, color="0.8", linewidth=0.6)


def show(ax: Axes, data: xr.Dataset, layers: tuple[int, ...], curves: tuple[Curve, ...]) -> None:
    """The filters of each layer in the order of their universality; the first curve is filled.

    A slot is as wide as all filters of the layer: what `ordered` leaves out is a gap at its right
    end. Below stands how many are at 0, a line for each curve.
    """
    axes_of_layers(ax, layers)
    for nth, (name, label, colour) in enumerate(curves):
        for at, layer in enumerate(layers):
            values, weak = ordered(data, name, layer)
            every = len(values) + weak
            edges = at + SLOT * np.linspace(-1, 1, every + 1)[: len(values) + 1]
            if nth == 0:
                ax.stairs(values, edges, fill=True, color=colour, alpha=0.25, linewidth=0)
            ax.stairs(
                values, edges, baseline=None, color=colour, linewidth=1.8,
                label=label if at == 0 else None,
            )  # fmt: skip
            share = 100.0 * np.count_nonzero(values == 0) / every
            ax.text(at, LINES[nth], said(share), color=colour, ha="center", va="center", fontsize=8)
