"""Pictures of Tables 1, 2 and 7: the paper's numbers open, ours full, not mixed up."""

import pytest

from figures import __main__ as program
from figures import table_pictures
from figures.table_pictures import DRAW, draw_table01, draw_table02, draw_table07
from figures.table_rows import build
from figures.tables import load


def drawn(line):
    return list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))


def theirs(ax):
    """Lines with open marks."""
    return [line for line in ax.lines if line.get_markerfacecolor() == "white"]


def ours(ax):
    return [bars.lines[0] for bars in ax.containers]


def said(fig):
    return " ".join(fig.get_supxlabel().split())


@pytest.fixture(scope="module")
def tables():
    return {name: build(name) for name in DRAW}


# Table 1 -----------------------------------------------------------------------------------------


def test_table_1_shows_every_row_of_the_paper(tables):
    axes = draw_table01(tables["table01"]).axes
    printed = load("table01")
    for ax, data in zip(axes, ("cifar10", "cifar100"), strict=False):
        rows = printed[printed["dataset"] == data]
        points = [point for line in theirs(ax) for point in drawn(line)]
        columns = zip(rows["test_error"], rows["sparsity_by_gamma"], strict=True)
        assert sorted(points) == sorted((float(x), float(y)) for x, y in columns)
        assert len(points) == 35 and not ours(ax) and data.upper() in ax.get_title(loc="left")


def test_a_line_of_table_1_is_one_rule_and_regulariser(tables):
    ax = draw_table01(tables["table01"]).axes[0]
    rows = load("table01").query("dataset == 'cifar10'")
    for (opt, reg), some in rows.groupby(["optimizer", "regularizer"]):
        points = list(zip(some["test_error"], some["sparsity_by_gamma"], strict=True))
        (line,) = [line for line in theirs(ax) if drawn(line) == points]
        assert line.get_color() == table_pictures.INK[opt]
        assert line.get_marker() == table_pictures.MARKS[reg]


def test_ours_have_panels_of_their_own(tables):
    fig = draw_table01(tables["table01"])
    for panel, data in zip(fig.axes[3:], table_pictures.PANELS, strict=True):
        found = [o for o in tables["table01"].runs if o.recipe.startswith(f"{data}/")]
        points = [(o.mean["test_error"], o.mean["sparsity_by_gamma"]) for o in found]
        assert sorted(point for line in ours(panel) for point in drawn(line)) == sorted(points)
        assert points and not theirs(panel) and "ours" in panel.get_title(loc="left")
        for line in ours(panel):
            assert list(line.get_ydata()) == sorted(line.get_ydata())
    assert "another scale" in said(fig) and "over 3 seeds" in said(fig)
    assert all(o.n >= 3 for o in tables["table01"].runs)


def test_all_points_lie_within_the_axes(tables):
    axes = draw_table01(tables["table01"]).axes
    for ax in (*axes[:2], *axes[3:]):
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        for line in (*theirs(ax), *ours(ax)):
            assert all(left < x < right and low < y < high for x, y in drawn(line))


# Tables 2 and 7 ----------------------------------------------------------------------------------


def test_table_2_has_a_panel_for_each_rule_and_regulariser(tables):
    table = tables["table02"]
    layers = table.layout.layers
    axes = draw_table02(table).axes
    kinds = ["adam, l2", "adam, wd", "sgd, l2", "sgd, wd"]
    assert [ax.get_title(loc="left") for ax in axes] == kinds
    for ax, kind in zip(axes, kinds, strict=True):
        opt, reg = kind.split(", ")
        rows = load("table02_layers").query(f"optimizer == '{opt}' and regularizer == '{reg}'")
        shares = [[float(y) for y in line.get_ydata()] for line in theirs(ax)]
        assert shares == rows[[*layers]].to_numpy(float).tolist()
        own = [r for r in table.rows if r.ours and r.printed["optimizer"] == opt
               and r.printed["regularizer"] == reg]  # fmt: skip
        means = [[r.ours.mean[layer] for layer in layers] for r in own]
        assert [list(line.get_ydata()) for line in ours(ax)] == means
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert [label.split()[0] for label in labels] == ["paper"] * 2 + ["ours,"] * len(own)
        assert bool(own) != any("no run of ours" in text.get_text() for text in ax.texts)


def test_spread_of_ours_is_the_standard_deviation(tables):
    ax = draw_table02(tables["table02"]).axes[0]
    first = tables["table02"].runs[0]
    (bars,) = ax.containers[0].lines[2]
    lengths = [(b - a) / 2 for (_, a), (_, b) in bars.get_segments()]
    assert lengths == pytest.approx([first.sd[layer] for layer in tables["table02"].layout.layers])


def test_table_7_has_ours_beside_the_paper_with_as_many_labels(tables):
    fig = draw_table07(tables["table07"])
    layers = [f"C{i}" for i in range(1, 14)]
    for ax, data in zip(fig.axes, ("cifar10", "cifar100"), strict=True):
        rows = load("table07_layers").query(f"dataset == '{data}' and method == 'implicit'")
        shares = [[float(y) for y in line.get_ydata()] for line in theirs(ax)]
        assert shares == rows[layers].to_numpy(float).tolist()
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels[:3] == [f"batch {n}" for n in (40, 80, 160)]
        (own,) = ours(ax)
        name = {"cifar10": "vgg16/pairs10", "cifar100": "vgg16/pairs100"}[data]
        (run,) = [o for o in tables["table07"].runs if o.recipe == name]
        assert list(own.get_ydata()) == [run.mean[layer] for layer in layers]
        assert labels[-1] == "ours, batch 40"
        assert ("Li et al. [13]" in labels) == (data == "cifar10")
    assert "another scale" in said(fig)


# The command line --------------------------------------------------------------------------------


def test_all_writes_every_figure_and_table(tmp_path):
    assert program.main(["all", "--out", str(tmp_path)]) == 0
    recorded = {"fig2", "fig2-pairs10", "fig3", "fig3-pairs10", "fig5"}
    pictures = {"fig1", "fig4", "fig4-supplement", *recorded, *DRAW}
    numbers = [f"table{i:02}" for i in range(1, 11)]
    texts = {f"{name}.{end}" for name in numbers for end in ("csv", "tex", "txt")}
    pictures |= {"claims"}
    texts |= {"claims.csv", "beyond.csv", "claims.md", "runs.md"}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.png" for name in pictures
    } | texts
