r"""How does the length of Adam's memory set the decay of parameters that see little gradient?

Adam divides by the root of :math:`v`, a moving average that forgets within
:math:`1/(1 - \beta_2)` steps. Two experiments. *burst*: Figure 4's gradients, which fall from 1e-3
to 1e-5 after 100 steps. *rare*: gradients of a fixed rms, 1e-3, that come with probability p per
step and are 0 otherwise; p = 1 is the dense control, so only rarity changes, not size. There the
clock starts after 50,000 steps at learning rate 0, in which :math:`v` fills: a parameter that never
saw a gradient would decay at once.
"""

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.common import (
    FILLING,
    INK,
    LEVELS,
    config_of,
    frame,
    labelled,
    lanes_or,
    last_tenth,
    note,
    plain_log,
    predicted,
    runs,
    shown,
    since,
    steps_text,
    times,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from pandas import DataFrame

QUESTION = "What does beta2, Adam's memory, do to parameters with few or shrinking gradients?"
SECONDS = 40

BETAS = (0.9, 0.99, 0.999, 0.9999)
STRENGTHS = (1e-3, 1e-4, 1e-5, 1e-6)  # of the burst
RARE = (1.0, 0.1, 1e-2, 1e-3, 1e-4)  # p
RARE_STRENGTH, RARE_RMS = 1e-4, 1e-3
REGS = ("l2", "wd")
STEPS, LANES = 150_000, 400


def run(
    *, lanes: int | None = None, seed: int = 0, steps: int = STEPS, filling: int = FILLING
) -> "xr.Dataset":
    """Times to the levels and late rms, for both experiments.

    Returns
    -------
    xarray.Dataset
        `burst_time`, `burst_low`, `burst_high` (beta2, reg, lam, level), `burst_rms` (beta2, reg,
        lam); `rare_time`, ... (p, beta2, reg, level), `rare_rms` (p, beta2, reg). And of both
        `burst_theory_time`, ..., by `regdyn.theory.predict`.
    """
    import xarray as xr

    from regdyn.gradients import Intermittent
    from regdyn.report import late_rms
    from regdyn.rules import Adam

    lanes = lanes_or(lanes, LANES)
    shared: dict[str, Any] = dict(
        rule=[Adam(beta2=beta2) for beta2 in BETAS], reg=list(REGS), steps=steps, lanes=lanes,
        seed=seed, record=last_tenth(steps), thresholds=LEVELS, keep_passages=True,
    )  # fmt: skip
    jobs = [{**shared, "lam": list(STRENGTHS)}] + [
        {
            **shared,
            "lam": RARE_STRENGTH,
            "schedule": (np.arange(steps) >= filling).astype(float),
            "gradient": Intermittent(f=p, batch=1, std=RARE_RMS / p**0.5),
        }
        for p in RARE
    ]
    parts = []
    for ds, job in zip(runs("memory", jobs), jobs, strict=True):
        theory = predicted(job)
        part = times(ds).assign(
            rms=late_rms(ds),
            theory_time=theory["first_passage_median"].rename(threshold="level"),
            theory_rms=late_rms(theory),
        )
        parts.append(part.assign_coords(rule=list(BETAS)).rename(rule="beta2"))
    rare = xr.concat(
        [part.squeeze("lam", drop=True) for part in parts[1:]], xr.DataArray(list(RARE), dims="p")
    )
    rare = since(rare.assign_coords(p=list(RARE)), filling)
    data = xr.merge(
        [
            parts[0].rename({name: f"burst_{name}" for name in parts[0].data_vars}),
            rare.rename({name: f"rare_{name}" for name in rare.data_vars}),
        ]
    )
    return labelled(
        data, "the length of Adam's memory", lanes=lanes, seed=seed, steps=steps,
        filling=filling, rare_strength=RARE_STRENGTH, rare_rms=RARE_RMS,
    )  # fmt: skip


def table(data: "xr.Dataset") -> "DataFrame":
    """One row per experiment, beta2, p or strength, and regulariser."""
    rows: list[dict[str, Any]] = []
    for kind, axis in (("burst", "lam"), ("rare", "p")):
        grid = product(data[axis].values, data["beta2"].values, data["reg"].values)
        for value, beta2, reg in grid:
            at = {axis: value, "beta2": beta2, "reg": reg}
            one = data.sel(at)
            half = one.sel(level=0.5)
            row = {
                "experiment": kind, "lam": value if axis == "lam" else RARE_STRENGTH,
                "p": value if axis == "p" else float("nan"), "beta2": beta2, "reg": reg,
            }  # fmt: skip
            row |= {f"t{level:g}": float(one[f"{kind}_time"].sel(level=level)) for level in LEVELS}
            row |= {f"t0.5_{end}": float(half[f"{kind}_{end}"]) for end in ("low", "high")}
            row["rms"] = float(one[f"{kind}_rms"])
            row["theory_t0.5"] = float(half[f"{kind}_theory_time"])
            row["theory_rms"] = float(one[f"{kind}_theory_rms"])
            rows.append(row)
    return frame(rows)


def draw(data: "xr.Dataset") -> "Figure":
    """Half-life against memory after a burst; half-life and late rms against rarity."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    theory: dict[str, Any] = dict(color="k", lw=0.6, zorder=3)
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.2, 6.2))
        (burst, floor), (rare, noise) = fig.subplots(2, 2)
        span = 1 / (1 - data["beta2"].values)
        for lam, colour in plotting.strength_colours(data["lam"].values).items():
            one = data.sel(lam=lam)
            label = plotting.strength_label(lam)
            for ax, name in ((burst, "burst_time"), (floor, "burst_rms")):
                both = one[name].sel(level=0.5) if name == "burst_time" else one[name]
                ax.plot(span, both.sel(reg="l2"), color=colour, marker="o", ms=3.5, label=label)
                ax.plot(span, both.sel(reg="wd"), color=colour, lw=0.9, ls="--")
            for reg in data["reg"].values:
                line = one.sel(reg=reg, level=0.5)
                burst.plot(span, line["burst_theory_time"], **theory)
                floor.plot(span, line["burst_theory_rms"], **theory)
            end = float(one["burst_rms"].sel(reg="l2")[-1])
            floor.annotate(
                f"λ = {label}", (span[-1], end), (0, 3), textcoords="offset points", ha="right",
                color=colour, fontsize=8,
            )  # fmt: skip
        for beta2, colour in zip(data["beta2"].values, INK, strict=False):
            one = data.sel(beta2=beta2)
            for ax, name in ((rare, "rare_time"), (noise, "rare_rms")):
                both = one[name].sel(level=0.5) if name == "rare_time" else one[name]
                ax.plot(
                    data["p"], both.sel(reg="l2"), color=colour, marker="o", ms=3.5,
                    label=f"{beta2:g}",
                )  # fmt: skip
                ax.plot(data["p"], both.sel(reg="wd"), color=colour, lw=0.9, ls="--")
            line = one.sel(reg="l2", level=0.5)
            rare.plot(
                data["p"],
                line["rare_theory_time"],
                **theory | {"color": colour, "ls": ":", "lw": 1.0},
            )
            noise.plot(
                data["p"],
                line["rare_theory_rms"],
                **theory | {"color": colour, "ls": ":", "lw": 1.0},
            )
        burst.set(title="after a burst: steps to 0.5", ylabel="steps")
        floor.set(title="after a burst: late rms", ylabel="rms of θ")
        rare.set(title="rare gradients: steps to 0.5", ylabel="steps")
        noise.set(title="rare gradients: late rms", ylabel="rms of θ")
        for ax in (burst, floor):
            ax.set(xscale="log", yscale="log", xlabel="memory 1 / (1 − β₂), steps")
        for ax in (rare, noise):
            ax.set(xscale="log", yscale="log", xlabel="probability p of a gradient")
        for ax in (burst, floor, rare, noise):
            plain_log(ax.xaxis)
            plain_log(ax.yaxis)
        for ax in (floor, noise):
            plotting.mark_collapse(ax)
        rare.legend(title="β₂", fontsize=7, title_fontsize=7)
        note(
            fig,
            f"Adam; dots and full lines l2, dashed wd. {data.attrs['lanes']} lanes, "
            f"{config_of(data)['steps']:,} steps. Rare: rms {shown(RARE_RMS)} whatever p, λ = "
            f"{plotting.strength_label(RARE_STRENGTH)}. Thin black, and "
            "dotted below: theory (regdyn.theory.predict), there of l2. Dotted across: the "
            "paper's threshold.",
        )
    return fig


def answer(data: "xr.Dataset") -> str:
    """What came out."""

    def half(beta2: float, **at: Any) -> str:
        kind = "burst" if "lam" in at else "rare"
        return steps_text(data[f"{kind}_time"].sel(beta2=beta2, reg="l2", level=0.5, **at))

    def rms(beta2: float, **at: Any) -> str:
        kind = "burst" if "lam" in at else "rare"
        return shown(data[f"{kind}_rms"].sel(beta2=beta2, reg="l2", **at))

    rare = ", ".join(f"{half(b, p=1e-3)} at {b:g}" for b in data["beta2"].values)
    dense = ", ".join(f"{half(b, p=1.0)} at {b:g}" for b in data["beta2"].values)
    wd = data["rare_time"].sel(p=1e-3, reg="wd", level=0.5)
    last = data["burst_time"].sel(beta2=0.9999, lam=1e-4, level=0.5)
    delayed = last.sel(reg="l2") / last.sel(reg="wd")
    return (
        "Asked: what a shorter or longer memory of squared gradients does to Adam + l2 (n = "
        f"{data.attrs['lanes']}, seed {data.attrs['seed']}). After Figure 4's burst a longer "
        "memory delays the decay and leaves the noise floor as it is: at 1e-4 the half-life is "
        f"{half(0.9, lam=1e-4)}, {half(0.99, lam=1e-4)}, {half(0.999, lam=1e-4)} and "
        f"{half(0.9999, lam=1e-4)} steps for beta2 = 0.9, 0.99, 0.999 and 0.9999, the late rms "
        f"{rms(0.9, lam=1e-4)}, {rms(0.99, lam=1e-4)}, {rms(0.999, lam=1e-4)} and "
        f"{rms(0.9999, lam=1e-4)}. Rarity is another matter. Gradients of the same rms (1e-3) "
        f"that come once in 1000 steps: half-life {rare}; dense: {dense}; weight decay "
        f"{steps_text(wd.min())} to {steps_text(wd.max())}. For the paper: its guess that the "
        "short memory of squared gradients causes the faster pruning of selective features "
        "(section 4) is borne out for a parameter with rare gradients, where 1 / (1 - beta2) must "
        "be shorter than the wait between two of them. In Figure 4 itself the gradients are "
        "small, not rare: there memory only sets the delay, and with beta2 = 0.9999 l2 at 1e-4 "
        f"still takes {shown(delayed)} of weight decay's time."
    )
