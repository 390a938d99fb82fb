"""Figures 2, 3 and 5: what is drawn of the filters of recorded runs."""

import numpy as np
import pytest
import xarray as xr

from figures import features, fig2, fig3, fig5

WIDTHS = (2, 3, 3, 4, 4, 6, 6)  # of the seven layers
PADDED = 3  # filters that are there in no network


def network(rng, dead):
    """Layer, gamma, beta and universality of each filter; a share `dead` of C6 and C7 is at 0.

    The first filter of C7 is one with a small gamma that every image activates.
    """
    layer = np.repeat(np.arange(1, 8), WIDTHS)
    universality = np.where(layer < 4, 100.0, rng.uniform(5, 100, layer.size).round(1))
    gone = (layer > 5) & (rng.random(layer.size) < dead)
    universality[gone] = 0.0
    gamma, beta = np.where(gone, 1e-5, rng.uniform(0.2, 1, layer.size)), rng.normal(size=layer.size)
    first = np.flatnonzero(layer == 7)[0]
    gamma[first], universality[first], gone[first] = -1e-4, 100.0, False
    return layer, gamma, np.where(gone, 0.0, beta), universality


def filters(names, seeds=2):
    """Data of the schema of reproduce-filters.nc."""
    rng = np.random.default_rng(3)
    runs = [(name, seed) for name in names for seed in range(seeds)]
    parts = [network(rng, 0.7 if "adam-l2-3e-3" in name else 0.1) for name, _ in runs]
    layer, gamma, beta, universality = map(np.array, zip(*parts, strict=True))

    def pad(values, what):
        return ("run", "filter"), np.pad(values, ((0, 0), (0, PADDED)), constant_values=what)

    return xr.Dataset(
        {
            "gamma": pad(gamma, np.nan),
            "beta": pad(beta, np.nan),
            "universality": pad(universality, np.nan),
        },
        {
            "name": ("run", [name for name, _ in runs]),
            "seed": ("run", [seed for _, seed in runs]),
            "layer": pad(layer, 0),
        },
    )


def courses(names, steps=(0, 100, 200, 400)):
    """Data of the schema of reproduce-course.nc: C6 has five filters, the second collapses."""
    rng = np.random.default_rng(4)
    shape = len(names), len(steps), 5 + PADDED
    gamma, beta = rng.uniform(0.2, 1, shape), rng.normal(-0.5, 0.4, shape)
    gamma[:, -1, 1], beta[:, -1, 1] = -1e-4, 0.3
    for values in (gamma, beta):
        values[..., 5:] = np.nan
    gamma[-1, -1], beta[-1, -1] = np.nan, np.nan  # the last run has ended by then
    dims = ("run", "step", "filter")
    coords = {"name": ("run", names), "seed": ("run", [0] * len(names)), "step": list(steps)}
    return xr.Dataset({"gamma": (dims, gamma), "beta": (dims, beta)}, coords)


def names_of(prefixes, rules):
    return [f"{prefix}/{rule}" for prefix in prefixes for rule in rules]


RULES3 = list(dict.fromkeys(rule for pair in fig3.PANELS.values() for rule in pair))
DATA2 = courses([f"{prefix}/{rule}" for prefix, rules in fig2.RULES.items() for rule in rules])
DATA3 = filters(names_of(("pairs10", "pairs100"), RULES3))
DATA5 = filters([name for pair in fig5.PAIRS for name in pair], seeds=3)


def said(fig):
    return " ".join(fig.get_supxlabel().split())


def entries(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def lines(ax):
    """Values and edges of the steps that are not filled, by colour and number of the slot."""
    found = {}
    for patch in ax.patches:
        if not patch.get_fill():
            values, edges, _ = patch.get_data()
            found[patch.get_edgecolor(), round(edges[0] + features.SLOT)] = values, edges
    return found


def check_panel(ax, data, layers, curves):
    """Every curve of every layer is there, sorted, in its colour; the share at 0 is written."""
    from matplotlib.colors import to_rgba

    assert [tick.get_text() for tick in ax.get_xticklabels()] == [f"C{layer}" for layer in layers]
    shown, written = lines(ax), [text.get_text() for text in ax.texts]
    assert len(shown) == len(layers) * len(curves) == len(written)
    for nth, (name, colour) in enumerate(curves):
        rows = data.isel(run=data["name"].values == name)
        for at, layer in enumerate(layers):
            every = rows["universality"].values[rows["layer"].values == layer]
            weak = rows.sizes["run"] if layer == 7 else 0  # one of each seed
            values, edges = shown[to_rgba(colour), at]
            expected = np.sort(every)[: every.size - weak]
            np.testing.assert_array_equal(values, expected)
            drawn = (edges[-1] - edges[0]) / (2 * features.SLOT)
            assert drawn == pytest.approx(1 - weak / every.size)
            zero = 100 * np.mean(every == 0)
            assert written[nth * len(layers) + at] == f"{zero:.0f} %"
            assert every.size == WIDTHS[layer - 1] * rows.sizes["run"]


# Figure 3 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "prefix"), [(fig3.draw, "pairs100"), (fig3.draw_pairs10, "pairs10")]
)
def test_figure_3_shows_every_filter_of_every_seed(draw, prefix):
    fig = draw(DATA3)
    for ax, (title, (adam, sgd)) in zip(fig.axes, fig3.PANELS.items(), strict=True):
        curves = [(f"{prefix}/{adam}", fig3.ADAM), (f"{prefix}/{sgd}", fig3.SGD)]
        check_panel(ax, DATA3, fig3.LAYERS, curves)
        assert ax.get_title(loc="left") == title
        assert entries(ax) == [features.rule_of(adam), features.rule_of(sgd)]
    labels = {"pairs100": "100 labels", "pairs10": "10 labels"}[prefix]
    for words in (labels, "2 seeds", "2, 3, 3, 4, 4, 6, 6 filters"):
        assert words in said(fig)


def test_the_names_in_figure_3_are_read_off():
    assert features.rule_of("pairs100/adam-l2-1e-3") == "adam, l2 1e-3"
    assert features.rule_of("digits/sgd-none") == "sgd, none"
    assert features.set_of("pairs10/sgd-l2-1e-3") == "10 labels"
    assert features.set_of("other/sgd-l2-1e-3") == "other"


@pytest.mark.parametrize(("share", "words"), [(0, "0 %"), (0.4, "0.4 %"), (99.6, "100 %")])
def test_a_share_is_not_rounded_to_none(share, words):
    assert features.said(share) == words


# Figure 5 ----------------------------------------------------------------------------------------


def test_figure_5_shows_the_late_layers_at_both_batch_sizes():
    fig = fig5.draw(DATA5)
    for ax, pair in zip(fig.axes, fig5.PAIRS, strict=True):
        check_panel(ax, DATA5, (4, 5, 6, 7), list(zip(pair, (fig5.SMALL, fig5.LARGE), strict=True)))
        title = f"{features.set_of(pair[0])}: {features.rule_of(pair[0])}"
        assert ax.get_title(loc="left") == title
        assert entries(ax) == ["batch 40", "batch 160"]
    assert "3 seeds" in said(fig) and "on digits" in said(fig)


def test_seeds_of_unlike_number_are_said():
    last = int(np.flatnonzero(DATA5["name"].values == DATA5["name"].values[0])[-1])
    assert "2 to 3 seeds" in said(fig5.draw(DATA5.drop_isel(run=last)))


# Figure 2 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "prefix"), [(fig2.draw, "pairs100"), (fig2.draw_pairs10, "pairs10")]
)
def test_figure_2_shows_gamma_above_and_beta_below(draw, prefix):
    fig = draw(DATA2)
    axes = np.array(fig.axes).reshape(2, -1)
    for nth, rule in enumerate(fig2.RULES[prefix]):
        rows = DATA2.isel(run=DATA2["name"].values == f"{prefix}/{rule}")
        one = rows.isel(run=0, filter=slice(5)).dropna("step", how="all")
        for (over, final), variable in zip(
            axes[:, 2 * nth :][:, :2], ("gamma", "beta"), strict=True
        ):
            drawn = {tuple(line.get_ydata()): line.get_color() for line in over.lines}
            for number in range(5):
                values = one[variable].values[:, number]
                red = abs(float(one["gamma"][-1, number])) < 1e-3
                assert drawn[tuple(values)] == (fig2.COLLAPSED if red else fig2.ALIVE)
            assert len(over.lines) == 5 + 1  # and zero
            np.testing.assert_array_equal(over.lines[0].get_xdata(), one["step"])
            assert sum(bar.get_width() for bar in final.patches) == 5
            assert over.get_shared_y_axes().joined(over, final)
    assert "5 filters" in said(fig) and "seed 0" in said(fig)


def test_figure_2_counts_the_signs_of_those_that_are_left():
    fig = fig2.draw(DATA2)
    axes = np.array(fig.axes).reshape(2, -1)[:, ::2]
    for rule, top, bottom in zip(fig2.RULES["pairs100"], *axes, strict=True):
        one = fig2.course(DATA2, f"pairs100/{rule}")
        left = np.abs(one.gamma[-1]) >= 1e-3
        dead = 100 * np.mean(~left)
        assert top.get_title(loc="left") == f"{features.rule_of(rule)}\n|γ| < 1e-3: {dead:.0f} %"
        positive = 100 * np.mean(one.beta[-1][left] > 0)
        assert bottom.get_title(loc="left") == f"β > 0: {positive:.0f} %"


def test_a_network_without_a_living_filter_has_a_dash():
    data = DATA2.copy(deep=True)
    data["gamma"] *= 1e-6
    assert fig2.draw(data).axes[6].get_title(loc="left") == "β > 0: –"


# What is missing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "data", "name"),
    [
        (fig2.draw, DATA2, f"pairs100/{fig2.RULES['pairs100'][1]}"),
        (fig3.draw, DATA3, f"pairs100/{RULES3[-1]}"),
        (fig5.draw, DATA5, fig5.PAIRS[0][1]),
    ],
)
def test_a_run_that_is_missing_is_named(draw, data, name):
    with pytest.raises(ValueError, match=f"no recorded run '{name}'"):
        draw(data.isel(run=data["name"].values != name))


def test_a_seed_a_layer_and_a_value_that_are_missing_are_named():
    name = str(DATA2["name"].values[0])
    with pytest.raises(ValueError, match=f"'{name}' must be there once with seed 7; its seeds: 0"):
        fig2.course(DATA2, name, 7)
    name = str(DATA3["name"].values[0])
    with pytest.raises(ValueError, match=f"'{name}' has no filters in layer C8"):
        features.pooled(DATA3, name, 8)
    data = DATA3.copy(deep=True)
    data["universality"][0, 0] = np.nan
    with pytest.raises(ValueError, match=f"'{name}' has no finite universality in layer C1"):
        features.pooled(data, name, 1)
