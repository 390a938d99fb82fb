r"""What another strength, rule, learning rate or batch would have given, from one finished run.

The pilot's layer products C(t), D(t) (`regdyn.filters.laws`) are played back to its own filters,
as they were early in training, under the other settings. Where filters die by absorption, the law
of `regdyn.filters.absorption` is drawn on, scaled to what the pilot measured.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from regdyn import rules
from regdyn.checks import finite, integer
from regdyn.filters import absorption, fate, laws, model
from regdyn.filters.record import Run
from regdyn.forecast import LOOK, Shares, hazard_factor, law_of, shares, strength

if TYPE_CHECKING:
    import xarray as xr

STARTS = (0.04, 0.05, 0.06)
"""Shares of the pilot at which its filters are taken; the mean over them counts."""
EARLY = 0.03  # by how much paths are too early, in `fate.lateness`
WORN = (0.5, 0.22)
"""Standard deviation of a layer's and of the total share's logit, beyond what chance does."""


def what_if(
    pilot: Run, *, rule: Any = None, reg: str | None = None, lam: float | None = None,
    scale: Any = None, batch: int | None = None, width: float = 1.0,
) -> Shares:  # fmt: skip
    r"""Shares of filters that would be gone at the end, in percent, with 80 % intervals.

    Parameters
    ----------
    pilot : Run
        Finished.
    rule : str or NamedTuple, optional
        With its hyper-parameters, such as ``Adam(lr=3e-3)``. What is left out is the pilot's.
    reg : {'none', 'l2', 'wd', 'adamw'}, optional
    lam : float, optional
    scale : array_like, optional
        Schedule, lr_t / lr of every step.
    batch : int, optional
        Images per step.
    width : float
        Filters per layer over the pilot's; only where filters die by absorption.

    Raises
    ------
    ValueError
        For bad input, an unfinished pilot, or settings of which the pilot says nothing.
    """
    target = settings(pilot, rule=rule, reg=reg, lam=lam, scale=scale, batch=batch)
    return _answer(pilot, target, finite("width", width, 0.0, open_below=True))


class Replay(NamedTuple):
    """What is played back: the layers' course as a rule sees it, and filters to start from.

    `early` has, for each start, by how much the filters of each layer are too early in
    `fate.lateness`, as the pilot itself teaches.
    """

    course: laws.Course
    starts: list[laws.Early]
    early: list[np.ndarray]


def _answer(pilot: Run, target: Run, width: float, replay: Replay | None = None) -> Shares:
    """Shares under the target's settings, or a refusal."""
    if target.reg == "none" or target.lam == 0:
        return shares(np.zeros(pilot.record.filters), pilot.record.layer, common=WORN)
    if absorption.applies(target.rule, target.reg):
        return _absorbed(pilot, target, width)
    if absorption.applies(pilot.rule, pilot.reg):
        raise ValueError(
            f"a pilot trained with {_words(pilot)} says nothing of {_words(target)}: filters die "
            "in another way. Give a pilot of an adaptive rule with l2."
        )
    if width != 1.0:
        raise ValueError(f"width must be 1 with {_words(target)}: give a pilot of that width.")
    return _worn(pilot, target, replay or _replay(pilot, target.rule))


def settings(
    pilot: Run, *, rule: Any = None, reg: str | None = None, lam: float | None = None,
    scale: Any = None, batch: int | None = None,
) -> Run:  # fmt: skip
    """The pilot's settings with others in their place; see `what_if`."""
    if pilot.record.step[-1] < pilot.steps:
        raise ValueError(
            f"the pilot must be finished: its record ends at step {pilot.record.step[-1]} of "
            f"{pilot.steps}."
        )
    hp = pilot.rule if rule is None else rules.resolve(rule)
    where = pilot.reg if reg is None else reg
    factors = pilot.scale if scale is None else np.asarray(scale, dtype=float)
    images = pilot.batch if batch is None else integer("batch", batch, 2)
    return pilot._replace(
        rule=hp, reg=where, lam=strength(where, pilot.lam if lam is None else lam, hp),
        scale=factors, batch=images,
    )  # fmt: skip


def _replay(pilot: Run, hp: Any) -> Replay:
    starts, early = [], []
    for f in STARTS:
        at = max(int(f * pilot.steps), int(pilot.record.step[3]))
        start, own = (
            laws.early(pilot.record, at, one, look=LOOK * pilot.steps)._replace(rho=None)
            for one in (hp, pilot.rule)  # another run has other lucky filters: no rho
        )
        starts.append(start)
        early.append(_taught(pilot, own))
    return Replay(laws.course(pilot.record, hp), starts, early)


def _taught(pilot: Run, start: laws.Early) -> np.ndarray:
    """What playing the pilot back to itself teaches of its layers; shape (L,)."""
    none = fate.Correction(*(np.full(start.layers.number, value) for value in (EARLY, 0.0)))
    if pilot.reg != "l2" or pilot.lam == 0:
        return none.early
    path = _path(start, laws.course(pilot.record, pilot.rule), pilot, 1.0)
    return fate.corrected(none, path, start, pilot.scale, pilot.record, trust=1.0).early


def _path(start: laws.Early, course: laws.Course, target: Run, batch: float) -> model.Path:
    chosen = model.Settings(target.rule, target.reg, target.lam, target.scale, batch)
    grid = model.grid(start.step, target.steps, beyond=fate.BEYOND)
    return model.evolve(start, course, chosen, at=grid)


def _worn(pilot: Run, target: Run, replay: Replay) -> Shares:
    p, layer = np.zeros(pilot.record.filters), pilot.record.layer
    for start, early in zip(replay.starts, replay.early, strict=True):
        path = _path(start, replay.course, target, target.batch / pilot.batch)
        late = fate.lateness(path, target.scale) - early[layer]
        p += fate.share_of(late) / len(replay.starts)
    return shares(p, layer, common=WORN)


def _absorbed(pilot: Run, target: Run, width: float) -> Shares:
    law = law_of(target, width=width)
    p = law.share(target.steps, factor=hazard_factor(pilot, target))[pilot.record.layer]
    return shares(p, pilot.record.layer, common=fate.ABSORBED)


def suggest(pilot: Run, share: float, **others: Any) -> tuple[float, Shares]:
    """The strength that gives this total share, and what it would give.

    Parameters
    ----------
    pilot : Run
    share : float
        Percent of all filters that are to be gone, between 0 and 100.
    **others
        Further settings, as `what_if` takes them.

    Raises
    ------
    ValueError
        If no strength within a factor of 1000 of the pilot's comes within a point of it.
    """
    finite("share", share, 0.0, 100.0)
    if pilot.lam == 0:
        raise ValueError("the pilot has no strength to start from: give one that is regularised.")
    width = others.pop("width", 1.0)
    target = settings(pilot, **others)
    worn = target.reg == "l2" and not absorption.applies(target.rule, "l2")
    replay = _replay(pilot, target.rule) if worn else None
    tried: dict[float, Shares] = {}

    def off(log: float) -> float:
        lam = float(pilot.lam * 10**log)
        tried[lam] = _answer(pilot, target._replace(lam=lam), width, replay)
        return tried[lam].total - share

    decay = pilot.lam * (target.rule.lr if target.reg == "adamw" else 1.0)
    most = np.inf if target.reg == "l2" else np.log10(0.5 / decay)  # it takes less than all
    logs = np.linspace(-3, min(3, most), 13)
    found = np.array([off(log) for log in logs])
    crossing = np.flatnonzero(np.diff(np.sign(found)) != 0)
    if len(crossing):  # the one nearest to the pilot; refined by halving
        k = crossing[np.argmin(np.abs(logs[crossing]))]
        a, b, sign = logs[k], logs[k + 1], np.sign(found[k])
        for _ in range(7):
            middle = 0.5 * (a + b)
            a, b = (middle, b) if np.sign(off(middle)) == sign else (a, middle)
    lam = min(tried, key=lambda one: abs(tried[one].total - share))
    if abs(tried[lam].total - share) > 1.0:
        raise ValueError(
            f"no strength gives {share:g} %: the nearest is {tried[lam].total:.1f} % at {lam:.2g}."
        )
    return lam, tried[lam]


def dataset(found: Shares, pilot: Run) -> "xr.Dataset":
    """Shares with labels."""
    import xarray as xr

    from regdyn.forecast import ATTRIBUTES
    from regdyn.store import provenance

    values = {
        "share": found.share, "share_lo": found.lo, "share_hi": found.hi, "total": found.total,
        "total_lo": found.total_lo, "total_hi": found.total_hi,
    }  # fmt: skip
    labelled = {}
    for name, value in values.items():
        long_name, units = ATTRIBUTES[name]
        along = ("layer_name",) if name.startswith("share") else ()
        labelled[name] = (along, value, {"long_name": long_name, "units": units})
    return xr.Dataset(labelled, {"layer_name": list(pilot.record.names)}, provenance())


def _words(run: Run) -> str:
    return f"{rules.name_of(run.rule)} and {run.reg}"
