"""What is seen of one rule of a plan while its blocks are advanced, in whatever order."""

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np

from regdyn import statistics
from regdyn.plan import Plan


class Collector(Protocol):
    """Takes in theta at the recorded steps of a segment, block by block; gives the statistics."""

    def add(self, x: np.ndarray, first_lane: int) -> None:
        """x has shape (steps, configs, params, lanes)."""
        ...

    def summary(self) -> statistics.Summary:
        """All that was taken in: arrays (steps, configs, params, ...)."""
        ...

    @property
    def quantile(self) -> Callable[..., np.ndarray]:
        """Does what `statistics.quantiles` does."""
        ...


class NumpyCollector:
    """The readable form of a collector; blocks come in order."""

    def __init__(self, plan: Plan, levels: int) -> None:
        self.plan, self.levels = plan, levels
        self.seen: statistics.Summary | None = None

    def add(self, x: np.ndarray, first_lane: int) -> None:
        """See `Collector`."""
        new = statistics.summarise(x, first_lane, self.plan.thresholds, self.levels)
        self.seen = new if self.seen is None else statistics.merge(self.seen, new)

    def summary(self) -> statistics.Summary:
        """See `Collector`."""
        assert self.seen is not None
        return self.seen

    quantile = staticmethod(statistics.quantiles)


class Segment(NamedTuple):
    """What was seen in a segment of time: of all lanes, or of those of one worker."""

    summary: statistics.Summary
    theta: np.ndarray | None  # (steps, configs, params, lanes), if lanes are kept

    def reduce(self, *, full: bool, quantile: Callable) -> dict[str, np.ndarray]:
        """The statistics that are kept; see `statistics.reduce`."""
        kept = statistics.reduce(self.summary, full=full, quantile=quantile)
        return kept if self.theta is None else kept | {"theta": self.theta}


class Result:
    """What was seen of rule number `k` of the plan. Blocks may report from several threads.

    With `whole`, segments are reduced to what is kept as soon as they are over; without, they stay
    as they are, to be joined with those of other workers.
    """

    def __init__(
        self, plan: Plan, k: int, collector: Callable[[], Collector], *, whole: bool = True
    ) -> None:
        self.plan, self.k, self.collector, self.whole = plan, k, collector, whole
        shape = (len(plan.reg) * len(plan.lam), plan.params, len(plan.thresholds))
        self.lock = Lock()
        self.nonfinite = np.full(shape[0], np.inf)
        steps = plan.steps + 1 if plan.full else 0
        self.passages = np.zeros((*shape, steps), dtype=np.int32)
        self.first = np.full((*shape, len(plan.lanes)), np.nan) if plan.keep_passages else None
        self.open: Collector | None = None
        self.theta: dict[int, np.ndarray] = {}
        self.segments: list[Segment] = []
        self.closed: list[dict[str, np.ndarray]] = []
        self.parts: dict[int, list[tuple]] = {}  # of workers, by their first lane
        self.sums: list[statistics.Summary] = []  # of all workers, by segment

    def saw_nonfinite(self, t: Any, configs: Any) -> None:
        """In these configurations (a mask) some lane is not finite at step t, or steps t."""
        with self.lock:
            self.nonfinite = np.where(configs, np.minimum(self.nonfinite, t), self.nonfinite)

    def saw_passage(self, t: Any, config: Any, param: Any, level: Any, lane: Any) -> None:
        """These lanes (absolute numbers) are below their threshold at t for the first time."""
        with self.lock:
            at = np.ravel_multi_index((config, param, level, t), self.passages.shape)
            np.add.at(self.passages.reshape(-1), at, np.int32(1))  # several may pass at once
            if self.first is not None:
                self.first[config, param, level, lane - self.plan.lanes.start] = t

    def saw(self, steps: np.ndarray, theta: np.ndarray, first_lane: int) -> None:
        """theta at recorded steps of a segment, (steps, configs, params, lanes), of a block."""
        x = theta
        if not self.plan.full:  # else every step is watched
            bad = np.logical_not(np.isfinite(theta).all(axis=(2, 3)))
            self.saw_nonfinite(steps[bad.argmax(axis=0)], bad.any(axis=0))
        if self.plan.theta0.ndim:
            x = np.concatenate([theta, _norm(theta)], axis=2)
        with self.lock:
            if self.plan.keep_lanes:
                self.theta[first_lane] = theta
            if self.open is None:
                self.open = self.collector()
            self.open.add(x, first_lane)

    def close(self) -> None:
        """The segment is over."""
        if self.open is None:
            return
        theta = None
        if self.plan.keep_lanes:
            theta = np.concatenate([self.theta[n] for n in sorted(self.theta)], axis=-1)
        segment = Segment(self.open.summary(), theta)
        if self.whole:
            self._reduce(segment)
        else:
            self.segments.append(segment)
        self.open, self.theta = None, {}

    def part(self) -> "Part":
        """What a worker sends back."""
        return Part(self.segments, self.passages, self.first, self.nonfinite)

    def absorb(self, part: "Part", first_lane: int) -> None:
        """Take over what a worker saw of the lanes from `first_lane` on; parts in any order."""
        self.parts[first_lane] = [
            (segment.summary.moments, segment.summary.first, segment.theta)
            for segment in part.segments
        ]
        if self.sums:
            pairs = zip(self.sums, part.segments, strict=True)
            self.sums = [_add(total, segment.summary) for total, segment in pairs]
        else:
            self.sums = [segment.summary for segment in part.segments]
        self.passages += part.passages
        self.nonfinite = np.minimum(self.nonfinite, part.nonfinite)
        if self.first is not None:
            at = first_lane - self.plan.lanes.start
            self.first[..., at : at + part.first.shape[-1]] = part.first

    def finish(self) -> None:
        """All parts are there: reduce them."""
        in_order = [self.parts[lane] for lane in sorted(self.parts)]
        for total, pieces in zip(self.sums, zip(*in_order, strict=True), strict=True):
            nodes, firsts, thetas = zip(*pieces, strict=True)
            moments = statistics.side_by_side(nodes)
            theta = np.concatenate(thetas, axis=-1) if self.plan.keep_lanes else None
            segment = Segment(total._replace(moments=moments, first=firsts[0]), theta)
            self._reduce(segment)

    def _reduce(self, segment: Segment) -> None:
        """Keep the statistics of a segment."""
        quantile = self.collector().quantile
        self.closed.append(segment.reduce(full=self.plan.full, quantile=quantile))

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays (steps, configs, params, ...); passages (configs, params, thresholds, ...)."""
        out = {k: np.concatenate([part[k] for part in self.closed]) for k in self.closed[0]}
        out["nonfinite_step"] = np.where(np.isinf(self.nonfinite), np.nan, self.nonfinite)
        if self.plan.full:
            passed = self.passages.cumsum(axis=-1, dtype=np.int32)  # at most MAX_AT_ONCE
            recorded = passed[..., self.plan.record].astype(np.int64)
            out["first_passage_count"] = np.diff(recorded, axis=-1, prepend=0)
            out["first_passage_median"] = statistics.passage_median(passed, len(self.plan.lanes))
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


class Part(NamedTuple):
    """What was seen of a rule by a worker that had some of the lanes."""

    segments: list[Segment]
    passages: np.ndarray
    first: Any
    nonfinite: np.ndarray


def _add(a: statistics.Summary, b: statistics.Summary) -> statistics.Summary:
    """Counts and extremes of both; the moments wait for all parts."""
    return a._replace(
        histogram=np.add(a.histogram, b.histogram, dtype=np.int32),
        low=np.minimum(a.low, b.low),
        high=np.maximum(a.high, b.high),
        below=a.below + b.below,
    )


def _norm(theta: np.ndarray) -> np.ndarray:
    """Euclidean norm over the parameters, summed in their order; (..., 1, lanes)."""
    total = np.zeros_like(theta[..., :1, :])
    for p in range(theta.shape[-2]):
        total += theta[..., p : p + 1, :] * theta[..., p : p + 1, :]
    return np.sqrt(total)
