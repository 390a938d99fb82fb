"""The lanes of one block, advanced in NumPy.

Arrays of a rule have shape (configs, params * lanes): configs are the regularisers times the
strengths, and slot p * lanes + n holds parameter p of the block's lane n.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from regdyn import gradients, regularizers, rules
from regdyn.plan import Plan
from regdyn.result import Result


def advance(
    theta: Any, state: Any, grad: Any, t: int, hp: Any, lam: regularizers.Strength, scale: float
) -> tuple[Any, Any]:
    """Step t (from 1) of any rule under any regulariser: the new theta and state.

    `grad` is the gradient of the main objective, `scale` the schedule's lr_t / lr.
    """
    rule = rules.RULES[rules.name_of(hp)]
    c = regularizers.decay(lam, hp.lr, scale)
    delta, state = rule.step(grad + c.l2 * theta, state, hp, rule.coef(hp, t, scale))
    return c.after * (c.before * theta - delta), state


class Block:
    """The lanes of one block under every rule of the grid."""

    def __init__(self, plan: Plan, lanes: range) -> None:
        self.plan, self.lanes = plan, lanes
        # parameter p of lane n draws the random numbers of lane n * params + p
        slots = np.arange(plan.params)[:, None] + plan.params * np.asarray(lanes)
        self.source = gradients.Source(plan.gradient, plan.steps, slots.ravel(), plan.seed)
        self.tracks = [_Track(plan, hp, lanes) for hp in plan.rule]
        self.wanted = set(plan.record.tolist())
        self.rows: list[list[np.ndarray]] = [[] for _ in plan.rule]

    def begin(self, results: list[Result]) -> None:
        """Look at step 0."""
        for k, result in enumerate(results):
            self._look(k, 0, result)

    def run(self, first: int, last: int, results: list[Result]) -> Iterator[int]:
        """Steps first ... last; yields how many were done, now and then."""
        t = first
        for grads in self.source.blocks(first, last):
            for k, result in enumerate(results):
                for i, grad in enumerate(grads):
                    self.tracks[k].step(t + i, grad)
                    self._look(k, t + i, result)
            t += len(grads)
            yield len(grads)
        for rows, result in zip(self.rows, results, strict=True):
            if rows:
                result.saw(self.plan.recorded(first, last), np.stack(rows), self.lanes.start)
                rows.clear()

    def _look(self, k: int, t: int, result: Result) -> None:
        """See what there is to see of rule k at step t."""
        self.tracks[k].look(t, result)
        if t in self.wanted:
            theta = self.tracks[k].theta
            self.rows[k].append(theta.reshape(len(theta), self.plan.params, -1).copy())


class _Track:
    """One rule on one block."""

    def __init__(self, plan: Plan, hp: Any, lanes: range) -> None:
        self.plan, self.hp, self.lanes = plan, hp, lanes
        grid = [regularizers.strength(reg, lam) for reg in plan.reg for lam in plan.lam]
        self.lam = regularizers.Strength(*np.array(grid, dtype=float).T[..., None])
        start = np.repeat(plan.theta0.ravel(), len(lanes))
        self.theta = np.repeat(start[None], len(grid), axis=0)
        self.state = rules.init(self.theta, hp)
        # each lane waits for the largest threshold it has not passed; after the last for none
        self.bars = np.array([*plan.thresholds, 0.0])
        self.level = np.zeros(self.theta.shape, dtype=np.int8)
        self.bar = self.bars[self.level]

    def step(self, t: int, grad: np.ndarray) -> None:
        """Step t under the gradients of the main objective, shape (params * lanes,)."""
        if isinstance(self.plan.gradient, gradients.Well):
            grad = grad + gradients.pull(self.plan.gradient, self.theta)
        scale = float(self.plan.schedule[t - 1])
        self.theta, self.state = advance(self.theta, self.state, grad, t, self.hp, self.lam, scale)

    def look(self, t: int, result: Result) -> None:
        """Note first passages, and lanes that are not finite."""
        if not self.plan.full:
            return
        size = np.abs(self.theta)
        if not size.max() < np.inf:
            result.saw_nonfinite(t, np.logical_not(np.isfinite(size).all(axis=1)))
        while (hit := size < self.bar).any():
            config, slot = np.nonzero(hit)
            param, lane = np.divmod(slot, len(self.lanes))
            result.saw_passage(t, config, param, self.level[hit], lane + self.lanes.start)
            self.level[hit] += 1
            self.bar[hit] = self.bars[self.level[hit]]
