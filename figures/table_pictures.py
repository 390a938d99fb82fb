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
OURS = {"digits": "#000000", "fashion": "#D55E00"}


def draw_table01(table: Table) -> Figure:
    r"""Sparsity by :math:`\gamma` against test error: the paper's two sets, then ours, apart.

    Along a line the strength changes; up and to the left is sparser at less error.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(6.4, 6.2))
        axes = fig.subplots(2, 2, sharey=True).flat
        for ax, data in zip(axes, DATA, strict=False):
            ax.set_title(f"paper, {DATA[data]}")
            _lines_of_strength(
                ax, [row for row in table.rows if row.printed.get("dataset") == data]
            )
        ours = axes[2]
        ours.set_title("ours: digits, Fashion-MNIST")
        for row in table.rows:
            _point(ours, row)
        for ax in (axes[0], ours):
            ax.set_ylabel("filters with |γ| < 1e-3, %")
        for ax, span in zip(axes, ((9, 105), (33, 105), (0.25, 30)), strict=False):
            _error_axis(ax, *span)
        _key(axes[3])
        _caption(
            fig,
            "Open: the paper's Table 1, mean of 3 runs. Full: ours, at another scale: digits at "
            "width 0.125 and 4000 steps, Fashion-MNIST (grey edge) at width 0.25 and 13,000; mean "
            "± standard deviation over 3 seeds. Settings: table01.txt.",
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
                _our_profile(ax, layers, row)
            if not any(row.ours for row in rows):
                ax.text(0.97, 0.7, "no run of ours yet", transform=ax.transAxes, ha="right")
            ax.legend(loc="upper center", ncols=2, fontsize=8, handlelength=2.2)
            ax.set(ylim=(-3, 128), yticks=range(0, 101, 20))
        for ax in fig.axes[::2]:
            ax.set_ylabel("filters with |γ| < 1e-3, %")
        _caption(
            fig,
            "Open, dashed: the paper's Table 2 (CIFAR100, mean of 3 runs). Full: ours, 10 classes "
            "and another scale: digits at width 0.125 and 4000 steps, Fashion-MNIST at width 0.25 "
            "and 13,000; mean ± standard deviation over 3 seeds. Settings: table02.txt.",
        )
    return fig


def draw_table07(table: Table) -> Figure:
    r"""Sparsity by :math:`\gamma` of each layer of VGG-16, by batch size; none of ours yet."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    layers = table.layout.layers
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(6.4, 5.8))
        for ax, data in zip(fig.subplots(2, 1, sharex=True, sharey=True), DATA, strict=True):
            ax.set_title(f"paper, VGG-16, {DATA[data]}, adam, l2 1e-4")
            rows = [row for row in table.rows if row.printed.get("dataset") == data]
            found = [row for row in rows if row.printed["method"] == "implicit"]
            named = [(f"batch {row.printed['batch_size']}", row) for row in found]
            _profiles(ax, layers, named, BATCHES)
            for row in rows:
                if row.printed["method"] == "li_13":
                    shares = [float(row.printed[name]) for name in layers]
                    ax.step(layers, shares, "--", where="mid", color="0.5", label="Li et al. [13]")
            ax.set_ylabel("filters with |γ| < 1e-3, %")
            ax.legend(loc="upper left", fontsize=8)
            ax.set_ylim(-3, 103)
        _caption(
            fig,
            "The paper's Table 7 alone: there is no run of ours yet. Li et al.: pruned by hand.",
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


def _point(ax: Axes, row: Row) -> None:
    """Mean and spread of ours."""
    if row.ours is None:
        return
    mean, sd = row.ours.mean, row.ours.sd
    fashion = row.ours.recipe.startswith("fashion/")
    ax.errorbar(
        mean["test_error"], mean["sparsity_by_gamma"], xerr=sd.get("test_error"),
        yerr=sd.get("sparsity_by_gamma"), color=INK[_kind(row)[0]], marker=MARKS[_kind(row)[1]],
        markersize=7, linestyle="none", elinewidth=1.0,
        markeredgecolor="0.6" if fashion else None, markeredgewidth=2.0 if fashion else None,
    )  # fmt: skip
    left = _kind(row)[0] == "sgd"  # away from Adam's
    ax.annotate(
        _our_strength(row), (mean["test_error"], mean["sparsity_by_gamma"]),
        xytext=(-6, -12) if left else (7, 5), textcoords="offset points", fontsize=8,
        ha="right" if left else "left",
    )  # fmt: skip


def _our_strength(row: Row) -> str:
    """adam-l2-1e-2 as 1e-2, adam-none as 0."""
    words = row.ours.recipe.split("-", 2) if row.ours else []
    return words[2] if len(words) > 2 else "0"


def _error_axis(ax: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import NullLocator

    ax.set_xscale("log")
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 40, 60, 100) if low <= tick <= high]
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
        full: dict[str, Any] = dict(marker=MARKS[reg], color="0.3", linestyle="none", markersize=7)
        lines.append(Line2D([], [], label=f"{reg}, ours (number: strength)", **full))
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


def _our_profile(ax: Axes, layers: tuple[str, ...], row: Row) -> None:
    if row.ours is None:
        return
    kind = row.ours.recipe.split("/")[0]
    label = f"ours, {kind} {_our_strength(row)}"
    means = [row.ours.mean[layer] for layer in layers]
    spread = [row.ours.sd.get(layer, 0.0) for layer in layers]
    ax.errorbar(
        layers, means, yerr=spread, marker="o", markersize=4, color=OURS[kind], label=label,
        elinewidth=1.0,
    )  # fmt: skip


def _caption(fig: Figure, text: str) -> None:
    from textwrap import fill

    fig.supxlabel(fill(text, 104), fontsize=8, x=0.01, ha="left")
