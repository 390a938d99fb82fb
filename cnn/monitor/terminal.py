"""The instrument for the terminal: a table that is drawn anew while the training goes on."""

import sys
from typing import TYPE_CHECKING

import numpy as np

from cnn.monitor.verdicts import COLLAPSED, NAMES
from cnn.monitor.view import View

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.live import Live
    from rich.text import Text

WIDTH = 16  # of a bar
ROWS = 30  # layers, those first of which the most is gone or doomed
MARKS = {"alive": "█", "selective": "▓", "doomed": "▒", "collapsed": "░", "unknown": "?"}
COLOURS = {"alive": "blue", "selective": "cyan", "doomed": "yellow", "collapsed": "red",
           "unknown": "magenta"}  # fmt: skip


class Terminal:
    """Draws on standard error, in place; what the loop prints goes above it."""

    def __init__(self) -> None:
        self._live: Live | None = None

    def show(self, view: View) -> None:
        """Draw it."""
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=sys.stderr), auto_refresh=False)
            self._live.start()
        self._live.update(drawing(view), refresh=True)

    def close(self) -> None:
        """Leave the last drawing where it is."""
        if self._live is not None:
            self._live.stop()


def drawing(view: View) -> "Group":
    """The view as rich draws it: a table of layers between a line above and what there is to say.

    Bars show alive, selective, doomed, collapsed and unknown filters, in this order, by marks as
    well as by colours. "next" is the step of the next collapse, and the time until then.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [headline(view)]
    if view.about.norms:
        parts.append(_legend())
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        marks = (MARKS[name] for name in ("selective", "doomed", "collapsed"))
        for head in ("layer", "filters", "", *marks, "gone at the end", "next"):
            right = head not in ("layer", "")
            table.add_column(head, justify="right" if right else "left", no_wrap=True)
        shown = _shown(view)
        for i in shown:
            table.add_row(*_row(view, int(i)))
        parts.append(table)
        if len(shown) < len(view.about.norms):
            parts.append(f"... and {len(view.about.norms) - len(shown)} layers more.")
    for i, scale in enumerate(view.about.scales[:5]):
        least, below = (view.history[f"scale_{what}"][-1, i] for what in ("abs_min", "below"))
        text = f"{scale.path} ({scale.kind}): {below:.0f} of {scale.size} scales are below "
        parts.append(f"{text}{view.about.threshold:g}; the least is {least:.2g}.")
    if len(view.about.scales) > 5:
        parts.append(f"... and {len(view.about.scales) - 5} norms more.")
    parts += [Text(line, style="yellow") for line in view.warnings]
    return Group(*parts)


def headline(view: View) -> str:
    """Step, loss, and what is gone and will be, in a line or two."""
    about, gone = view.about, int((view.verdict == COLLAPSED).sum())
    of = f" of {about.steps:,}" if about.steps else ""
    loss = view.history["loss"][-1]
    said = f"step {view.step:,}{of}{f', loss {loss:.4g}' if np.isfinite(loss) else ''}"
    if about.norms:
        said += f". {gone} of {len(view.gamma)} filters are gone"
    if view.forecast is None:
        return f"{said}. No forecast: {view.why}" if view.why else f"{said}."
    lo, total, hi = view.forecast.total
    if view.forecast.at >= view.forecast.until:
        return f"{said}."
    return (
        f"{said}, {total:.0f} % expected at the end (80 %: {lo:.0f} to {hi:.0f}), seen from step "
        f"{view.forecast.at:,}."
    )


def _legend() -> "Text":
    from rich.text import Text

    return Text.assemble(*((f"{MARKS[name]} {name} ", COLOURS[name]) for name in NAMES[:4]))


def _shown(view: View) -> np.ndarray:
    """Numbers of the layers that are shown, in their order."""
    poor = view.counts[:, 2:4].sum(1) / view.counts.sum(1)
    return np.sort(np.argsort(-poor, kind="stable")[:ROWS])


def _row(view: View, i: int) -> tuple["Text | str", ...]:
    norm, numbers = view.about.norms[i], view.counts[i]
    share, soon = "", ""
    if view.forecast is not None and np.isfinite(view.forecast.share[1, i]):
        lo, middle, hi = view.forecast.share[:, i]
        share = f"{middle:.0f} %" if lo == hi else f"{middle:.0f} % ({lo:.0f} to {hi:.0f})"
    step = view.next_in(i)
    if step is not None:
        soon = f"{step:,}"
        if view.step and view.seconds:
            soon += f" ({_time((step - view.step) * view.seconds / view.step)})"
    selective, doomed, collapsed = (str(numbers[k]) for k in (1, 2, 3))
    name = norm.name if norm.name == norm.path else f"{norm.name} {norm.path[-16:]}"
    filters = str(norm.filters)
    return name, filters, bar(numbers), selective, doomed, collapsed, share, soon


def bar(numbers: np.ndarray) -> "Text":
    """Numbers of filters by verdict, as a bar of `WIDTH` marks."""
    from rich.text import Text

    ends = np.round(WIDTH * np.cumsum(numbers) / max(numbers.sum(), 1)).astype(int)
    long = np.diff(ends, prepend=0)
    parts = [(MARKS[name] * k, COLOURS[name]) for name, k in zip(NAMES, long, strict=True)]
    return Text.assemble(*parts)


def _time(seconds: float) -> str:
    """In the unit in which it is a small number."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
