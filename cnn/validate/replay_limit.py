"""``python -m cnn.validate replay-limit RUN``: the same start with another order of the images.

From a checkpoint of a finished run, branches are trained to the end. How far they agree with it and
with each other is how far a forecast from that step can be right.
"""

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from cnn.config import ELSEWHERE, Config, difference, to_dict
from regdyn.checks import integer, shown

MEASURED = (
    "digits/adam-l2-1e-2",
    "digits/wide-adam-l2-1e-3",
    "digits/adam-wd-3e-3",
    "digits/sgd-l2-5e-3",
    "fashion/adam-l2-1e-3",
    "fashion/adam-wd-3e-3",
)
"""The settings of --all."""
AT = (0.05, 0.1, 0.2)  # where cnn.train keeps a checkpoint
ORDERS = 1000  # branch 1 has data seed 1001: no run has it for its own


@dataclass(frozen=True)
class Settings:
    """How far the fate of filters is open: runs from one checkpoint, in other orders of the images.

    The run itself is one of those that are compared. The same command again does only what is
    missing. Written to --out: limits.json (a row per setting and start), and for each, in
    SETTING/seed-N/at-AT/, limit.json and the branches.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a finished run of cnn.train; with --all, the --out of cnn.validate run."""
    at: tuple[float, ...] = (0.1,)
    """Shares of the run after which the branches begin: 0.05, 0.1, 0.2."""
    branches: int = 3
    """Runs that branch off, each a training of its own."""
    all: bool = False
    """Six settings of the development split, seed 0."""
    out: Path = Path("results/replay-limit")
    """Folder for the results."""
    jobs: int = 1
    """Runs at a time; each has one thread."""


def main(argv: list[str] | None = None) -> int:
    """Train the branches, compare, print and write."""
    settings = tyro.cli(Settings, prog="python -m cnn.validate replay-limit", args=argv)
    from rich.console import Console

    from regdyn import store

    _check(settings)
    stems = [settings.run]
    if settings.all:
        stems = [settings.run / name / "seed-0" for name in MEASURED]
    for stem in stems:
        for at in settings.at:
            _begin(stem, at)
    rows = []
    with store.folder(settings.out) as out:
        for stem in stems:
            for at in settings.at:
                rows.append(
                    measure(stem, out, at=at, branches=settings.branches, jobs=settings.jobs)
                )
                _add(out / "limits.json", rows[-1])
    Console(width=100).print(table(rows))
    print(f"written to {settings.out}{os.sep}: limits.json, and a folder per setting")
    return 0


def _check(settings: Settings) -> None:
    if not settings.at or not set(settings.at) <= set(AT):
        raise ValueError(
            f"at must be 0.05, 0.1 or 0.2, where a run keeps its checkpoints, not "
            f"{shown(settings.at)}."
        )
    integer("branches", settings.branches, 1)
    integer("jobs", settings.jobs, 1)


def measure(stem: Path, out: Path, *, at: float, branches: int, jobs: int = 1) -> dict[str, Any]:
    """Train what is missing of the branches of the run in `stem`; what limit.json says of them.

    Raises
    ------
    ValueError
        If `stem` is not a finished run with a checkpoint at `at`, or the folder of a branch holds
        another run.
    RuntimeError
        If a branch fails.
    """
    from cnn.sweep import sweep
    from cnn.validate import folders
    from regdyn import replay_limit, store

    run, config = folders.load(stem)
    name, start = name_of(stem, config), _begin(stem, at)
    place = out / name / f"seed-{config.seed}" / f"at-{at:g}"
    orders = {f"branch-{i}": ORDERS + i for i in range(1, branches + 1)}
    configs = {
        branch: replace(config, data_seed=order, threads=1) for branch, order in orders.items()
    }
    for branch, one in configs.items():
        _prepare(one, place / branch / f"seed-{config.seed}", start)
    done = sweep(configs, place, seeds=[config.seed], jobs=jobs)
    for one in done:
        if one.failure:
            raise RuntimeError(f"{one.name} of {name} failed: {one.failure}")
    records = [run.record, *(folders.load(one.folder)[0].record for one in done)]
    step = round(at * config.steps)
    runs = replay_limit.ends(records, step)
    found = {
        "setting": name, "seed": config.seed, "at": at, "step": step, "runs": len(records),
        "dead": [100.0 * float(dead.mean()) for dead in runs.dead],
        **{key: _number(value) for key, value in replay_limit.limit(runs)._asdict().items()},
        "layers": _layers(runs, run.record.names), **store.provenance(),
    }  # fmt: skip
    _write(place / "limit.json", found)
    return found


def name_of(stem: Path, config: Config) -> str:
    """The name of the setting: that of figures/data/splits.csv, or of the folder."""
    from cnn.validate.settings import settings

    for one in settings():
        if difference(one.config, config, {*ELSEWHERE, "seed", "data_seed"}) is None:
            return one.name
    stem = stem.resolve()
    return stem.parent.name if stem.name.startswith("seed-") else stem.name


def limits(path: Path) -> dict[tuple[str, float], float | None]:
    """(setting, at): AUC that no forecast beats, from a limits.json; empty if there is none."""
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {(row["setting"], row["at"]): row["auc_limit"] for row in rows}


# Branches ----------------------------------------------------------------------------------------


def _begin(stem: Path, at: float) -> Path:
    """The checkpoint at which the branches of the run in `stem` begin."""
    from cnn.checkpoint import name_of as file_of
    from cnn.rundir import stored_config

    config = stored_config(stem)
    if config is None or not (stem / "run.nc").is_file():
        raise ValueError(f"{str(stem)!r} holds no run.nc: give the folder of a finished run.")
    path = stem / file_of(max(1, round(at * config.steps)))
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {str(path)!r}: the run did not keep it.")
    return path


def _prepare(config: Config, folder: Path, start: Path) -> None:
    """Make `folder` a run that was interrupted just after it branched off: a sweep goes on there.

    That is what ``cnn.train --branch`` writes first of all.
    """
    from cnn import checkpoint, child, rundir

    if child.state(config, folder) != "new":
        entry = checkpoint.last(folder)
        origins = [] if entry is None else [one["checkpoint"] for one in entry["branches"]]
        if checkpoint.digest(start) not in origins[-1:]:
            raise ValueError(
                f"{str(folder)!r} did not begin at {str(start)!r}: take another --out."
            )
        return
    entry = rundir.begun(config, folder, resume=False, branch=start)
    assert entry is not None
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(to_dict(config))
    checkpoint.write({**entry, "config": settings}, folder / checkpoint.LAST)
    _write(folder / "config.json", to_dict(config))


# What is written and printed ---------------------------------------------------------------------


def _layers(runs: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Dead share of every layer, in percent, in each of the runs."""
    shares = {name: 100.0 * runs.dead[:, runs.layer == i] for i, name in enumerate(names)}
    return [
        {"layer": name, "filters": dead.shape[1], "dead": dead.mean(axis=1).tolist()}
        for name, dead in shares.items()
    ]


def _number(value: Any) -> Any:
    """For JSON: lists, and None for NaN."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_number(one) for one in value]
    return None if math.isnan(value) else value


def _add(path: Path, row: dict[str, Any]) -> None:
    """Put a row into limits.json, in place of one of the same setting and start."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    others = [one for one in rows if (one["setting"], one["at"]) != (row["setting"], row["at"])]
    brief = {key: value for key, value in row.items() if key != "layers"}
    _write(path, {"rows": sorted([*others, brief], key=lambda one: (one["setting"], one["at"]))})


def _write(path: Path, content: dict[str, Any]) -> None:
    from cnn.checkpoint import whole

    with whole(path) as name:
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
        Path(name).write_text(f"{text}\n", encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> Any:
    """For a terminal."""
    from rich import box
    from rich.table import Table

    heads = {
        "setting": "", "at": "g", "runs": ".0f", "dead": ".0f", "differ": ".0f", "mixed": ".0f",
        "jaccard": ".2f", "one": ".3f", "all": ".3f", "auc_limit": ".3f", "layer_error": ".1f",
        "within_remaining_both": ".0f",
    }  # fmt: skip
    titles = {
        "dead": "dead\n%", "differ": "differ\n%", "mixed": "mixed\n%", "one": "AUC\nfrom 1",
        "all": "from\nothers", "auc_limit": "limit", "layer_error": "layers\npoints",
        "within_remaining_both": "times\nin x1.25",
    }  # fmt: skip
    shown = Table(title="replay limit", title_justify="left", box=box.SIMPLE_HEAD)
    for name in heads:
        side = "left" if name == "setting" else "right"
        shown.add_column(titles.get(name, name), justify=side, no_wrap=True)
    for row in rows:
        dead = sum(row["dead"]) / len(row["dead"])
        known = {**row, "dead": dead, "one": row["auc"][0], "all": row["auc"][-1]}
        cells = ("-" if known[k] is None else f"{known[k]:{form}}" for k, form in heads.items())
        shown.add_row(*cells)
    return shown
