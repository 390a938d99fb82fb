"""How an experiment is run: which form of the engine, on how many threads, in which blocks.

None of this changes a result: the bits are the same in any arrangement.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Any

from regdyn.checks import choose, integer
from regdyn.plan import Plan
from regdyn.result import Collector
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
    stop: Event

    @property
    def block(self) -> int:
        """Lanes of a block."""
        return GRANULE * 2**self.levels

    def each(self, work: Callable[[range], None], blocks: Iterable[range]) -> None:
        """Call `work` on every block; on several threads if there are several blocks."""
        blocks = list(blocks)
        if self.threads == 1 or len(blocks) == 1:
            for lanes in blocks:
                work(lanes)
            return
        with ThreadPoolExecutor(min(self.threads, len(blocks))) as pool:
            tasks = [pool.submit(work, lanes) for lanes in blocks]
            try:
                wait(tasks, return_when=FIRST_EXCEPTION)
                failed = [t for t in tasks if t.done() and t.exception()]
                for task in failed:
                    task.result()
            finally:  # also after ctrl-c: no thread is left running
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                self.stop.clear()


def choose_how(
    plan: Plan, *, engine: str, threads: int | None, block: int | None, progress: bool | None
) -> How:
    """Check the arguments and fill in what is left open.

    Raises
    ------
    ValueError
        For an unknown engine, fewer than one thread, or a block that is not 64 times a power of 2.
    """
    choose("engine", engine, ENGINES)
    if engine == "auto":
        configs = len(plan.rule) * len(plan.reg) * len(plan.lam) * plan.params
        small = configs * len(plan.lanes) * plan.steps < _SMALL
        engine = "numpy" if small else "compiled"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = cores or 1 if threads is None else integer("threads", threads, 1)
    if block is None:
        levels = 5 if engine == "numpy" else 2
        while levels > 0 and plan.params * GRANULE * 2**levels > 2048:
            levels -= 1
    else:
        granules, rest = divmod(integer("block", block, GRANULE), GRANULE)
        if rest or granules & (granules - 1):
            raise ValueError(f"block must be 64 times a power of 2, not {block}.")
        levels = granules.bit_length() - 1
    # NumPy holds the GIL between its short operations: threads would not help
    return How(engine, 1 if engine == "numpy" else threads, levels, progress, Event())


@dataclass(frozen=True)
class Form:
    """What a form of the engine makes."""

    block: Callable[[range], Any]
    collector: Callable[[], Collector]


def form(plan: Plan, how: How) -> Form:
    """The NumPy or the compiled form."""
    if how.engine == "numpy":
        from regdyn.blocks import Block
        from regdyn.result import NumpyCollector

        return Form(lambda lanes: Block(plan, lanes), lambda: NumpyCollector(plan, how.levels))
    from regdyn.kernel_block import CompiledBlock, CompiledCollector, tables

    shared = [tables(plan, hp) for hp in plan.rule]
    return Form(
        lambda lanes: CompiledBlock(plan, lanes, shared),
        lambda: CompiledCollector(plan, how.levels),
    )
