"""Picture of the theory check: predicted against measured, and the errors."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sims._theory_compare import TOLERANCE
from sims.common import INK, note, plain_log, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 200.0  # percent: what is further off is drawn there
PANELS = {
    "times of the mean": ("t50", "t10"),
    "passage of 1e-3": ("p1e-3",),
    "late rms": ("late",),
}


def picture(cells: Any, lanes: int) -> "Figure":
    """Predicted against measured: times of the mean, passages, late rms; errors below."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.6, 5.8))
        axes = fig.subplots(2, 3, sharex="col", height_ratios=(1.1, 1))
        for column, (title, names) in zip(axes.T, PANELS.items(), strict=True):
            _panels(column[0], column[1], cells, names)
            column[0].set(title=title)
            column[1].set(xlabel="measured" + ("" if title == "late rms" else ", steps"))
        axes[0][0].set(ylabel="predicted")
        axes[1][0].set(ylabel="error, %")
        handles, labels = axes[0][0].get_legend_handles_labels()
        tight = {"handletextpad": 0.1, "columnspacing": 1.0}
        fig.legend(handles, labels, loc="outside upper center", ncols=8, fontsize=8, **tight)
        open_ = sum(int((cells[f"theory_{k}_verdict"] == "open").sum()) for k in TOLERANCE)
        note(
            fig,
            f"{len(cells)} settings, {lanes:,} lanes each, 1,000,000 steps. Colours: the closure, "
            "dots for the paper's settings, rings for random ones; grey crosses: the naive mean "
            "field, at the edge if further off. Not drawn: what is censored, and what the "
            f"simulation does not decide ({open_} values of the closure). Shaded: the tolerance. "
            f"Errors are linear up to 1 %, logarithmic beyond, and drawn at {LIMIT:g} % if larger. "
            "Named: some of what fails by most.",
        )
    return fig


def _panels(above: Any, below: Any, cells: Any, names: tuple[str, ...]) -> None:
    """Predicted against measured, and the error in percent, of these quantities."""
    from regdyn.rules import RULES

    shown_x = np.concatenate([cells[name][drawn(cells, name)] for name in names])
    ends = (0.5 * shown_x.min(), 2 * shown_x.max()) if len(shown_x) else (0.1, 10.0)
    tolerance = 100 * TOLERANCE[names[0]]
    below.axhspan(-tolerance, tolerance, color="0.9", zorder=0)
    above.axline((1, 1), slope=1, color="0.3", lw=0.6)
    _scatter(above, below, cells, names, "naive", ends, label="naive", marker="x", color="0.75")
    for rule, colour in zip(RULES, INK, strict=True):
        own = cells[cells["rule"] == rule]
        for label, some, face in (
            (rule, own[own["set"] == "matrix"], colour),
            (None, own[own["set"] != "matrix"], "none"),
        ):
            look = {"label": label, "edgecolors": colour, "facecolors": face}
            _scatter(above, below, some, names, "theory", ends, **look)
    above.set(xscale="log", yscale="log", xlim=ends, ylim=ends, axisbelow=True)
    below.set_yscale("symlog", linthresh=1)
    below.set(ylim=(-LIMIT, LIMIT), axisbelow=True)
    below.set_yticks([-100, -10, -1, 0, 1, 10, 100])
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for axis in (above.xaxis, above.yaxis):
        plain_log(axis)
    _name_worst(below, cells, names)


def _scatter(
    above: Any, below: Any, cells: Any, names: tuple[str, ...], who: str,
    ends: tuple[float, float], **look: Any,
) -> None:  # fmt: skip
    """The points of these cells in both panels; what is beyond an axis at its end."""
    at = [drawn(cells, name, who) for name in names]
    x, y = (
        np.concatenate([cells[f"{of}{k}"][rows] for k, rows in zip(names, at, strict=True)])
        for of in ("", f"{who}_")
    )
    look |= {"s": 9, "linewidths": 0.7, "clip_on": False}
    above.scatter(x, np.clip(y, *ends), **look)
    below.scatter(x, np.clip(100 * (y / x - 1), -LIMIT, LIMIT), **look)


def drawn(cells: Any, name: str, who: str = "theory") -> np.ndarray:
    """Which cells have a point: measured and predicted, and decided by the simulation."""
    x, y = cells[name].to_numpy(), cells[f"{who}_{name}"].to_numpy()
    known = np.isfinite(x) & np.isfinite(y) & (x > 0)
    return known & (cells[f"{who}_{name}_verdict"] != "open").to_numpy()


def _name_worst(ax: Any, cells: Any, names: tuple[str, ...], count: int = 3) -> None:
    """The points with the largest scores, if they fail and there is room for their name."""
    found = []
    for name in names:
        worth = drawn(cells, name) & ~cells[f"theory_{name}_pass"]
        found += [(cell[f"theory_{name}_score"], name, cell) for _, cell in cells[worth].iterrows()]
    heights: list[float] = []
    for _, name, cell in sorted(found, key=lambda entry: -entry[0]):
        at = cell[name], np.clip(100 * cell[f"theory_{name}_error"], -LIMIT, LIMIT)
        x, y = ax.transData.transform(at)
        if len(heights) < count and all(abs(y - other) > ax.bbox.height / 15 for other in heights):
            heights.append(y)
            strength = shown(float(f"{cell['lam']:.2g}"))
            right = x > np.mean(ax.bbox.intervalx)
            look: dict[str, Any] = {"fontsize": 6.5, "textcoords": "offset points", "zorder": 3}
            look |= {"xytext": (-5 if right else 5, 0), "ha": "right" if right else "left"}
            look |= {"va": "center", "bbox": {"fc": "1", "alpha": 0.8, "lw": 0, "pad": 0.3}}
            ax.annotate(f"{cell['rule']} {cell['reg']} {strength}", at, **look)
