"""The forecast of a run while it trains: `regdyn.forecast` on what is recorded so far."""

from typing import Any, NamedTuple

import numpy as np

from cnn.monitor.history import History
from cnn.monitor.setting import Setting, factors
from regdyn.filters.record import GRADIENT, STATE, Record, Run, collapse_step, dead
from regdyn.forecast import of_run, shares

LEAST = 4  # records before a forecast
LATEST = 0.95  # of the run: after it there is little left to forecast
NOTE = (
    "80 % intervals. The laws were fitted on small networks with ReLU and BatchNorm: "
    "docs/forecast.md says when not to trust them."
)


class Forecast(NamedTuple):
    """Fate of every filter at the end of the run.

    Attributes
    ----------
    at, until : int
        Step at which it was made, and of the end.
    p, t_lo, t_median, t_hi : ndarray (filters,)
        Chance of being gone; step of collapse and its 80 % interval, NaN: not in this run. All NaN
        where a filter is not forecast.
    reason : ndarray of int (filters,)
        Number in `reasons`.
    reasons : tuple of str
    share : ndarray (3, layers)
        Percent of each layer that is gone at the end: lower end, expected, upper end.
    total : ndarray (3,)
        The same of all filters that are forecast.
    note : str
    """

    at: int
    until: int
    p: np.ndarray
    t_lo: np.ndarray
    t_median: np.ndarray
    t_hi: np.ndarray
    reason: np.ndarray
    reasons: tuple[str, ...]
    share: np.ndarray
    total: np.ndarray
    note: str


def forecast(history: History, setting: Setting, schedule: np.ndarray, batch: int) -> Forecast:
    """From all records so far.

    Parameters
    ----------
    history : History
    setting : Setting
    schedule : ndarray (steps,)
        lr_t / lr; empty: as it was seen, and constant from now on.
    batch : int
        Images per step.

    Raises
    ------
    ValueError
        If it is not possible, and why.
    """
    about, steps = history.about, possible(history, setting)
    traced = about.of_filters("traced")
    record = _record(history, traced)
    scale = factors(schedule, history["step"], history["lr"], steps=steps, lr=setting.lr)
    with np.errstate(all="ignore"):
        run = Run(record, setting.rule, str(setting.reg), setting.lam or 0.0, scale, batch)
        found = of_run(run, min(history.step, int(LATEST * steps)))
        if history.step == steps:
            found = _over(found, record)
    notes = [NOTE, setting.note]
    if not len(schedule) and history.step < steps:
        notes.append("The learning rate is taken to stay as it is: give schedule if it does not.")
    if not traced.all():
        notes.append(f"{traced.sum()} of {len(traced)} filters are forecast.")
    words = " ".join(note[0].upper() + note[1:] for note in notes if note)
    return _labelled(found, history, traced, words)


def possible(history: History, setting: Setting) -> int:
    """Steps of the run, if a forecast of it can be made.

    Raises
    ------
    ValueError
        If not, and why.
    """
    about = history.about
    if not any(norm.traced for norm in about.norms):
        raise ValueError(about.why or setting.why or "no filters are known.")
    if setting.why is not None:
        raise ValueError(setting.why)
    if about.steps is None:
        raise ValueError("the length of the run is not known: give steps.")
    if history.step > about.steps:
        raise ValueError(f"the run is longer than the {about.steps} steps that were given.")
    if setting.lr <= 0:
        raise ValueError("the learning rate before any schedule is 0.")
    if len(history["step"]) < LEAST:
        raise ValueError(f"it needs {LEAST - 1} records, and there are {len(history['step']) - 1}.")
    if history["step"][LEAST - 1] > LATEST * about.steps:
        raise ValueError("the records are too far apart: give a smaller every.")
    return about.steps


def _record(history: History, traced: np.ndarray) -> Record:
    """What of the history the forecast reads."""
    about = history.about
    fields = {name: history[name][:, traced].astype(float) for name in STATE}
    fields |= {name: history[name][1:, traced].astype(float) for name in GRADIENT}
    for name, values in fields.items():
        if name not in ("norm_out", "grad_out2") and not np.isfinite(values).all():
            raise ValueError(f"{name} of the record is not finite.")
    names = [norm.name for norm in about.norms if norm.traced]
    sizes = [norm.filters for norm in about.norms if norm.traced]
    return Record(
        step=history["step"].copy(), layer=np.repeat(np.arange(len(names)), sizes),
        names=tuple(names), bn_eps=history.bn_eps[traced], weights_out=history.weights_out[traced],
        **fields,
    )  # fmt: skip


def _over(found: Any, record: Record) -> Any:
    """At the end there is nothing left to forecast: what came out, and when; the reasons stay."""
    p = dead(record).astype(float)
    s = shares(p, record.layer, common=(0.0, 0.0))
    t = np.where(p == 1, collapse_step(record), np.inf)
    filters = {"p_collapse": p, "t_lo": t, "t_median": t, "t_hi": t}
    layers = dict.fromkeys(("share", "share_lo", "share_hi"), ("layer_name", s.share))
    whole = dict.fromkeys(("total", "total_lo", "total_hi"), ((), s.total))
    return found.assign({name: ("filter", x) for name, x in filters.items()} | layers | whole)


def _labelled(found: Any, history: History, traced: np.ndarray, note: str) -> Forecast:
    """Over all filters and layers, also those that are not forecast."""
    until = int(found.attrs["until"])
    words = tuple(dict.fromkeys(map(str, found["reason"].values)))
    known = np.array([norm.traced for norm in history.about.norms])
    share = np.full((3, len(known)), np.nan)
    share[:, known] = [found[name].values for name in ("share_lo", "share", "share_hi")]
    reason = np.zeros(len(traced), np.int64)
    reason[traced] = 1 + np.array([words.index(str(one)) for one in found["reason"].values])
    in_time = np.where(found["t_median"].values <= until, 1.0, np.nan)
    times = {t: _finite(found[t].values) * in_time for t in ("t_lo", "t_median", "t_hi")}
    fates = {"p": found["p_collapse"].values, **times}
    return Forecast(
        at=history.step, until=until, **{k: _spread(v, traced) for k, v in fates.items()},
        reason=reason, reasons=("not forecast", *words), share=share,
        total=np.array([float(found[name]) for name in ("total_lo", "total", "total_hi")]),
        note=note,
    )  # fmt: skip


def _finite(x: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(x), x, np.nan)


def _spread(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    found = np.full(len(where), np.nan)
    found[where] = values
    return found
