"""The comparison of forecasts with training: methods, pilots, scores, files, pictures.

Runs are made up: a record whose filters fade at rates of their own, written as cnn.train would.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cnn.config import Config, ModelConfig, OptimConfig, to_dict
from cnn.optim import hyperparameters
from cnn.validate import (
    compare,
    pictures,
    pictures_chances,
    pictures_fates,
    predictions,
    report,
    report_table,
    settings,
    targets,
)
from cnn.validate.__main__ import main
from cnn.validate.methods import FITTED, METHODS, Forecast, Forecasts
from cnn.validate.settings import Setting
from cnn.validate.trained import finished, pilot_for
from regdyn import forecast, scores, store
from regdyn.filters.record import GRADIENT, STATE
from regdyn.rules import Adam
from regdyn.scores import Outcome, Prediction
from regdyn.scoring import Case

STEPS, EVERY = 800, 20
COUNTS = (6, 14)  # filters of the layers
BASE = Config(model=ModelConfig(width=0.1), steps=STEPS, threads=1)


def config(**optim):
    """Settings of a run; `optim` changes the optimizer."""
    return replace(BASE, optim=replace(BASE.optim, **optim))


def made(name, config, *seeds, split="development"):
    return Setting(name, split, config, seeds)


DEV = [
    made("digits/adam-l2-1e-2", config(), 0, 1, 2),
    made("digits/weak", config(lam=3e-3), 0),
    made("digits/strong", config(lam=4e-2), 0),
    made("digits/sgd", config(opt="sgd", lam=5e-3), 0),
    made("digits/wide", replace(config(), model=ModelConfig(width=0.2)), 0),
]
TEST = [made("digits/adam-l2-1e-2", config(), 11, 12, split="test")]


def record(config, seed):
    """Filters fade from 1 at rates of their own, the faster the stronger lambda is."""
    rng, n, k = np.random.default_rng(seed), sum(COUNTS), STEPS // EVERY + 1
    step = np.arange(k) * EVERY
    rate = rng.lognormal(-5.0, 0.7, n) * (config.optim.lam / 1e-2) ** 0.5
    gamma = np.exp(-np.outer(step, rate)) * (1 + 0.01 * rng.normal(size=(k, n)))
    arrays = {name: 1.0 + 0.1 * rng.random((k, n)) for name in STATE}
    arrays |= {name: 1e-3 * (1 + rng.random((k - 1, n))) for name in GRADIENT}
    arrays |= {"gamma": gamma, "beta": 0.1 * gamma, "grad_gamma_zero": np.zeros((k - 1, n))}
    variables = {
        name: (("step" if name in STATE else "window", "filter"), values)
        for name, values in arrays.items()
    }
    layer = [f"C{i + 1}" for i, count in enumerate(COUNTS) for _ in range(count)]
    return xr.Dataset(
        {**variables, "bn_eps": ("filter", np.full(n, 1e-5)),
         "weights_out": ("filter", np.full(n, 90))},
        {"step": step, "window": step[1:], "layer": ("filter", layer)},
        {"config": json.dumps(to_dict(replace(config, seed=seed)))},
    )  # fmt: skip


def train(chosen, out):
    """The runs of these settings, finished."""
    for one in chosen:
        for seed in one.seeds:
            folder = out / one.name / f"seed-{seed}"
            folder.mkdir(parents=True)
            store.save(record(one.config, seed), folder / "run.nc")
            summary = {"provenance": {"git_revision": f"rev-{seed}"}}
            (folder / "summary.json").write_text(json.dumps(summary))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder with finished runs, and the results of comparing those of the first two."""
    path = tmp_path_factory.mktemp("validate")
    train([*DEV, *TEST], path)
    limit = {"setting": "digits/adam-l2-1e-2", "at": 0.2, "auc_limit": 0.93}
    (path / "limits.json").write_text(json.dumps({"rows": [limit]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "settings", lambda split=None: DEV if split != "test" else TEST)
        compare.compare(DEV[:2], path, split="development", at=(0.1, 0.2), draws=3)
    return path


@pytest.fixture
def own_settings(monkeypatch):
    """These settings in the place of splits.csv."""
    chosen = {"development": DEV, "test": TEST, None: [*DEV, *TEST]}
    monkeypatch.setattr(settings, "settings", lambda split=None: chosen[split])


@pytest.fixture
def undrawn(monkeypatch):
    """No pictures; which would have been drawn."""
    asked = []
    monkeypatch.setattr(pictures, "write", lambda out, split: asked.append(split))
    monkeypatch.setattr(compare, "_fates", lambda ours, every, out, split: None)
    return asked


def content(out):
    return json.loads((out / "validate.json").read_text())


def runs(out, chosen=DEV):
    return {one.name: one for one in finished(chosen, out)}


# Runs and pilots -------------------------------------------------------------------------------


def test_finished_runs_are_found_and_read(out):
    every = runs(out, [*DEV, *TEST])
    assert len(every) == 9 and all(name in every for name in ("digits/sgd/seed-0",))
    one = every["digits/adam-l2-1e-2/seed-12"]
    assert one.revision == "rev-12" and one.config.seed == 12 and one.run.steps == STEPS
    assert finished([made("digits/not-there", BASE, 0)], out) == []


def test_the_pilot_is_another_seed_of_its_split(out):
    every = runs(out, [*DEV, *TEST])
    first = "digits/adam-l2-1e-2/seed-"
    pilots = {
        seed: pilot_for(every[f"{first}{seed}"], every.values()).name for seed in (0, 1, 2, 11, 12)
    }
    assert pilots == {0: f"{first}1", 1: f"{first}2", 2: f"{first}0", 11: f"{first}12",
                      12: f"{first}11"}  # fmt: skip


def test_else_the_nearest_setting_or_none(out):
    every = runs(out)
    assert pilot_for(every["digits/strong/seed-0"], every.values()).setting.name == DEV[0].name
    ours = [every["digits/strong/seed-0"], every["digits/weak/seed-0"]]
    assert pilot_for(ours[0], ours) is ours[1]
    assert pilot_for(every["digits/sgd/seed-0"], every.values()) is None  # dies in another way
    assert pilot_for(every["digits/wide/seed-0"], every.values()) is None  # another network


def test_rates_of_other_rules_do_not_count(tmp_path):
    """Adadelta's rate of 1 is far from Adam's and no further from one than from the other."""
    chosen = [
        made("near", config(lr=2e-3), 0), made("far", config(lam=2e-2), 0),
        made("rule", config(opt="adadelta", lam=2e-2), 0), made("rate", config(lr=1e-3), 0),
    ]  # fmt: skip
    train(chosen, tmp_path)
    every = runs(tmp_path, chosen)
    assert pilot_for(every["rule/seed-0"], every.values()).setting.name == "far"
    assert pilot_for(every["near/seed-0"], every.values()).setting.name == "rate"


# Methods --------------------------------------------------------------------------------------


def test_every_method_says_something(out):
    every = runs(out)
    found = Forecasts(list(every.values())).of(every["digits/weak/seed-0"], 0.2)
    assert [one.method for one in found] == [*(method.name for method in METHODS), FITTED]
    assert not any(one.refused for one in found)
    with_pilot = [one.method for one in found if one.pilot]
    assert with_pilot == ["forecast", "pilot_sigma", "same_as_pilot"]
    assert {one.case.true.at for one in found} == {160}
    said = found[0].case.said
    assert said.p.shape == (20,) and said.layer_share.shape == (2,)
    assert np.all(said.layer_lo <= said.layer_hi) and said.lo <= said.total


def test_without_a_pilot_or_kin_a_method_says_why(out):
    every = runs(out)
    found = Forecasts(list(every.values())).of(every["digits/sgd/seed-0"], 0.2)
    why = {(one.method, bool(one.refused)): one.refused for one in found}
    assert "is a pilot" in why["same_as_pilot", True] and "is a pilot" in why["forecast", True]
    assert "at least one finished run" in why[FITTED, True]
    assert ("forecast", False) in why and ("abs_gamma", False) in why
    assert report.rows(found, {})[0]["auc"] is None


def test_no_method_sees_the_future(out):
    """The early run that a method gets ends at the step of the forecast."""
    every, seen = runs(out), []
    forecasts = Forecasts(list(every.values()))
    forecasts.regression = lambda one, at: lambda early: seen.append(early.record.step[-1])
    forecasts.of(every["digits/weak/seed-0"], 0.1)
    assert seen == [80]


def test_the_regression_is_fitted_to_other_settings_of_the_development_split(out, monkeypatch):
    every, fitted_to = runs(out, [*DEV, *TEST]), []
    monkeypatch.setattr(
        "cnn.validate.methods.fitted.fit", lambda some, at: fitted_to.append((len(some), at))
    )
    forecasts = Forecasts(list(every.values()))
    for name in ("digits/weak/seed-0", "digits/adam-l2-1e-2/seed-0", "digits/adam-l2-1e-2/seed-11"):
        forecasts.regression(every[name], 0.1)
    # 3 seeds, strong, wide; then weak, strong, wide, once for a setting
    assert fitted_to == [(5, 0.1), (3, 0.1)]


# Rows and summaries -----------------------------------------------------------------------------


def fake(name, *, auc=True, method="forecast", pilot="p", total=40.0, at=0.1, reg="l2"):
    """A forecast of a run of 20 filters; with auc it is perfect, else upside down."""
    layer, dead = np.repeat([0, 1], 10), np.tile([True] * 4 + [False] * 6, 2)
    if total == 0:
        dead = dead & False
    score = dead * 1.0 if auc else -1.0 * dead
    said = scores.of_probabilities(np.full(20, 0.4), layer, score=score)
    run = SimpleNamespace(rule=Adam(), reg=reg)
    of = SimpleNamespace(
        name=f"{name}/seed-0", setting=made(name, config(), 0), seed=0, run=run, revision="r"
    )
    return Forecast(
        of, method, at, pilot, Case(said, Outcome(dead, np.full(20, np.inf), layer, 80))
    )


def test_rows_hold_the_schema(out):
    rows = content(out)["rows"]
    schema = {"method", "setting", "split", "at", "n_dead", "auc", "auc_limit", "share_mae", "ece",
              "time_ratio", "within_1_25"}  # fmt: skip
    assert all(schema < set(row) for row in rows)
    assert len(rows) == 4 * 2 * (len(METHODS) + 1)
    one = next(row for row in rows if row["setting"] == DEV[0].name and row["at"] == 0.2)
    assert one["auc_limit"] == 0.93 and one["run_revision"] == "rev-0"
    assert one["revision"] == store.provenance()["git_revision"]
    assert one["group"] == "worn" and one["pilot"] == "digits/adam-l2-1e-2/seed-1"
    assert {row["auc_limit"] for row in rows if row["at"] == 0.1} == {None}
    said = {row["method"]: row for row in rows if row["setting"] == "digits/weak"}
    assert said["abs_gamma"]["share_mae"] is None and said["same_as_pilot"]["auc"] is None
    assert said["forecast"]["share_mae"] is not None


def test_summary_compares_with_the_limit_and_with_gamma():
    found = [
        fake("a"), fake("b", auc=False), fake("c", reg="wd"),
        *(fake(name, method="abs_gamma", pilot=None, reg=reg, auc=name != "b")
          for name, reg in (("a", "l2"), ("b", "l2"), ("c", "wd"))),
    ]  # fmt: skip
    listed = report.summary(found, {("a", 0.1): 0.9, ("b", 0.2): 0.5}, draws=5)
    by = {(row["group"], row["method"]): row for row in listed}
    assert len(listed) == 6 and by["all", "forecast"]["runs"] == 3
    assert by["worn", "forecast"]["auc"] == 0.5 and by["absorbed", "forecast"]["auc"] == 1.0
    assert by["worn", "forecast"]["auc_lo"] <= 0.5 <= by["worn", "forecast"]["auc_hi"]
    assert by["all", "forecast"]["auc_above_limit"] == pytest.approx(0.1)
    assert by["all", "forecast"]["auc_above_abs_gamma"] == 0.0
    assert by["absorbed", "forecast"]["auc_above_limit"] is None


def test_false_deaths_are_of_settings_in_which_nothing_dies():
    calm, other = fake("calm", total=0.0), fake("other")
    bold = [
        one._replace(case=one.case._replace(said=Prediction(p=np.full(20, p))))
        for one, p in ((calm, 0.4), (other, 0.9))
    ]
    (row,) = [row for row in report.summary(bold, {}, draws=3) if row["group"] == "all"]
    assert row["false_deaths"] == 0.0
    (row,) = [row for row in report.summary(bold[1:], {}, draws=3) if row["group"] == "all"]
    assert "false_deaths" not in row


def test_the_table_shows_them(out, capsys):
    report_table.show(content(out), "development")
    said = capsys.readouterr().out
    for word in ("same_as_pilot", "filters worn down", "what-if of other settings", "worst"):
        assert word in said
    assert report_table.cell(None, ".1f") == report_table.cell(float("nan"), ".1f") == "-"
    assert report_table.cell(1.26, ".1f") == "1.3"


# Files ----------------------------------------------------------------------------------------


def test_csv_has_the_same_rows(out):
    rows, table = content(out)["rows"], pd.read_csv(out / "validate.csv")
    assert len(table) == len(rows)
    ours = [row["auc"] if row["auc"] is not None else np.nan for row in rows]
    assert table["auc"].to_numpy() == pytest.approx(ours, rel=1e-5, nan_ok=True)
    assert len(pd.read_csv(out / "targets.csv")) == len(content(out)["targets"]) > 0


def test_predictions_hold_every_filter(out):
    ds = store.load(out / "predictions-development.nc")
    assert dict(ds.sizes) == {"by": 8, "at": 2, "filter": 80, "layer": 8, "run": 4}
    assert ds["by"].values.tolist()[:2] == ["forecast", "forecast, own record"]
    share = ds["dead"].astype(float).groupby(ds["filter_layer"]).mean()
    assert 100 * share.values == pytest.approx(ds["layer_true"].values)
    row = next(row for row in content(out)["rows"] if row["seed"] == 2 and row["at"] == 0.2)
    k = ds["run"].values.tolist().index("digits/adam-l2-1e-2/seed-2")
    here = ds.sel(by="forecast", at=0.2)
    assert float(here["total"][k]) == pytest.approx(row["total_said"])
    of = ds["layer_run"].values[ds["filter_layer"].values] == k
    assert here["p"].values[of].mean() == pytest.approx(row["total_said"] / 100)
    layer = ds["filter_layer"].values[of]
    assert scores.auc(here["score"].values[of], ds["dead"].values[of], layer) == row["auc"]
    with pytest.raises(ValueError, match="no forecast to keep"):
        predictions.dataset([])


def test_another_split_is_added(own_settings, undrawn, tmp_path):
    train([*DEV, *TEST], tmp_path)
    compare.compare(DEV[1:2], tmp_path, split="development", at=(0.2,), draws=2)
    before = content(tmp_path)
    compare.compare(TEST, tmp_path, split="test", at=(0.2,), draws=2)
    both = content(tmp_path)
    assert [row for row in both["rows"] if row["split"] == "development"] == before["rows"]
    assert {row["seed"] for row in both["rows"] if row["split"] == "test"} == {11, 12}
    assert set(both["provenance"]) == {"development", "test"}
    assert undrawn == ["development", "test"]
    assert (tmp_path / "predictions-development.nc").is_file()
    assert {row["split"] for row in both["targets"]} <= {"development", "test"}


def test_rows_of_this_split_are_replaced(tmp_path):
    path, parts = tmp_path / "validate.json", ("rows", "summary", "targets", "target_summary")

    def of(split, number):
        rows = [{"split": split, "number": number}]
        return {"provenance": {split: number}, **dict.fromkeys(parts, rows)}

    path.write_text(json.dumps(of("development", 1)))
    for split, number in (("test", 2), ("development", 3)):
        path.write_text(json.dumps(report._joined(of(split, number), path, split)))
    found = json.loads(path.read_text())
    for part in parts:
        assert [row["number"] for row in found[part]] == [2, 3]
    assert found["provenance"] == {"development": 3, "test": 2}


# What-if --------------------------------------------------------------------------------------


def test_targets_are_means_over_runs(out):
    every = runs(out)
    pilot = every["digits/weak/seed-0"]
    found = targets.targets([pilot], list(every.values()))
    assert [one.setting for one in found] == [DEV[0].name, "digits/strong", "digits/sgd",
                                              "digits/wide"]  # fmt: skip
    first = found[0]
    own = [100 * np.mean(np.abs(every[f"{DEV[0].name}/seed-{k}"].run.record.gamma[-1]) < 1e-3)
           for k in range(3)]  # fmt: skip
    assert first.runs == 3 and first.true == pytest.approx(np.mean(own))
    assert first.same == pytest.approx(100 * np.mean(np.abs(pilot.run.record.gamma[-1]) < 1e-3))
    layers = [forecast.measured(every[f"{DEV[0].name}/seed-{k}"].run).share for k in range(3)]
    apart = np.abs(forecast.measured(pilot.run).share - np.mean(layers, axis=0))
    assert first.layer_same == pytest.approx(apart.mean())
    assert first.kind == "adaptive" and first.lo <= first.said <= first.hi
    wide = found[-1]
    assert wide.kind == "network" and "width must be 1" in wide.refused and np.isnan(wide.said)
    row = targets.row(wide)
    assert row["said"] is None and row["pilot"] == pilot.name and row["method"] == "what_if"


@pytest.mark.parametrize(
    "a, b, kind",
    [
        ({}, {"lam": 1e-3}, "adaptive"),
        ({}, {"opt": "amsgrad"}, "adaptive"),
        ({}, {"opt": "rmsprop"}, "rule"),
        ({}, {"reg": "wd", "lam": 3e-3}, "rule"),
        ({"reg": "wd", "lam": 3e-3}, {"reg": "wd", "lam": 2e-3}, "decay"),
        ({"opt": "sgd"}, {"opt": "sgd", "reg": "wd"}, "sgd"),
        ({"opt": "sgd"}, {"opt": "sgd", "batch": 80}, "batch"),
        ({}, {"batch": 80}, "adaptive"),
        ({}, {"width": 0.2}, "network"),
    ],
)
def test_kinds(a, b, kind):
    def one(changes):
        optim = {k: v for k, v in changes.items() if k in OptimConfig.__dataclass_fields__}
        model = replace(BASE.model, width=changes.get("width", 0.1))
        full = replace(config(**optim), batch=changes.get("batch", 40), model=model)
        run = SimpleNamespace(rule=hyperparameters(full.optim), reg=full.optim.reg)
        return SimpleNamespace(setting=made("x", full), run=run)

    assert targets.kind_of(one(a), one(b)) == kind


def aim(pilot, setting, true, said, *, refused=""):
    pilot = SimpleNamespace(name=pilot, setting=SimpleNamespace(name=pilot.rsplit("/", 1)[0]))
    return targets.Target(pilot, setting, "development", "sgd", 1, true, said, said - 5, said + 5,
                          7.0, 10.0, 9.0, refused)  # fmt: skip


def test_summary_of_targets():
    found = [
        aim("a/seed-0", "x", 10, 12), aim("a/seed-0", "y", 20, 26), aim("a/seed-1", "x", 10, 11),
        aim("a/seed-1", "z", 0, np.nan, refused="no."),
    ]  # fmt: skip
    (row,) = targets.summary(found)
    assert row["pilots"] == row["targets"] == 2 and row["refused"] == 1
    assert row["error"] == pytest.approx(3) and row["worst_pilot"] == pytest.approx(4)
    assert row["layer_error"] == 7 and row["layer_same"] == 9
    assert row["same"] == pytest.approx(10 / 3) and row["covered"] == pytest.approx(200 / 3)
    assert row["rank"] == pytest.approx(np.sqrt(3) / 2)  # 11, 12, 26 against 10, 10, 20
    (row,) = targets.summary(found[-1:])
    assert row["error"] is None and row["targets"] == 0


# Pictures -------------------------------------------------------------------------------------


def test_pictures_are_written(out):
    names = {path.name for path in out.glob("*.png")}
    assert names == {
        *(f"{name}-development.png" for name in ("shares", "reliability", "roc", "targets")),
        "fates-development-digits-adam-l2-1e-2.png",
    }
    assert not list(out.glob(".*"))


def texts(figure):
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts)


def test_shares_picture_has_a_point_for_each_layer(out):
    ds = store.load(out / "predictions-development.nc")
    figure = pictures.draw_shares(ds)
    for ax, at in zip(figure.axes, (0.1, 0.2), strict=True):
        drawn = sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o")
        assert drawn == ds.sizes["layer"]
        rows = [r for r in content(out)["rows"] if r["at"] == at and r["method"] == "forecast"]
        error = np.mean([row["share_mae"] for row in rows if row["pilot"]])
        assert f"mean error {error:.1f} points" in " ".join(t.get_text() for t in ax.texts)


def test_where_there_is_no_pilot_the_own_record_is_drawn(out):
    ds = store.load(out / "predictions-development.nc")
    before = ds["layer_share"].sel(by="forecast", at=0.1).values
    assert np.array_equal(pictures._said(ds, "share", "forecast", 0.1), before)
    assert not np.array_equal(before, ds["layer_share"].sel(by="forecast, own record", at=0.1))
    ds["layer_share"].loc[{"by": "forecast"}] = np.nan
    said = pictures._said(ds, "share", "forecast", 0.1)
    assert np.array_equal(said, ds["layer_share"].sel(by="forecast, own record", at=0.1).values)
    assert np.isnan(pictures._said(ds, "share", "abs_gamma", 0.1)).all()


def test_targets_picture():
    rows = [targets.row(aim("a/seed-0", "x", 10, 12)), targets.row(aim("b/seed-0", "y", 20, 26))]
    figure = pictures.draw_targets(rows)
    assert "mean error 4.0 points" in texts(figure) and "same as the pilot 5.0" in texts(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_roc_has_the_area_of_the_auc(out):
    ds = store.load(out / "predictions-development.nc")
    every = np.ones(ds.sizes["run"], bool)
    for at in (0.1, 0.2):
        for name in ("abs_gamma", "forecast"):
            curve, area = pictures_chances.roc(ds.sel(by=name, at=at), every)
            drawn = np.trapezoid(curve, pictures_chances.GRID)
            assert drawn == pytest.approx(area, abs=0.01) and np.all(np.diff(curve) >= 0)
            assert curve[0] == 0 and curve[-1] == 1
    assert pictures_chances.roc(ds.sel(by="same_as_pilot", at=0.1), every) is None
    limit = pictures_chances._binormal(0.83)
    assert np.trapezoid(limit, pictures_chances.GRID) == pytest.approx(0.83, abs=2e-3)


def test_roc_of_a_score_that_is_upside_down():
    score, dead = np.array([5.0, 4.0, 3.0, 2.0, 2.0, 2.0]), np.array([False] * 3 + [True] * 3)
    ds = xr.Dataset({"score": ("filter", score), "dead": ("filter", dead),
                     "filter_layer": ("filter", np.zeros(6, int)),
                     "layer_run": ("layer", np.zeros(1, int))})  # fmt: skip
    curve, area = pictures_chances.roc(ds, np.array([True]))
    assert area == 0 and curve[-1] == 1 and np.all(curve[:-1] == 0)
    assert pictures_chances.roc(ds, np.array([False])) is None


def test_roc_picture_has_a_panel_for_each_limit(out):
    ds = store.load(out / "predictions-development.nc")
    figure = pictures_chances.draw_roc(ds, {("digits/adam-l2-1e-2", 0.2): 0.93}, 0.2)
    (ax,) = figure.axes
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert ax.get_title(loc="left") == "digits/adam-l2-1e-2" and "replay limit 0.930" in labels
    (ax,) = pictures_chances.draw_roc(ds, {}, 0.2).axes
    assert ax.get_title(loc="left") == "all settings"


def test_reliability_shows_the_calibration_error(out):
    ds = store.load(out / "predictions-development.nc")
    figure = pictures_chances.draw_reliability(ds)
    known = np.isfinite(ds["p"].sel(by="logistic", at=0.1).values)
    table = scores.calibration(
        ds["p"].sel(by="logistic", at=0.1).values[known], ds["dead"].values[known]
    )
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert f"logistic: {table.error:.3f}" in labels


def test_fates_show_what_was_seen(out):
    run = runs(out)["digits/adam-l2-1e-2/seed-0"].run
    ds = forecast.of_run(run, 160, None)
    chosen = pictures_fates.chosen(ds, 5)
    p = ds["p_collapse"].values[chosen]
    assert len(set(chosen.tolist())) == 5 and np.all(np.diff(p) >= 0)
    assert p[0] == ds["p_collapse"].min() and p[-1] == ds["p_collapse"].max()
    figure = pictures_fates.draw_fates(run.record, ds, chosen, title="digits")
    assert len(figure.axes) == 5
    for ax, number in zip(figure.axes, chosen, strict=True):
        black = next(line for line in ax.lines if line.get_color() == "black")
        assert black.get_xdata()[-1] == 160
        whole = next(line for line in ax.lines if len(line.get_xdata()) == len(run.record.step))
        died = abs(run.record.gamma[-1, number]) < 1e-3
        assert whole.get_color() == (pictures_fates.GONE if died else pictures_fates.ALIVE)


# The command ----------------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch):
    """What would have been trained: (names, jobs); nothing is."""
    asked = []

    def nothing(chosen, out, *, jobs):
        asked.append(([one.name for one in chosen], jobs))
        return [SimpleNamespace(name=one.name, failure="", config=BASE) for one in chosen]

    monkeypatch.setattr("cnn.validate.runs.train", nothing)
    return asked


def test_the_command_trains_compares_and_says_so(own_settings, undrawn, trained, tmp_path, capsys):
    train(DEV, tmp_path)
    words = [
        "run",
        "--only",
        "digits/weak",
        "--at",
        "0.2",
        "--draws",
        "2",
        "--jobs",
        "2",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    assert trained == [(["digits/weak"], 2)]
    said = capsys.readouterr().out
    assert "written to" in said and "validate.json" in said and "forecast" in said
    assert {row["setting"] for row in content(tmp_path)["rows"]} == {"digits/weak"}


@pytest.fixture
def compared(monkeypatch):
    """What would have been compared: (names, split, at); nothing is."""
    asked = []

    def nothing(chosen, out, *, split, at, draws):
        asked.append(([one.name for one in chosen], split, at))
        return {"summary": [], "target_summary": []}

    monkeypatch.setattr(compare, "compare", nothing)
    return asked


def test_the_test_split_is_asked_for_by_name(own_settings, trained, compared, tmp_path):
    every = [one.name for one in DEV]
    assert main(["--out", str(tmp_path)]) == main(["run", "--out", str(tmp_path)]) == 0
    assert trained == [(every, 1)] * 2
    assert compared == [(every, "development", (0.05, 0.1, 0.2))] * 2
    assert main(["run", "--split", "test", "--out", str(tmp_path)]) == 0
    assert compared[-1] == ([TEST[0].name], "test", (0.05, 0.1, 0.2))


def test_a_failed_training_is_told_and_the_others_count(
    own_settings, compared, monkeypatch, tmp_path, capsys
):
    failed = SimpleNamespace(name="digits/strong", failure="the loss is NaN.", config=BASE)
    monkeypatch.setattr("cnn.validate.runs.train", lambda chosen, out, jobs: [failed])
    assert main(["run", "--out", str(tmp_path)]) == 1
    assert "digits/strong seed 0: the loss is NaN." in capsys.readouterr().err
    assert len(compared) == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["--only", "digits/nothing*"], "no setting of the development split matches"),
        (["--at", "1.5"], "--at must be a finite number > 0 and < 1, not 1.5"),
        (["--at", "0"], "--at must be"),
        (["--jobs", "0"], "--jobs must be a whole number >= 1"),
        (["--only", "digits/weak"], "no run of these settings is finished in"),
    ],
)
def test_bad_words(words, message, own_settings, trained, tmp_path, capsys):
    assert main(["run", *words, "--out", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not trained or "finished" in message
    assert not (tmp_path / "new").exists()
