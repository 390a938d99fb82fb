"""Picture of the theory check: predicted against measured, and the errors."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sims._theory_compare import TOLERANCE, informative
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
            "first passage below 1e-3; without those that are censored, or that the simulation "
            f"does not know to 5 %. Shaded: {100 * TOLERANCE['t50']:g} % of times, "
            f"{100 * TOLERANCE['late']:g} % of rms. Errors are linear up to 1 %, logarithmic "
            f"beyond, and drawn at {LIMIT:g} % if larger. Named: what fails by most.",
        )
    return fig


def _panels(above: Any, below: Any, cells: Any, names: tuple[str, ...]) -> None:
    """Predicted against measured, and the error in percent, of these quantities."""
    from regdyn.rules import RULES

    def points(some: Any, who: str) -> tuple[np.ndarray, ...]:
        x, y = (np.concatenate([some[f"{of}{k}"] for k in names]) for of in ("", f"{who}_"))
        known = np.concatenate([drawn(some, name, who) for name in names])
        return x[known], y[known], 100 * (y[known] / x[known] - 1)

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


def drawn(cells: Any, name: str, who: str = "theory") -> np.ndarray:
    """Which cells have a point: measured and predicted, and known to the simulation."""
    x, y = cells[name].to_numpy(), cells[f"{who}_{name}"].to_numpy()
    known = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    return known if name == "late" else known & informative(cells, name)


def _name_worst(ax: Any, cells: Any, names: tuple[str, ...], count: int = 3) -> None:
    """The points with the largest scores, if they fail; of each rule and regulariser one."""
    found = []
    for name in names:
        worth = drawn(cells, name) & ~cells[f"theory_{name}_pass"]
        found += [(cell[f"theory_{name}_score"], name, cell) for _, cell in cells[worth].iterrows()]
    named = set()
    for _, name, cell in sorted(found, key=lambda entry: -entry[0]):
        label = f"{cell['rule']} {cell['reg']}"
        if label not in named and len(named) < count:
            named.add(label)
            strength = shown(float(f"{cell['lam']:.2g}"))
            at = cell[name], np.clip(100 * cell[f"theory_{name}_error"], -LIMIT, LIMIT)
            look: dict[str, Any] = {"fontsize": 6.5, "color": "0.2", "textcoords": "offset points"}
            ax.annotate(f"{label} {strength}", at, xytext=(4, 3), **look)
