"""The lanes of an experiment divided among the workers of an executor.

A worker gets whole blocks, so what it sees joins to the same bits as on one thread. In the compiled
form, tables that need the mathematical library (bias corrections, schedules) are made here and
sent along: its last digit may differ from machine to machine.
"""

import hashlib
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from regdyn import store
from regdyn.checks import shown
from regdyn.execution import How, form, run_segments
from regdyn.plan import Plan
from regdyn.result import Part, Result

_TASKS = 64  # at most; more than workers, so that a slow or lost one costs little


def run(
    plan: Plan, how: How, executor: Executor, segments: list[tuple[int, int]], done: Callable
) -> list[Result]:
    """Run the plan on the workers of `executor`.

    Raises
    ------
    ValueError
        If `executor` is none.
    RuntimeError
        If a worker has another version of regdyn, or the workers are gone.
    """
    if not isinstance(executor, Executor):
        raise ValueError(f"executor must be a concurrent.futures.Executor, not {shown(executor)}.")
    make = form(plan, how)
    results = [Result(plan, k, make.collector) for k in range(len(plan.rule))]
    how = replace(how, threads=1, progress=False)
    waiting: dict[Future, range] = {}
    try:
        for lanes in _shares(plan, how.block):
            share = plan.only(lanes)
            task = executor.submit(_work, share, how, make.tables, segments, source_digest())
            waiting[task] = lanes
        for task in as_completed(list(waiting)):
            lanes = waiting.pop(task)
            for result, part in zip(results, task.result(), strict=True):
                result.absorb(part, lanes.start)
            done(plan.steps * len(lanes))
    except (OtherSources, ValueError):
        raise
    except (Exception, CancelledError) as error:
        raise RuntimeError(f"the workers failed: {type(error).__name__} {error}".strip()) from error
    finally:
        for task in waiting:
            task.cancel()
    for result in results:
        result.finish()
    return results


class OtherSources(RuntimeError):
    """A worker has other sources of regdyn than the caller."""


def _shares(plan: Plan, block: int) -> Iterator[range]:
    """The lanes in at most `_TASKS` shares of whole blocks."""
    blocks = list(plan.blocks(block))
    each = -(-len(blocks) // _TASKS)
    for i in range(0, len(blocks), each):
        share = blocks[i : i + each]
        yield range(share[0].start, share[-1].stop)


def _work(
    plan: Plan, how: How, tables: Any, segments: list[tuple[int, int]], digest: str
) -> list[Part]:
    """On a worker: run some of the lanes on one thread."""
    if digest != source_digest():
        raise OtherSources(
            f"the worker on {platform.node()} has other sources of regdyn "
            f"({store.provenance()['regdyn_version']}) than the caller: install the same there."
        )
    make = form(plan, how, tables)
    results = [Result(plan, k, make.collector, whole=False) for k in range(len(plan.rule))]
    run_segments(plan, how, make, results, segments)
    return [result.part() for result in results]


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Hash of the sources of this package."""
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


@contextmanager
def dask(address: str, timeout: float = 10.0) -> Iterator[Executor]:
    """An executor on the Dask scheduler at `address`, such as tcp://host:8786.

    Raises
    ------
    ValueError
        If Dask is not installed, or no scheduler answers within `timeout` seconds.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("a cluster needs Dask: pip install 'regdyn[cluster]'.") from None
    try:
        client = Client(address, timeout=timeout)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address!r} ({error}).") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=timeout)
        except TimeoutError:
            raise ValueError(f"the Dask scheduler at {address!r} has no workers.") from None
        yield client.get_executor(pure=False)
