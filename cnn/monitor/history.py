"""What the monitor has seen so far, on the host; as a dataset it is a file of its own."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnn.monitor.norms import Norm, Scale
from cnn.record import PACKED

if TYPE_CHECKING:
    import xarray as xr

    from cnn.monitor.stream import Row, Stream

WINDOW = ("loss", "steps_made", "steps_skipped")
SCALE_ATTRIBUTES = {
    "scale_abs_mean": ("mean of |scale| of a norm without filters", "1"),
    "scale_abs_min": ("smallest |scale| of a norm without filters", "1"),
    "scale_below": ("scales of a norm without filters below the threshold", "1"),
}


class About(NamedTuple):
    """What does not change while a network trains.

    Attributes
    ----------
    title : str
    steps : int or None
        Length of the run, if it is known.
    threshold : float
        A filter with |gamma| below it is gone.
    norms : tuple of Norm
    scales : tuple of Scale
    why : str or None
        Why the weights around filters are not known.
    """

    title: str
    steps: int | None
    threshold: float
    norms: tuple[Norm, ...]
    scales: tuple[Scale, ...]
    why: str | None

    @property
    def layer(self) -> np.ndarray:
        """Number of the layer of every filter, (filters,)."""
        return np.repeat(np.arange(len(self.norms)), [norm.filters for norm in self.norms])

    @property
    def channel(self) -> np.ndarray:
        """Number of every filter within its layer."""
        return np.concatenate([np.arange(0), *(np.arange(norm.filters) for norm in self.norms)])

    def of_filters(self, field: str) -> np.ndarray:
        """A field of `Norm`, for every filter."""
        values = np.array([getattr(norm, field) for norm in self.norms], dtype=bool)
        return values[self.layer]

    def json(self) -> str:
        """As text."""
        entry = self._asdict()
        entry["norms"] = [norm._asdict() for norm in self.norms]
        entry["scales"] = [scale._asdict() for scale in self.scales]
        return json.dumps(entry)


def about(text: str) -> About:
    """What `About.json` wrote."""
    entry = json.loads(text)
    entry["norms"] = tuple(Norm(**one) for one in entry["norms"])
    entry["scales"] = tuple(Scale(**one) for one in entry["scales"])
    return About(**entry)


class Rows:
    """Arrays of one shape, one after the other, in memory that grows by doubling."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._values, self._used = np.empty((16, *shape), dtype), 0

    def append(self, row: Any) -> None:
        """One more."""
        if self._used == len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._values[self._used] = row
        self._used += 1

    @property
    def all(self) -> np.ndarray:
        """All rows: a view."""
        return self._values[: self._used]

    @all.setter
    def all(self, rows: np.ndarray) -> None:
        """These, and no others."""
        self._values, self._used = np.array(rows, self._values.dtype), len(rows)
        if not self._used:
            self._values = np.empty((16, *rows.shape[1:]), self._values.dtype)


class History:
    """All records so far; entry 0 is the state before the first step.

    Attributes
    ----------
    about : About
    last : ndarray of int (filters,)
        Step with the last gradient of gamma that was not zero.
    bn_eps, weights_out : ndarray (filters,)
        BatchNorm's eps; number of weights that read the filter, NaN where that is not known.
    """

    def __init__(
        self, about: About, dtype: Any, *, bn_eps: np.ndarray, weights_out: np.ndarray
    ) -> None:
        n, m = sum(norm.filters for norm in about.norms), len(about.scales)
        self.about, self.last = about, np.zeros(n, np.int64)
        self.bn_eps, self.weights_out = bn_eps, weights_out
        self._tables = {
            "step": Rows((), np.int64), "record": Rows((len(PACKED), n), dtype),
            "window": Rows((3,), dtype), "scale": Rows((3, m), np.float64),
            "lr": Rows((), np.float64),
        }  # fmt: skip

    def append(self, step: int, row: "Row") -> None:
        """The record after `step`."""
        entries = {"step": step, "record": row.record, "window": row.window, "lr": row.lr}
        for name, value in entries.items():
            self._tables[name].append(value)
        self._tables["scale"].append(self._scales(row.scales))
        self.last = row.last

    def _scales(self, values: tuple[np.ndarray, ...]) -> np.ndarray:
        sizes = [np.abs(one) for one in values]
        found = [(one.mean(), one.min(), (one < self.about.threshold).sum()) for one in sizes]
        return np.array(found, float).reshape(-1, 3).T

    def __getitem__(self, name: str) -> np.ndarray:
        """A view over records: step, lr (K,), a variable of `cnn.record` (K, filters), scale_*.

        What is of windows has an entry 0 that says nothing.
        """
        if name in ("step", "lr"):
            return self._tables[name].all
        if name in WINDOW:
            return self._tables["window"].all[:, WINDOW.index(name)]
        if name in SCALE_ATTRIBUTES:
            return self._tables["scale"].all[:, list(SCALE_ATTRIBUTES).index(name)]
        return self._tables["record"].all[:, PACKED.index(name)]

    @property
    def step(self) -> int:
        """Of the last record."""
        return int(self["step"][-1])

    @property
    def silent(self) -> np.ndarray:
        """Steps since gamma last had a gradient that was not exactly zero, (filters,)."""
        return self.step - self.last

    def state_dict(self) -> dict[str, Any]:
        """All of it, as tensors that share no memory with it."""
        import torch

        kept = {name: torch.from_numpy(rows.all.copy()) for name, rows in self._tables.items()}
        return {**kept, "last": torch.from_numpy(self.last.copy())}

    def load_state_dict(self, entry: Mapping[str, Any]) -> None:
        """Hold what `state_dict` gave, and nothing else.

        Raises
        ------
        ValueError
            If it is that of another network.
        """
        for name, rows in self._tables.items():
            if entry[name].shape[1:] != rows.all.shape[1:]:
                raise ValueError("the state is that of a monitor of another network.")
        self.fill(**{name: entry[name].numpy() for name in (*self._tables, "last")})

    def fill(self, *, last: np.ndarray, **tables: np.ndarray) -> None:
        """Hold these arrays, over records, and nothing else."""
        for name, rows in self._tables.items():
            rows.all = tables[name]
        self.last = last.astype(np.int64)

    def dataset(self, stream: "Stream") -> "xr.Dataset":
        """As `cnn.record` labels it (docs/recording.md), with learning rate and scales besides."""
        from cnn.labels import dataset

        ds = dataset(_AsRecorder(self, stream))  # pyright: ignore[reportArgumentType]
        more: dict[str, Any] = {
            "lr": ("window", self["lr"][1:], {"long_name": "learning rate of gamma", "units": "1"})
        }
        for name, (long_name, units) in SCALE_ATTRIBUTES.items():
            if self.about.scales:
                labels = {"long_name": long_name, "units": units}
                more[name] = ("step", "scale"), self[name], labels
        paths = [scale.path for scale in self.about.scales]
        coords = {"scale": ("scale", paths, {"long_name": "norm"})} if paths else {}
        return ds.assign(more).assign_coords(coords)


class _AsRecorder:
    """The history in the words that `cnn.labels.dataset` reads of a Recorder."""

    def __init__(self, history: History, stream: "Stream") -> None:
        self.layers, self.filters = stream.layers, stream.filters
        self.every, self.ema = stream.every, stream.ema
        self._history = history

    def state_dict(self) -> dict[str, Any]:
        import torch

        kept = self._history.state_dict()
        steps = kept["step"].tolist()
        return {"records": kept["record"], "windows": kept["window"][1:], "recorded": steps,
                "last": torch.as_tensor(self._history.last)}  # fmt: skip
