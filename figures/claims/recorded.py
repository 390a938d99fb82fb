"""Runs that are kept with the code, by experiment, and what is measured on them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Measure", "Recorded", "Unknown", "column", "layers"]

RUNS, FILTERS, EXPLICIT = "reproduce-runs.csv", "reproduce-filters.nc", "reproduce-explicit.csv"
DATA = Path(__file__).parents[1] / "data"
DEAD = 1e-3
"""The paper's threshold on |gamma|."""


class Unknown(LookupError):
    """There is no run of an experiment."""


class Recorded:
    """The runs in a folder that `python -m cnn.reproduce` has written.

    Parameters
    ----------
    folder : Path, optional
        By default the data that are kept with the code.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def _path(self, name: str) -> Path:
        return (self._folder or DATA) / name

    @cached_property
    def rows(self) -> dict[str, list[dict[str, str]]]:
        """Rows of runs.csv by experiment, in the order of the seeds; pruned ones as well."""
        found: dict[str, list[dict[str, str]]] = {}
        for name in (RUNS, EXPLICIT):
            path = self._path(name)
            if path.is_file():
                with path.open(encoding="utf-8") as file:
                    for row in csv.DictReader(file):
                        found.setdefault(row["name"], []).append(row)
        return found

    @cached_property
    def filters(self) -> xr.Dataset:
        """Every filter at the end of every run."""
        import xarray as xr

        path = self._path(FILTERS)
        if not path.is_file():
            raise Unknown(f"no {FILTERS}")
        with xr.open_dataset(path) as ds:
            return ds.load()

    def of(self, name: str) -> list[dict[str, str]]:
        """The runs of an experiment.

        Raises
        ------
        Unknown
            If there is none.
        """
        if name not in self.rows:
            raise Unknown(f"no run of {name}")
        return self.rows[name]

    def filters_of(self, name: str, layer: int) -> list[dict[str, np.ndarray]]:
        """gamma, beta and universality of the filters of one layer, for each seed."""
        ds = self.filters.isel(run=np.flatnonzero(self.filters["name"].values == name))
        if ds.sizes["run"] == 0:
            raise Unknown(f"no run of {name}")
        names = ("gamma", "beta", "universality")
        here = ds["layer"].values == layer
        return [
            {what: ds[what].values[i][here[i]] for what in names} for i in range(ds.sizes["run"])
        ]


class Measure(NamedTuple):
    """A number per run of an experiment."""

    label: str
    of: Callable[[Recorded, str], np.ndarray]
    floor: float = 0.4
    """The least standard deviation that is believed: about one filter of 232, in percent."""


def column(name: str, label: str, floor: float = 0.4) -> Measure:
    """A column of runs.csv."""

    def of(runs: Recorded, experiment: str) -> np.ndarray:
        return np.array([float(row[name]) for row in runs.of(experiment)])

    return Measure(label, of, floor)


GAMMA = column("sparsity_gamma", "filters with |γ| < 1e-3, %")
ACTIVATION = column("sparsity_act", "filters never active, %")
ABSORBED = column("sparsity_absorbed", "filters without gradient, %")
ERROR = column("test_error", "test error, %", 0.3)
PRUNABLE = column("prunable", "parameters of convolutions that can go, %")
GAMMA_LOOSE = column("sparsity_gamma_1e-2", "filters with |γ| < 1e-2, %")
ACTIVATION_LOOSE = column("sparsity_act_1e-4", "filters with activations below 1e-4, %")


def difference(a: Measure, b: Measure, label: str) -> Measure:
    """a - b of the same run."""
    return Measure(label, lambda runs, name: a.of(runs, name) - b.of(runs, name))


ZEROED = difference(
    column("test_error_zeroed", "", 0.0), ERROR, "test error after zeroing less before, points"
)
GAP = difference(
    ERROR, column("train_error", ""), "test error less training error, points"
)  # fmt: skip


def layers(*which: int, minus: tuple[int, ...] = (), label: str = "") -> Measure:
    """Mean of the inactive shares of some layers (C1 is 1), less that of others."""

    def of(runs: Recorded, experiment: str) -> np.ndarray:
        found = []
        for row in runs.of(experiment):
            shares = np.array([float(x) for x in row["layers"].split()])
            less = shares[[i - 1 for i in minus]].mean() if minus else 0.0
            found.append(shares[[i - 1 for i in which]].mean() - less)
        return np.array(found)

    named = " and ".join(f"C{i}" for i in which)
    less = " less " + " and ".join(f"C{i}" for i in minus) if minus else ""
    return Measure(label or f"inactive in {named}{less}, %", of, 1.0)


def universality(*which: int) -> Measure:
    """Mean universality of the filters of some layers that are not dead, in percent of images."""

    def of(runs: Recorded, experiment: str) -> np.ndarray:
        per_layer = [runs.filters_of(experiment, i) for i in which]
        seeds = zip(*per_layer, strict=True)
        return np.array([np.mean(np.concatenate([_live(one) for one in seed])) for seed in seeds])

    named = ", ".join(f"C{i}" for i in which)
    return Measure(f"universality of the live filters of {named}, % of images", of)


def _live(one: dict[str, np.ndarray]) -> np.ndarray:
    return one["universality"][np.abs(one["gamma"]) >= DEAD]


def share(layer: int, what: str, sign: int) -> Measure:
    """Percent of the live filters of a layer whose gamma or beta has this sign."""

    def of(runs: Recorded, experiment: str) -> np.ndarray:
        found = []
        for one in runs.filters_of(experiment, layer):
            live = np.abs(one["gamma"]) >= DEAD
            found.append(100 * np.mean(np.sign(one[what][live]) == sign))
        return np.array(found)

    word = {1: "positive", -1: "negative"}[sign]
    symbol = {"gamma": "γ", "beta": "β"}[what]
    return Measure(f"live filters of C{layer} with {word} {symbol}, %", of, 1.0)


def between(layer: int, low: float, high: float) -> Measure:
    """Percent of the filters of a layer with low <= |gamma| < high."""

    def of(runs: Recorded, experiment: str) -> np.ndarray:
        found = runs.filters_of(experiment, layer)
        sizes = [np.abs(one["gamma"]) for one in found]
        return np.array([100 * np.mean((size >= low) & (size < high)) for size in sizes])

    return Measure(f"filters of C{layer} with {low:g} ≤ |γ| < {high:g}, %", of, 1.0)
