"""Figure 4: its committed data, what is drawn of them, its caption, and its command line."""

import json
import platform
import re

import numpy as np
import pytest
import xarray as xr

from figures import __main__ as program
from figures import fig4
from figures.tables import load
from regdyn import rules, simulate, store
from regdyn.gradients import LowGradient
from regdyn.plotting import FLOOR, strength_label

DRAWINGS = {"fig4": (fig4.draw, fig4.PAPER), "fig4-supplement": (fig4.draw_supplement, fig4.OTHERS)}
each_drawing = pytest.mark.parametrize("name", DRAWINGS)
BITS = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="the same bits only on x86-64"
)


@pytest.fixture(scope="module")
def data():
    """The data that are kept with the code."""
    return program.stored("fig4.nc")


@pytest.fixture(scope="module")
def config(data):
    return json.loads(data.attrs["config"])


@pytest.fixture
def small(monkeypatch):
    """A recipe of 300 steps and 20 lanes instead of 30,000 and 1000."""
    monkeypatch.setattr(fig4, "STEPS", 300)
    monkeypatch.setattr(fig4, "LANES", 20)


def caption(fig):
    return " ".join(fig.get_supxlabel().split())


def curves(ax):
    """The lines that show data: those with more than the two points of a marker line."""
    return [line for line in ax.lines if len(line.get_xdata()) > 2]


# The data ----------------------------------------------------------------------------------------


def test_the_committed_data_follow_the_recipe(data, config):
    assert (config["steps"], config["lanes"], config["seed"]) == (30_000, [0, 1000], 0)
    assert config["lam"] == [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    assert config["reg"] == ["l2", "wd"] and config["theta0"] == 1.0
    assert {rule.pop("name"): rule for rule in config["rule"]} == {
        name: rule.hyper()._asdict() for name, rule in rules.RULES.items()
    }
    assert config["gradient"] == {"name": "low", **LowGradient()._asdict()}
    assert sorted(data.data_vars) == sorted(fig4.KEPT)
    assert dict(data.sizes) | {"step": 0} == dict(rule=7, reg=2, lam=5, q=3, threshold=4, step=0)
    assert data["step"].values.tolist() == config["record"]
    assert {0, 1, 30_000} <= {*config["record"]}
    assert all(np.isfinite(data[name]).all() for name in ("abs_quantile", "mean", "rms"))


def test_the_recipe_is_what_the_paper_fixes():
    """Its caption, as transcribed in figures/reference/protocol.csv."""
    fixed = load("protocol", as_printed=True).set_index("name")["value"]
    low = LowGradient()
    late, early = (f"normal, mean 0, std {strength_label(std)}" for std in (low.std, low.std0))
    assert fixed["figure4_gradient"] == late
    first = f"{early} for the first {low.steps0} iterations"
    assert fixed["figure4_gradient_first_iterations"] == first
    sgd, adam = rules.SGD(), rules.Adam()
    assert fixed["figure4_lr_sgd"] == f"{sgd.lr} (momentum {sgd.momentum})"
    assert float(fixed["figure4_lr_adam"]) == adam.lr
    assert fixed["figure4_start_value_strengths_iterations"] == ""  # not said: our choice


@BITS
@pytest.mark.parametrize(("rule", "reg", "lam"), [("adam", "l2", 1e-4), ("lion", "wd", 1e-2)])
def test_the_committed_data_are_computed_again_to_the_same_bits(rule, reg, lam, data):
    """The first 300 steps of a setting, alone."""
    stored = data.sel(rule=[rule], reg=[reg], lam=[lam], step=slice(0, 300))
    ds = simulate(rule, reg, lam, steps=300, lanes=1000, record=stored["step"].values)
    names = ["abs_quantile", "mean", "rms"]
    again = ds[names].sel(q=stored["q"].values)
    xr.testing.assert_identical(again.drop_attrs(), stored[names].drop_attrs())


def test_compute_runs_the_recipe(small, data):
    ds = fig4.compute()
    config = json.loads(ds.attrs["config"])
    assert (config["steps"], config["lanes"]) == (300, [0, 20])
    assert sorted(ds.data_vars) == sorted(data.data_vars)
    for dim in ("rule", "reg", "lam", "q", "threshold"):
        assert ds[dim].values.tolist() == data[dim].values.tolist()
    assert ds["rule"].values.tolist() == [*fig4.PAPER, *fig4.OTHERS]


# The drawings ------------------------------------------------------------------------------------


@each_drawing
def test_a_row_for_each_rule_and_a_column_for_each_regulariser(name, data):
    draw, names = DRAWINGS[name]
    axes = draw(data).axes
    titles = [f"{rule}, {reg}" for rule in names for reg in ("l2", "wd")]
    assert [ax.get_title(loc="left") for ax in axes] == titles
    assert [ax.get_ylabel() for ax in axes] == ["|θ|", ""] * len(names)
    assert [ax.get_xlabel() for ax in axes] == [""] * (len(axes) - 2) + ["step"] * 2
    for ax in axes:
        assert axes[0].get_shared_x_axes().joined(axes[0], ax)
        assert axes[0].get_shared_y_axes().joined(axes[0], ax)
        assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlim()) == ("log", "log", (1, 30_000))


def test_the_paper_has_two_rules_and_the_supplement_the_other_five():
    assert fig4.PAPER == ("sgd", "adam") and len(fig4.OTHERS) == 5
    assert {*fig4.PAPER, *fig4.OTHERS} == {*rules.RULES}


@each_drawing
def test_curves_are_the_data(name, data):
    draw, names = DRAWINGS[name]
    settings = [(rule, reg) for rule in names for reg in ("l2", "wd")]
    late = data["abs_quantile"].sel(step=slice(1, None))
    fig = draw(data)
    for (rule, reg), ax in zip(settings, fig.axes, strict=True):
        shown = late.sel(rule=rule, reg=reg)
        assert len(curves(ax)) == len(ax.collections) == 5
        for lam, line, band in zip(data["lam"].values, curves(ax), ax.collections, strict=True):
            one = shown.sel(lam=lam)
            np.testing.assert_array_equal(line.get_xdata(), one["step"])
            np.testing.assert_array_equal(line.get_ydata(), one.sel(q=0.5))
            outline = {tuple(xy) for xy in band.get_paths()[0].vertices}
            for q in (0.1, 0.9):
                edge = np.maximum(one.sel(q=q).values, FLOOR / 10)  # zeros lie below the axis
                assert outline >= set(zip(one["step"].values, edge, strict=True))
        (marker,) = [line for line in ax.lines if line not in curves(ax)]
        assert list(marker.get_ydata()) == [1e-3, 1e-3]
    (legend,) = fig.legends
    assert [t.get_text() for t in legend.get_texts()] == ["1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]


@each_drawing
def test_the_caption_says_what_the_paper_fixes_and_what_is_ours(name, data):
    said = caption(DRAWINGS[name][0](data))
    parts = re.fullmatch(r".*Fixed by the paper: (.*) Our choice: (.*) Dotted: .*", said)
    fixed, ours = parts.groups()
    assert "std 1e-5 (1e-3 for the first 100 steps)" in fixed
    for words in ("lr 0.1, momentum 0.9", "Adam lr 1e-3"):
        assert (words in fixed) == (name == "fig4")  # the supplement draws neither
    for words in ("θ₀ = 1", "strengths", "30,000 steps"):
        assert words in ours
    assert "median and 10–90 % of 1000 runs" in said
    own = {"fig4": ["β = (0.9, 0.99)", "ε = 1e-8"], "fig4-supplement": ["RMSprop lr 1e-3, α 0.99"]}
    assert all(words in ours for words in own[name])


# The command line --------------------------------------------------------------------------------


def test_without_a_name_it_lists_the_figures(capsys):
    assert program.main([]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [*program.FIGURES]
    recorded = {"fig2", "fig2-pairs10", "fig3", "fig3-pairs10", "fig5"}
    others = {"fig1", *recorded, "claims", "provenance"}
    assert {*listed} == {*others, *DRAWINGS, *(f"table{i:02}" for i in range(1, 11))}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("fig6", "unknown figure 'fig6': did you mean 'fig5'?"),
        ("fig4 fig4-suplement", "did you mean 'fig4-supplement'?"),
        ("fig4 --format gif", "unknown format 'gif'"),
        ("fig4 --out {file}", "{file}"),
        ("fig4 --out {file}/below", "{file}"),
    ],
)
def test_bad_input_gets_a_sentence_and_leaves_nothing(words, complaint, tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    out = [] if "--out" in words else ["--out", str(tmp_path / "new")]
    assert program.main([*out, *words.format(file=file).split()]) == 2
    printed, sentence = capsys.readouterr()
    assert printed == "" and sentence.startswith("error: ") and sentence.count("\n") == 1
    assert complaint.format(file=file) in sentence
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("form", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_it_draws_the_committed_data(form, start, tmp_path, capsys):
    out = tmp_path / "new"
    assert program.main(["fig4", "--format", form, "--out", str(out)]) == 0
    assert [path.name for path in out.iterdir()] == [f"fig4.{form}"]
    assert (out / f"fig4.{form}").read_bytes().startswith(start)
    assert capsys.readouterr().out == f"{out / f'fig4.{form}'}\n"


def test_refresh_computes_once_and_keeps_the_data_beside_the_pictures(small, tmp_path, monkeypatch):
    computed = []
    entries = {
        name: program.FIGURES[name]._replace(
            compute=lambda: computed.append(fig4.compute()) or computed[-1]
        )
        for name in DRAWINGS
    }
    monkeypatch.setattr(program, "FIGURES", entries)
    assert program.main(["all", "--refresh", "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"fig4.nc", "fig4.png", "fig4-supplement.png"}
    (ds,) = computed
    xr.testing.assert_identical(store.load(tmp_path / "fig4.nc"), ds)


def test_an_interrupt_leaves_nothing(small, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupt)
    assert program.main(["fig4", "--out", str(tmp_path)]) == 130
    assert not list(tmp_path.iterdir())
