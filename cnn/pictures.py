"""Pictures of a training run, from its record: `draw_filters`, `draw_sparsity`.

They return a Figure; nothing is shown or saved here. Matplotlib is loaded when one is drawn.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INACTIVE, ALIVE = "#d55e00", "#0072b2"  # told apart by all kinds of colour vision
FLOOR = 1e-6  # lower end of the axis of |gamma|
HUGE = 1e30  # what is larger is not drawn
LINES = 1000  # points of a curve at most


def draw_filters(ds: "xr.Dataset", title: str = "") -> "Figure":
    """|gamma| and beta of every filter over the steps, a row for each layer.

    Red: filters that end with |gamma| < 1e-3.

    Parameters
    ----------
    ds : xarray.Dataset
        The record of a run (run.nc).
    title : str
        Above the picture.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import COLLAPSED, STYLE, mark_collapse

    names = _layers(ds)
    ds = ds[["gamma", "beta"]].isel(step=_thinned(ds.sizes["step"]))
    steps = ds["step"].values
    with rc_context(STYLE):
        fig = Figure(figsize=(7.5, 0.9 + 1.25 * len(names)))
        axes = fig.subplots(len(names), 2, squeeze=False, sharex=True)
        for name, (left, right) in zip(names, axes, strict=True):
            one = ds.isel(filter=ds["layer"].values == name)
            gamma, beta = (_drawable(one[what].values) for what in ("gamma", "beta"))
            fell = np.abs(gamma[-1]) < COLLAPSED
            for mask, colour in ((~fell, ALIVE), (fell, INACTIVE)):
                _lines(left, steps, np.maximum(np.abs(gamma[:, mask]), FLOOR / 10), colour)
                _lines(right, steps, beta[:, mask], colour)
            left.set(yscale="log", ylim=(FLOOR, max(3.0, 2 * np.nanmax(np.abs(gamma), initial=0))))
            left.set_yticks([1e-6, 1e-3, 1], labels=["1e-6", "1e-3", "1"])
            left.minorticks_off()
            mark_collapse(left)
            left.set_title(f"{name}: {fell.sum()} of {fell.size} filters inactive")
            right.axhline(0, color="0.3", linewidth=0.8)
        axes[0][1].set_title("β", loc="right")
        axes[0][0].set_title("|γ|", loc="right")
        for ax in axes[-1]:
            ax.set(xlabel="step", xlim=(0, steps[-1]))
        fig.suptitle(f"{title}\nred: |γ| < 1e-3 at the end".strip(), fontsize=9, x=0.01, ha="left")
    return fig


def draw_sparsity(ds: "xr.Dataset", layers: list[dict[str, Any]], title: str = "") -> "Figure":
    """Inactive filters: of each layer by gamma over the steps; by gamma and activation at the end.

    Parameters
    ----------
    ds : xarray.Dataset
        The record of a run (run.nc).
    layers : list of dict
        `layers` of its summary.
    title : str
        Above the picture.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import COLLAPSED, STYLE

    names = _layers(ds)
    with rc_context(STYLE):
        fig = Figure(figsize=(7.5, 3.2))
        left, right = fig.subplots(1, 2, sharey=True)
        small = 100.0 * (abs(ds["gamma"]) < COLLAPSED)
        for i, name in enumerate(names):
            share = small.isel(filter=ds["layer"].values == name).mean("filter")
            colour = colormaps["cividis"](0.95 * i / max(len(names) - 1, 1))
            left.plot(ds["step"], share, color=colour, label=name)
        left.plot(ds["step"], small.mean("filter"), color=INACTIVE, ls="--", label="all")
        left.set(xlabel="step", ylabel="inactive filters, %", xlim=(0, int(ds["step"][-1])))
        left.set_title("|γ| < 1e-3")
        fig.legend(loc="outside right upper", fontsize=8)
        at, width = np.arange(len(layers)), 0.4
        for shift, key, label, colour in (
            (-width / 2, "sparsity_gamma", "|γ| < 1e-3", ALIVE),
            (width / 2, "sparsity_act_1e-4", "activation ≤ 1e-4", INACTIVE),
        ):
            heights = [layer[key] for layer in layers]
            right.bar(at + shift, heights, width, color=colour, label=label)
        right.set_xticks(at, labels=[layer["layer"] for layer in layers])
        right.set_title("at the end")
        right.grid(axis="x", visible=False)
        right.set_axisbelow(True)
        right.legend(loc="upper left", fontsize=8)
        left.set_ylim(0, 105)
        fig.suptitle(title, fontsize=9, x=0.01, ha="left")
    return fig


def _layers(ds: "xr.Dataset") -> list[str]:
    return [str(name) for name in dict.fromkeys(ds["layer"].values.tolist())]


def _drawable(values: np.ndarray) -> np.ndarray:
    """NaN instead of what no axis can hold: a run may diverge."""
    return np.where(np.abs(values) < HUGE, values, np.nan)


def _thinned(n: int) -> np.ndarray:
    """Indices of at most about `LINES` of n points, with the last one."""
    return np.unique(np.append(np.arange(0, n, -(-n // LINES)), n - 1))


def _lines(ax: "Axes", steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    """One thin line per column; many in one object, which draws faster."""
    from matplotlib.collections import LineCollection

    x = np.broadcast_to(steps[:, None], values.shape)
    segments = np.stack([x, values], axis=-1).swapaxes(0, 1)
    ax.add_collection(LineCollection(list(segments), colors=colour, linewidths=0.5, alpha=0.6))
    ax.autoscale_view()
