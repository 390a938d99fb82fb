"""Every filter's forecast by every method, in one Dataset: what the pictures are drawn from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from cnn.validate.methods import FORECAST, Forecast
from regdyn import store

SAID = {
    "score": ("filter", "order within a layer: the larger, the likelier the filter dies"),
    "p": ("filter", "chance that the filter is gone at the end"),
    "t": ("filter", "step of its collapse; inf: never"),
    "layer_share": ("layer", "filters of the layer that are gone at the end, percent"),
    "layer_lo": ("layer", "lower end of the 80 % interval"),
    "layer_hi": ("layer", "upper end of the 80 % interval"),
    "total": ("run", "filters that are gone at the end, percent"),
    "lo": ("run", "lower end of the 80 % interval"),
    "hi": ("run", "upper end of the 80 % interval"),
}
"""Of a method: name in `Prediction`, dimension, meaning."""
KNOWN = {
    "dead": ("filter", "whether the filter is gone at the end"),
    "t_true": ("filter", "step of its collapse"),
    "filter_layer": ("filter", "number of its layer in the dimension layer"),
    "layer_true": ("layer", "filters of the layer that are gone at the end, percent"),
    "layer_name": ("layer", "C1, C2, ..."),
    "layer_run": ("layer", "number of its run in the dimension run"),
    "total_true": ("run", "filters that are gone at the end, percent"),
    "setting": ("run", "name in splits.csv"),
    "opt": ("run", "rule"),
    "reg": ("run", "where lambda enters"),
}


def dataset(found: Sequence[Forecast]) -> xr.Dataset:
    """What was said of every filter, layer and run, and what came of them.

    Parameters
    ----------
    found : sequence of Forecast
        Those that were refused are left out.

    Returns
    -------
    xarray.Dataset
        Dimensions by (the method, see `label`), at, and run, filter and layer: the filters and
        layers of all runs one after the other. NaN where a method says nothing.

    Raises
    ------
    ValueError
        If there is no forecast.
    """
    said = [one for one in found if not one.refused]
    if not said:
        raise ValueError("there is no forecast to keep.")
    by_run: dict[str, list[Forecast]] = {}
    for one in said:
        by_run.setdefault(one.of.name, []).append(one)
    methods, times = dict.fromkeys(map(label, said)), sorted({one.at for one in said})
    blocks = [_block(some, list(methods), times) for some in by_run.values()]
    for name, of in (("filter_layer", "layer_true"), ("layer_run", "total_true")):
        sizes = [len(block[of]) for block in blocks]
        for block, before in zip(blocks, np.cumsum([0, *sizes[:-1]]), strict=True):
            block[name] = block[name] + before
    variables = {}
    for table, dims in ((SAID, ("by", "at")), (KNOWN, ())):
        for name, (dim, text) in table.items():
            joined = np.concatenate([block[name] for block in blocks], axis=-1)
            variables[name] = ((*dims, dim), joined, {"long_name": text})
    coords = {"by": list(methods), "at": times, "run": list(by_run)}
    about = {"title": "forecasts of filter death", "config": "cnn.validate"}
    return xr.Dataset(variables, coords, about | store.provenance())


def label(one: Forecast) -> str:
    """The method, and "own record" if the forecast had no pilot."""
    alone = one.method == FORECAST and one.pilot is None
    return f"{FORECAST}, own record" if alone else one.method


def _block(some: Sequence[Forecast], methods: list[str], times: list[float]) -> dict[str, Any]:
    """The arrays of one run."""
    first = some[0]
    true, config = first.case.true, first.of.setting.config
    names = np.array(first.of.run.record.names)
    block: dict[str, Any] = {
        "dead": true.dead, "t_true": true.t, "filter_layer": true.layer,
        "layer_true": true.layer_share, "layer_name": names,
        "layer_run": np.zeros(len(names), int), "total_true": np.array([true.total]),
        "setting": np.array([first.of.setting.name]), "opt": np.array([config.optim.opt]),
        "reg": np.array([config.optim.reg]),
    }  # fmt: skip
    sizes = {"filter": len(true.dead), "layer": len(names), "run": 1}
    for name, (dim, _) in SAID.items():
        block[name] = np.full((len(methods), len(times), sizes[dim]), np.nan)
    for one in some:
        where = methods.index(label(one)), times.index(one.at)
        for name in SAID:
            value = getattr(one.case.said, name)
            if value is not None:
                block[name][where] = value
    return block
