"""Pictures as data: what the lines, bands, axes, labels and legend hold."""

import io
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axis import Tick
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from scipy.special import ndtr

from regdyn import plotting, simulate
from regdyn.gradients import Tape
from regdyn.theory import predict

LAMS = [1e-2, 1e-3, 1e-4]
PAIRS = list(product(["adam", "sgd"], ["l2", "wd"]))


@pytest.fixture(scope="module")
def ds():
    return simulate(["adam", "sgd"], ["l2", "wd"], LAMS, steps=300, lanes=20)


@pytest.fixture(scope="module")
def fig(ds):
    return plotting.draw(ds)


def curves(ax):
    """The lines that show data: those with more than the two points of a marker line."""
    return [line for line in ax.lines if len(line.get_xdata()) > 2]


def texts(fig):
    """Every text of a figure but the tick labels, after its layout is done."""
    fig.draw_without_rendering()
    ticks = [t for tick in fig.findobj(Tick) for t in tick.findobj(Text)]
    return [t for t in fig.findobj(Text) if t.get_visible() and t.get_text() and t not in ticks]


def test_a_row_for_each_rule_and_regulariser(fig):
    log, linear = fig.axes[::2], fig.axes[1::2]
    assert [ax.get_title(loc="left") for ax in log] == [f"{rule}, {reg}" for rule, reg in PAIRS]
    assert {(ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) for ax in log} == {
        ("log", "log", "|θ|")
    }
    assert {(ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) for ax in linear} == {
        ("linear", "linear", "θ")
    }
    assert [ax.get_xlabel() for ax in fig.axes] == [""] * 6 + ["step"] * 2


@pytest.mark.parametrize(("column", "variable"), [(0, "abs_quantile"), (1, "quantile")])
def test_lines_are_medians_and_bands_deciles(column, variable, ds, fig):
    for (rule, reg), ax in zip(PAIRS, fig.axes[column::2], strict=True):
        assert len(curves(ax)) == len(ax.collections) == len(LAMS)
        for lam, line, band in zip(LAMS, curves(ax), ax.collections, strict=True):
            one = ds[variable].sel(rule=rule, reg=reg, lam=lam).sel(step=slice(1, None))
            np.testing.assert_array_equal(line.get_xdata(), one["step"])
            np.testing.assert_array_equal(line.get_ydata(), one.sel(q=0.5))
            outline = {tuple(xy) for xy in band.get_paths()[0].vertices}
            for q in (0.1, 0.9):
                assert outline >= set(zip(one["step"].values, one.sel(q=q).values, strict=True))


def test_axes_show_all_of_the_run(ds, fig):
    top = ds["abs_quantile"].values.max()
    for log, linear in zip(fig.axes[::2], fig.axes[1::2], strict=True):
        assert log.get_xlim() == (1, 300) and linear.get_xlim() == (0, 300)
        assert log.get_ylim()[0] == 1e-5 and log.get_ylim()[1] > top


def test_the_threshold_of_the_paper_is_marked_on_logarithmic_axes(fig):
    for column, level in ((0, 1e-3), (1, 0.0)):
        for ax in fig.axes[column::2]:
            (marker,) = [line for line in ax.lines if line not in curves(ax)]
            assert list(marker.get_ydata()) == [level] * 2
    assert fig.get_suptitle() == "Median and 10–90 % of 20 lanes; dotted: |θ| = 1e-3"


def test_the_legend_names_each_strength_once_in_the_colour_of_its_lines(fig):
    (legend,) = fig.legends
    assert legend.get_title().get_text() == "strength λ"
    assert [text.get_text() for text in legend.get_texts()] == ["1e-2", "1e-3", "1e-4"]
    colours = [line.get_color() for line in legend.get_lines()]
    for ax in fig.axes:
        assert [line.get_color() for line in curves(ax)] == colours
        assert [to_rgb(band.get_facecolor()[0]) for band in ax.collections] == [
            to_rgb(colour) for colour in colours
        ]


# Theory over it ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def overlaid(ds):
    theory = predict(["adam", "sgd"], reg=["l2", "wd"], lam=LAMS, steps=300)
    return theory, plotting.draw(ds, theory)


@pytest.mark.parametrize("column", [0, 1])
def test_predictions_are_dashed_medians_and_dotted_deciles(column, ds, overlaid):
    """Quantiles are put back into the distribution function of a Gaussian theta."""
    theory, fig = overlaid
    for (rule, reg), ax in zip(PAIRS, fig.axes[column::2], strict=True):
        drawn = [line for line in curves(ax) if line.get_color() == plotting.PREDICTED]
        assert len(drawn) == 3 * len(LAMS) and len(curves(ax)) == 4 * len(LAMS)
        for i, lam in enumerate(LAMS):
            one = theory.sel(rule=rule, reg=reg, lam=lam).sel(step=slice(1, None))
            mean, std = one["mean"].values, one["std"].values
            for p, line in zip((0.1, 0.5, 0.9), drawn[3 * i : 3 * i + 3], strict=True):
                assert line.get_linestyle() == ("--" if p == 0.5 else ":")
                x = line.get_ydata()
                below = ndtr((x - mean) / std)
                if column == 0:
                    below -= ndtr((-x - mean) / std)
                np.testing.assert_allclose(below, p, atol=1e-4)  # the ends of the bisection
    assert fig.legends[0].get_texts()[-1].get_text() == "theory"
    assert fig.get_suptitle().endswith("red: as predicted")


def test_without_noise_the_predicted_quantiles_are_the_mean():
    mean = np.array([1.0, -0.5, 0.0])
    for p in (0.1, 0.5, 0.9):
        assert plotting._folded_quantile(mean, np.zeros(3), p).tolist() == [1.0, 0.5, 0.0]
        assert plotting._gaussian_quantile(mean, np.zeros(3), p).tolist() == mean.tolist()


def test_colours_can_be_told_apart_in_grey():
    """Dark is strong; five strengths differ by a tenth of the way from black to white."""
    colours = plotting.strength_colours([1e-4, 1e-2, 1e-6, 1e-3, 1e-5])
    assert list(colours) == [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    grey = [np.dot(to_rgb(colour), [0.299, 0.587, 0.114]) for colour in colours.values()]
    assert grey == sorted(grey)
    assert min(abs(a - b) for a, b in combinations(grey, 2)) > 0.1


@pytest.mark.parametrize(
    ("lam", "label"),
    [(1e-4, "1e-4"), (2.5e-3, "2.5e-3"), (0.5, "5e-1"), (100.0, "100"), (0.0, "0")],
)
def test_strength_label(lam, label):
    assert plotting.strength_label(lam) == label


def test_no_text_is_cut_off(fig):
    inside = fig.bbox.padded(1)  # a pixel
    for text in texts(fig):
        box = text.get_window_extent()
        assert inside.containsx(box.x0) and inside.containsx(box.x1), text
        assert inside.containsy(box.y0) and inside.containsy(box.y1), text


def test_of_a_vector_the_first_entry_is_drawn():
    ds = simulate("adam", "l2", 1e-2, theta0=[1.0, -2.0], steps=50, lanes=5)
    (line,) = curves(plotting.draw(ds).axes[1])
    np.testing.assert_array_equal(line.get_ydata(), ds["quantile"].sel(q=0.5, param=0)[0, 0, 0, 1:])


ODD = {
    "one step": dict(steps=1),
    "no strength": dict(reg="none", lam=0.0),
    "no gradient": dict(theta0=-1.0, gradient=Tape(np.zeros(20))),
    "huge": dict(rule="sgd", lam=100.0, steps=300),
    "not finite": dict(rule="sgd", lam=100.0, steps=600),
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.filterwarnings("ignore:unstable|theta is not finite:RuntimeWarning")
def test_odd_results_are_drawn_too(case):
    """Without an error, and without a warning from matplotlib."""
    asked = dict(rule="adam", lam=1e-2, steps=20, lanes=3) | ODD[case]
    picture = io.BytesIO()
    plotting.draw(simulate(**asked)).savefig(picture)
    assert picture.getvalue().startswith(b"\x89PNG")


def test_drawing_leaves_no_trace(ds):
    """No settings of matplotlib change, and no window or backend is asked for."""
    before = matplotlib.rcParams.copy()
    plotting.draw(ds)
    assert matplotlib.rcParams.copy() == before
    code = "import sys, regdyn.plotting; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)
