"""A finished run of `cnn.train` as the monitor would have seen it."""

import json
from typing import TYPE_CHECKING

import numpy as np

from cnn.config import Config, from_dict
from cnn.monitor.forecasts import forecast
from cnn.monitor.history import About
from cnn.monitor.norms import Norm
from cnn.monitor.setting import Setting
from cnn.monitor.view import View
from cnn.optim import hyperparameters
from regdyn.regularizers import StepDecay, schedule_factors

if TYPE_CHECKING:
    import xarray as xr


def view(ds: "xr.Dataset", title: str) -> View:
    """Of the dataset in its run.nc.

    Raises
    ------
    ValueError
        If it is not the record of a run of cnn.train.
    """
    from cnn.monitor.recorded import history_of

    try:
        config = from_dict(json.loads(ds.attrs["config"]))
        if "weights_out" not in ds:  # a record of an early version
            ds = ds.assign(weights_out=("filter", np.full(ds.sizes["filter"], np.nan)))
        history = history_of(ds, _about(ds, config, title))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{title!r} holds no record of a training: {error}") from None
    setting, why, made = _setting(config), None, None
    drops = () if config.drop is None else (config.drop,)
    scale = schedule_factors(StepDecay(drops), config.steps)
    try:
        made = forecast(history, setting, scale, config.batch)
    except ValueError as error:
        why = str(error)
    return View(history, setting, made, why, seconds=0.0)


def _about(ds: "xr.Dataset", config: Config, title: str) -> About:
    relu = config.model.negative_slope == 0
    labels = [str(name) for name in ds["layer"].values]
    norms = [
        Norm(name, name, "BatchNorm2d", labels.count(name), relu, traced=True, frozen=False)
        for name in dict.fromkeys(labels)
    ]
    return About(title, config.steps, 1e-3, tuple(norms), (), None)


def _setting(config: Config) -> Setting:
    optim, rule = config.optim, hyperparameters(config.optim)
    lam = 0.0 if optim.reg == "none" else optim.lam
    spared = optim.regularize != "all"
    reasons = {
        "gamma is penalised by --gamma-l1 besides.": optim.gamma_l1,
        "gamma has a learning rate of its own.": optim.gamma_lr != 1,
        "gamma is spared the regulariser.": spared,
    }
    why = next((words for words, applies in reasons.items() if applies), None)
    lr = rule.lr * optim.gamma_lr
    decays = bool(lam) and not spared
    return Setting(optim.opt, rule._replace(lr=lr), optim.reg, lam, lr, decays, why)
