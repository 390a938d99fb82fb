"""Pictures of probabilities and orders: reliability, and ROC curves beside the replay limit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from regdyn import scores

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = {
    "forecast": ("#000000", "-"), "forecast, own record": ("#000000", "--"),
    "logistic": ("#0072B2", "-"), "abs_gamma": ("#D55E00", "-"),
    "linear_drift": ("#E69F00", "-"), "frozen_sigma": ("#009E73", "-"),
    "pilot_sigma": ("#56B4E9", "-"), "same_as_pilot": ("#CC79A7", "-"),
}  # fmt: skip
LIMIT = "0.45"  # grey of the replay limit
GRID = np.linspace(0.0, 1.0, 201)


def draw_reliability(
    ds: "xr.Dataset", methods: Sequence[str] = ("forecast", "forecast, own record", "logistic")
) -> "Figure":
    """Share of filters that died against the chance they were given; below, how many there are.

    Parameters
    ----------
    ds : xarray.Dataset
        Of `cnn.validate.predictions`.
    methods : sequence of str
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    with rc_context(STYLE):
        figure = Figure(figsize=(3.1 * ds.sizes["at"] + 0.2, 4.6))
        panels = figure.subplots(
            2, ds.sizes["at"], sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1)
        )
        for (ax, below), at in zip(panels.T, ds["at"].values, strict=True):
            for name in [name for name in methods if name in ds["by"].values]:
                p = ds["p"].sel(by=name, at=at).values
                known = np.isfinite(p)
                if not known.any():
                    continue
                table = scores.calibration(p[known], ds["dead"].values[known])
                colour, line = LINES[name]
                ax.plot(table.p, table.share, line, color=colour, marker="o", markersize=3.5,
                        label=f"{name}: {table.error:.3f}")  # fmt: skip
                below.hist(p[known], np.linspace(0, 1, 21), histtype="step", color=colour,
                           linestyle=line, linewidth=1)  # fmt: skip
            ax.plot([0, 1], [0, 1], color="0.4", linewidth=0.8)
            ax.set_title(f"after {100 * at:g} % of the steps")
            if ax.get_legend_handles_labels()[0]:
                style = {"fontsize": 7.5, "title_fontsize": 7.5, "loc": "upper left"}
                ax.legend(title="calibration error", **style)
            below.set(xlabel="forecast chance of death", yscale="log")
        panels[0][0].set_ylabel("share that died")
        panels[1][0].set_ylabel("filters")
    return figure


def draw_roc(
    ds: "xr.Dataset", limits: dict[tuple[str, float], float | None], at: float = 0.1
) -> "Figure":
    """Dead filters found against living ones called dead, within layers; beside the replay limit.

    A panel for each setting with a limit, or one for all settings if none has. The curve is the
    mean over layers with 3 dead and 3 living filters, so the area under it is the AUC. Of the
    limit only the area is known: it is drawn as the curve of two normal scores with that area.

    Parameters
    ----------
    ds : xarray.Dataset
        Of `cnn.validate.predictions`.
    limits : dict
        (setting, at): AUC of the replay limit.
    at : float
        Step of the forecast, as a share; one of those of `ds`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    settings = dict.fromkeys(ds["setting"].values.tolist())
    known = [name for name in settings if limits.get((name, at)) is not None]
    panels = {name: ds["setting"].values == name for name in known}
    panels = panels or {"all settings": np.ones(ds.sizes["run"], bool)}
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    with rc_context(STYLE):
        figure = Figure(figsize=(3.1 * across + 0.2, 3.3 * down + 0.4))
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        for ax in axes[len(panels) :]:
            figure.delaxes(ax)
        for ax, (name, runs) in zip(axes, panels.items(), strict=False):
            _curves(ax, ds.sel(at=at), runs, limits.get((name, at)))
            ax.set_title(name)
        for ax in axes[::across]:
            ax.set_ylabel("dead filters found")
        figure.suptitle(f"after {100 * at:g} % of the steps", fontsize=9, x=0.01, ha="left")
    return figure


def _curves(ax: "Axes", ds: "xr.Dataset", runs: np.ndarray, limit: float | None) -> None:
    """Those of all methods for these runs."""
    for method in [method for method in LINES if method in ds["by"].values]:
        found = roc(ds.sel(by=method), runs)
        if found is not None:
            curve, area = found
            colour, line = LINES[method]
            ax.plot(GRID, curve, line, color=colour, linewidth=1.1, label=f"{method} {area:.3f}")
    if limit is not None:
        label = f"replay limit {limit:.3f}"
        ax.plot(GRID, _binormal(limit), ":", color=LIMIT, linewidth=2, label=label)
    ax.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
    ax.set(xlabel="living filters called dead")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=6.5, loc="lower right", title="area", title_fontsize=6.5)


def roc(ds: "xr.Dataset", runs: np.ndarray) -> tuple[np.ndarray, float] | None:
    """A method's curve on `GRID`, and its area; None if no layer of these runs counts.

    Parameters
    ----------
    ds : xarray.Dataset
        Of one method and step.
    runs : ndarray of bool, shape (run,)
    """
    score = ds["score"].values
    chosen = runs[ds["layer_run"].values][ds["filter_layer"].values] & np.isfinite(score)
    score = score[chosen]
    dead, layer = (ds[name].values[chosen] for name in ("dead", "filter_layer"))
    area = scores.auc(score, dead, layer)
    if np.isnan(area):
        return None
    curves = []
    for number in np.unique(layer):
        here = layer == number
        gone, alive = score[here & dead], score[here & ~dead]
        if min(len(gone), len(alive)) >= scores.LEAST:
            levels = np.unique(score[here])[::-1]
            hit, false = (
                np.array([(x >= level).mean() for level in levels]) for x in (gone, alive)
            )
            rising = np.append(0.0, false) + 1e-9 * np.arange(len(false) + 1)  # steps upright
            curves.append(np.interp(GRID, rising, np.append(0.0, hit)))
            curves[-1][-1] = 1.0
    return np.mean(curves, axis=0), area


def _binormal(area: float) -> np.ndarray:
    """The curve of two normal scores of equal spread, with this area under it."""
    from scipy.special import ndtr, ndtri

    return ndtr(np.sqrt(2) * ndtri(area) + ndtri(GRID))
