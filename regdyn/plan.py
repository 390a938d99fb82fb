"""An experiment, checked: what `simulate` was asked for, as one frozen object and as JSON."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from regdyn import gradients, random, regularizers, rules
from regdyn.checks import choose, finite, integer, numbers, shown

THRESHOLDS = (0.5, 0.1, 1e-2, 1e-3)
_ASKED = {
    "rule", "reg", "lam", "gradient", "steps", "lanes", "theta0", "seed", "record", "schedule",
    "thresholds", "keep_lanes", "keep_passages", "statistics",
}  # fmt: skip
STATISTICS = ("full", "moments")
MAX_THRESHOLDS = 100
KEPT = 400  # recorded steps between the first and the last, by default


@dataclass(frozen=True)
class Plan:
    """A checked experiment. The fields are those of `simulate`, resolved."""

    rule: tuple[Any, ...]
    reg: tuple[str, ...]
    lam: tuple[float, ...]
    gradient: Any
    steps: int
    lanes: range
    theta0: np.ndarray
    seed: int
    record: np.ndarray
    schedule: np.ndarray
    thresholds: tuple[float, ...]
    keep_lanes: bool
    keep_passages: bool
    full: bool
    asked: dict[str, Any]  # the arguments as JSON holds them

    @property
    def params(self) -> int:
        """Parameters in a lane."""
        return self.theta0.size

    @property
    def labels(self) -> list[str]:
        """Name of each rule; with the hyper-parameters that tell two of one name apart."""
        names = [rules.name_of(hp) for hp in self.rule]
        return [
            name if names.count(name) == 1 else f"{name}({_apart(hp, self.rule)})"
            for name, hp in zip(names, self.rule, strict=True)
        ]

    def only(self, lanes: range) -> "Plan":
        """The same experiment on some of its lanes."""
        return replace(self, lanes=lanes)

    def blocks(self, size: int) -> Iterator[range]:
        """The lanes in blocks cut at multiples of `size`."""
        start = self.lanes.start
        while start < self.lanes.stop:
            stop = min((start // size + 1) * size, self.lanes.stop)
            yield range(start, stop)
            start = stop

    def recorded(self, first: int, last: int) -> np.ndarray:
        """Recorded steps among first ... last; the start belongs to the first segment."""
        first = 0 if first == 1 else first
        return self.record[(self.record >= first) & (self.record <= last)]

    def config(self) -> str:
        """Everything that determines the result, as JSON that `from_config` reads."""
        return json.dumps(self.asked)

    def unstable(self) -> Iterator[str]:
        """A sentence for each setting of SGD, a linear rule, that grows without bound."""
        pull = getattr(self.gradient, "curvature", 0.0)
        for hp, label in zip(self.rule, self.labels, strict=True):
            for reg in self.reg if isinstance(hp, rules.SGD) else ():
                for lam in self.lam:
                    c = regularizers.decay(regularizers.strength(reg, lam), hp.lr)
                    z = _eigenvalues(hp, pull + c.l2, c)
                    if np.any(np.abs(z) > 1 + 1e-9) or np.any(np.abs(z + 1) < 1e-9):
                        yield (
                            f"{label} with {reg} {lam:g}: a step multiplies theta by up to "
                            f"{np.abs(z).max():.4g} in size, so it grows without bound."
                        )


def _eigenvalues(hp: rules.SGD, force: float, c: regularizers.Decay) -> np.ndarray:
    """Of the linear map (theta, b) -> (theta, b) of a step of SGD under g = force * theta."""
    mu = hp.momentum
    grown = np.array([force, mu])  # b <- mu b + force theta
    moved = hp.lr * ((force, 0.0) + mu * grown if hp.nesterov else grown)
    return np.linalg.eigvals([c.after * (np.array([c.before, 0.0]) - moved), grown])


def make_plan(*, rule: Any, reg: Any, lam: Any, preset: str, **rest: Any) -> Plan:
    """Check the arguments of `simulate`.

    Raises
    ------
    ValueError
        In one sentence: which argument, what was given, what is allowed.
    """
    steps = integer("steps", rest["steps"], 1, random.MAX_STEPS)
    factors = regularizers.schedule_factors(rest["schedule"], steps)
    largest = max(1.0, factors.max())
    hps = _unique("rule", [rules.resolve(r, preset) for r in _several("rule", rule)])
    regs = _unique("reg", _several("reg", reg))
    lams = _unique("lam", [finite("strength lambda", x, 0.0) for x in _several("lam", lam)])
    for hp in hps:
        for r in regs:
            for x in lams:
                regularizers.check_strength(r, x, hp, largest)
    gradient = gradients.resolve(rest["gradient"])
    lanes = gradients.lane_range(rest["lanes"])
    theta0 = numbers("theta0", rest["theta0"])
    integer("lanes times parameters", lanes.stop * theta0.size, 1, random.MAX_LANES)
    gradients.check_fit(gradient, steps, lanes.stop * theta0.size)
    record = _recorded(rest["record"], steps)
    asked = {
        "rule": [{"name": rules.name_of(hp), **hp._asdict()} for hp in hps],
        "reg": list(regs),
        "lam": list(lams),
        "gradient": _process_json(gradient),
        "steps": steps,
        "lanes": [lanes.start, lanes.stop],
        "theta0": theta0.tolist(),
        "seed": random.check_seed(rest["seed"]),
        "record": record.tolist(),
        "schedule": _schedule_json(rest["schedule"]),
        "thresholds": list(_thresholds(rest["thresholds"])),
        "keep_lanes": bool(rest["keep_lanes"]),
        "keep_passages": bool(rest["keep_passages"]),
        "statistics": choose("statistics", rest["statistics"], STATISTICS),
    }
    if asked["keep_passages"] and asked["statistics"] != "full":
        raise ValueError("keep_passages needs statistics='full'.")
    asked = json.loads(json.dumps(asked, default=_plain))
    return Plan(
        rule=hps, reg=regs, lam=lams, gradient=gradient, steps=steps,
        lanes=lanes, theta0=theta0, seed=asked["seed"],
        record=record, schedule=factors,
        thresholds=tuple(asked["thresholds"]), keep_lanes=asked["keep_lanes"],
        keep_passages=asked["keep_passages"], full=asked["statistics"] == "full", asked=asked,
    )  # fmt: skip


def from_config(text: str) -> dict[str, Any]:
    """Keyword arguments of `simulate` from what `Plan.config` wrote.

    Raises
    ------
    ValueError
        If it is not such a text, or the gradient was a tape (tapes are not stored).
    """
    try:
        asked = json.loads(text)
        asked["rule"] = [_of_json(rule, rules.RULES, hyper=True) for rule in asked["rule"]]
        if asked["gradient"]["name"] == "tape":
            raise ValueError("the gradients were a tape, which a result does not store.")
        asked["gradient"] = _of_json(asked["gradient"], gradients.GRADIENTS)
        if isinstance(asked["schedule"], dict):
            asked["schedule"] = _of_json(asked["schedule"], regularizers.SCHEDULES)
        if set(asked) != _ASKED:
            raise KeyError(*(set(asked) ^ _ASKED))
        asked["lanes"] = range(*asked["lanes"])
        asked["record"] = np.array(asked["record"])
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"this is not the config of a regdyn result ({error!r}).") from None
    return asked


# Checks of single arguments --------------------------------------------------------------------


def _several(what: str, given: Any) -> list[Any]:
    """`given` as a list: a string, number or NamedTuple is one; ValueError if empty."""
    whole = isinstance(given, str) or hasattr(given, "_fields") or getattr(given, "ndim", 1) == 0
    items = list(given) if isinstance(given, Iterable) and not whole else [given]
    if not items:
        raise ValueError(f"{what} is empty: give at least one.")
    return items


def _unique(what: str, items: list[Any]) -> tuple[Any, ...]:
    """The items, if no two are equal."""
    typed = [(type(item), item) for item in items]  # tuples of two types may be equal
    twice = [item for i, item in enumerate(items) if typed[i] in typed[:i]]
    if twice:
        raise ValueError(f"{what} is given twice: {shown(twice[0])}.")
    return tuple(items)


def _recorded(record: Any, steps: int) -> np.ndarray:
    """The recorded steps, ascending, 0 to `steps`."""
    if record is None:
        dense = np.geomspace(1, steps, KEPT // 2)
        even = np.linspace(0, steps, KEPT // 2 + 2)
        return np.unique(np.round(np.concatenate([dense, even])).astype(np.int64))
    kept = numbers("record", record)
    if kept.ndim > 1 or np.any(kept != np.round(kept)) or isinstance(record, bool):
        raise ValueError(f"record must be a whole number or steps, not {shown(record)}.")
    if kept.ndim == 0:
        k = integer("record", record, 1)
        return np.unique(np.append(np.arange(0, steps + 1, k), steps))
    if kept.min() < 0 or kept.max() > steps:
        raise ValueError(f"recorded steps must lie from 0 to {steps}, not {shown(record)}.")
    return np.unique(kept).astype(np.int64)


def _thresholds(given: Any) -> tuple[float, ...]:
    """Thresholds, largest first."""
    values = [finite("threshold", b, 0.0, open_below=True) for b in _several("thresholds", given)]
    if len(values) > MAX_THRESHOLDS:
        raise ValueError(f"at most {MAX_THRESHOLDS} thresholds, not {len(values)}.")
    return tuple(sorted(_unique("threshold", values), reverse=True))


def _apart(hp: Any, others: tuple[Any, ...]) -> str:
    """The hyper-parameters in which rules of one type differ."""
    same = [other for other in others if type(other) is type(hp)]
    differing = [f for f in hp._fields if len({getattr(other, f) for other in same}) > 1]
    return ",".join(f"{f}={getattr(hp, f)}" for f in differing)


# JSON ------------------------------------------------------------------------------------------


def _process_json(gradient: Any) -> dict[str, Any]:
    """A gradient process; of a tape only its shape and a hash."""
    name = next(n for n, kind in gradients.GRADIENTS.items() if kind is type(gradient))
    if isinstance(gradient, gradients.Tape):
        digest = hashlib.sha256(gradient.values.tobytes()).hexdigest()
        return {"name": name, "shape": list(gradient.values.shape), "sha256": digest}
    return {"name": name, **{f: np.asarray(v).tolist() for f, v in gradient._asdict().items()}}


def _plain(value: Any) -> Any:
    """A NumPy number or array as JSON has it."""
    return np.asarray(value).tolist()


def _schedule_json(schedule: Any) -> Any:
    """A schedule: None, a name, its fields, or its factors."""
    if schedule is None or isinstance(schedule, str):
        return schedule
    for name, kind in regularizers.SCHEDULES.items():
        if type(schedule) is kind:
            return {"name": name, **schedule._asdict()}
    return np.asarray(schedule, dtype=float).tolist()


def _of_json(entry: dict[str, Any], kinds: dict[str, Any], *, hyper: bool = False) -> Any:
    """The NamedTuple that an entry with a `name` describes."""
    kind = kinds[entry["name"]].hyper if hyper else kinds[entry["name"]]
    return kind(**{k: v for k, v in entry.items() if k != "name"})
