r"""Simulate a parameter that sees a gradient process and is regularised.

Here the arguments are checked and the work is divided; the steps themselves are in `regdyn.blocks`
(NumPy, the form to read) and `regdyn.kernels` (compiled, the same bits). One step, for any rule
and regulariser:

    delta, state  =  rule(grad + l2 * theta, state)
    theta         =  after * (before * theta - delta)
"""

import warnings
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np

from regdyn import gradients, regularizers, rules
from regdyn.blocks import advance
from regdyn.checks import numbers
from regdyn.execution import How, choose_how, compiled, form, run_segments
from regdyn.plan import THRESHOLDS, Plan, make_plan
from regdyn.progress import bar
from regdyn.result import Result
from regdyn.statistics import BINS

if TYPE_CHECKING:
    import xarray as xr

_MEMORY = 2**28  # bytes of histograms and trajectories held at a time


def simulate(
    rule: Any,
    reg: Any = "l2",
    lam: Any = 1e-4,
    *,
    gradient: Any = "low",
    steps: int = 30_000,
    lanes: int | range = 1000,
    theta0: Any = 1.0,
    seed: int = 0,
    record: Any = None,
    schedule: Any = None,
    preset: str = "paper",
    thresholds: Any = THRESHOLDS,
    keep_lanes: bool = False,
    keep_passages: bool = False,
    statistics: str = "full",
    engine: str = "auto",
    threads: int | None = None,
    block: int | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> "xr.Dataset":
    r"""Run many independent copies (lanes) of a regularised parameter and summarise them.

    Parameters
    ----------
    rule : str, NamedTuple, or list of them
        Update rules: names, or hyper-parameters such as ``Adam(beta2=0.999)``.
    reg : str or list of str
        Where lambda enters: 'none', 'l2', 'wd', 'adamw' (`regdyn.regularizers`).
    lam : float or list of float
        Strengths. Rules, regularisers and strengths span a grid.
    gradient : str or NamedTuple
        A process of `regdyn.gradients`; by default the paper's low gradient.
    steps : int
    lanes : int or range
        So many lanes from 0; ``range(1000, 2000)`` are those lanes of the same experiment.
    theta0 : float or array_like
        Start. An array is one replicate's parameters: every lane then holds that many, and the
        results have a dimension `param` (the array flattened) and the norm over it.
    seed : int
        0 <= seed < 2^64. The gradients depend on (seed, lane, step) only: the same for every rule,
        regulariser and strength.
    record : int or array of int, optional
        ``k``: steps 0, k, 2 k, ... and the last. An array: those steps (0 is the start). Default:
        0, the last, and at most 400 between, dense at first.
    schedule : optional
        Learning-rate schedule of `regdyn.regularizers`; default constant.
    preset : {'paper', 'torch'}
        Hyper-parameters of rules given by name.
    thresholds : float or list of float
        For first passage and `share_below`.
    keep_lanes, keep_passages : bool
        Also return theta of every lane at the recorded steps, and every lane's first passages.
    statistics : {'full', 'moments'}
        `moments` leaves out quantiles, passages and shares, and looks for lanes that are not
        finite at recorded steps only.
    engine : {'auto', 'numpy', 'compiled'}
        The readable form or the compiled one: the same bits. `auto`: compiled unless the job is
        small.
    threads : int, optional
        Of the compiled form; default: all cores.
    block : int, optional
        Lanes that are advanced together: 64 times a power of 2.
    executor : concurrent.futures.Executor, optional
        Divide the lanes among its workers (processes, or other machines through Dask); see
        `regdyn.distributed`.
    progress : bool, optional
        A progress bar on standard error; by default on a terminal only.

    Returns
    -------
    xarray.Dataset
        Dimensions (rule, reg, lam, step), and threshold, q, param, lane where they apply:

        mean, std, rms, min, max
            Of theta over lanes; std with divisor n.
        quantile, abs_quantile
            Of theta and of abs(theta), to 3 % (see `regdyn.statistics`).
        share_below
            Share of lanes with abs(theta) below the threshold at this step.
        first_passage_count
            Lanes whose abs(theta) was first below the threshold after the previous recorded step
            and not after this one; tested at every step.
        first_passage_median
            Median over lanes of the first step with abs(theta) below the threshold; NaN where
            fewer than half get there.
        nonfinite_step
            First step at which a lane is not finite; NaN where all stay finite.
        norm_mean, norm_std, ...
            The same of the Euclidean norm, where theta0 is an array.
        theta, first_passage
            With `keep_lanes`, `keep_passages` (NaN where a lane never passes).

        Attributes: config (JSON), seed, versions, git revision. On x86-64 the same seed gives the
        same bits, however the lanes are divided into calls and whatever else is in the grid.

    Raises
    ------
    ValueError
        For bad input, in one sentence, before any work starts.

    Warns
    -----
    RuntimeWarning
        If a setting is unstable, or theta leaves the finite numbers.
    """
    plan = make_plan(
        rule=rule, reg=reg, lam=lam, gradient=gradient, steps=steps, lanes=lanes, theta0=theta0,
        seed=seed, record=record, schedule=schedule, preset=preset, thresholds=thresholds,
        keep_lanes=keep_lanes, keep_passages=keep_passages, statistics=statistics,
    )  # fmt: skip
    how = choose_how(plan, engine=engine, threads=threads, block=block, progress=progress)
    for sentence in plan.unstable():
        warnings.warn(f"unstable: {sentence}", RuntimeWarning, stacklevel=2)
    results = _run(plan, how, executor)
    for result in results:
        for sentence in result.nonfinite_report():
            warnings.warn(sentence, RuntimeWarning, stacklevel=2)
    from regdyn import store  # xarray is slow to import

    return store.dataset(plan, [result.arrays() for result in results])


def replay(
    tape: Any,
    rule: Any,
    reg: str = "l2",
    lam: float = 1e-4,
    theta0: Any = 1.0,
    *,
    schedule: Any = None,
    preset: str = "paper",
    engine: str = "auto",
) -> np.ndarray:
    """Trajectories under recorded gradients.

    Parameters
    ----------
    tape : array_like, shape (steps, lanes) or (steps,)
        Gradients of the main objective, without the regulariser.
    rule : str or NamedTuple
    reg : {'none', 'l2', 'wd', 'adamw'}
    lam : float
    theta0 : float or array_like, shape (lanes,)
    schedule, preset, engine
        As in `simulate`.

    Returns
    -------
    ndarray, shape (steps + 1, lanes) or (steps + 1,)
        theta before the first step and after each.

    Raises
    ------
    ValueError
        For bad input, such as a tape with NaN.

    Warns
    -----
    RuntimeWarning
        If theta leaves the finite numbers.
    """
    hp = rules.resolve(rule, preset)
    strength = regularizers.strength(reg, regularizers.check_strength(reg, lam, hp))
    tape = gradients.resolve(gradients.Tape(tape)).values
    factors = regularizers.schedule_factors(schedule, len(tape)).tolist()
    start = numbers("theta0", theta0)
    if start.shape not in ((), tape.shape[1:]):
        raise ValueError(
            f"theta0 must be a number or of shape {tape.shape[1:]}, not of shape {start.shape}."
        )
    theta = np.empty((len(tape) + 1, *tape.shape[1:]))
    theta[0] = start
    if compiled(engine, tape.size):
        from regdyn import kernel_block

        flat = tape.reshape(len(tape), -1), theta.reshape(len(theta), -1)
        kernel_block.replay(flat[0], hp, strength, flat[1], np.array(factors))
    else:
        state = rules.init(theta[0], hp)
        with np.errstate(all="ignore"):
            for t, (grad, scale) in enumerate(zip(tape, factors, strict=True), start=1):
                theta[t], state = advance(theta[t - 1], state, grad, t, hp, strength, scale)
    bad = ~np.isfinite(theta).reshape(len(theta), -1).all(axis=1)
    if bad.any():
        sentence = f"theta is not finite from step {int(bad.argmax())} on."
        warnings.warn(sentence, RuntimeWarning, stacklevel=2)
    return theta


def _run(plan: Plan, how: How, executor: Executor | None) -> list[Result]:
    """Run the plan here, or on the workers of an executor."""
    segments = _segments(plan, how.block)
    with bar("simulating", plan.steps * len(plan.lanes), show=how.progress) as done:
        if executor is not None:
            from regdyn import distributed

            return distributed.run(plan, how, executor, segments, done)
        make = form(plan, how)
        results = [Result(plan, k, make.collector) for k in range(len(plan.rule))]
        run_segments(plan, how, make, results, segments, done)
        return results


def _segments(plan: Plan, block: int) -> list[tuple[int, int]]:
    """Steps first ... last, cut so that what is recorded in a segment fits the memory.

    They end at multiples of 4, the steps that share a group of random numbers.
    """
    configs = len(plan.rule) * len(plan.reg) * len(plan.lam) * (plan.params + plan.theta0.ndim)
    blocks = -(-len(plan.lanes) // block)
    at_once = max(1, _MEMORY // (configs * 8 * (2 * BINS + block + 2 * blocks)))
    cuts = plan.record[plan.record > 0][at_once - 1 :: at_once]
    ends = sorted({*(-(-cuts // 4) * 4).tolist()} | {plan.steps})
    ends = [end for end in ends if end <= plan.steps]
    return list(zip([1, *(end + 1 for end in ends)], ends, strict=False))
