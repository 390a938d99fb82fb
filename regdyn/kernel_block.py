"""The lanes of one block, advanced by compiled code: the twin of `blocks`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from regdyn import gradients, kernel_noise, kernel_summary, kernels, regularizers, rules, statistics
from regdyn.plan import Plan
from regdyn.result import Result

_AT_ONCE = 2**25  # lane-steps between two looks at the clock and the keyboard
_NEVER = np.iinfo(np.int64).max


class Tables(NamedTuple):
    """What all blocks of a rule share."""

    hp: Any
    coef: np.ndarray
    strength: tuple[np.ndarray, ...]


def tables(plan: Plan, hp: Any) -> Tables:
    """Coefficients of every step, made once, and the strength of every configuration."""
    grid = [regularizers.strength(reg, lam) for reg in plan.reg for lam in plan.lam]
    strength = tuple(np.ascontiguousarray(column) for column in np.array(grid, dtype=float).T)
    return Tables(hp, kernels.coefficients(hp, plan.schedule), strength)


class CompiledBlock:
    """The lanes of one block under every rule of the grid."""

    def __init__(self, plan: Plan, lanes: range, shared: list[Tables]) -> None:
        self.plan, self.lanes = plan, lanes
        slots = np.arange(plan.params)[:, None] + plan.params * np.asarray(lanes)
        self.slots = slots.ravel()
        self.process = _process(plan, self.slots)
        g = plan.gradient
        self.well = (g.curvature, g.center) if isinstance(g, gradients.Well) else (0.0, 0.0)
        self.tracks = [_Track(plan, table, len(lanes)) for table in shared]

    def begin(self, results: list[Result]) -> None:
        """Look at step 0."""
        for track, result in zip(self.tracks, results, strict=True):
            if self.plan.full:
                for c in range(len(track.theta)):
                    kernels.look(track.theta, c, 0, *track.watched)
                self._report(track, 0, 0, result)

    def run(self, first: int, last: int, results: list[Result]) -> Iterator[float]:
        """Steps first ... last; yields how many were done, now and then."""
        plan = self.plan
        kept = plan.record[(plan.record >= (first if first > 1 else 0)) & (plan.record <= last)]
        size = max(4, _AT_ONCE // (len(self.slots) * len(self.tracks[0].theta)) // 4 * 4)
        for track, result in zip(self.tracks, results, strict=True):
            rows = np.empty((len(kept), *track.theta.shape))
            if len(kept) and kept[0] == 0:
                rows[0] = track.theta
            for a in range(first, last + 1, size):
                b = min(a + size - 1, last)
                here = slice(*np.searchsorted(kept, [a, b + 1]))
                track.advance(self, (a, b), (kept[here], rows[here]))
                yield (b + 1 - a) / len(self.tracks)
            self._report(track, first, last, result)
            if len(kept):
                shape = (len(kept), len(track.theta), plan.params, len(self.lanes))
                result.saw(rows.reshape(shape), self.lanes.start)

    def _report(self, track: "_Track", first: int, last: int, result: Result) -> None:
        """Tell what was noted in steps first ... last."""
        bad = track.nonfinite < _NEVER
        if bad.any():
            result.saw_nonfinite(track.nonfinite, bad)
        now = (track.first >= first) & (track.first <= last)
        if now.any():
            config, level, slot = np.nonzero(now)
            param, lane = np.divmod(slot, len(self.lanes))
            result.saw_passage(track.first[now], config, param, level, lane + self.lanes.start)


class _Track:
    """One rule on one block; arrays (configs, params * lanes)."""

    def __init__(self, plan: Plan, table: Tables, lanes: int) -> None:
        self.plan, self.table = plan, table
        configs, slots = len(table.strength[0]), plan.params * lanes
        self.theta = np.tile(np.repeat(plan.theta0.ravel(), lanes), (configs, 1))
        fields = len(rules.RULES[rules.name_of(table.hp)].state._fields)
        self.S = np.zeros((fields, configs, slots))
        self.carry = np.zeros(slots)
        self.bars = np.array([*plan.thresholds, 0.0])
        self.level = np.zeros((configs, slots), dtype=np.int8)
        self.bar = self.bars[self.level]
        self.first = np.full((configs, len(plan.thresholds) if plan.full else 0, slots), -1)
        self.nonfinite = np.full(configs, _NEVER)

    @property
    def watched(self) -> tuple[np.ndarray, ...]:
        """What `kernels.look` reads and changes."""
        return self.bars, self.level, self.bar, self.first, self.nonfinite

    def advance(self, block: CompiledBlock, span: tuple[int, int], record: tuple) -> None:
        """Steps span[0] ... span[1]."""
        hp, coef, strength = self.table
        kernels.advance(
            hp, hp.lr, coef, self.plan.schedule, strength, block.well, block.process, block.slots,
            (self.theta, self.S, self.carry), span, (self.plan.full, *self.watched), record,
        )  # fmt: skip


def _process(plan: Plan, slots: np.ndarray) -> tuple:
    """The gradient process as `kernels.advance` takes it."""
    g, seed = plan.gradient, np.uint64(plan.seed)
    std, mean = gradients.tables(g, plan.steps)
    tape = np.empty((0, 0))
    kind, phi, kick, below, nu = kernel_noise.NORMAL, 0.0, 0.0, 0, 1
    if isinstance(g, gradients.Tape):
        kind, tape = kernel_noise.TAPE, np.ascontiguousarray(gradients.tape_rows(g, slots))
    elif isinstance(g, gradients.Intermittent):
        kind, below = kernel_noise.INTERMITTENT, gradients.fires_below(g)
    elif isinstance(g, gradients.AR1):
        kind, phi, kick = kernel_noise.AR1, float(g.phi), gradients.kick(g)
    elif isinstance(g, gradients.StudentT):
        kind, nu = kernel_noise.STUDENT, int(g.nu)
    noise = (kind, phi, kick, np.uint64(below), nu)
    return noise, seed, std, np.empty(0) if mean is None else mean, tape


class CompiledCollector:
    """The twin of `result.NumpyCollector`: adds to its counts in place; blocks in any order."""

    def __init__(self, plan: Plan, levels: int) -> None:
        self.plan, self.levels = plan, levels
        self.nodes: dict[int, statistics.Moments] = {}
        self.thresholds = np.array(plan.thresholds)
        self.shape: tuple[int, ...] = ()

    def add(self, x: np.ndarray, first_lane: int) -> None:
        """See `result.Collector`."""
        if not self.shape:
            self._open(x.shape[:-1])
        rows = x.reshape(-1, x.shape[-1])
        head, lanes = first_lane % statistics.GRANULE, x.shape[-1]
        count = np.diff(np.clip(np.arange(0, head + lanes + 64, 64), head, head + lanes))
        mean, m2 = (np.empty((len(rows), len(count))) for _ in range(2))
        kernel_summary.moments(rows, head, mean, m2)
        node, number = statistics.block_node(
            statistics.Moments(count, mean, m2), first_lane // statistics.GRANULE, self.levels
        )
        self.nodes[number] = node
        kernel_summary.extremes(rows, self.low, self.high)
        if self.plan.full:
            kernel_summary.counts(rows, self.thresholds, self.histogram, self.below)

    def _open(self, shape: tuple[int, ...]) -> None:
        self.shape, rows = shape, int(np.prod(shape))
        self.low, self.high = np.full(rows, np.inf), np.full(rows, -np.inf)
        bins = statistics.BINS if self.plan.full else 0
        self.histogram = np.zeros((rows, bins), dtype=np.int32)
        self.below = np.zeros((rows, len(self.thresholds)), dtype=np.int64)

    def reduce(self) -> dict[str, np.ndarray]:
        """See `result.Collector`."""
        numbers = sorted(self.nodes)
        nodes = [self.nodes[number] for number in numbers]
        moments = statistics.Moments(
            *(np.concatenate(parts, axis=-1) for parts in zip(*nodes, strict=True))
        )
        seen = statistics.Summary(
            moments, numbers[0], self.histogram, self.low + 0.0, self.high + 0.0, self.below
        )
        kept = statistics.reduce(seen, full=self.plan.full)
        return {k: v.reshape(*self.shape, *v.shape[1:]) for k, v in kept.items()}
