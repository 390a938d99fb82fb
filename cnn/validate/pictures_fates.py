"""A picture of single filters: |gamma| over the steps, and when the forecast saw it collapse."""

from typing import TYPE_CHECKING

import numpy as np

from regdyn.filters.record import COLLAPSED, DEAD, Record, dead

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GONE, ALIVE, BAND = "#D55E00", "#0072B2", "#E69F00"
LEGEND = (
    "black: what the forecast saw; then red: died, blue: lives; "
    "band: forecast collapse, 80 %, and its median"
)
FLOOR = 1e-5  # lower end of the axis of |gamma|


def chosen(ds: "xr.Dataset", count: int = 12) -> np.ndarray:
    """Numbers of filters at evenly spaced ranks of their chance to be gone, the least first."""
    order = np.argsort(ds["p_collapse"].values, kind="stable")
    ranks = np.linspace(0, len(order) - 1, min(count, len(order)))
    return order[ranks.round().astype(int)]


def draw_fates(
    record: Record, ds: "xr.Dataset", filters: np.ndarray | None = None, *, title: str = ""
) -> "Figure":
    """|gamma| of filters with the forecast's band of their collapse, a panel for each.

    Black is what the forecast saw; red what came for a filter that died, blue for one that lives.
    The band holds the collapse with 80 % chance, if the filter collapses; the line in it is the
    median, beyond the end of the run it is not drawn.

    Parameters
    ----------
    record : Record
        The whole run.
    ds : xarray.Dataset
        Of `regdyn.forecast`.
    filters : ndarray of int, optional
        Which; by default `chosen`.
    title : str
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    filters = chosen(ds) if filters is None else np.asarray(filters)
    down = -(-len(filters) // 4)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 1.9 * down + 0.7))
        axes = figure.subplots(down, 4, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, number in zip(axes, filters, strict=False):
            _filter(ax, record, ds.isel(filter=int(number)), int(number), ds.attrs["at"])
        for ax in axes[len(filters) :]:
            figure.delaxes(ax)
        axes[0].set(yscale="log", ylim=(FLOOR, 3), xlim=(0, record.step[-1]))
        axes[0].set_yticks([1e-4, 1e-2, 1], labels=["1e-4", "1e-2", "1"])
        axes[0].minorticks_off()
        for ax in axes[-4:]:
            ax.set_xlabel("step")
        for ax in axes[::4]:
            ax.set_ylabel("|γ|")
        figure.suptitle(f"{title}\n{LEGEND}".strip(), fontsize=9, x=0.01, ha="left")
    return figure


def _filter(ax: "Axes", record: Record, one: "xr.Dataset", number: int, at: int) -> None:
    size = np.maximum(np.abs(record.gamma[:, number]), FLOOR / 10)
    seen = record.step <= at
    colour = GONE if dead(record)[number] else ALIVE
    median, lo, hi = (float(one[name]) for name in ("t_median", "t_lo", "t_hi"))
    end = float(record.step[-1])
    if lo < end:
        ax.axvspan(lo, min(hi, end), color=BAND, alpha=0.3, linewidth=0)
    if median <= end:
        ax.axvline(median, color=BAND, linewidth=1.2)
    ax.plot(record.step, size, color=colour, linewidth=1.0)
    ax.plot(record.step[seen], size[seen], color="black", linewidth=1.4)
    ax.axhline(COLLAPSED, color="0.6", linewidth=0.7, linestyle="--")
    ax.axhline(DEAD, color="0.3", linewidth=0.8, linestyle=":")
    ax.set_title(f"{one['layer'].item()}, chance {float(one['p_collapse']):.2f}", fontsize=8.5)
    reason = str(one["reason"].item()).split(":")[0]
    ax.text(0.03, 0.05, reason, transform=ax.transAxes, fontsize=6.5, color="0.3")
