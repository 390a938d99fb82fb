"""A recorded folder, read again: what `python -m cnn.monitor FOLDER` shows."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.monitor import history as histories
from cnn.monitor.forecasts import Forecast
from cnn.monitor.history import About, History
from cnn.monitor.setting import from_json
from cnn.monitor.view import View
from cnn.record import PACKED, STATE
from regdyn import store
from regdyn.forecast import ATTRIBUTES

if TYPE_CHECKING:
    import xarray as xr

FATES = {"p_collapse": "p", "t_lo": "t_lo", "t_median": "t_median", "t_hi": "t_hi"}


def labelled(ds: "xr.Dataset", view: View) -> "xr.Dataset":
    """The record `ds` with what is needed to show it again."""
    attrs: dict[str, Any] = {
        "config": json.dumps({"monitor": 1}),  # for regdyn.load
        "about": view.about.json(), "setting": view.setting.json(), "why": view.why or "",
        "seconds": view.seconds, "warnings": json.dumps(view.warnings),
    }  # fmt: skip
    one, more = view.forecast, {}
    if one is not None:
        for name, field in FATES.items():
            long_name, units = ATTRIBUTES[name]
            labels = {"long_name": long_name, "units": units}
            more[name] = "filter", getattr(one, field), labels
        words = dict(enumerate(one.reasons))
        more["reason"] = "filter", one.reason, {"long_name": "why", "reasons": json.dumps(words)}
        numbers = {"long_name": "percent gone at the end: lower end, expected, upper end"}
        more["share"] = ("interval", "norm"), one.share, numbers
        more["total"] = ("interval",), one.total, numbers
        attrs["forecast"] = json.dumps({"at": one.at, "until": one.until, "note": one.note})
    return ds.assign(more).assign_attrs(attrs)


def read(folder: Path) -> View:
    """What was recorded in `folder`, by the monitor (record.nc) or by `cnn.train` (run.nc).

    Raises
    ------
    ValueError
        If there is no such file, or it is damaged.
    """
    folder = Path(folder)
    path = folder if folder.is_file() else folder / "record.nc"
    if not path.is_file() and (folder / "run.nc").is_file():
        path = folder / "run.nc"
    if not path.is_file():
        raise ValueError(f"{str(folder)!r} holds no record.nc and no run.nc.")
    ds = store.load(path)
    if "about" not in ds.attrs:
        from cnn.monitor.trained import view

        return view(ds, path.parent.resolve().name)
    about = histories.about(ds.attrs["about"])
    history = history_of(ds, about)
    return View(
        history, from_json(ds.attrs["setting"]), _forecast(ds), ds.attrs["why"] or None,
        seconds=float(ds.attrs["seconds"]), warnings=tuple(json.loads(ds.attrs["warnings"])),
    )  # fmt: skip


def history_of(ds: "xr.Dataset", about: About) -> History:
    """The history in a dataset that `cnn.labels` or `History.dataset` made."""
    dtype = ds["gamma"].dtype
    eps, counts = (ds[name].values.astype(float) for name in ("bn_eps", "weights_out"))
    history = History(about, dtype, bn_eps=eps, weights_out=counts)
    steps, n = ds["step"].values, ds.sizes["filter"]
    records = np.zeros((len(steps), len(PACKED), n), dtype)
    for i, name in enumerate(PACKED):
        records[0 if name in STATE else 1 :, i] = ds[name].values
    windows = np.full((len(steps), 3), np.nan)
    windows[1:] = np.stack([ds[k].values for k in ("loss", "steps_made", "steps_skipped")], 1)
    rates = np.full(len(steps), np.nan)
    if "lr" in ds:
        rates[1:] = ds["lr"].values
    scales = np.zeros((len(steps), 3, len(about.scales)))
    if about.scales:
        scales = np.stack([ds[name].values for name in histories.SCALE_ATTRIBUTES], 1)
    absorbed = ds["absorbed"].values
    last = np.where(absorbed < 0, steps[-1], absorbed - 1)
    history.fill(step=steps, record=records, window=windows, lr=rates, scale=scales, last=last)
    return history


def _forecast(ds: "xr.Dataset") -> Forecast | None:
    if "forecast" not in ds.attrs:
        return None
    about = json.loads(ds.attrs["forecast"])
    words = json.loads(ds["reason"].attrs["reasons"])
    fates = {field: ds[name].values for name, field in FATES.items()}
    return Forecast(
        at=about["at"], until=about["until"], note=about["note"], **fates,
        reason=ds["reason"].values, reasons=tuple(words[str(i)] for i in range(len(words))),
        share=ds["share"].values, total=ds["total"].values,
    )  # fmt: skip
