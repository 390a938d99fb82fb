"""Predict what `regdyn.simulate` would return, from the moments of theta: no random numbers."""

import math
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from regdyn import plan as plans
from regdyn import regularizers
from regdyn.checks import integer
from regdyn.theory import closure, forms, passage

if TYPE_CHECKING:
    import xarray as xr

_PASSAGE_GRID = 2000  # steps, even in log t, at which moments are kept for first passages
_FINENESS = 14.0  # nodes of the passage equation per unit of log t


def predict(
    rule: Any,
    *,
    reg: Any = "l2",
    lam: Any = 1e-4,
    gradient: Any = "low",
    steps: int = 30_000,
    record: Any = None,
    schedule: Any = None,
    theta0: Any = 1.0,
    preset: str = "paper",
    thresholds: Any = plans.THRESHOLDS,
    order: int = 2,
) -> "xr.Dataset":
    r"""What `regdyn.simulate` would give for infinitely many lanes, by a moment closure.

    Parameters
    ----------
    rule, reg, lam, gradient, steps, record, schedule, theta0, preset, thresholds
        As in `regdyn.simulate`; grids are allowed as there. Not a tape.
    order : {2, 1}
        1 is the naive mean field: v, m and X at their means, no fluctuations. It is here to be
        compared with.

    Returns
    -------
    xarray.Dataset
        Dimensions (rule, reg, lam, step), and threshold, param where they apply:

        mean, std, rms
            Of theta over lanes (`regdyn.theory.closure`).
        share_below
            P(abs(theta) < threshold) at this step, theta taken as Gaussian.
        first_passage_median
            Median first step with abs(theta) below the threshold (`regdyn.theory.passage`); NaN
            where fewer than half get there.

        How far they can be trusted: docs/theory-accuracy.md.

    Raises
    ------
    ValueError
        For bad input, and for recorded gradients, in one sentence.

    Warns
    -----
    RuntimeWarning
        If a setting of SGD grows without bound.
    """
    plan = plans.make_plan(
        rule=rule, reg=reg, lam=lam, gradient=gradient, steps=steps, lanes=1, theta0=theta0,
        seed=0, record=record, schedule=schedule, preset=preset, thresholds=thresholds,
        keep_lanes=False, keep_passages=False, statistics="full",
    )  # fmt: skip
    integer("order", order, 1, 2)
    for sentence in plan.unstable():
        warnings.warn(f"unstable: {sentence}", RuntimeWarning, stacklevel=2)
    noise = [forms.noise(plan.gradient, plan.steps, hp) for hp in plan.rule]
    grid = _grid(plan, noise[0])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = [
            _rule(plan, hp, seen, grid, order, pool)
            for hp, seen in zip(plan.rule, noise, strict=True)
        ]
    from regdyn import store  # xarray is slow to import

    ds = store.dataset(plan, results).drop_vars("q")
    for name in ("lanes", "seed"):
        del ds.attrs[name]
    ds.attrs |= {"title": "regdyn prediction of a regularised parameter", "order": order}
    return ds


def _grid(plan: plans.Plan, noise: forms.Noise) -> np.ndarray:
    """Steps at which moments are kept: the recorded ones, many more, and where the noise jumps."""
    n = plan.steps
    even = np.concatenate([np.geomspace(1, n, _PASSAGE_GRID), np.linspace(0, n, 200)])
    jumps = np.flatnonzero(np.diff(noise.sigma) != 0)[:64] + 1
    jumps = np.concatenate([jumps, np.flatnonzero(np.diff(plan.schedule) != 0)[:64] + 1])
    return np.unique(
        np.concatenate([plan.record, np.round(even).astype(np.int64), jumps, jumps + 1])
    )


def _rule(
    plan: plans.Plan, hp: Any, noise: forms.Noise, grid: np.ndarray, order: int, pool: Any
) -> dict[str, np.ndarray]:
    """The arrays that `store.dataset` labels, of one rule."""
    tables = forms.form(hp), forms.steps(hp, plan.schedule), noise
    settings = list(product(plan.reg, plan.lam, plan.theta0.ravel()))
    jobs = [pool.submit(_setting, plan, hp, tables, grid, order, *at) for at in settings]
    shape = (len(plan.reg) * len(plan.lam), plan.params)
    mean, std, share, median = (
        np.stack([job.result()[i] for job in jobs]).reshape(*shape, *jobs[0].result()[i].shape)
        for i in range(4)
    )
    mean, std = np.moveaxis(mean, -1, 0), np.moveaxis(std, -1, 0)
    return {
        "mean": mean,
        "std": std,
        "rms": np.hypot(mean, std),
        "share_below": np.moveaxis(share, -2, 0),
        "first_passage_median": median,
    }


def _setting(
    plan: plans.Plan, hp: Any, tables: tuple, grid: np.ndarray, order: int,
    reg: str, lam: float, theta0: float,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Mean, std (steps,), share below (steps, levels) and median passages (levels,)."""
    form = tables[0]
    strength = regularizers.strength(reg, lam)
    force = float(strength.l2), float(strength.wd), float(strength.adamw * hp.lr)
    levels = np.array(plan.thresholds)
    path = np.empty((len(grid), len(closure.FIELDS)))
    passed = np.full(len(levels), np.nan)
    closure.closure(*tables, force, order, float(theta0), grid, levels, path, passed)
    kept = np.searchsorted(grid, plan.record)
    mean, std = path[kept, closure.MEAN], np.sqrt(np.maximum(path[kept, closure.VAR], 0.0))
    if order == 1:
        std = np.zeros_like(std)
    share = _share(mean[:, None], std[:, None], levels)
    if order == 1:
        return mean, std, share, passed
    jump = (0.0, 0.0, 0.0)
    if form.kind == forms.LION and np.ptp(plan.schedule) == 0:
        jump = (hp.lr, abs(theta0), force[1] + force[2])
    if theta0 < 0:  # passages are looked for from above
        path[:, [closure.MEAN, closure.W_MEAN]] *= -1
    medians = [
        _median(grid, path, form.bm, b, jump, at) for b, at in zip(levels, passed, strict=True)
    ]
    return mean, std, share, np.array(medians)


def _share(mean: np.ndarray, std: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """P(abs(theta) < level) of a Gaussian theta."""
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        inside = ndtr((levels - mean) / std) - ndtr((-levels - mean) / std)
    return np.where(std > 0, inside, np.abs(mean) < levels)


def _median(
    grid: np.ndarray, path: np.ndarray, bm: float, b: float, jump: tuple, passed: float
) -> float:
    """Median first passage below b; NaN if later. `passed` is the mean's own."""
    if passed == 0 or (not math.isnan(passed) and _sharp(grid, path, int(passed))):
        return passed
    t = passage.median_passage(grid.astype(float), path, b, bm, jump, 0.5, _FINENESS)
    return t if math.isfinite(t) else math.nan


def _sharp(grid: np.ndarray, path: np.ndarray, t: int) -> bool:
    """Whether all lanes pass when the mean does: within half a step, or 1 % of the time."""
    i = int(np.clip(np.searchsorted(grid, t), 1, len(grid) - 1))
    speed = abs(path[i, closure.MEAN] - path[i - 1, closure.MEAN]) / (grid[i] - grid[i - 1])
    return math.sqrt(max(path[i, closure.VAR], 0.0)) <= max(0.5, 0.01 * t) * speed
