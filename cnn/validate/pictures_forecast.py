"""The picture of a forecast: shares per layer, and the filters' gamma coloured by their chance."""

from typing import TYPE_CHECKING, Any

import numpy as np

from regdyn.filters.record import DEAD, Record, dead

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

INK, WARM = "#0072B2", "#D55E00"
LINES = 250  # filters that are drawn


def draw(ds: "xr.Dataset", record: Record, title: str) -> "Figure":
    """Draw a forecast over the record it was made from; what came later is drawn faintly.

    Parameters
    ----------
    ds : xarray.Dataset
        Of `regdyn.forecast`.
    record : Record
        As far as it is known; measured shares are drawn if it reaches the end.
    title : str
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        figure.suptitle(title)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
        _shares(left, ds, record)
        _courses(right, ds, record)
    return figure


def _shares(ax: Any, ds: "xr.Dataset", record: Record) -> None:
    x = np.arange(ds.sizes["layer_name"])
    share, lo, hi = (ds[name].values for name in ("share", "share_lo", "share_hi"))
    ax.bar(x, share, color=INK, alpha=0.35, width=0.7, label="forecast")
    ax.errorbar(x, share, yerr=[share - lo, hi - share], fmt="none", ecolor=INK, capsize=3,
                label="80 % interval")  # fmt: skip
    if record.step[-1] >= ds.attrs["until"]:
        gone = dead(record)
        true = [100 * gone[record.layer == i].mean() for i in x]
        ax.plot(x, true, "D", color=WARM, markersize=5, label="measured")
    ax.set(xticks=x, xticklabels=ds["layer_name"].values, ylim=(0, 100))
    ax.set(xlabel="layer", ylabel="filters gone at the end (%)")
    ax.legend(frameon=False, loc="upper left")


def _courses(ax: Any, ds: "xr.Dataset", record: Record) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable

    at, colours = ds.attrs["at"], colormaps["cividis"]
    size = np.maximum(np.abs(record.gamma), DEAD / 10)
    chosen = np.linspace(0, record.filters - 1, min(LINES, record.filters)).astype(int)
    known = record.step <= at
    for i in chosen:
        colour = colours(float(ds["p_collapse"][i]))
        ax.plot(record.step[known], size[known, i], color=colour, linewidth=0.8, alpha=0.9)
        ax.plot(record.step[~known], size[~known, i], color=colour, linewidth=0.5, alpha=0.35)
    ax.axvline(at, color="black", linewidth=0.8, linestyle="--")
    ax.axhline(DEAD, color=WARM, linewidth=0.8, linestyle=":")
    ax.set(yscale="log", xlim=(0, ds.attrs["until"]), xlabel="step", ylabel=r"$|\gamma|$")
    bar = ax.figure.colorbar(ScalarMappable(cmap=colours), ax=ax, pad=0.02)
    bar.set_label("chance of being gone at the end")
