"""A view as plain numbers and words: what the page and ``--json`` show."""

import math
import time
from typing import Any

import numpy as np

from cnn.monitor.packing import pack
from cnn.monitor.verdicts import NAMES, VERDICTS
from cnn.monitor.view import View
from regdyn import rules

FORMAT = 1
LONGEST = 200  # steps of a trajectory
HOW = "cnn.prune.prune(model, example_input, threshold={:g}) removes them and checks the result."


def document(view: View) -> dict[str, Any]:
    """`view` as a dict that JSON can hold.

    Floats that are not known are None; long arrays of floats are packed (`cnn.monitor.packing`),
    with NaN for what is not known. Trajectories are thinned to 200 records, the first and the last
    among them.
    """
    history, about = view.history, view.about
    kept = thinned(len(history["step"]))
    gone = view.prunable
    return {
        "format": FORMAT,
        "title": about.title,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "step": view.step,
        "steps": about.steps,
        "seconds": round(view.seconds, 3),
        "setting": _setting(view),
        "provenance": _provenance(),
        "loss": _loss(view),
        "threshold": about.threshold,
        "step_axis": history["step"][kept].tolist(),
        "layers": _layers(view),
        "filters": _filters(view, kept),
        "verdicts": [{"name": name, "meaning": VERDICTS[name]} for name in NAMES],
        "reasons": ["no forecast"] if view.forecast is None else list(view.forecast.reasons),
        **_forecast(view),
        "prunable": {
            "filters": int(gone.sum()), "of": len(gone),
            "percent": 100 * float(gone.mean()) if len(gone) else 0.0,
            "how": HOW.format(about.threshold),
        },
        "scales": _scales(view, kept),
        "warnings": list(view.warnings),
    }  # fmt: skip


def thinned(records: int) -> np.ndarray:
    """Numbers of at most 200 records, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, records - 1, min(records, LONGEST)).round().astype(np.int64))


def _setting(view: View) -> dict[str, Any]:
    setting = view.setting
    return {
        "optimizer": setting.optimizer,
        "rule": None if setting.rule is None else rules.name_of(setting.rule),
        "reg": setting.reg,
        "lam": setting.lam,
        "lr": setting.lr,
        "note": setting.note,
    }


def _provenance() -> dict[str, str]:
    import torch

    from regdyn.store import provenance

    return {"torch_version": str(torch.__version__), **provenance()}


def _loss(view: View) -> dict[str, Any]:
    """Of at most 200 windows."""
    step, loss = view.history["step"][1:], view.history["loss"][1:]
    kept = thinned(len(step)) if len(step) else slice(0)
    return {"step": step[kept].tolist(), "value": pack(loss[kept])}


def _layers(view: View) -> list[dict[str, Any]]:
    found = []
    for i, norm in enumerate(view.about.norms):
        numbers = view.counts[i].tolist()
        lo, share, hi = (None, None, None) if view.forecast is None else view.forecast.share[:, i]
        found.append({
            "name": norm.name, "path": norm.path, "kind": norm.kind, "filters": norm.filters,
            "counts": dict(zip(NAMES, numbers, strict=True)),
            "share_lo": _known(lo), "share": _known(share), "share_hi": _known(hi),
        })  # fmt: skip
    return found


def _filters(view: View, kept: np.ndarray) -> dict[str, Any]:
    history, forecast = view.history, view.forecast
    fates: dict[str, Any] = dict.fromkeys(("p_collapse", "t_lo", "t_median", "t_hi"))
    reason = np.zeros(len(view.gamma), np.int64)
    if forecast is not None:
        fates = {"p_collapse": pack(forecast.p), "t_lo": pack(forecast.t_lo),
                 "t_median": pack(forecast.t_median), "t_hi": pack(forecast.t_hi)}  # fmt: skip
        reason = forecast.reason
    return {
        "layer": view.about.layer.tolist(),
        "channel": view.about.channel.tolist(),
        "verdict": view.verdict.tolist(),
        "gamma": pack(history["gamma"][kept].T),
        "beta": pack(history["beta"][kept].T),
        **fates,
        "reason": reason.tolist(),
        "prunable": view.prunable.tolist(),
    }


def _forecast(view: View) -> dict[str, Any]:
    one = view.forecast
    if one is None:
        return {"forecast": None, "forecast_why_not": view.why}
    lo, total, hi = one.total.tolist()
    made = {"at": one.at, "until": one.until, "total_lo": lo, "total": total, "total_hi": hi,
            "note": one.note}  # fmt: skip
    return {"forecast": made, "forecast_why_not": None}


def _scales(view: View, kept: np.ndarray) -> list[dict[str, Any]]:
    history, found = view.history, []
    for i, scale in enumerate(view.about.scales):
        found.append({
            **scale._asdict(),
            "abs_mean": pack(history["scale_abs_mean"][kept, i]),
            "abs_min": pack(history["scale_abs_min"][kept, i]),
            "below": int(history["scale_below"][-1, i]),
        })  # fmt: skip
    return found


def _known(x: Any) -> float | None:
    return None if x is None or not math.isfinite(x) else float(x)
