"""The monitor's report as one HTML file: it opens from disk and needs no network, no server."""

import base64
import hashlib
import json
import math
from html import escape
from importlib import resources
from string import Template
from typing import Any

from cnn.monitor import page_parts as parts
from cnn.monitor.page_check import checked
from cnn.monitor.page_top import header

__all__ = ["page"]

SCRIPTS = ("page_data.js", "page_plot.js", "page_table.js", "page_views.js", "page.js")


def page(document: dict[str, Any]) -> str:
    """The report of a training as one HTML page.

    Parameters
    ----------
    document : dict
        As `cnn.monitor.document.document` makes it, or as read from its JSON.

    Returns
    -------
    str
        The page. Style sheet, scripts and numbers stand in it; its Content-Security-Policy allows
        these and nothing from elsewhere. Without JavaScript it shows the layers.

    Raises
    ------
    ValueError
        If the document is of another format or does not hold together, in one sentence.
    """
    document = checked(_finite(document))
    style, script = _asset("page.css"), "".join(map(_asset, SCRIPTS))
    return Template(_asset("page.html")).substitute(
        policy=_policy(style, script),
        title=escape(document["title"]),
        style=style,
        header=header(document),
        hidden="" if document["filters"]["layer"] else " hidden",
        layers=parts.layers(document),
        meanings=parts.meanings(document),
        dated=parts.DATED if document["forecast"] else "",
        scales=parts.scales(document),
        provenance=parts.provenance(document),
        document=_data(document),
        script=script,
    )


def _asset(name: str) -> str:
    return resources.files("cnn.monitor").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing is loaded; of what stands in the page, only this style and this script count."""
    return (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(document: dict[str, Any]) -> str:
    """JSON within a script element: no "<", so that no title can end the element."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    """`value` with None for floats that are not finite: JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return value
