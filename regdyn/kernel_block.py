"""The lanes of one block, advanced by compiled code: the twin of `blocks`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from regdyn import gradients, kernel_noise, kernel_summary, kernels, regularizers, rules, statistics
from regdyn.plan import Plan
from regdyn.result import Result

_AT_ONCE = 2**25  # lane-steps between two looks at the clock and the keyboard
_SHARED = 2**17  # gradients drawn ahead when several rules share them
_NEVER = np.iinfo(np.int64).max


class RuleTables(NamedTuple):
    """What all blocks of a rule share."""

    hp: Any
    coef: np.ndarray
    strength: tuple[np.ndarray, ...]


class Tables(NamedTuple):
    """What all blocks share: made once, and sent to workers on other machines."""

    rules: list[RuleTables]
    noise: tuple
    std: np.ndarray
    mean: np.ndarray


def tables(plan: Plan) -> Tables:
    """Coefficients of every step, strengths of every configuration, the gradient process."""
    grid = [regularizers.strength(reg, lam) for reg in plan.reg for lam in plan.lam]
    strength = tuple(np.ascontiguousarray(column) for column in np.array(grid, dtype=float).T)
    each = [RuleTables(hp, kernels.coefficients(hp, plan.schedule), strength) for hp in plan.rule]
    g = plan.gradient
    std, mean = gradients.tables(g, plan.steps)
    kind, phi, kick, below, nu = kernel_noise.NORMAL, 0.0, 0.0, 0, 1
    if isinstance(g, gradients.Intermittent):
        kind, below = kernel_noise.INTERMITTENT, gradients.fires_below(g)
    elif isinstance(g, gradients.AR1):
        kind, phi, kick = kernel_noise.AR1, float(g.phi), gradients.kick(g)
    elif isinstance(g, gradients.StudentT):
        kind, nu = kernel_noise.STUDENT, int(g.nu)
    noise = (kind, phi, kick, np.uint64(below), nu)
    return Tables(each, noise, std, np.empty(0) if mean is None else mean)


class CompiledBlock:
    """The lanes of one block under every rule of the grid."""

    def __init__(self, plan: Plan, lanes: range, shared: Tables) -> None:
        self.plan, self.lanes = plan, lanes
        slots = np.arange(plan.params)[:, None] + plan.params * np.asarray(lanes)
        self.gradients = _Gradients(plan, slots.ravel(), shared)
        self.tracks = [_Track(plan, table, len(lanes)) for table in shared.rules]

    def begin(self, results: list[Result]) -> None:
        """Look at step 0."""
        for track, result in zip(self.tracks, results, strict=True):
            if self.plan.full:
                for c in range(len(track.theta)):
                    kernels.look(track.theta, c, 0, *track.watched)
                self._report(track, 0, 0, result)

    def run(self, first: int, last: int, results: list[Result]) -> Iterator[float]:
        """Steps first ... last; yields how many were done, now and then."""
        kept = self.plan.recorded(first, last)
        rows = [np.empty((len(kept), *track.theta.shape)) for track in self.tracks]
        for track, row in zip(self.tracks, rows, strict=True):
            if len(kept) and kept[0] == 0:
                row[0] = track.theta
        size = self.gradients.at_once(len(self.tracks), self.tracks[0].theta.size)
        for a in range(first, last + 1, size):
            b = min(a + size - 1, last)
            here = slice(*np.searchsorted(kept, [a, b + 1]))
            process = self.gradients.process(a, b, draw=len(self.tracks) > 1)
            for track, row in zip(self.tracks, rows, strict=True):
                track.advance(process, (a, b), (kept[here], row[here]))
                yield (b + 1 - a) / len(self.tracks)
        for track, row, result in zip(self.tracks, rows, results, strict=True):
            self._report(track, first, last, result)
            if len(kept):
                shape = (len(kept), len(track.theta), self.plan.params, len(self.lanes))
                result.saw(kept, row.reshape(shape), self.lanes.start)

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

    def __init__(self, plan: Plan, table: RuleTables, lanes: int) -> None:
        self.plan, self.table = plan, table
        configs, slots = len(table.strength[0]), plan.params * lanes
        self.theta = np.tile(np.repeat(plan.theta0.ravel(), lanes), (configs, 1))
        fields = len(rules.RULES[rules.name_of(table.hp)].state._fields)
        self.S = np.zeros((fields, configs, slots))
        g = plan.gradient
        self.well = (g.curvature, g.center) if isinstance(g, gradients.Well) else (0.0, 0.0)
        self.bars = np.array([*plan.thresholds, 0.0])
        self.level = np.zeros((configs, slots), dtype=np.int8)
        self.bar = self.bars[self.level]
        self.first = np.full((configs, len(plan.thresholds) if plan.full else 0, slots), -1)
        self.nonfinite = np.full(configs, _NEVER)

    @property
    def watched(self) -> tuple[np.ndarray, ...]:
        """What `kernels.look` reads and changes."""
        return self.bars, self.level, self.bar, self.first, self.nonfinite

    def advance(self, process: tuple, span: tuple[int, int], record: tuple) -> None:
        """Steps span[0] ... span[1]."""
        hp, coef, strength = self.table
        kernels.advance(
            hp, hp.lr, coef, self.plan.schedule, strength, self.well, process,
            (self.theta, self.S), span, (self.plan.full, *self.watched), record,
        )  # fmt: skip


class _Gradients:
    """The gradient process of a block, as `kernels.advance` takes it."""

    def __init__(self, plan: Plan, slots: np.ndarray, shared: Tables) -> None:
        g = plan.gradient
        self.slots, self.seed, self.carry = slots, np.uint64(plan.seed), np.zeros(len(slots))
        self.noise, self.std, self.mean = shared.noise, shared.std, shared.mean
        self.tape = gradients.tape_rows(g, slots) if isinstance(g, gradients.Tape) else None

    def at_once(self, rules_: int, size: int) -> int:
        """Steps of one call, a multiple of 4: what several rules share stays in the cache."""
        nu = self.noise[-1]  # a Student-t step draws nu + 1 normals
        steps = _SHARED // len(self.slots) if rules_ > 1 else _AT_ONCE // (size * (nu + 1))
        return max(4, steps // 4 * 4)

    def process(self, a: int, b: int, *, draw: bool) -> tuple:
        """For steps a ... b: recorded or drawn already, or else for the kernel to draw."""
        noise, rows = self.noise, np.empty((0, 0))
        how = (self.slots, self.seed, self.std, self.mean, self.carry)
        if self.tape is not None:
            noise = (kernel_noise.TAPE, *noise[1:])
            rows = np.ascontiguousarray(self.tape[a - 1 : b])
        elif draw:
            rows = np.empty((b + 1 - a, len(self.slots)))
            slots, seed, std, mean, carry = how
            kernel_noise.draw(rows, noise, slots, seed, a, std, mean, carry)
            noise = (kernel_noise.TAPE, *noise[1:])
        return (noise, *how, rows)


def replay(
    tape: np.ndarray, hp: Any, lam: regularizers.Strength, theta: np.ndarray, scales: np.ndarray
) -> None:
    """`regdyn.replay`, compiled: theta, shape (steps + 1, lanes), is filled from its first row."""
    steps, n = tape.shape
    one = np.zeros(1)
    noise = (kernel_noise.TAPE, 0.0, 0.0, np.uint64(0), 1)
    rows = np.ascontiguousarray(tape)
    process = (noise, np.arange(n), np.uint64(0), one, np.empty(0), np.zeros(n), rows)
    fields = len(rules.RULES[rules.name_of(hp)].state._fields)
    unwatched = (False, one, np.zeros((1, n), np.int8), theta[:1] * 0, np.zeros((1, 0, n), int))
    kernels.advance(
        hp, hp.lr, kernels.coefficients(hp, scales), scales,
        tuple(np.array([x], dtype=float) for x in lam), (0.0, 0.0), process,
        (theta[:1].copy(), np.zeros((fields, 1, n))), (1, steps),
        (*unwatched, np.full(1, _NEVER)), (np.arange(1, steps + 1), theta[1:, None]),
    )  # fmt: skip


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
        counts = (self.plan.full, self.thresholds, self.histogram, self.below)
        kernel_summary.summarise(rows, head, (mean, m2), (self.low, self.high), counts)
        node, number = statistics.block_node(
            statistics.Moments(count, mean, m2), first_lane // statistics.GRANULE, self.levels
        )
        self.nodes[number] = node

    def _open(self, shape: tuple[int, ...]) -> None:
        self.shape, rows = shape, int(np.prod(shape))
        self.low, self.high = np.full(rows, np.inf), np.full(rows, -np.inf)
        bins = statistics.BINS if self.plan.full else 0
        small = len(self.plan.lanes) < 2**16  # less memory is faster
        self.histogram = np.zeros((rows, bins), dtype=np.uint16 if small else np.int32)
        self.below = np.zeros((rows, len(self.thresholds)), dtype=np.int64)

    def summary(self) -> statistics.Summary:
        """See `result.Collector`."""
        numbers = sorted(self.nodes)
        nodes = [self.nodes[number] for number in numbers]
        count, *rest = (np.concatenate(parts, axis=-1) for parts in zip(*nodes, strict=True))
        moments = statistics.Moments(count, *(a.reshape(*self.shape, -1) for a in rest))
        arrays = (self.histogram, self.low + 0.0, self.high + 0.0, self.below)
        return statistics.Summary(
            moments, numbers[0], *(a.reshape(*self.shape, *a.shape[1:]) for a in arrays)
        )

    @staticmethod
    def quantile(
        counts: np.ndarray, low: np.ndarray, high: np.ndarray, *, sizes: bool = False
    ) -> np.ndarray:
        """The twin of `statistics.quantiles`."""
        rows = counts.reshape(-1, counts.shape[-1])
        wanted = statistics.wanted_lanes(int(rows[0].sum()))
        value = np.full((len(rows), len(wanted)), np.nan)
        edges = statistics.edges(sizes=sizes)
        kernel_summary.quantiles(rows, low.ravel(), high.ravel(), *edges, wanted, value)
        return value.reshape(*low.shape, len(wanted))
