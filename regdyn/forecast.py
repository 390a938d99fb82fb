r"""Which filters will be gone, when and why, from what is seen early in training.

    ds = forecast(record, at=400, until=4000, rule="adam", reg="l2", lam=1e-2, pilot=finished)

"Gone" is |gamma| < 1e-3 at the end. Filters die in one of two ways (`regdyn.filters`): worn down
by the regulariser and the loss, under adaptive rules and `l2`; or absorbed by a dead ReLU, under
weight decay and under SGD. `regdyn.what_if` asks the same of settings that nobody ran.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from regdyn import regularizers, rules
from regdyn.checks import finite, integer, shown
from regdyn.filters import absorption, fate, laws, model, reasons
from regdyn.filters.record import DEAD, Record, Run, dead, read

if TYPE_CHECKING:
    import xarray as xr

LOOK = 0.04  # share of the run over which gradients are averaged before the forecast
ATTRIBUTES = {
    "p_collapse": ("chance that the filter is gone at the end", "1"),
    "t_median": ("step at which it collapses, if it does: median; inf: not in this run", "step"),
    "t_lo": ("lower end of the 80 % interval", "step"),
    "t_hi": ("upper end of the 80 % interval", "step"),
    "reason": ("why", "1"),
    "share": ("filters of the layer that are gone at the end", "percent"),
    "share_lo": ("lower end of the 80 % interval", "percent"),
    "share_hi": ("upper end of the 80 % interval", "percent"),
    "total": ("filters that are gone at the end", "percent"),
    "total_lo": ("lower end of the 80 % interval", "percent"),
    "total_hi": ("upper end of the 80 % interval", "percent"),
}


class Shares(NamedTuple):
    """Percent of each layer and of all filters, with 80 % intervals."""

    share: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    total: float
    total_lo: float
    total_hi: float


def forecast(
    record: Any, *, at: int, until: int | None = None, rule: Any, reg: str, lam: float,
    scale: Any = None, batch: int = absorption.BATCH, pilot: Any = None,
) -> "xr.Dataset":  # fmt: skip
    r"""Fate of every filter, from its record up to step `at`.

    Parameters
    ----------
    record : xarray.Dataset
        As `cnn.train` writes it to run.nc (docs/recording.md); may end before the run.
    at : int
        Step of the forecast; nothing later is read.
    until : int, optional
        Step of the end. Default: the last of `scale`, or else of the record.
    rule : str or NamedTuple
        One of `regdyn.rules`; a name stands for the paper's hyper-parameters.
    reg : {'none', 'l2', 'wd', 'adamw'}
        See `regdyn.regularizers`.
    lam : float
        Strength.
    scale : array_like, shape (until,), optional
        Schedule, lr_t / lr of every step (`regularizers.schedule_factors`); default: constant.
    batch : int
        Images per step; matters where filters are absorbed.
    pilot : xarray.Dataset or Run, optional
        A finished run of the same network and data with another seed or setting: its layers'
        course is followed. A Dataset stands for a run with the settings given here. Without one,
        the record's own trend goes on.

    Returns
    -------
    xarray.Dataset
        Over filters: p_collapse; t_median, t_lo, t_hi (collapse: 50-step mean of |gamma| below
        1e-2, steps from 0); reason. Over layers: share, share_lo, share_hi, in percent, and total,
        total_lo, total_hi of all filters. Intervals hold 80 %.

    Raises
    ------
    ValueError
        For bad input, a record that lacks something, or a pilot of another network.
    """
    known = record if isinstance(record, Record) else read(record)
    factors = None if scale is None else np.atleast_1d(np.asarray(scale, dtype=float))
    last = int(known.step[-1]) if factors is None else len(factors)
    end = last if until is None else integer("until", until, 1)
    factors = np.ones(end) if factors is None else factors
    if factors.ndim != 1 or len(factors) < end:
        raise ValueError(f"scale must have a factor for each of the {end} steps.")
    hp = rules.resolve(rule)
    run = Run(known, hp, reg, strength(reg, lam, hp), factors[:end], integer("batch", batch, 2))
    if pilot is not None and not isinstance(pilot, Run):
        pilot = run._replace(record=read(pilot))
    return of_run(run, integer("at", at, 1, end), pilot)


def of_run(run: Run, at: int, pilot: Run | None = None) -> "xr.Dataset":
    """The same from a `Run`, of whose record only what is before `at` is read."""
    known = run.record.until(at)
    if len(known.step) < 4:
        raise ValueError(f"at must be after the third window of the record, not {shown(at)}.")
    if pilot is not None:
        _same_network(known, pilot)
    start = laws.early(known, at, run.rule, look=LOOK * run.steps)
    if run.reg == "none" or run.lam == 0:
        found, why = _free(start), np.full(known.filters, reasons.FREE)
        common = (0.0, 0.0)
    elif absorption.applies(run.rule, run.reg):
        found, why = _absorbed(run, known, start, pilot)
        common = fate.ABSORBED
    else:
        scatter = fate.ALONE if pilot is None else fate.WITH_PILOT
        found, why = _worn(run, known, start, pilot)
        common = scatter.layer, scatter.total
    return _dataset(run, at, found, why, shares(found.p, known.layer, common=common))


def _worn(
    run: Run, known: Record, start: laws.Early, pilot: Run | None
) -> tuple[fate.Fates, np.ndarray]:
    """By the recursion of `regdyn.filters.model`."""
    if pilot is None:
        course = laws.power_law(known, start, run.rule, run.steps)
    else:
        course = laws.following(laws.course(pilot.record, run.rule), start)
    at = model.grid(start.step, run.steps, beyond=fate.BEYOND)
    path = model.evolve(start, course, _settings(run), at=at)
    if pilot is None:
        found = fate.worn_down(path, start, run.scale, fate.ALONE)
    else:
        taught = _taught(pilot, start.step / run.steps)
        found = fate.worn_down(path, start, run.scale, fate.WITH_PILOT, taught)
    calm, coarse = model.DEFAULT._replace(push=0.0), model.grid(start.step, run.steps, parts=40)
    alone = model.evolve(
        start._replace(rho=None), course, _settings(run), at=coarse, constants=calm
    )
    return found, reasons.of_worn(path, alone, start, found.p, until=run.steps)


def _settings(run: Run) -> model.Settings:
    return model.Settings(run.rule, run.reg, run.lam, run.scale)


def _taught(pilot: Run, f: float) -> fate.Correction:
    """What forecasting the pilot, after the share f of it, teaches of its layers."""
    at = max(int(f * pilot.steps), int(pilot.record.step[3]))
    start = laws.early(pilot.record, at, pilot.rule, look=LOOK * pilot.steps)
    alone = fate.uncorrected(fate.WITH_PILOT, 10 * f, start.layers.number)
    if pilot.reg != "l2" or absorption.applies(pilot.rule, pilot.reg):
        return alone  # its filters do not die in this way
    course = laws.following(laws.course(pilot.record, pilot.rule), start)
    grid = model.grid(start.step, pilot.steps, beyond=fate.BEYOND)
    path = model.evolve(start, course, _settings(pilot), at=grid)
    return fate.corrected(alone, path, start, pilot.scale, pilot.record)


def _absorbed(
    run: Run, known: Record, start: laws.Early, pilot: Run | None
) -> tuple[fate.Fates, np.ndarray]:
    """By the hazard of `regdyn.filters.absorption`."""
    factor = np.ones(len(known.names)) if pilot is None else hazard_factor(pilot, run)
    silent = absorption.absorbed(known)
    found = fate.absorbed(law_of(run), start, silent, until=run.steps, factor=factor)
    return found, reasons.of_absorbed(start, silent, found.p)


def hazard_factor(pilot: Run, target: Run) -> np.ndarray:
    """What the pilot says of each layer's hazard, over the law's; 1 if it dies by another law."""
    kin = isinstance(pilot.rule, rules.SGD) == isinstance(target.rule, rules.SGD)
    if kin and absorption.applies(pilot.rule, pilot.reg):
        return absorption.measured_factor(pilot.record, law_of(pilot))
    return np.ones(len(pilot.record.names))


def law_of(run: Run, *, width: float = 1.0) -> absorption.Absorption:
    """The law of absorption for this run's settings and network, `width` times as wide."""
    return absorption.law(
        run.rule, run.reg, run.lam, scale=run.scale,
        filters=width * np.bincount(run.record.layer), batch=run.batch,
        width=width * absorption.wideness(run.record), bn_eps=float(np.median(run.record.bn_eps)),
    )  # fmt: skip


def _free(start: laws.Early) -> fate.Fates:
    never = np.full(len(start.gamma), np.inf)
    return fate.Fates(np.where(start.gamma < DEAD, 1.0, 0.0), never, never, never)


# Checks and labels -------------------------------------------------------------------------------


def strength(reg: str, lam: float, hp: Any) -> float:
    """lambda, if rule and regulariser take it; 0 where nothing is regularised."""
    if reg == "none":
        return 0.0
    return regularizers.check_strength(reg, finite("lam", lam, 0.0), hp)


def _same_network(record: Record, pilot: Run) -> None:
    ours, theirs = (tuple(np.bincount(one.layer)) for one in (record, pilot.record))
    if ours != theirs:
        raise ValueError(
            f"the pilot is of another network: its layers have {shown(list(map(int, theirs)))} "
            f"filters, not {shown(list(map(int, ours)))}."
        )
    if pilot.record.step[-1] < pilot.steps:
        raise ValueError(
            f"the pilot must be finished: its record ends at step {pilot.record.step[-1]} of "
            f"{pilot.steps}."
        )


def shares(p: np.ndarray, layer: np.ndarray, *, common: tuple[float, float]) -> Shares:
    """Expected shares in percent, with 80 % intervals.

    Filters scatter by themselves; besides, those of a layer, and all, scatter together: `common`
    has the standard deviations of their logit.
    """
    n, total = np.bincount(layer), len(p)
    mean = np.bincount(layer, weights=p) / n
    alone = np.bincount(layer, weights=p * (1 - p)) / n**2
    lo, hi = _interval(mean, alone, common[0])
    whole = float(p.mean())
    low, high = _interval(whole, float((p * (1 - p)).sum()) / total**2, common[1])
    return Shares(100 * mean, lo, hi, 100 * whole, float(low), float(high))


def _interval(mean: Any, variance: Any, common: float) -> tuple[Any, Any]:
    """80 % about `mean`, in percent, within 0 and 100."""
    spread = fate.Z80 * np.sqrt(variance + (common * mean * (1 - mean)) ** 2)
    return 100 * np.maximum(mean - spread, 0.0), 100 * np.minimum(mean + spread, 1.0)


def _dataset(run: Run, at: int, found: fate.Fates, why: np.ndarray, s: Shares) -> "xr.Dataset":
    import xarray as xr

    from regdyn.store import provenance

    known = run.record
    values = {
        "p_collapse": found.p, "t_median": found.t_median, "t_lo": found.t_lo,
        "t_hi": found.t_hi, "reason": why.astype(object),
        "share": s.share, "share_lo": s.lo, "share_hi": s.hi,
        "total": s.total, "total_lo": s.total_lo, "total_hi": s.total_hi,
    }  # fmt: skip
    dims = {"share": "layer_name", "total": ()}
    labelled = {}
    for name, value in values.items():
        along = dims.get(name.split("_")[0], "filter")
        long_name, units = ATTRIBUTES[name]
        labelled[name] = (along, value, {"long_name": long_name, "units": units})
    coords = {"filter": np.arange(known.filters), "layer_name": list(known.names),
              "layer": ("filter", [known.names[i] for i in known.layer])}  # fmt: skip
    attrs = {
        "title": "forecast of which filters will be gone", "at": at, "until": run.steps,
        "rule": rules.name_of(run.rule), "hyper": str(run.rule), "reg": run.reg, "lam": run.lam,
        "threshold": DEAD, **provenance(),
    }  # fmt: skip
    return xr.Dataset(labelled, coords, attrs)


def measured(run: Run) -> Shares:
    """What a finished run came to, in the same form; its intervals are points."""
    p = dead(run.record).astype(float)
    n = np.bincount(run.record.layer)
    share = 100 * np.bincount(run.record.layer, weights=p) / n
    total = 100 * float(p.mean())
    return Shares(share, share, share, total, total, total)
