"""What is seen of one rule of a plan while its blocks are advanced, in whatever order."""

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any, Protocol

import numpy as np

from regdyn import statistics
from regdyn.plan import Plan


class Collector(Protocol):
    """Takes in theta at the recorded steps of a segment, block by block; gives the statistics."""

    def add(self, x: np.ndarray, first_lane: int) -> None:
        """x has shape (steps, configs, params, lanes)."""
        ...

    def reduce(self) -> dict[str, np.ndarray]:
        """The statistics of all lanes: arrays (steps, configs, params, ...)."""
        ...


class NumpyCollector:
    """The readable form of a collector; blocks come in order."""

    def __init__(self, plan: Plan, levels: int) -> None:
        self.plan, self.levels = plan, levels
        self.summary: statistics.Summary | None = None

    def add(self, x: np.ndarray, first_lane: int) -> None:
        """See `Collector`."""
        new = statistics.summarise(x, first_lane, self.plan.thresholds, self.levels)
        self.summary = new if self.summary is None else statistics.merge(self.summary, new)

    def reduce(self) -> dict[str, np.ndarray]:
        """See `Collector`."""
        assert self.summary is not None
        return statistics.reduce(self.summary, full=self.plan.full)


class Result:
    """What was seen of rule number `k` of the plan. Blocks may report from several threads."""

    def __init__(self, plan: Plan, k: int, collector: Callable[[], Collector]) -> None:
        self.plan, self.k, self.collector = plan, k, collector
        shape = (len(plan.reg) * len(plan.lam), plan.params, len(plan.thresholds))
        self.lock = Lock()
        self.nonfinite = np.full(shape[0], np.inf)
        self.passages = np.zeros((*shape, plan.steps + 1), dtype=np.int32)
        self.first = np.full((*shape, len(plan.lanes)), np.nan) if plan.keep_passages else None
        self.open: Collector | None = None
        self.theta: dict[int, np.ndarray] = {}
        self.closed: list[dict[str, np.ndarray]] = []

    def saw_nonfinite(self, t: Any, configs: np.ndarray) -> None:
        """In these configurations (a mask) some lane is not finite at step t, or steps t."""
        with self.lock:
            self.nonfinite = np.where(configs, np.minimum(self.nonfinite, t), self.nonfinite)

    def saw_passage(self, t: Any, config: Any, param: Any, level: Any, lane: Any) -> None:
        """These lanes (absolute numbers) are below their threshold at t for the first time."""
        with self.lock:
            np.add.at(self.passages, (config, param, level, t), 1)
            if self.first is not None:
                self.first[config, param, level, lane - self.plan.lanes.start] = t

    def saw(self, theta: np.ndarray, first_lane: int) -> None:
        """theta at the recorded steps of a segment, (steps, configs, params, lanes), of a block."""
        x = theta
        if self.plan.theta0.ndim:
            x = np.concatenate([theta, _norm(theta)], axis=2)
        with self.lock:
            if self.plan.keep_lanes:
                self.theta[first_lane] = theta
            if self.open is None:
                self.open = self.collector()
            self.open.add(x, first_lane)

    def close(self) -> None:
        """The segment is over: reduce what was seen in it to the statistics that are kept."""
        if self.open is None:
            return
        kept = self.open.reduce()
        if self.plan.keep_lanes:
            kept["theta"] = np.concatenate([self.theta[n] for n in sorted(self.theta)], axis=-1)
        self.closed.append(kept)
        self.open, self.theta = None, {}

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays (steps, configs, params, ...); passages (configs, params, thresholds, ...)."""
        out = {k: np.concatenate([part[k] for part in self.closed]) for k in self.closed[0]}
        out["nonfinite_step"] = np.where(np.isinf(self.nonfinite), np.nan, self.nonfinite)
        if self.plan.full:
            passed = self.passages.cumsum(axis=-1, dtype=np.int64)[..., self.plan.record]
            out["first_passage_count"] = np.diff(passed, axis=-1, prepend=0)
            lanes = len(self.plan.lanes)
            out["first_passage_median"] = statistics.passage_median(self.passages, lanes)
        if self.first is not None:
            out["first_passage"] = self.first
        return out

    def nonfinite_report(self) -> Iterator[str]:
        """A sentence for each setting in which theta left the finite numbers."""
        settings = [(reg, lam) for reg in self.plan.reg for lam in self.plan.lam]
        for (reg, lam), step in zip(settings, self.nonfinite, strict=True):
            if np.isfinite(step):
                yield (
                    f"theta is not finite from step {step:.0f} on under "
                    f"{self.plan.labels[self.k]} with {reg} {lam:g}: its statistics after that "
                    "are not finite either."
                )


def _norm(theta: np.ndarray) -> np.ndarray:
    """Euclidean norm over the parameters, summed in their order; (..., 1, lanes)."""
    total = np.zeros_like(theta[..., :1, :])
    for p in range(theta.shape[-2]):
        total += theta[..., p : p + 1, :] * theta[..., p : p + 1, :]
    return np.sqrt(total)
