"""How an experiment is run: which form of the engine, on how many threads, in which blocks.

None of this changes a result: the bits are the same in any arrangement.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from regdyn.checks import choose, integer
from regdyn.plan import Plan
from regdyn.result import Collector, Result
from regdyn.statistics import GRANULE

ENGINES = ("auto", "numpy", "compiled")
_SMALL = 2_000_000  # lane-steps below which NumPy is done before compiled code is loaded


class Stopped(Exception):
    """Raised in a worker thread after an interruption or a failure elsewhere."""


@dataclass(frozen=True)
class How:
    """Engine, number of threads, height of a block in the tree of granules; a progress bar?"""

    engine: str
    threads: int
    levels: int
    progress: bool | None

    @property
    def block(self) -> int:
        """Lanes of a block."""
        return GRANULE * 2**self.levels


def cold() -> bool:
    """Whether nothing has been compiled yet from these sources, so that the first run must."""
    from regdyn.compile import cache_folder

    return not any(Path(cache_folder()).rglob("*.nbi"))


def compiled(engine: str, lane_steps: int) -> bool:
    """Whether to take the compiled form for so much work."""
    choose("engine", engine, ENGINES)
    return engine == "compiled" or (engine == "auto" and lane_steps >= _SMALL)


def choose_how(
    plan: Plan,
    *,
    engine: str = "auto",
    threads: int | None = None,
    block: int | None = None,
    progress: bool | None = None,
) -> How:
    """Check the arguments and fill in what is left open.

    Raises
    ------
    ValueError
        For an unknown engine, fewer than one thread, or a block that is not 64 times a power of 2.
    """
    configs = len(plan.rule) * len(plan.reg) * len(plan.lam) * plan.params
    large = compiled(engine, configs * len(plan.lanes) * plan.steps)
    engine = "compiled" if large else "numpy"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = cores or 1 if threads is None else integer("threads", threads, 1)
    if block is None:
        levels, busy = (5, 1) if engine == "numpy" else (3, threads)
        most = min(2048 // plan.params, -(-len(plan.lanes) // busy) + GRANULE)
        while levels > 0 and GRANULE * 2**levels > most:
            levels -= 1
    else:
        granules, rest = divmod(integer("block", block, GRANULE), GRANULE)
        if rest or granules & (granules - 1):
            raise ValueError(f"block must be 64 times a power of 2, not {block}.")
        levels = granules.bit_length() - 1
    # NumPy holds the GIL between its short operations: threads would not help
    return How(engine, 1 if engine == "numpy" else threads, levels, progress)


@dataclass(frozen=True)
class Form:
    """What a form of the engine makes, and the tables that its blocks share."""

    block: Callable[[range], Any]
    collector: Callable[[], Collector]
    tables: Any = None


def form(plan: Plan, how: How, tables: Any = None) -> Form:
    """The NumPy or the compiled form; `tables` if they have been made already."""
    if how.engine == "numpy":
        from regdyn.blocks import Block
        from regdyn.result import NumpyCollector

        return Form(lambda lanes: Block(plan, lanes), lambda: NumpyCollector(plan, how.levels))
    from regdyn import kernel_block

    tables = kernel_block.tables(plan) if tables is None else tables
    return Form(
        lambda lanes: kernel_block.CompiledBlock(plan, lanes, tables),
        lambda: kernel_block.CompiledCollector(plan, how.levels),
        tables,
    )


def run_segments(
    plan: Plan,
    how: How,
    make: Form,
    results: list[Result],
    segments: list[tuple[int, int]],
    done: Callable[[float], None] = lambda amount: None,
) -> None:
    """Advance every block through every segment of time, and tell the results."""
    between: dict[range, Any] = {}  # blocks that go on in the next segment
    stop = Event()

    def work(lanes: range, first: int, last: int) -> None:
        with np.errstate(all="ignore"):
            block = between.pop(lanes) if first > 1 else make.block(lanes)
            if first == 1:
                block.begin(results)
            for steps in block.run(first, last, results):
                done(steps * len(lanes))
                if stop.is_set():
                    raise Stopped
            if last < plan.steps:
                between[lanes] = block

    for first, last in segments:
        _each(partial(work, first=first, last=last), plan.blocks(how.block), how.threads, stop)
        for result in results:
            result.close()


def _each(
    work: Callable[[range], None], blocks: Iterable[range], threads: int, stop: Event
) -> None:
    """Call `work` on every block; on several threads if there are several blocks."""
    blocks = list(blocks)
    if threads == 1 or len(blocks) == 1:
        for lanes in blocks:
            work(lanes)
        return
    with ThreadPoolExecutor(min(threads, len(blocks))) as pool:
        tasks = [pool.submit(work, lanes) for lanes in blocks]
        try:
            for task in tasks:
                task.result()
        except BaseException:  # also ctrl-c: no thread is left running
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
