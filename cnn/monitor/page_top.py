"""The top of the page: what, when, in which setting, the verdict, what can be pruned, warnings."""

from html import escape
from typing import Any

import numpy as np

from cnn.monitor.packing import unpack

REGULARIZERS = {
    "none": "nothing regularised",
    "l2": "L2 with λ = {lam:g}",
    "wd": "weight decay with λ = {lam:g}",
    "adamw": "decay coupled to the learning rate with λ = {lam:g}",
}


def header(document: dict[str, Any]) -> str:
    """What, when, in which setting; the verdict; what can be pruned; warnings."""
    lines = [
        f"<h1>{escape(document['title'])}</h1>",
        f'<p class="soft">{escape(_when(document))}</p>',
        f'<p class="soft">{escape(_setting(document["setting"]))}</p>',
        f'<p class="result">{escape(verdict(document))}</p>',
    ]
    if document["filters"]["layer"]:
        lines += [f"<p>{escape(_forecast(document))}</p>", _prunable(document["prunable"])]
    if document["warnings"]:
        items = "".join(f"<li>{escape(warning)}</li>" for warning in document["warnings"])
        lines.append(
            f'<section class="warnings" aria-label="Warnings"><h2>Warnings</h2><ul>{items}</ul>'
            "</section>"
        )
    return "\n".join(line for line in lines if line != "<p></p>").replace(" %", "&nbsp;%")


def _prunable(prunable: dict[str, Any]) -> str:
    return (
        f"<p><strong>{prunable['filters']:,} of {prunable['of']:,} filters "
        f"({prunable['percent']:.1f} %)</strong> can be pruned now. {escape(prunable['how'])}</p>"
    )


def verdict(document: dict[str, Any]) -> str:
    """One sentence: how many filters are gone, how many are expected to go."""
    filters, forecast = document["filters"], document["forecast"]
    many = len(filters["layer"])
    gone = sum(layer["counts"].get("collapsed", 0) for layer in document["layers"])
    if not many:
        return "No filters: what the model's norms scale is reported below."
    are = "is" if gone <= 1 else "are"
    plural = "" if many == 1 else "s"
    now = f"{f'{gone:,}' if gone else 'None'} of {many:,} filter{plural} {are} gone"
    if _over(document):
        return f"The run is over: {now[0].lower()}{now[1:]}."
    among, already = _forecast_for(document)
    if not among:
        return f"{now}; what will become of the others is not known."
    low, more, high = (
        _number(forecast[key], among, already) for key in ("total_lo", "total", "total_hi")
    )
    interval = f" (80 %: {low:,} to {high:,})" if low is not None and high is not None else ""
    which = "" if among == many else f"of the {among:,} that have a forecast "
    extra = " more" if gone else ""
    are = "is" if more == 1 else "are"
    end = f"by step {forecast['until']:,}"
    return f"{now}, {which}{more:,}{extra} {are} expected to go {end}{interval}."


def _forecast_for(document: dict[str, Any]) -> tuple[int, int]:
    """How many filters the forecast is for, and how many of these are gone already."""
    filters, forecast = document["filters"], document["forecast"]
    if forecast is None or forecast["total"] is None or filters["p_collapse"] is None:
        return 0, 0
    known = np.isfinite(unpack(filters["p_collapse"]))
    collapsed = [verdict["name"] for verdict in document["verdicts"]].index("collapsed")
    return int(known.sum()), int((known & (np.array(filters["verdict"]) == collapsed)).sum())


def _number(percent: float | None, among: int, already: int) -> int | None:
    """Filters that `percent` of `among` are, without those that are gone already."""
    return None if percent is None else max(round(percent / 100 * among) - already, 0)


def _over(document: dict[str, Any]) -> bool:
    return document["steps"] is not None and document["step"] >= document["steps"]


def _forecast(document: dict[str, Any]) -> str:
    """When the forecast was made; of a finished run, what it had said."""
    forecast, (among, _) = document["forecast"], _forecast_for(document)
    if not among:
        why = document["forecast_why_not"]
        return f"No forecast: {why}" if why else ""
    made = f"Forecast made at step {forecast['at']:,}."
    if _over(document):
        if forecast["at"] >= document["step"]:  # nothing was left to forecast
            return ""
        said = [_number(forecast[key], among, 0) for key in ("total", "total_lo", "total_hi")]
        interval = "" if None in said else f" (80 %: {said[1]:,} to {said[2]:,})"
        made = f"The forecast made at step {forecast['at']:,} had said {said[0]:,}{interval}."
    return f"{made} {forecast['note'] or ''}".strip()


def _when(document: dict[str, Any]) -> str:
    of = f" of {document['steps']:,}" if document["steps"] is not None else ""
    took = "" if not document["seconds"] else f", after {_span(document['seconds'])}"
    written = str(document["written"])[:16].replace("T", " ")
    return f"Step {document['step']:,}{of}{took}; written {written}"


def _span(seconds: float) -> str:
    """Seconds as a reader would say them."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _setting(setting: dict[str, Any]) -> str:
    reg, lam = setting["reg"], setting["lam"]
    words = REGULARIZERS.get(reg, "{reg} with λ = {lam:g}") if reg is not None else ""
    if lam is None and reg != "none":
        words = ""
    parts = [setting["optimizer"], words.format(reg=reg, lam=lam)]
    if setting["lr"] is not None:
        parts.append(f"learning rate {setting['lr']:g}")
    note = f". {setting['note']}" if setting["note"] else ""
    return ", ".join(filter(None, parts)) + note
