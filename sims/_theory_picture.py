"""Picture of the theory check: predicted against measured, and the errors."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sims._theory_compare import TOLERANCE
from sims.common import INK, note, plain_log, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 200.0  # percent: what is further off is drawn there


def picture(cells: Any, lanes: int) -> "Figure":
    """Predicted against measured, times on the left, late rms on the right; errors below."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.6, 6.4))
        axes = fig.subplots(2, 2, sharex="col", height_ratios=(1.25, 1))
        for column, names in zip(axes.T, (("t50", "t10", "p1e-3"), ("late",)), strict=True):
            _panels(column[0], column[1], cells, names)
        axes[0][0].set(title="times, in steps", ylabel="predicted")
        axes[0][1].set(title="late rms")
        axes[1][0].set(xlabel="measured time", ylabel="error, %")
        axes[1][1].set(xlabel="measured late rms")
        handles, labels = axes[0][0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside right upper")
        note(
            fig,
            f"{len(cells)} settings, {lanes:,} lanes each, 1,000,000 steps. Dots: the closure; "
            "grey crosses: the naive mean field. Times: of the mean to 0.5 and 0.1, and the median "
            f"first passage below 1e-3. Shaded: {100 * TOLERANCE['t50']:g} % of times, "
            f"{100 * TOLERANCE['late']:g} % of rms. Errors are linear up to 1 %, logarithmic "
            f"beyond, and drawn at {LIMIT:g} % if larger. Named: what fails by most.",
        )
    return fig


def _panels(above: Any, below: Any, cells: Any, names: tuple[str, ...]) -> None:
    """Predicted against measured, and the error in percent, of these quantities."""
    from regdyn.rules import RULES

    def points(some: Any, who: str) -> tuple[np.ndarray, ...]:
        x = np.concatenate([some[name] for name in names])
        y = np.concatenate([some[f"{who}_{name}"] for name in names])
        finite = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
        return x[finite], y[finite], 100 * (y[finite] / x[finite] - 1)

    for who, marks in (("naive", {}), ("theory", dict(zip(RULES, INK, strict=True)))):
        for rule, colour in marks.items() or [("naive mean field", "0.75")]:
            x, y, error = points(cells[cells["rule"] == rule] if marks else cells, who)
            look = {"marker": "o" if marks else "x", "s": 9 if marks else 12, "color": colour}
            above.scatter(x, y, label=rule, linewidths=0.7, **look)
            below.scatter(x, np.clip(error, -LIMIT, LIMIT), linewidths=0.7, clip_on=False, **look)
    above.axline((1, 1), slope=1, color="0.3", lw=0.6)
    above.set(xscale="log", yscale="log")
    tolerance = 100 * TOLERANCE[names[0]]
    below.axhspan(-tolerance, tolerance, color="0.9", zorder=0)
    below.set_yscale("symlog", linthresh=1)
    below.set_ylim(-LIMIT, LIMIT)
    below.set_yticks([-100, -10, -1, 0, 1, 10, 100])
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for axis in (above.xaxis, above.yaxis):
        plain_log(axis)
    _name_worst(below, cells, names)


def _name_worst(ax: Any, cells: Any, names: tuple[str, ...], count: int = 4) -> None:
    """The cells that fail by most, by name, each once, at its point."""
    failing = cells[~cells[[f"theory_{name}_pass" for name in names]].all(axis=1)]
    scores = failing[[f"theory_{name}_score" for name in names]].where(
        np.isfinite(failing[[f"theory_{name}_error" for name in names]].to_numpy()), 0.0
    )
    for k in scores.max(axis=1).nlargest(count).index:
        cell, name = cells.loc[k], names[int(scores.loc[k].to_numpy().argmax())]
        strength = shown(float(f"{cell['lam']:.2g}"))
        label = f"{cell['rule']} {cell['reg']} {strength}"
        at = cell[name], np.clip(100 * cell[f"theory_{name}_error"], -LIMIT, LIMIT)
        look: dict[str, Any] = {"fontsize": 6.5, "color": "0.2", "annotation_clip": True}
        ax.annotate(label, at, xytext=(4, 3), textcoords="offset points", **look)
