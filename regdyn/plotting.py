"""Pictures: one style for all, colour-blind safe, readable in print and at phone width.

`draw(result) -> Figure`; nothing is shown or saved here.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

STYLE: Any = {
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
COLLAPSED = 1e-3  # the paper's threshold on |gamma|
PREDICTED = "#d55e00"  # vermilion: told from cividis by all kinds of colour vision
HUGE = 1e30  # theta above it is not drawn
FLOOR = 1e-5  # lower end of logarithmic axes


def strength_colours(lams: Any) -> dict[float, Any]:
    """A colour for each strength: dark is strong. Cividis: safe for all kinds of colour vision."""
    ordered = sorted((float(lam) for lam in lams), reverse=True)
    return {
        lam: colormaps["cividis"](0.9 * i / max(len(ordered) - 1, 1))
        for i, lam in enumerate(ordered)
    }


def strength_label(lam: float) -> str:
    """1e-4 rather than 0.0001 or 1e-04; 0, and numbers from 1 on, as usual."""
    if lam == 0 or 1 <= abs(lam) < 1e6:
        return f"{lam:g}"
    return np.format_float_scientific(lam, precision=6, trim="-", exp_digits=1)


def band(ax: "Axes", ds: "xr.Dataset", variable: str, colour: Any, label: str | None) -> None:
    """Median over lanes as a line, the 10 to 90 % band around it; `ds` is one setting."""
    q = ds[variable].where(ds["step"] > 0, drop=True)
    steps = q["step"].values
    if len(steps) == 0:
        return
    low, middle, high = (_drawable(q.sel(q=p)) for p in (0.1, 0.5, 0.9))
    if variable == "abs_quantile":  # zeros go below the logarithmic axis
        low, middle, high = (np.maximum(x, FLOOR / 10) for x in (low, middle, high))
    ax.plot(steps, middle, color=colour, label=label)
    ax.fill_between(steps, low, high, color=colour, alpha=0.25, linewidth=0)


def predicted(ax: "Axes", ds: "xr.Dataset", variable: str, label: str | None) -> None:
    """The same of a prediction, theta taken as Gaussian: dashed median, dotted deciles."""
    late = ds.where(ds["step"] > 0, drop=True)
    steps, mean, std = (late[name].values for name in ("step", "mean", "std"))
    if len(steps) == 0:
        return
    find = _folded_quantile if variable == "abs_quantile" else _gaussian_quantile
    for p, line, width in ((0.1, ":", 0.9), (0.5, "--", 1.2), (0.9, ":", 0.9)):
        name = label if p == 0.5 else None
        ax.plot(
            steps,
            _drawable(find(mean, std, p)),
            linestyle=line,
            linewidth=width,
            color=PREDICTED,
            label=name,
        )


def _gaussian_quantile(mean: np.ndarray, std: np.ndarray, p: float) -> np.ndarray:
    """The p-quantile of N(mean, std^2)."""
    from statistics import NormalDist

    return mean + std * NormalDist().inv_cdf(p)


def _folded_quantile(mean: np.ndarray, std: np.ndarray, p: float) -> np.ndarray:
    """The p-quantile of abs(N(mean, std^2)), by bisection: it lies within 4 std of abs(mean)."""
    from scipy.special import ndtr

    low, high = np.maximum(np.abs(mean) - 4 * std, 0.0), np.abs(mean) + 4 * std
    for _ in range(40):
        middle = 0.5 * (low + high)
        with np.errstate(divide="ignore", invalid="ignore"):
            below = ndtr((middle - mean) / std) - ndtr((-middle - mean) / std) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def _drawable(values: Any) -> np.ndarray:
    """NaN instead of what no axis can hold."""
    return np.where(np.abs(values) < HUGE, values, np.nan)


def mark_collapse(ax: "Axes") -> None:
    """The paper's threshold for a collapsed scale."""
    ax.axhline(COLLAPSED, color="0.3", linewidth=0.8, linestyle=":")


def log_axes(ax: "Axes", ds: "xr.Dataset") -> None:
    """Logarithmic axes from step 1 and from the floor."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: strength_label(value))
    ax.set_xlim(1, max(int(ds["step"][-1]), 2))
    values = np.asarray(ds["abs_quantile"])
    top = values[np.abs(values) < HUGE].max(initial=0.0)
    ax.set_ylim(FLOOR, max(2 * top, 10 * FLOOR))


def draw(ds: "xr.Dataset", theory: "xr.Dataset | None" = None) -> Figure:
    """Picture of a result of `regdyn.simulate`, and of `regdyn.theory.predict` over it.

    A row for each rule and regulariser: |theta| on logarithmic axes, theta on linear ones. Median
    over lanes and 10 to 90 % band, a colour per strength; the first entry of a vector parameter.
    The prediction's median is dashed, its 10 and 90 % are dotted.
    """
    if "quantile" not in ds:
        raise ValueError("a picture needs quantiles: simulate with statistics='full'.")
    if "param" in ds.dims:
        ds, theory = ds.isel(param=0), None if theory is None else theory.isel(param=0)
    pairs = [(str(rule), str(reg)) for rule in ds["rule"].values for reg in ds["reg"].values]
    colours = strength_colours(ds["lam"].values)
    last = list(colours)[-1]
    with rc_context(STYLE):
        fig = Figure(figsize=(7.5, 0.6 + 2.6 * len(pairs)))
        axes = fig.subplots(len(pairs), 2, squeeze=False)
        for (rule, reg), (log, linear) in zip(pairs, axes, strict=True):
            for lam, colour in colours.items():
                one = ds.sel(rule=rule, reg=reg, lam=lam)
                band(log, one, "abs_quantile", colour, strength_label(lam))
                band(linear, one, "quantile", colour, None)
                if theory is not None:
                    one = theory.sel(rule=rule, reg=reg, lam=lam)
                    predicted(log, one, "abs_quantile", "theory" if lam == last else None)
                    predicted(linear, one, "quantile", None)
            log_axes(log, ds)
            mark_collapse(log)
            log.set(title=f"{rule}, {reg}", ylabel="|θ|")
            linear.set(ylabel="θ", xlim=(0, int(ds["step"][-1])))
            linear.axhline(0, color="0.3", linewidth=0.8)
            linear.xaxis.set_major_locator(MaxNLocator(4))
        for ax in axes[-1]:
            ax.set_xlabel("step")
        fig.legend(
            *axes[0][0].get_legend_handles_labels(), title="strength λ",
            loc="outside right upper",
        )  # fmt: skip
        fig.suptitle(
            f"Median and 10–90 % of {ds.attrs['lanes']} lanes; dotted: |θ| = 1e-3"
            + ("" if theory is None else "; red: as predicted"),
            fontsize=9, x=0.01, ha="left",
        )  # fmt: skip
    return fig
