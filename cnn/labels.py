"""The record of a training run as a labelled dataset: names, units, and what each number is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import xarray as xr

    from cnn.layers import Layer
    from cnn.record import Recorder

LONG_NAMES = {
    "gamma": "BatchNorm's scale",
    "beta": "BatchNorm's shift",
    "norm_in": "Euclidean norm of the filter's own weights",
    "norm_out": "Euclidean norm of the weights that read the filter",
    "var": "BatchNorm's running variance, of the filter's output before BatchNorm",
    "grad_out2": "squared norm of the gradient of the weights that read the filter, last step",
    "loss": "mean loss of the window's batches",
    "steps_made": "steps of the window in which the parameters were updated",
    "steps_skipped": "steps of the window that the gradient scaler skipped",
    "absorbed": "step from which the gradient of gamma is exactly zero, -1 if it is not",
    "bn_eps": "BatchNorm's eps",
    "weights_out": "number of weights that read the filter",
    "tape": "gradient of the loss with respect to gamma",
}
STATISTICS = {
    "mean": "mean over the window of the gradient of {}",
    "std": "standard deviation over the window of the gradient of {} (divisor n)",
    "ema2": "exponential mean over all steps of the squared gradient of {}",
    "zero": "share of the window's steps with a gradient of {} that is exactly zero",
}
UNITS = {
    "grad_out2": "loss^2",
    "loss": "loss",
    "tape": "loss",
    "absorbed": "step",
    "steps_made": "step",
    "steps_skipped": "step",
    "mean": "loss",
    "std": "loss",
    "ema2": "loss^2",
}  # fmt: skip; all others are pure numbers


def attributes(name: str) -> dict[str, str]:
    """long_name and units of a variable."""
    what = name.rpartition("_")[2]
    if name.startswith("grad_") and what in STATISTICS:
        long_name = STATISTICS[what].format(name.split("_")[1])
        return {"long_name": long_name, "units": UNITS.get(what, "1")}
    return {"long_name": LONG_NAMES[name], "units": UNITS.get(name, "1")}


def weights_out(layer: Layer) -> float:
    """Number of weights that read a filter of `layer`; NaN where no single layer reads it."""
    reader: Any = layer.following
    return np.nan if reader is None else reader.weight.numel() / layer.filters


def dataset(recorder: Recorder) -> xr.Dataset:
    """What `recorder` holds, up to the last recorded step; see docs/recording.md."""
    import xarray as xr

    from cnn.record import PACKED, STATE
    from regdyn.store import provenance

    entry = recorder.state_dict()
    records, steps = entry["records"].numpy(), np.array(entry["recorded"])
    windows = entry["windows"].numpy()[: len(steps) - 1]
    found: dict[str, Any] = {}
    for i, name in enumerate(PACKED):
        if name in STATE:
            found[name] = ("step", "filter"), records[:, i]
        else:
            found[name] = ("window", "filter"), records[1:, i]
    found["loss"] = ("window",), windows[:, 0]
    found["steps_made"] = ("window",), windows[:, 1].astype(np.int64)
    found["steps_skipped"] = ("window",), windows[:, 2].astype(np.int64)
    last = entry["last"].numpy()  # step with the last gradient that is not zero
    found["absorbed"] = ("filter",), np.where(last < steps[-1], last + 1, -1)
    eps = [layer.bn.eps for layer in recorder.layers for _ in range(layer.filters)]
    found["bn_eps"] = ("filter",), np.array(eps)
    counts = [weights_out(layer) for layer in recorder.layers for _ in range(layer.filters)]
    found["weights_out"] = ("filter",), np.array(counts)
    coords: dict[str, Any] = {
        "step": ("step", steps, {"long_name": "updates made before", "units": "step"}),
        "window": ("window", steps[1:], {"long_name": "last step of the window", "units": "step"}),
        "filter": ("filter", np.arange(recorder.filters), {"long_name": "filter of all layers"}),
        "layer": (
            "filter",
            [layer.name for layer in recorder.layers for _ in range(layer.filters)],
            {"long_name": "layer of the filter"},
        ),
        "channel": (
            "filter",
            [n for layer in recorder.layers for n in range(layer.filters)],
            {"long_name": "number of the filter within its layer"},
        ),
    }
    if "tape" in entry:
        found["tape"] = ("t", "filter"), entry["tape"].numpy()[: steps[-1]]
        t = np.arange(1, steps[-1] + 1)
        coords["t"] = ("t", t, {"long_name": "step of training", "units": "step"})
    variables = {name: (dims, values, attributes(name)) for name, (dims, values) in found.items()}
    attrs = {
        "title": "record of gamma, beta and their gradients while a network trained",
        "record_every": recorder.every,
        "record_ema": recorder.ema,
        "torch_version": torch.__version__,
        **provenance(),
    }
    return xr.Dataset(variables, coords, attrs)
