r"""When do L2 and weight decay of one strength mean the same?

Under SGD with momentum, l2 decays :math:`\theta` at the rate :math:`\eta\lambda/(1 - \mu)`, the
paper's weight decay at :math:`\lambda`, torch's AdamW at :math:`\eta\lambda`. The first two agree
in the paper because :math:`\eta/(1 - \mu)` = 1 there.
"""

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.common import (
    INK,
    config_of,
    frame,
    labelled,
    lanes_or,
    last_tenth,
    note,
    plain_log,
    runs,
    shown,
    steps_text,
    times,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from pandas import DataFrame

QUESTION = "L2 = weight decay under SGD: for which learning rates and momenta? And AdamW?"
SECONDS = 15

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MOMENTA = (0.0, 0.5, 0.9, 0.99)
REGS = ("l2", "wd")
STRENGTH = 1e-3
WRITTEN = {  # what people write: rule, regulariser, strength
    "the paper's SGD, L2 1e-4": ("sgd", "l2", 1e-4),
    "the paper's SGD, WD 1e-4": ("sgd", "wd", 1e-4),
    "the paper's Adam, L2 1e-4": ("adam", "l2", 1e-4),
    "the paper's Adam, WD 1e-4": ("adam", "wd", 1e-4),
    "AdamW(), torch's default 1e-2": ("adam", "adamw", 1e-2),
    "AdamW(weight_decay=1e-4)": ("adam", "adamw", 1e-4),
    "AdamW(weight_decay=0.1)": ("adam", "adamw", 0.1),
}
STEPS, LANES = 100_000, 400


def run(*, lanes: int | None = None, seed: int = 0, steps: int = STEPS) -> "xr.Dataset":
    """Steps to 0.5 and late rms: a scan of SGD, and what some written settings mean.

    Returns
    -------
    xarray.Dataset
        `time`, `low`, `high`, `rms`, and `law`, the half-life of `regdyn.half_life`, with
        dimensions (lr, momentum, reg); the same as `written_time` ... with dimension written,
        where Adam's beta2 is torch's, 0.999, for AdamW.
    """
    import xarray as xr

    from regdyn.report import late_rms
    from regdyn.rules import SGD, resolve

    lanes = lanes_or(lanes, LANES)
    scan = list(product(RATES, MOMENTA))
    shared: dict[str, Any] = dict(
        steps=steps, lanes=lanes, seed=seed, record=last_tenth(steps), thresholds=0.5,
        keep_passages=True,
    )  # fmt: skip
    jobs = [{**shared, "rule": [SGD(*at) for at in scan], "reg": list(REGS), "lam": STRENGTH}]
    for rule, reg, lam in WRITTEN.values():
        hp = resolve(rule, "torch" if reg == "adamw" else "paper")
        jobs.append({**shared, "rule": hp, "reg": reg, "lam": lam})
    first, *rest = (
        times(ds).assign(rms=late_rms(ds)).isel(level=0, lam=0, drop=True)
        for ds in runs("conventions", jobs)
    )
    shape = (len(RATES), len(MOMENTA), len(REGS))
    law = [_half_life(reg, STRENGTH, SGD(*at)) for at in scan for reg in REGS]
    variables: dict[str, Any] = {
        str(name): (("lr", "momentum", "reg"), first[name].values.reshape(shape), first[name].attrs)
        for name in first.data_vars
    }
    variables["law"] = (("lr", "momentum", "reg"), np.reshape(law, shape))
    for name in first.data_vars:
        values = [one[name].item() for one in rest]
        variables[f"written_{name}"] = ("written", values, first[name].attrs)
    known = [_half_life(reg, lam, rule) for rule, reg, lam in WRITTEN.values()]
    variables["written_law"] = ("written", known)
    coords = {
        "lr": list(RATES), "momentum": list(MOMENTA), "reg": list(REGS), "written": list(WRITTEN)
    }  # fmt: skip
    return labelled(
        xr.Dataset(variables, coords), "conventions of weight decay", lanes=lanes, seed=seed,
        steps=steps, strength=STRENGTH, gradient="low",
    )  # fmt: skip


def _half_life(reg: str, lam: float, rule: Any) -> float:
    """`regdyn.half_life`; NaN where there is none: an adaptive rule under l2, an oscillation."""
    from regdyn import half_life

    try:
        return half_life(reg, lam, rule=rule)
    except ValueError:
        return np.nan


def table(data: "xr.Dataset") -> "DataFrame":
    """What is written first, then the scan."""
    names = ("time", "low", "high", "law", "rms")
    rows: list[dict[str, Any]] = []
    for written in data["written"].values:
        one = data.sel(written=written)
        at = {"setting": str(written), "reg": WRITTEN[str(written)][1]}
        rows.append(at | {name: float(one[f"written_{name}"]) for name in names})
    for lr, momentum, reg in product(
        data["lr"].values, data["momentum"].values, data["reg"].values
    ):
        one = data.sel(lr=lr, momentum=momentum, reg=reg)
        at = {"setting": f"SGD lr {lr:g}, momentum {momentum:g}, 1e-3", "reg": str(reg)}
        rows.append(at | {name: float(one[name]) for name in names})
    return frame(rows)


def draw(data: "xr.Dataset") -> "Figure":
    """Half-life and floor of SGD against lr / (1 - momentum)."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.2, 3.6))
        left, right = fig.subplots(1, 2)
        markers = "os^D"
        for reg, colour in zip(data["reg"].values, INK, strict=False):
            for momentum, marker in zip(data["momentum"].values, markers, strict=True):
                one = data.sel(reg=reg, momentum=momentum)
                effective = one["lr"].values / (1 - momentum)
                label = f"{reg}, μ = {momentum:g}"
                for ax, name in ((left, "time"), (right, "rms")):
                    style: dict[str, Any] = dict(color=colour, marker=marker, ms=4.5, ls="none")
                    ax.plot(effective, one[name], alpha=0.75, label=label, **style)
        span = np.geomspace(0.01, 100, 100)
        left.plot(span, np.log(2) / (STRENGTH * span), color=INK[0], lw=0.8, ls=":")
        left.axhline(np.log(2) / STRENGTH, color=INK[1], lw=0.8, ls=":")
        for ax in (left, right):
            ax.axvline(1, color="0.3", lw=0.8)
            ax.set(xscale="log", yscale="log", xlabel="lr / (1 − momentum)")
            plain_log(ax.xaxis)
            plain_log(ax.yaxis)
        left.set(title="SGD: steps to 0.5", ylabel="steps")
        right.set(title="SGD: late rms", ylabel="rms of θ")
        left.text(1.2, left.get_ylim()[1], "the paper", fontsize=8, va="top", color="0.3")
        fig.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
        note(
            fig,
            f"λ = 1e-3, Figure 4's gradients, medians of {data.attrs['lanes']} lanes, "
            f"{config_of(data)['steps']:,} steps. Dotted: ln 2 over the rate of regdyn.decay_rate.",
        )
    return fig


def answer(data: "xr.Dataset") -> str:
    """What came out."""

    def ratio(lr: float, momentum: float) -> str:
        one = data["time"].sel(lr=lr, momentum=momentum)
        return shown(float(one.sel(reg="wd") / one.sel(reg="l2")))

    def written(name: str) -> str:
        one = data.sel(written=name)
        time, law = float(one["written_time"]), float(one["written_law"])
        return f"{steps_text(time)} ({law:,.0f} by its law)"

    names = list(WRITTEN)
    return (
        "Asked: for which settings l2 and wd of one strength mean the same decay (n = "
        f"{data.attrs['lanes']}, seed {data.attrs['seed']}). Under SGD at 1e-3 the half-life "
        f"under wd is {ratio(0.1, 0.9)} of that under l2 at the paper's lr 0.1 and momentum 0.9, "
        f"{ratio(0.01, 0.9)} at lr 0.01, {ratio(0.1, 0.0)} without momentum and "
        f"{ratio(0.1, 0.99)} at momentum 0.99: the ratio is lr / (1 - momentum), as long as l2 "
        "does not make SGD oscillate. Under Adam the steps to 0.5, within "
        f"{config_of(data)['steps']:,}, are at the paper's wd 1e-4 "
        f"{written(names[3])}, with AdamW(weight_decay=1e-4) {written(names[5])}, with AdamW at "
        f"its default 1e-2 {written(names[4])}, and with AdamW(weight_decay=0.1) the paper's: "
        f"{written(names[6])}; where noise is large it brings the median there before the law, "
        "which is the mean's. For the paper: that SGD shows the same sparsity under L2 "
        "and WD (Table 1) follows from its learning rate and momentum, not from SGD; and a filter "
        "that dies of the paper's weight decay 1e-4 under Adam would take a thousand times as "
        "long with the same number in AdamW."
    )
