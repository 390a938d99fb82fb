"""What of the page stands in HTML: the layers, the scales, where it comes from."""

from html import escape
from typing import Any
from urllib.parse import quote

import numpy as np

from cnn.monitor.packing import unpack
from regdyn.filters.record import COLLAPSED, SMOOTH

DATED = (
    f"The forecast dates a collapse where |γ| falls below {COLLAPSED:g}, on average over "
    f"{SMOOTH} steps."
)
SIGN = 6.0  # percent of a bar's width that a digit in it takes


def layers(document: dict[str, Any]) -> str:
    """A row for each layer: a bar of verdicts, and the forecast with its interval."""
    every: dict[str, int] = {}
    for layer in document["layers"]:
        for name, count in layer["counts"].items():
            every[name] = every.get(name, 0) + count
    forecast = document["forecast"] or {}
    total = {f"share{end}": forecast.get(f"total{end}") for end in ("", "_lo", "_hi")}
    rows = [
        _row("", "All layers", sum(layer["filters"] for layer in document["layers"]), every, total)
    ]
    for layer, key in zip(document["layers"], keys(document), strict=True):
        rows.append(_row(key, layer["name"], layer["filters"], layer["counts"], layer))
    until = f"gone at step {forecast['until']:,}" if forecast else "gone at the end"
    return (
        '<div class="wide"><table>\n<thead><tr><th scope="col">layer</th>'
        '<th scope="col" class="n">filters</th><th scope="col">now, by verdict</th>'
        f'<th scope="col">{until}</th></tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def keys(document: dict[str, Any]) -> list[str]:
    """What a link calls each layer: its name, or its path where two have the same name."""
    names = [layer["name"] for layer in document["layers"]]
    clash = len(set(names)) < len(names)
    return [layer["path"] if clash else layer["name"] for layer in document["layers"]]


def _row(key: str, name: str, filters: int, counts: dict[str, int], shares: dict[str, Any]) -> str:
    link = f'href="#layer={quote(key, safe="")}" data-layer="{escape(key)}"'
    return (
        f'<tr><th scope="row"><a {link}>{escape(name)}</a></th>'
        f'<td class="n">{filters:,}</td><td class="bar">{_bar(counts)}</td>'
        f'<td class="end">{_whisker(shares)}</td></tr>'
    )


def _bar(counts: dict[str, int]) -> str:
    """Stacked bar; colours, patterns and numbers."""
    total, at, drawn = sum(counts.values()), 0.0, []
    for name, count in counts.items():
        width = 100 * count / total if total else 0
        if not count:
            continue
        drawn.append(
            f'<rect class="{escape(name)}" x="{at:.3f}%" width="{width:.3f}%" height="18">'
            f"<title>{count:,} {escape(name)}</title></rect>"
        )
        if width >= SIGN * len(f"{count:,}") + 2:
            middle = at + width / 2
            drawn.append(
                f'<text class="on-{escape(name)}" x="{middle:.3f}%" y="13">{count:,}</text>'
            )
        at += width
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "no filters"
    alternative = f'role="img" aria-label="{escape(said)}"'
    return f'<svg width="100%" height="18" {alternative}>{"".join(drawn)}</svg>'


def _whisker(shares: dict[str, Any]) -> str:
    low, middle, high = (shares[key] for key in ("share_lo", "share", "share_hi"))
    if middle is None:
        return '<span class="soft">no forecast</span>'
    interval = "" if low is None or high is None else f" ({low:.0f} to {high:.0f})"
    said = "" if interval == f" ({middle:.0f} to {middle:.0f})" else interval
    line = (
        f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="6" y2="6"/>'
        if interval
        else ""
    )
    return (
        f'{middle:.0f}&nbsp;%{said}<svg width="100%" height="12" aria-hidden="true">'
        f'<line class="rail" x1="0" x2="100%" y1="6" y2="6"/>{line}'
        f'<circle class="dot" cx="{middle:.2f}%" cy="6" r="4"/></svg>'
    )


def meanings(document: dict[str, Any]) -> str:
    """What the verdicts mean, with their patterns."""
    items = "".join(
        f"<dt>{_swatch(verdict['name'])}{escape(verdict['name'])}</dt>"
        f"<dd>{escape(verdict['meaning'])}</dd>"
        for verdict in document["verdicts"]
    )
    return f"<details open><summary>What the verdicts mean</summary><dl>{items}</dl></details>"


def _swatch(name: str) -> str:
    return (
        '<svg class="swatch" width="14" height="14" aria-hidden="true">'
        f'<rect class="{escape(name)}" width="14" height="14"/></svg>'
    )


def scales(document: dict[str, Any]) -> str:
    """The scales of norms that are no filters, or nothing."""
    if not document["scales"]:
        return ""
    rows = "\n".join(_scale(scale) for scale in document["scales"])
    return (
        '<section aria-labelledby="scales-head"><h2 id="scales-head">Scales of other norms</h2>\n'
        '<p class="soft">They scale what other layers share, so that none is a filter: no verdict, '
        f'nothing to prune.</p>\n<div class="wide" tabindex="0" role="region" '
        'aria-labelledby="scales-head"><table><thead><tr><th scope="col">norm</th>'
        '<th scope="col">kind</th><th scope="col" class="n">scales</th>'
        '<th scope="col" class="n">mean |scale| now</th><th scope="col">so far</th>'
        '<th scope="col" class="n">smallest now</th>'
        f'<th scope="col" class="n">below {document["threshold"]:g}</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div></section>"
    )


def _scale(scale: dict[str, Any]) -> str:
    mean, least = unpack(scale["abs_mean"]), unpack(scale["abs_min"])
    return (
        f'<tr><th scope="row">{escape(scale["path"])}</th><td>{escape(scale["kind"])}</td>'
        f'<td class="n">{scale["size"]:,}</td><td class="n">{_last(mean)}</td>'
        f'<td>{_spark(mean)}</td><td class="n">{_last(least)}</td>'
        f'<td class="n">{scale["below"]:,}</td></tr>'
    )


def _last(values: np.ndarray) -> str:
    return f"{values[-1]:.3g}" if len(values) else "not recorded"


def _spark(values: np.ndarray) -> str:
    """The course of `values`, without axes; from 0 to its maximum."""
    top = np.nanmax(np.where(np.isfinite(values), values, 0), initial=0) or 1
    points = " ".join(
        f"{100 * i / max(len(values) - 1, 1):.1f},{19 - 18 * value / top:.1f}"
        for i, value in enumerate(values)
        if np.isfinite(value)
    )
    return (
        '<svg width="100" height="20" aria-hidden="true">'
        f'<polyline class="spark" points="{points}"/></svg>'
    )


def provenance(document: dict[str, Any]) -> str:
    """Versions, revision, machine."""
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
        for name, value in document["provenance"].items()
    )
    return f"<dl>{items}</dl>"
