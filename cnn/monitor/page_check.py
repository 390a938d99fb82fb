"""Does a document hold together? If not, one sentence says where."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn.monitor.packing import unpack
from regdyn.checks import shown

__all__ = ["VERDICTS", "checked"]

FORMAT = 1
VERDICTS = ("alive", "selective", "doomed", "collapsed", "unknown")
KEYS = (
    "title", "written", "step", "steps", "seconds", "setting", "provenance", "loss", "threshold",
    "step_axis", "layers", "filters", "verdicts", "reasons", "forecast", "forecast_why_not",
    "prunable", "scales", "warnings",
)  # fmt: skip
FIELDS = {
    "setting": "optimizer reg lam lr note",
    "filters": "layer channel verdict gamma beta p_collapse t_lo t_median t_hi reason prunable",
    "prunable": "filters of percent how",
    "loss": "step value",
    "forecast": "at until total_lo total total_hi note",
    "layers": "name path kind filters counts share_lo share share_hi",
    "verdicts": "name meaning",
    "scales": "path kind size abs_mean abs_min below",
}
OPTIONAL = ("loss", "forecast")
INDICES = {"layer": "layers", "verdict": "verdicts", "reason": "reasons"}
FORECAST = ("p_collapse", "t_lo", "t_median", "t_hi")


def checked(document: Any) -> dict[str, Any]:
    """`document`, if `page` can show it, else ValueError."""
    if not isinstance(document, dict):
        raise ValueError(
            f"the document must be a dict as cnn.monitor writes it, not {shown(document)}."
        )
    if document.get("format") != FORMAT:
        raise ValueError(
            f"the page shows documents of format {FORMAT}, not {shown(document.get('format'))}."
        )
    _lacks("the document", document, KEYS)
    for name, fields in FIELDS.items():
        entry = document[name]
        if entry is None and name in OPTIONAL:
            continue
        for one in entry if isinstance(entry, list) else [entry]:
            _lacks(f"an entry of {name}" if one is not entry else name, one, fields.split())
    _holds_together(document)
    return document


def _lacks(what: str, entry: Any, keys: Sequence[str]) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{what} must be a dict, not {shown(entry)}.")
    missing = [key for key in keys if key not in entry]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(missing)}.")


def _holds_together(document: dict[str, Any]) -> None:
    names = [verdict["name"] for verdict in document["verdicts"]]
    if sorted(names) != sorted(VERDICTS):
        raise ValueError(f"verdicts must be {', '.join(VERDICTS)}, not {shown(names)}.")
    filters, steps = document["filters"], len(document["step_axis"])
    many = len(filters["layer"])
    for name in ("layer", "channel", "verdict", "reason", "prunable"):
        if len(filters[name]) != many:
            raise ValueError(
                f"filters.{name} must have an entry for each of the {many} filters, "
                f"not {len(filters[name])}."
            )
    for name, of in INDICES.items():
        bad = [i for i in filters[name] if not 0 <= i < len(document[of])]
        if bad:
            raise ValueError(
                f"filters.{name} must point into the {len(document[of])} {of}, not {bad[0]}."
            )
    for name in ("gamma", "beta"):
        _shape(f"filters.{name}", filters[name], (many, steps))
    for name in FORECAST:
        if filters[name] is not None:
            _shape(f"filters.{name}", filters[name], (many,))
    for scale in document["scales"]:
        for name in ("abs_mean", "abs_min"):
            _shape(f"{name} of the scale {scale['path']}", scale[name], (steps,))
    loss = document["loss"]
    if loss is not None:
        _shape("loss.value", loss["value"], (len(loss["step"]),))


def _shape(what: str, packed: object, shape: tuple[int, ...]) -> None:
    given = np.shape(unpack(packed))
    if given != shape:
        raise ValueError(f"{what} must have shape {shape}, not {given}.")
