r"""Which rules bring a parameter below the paper's threshold, and which keep it there?

Noise keeps a regularised parameter alive: late in a run :math:`\theta` fluctuates with a standard
deviation that depends on rule, regulariser, strength and the gradients' size. Where that lies above
1e-3, the paper's threshold for a dead filter, a parameter *passes* the threshold but does not
*stay* below it.
"""

from itertools import product
from typing import TYPE_CHECKING, Any

from sims.common import (
    INK,
    STRENGTHS,
    TRAINING,
    config_of,
    frame,
    labelled,
    lanes_or,
    last_tenth,
    note,
    plain_log,
    predicted,
    runs,
    share_text,
    shown,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from pandas import DataFrame

QUESTION = "Under which rules does a parameter stay below 1e-3 once it has got there?"
SECONDS = 60

REGS = ("l2", "wd")
THRESHOLD = 1e-3
LANES = 250
SETTINGS = {  # gradients and learning-rate schedule
    "figure 4": ("low", None),
    "figure 4, lr x0.1": ("low", "paper"),
    "sigma 1e-3": (1e-3, None),
    "sigma 1e-7": (1e-7, None),
}

WIDTHS = (6.0, 4.5, 3.5, 2.8, 2.0, 1.5, 1.0)  # of lines: what lies on top is thinner


def run(*, lanes: int | None = None, seed: int = 0, steps: int = TRAINING) -> "xr.Dataset":
    """Late rms and shares below 1e-3 after as many steps as the paper trains.

    Returns
    -------
    xarray.Dataset
        Dimensions setting, rule, reg, lam: `rms` and `below` (root mean square of theta, and share
        of lanes below 1e-3, both over lanes and the last tenth of the run), `passed` (share of
        lanes that were below 1e-3 at least once), and `rms` and `below` as predicted by
        `regdyn.theory.predict`: `theory_rms`, `theory_below`.
    """
    import xarray as xr

    from regdyn.gradients import Gaussian
    from regdyn.report import late_rms
    from regdyn.rules import RULES

    lanes = lanes_or(lanes, LANES)
    jobs = [
        dict(
            rule=list(RULES), reg=list(REGS), lam=list(STRENGTHS), steps=steps, lanes=lanes,
            gradient=gradient if isinstance(gradient, str) else Gaussian(std=gradient),
            schedule=schedule, seed=seed, record=last_tenth(steps), thresholds=THRESHOLD,
        )
        for gradient, schedule in SETTINGS.values()
    ]  # fmt: skip
    parts = []
    for ds, job in zip(runs("noise floors", jobs), jobs, strict=True):
        theory = predicted(job)
        ever = ds["first_passage_count"].sum("step") / lanes
        late = slice(1, None)
        part = {
            "rms": late_rms(ds),
            "below": ds["share_below"].isel(step=late).mean("step"),
            "passed": ever,
            "theory_rms": late_rms(theory),
            "theory_below": theory["share_below"].isel(step=late).mean("step"),
        }
        parts.append(xr.Dataset(part).isel(threshold=0, drop=True).drop_attrs())
    data = xr.concat(parts, xr.DataArray(list(SETTINGS), dims="setting", name="setting"))
    data["rms"].attrs = {"long_name": "root mean square of theta, late", "units": "theta"}
    data["below"].attrs = {"long_name": "share of lanes below 1e-3, late", "units": "1"}
    data["passed"].attrs = {"long_name": "share of lanes ever below 1e-3", "units": "1"}
    for name in ("rms", "below"):
        text = f"{data[name].attrs['long_name']}, by regdyn.theory.predict"
        data[f"theory_{name}"].attrs = data[name].attrs | {"long_name": text}
    return labelled(
        data, "noise floors against the threshold", lanes=lanes, seed=seed, steps=steps,
        settings={name: list(map(str, pair)) for name, pair in SETTINGS.items()},
    )  # fmt: skip


def table(data: "xr.Dataset") -> "DataFrame":
    """One row per setting, rule, regulariser and strength."""
    names = ("setting", "rule", "reg", "lam")
    columns = ("passed", "below", "theory_below", "rms", "theory_rms")
    rows = []
    for at in product(*(data[name].values for name in names)):
        here: dict[str, Any] = dict(zip(names, at, strict=True))
        one = data.sel(here)
        rows.append(here | {name: float(one[name]) for name in columns})
    return frame(rows)


def draw(data: "xr.Dataset") -> "Figure":
    """Late rms against strength, a line per rule; a row per setting, a column per regulariser."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    settings = data["setting"].values
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.2, 1.0 + 1.8 * len(settings)))
        axes = fig.subplots(len(settings), len(REGS), sharex=True, sharey=True, squeeze=False)
        for row, setting in zip(axes, settings, strict=True):
            for ax, reg in zip(row, REGS, strict=True):
                lines = zip(data["rule"].values, INK, WIDTHS, strict=True)
                for rule, colour, width in lines:
                    one = data.sel(setting=setting, reg=reg, rule=rule)
                    ax.plot(one["lam"], one["rms"], color=colour, lw=width, label=str(rule))
                    ax.plot(one["lam"], one["theory_rms"], "k.", ms=2)
                plotting.mark_collapse(ax)
                ax.set(xscale="log", yscale="log", ylim=(1e-7, 2), title=f"{setting}, {reg}")
                plain_log(ax.yaxis, [1, 1e-3, 1e-6])
                plain_log(ax.xaxis, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
            row[0].set_ylabel("late rms of θ")
        for ax in axes[-1]:
            ax.set_xlabel("strength λ")
        fig.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper")
        steps = int(config_of(data)["steps"])
        note(
            fig,
            f"θ from 1, {steps:,} steps, {data.attrs['lanes']} lanes. Dotted: 1e-3, the paper's "
            "threshold for a dead filter. Dots: theory (regdyn.theory.predict). x0.1: learning "
            "rate and decay fall to a tenth after "
            "250/325 of the run, as in the paper. At the left not all have forgotten the start.",
        )
    return fig


def answer(data: "xr.Dataset") -> str:
    """What came out."""

    def at(name: str, rule: str, reg: str, lam: float, setting: str = "figure 4") -> float:
        return float(data[name].sel(setting=setting, rule=rule, reg=reg, lam=lam))

    def stays(setting: str) -> str:
        below = data["below"].sel(setting=setting, lam=1e-4)
        return ", ".join(
            f"{rule} {share_text(below.sel(rule=rule, reg='l2'))} / "
            f"{share_text(below.sel(rule=rule, reg='wd'))}"
            for rule in data["rule"].values
        )

    adam = data.sel(rule="adam", setting="figure 4")
    return (
        f"Asked: after {config_of(data)['steps']:,} steps, the length of the paper's training, "
        "who has passed 1e-3 and who is below it in the last tenth of the run (n = "
        f"{data.attrs['lanes']}, seed {data.attrs['seed']}: a share's standard error is at most "
        f"{share_text(0.5 / data.attrs['lanes'] ** 0.5)}). Under Figure 4's gradients at 1e-4 "
        f"{share_text(at('passed', 'adam', 'l2', 1e-4))} of Adam's runs have passed with l2 and "
        f"{share_text(at('passed', 'adam', 'wd', 1e-4))} with wd, but late in the run "
        f"{share_text(at('below', 'adam', 'l2', 1e-4))} and "
        f"{share_text(at('below', 'adam', 'wd', 1e-4))} are below: the noise floors are "
        f"{shown(at('rms', 'adam', 'l2', 1e-4))} and {shown(at('rms', 'adam', 'wd', 1e-4))}, SGD's "
        f"{shown(at('rms', 'sgd', 'l2', 1e-4))}. Below at 1e-4, l2 / wd: {stays('figure 4')}. The "
        "paper's drop of the learning rate to a tenth helps, to "
        f"{share_text(at('below', 'adam', 'l2', 1e-4, 'figure 4, lr x0.1'))} / "
        f"{share_text(at('below', 'adam', 'wd', 1e-4, 'figure 4, lr x0.1'))} for Adam. With "
        "gradients of 1e-7, a hundred times smaller, Adam + l2 stays "
        f"({share_text(at('below', 'adam', 'l2', 1e-4, 'sigma 1e-7'))}); Adam + wd does not "
        f"({share_text(at('below', 'adam', 'wd', 1e-4, 'sigma 1e-7'))}), nor at any other strength "
        "under Figure 4's gradients (at most "
        f"{share_text(adam['below'].sel(reg='wd').max())}, at 1e-2): its floor hardly depends on "
        "the gradients' size. For the paper: Figure "
        "4 shows how fast a scale is brought near 0, not that it stays there; |gamma| < 1e-3 at "
        "the end of training under Adam needs a feature with next to no gradient, and under wd a "
        "dead one."
    )
