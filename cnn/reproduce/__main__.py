"""``python -m cnn.reproduce``: train the experiments of the claims ledger, what is missing only."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from cnn.reproduce.experiments import Experiment, chosen, experiments
from regdyn.cli import exit_code


@dataclass(frozen=True)
class Settings:
    """Train the experiments behind the claims ledger, those that are missing only.

    Every run gets the folder OUT/NAME/seed-N. The same command again goes on where it stopped.
    What the figures need of the finished runs is written to KEEP: reproduce-runs.csv and two more.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names or patterns of experiments, such as 'digits/batch/*' [default: all]."""
    tier: Literal["core", "long"] | None = None
    """Only those of a tier; core takes about an hour on two cores [default: both]."""
    out: Path = Path("results/reproduce")
    """Folder for the runs."""
    keep: Path | None = None
    """Folder for what is kept of the finished runs, added to what is there [default: OUT]."""
    jobs: int = 1
    """Runs at a time on this machine; each takes one core."""
    cluster: str | None = None
    """Run on the Dask scheduler at this address, such as tcp://host:8786, instead."""
    list: bool = False
    """Only list the experiments, each with the command that trains one run of it."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 1 if a run failed, 2 for bad input."""
    again = "interrupted: the same command goes on from here."
    return exit_code(
        lambda: _main(tyro.cli(Settings, prog="python -m cnn.reproduce", args=argv)), again
    )


def _main(settings: Settings) -> int:
    found = chosen(settings.names, settings.tier)
    if settings.list:
        return _list(found)
    from cnn.reproduce import after
    from cnn.reproduce.collect import collect
    from cnn.sweep import workers
    from cnn.validate.runs import train
    from regdyn import store

    with store.folder(settings.out), workers(settings.cluster) as executor:
        runs = train(found, settings.out, executor=executor, jobs=settings.jobs)
    failures = [f"{run.name} seed {run.config.seed}: {run.failure}" for run in runs if run.failure]
    failures += after.prune(settings.out, jobs=settings.jobs)
    keep = settings.out if settings.keep is None else settings.keep
    with store.folder(keep):
        for path in collect(experiments(), settings.out, keep, after.listed()):
            print(path)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _list(found: list[Experiment]) -> int:
    width = max(len(one.name) for one in found)
    for one in found:
        print(
            f"{one.name:{width}}  {one.tier}  n={len(one.seeds)}  python -m cnn.train {one.flags}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
