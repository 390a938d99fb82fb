"""``python -m cnn.validate run``: train the settings of a split, forecast, compare.

``python -m cnn.validate run --only 'digits/adam-l2-*' --out results/validate``
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from cnn.validate.settings import Setting
from regdyn.checks import finite, integer, shown

if TYPE_CHECKING:
    from cnn.validate.methods import Forecasts
    from cnn.validate.trained import Trained

AT = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Settings:
    """Forecast runs from their first steps with every method, and compare with what came of them.

    Trains what is missing. Written to --out: validate.json and validate.csv (a row for every run,
    method and step), targets.csv (what-if), predictions-SPLIT.nc (every filter), pictures, and the
    folder and log of every run. limits.json there (replay-limit) gives the limits of the AUC.
    """

    split: Literal["development", "test"] = "development"
    """Which settings of figures/data/splits.csv. The test settings are run once."""
    only: tuple[str, ...] = ()
    """Names or patterns of settings, such as 'digits/adam-l2-*' [default: all of the split]."""
    at: tuple[float, ...] = AT
    """Shares of a run's steps after which forecasts are made."""
    draws: int = 100
    """Bootstrap samples, for the intervals of the scores."""
    jobs: int = 1
    """Trainings at a time on this machine."""
    out: Path = Path("results/validate")
    """Folder for runs and results."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 1 if a training failed."""
    settings = tyro.cli(Settings, prog="python -m cnn.validate run", args=argv)
    from cnn.validate import report, report_table, runs
    from regdyn import store

    integer("--jobs", settings.jobs, 1)
    integer("--draws", settings.draws, 1)
    if not settings.at:
        raise ValueError("--at is empty: give at least one share of the steps, as 0.1.")
    for at in settings.at:
        finite("--at", at, 0.0, 1.0, open_below=True, open_above=True)
    chosen = choice(settings.split, settings.only)
    with store.folder(settings.out) as out:
        trained = runs.train(chosen, out, jobs=settings.jobs)
        failed = [run for run in trained if run.failure]
        content = compare(chosen, out, split=settings.split, at=settings.at, draws=settings.draws)
    report_table.show(content, settings.split)
    for run in failed:
        print(f"error: {run.name} seed {run.config.seed}: {run.failure}", file=sys.stderr)
    print(
        f"written to {settings.out}{os.sep}: {', '.join(report.FILES)}, "
        f"predictions-{settings.split}.nc, pictures, and every run"
    )
    return 1 if failed else 0


def choice(split: str, only: Sequence[str] = ()) -> list[Setting]:
    """The settings of a split that match one of the words, or all.

    Raises
    ------
    ValueError
        If a word matches none.
    """
    from cnn.validate.settings import settings

    every = settings(split)
    for word in only:
        if not any(fnmatchcase(one.name, word) for one in every):
            raise ValueError(
                f"no setting of the {split} split matches {shown(word)}: "
                "figures/data/splits.csv lists all."
            )
    return [one for one in every if not only or any(fnmatchcase(one.name, w) for w in only)]


def compare(
    chosen: Sequence[Setting], out: Path, *,
    split: str, at: Sequence[float] = AT, draws: int = 100,
) -> dict[str, Any]:  # fmt: skip
    """Forecast what is finished of the chosen settings, write all results; validate.json's content.

    Pilots, and what the regression is fitted to, are taken from all finished runs of the
    development split in `out`, and from the chosen ones.

    Raises
    ------
    ValueError
        If no run is finished.
    """
    from cnn.validate import pictures, report, targets
    from cnn.validate.methods import Forecasts
    from cnn.validate.replay_limit import limits
    from cnn.validate.settings import settings
    from cnn.validate.trained import finished
    from regdyn.progress import bar

    ours = finished(chosen, out)
    if not ours:
        raise ValueError(f"no run of these settings is finished in {shown(str(out))}.")
    known = {one.name: one for one in (*ours, *finished(settings("development"), out))}
    every, found, aims = Forecasts(list(known.values())), [], []
    pilots = [one for one in known.values() if one.setting.name in targets.PILOTS]
    with bar("forecasting", total=len(ours) * len(at) + len(pilots)) as advance:
        for one in ours:
            for share in at:
                found += every.of(one, share)
                advance(1)
        for pilot in pilots:
            aims += targets.targets([pilot], ours)
            advance(1)
    content = report.write(found, aims, limits(out / "limits.json"), out, split=split, draws=draws)
    pictures.write(out, split=split)
    _fates(ours, every, out, split)
    return content


def _fates(ours: Sequence["Trained"], every: "Forecasts", out: Path, split: str) -> None:
    """A picture of single filters for each of the settings that are pilots, or for the first."""
    from cnn.validate.pictures_fates import draw_fates
    from cnn.validate.targets import PILOTS
    from cnn.validate.trained import pilot_for
    from regdyn import forecast, store

    first = {one.setting.name: one for one in reversed(ours)}
    for name in [name for name in PILOTS if name in first] or [ours[0].setting.name]:
        one, at = first[name], round(0.1 * first[name].run.steps)
        pilot = pilot_for(one, every.runs)
        ds = forecast.of_run(one.run, at, None if pilot is None else pilot.run)
        figure = draw_fates(one.run.record, ds, title=f"{one.name}, forecast after {at} steps")
        with store.temporary(out / f"fates-{split}-{name.replace('/', '-')}.png") as path:
            figure.savefig(path, format="png")
