"""What-if from finished runs, against what the other settings gave when they were trained."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from cnn.validate.trained import Trained
from regdyn.filters.absorption import applies

PILOTS = (
    "digits/adam-l2-1e-2", "digits/adam-wd-3e-3", "digits/sgd-l2-5e-3",
    "digits/wide-adam-l2-1e-3", "fashion/adam-l2-1e-3", "fashion/adam-wd-3e-3",
)  # fmt: skip
"""Settings whose runs are asked what the others give."""


class Target(NamedTuple):
    """What a pilot said of another setting, and what its runs came to; shares in percent.

    Attributes
    ----------
    pilot : Trained
    setting, split : str
        The target's.
    kind : str
        Which settings it leads to; see `kind_of`.
    runs : int
        Number of the target's runs, over which the true shares are means.
    true, said, lo, hi : float
        Total; said is NaN where the what-if refuses.
    layer_error, layer_same : float
        Mean over layers of abs(said - true), and of abs(pilot's - true).
    same : float
        The pilot's own total.
    refused : str
        Why.
    """

    pilot: Trained
    setting: str
    split: str
    kind: str
    runs: int
    true: float
    said: float
    lo: float
    hi: float
    layer_error: float
    same: float
    layer_same: float
    refused: str = ""


def targets(pilots: Iterable[Trained], runs: Sequence[Trained]) -> list[Target]:
    """Every pilot's what-if of every other setting with the same images among `runs`."""
    by_setting: dict[str, list[Trained]] = {}
    for one in runs:
        by_setting.setdefault(one.setting.name, []).append(one)
    return [
        target(pilot, some)
        for pilot in pilots
        for name, some in by_setting.items()
        if name != pilot.setting.name and comparable(pilot, some[0])
    ]


def comparable(pilot: Trained, other: Trained) -> bool:
    """Whether they have the same images and steps, and networks that differ in width at most."""
    a, b = pilot.setting.config, other.setting.config
    return (a.data, a.steps, a.model.name) == (b.data, b.steps, b.model.name)


def target(pilot: Trained, runs: Sequence[Trained]) -> Target:
    """A pilot's what-if of the setting whose runs these are."""
    from cnn.validate.what_if import arguments
    from regdyn import forecast, what_if

    first, own = runs[0], forecast.measured(pilot.run)
    measured = [forecast.measured(one.run) for one in runs]
    true = np.mean([one.share for one in measured], axis=0)
    total = float(np.mean([one.total for one in measured]))
    kind = kind_of(pilot, first)
    about = (pilot, first.setting.name, first.setting.split, kind, len(runs), total)
    same = (own.total, _error(own.share, true))
    try:
        said = what_if.what_if(pilot.run, **arguments(pilot.config, first.config))
    except ValueError as error:
        nothing = np.nan
        return Target(*about, nothing, nothing, nothing, nothing, *same, str(error))
    shares = (said.total, said.total_lo, said.total_hi, _error(said.share, true))
    return Target(*about, *shares, *same)


def _error(said: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean(np.abs(said - true)))


def kind_of(pilot: Trained, other: Trained) -> str:
    """What a what-if changes.

    "network" (width), "batch" (of filters that are absorbed), "rule" (the rule, or where lambda
    enters; but Adam and AMSGrad are one), else "adaptive", "decay" or "sgd": strength, learning
    rate and the like, under that kind of rule.
    """
    a, b = pilot.setting.config, other.setting.config
    ours, theirs = (_rule(one) for one in (a, b))
    absorbed = applies(other.run.rule, other.run.reg)
    if a.model != b.model:
        return "network"
    if ours != theirs and not (ours[0] == theirs[0] == "sgd"):  # l2 and wd are one under SGD
        return "rule"
    if absorbed and a.batch != b.batch:
        return "batch"
    if theirs[0] == "sgd":
        return "sgd"
    return "decay" if absorbed else "adaptive"


def _rule(config: Any) -> tuple[str, str]:
    opt = config.optim.opt
    return ("adam" if opt == "amsgrad" else opt, config.optim.reg)


def summary(found: Sequence[Target]) -> list[dict[str, Any]]:
    """A row for each kind and setting of the pilots: errors over all their targets.

    Keys: kind, pilot (setting), pilots (runs), targets (answered), refused (answers), error (mean
    over targets and pilots, percent points), worst_pilot (the largest of its pilots' means),
    layer_error, rank (correlation of said and true totals), covered (percent of the 80 %
    intervals), same and layer_same ("same as the pilot").
    """
    rows = []
    for kind, setting in dict.fromkeys((one.kind, one.pilot.setting.name) for one in found):
        some = [one for one in found if (one.kind, one.pilot.setting.name) == (kind, setting)]
        said = [one for one in some if not one.refused]
        rows.append(
            {"kind": kind, "pilot": setting, "pilots": len({one.pilot.name for one in some}),
             "targets": len({one.setting for one in said}), "refused": len(some) - len(said),
             **_errors(said)}
        )  # fmt: skip
    return sorted(rows, key=lambda row: (row["kind"], row["pilot"]))


def _errors(said: Sequence[Target]) -> dict[str, float | None]:
    if not said:
        names = ("error", "worst_pilot", "layer_error", "rank", "covered", "same", "layer_same")
        return dict.fromkeys(names)
    error = np.array([abs(one.said - one.true) for one in said])
    pilots = np.array([one.pilot.name for one in said])
    inside = [one.lo <= one.true <= one.hi for one in said]
    return {
        "error": float(error.mean()),
        "worst_pilot": max(float(error[pilots == name].mean()) for name in set(pilots)),
        "layer_error": float(np.mean([one.layer_error for one in said])),
        "rank": _rank([one.said for one in said], [one.true for one in said]),
        "covered": 100.0 * float(np.mean(inside)),
        "same": float(np.mean([abs(one.same - one.true) for one in said])),
        "layer_same": float(np.mean([one.layer_same for one in said])),
    }


def _rank(said: Sequence[float], true: Sequence[float]) -> float | None:
    """Spearman's correlation; None where it is not defined."""
    if len(said) < 3 or len(set(said)) < 2 or len(set(true)) < 2:
        return None
    return float(np.corrcoef(rankdata(said), rankdata(true))[0, 1])


def row(one: Target) -> dict[str, Any]:
    """For validate.json."""
    values = {name: None if value != value else value for name, value in one._asdict().items()}
    return {**values, "pilot": one.pilot.name, "method": "what_if"}
