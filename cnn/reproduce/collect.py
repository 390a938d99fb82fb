"""From the folders of finished runs to the files that figures and ledger read.

=========================  ======================================================================
`reproduce-runs.csv`       a row per run: sparsity by every measure, errors, layers, revision
`reproduce-explicit.csv`   a row per network that was pruned after training
`reproduce-filters.nc`     gamma, beta and universality of every filter at the end of every run
`reproduce-course.nc`      gamma and beta of C6 over training, of the runs in `COURSES`, seed 0
=========================  ======================================================================

Runs that were kept before, and whose folders are not at hand, stay.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnn import child
from cnn.reproduce import features
from regdyn import store

if TYPE_CHECKING:
    import xarray as xr

RUNS, EXPLICIT, FILTERS, COURSE = (
    f"reproduce-{name}" for name in ("runs.csv", "explicit.csv", "filters.nc", "course.nc")
)  # fmt: skip
COURSES = ("pairs100/adam-l2-*", "pairs100/sgd-l2-*", "pairs10/adam-l2-*", "pairs10/sgd-l2-*")
"""Experiments whose C6 is kept over training (Figure 2)."""
MEASURED = (
    *("sparsity_gamma", "sparsity_gamma_1e-2", "sparsity_act", "sparsity_act_1e-4"),
    *("sparsity_absorbed", "test_error", "test_error_zeroed", "train_error"),
    *("test_loss", "train_loss", "prunable"),
)
MEASURED_AFTER = ("pruned_percent", "prunable", "test_error_before", "test_error_pruned",
                  "test_error", "train_error")  # fmt: skip
LAYERS = {"layers": "sparsity_gamma", "layers_absorbed": "sparsity_absorbed"}
EVERY = 5  # records of the course: 100 steps
DIGITS = 4  # significant ones of what is kept of a filter


class Finished(NamedTuple):
    """A run that has ended."""

    name: str
    seed: int
    folder: Path


def collect(
    planned: Iterable[Any], out: Path, kept: Path, pruned: Iterable[Any] = ()
) -> list[Path]:
    """Write the files into the folder `kept`, from the runs in `out`; returns their paths.

    Parameters
    ----------
    planned : iterable
        The experiments (name, seeds) that are looked for.
    out : Path
        Runs have the folders ``out/NAME/seed-N``.
    kept : Path
        May hold files of earlier runs.
    pruned : iterable
        The same of the networks pruned after training (`cnn.reproduce.after`).
    """
    planned, pruned = list(planned), list(pruned)
    runs = list(_finished(planned, out))
    wanted = _keys_of(planned)
    paths = {name: kept / name for name in (RUNS, EXPLICIT, FILTERS, COURSE)}
    _write_table([_row(run) for run in runs], paths[RUNS], wanted)
    rows = [_row_of_pruned(run) for run in _done(pruned, out)]
    _write_table(rows, paths[EXPLICIT], _keys_of(pruned))
    courses = [run for run in runs if run.seed == 0 and _is_course(run.name)]
    for path, new in ((paths[FILTERS], _filters(runs)), (paths[COURSE], _course(courses))):
        _write(_joined(new, path, wanted), path)
    return [path for path in paths.values() if path.is_file()]


def _keys_of(listed: list[Any]) -> list[tuple[str, int]]:
    return [(one.name, seed) for one in listed for seed in one.seeds]


def _done(listed: Iterable[Any], out: Path) -> Iterator[Finished]:
    for one in listed:
        for seed in one.seeds:
            folder = Path(out) / one.name / f"seed-{seed}"
            if (folder / "summary.json").is_file():
                yield Finished(one.name, seed, folder)


def _finished(planned: list[Any], out: Path) -> Iterator[Finished]:
    """The same of training runs, which must be those that are listed."""
    configs = {one.name: one.config for one in planned}
    for run in _done(planned, out):
        config = replace(configs[run.name], seed=run.seed)
        child.state(config, run.folder)  # raises if it is a run of other settings
        yield run


# A row per run -----------------------------------------------------------------------------------


def _write_table(new: list[dict[str, Any]], path: Path, wanted: list[tuple[str, int]]) -> None:
    """These rows, and those in the file at `path` of others that are wanted."""
    import pandas as pd

    rows = {(row["name"], row["seed"]): row for row in new}
    if path.is_file():
        old = pd.read_csv(path, dtype={name: str for name in LAYERS})
        for row in old.to_dict("records"):
            rows.setdefault((row["name"], row["seed"]), row)
    if rows:
        table = pd.DataFrame([rows[key] for key in wanted if key in rows])
        with store.temporary(path) as name:
            table.to_csv(name, index=False, float_format="%.4g", lineterminator="\n")


def _row(run: Finished) -> dict[str, Any]:
    found = child.summary(run.folder)
    return {
        "name": run.name, "seed": run.seed, "steps": found["steps"],
        **{name: found[name] for name in MEASURED},
        **{name: _shares(found, measure) for name, measure in LAYERS.items()},
        **_made(found), "torch": found["place"]["torch"], "machine": found["place"]["kind"],
    }  # fmt: skip


def _row_of_pruned(run: Finished) -> dict[str, Any]:
    found = child.summary(run.folder)
    return {
        "name": run.name, "seed": run.seed, "steps": found["steps"],
        **{name: found[name] for name in MEASURED_AFTER}, **_made(found),
    }  # fmt: skip


def _shares(found: dict[str, Any], measure: str) -> str:
    return " ".join(f"{row[measure]:.4g}" for row in found["layers"])


def _made(found: dict[str, Any]) -> dict[str, Any]:
    return {"seconds": found["seconds"], "revision": found["provenance"]["git_revision"]}


# A row per filter --------------------------------------------------------------------------------


def _filters(runs: list[Finished]) -> "xr.Dataset | None":
    """Every filter of every run; a network with fewer filters than another ends in NaN."""
    if not runs:
        return None
    found = [features.of(run.folder) for run in runs]
    width = max(len(one["gamma"]) for one in found)

    def padded(name: str) -> np.ndarray:
        values = np.full((len(runs), width), 0 if name == "layer" else np.nan)
        for row, one in zip(values, found, strict=True):
            row[: len(one[name])] = one[name]
        return values

    variables: dict[str, Any] = {
        name: (("run", "filter"), padded(name).astype(np.float32)) for name in features.NAMES[1:]
    }
    layer = (("run", "filter"), padded("layer").astype(np.int16))
    return _dataset(runs, variables, {"layer": layer})


def _course(runs: list[Finished]) -> "xr.Dataset | None":
    """gamma and beta of C6 over training; all runs have as many steps and filters."""
    if not runs:
        return None
    records = [store.load(run.folder / "run.nc") for run in runs]
    sixth = [
        ds.isel(filter=ds["layer"].values == "C6", step=slice(None, None, EVERY)) for ds in records
    ]
    variables: dict[str, Any] = {
        name: (("run", "step", "filter"), np.stack([ds[name].values for ds in sixth]))
        for name in ("gamma", "beta")
    }
    return _dataset(runs, variables, {"step": sixth[0]["step"].values})


def _dataset(runs: list[Finished], variables: dict, coords: dict) -> "xr.Dataset":
    import xarray as xr

    named = {
        "name": ("run", [run.name for run in runs]),
        "seed": ("run", [run.seed for run in runs]),
    }
    last = next(iter(variables.values()))[1].shape[-1]
    return xr.Dataset(variables, {**named, **coords, "filter": np.arange(last)})


def _joined(
    new: "xr.Dataset | None", path: Path, wanted: list[tuple[str, int]]
) -> "xr.Dataset | None":
    """The new runs, and those in the file at `path` of others that are wanted."""
    import xarray as xr

    if not path.is_file():
        return new
    with xr.open_dataset(path) as file:
        old = file.load().drop_encoding()
    if new is not None:
        have = set(_keys(new))
        old = old.isel(run=[i for i, key in enumerate(_keys(old)) if key not in have])
        old = xr.concat([new, old], "run", join="outer", fill_value={"layer": np.int16(0)})
    order = {key: i for i, key in enumerate(wanted)}
    rows = [(order[key], i) for i, key in enumerate(_keys(old)) if key in order]
    return old.isel(run=[i for _, i in sorted(rows)])


def _keys(ds: "xr.Dataset") -> list[tuple[str, int]]:
    return [
        (str(name), int(seed))
        for name, seed in zip(ds["name"].values, ds["seed"].values, strict=True)
    ]


def _write(ds: "xr.Dataset | None", path: Path) -> None:
    if ds is None:
        return
    ds.attrs = {"title": "filters of the runs in reproduce-runs.csv", **store.provenance()}
    packed = {
        "zlib": True, "complevel": 9,
        "significant_digits": DIGITS, "quantize_mode": "GranularBitRound",
    }  # fmt: skip
    plain = {"layer": {"zlib": True, "complevel": 9}} if "layer" in ds else {}
    encoding = {**{name: packed for name in ds.data_vars}, **plain}
    with store.temporary(path) as name:
        ds.to_netcdf(name, engine="netcdf4", encoding=encoding)


def _is_course(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in COURSES)
