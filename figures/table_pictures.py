"""Tables 1, 2 and 7 as pictures: open marks and dashes are the paper's, full ones are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.table_rows import Row, Table

__all__ = ["DRAW", "draw_table01", "draw_table02", "draw_table07"]

INK = {  # as in cnn.sweep's picture
    "sgd": "#D55E00", "adam": "#0072B2", "adadelta": "#009E73", "adagrad": "#CC79A7",
}  # fmt: skip
MARKS = {"l2": "o", "wd": "s"}
BATCHES = ("#0072B2", "#E69F00", "#009E73")
BLUES = ("#0072B2", "#56B4E9")
DATA = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
OURS = {"digits": "#000000", "fashion": "#D55E00", "pairs10": "#009E73", "pairs100": "#CC79A7"}
BESIDE = {"cifar10": "vgg16/pairs10", "cifar100": "vgg16/pairs100"}
"""Of Table 7: ours that asks as many labels."""
PANELS = {
    "digits": "ours, digits", "pairs10": "ours, pairs, 10 labels",
    "pairs100": "ours, pairs, 100 labels",
}  # fmt: skip


def draw_table01(table: Table) -> Figure:
    r"""Sparsity by :math:`\gamma` against test error: the paper's two sets, then ours, apart.

    Along a line the strength changes; up and to the left is sparser at less error.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.4, 5.8))
        axes = fig.subplots(2, 3, sharey=True).flat
        for ax, data in zip(axes, DATA, strict=False):
            ax.set_title(f"paper, {DATA[data]}")
            _lines_of_strength(
                ax, [row for row in table.rows if row.printed.get("dataset") == data]
            )
        for ax, (data, title) in zip(axes[3:], PANELS.items(), strict=True):
            ax.set_title(title)
            _our_lines(ax, [row for row in table.rows if _data(row) == data])
        for ax in (axes[0], axes[3]):
            ax.set_ylabel("filters with |γ| < 1e-3, %")
        spans = (9, 105), (33, 105), None, (0.4, 8), (14, 26), (27, 66)
        for ax, span in zip(axes, spans, strict=True):
            _key(ax) if span is None else _error_axis(ax, *span)
        _caption(
            fig,
            "Open: the paper's Table 1, mean of 3 runs. Full: ours, at another scale: width 0.125, "
            "4000 steps (digits) and 6000 (pairs of garments); mean ± standard deviation over 3 "
            "seeds or more. Along a line the strength changes. Settings: table01.txt.",
        )
    return fig


def draw_table02(table: Table) -> Figure:
    r"""Sparsity by :math:`\gamma` of each layer of BasicNet, a panel per rule and regulariser."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    kinds = list(dict.fromkeys(_kind(row) for row in table.rows))
    layers = table.layout.layers
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(6.4, 6.0))
        for ax, kind in zip(fig.subplots(2, 2, sharex=True, sharey=True).flat, kinds, strict=True):
            ax.set_title(", ".join(kind))
            rows = [row for row in table.rows if _kind(row) == kind]
            theirs = [row for row in rows if row.of_paper]
            named = [(f"paper {row.printed['strength']}", row) for row in theirs]
            _profiles(ax, layers, named, BLUES)
            for row in rows:
                if row.ours:
                    kind = row.ours.recipe.split("/")[0]
                    label = f"ours, {kind} {_our_strength(row)}"
                    _our_profile(ax, layers, row, label, OURS[kind])
            if not any(row.ours for row in rows):
                ax.text(0.97, 0.7, "no run of ours yet", transform=ax.transAxes, ha="right")
            ax.legend(loc="upper center", ncols=2, fontsize=7, handlelength=2.0)
            ax.set(ylim=(-3, 142), yticks=range(0, 101, 20))
        for ax in fig.axes[::2]:
            ax.set_ylabel("filters with |γ| < 1e-3, %")
        _caption(
            fig,
            "Open, dashed: the paper's Table 2 (CIFAR100, mean of 3 runs). Full: ours, at another "
            "scale: digits and pairs of garments (10 and 100 labels) at width 0.125, Fashion-MNIST "
            "at width 0.25; mean ± standard deviation over 3 seeds or more. Settings: table02.txt.",
        )
    return fig


def draw_table07(table: Table) -> Figure:
    r"""Sparsity by :math:`\gamma` of each layer of VGG-16, by batch size, and ours."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    layers = table.layout.layers
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(6.4, 5.8))
        for ax, data in zip(fig.subplots(2, 1, sharex=True, sharey=True), DATA, strict=True):
            ax.set_title(f"adam, l2: paper {DATA[data]} 1e-4, ours {BESIDE[data]} 3e-3")
            rows = [row for row in table.rows if row.printed.get("dataset") == data]
            found = [row for row in rows if row.printed["method"] == "implicit"]
            named = [(f"batch {row.printed['batch_size']}", row) for row in found]
            _profiles(ax, layers, named, BATCHES)
            for row in rows:
                if row.printed["method"] == "li_13":
                    shares = [float(row.printed[name]) for name in layers]
                    ax.step(layers, shares, "--", where="mid", color="0.5", label="Li et al. [13]")
            for row in table.rows:
                if row.ours and row.ours.recipe == BESIDE[data]:
                    _our_profile(ax, layers, row, "ours, batch 40", "#000000")
            ax.set_ylabel("filters with |γ| < 1e-3, %")
            ax.legend(loc="upper center", ncols=3, fontsize=8)
            ax.set(ylim=(-3, 138), yticks=range(0, 101, 20))
        _caption(
            fig,
            "Open, dashed: the paper's Table 7. Full: ours, at another scale: pairs of garments, "
            "10 and 100 labels, an eighth of the width, 3000 steps; mean ± standard deviation over "
            "3 seeds. Li et al.: pruned by hand. Settings: table07.txt.",
        )
    return fig


DRAW = {"table01": draw_table01, "table02": draw_table02, "table07": draw_table07}
"""The tables of which there is a picture."""


# Parts ------------------------------------------------------------------------------------------


def _kind(row: Row) -> tuple[str, str]:
    return row.printed["optimizer"], row.printed["regularizer"]


def _lines_of_strength(ax: Axes, rows: list[Row]) -> None:
    """A line through the strengths of each rule and regulariser, in their order."""
    for kind in dict.fromkeys(_kind(row) for row in rows):
        some = [row.printed for row in rows if _kind(row) == kind]
        ax.plot(
            [float(cells["test_error"]) for cells in some],
            [float(cells["sparsity_by_gamma"]) for cells in some],
            color=INK[kind[0]], marker=MARKS[kind[1]], markerfacecolor="white", markersize=5,
            linewidth=1.0, linestyle="-" if kind[1] == "l2" else "--",
        )  # fmt: skip


def _data(row: Row) -> str | None:
    """Of ours: the set, as its experiments begin."""
    return row.ours.recipe.split("/")[0] if row.ours else None


def _our_lines(ax: Axes, rows: list[Row]) -> None:
    """The same of ours, with means and spreads."""
    for kind in dict.fromkeys(_kind(row) for row in rows):
        some = [row.ours for row in rows if _kind(row) == kind and row.ours]
        some.sort(key=lambda one: one.mean["sparsity_by_gamma"])
        measured = {
            name: ([one.mean[name] for one in some], [one.sd.get(name, 0.0) for one in some])
            for name in ("test_error", "sparsity_by_gamma")
        }
        (x, dx), (y, dy) = measured.values()
        ax.errorbar(
            x, y, xerr=dx, yerr=dy, color=INK[kind[0]], marker=MARKS[kind[1]], markersize=5,
            linewidth=1.0, elinewidth=1.0, linestyle="-" if kind[1] == "l2" else "--",
        )  # fmt: skip


def _our_strength(row: Row) -> str:
    """adam-l2-1e-2 as 1e-2, adam-none as 0."""
    words = row.ours.recipe.split("-", 2) if row.ours else []
    return words[2] if len(words) > 2 else "0"


def _error_axis(ax: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import NullLocator

    ax.set_xscale("log")
    close = range(0, 50, 5) if high < 2 * low else ()
    marks = sorted({0.5, 1, 2, 5, 10, 20, 30, 40, 60, 100, *close})
    ticks = [tick for tick in marks if low <= tick <= high]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="test error, %", xlim=(low, high), ylim=(-9, 104))


def _key(ax: Axes) -> None:
    """Names of colours and marks, in a panel of their own."""
    from matplotlib.lines import Line2D

    ax.axis("off")
    lines = [Line2D([], [], color=colour, label=name) for name, colour in INK.items()]
    for reg, style in (("l2", "-"), ("wd", "--")):
        ring: dict[str, Any] = dict(
            marker=MARKS[reg], markerfacecolor="white", color="0.3", linestyle=style
        )
        lines.append(Line2D([], [], label=f"{reg}, paper", **ring))
    for reg in MARKS:
        full: dict[str, Any] = dict(marker=MARKS[reg], color="0.3", linestyle="none", markersize=5)
        lines.append(Line2D([], [], label=f"{reg}, ours", **full))
    ax.legend(handles=lines, loc="center left")


def _profiles(
    ax: Axes, layers: tuple[str, ...], named: list[tuple[str, Row]], colours: tuple[str, ...]
) -> None:
    """The paper's layers: open marks."""
    for (label, row), colour, mark in zip(named, colours, "osD", strict=False):
        shares = [float(row.printed[name]) for name in layers]
        ax.plot(
            layers, shares, linestyle="--", marker=mark, markerfacecolor="white", color=colour,
            markersize=5, label=label, linewidth=1.2,
        )  # fmt: skip


def _our_profile(ax: Axes, layers: tuple[str, ...], row: Row, label: str, colour: str) -> None:
    """Ours: full marks, with the standard deviation."""
    assert row.ours is not None
    means = [row.ours.mean[layer] for layer in layers]
    spread = [row.ours.sd.get(layer, 0.0) for layer in layers]
    ax.errorbar(
        layers, means, yerr=spread, marker="o", markersize=4, color=colour, label=label,
        elinewidth=1.0,
    )  # fmt: skip


def _caption(fig: Figure, text: str) -> None:
    from textwrap import fill

    fig.supxlabel(fill(text, 104), fontsize=8, x=0.01, ha="left")
