"""Runs of `cnn.train` as the forecast reads them."""

import json
from pathlib import Path
from typing import Any

from cnn.config import Config, from_dict
from cnn.optim import hyperparameters
from regdyn import store
from regdyn.checks import shown
from regdyn.filters.record import Run, read
from regdyn.regularizers import StepDecay, schedule_factors


def load(folder: Path) -> tuple[Run, Config]:
    """The run in `folder` and its settings.

    Raises
    ------
    ValueError
        If there is no finished run, or its record lacks what is needed.
    """
    path = Path(folder) / "run.nc"
    if not path.is_file():
        raise ValueError(
            f"{shown(str(folder))} holds no run.nc: give the folder of a finished run."
        )
    ds = store.load(path)
    config = from_dict(json.loads(ds.attrs["config"]))
    return of(_with_counts(ds, config), config), config


def for_forecast(folder: Path) -> tuple[Run, Config]:
    """The same, for a forecast, whose laws know one learning rate and one decay for all weights.

    Raises
    ------
    ValueError
        As `load`, or if gamma had a learning rate of its own, or was spared the regulariser.
    """
    run, config = load(folder)
    optim = config.optim
    if optim.gamma_lr != 1:
        raise ValueError(f"gamma_lr must be 1 for a forecast, not {optim.gamma_lr:g}.")
    if optim.regularize != "all":
        raise ValueError(f"regularize must be 'all' for a forecast, not {optim.regularize!r}.")
    return run, config


def of(ds: Any, config: Config) -> Run:
    """The record `ds` of a run with these settings.

    Raises
    ------
    ValueError
        If gamma was penalised besides (`gamma_l1`), which no law of the forecast knows.
    """
    optim = config.optim
    if optim.gamma_l1:
        raise ValueError(f"gamma_l1 must be 0 for a forecast, not {optim.gamma_l1:g}.")
    drops = () if config.drop is None else (config.drop,)
    scale = schedule_factors(StepDecay(drops), config.steps)
    lam = 0.0 if optim.reg == "none" else optim.lam
    return Run(read(ds), hyperparameters(optim), optim.reg, lam, scale, config.batch)


def _with_counts(ds: Any, config: Config) -> Any:
    """An early record does not say how many weights read a filter: the network does."""
    if "weights_out" in ds:
        return ds
    from cnn import data, labels, layers, models

    images = data.load(config.data)
    model = models.build(
        config.model, channels=images.channels, classes=images.classes, size=images.size
    )
    found = layers.layers(model, chain=False)
    counts = [labels.weights_out(layer) for layer in found for _ in range(layer.filters)]
    return ds.assign(weights_out=("filter", counts))
