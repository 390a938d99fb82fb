"""Pictures of the comparison, from what it wrote: each `draw_...` takes data, returns a Figure.

Nothing is computed but averages; nothing is shown. `write` draws all that the data allow, also
those of `pictures_chances`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = {
    "adam": "#0072B2", "sgd": "#D55E00", "adadelta": "#009E73", "adagrad": "#CC79A7",
    "amsgrad": "#E69F00", "rmsprop": "#56B4E9",
}  # fmt: skip
KINDS = {
    "adaptive": "adaptive rules, l2", "decay": "adaptive rules, wd", "sgd": "SGD, l2 and wd",
    "rule": "another rule or decay", "batch": "wd, SGD: batch", "network": "wd, SGD: width",
}  # fmt: skip
MARKS = {"l2": "o", "wd": "s", "adamw": "^", "none": "D"}


def write(out: Path, *, split: str) -> list[Path]:
    """Every picture of a split from its predictions and validate.json in `out`; their paths."""
    from cnn.validate.pictures_chances import draw_reliability, draw_roc
    from regdyn import store

    ds = store.load(out / f"predictions-{split}.nc")
    content = json.loads((out / "validate.json").read_text(encoding="utf-8"))
    rows = [row for row in content["rows"] if row["split"] == split]
    aims = [row for row in content["targets"] if row["split"] == split and not row["refused"]]
    figures = {"shares": draw_shares(ds), "reliability": draw_reliability(ds)}
    if aims:
        figures["targets"] = draw_targets(aims)
    at = 0.1 if 0.1 in ds["at"].values else float(ds["at"][0])
    limits = {(row["setting"], row["at"]): row["auc_limit"] for row in rows}
    figures["roc"] = draw_roc(ds, limits, at)
    written = []
    for name, figure in figures.items():
        written.append(out / f"{name}-{split}.png")
        with store.temporary(written[-1]) as path:
            figure.savefig(path, format="png")
    return written


# Shares -----------------------------------------------------------------------------------------


def draw_shares(ds: "xr.Dataset", method: str = "forecast") -> "Figure":
    """Forecast against measured share of every layer, a panel for each step of the forecast.

    Parameters
    ----------
    ds : xarray.Dataset
        Of `cnn.validate.predictions`.
    method : str
        One of its methods; where it says nothing (no pilot), the forecast from the own record.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    run = ds["layer_run"].values
    opt, reg = ds["opt"].values[run], ds["reg"].values[run]
    true = ds["layer_true"].values
    with rc_context(STYLE):
        figure = Figure(figsize=(3.1 * ds.sizes["at"] + 0.2, 3.9))
        panels = figure.subplots(1, ds.sizes["at"], sharex=True, sharey=True, squeeze=False)[0]
        for ax, at in zip(panels, ds["at"].values, strict=True):
            said, lo, hi = (_said(ds, name, method, at) for name in ("share", "lo", "hi"))
            for kind in sorted({*zip(opt, reg, strict=True)}):
                some = (opt == kind[0]) & (reg == kind[1]) & np.isfinite(said)
                bars = np.abs([said[some] - lo[some], hi[some] - said[some]])
                ax.errorbar(true[some], said[some], yerr=bars, fmt="none", ecolor=INK[kind[0]],
                            alpha=0.15, linewidth=0.8)  # fmt: skip
                ax.plot(true[some], said[some], MARKS[kind[1]], color=INK[kind[0]], markersize=3.5,
                        alpha=0.65, markeredgewidth=0, label=f"{kind[0]}, {kind[1]}")  # fmt: skip
            error = np.nanmean(np.abs(said - true))
            inside = 100 * np.mean((lo <= true) & (true <= hi))
            _diagonal(ax, 5)
            ax.set_title(f"after {100 * at:g} % of the steps")
            ax.text(3, 97, f"mean error {error:.1f} points\n{inside:.0f} % in 80 % interval",
                    va="top", fontsize=8)  # fmt: skip
            ax.set_xlabel("measured share of a layer (%)")
        panels[0].set_ylabel("forecast (%)")
        figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=5,
                      markerscale=1.6)  # fmt: skip
    return figure


def _said(ds: "xr.Dataset", what: str, method: str, at: float) -> np.ndarray:
    """A layer variable; where the method says nothing, that of the forecast without pilot."""
    here, said = ds[f"layer_{what}"].sel(at=at), np.full(ds.sizes["layer"], np.nan)
    for name in (method, f"{method}, own record"):
        if name in ds["by"].values:
            said = np.where(np.isnan(said), here.sel(by=name).values, said)
    return said


def _diagonal(ax: "Axes", width: float) -> None:
    """Where a forecast is right; grey: within so many points."""
    x = np.array([0.0, 100.0])
    ax.fill_between(x, x - width, x + width, color="0.88", zorder=0, linewidth=0)
    ax.plot(x, x, color="0.4", linewidth=0.8, zorder=1)
    ax.set(xlim=(-2, 102), ylim=(-2, 102))


def draw_targets(aims: Sequence[dict[str, Any]]) -> "Figure":
    """Predicted against measured total share under other settings, a panel for each kind of them.

    Parameters
    ----------
    aims : sequence of dict
        Rows of the targets in validate.json, none refused. A point is one pilot's answer.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    kinds = list(dict.fromkeys(sorted(row["kind"] for row in aims)))
    pilots = sorted({row["pilot"].rsplit("/", 1)[0] for row in aims})
    colours = dict(zip(pilots, [*INK.values(), "#000000", "0.5"], strict=False))
    across = min(len(kinds), 3)
    down = -(-len(kinds) // across)
    with rc_context(STYLE):
        figure = Figure(figsize=(3.1 * across + 0.2, 3.4 * down + 0.7))
        panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for ax in panels[len(kinds) :]:
            figure.delaxes(ax)
        for ax, kind in zip(panels, kinds, strict=False):
            some = [row for row in aims if row["kind"] == kind]
            for pilot in pilots:
                rows = [row for row in some if row["pilot"].rsplit("/", 1)[0] == pilot]
                x, y, lo, hi = (np.array([row[name] for row in rows], float)
                                for name in ("true", "said", "lo", "hi"))  # fmt: skip
                ax.errorbar(x, y, yerr=np.abs([y - lo, hi - y]), fmt="o", color=colours[pilot],
                            markersize=3.5, elinewidth=0.7, alpha=0.7, label=pilot)  # fmt: skip
            error = np.mean([abs(row["said"] - row["true"]) for row in some])
            same = np.mean([abs(row["same"] - row["true"]) for row in some])
            _diagonal(ax, 4)
            ax.set(title=KINDS[kind], xlabel="measured total share (%)")
            ax.text(3, 97, f"mean error {error:.1f} points\nsame as the pilot {same:.1f}",
                    va="top", fontsize=8)  # fmt: skip
        for ax in panels[::across]:
            ax.set_ylabel("what-if (%)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
