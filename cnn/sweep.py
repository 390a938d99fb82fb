"""Many runs: recipes times seeds, on this machine or a cluster; resumed, and never done twice.

``python -m cnn.sweep digits/adam-l2-1e-2 digits/sgd-l2-1e-3 --seeds 0 1 2 --out results/sweep``
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from cnn import child
from cnn.config import Config
from regdyn.checks import integer, shown
from regdyn.cli import exit_code

__all__ = ["Run", "sweep"]


@dataclass
class Run:
    """A run of a sweep: what it is, and what came of it."""

    name: str
    config: Config
    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)
    """Empty if it failed."""
    failure: str = ""
    """Why it failed."""


def sweep(
    configs: Mapping[str, Config],
    out: str | os.PathLike,
    *,
    seeds: Iterable[int] = (0,),
    executor: Executor | None = None,
    jobs: int = 1,
    say: Callable[[str], Any] = print,
) -> list[Run]:
    """Train every setting with every seed, each run in a process of its own.

    A run has the folder ``out/NAME/seed-N``. One that is finished (its summary is there, and its
    settings are the same) is not done again, one that was interrupted goes on from its checkpoint.
    Names with equal settings share the folder of the first. A run that fails stops no other.

    Parameters
    ----------
    configs : mapping of str to Config
        Their `seed` does not matter. Where `threads` is None, a run gets its share of the cores.
    out : path
        A cluster's workers must see it under the same name.
    seeds : iterable of int
    executor : concurrent.futures.Executor, optional
        Where to run: threads, processes or machines; a task starts a process and waits for it.
    jobs : int
        Without an executor: how many runs at a time on this machine.
    say : callable
        Gets a line for every run that ends.

    Returns
    -------
    list of Run
        In the order of names and seeds.

    Raises
    ------
    ValueError
        If a folder holds a run of other settings, before any work starts.
    """
    jobs, out = integer("jobs", jobs, 1), Path(out)
    threads = max(1, cores() // jobs) if executor is None else 1
    runs = _runs(configs, out, [integer("seed", seed, 0) for seed in seeds], threads)
    tasks = list({run.folder: run for run in reversed(runs)}.values())[::-1]
    states = [child.state(task.config, task.folder) for task in tasks]
    for task, state in zip(tasks, states, strict=True):
        if state == "finished":
            task.summary = child.summary(task.folder)
    waiting = [task for task in tasks if not task.summary]
    say(f"{len(tasks)} runs: {states.count('finished')} finished before, {len(waiting)} to do")
    with _pool(executor, jobs) as pool:
        _work(waiting, pool, say)
    ended = {task.folder: task for task in tasks}
    return [
        replace(run, summary=ended[run.folder].summary, failure=ended[run.folder].failure)
        for run in runs
    ]


def cores() -> int:
    """CPU cores that this process may use."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def _runs(configs: Mapping[str, Config], out: Path, seeds: list[int], threads: int) -> list[Run]:
    """Every setting with every seed; equal settings have one folder."""
    folders: dict[Config, Path] = {}
    runs = []
    for name, given in configs.items():
        for seed in seeds:
            config = replace(given, seed=seed, threads=given.threads or threads)
            folder = folders.setdefault(config, out / name / f"seed-{seed}")
            runs.append(Run(name, config, folder))
    return runs


def _work(waiting: list[Run], pool: Executor, say: Callable[[str], Any]) -> None:
    """Run all; each gets its summary or why it failed."""
    tasks = {pool.submit(child.run, run.config, run.folder): run for run in waiting}
    try:
        for count, task in enumerate(as_completed(list(tasks)), 1):
            run = tasks[task]
            try:
                run.summary = task.result()
            except Exception as error:  # whatever it is, the others go on
                run.failure = " ".join(f"{error}".split()) or type(error).__name__
            said = f"failed: {run.failure}" if run.failure else _said(run.summary)
            say(f"[{count}/{len(waiting)}] {run.name} seed {run.config.seed}: {said}")
    finally:
        for task in tasks:
            task.cancel()
        child.stop()


@contextmanager
def _pool(executor: Executor | None, jobs: int) -> Iterator[Executor]:
    if executor is not None:
        yield executor
        return
    with ThreadPoolExecutor(jobs) as pool:  # threads wait; the work is in processes
        yield pool


def _said(summary: dict[str, Any]) -> str:
    words = {"sparsity_gamma": "{:.1f} % of filters inactive", "test_error": "test error {:.1f} %"}
    known = [text.format(summary[k]) for k, text in words.items() if summary[k] is not None]
    return ", ".join([*known, f"{summary['seconds']:.0f} s"])


# The command line --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Run recipes with several seeds; print, draw and write mean, spread and number of runs.

    The same command again does only what is missing. Written to --out: table.csv (a row per
    recipe), runs.csv (a row per run), figure.png, and the folder and log of every run.
    """

    recipes: tyro.conf.Positional[tuple[str, ...]]
    """Names or patterns, such as 'digits/no-drop/*'; python -m cnn.recipes lists them."""
    seeds: tuple[int, ...] = (0,)
    """Seeds."""
    out: Path = Path("results/sweep")
    """Folder for the results."""
    jobs: int = 1
    """Runs at a time on this machine."""
    cluster: str | None = None
    """Run on the Dask scheduler at this address, such as tcp://host:8786, instead."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int | None = None
    """CPU threads of a run [default: cores / jobs; on a cluster 1]."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 1 if a run failed, 2 for bad input."""
    again = "interrupted: the same command goes on from here."
    return exit_code(
        lambda: _main(tyro.cli(Settings, prog="python -m cnn.sweep", args=argv)), again
    )


def _main(settings: Settings) -> int:
    from cnn import sweep_report
    from regdyn import store

    configs = _configs(settings)
    if settings.cluster is not None and settings.jobs != 1:
        raise ValueError("--jobs is for this machine: a --cluster knows its own workers.")
    with store.folder(settings.out), workers(settings.cluster) as executor:
        runs = sweep(
            configs, settings.out, seeds=dict.fromkeys(settings.seeds), executor=executor,
            jobs=settings.jobs,
        )  # fmt: skip
        sweep_report.write(runs, settings.out)
    sweep_report.show(runs)
    failed = [run for run in runs if run.failure]
    for run in failed:
        print(f"error: {run.name} seed {run.config.seed}: {run.failure}", file=sys.stderr)
    print(f"written to {settings.out}{os.sep}: table.csv, runs.csv, figure.png, and every run")
    return 1 if failed else 0


def _configs(settings: Settings) -> dict[str, Config]:
    """The settings by recipe; every word must name one, or match some."""
    from cnn import recipes

    if settings.threads is not None:
        integer("--threads", settings.threads, 1)
    found: dict[str, Config] = {}
    for word in settings.recipes:
        pattern = any(sign in word for sign in "*?[")
        names = recipes.names(word) if pattern else [recipes.get(word).name]
        if not names:
            raise ValueError(f"no recipe matches {shown(word)}: python -m cnn.recipes lists all.")
        for name in names:
            config = recipes.get(name).config
            found[name] = replace(config, device=settings.device, threads=settings.threads)
    if not found:
        raise ValueError("give at least one recipe: python -m cnn.recipes lists all.")
    if not settings.seeds:
        raise ValueError("--seeds is empty: give at least one.")
    return found


@contextmanager
def workers(address: str | None) -> Iterator[Executor | None]:
    """The executor of the Dask cluster at this address, or none."""
    if address is None:
        yield None
        return
    from regdyn.distributed import dask

    with dask(address) as executor:
        yield executor


if __name__ == "__main__":
    sys.exit(main())
