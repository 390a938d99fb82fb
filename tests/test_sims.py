"""The studies in sims/: their numbers at small size, their tables, pictures and command line."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from regdyn import execution
from regdyn.regularizers import decay_rate
from regdyn.rules import SGD
from sims import (
    __main__ as program,
)
from sims import (
    amsgrad_flavours,
    common,
    conventions,
    crossover,
    intermittency,
    memory,
    noise_floors,
    phase_diagram,
)

ROOT = Path(__file__).parents[1]
STUDIES = {
    "amsgrad-flavours": (amsgrad_flavours, dict(lanes=40, steps=8_000, filling=1_000)),
    "conventions": (conventions, dict(lanes=40, steps=8_000)),
    "crossover": (crossover, dict(lanes=40)),
    "intermittency": (intermittency, dict(lanes=40, steps=2_000, filling=500)),
    "memory": (memory, dict(lanes=40, steps=4_000, filling=1_000)),
    "noise-floors": (noise_floors, dict(lanes=40, steps=5_000)),
    "phase-diagram": (phase_diagram, dict(lanes=20, steps=2_000)),
}
each_study = pytest.mark.parametrize("name", STUDIES)
KEYS = {
    "amsgrad-flavours": ["setting", "rule", "lam"],
    "conventions": ["setting", "reg"],
    "crossover": ["theta0", "level", "rival"],
    "intermittency": ["way", "f", "batch"],
    "memory": ["experiment", "lam", "p", "beta2", "reg"],
    "noise-floors": ["setting", "rule", "reg", "lam"],
    "phase-diagram": ["way", "lam", "sigma"],
}
MADE = {}


@pytest.fixture
def compiled(monkeypatch):
    """Small jobs too: the same bits as the NumPy form, ten times as fast."""
    monkeypatch.setattr(execution, "_SMALL", 0)


@pytest.fixture
def small(monkeypatch, compiled):
    """The result of a study at a small size, made once."""
    monkeypatch.setattr(crossover, "STEPS", 6_000)
    monkeypatch.setattr(crossover, "DRAWS", 20)
    monkeypatch.setattr(intermittency, "STRENGTH", 1e-2)  # to be in balance after 2,000 steps
    monkeypatch.setattr(intermittency, "_law", lambda *_: math.nan)  # ten seconds
    shape = [
        len(axis) for axis in (phase_diagram.WAYS, phase_diagram.STRENGTHS, phase_diagram.SIGMAS)
    ]
    monkeypatch.setattr(phase_diagram, "_regimes", lambda: np.full(shape, "sign-like"))  # twenty

    def make(name):
        if name not in MADE:
            study, size = STUDIES[name]
            MADE[name] = study.run(seed=1, **size)
        return MADE[name]

    return make


def committed(name):
    return pd.read_csv(ROOT / "sims" / "data" / f"{name}.csv")


def page(name):
    return (ROOT / "docs" / "studies" / f"{name}.md").read_text(encoding="utf-8")


# Every study -------------------------------------------------------------------------------------


def test_every_study_is_listed_with_its_question(capsys):
    assert program.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (study, _) in STUDIES.items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert line.endswith(study.QUESTION) and study.QUESTION.endswith("?")
        assert 0 < study.SECONDS <= program.QUICK
    assert set(KEYS) == set(STUDIES) <= set(program.studies())


@each_study
def test_what_made_the_data_is_written_on_them(name, small):
    data = small(name)
    config = common.config_of(data)
    assert (config["seed"], data.attrs["seed"]) == (1, "1")
    assert config["lanes"] == data.attrs["lanes"] == STUDIES[name][1]["lanes"]
    assert {"title", "git_revision", "regdyn_version", "numpy_version"} <= set(data.attrs)


@each_study
def test_the_committed_table_has_the_rows_and_columns_that_the_code_makes(name, small):
    table, kept = STUDIES[name][0].table(small(name)), committed(name)
    assert list(table) == list(kept)
    assert not table.duplicated(KEYS[name]).any() and not kept.duplicated(KEYS[name]).any()
    pd.testing.assert_frame_equal(table[KEYS[name]], kept[KEYS[name]], check_dtype=False)


@each_study
def test_shares_are_shares_and_times_are_in_order(name, small):
    for table in (STUDIES[name][0].table(small(name)), committed(name)):
        for column in table:
            if column.startswith(("below", "passed", "pull_below")):
                assert table[column].between(0, 1).all()
            if column.endswith("_low"):
                middle, high = column.removesuffix("_low"), column.replace("_low", "_high")
                assert not (table[column] > table[middle]).any()
                assert not (table[middle] > table[high]).any()


@each_study
def test_the_answer_holds_numbers_of_the_data(name, small):
    text = STUDIES[name][0].answer(small(name))
    lanes = STUDIES[name][1]["lanes"]
    assert text.startswith("Asked: ") and "For the paper: " in text
    assert f"n = {lanes}" in text and "seed 1" in text
    assert "nan" not in text.split() and "{" not in text and "\n" not in text


@each_study
def test_the_picture_can_be_drawn_and_saved(name, small, tmp_path):
    fig = STUDIES[name][0].draw(small(name))
    fig.savefig(tmp_path / "a.png", dpi=50)
    assert (tmp_path / "a.png").stat().st_size > 5_000
    assert f"{small(name).attrs['lanes']} lanes" in " ".join(fig.get_supxlabel().split())
    data = [a for a in fig.axes if a.get_xscale() == "log" or a.get_yscale() == "log"]
    assert all(ax.lines or ax.collections for ax in data)


@pytest.mark.parametrize("name", ["conventions", "memory"])
def test_the_same_seed_gives_the_same_table(name, compiled):
    """And another seed another one."""
    study, size = STUDIES[name]
    size = size | {"steps": 400} | ({"filling": 100} if "filling" in size else {})
    first, again, other = (study.table(study.run(seed=seed, **size)) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.slow
@each_study
def test_the_committed_table_and_the_page_are_those_of_the_default_run(name):
    study = STUDIES[name][0]
    data = study.run()
    table, kept = study.table(data), committed(name)
    theory = [column for column in table if column.startswith("theory")]
    pd.testing.assert_frame_equal(
        table.drop(columns=theory), kept.drop(columns=theory), check_dtype=False
    )
    pd.testing.assert_frame_equal(table[theory], kept[theory], rtol=0.02, check_dtype=False)
    assert " ".join(study.answer(data).split()) in " ".join(page(name).split())


# The pages ---------------------------------------------------------------------------------------


@each_study
def test_the_tables_of_a_page_are_rows_of_the_committed_table(name):
    """A table whose columns are those of the file: every cell, as `shown` writes it."""
    kept = committed(name)
    cells = kept.map(common.shown)
    checked, columns = 0, None
    for line in page(name).splitlines():
        row = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = row if set(row) <= set(kept) else ()
        elif columns and not set(line) <= set("|-: "):
            assert (cells[columns] == row).all(axis=1).sum() == 1, line
            checked += 1
    assert checked >= 4


@each_study
def test_a_page_says_how_to_rerun_it_and_shows_its_picture(name):
    text = page(name)
    assert f"python -m sims {name}" in text
    assert f"(../images/study-{name}.png)" in text
    assert f"(../../sims/data/{name}.csv)" in text


@pytest.mark.parametrize(
    ("name", "pairs", "share"),
    [
        ("crossover", [("crossover", "theory")], 0.98),
        ("memory", [("t0.5", "theory_t0.5"), ("rms", "theory_rms")], 0.98),
        ("noise-floors", [("rms", "theory_rms")], 0.9),
    ],
)
def test_the_theory_beside_the_simulation_is_near_it(name, pairs, share):
    """Within 5 % in most rows: the simulation's own noise, and docs/theory-accuracy.md."""
    kept = committed(name)
    if name == "memory":
        kept = kept[kept["experiment"] == "burst"]
    for simulated, theory in pairs:
        off = (kept[theory] / kept[simulated] - 1).abs().dropna()
        assert len(off) > 20 and (off < 0.05).mean() >= share


def test_the_theory_is_too_slow_where_few_gradients_fall_into_a_memory():
    """What the page of memory says of p / (1 - beta2), for 400 lanes."""
    rare = committed("memory").query("experiment == 'rare' and p < 1")
    factor = rare["theory_t0.5"] / rare["t0.5"]
    seen = (rare["p"] / (1 - rare["beta2"])).round(6)
    wd = rare["reg"] == "wd"
    assert (factor[wd] - 1).abs().max() < 0.04
    for number, low, high in ((100, 1, 1.035), (10, 1.09, 1.14), (1, 1.8, 2.8), (0.1, 10, 16)):
        some = factor[~wd & (seen == number)]
        assert len(some) >= 2 and some.between(low, high).all()


def test_what_the_pages_of_crossovers_and_floors_say_of_errors():
    """Numbers that stand in their last paragraphs only."""
    kept = committed("crossover")
    assert (kept["theory"] / kept["crossover"] - 1).abs().max() < 0.03
    high = kept["limit"] / kept["crossover"]
    assert high[kept["rival"] == "adam wd"].max() == pytest.approx(2.3, abs=0.05)
    assert high[kept["rival"] == "sgd l2"].max() == pytest.approx(2.9, abs=0.05)
    assert high[(kept["level"] == 0.5) & (kept["theta0"] >= 2)].max() < 1.1
    kept = committed("noise-floors")
    off = (kept["theory_rms"] / kept["rms"] - 1).abs()
    assert (off < 0.03).mean() >= 0.9 and off[kept["lam"] <= 1e-5].max() < 0.0535
    worst = kept.loc[off.idxmax()]
    assert (worst["rule"], worst["lam"]) == ("lion", 1e-2) and off.max() < 0.095
    assert off[(kept["rule"] != "lion") & (kept["lam"] > 1e-5)].max() < 0.05


# Crossover ---------------------------------------------------------------------------------------


def test_the_crossing_of_two_known_curves():
    """ln 2 / lambda steps against 500: level at ln 2 / 500; never if one is always later."""
    lam = crossover.STRENGTHS
    decay = np.repeat(np.log(2) / lam[:, None], 5, axis=1)
    linear = np.full_like(decay, 500.0)
    assert crossover._crossing(linear, decay) == pytest.approx(math.log(2) / 500, rel=1e-12)
    assert math.isnan(crossover._crossing(decay, linear))
    assert math.isnan(crossover._crossing(linear, np.full_like(linear, np.inf)))


def test_crossovers_agree_with_those_of_the_default_run(small):
    """Within 4 standard errors of both runs and 0.5 % for the interpolation and whole steps."""
    table = crossover.table(small("crossover")).set_index(KEYS["crossover"])
    kept = committed("crossover").set_index(KEYS["crossover"]).loc[table.index]
    off = (table["crossover"] - kept["crossover"]).abs()
    assert (off <= 4 * np.hypot(table["error"], kept["error"]) + 5e-3 * kept["crossover"]).all()
    assert (table["error"] > kept["error"]).mean() > 0.8  # fewer lanes say less


def test_the_limit_without_memory_is_above_every_crossover(small):
    """Memory makes Adam later, so weight decay overtakes it earlier."""
    for table in (crossover.table(small("crossover")), committed("crossover")):
        assert (table["crossover"] < table["limit"]).all()
    at = crossover.table(small("crossover")).query("theta0 == 1 and level == 0.1")
    assert at["limit"].to_numpy() == pytest.approx(1e-3 * math.log(10) / 0.9, rel=1e-3)


# Noise floors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "reg", "law"),
    [("sgd", "l2", 1e-5 / math.sqrt(2e-2)), ("adam", "wd", 1e-3 / math.sqrt(2e-2))],
)
def test_floors_are_those_of_leading_order_theory(rule, reg, law, small):
    """At lambda = 1e-2, to 7 % (one order beyond) and 4 standard errors.

    40 lanes and 5 times that noise needs to be forgotten, 1 / lambda: 200 samples of a square.
    """
    at = dict(setting="figure 4", rule=rule, reg=reg, lam=1e-2)
    rms = float(small("noise-floors")["rms"].sel(at))
    assert rms == pytest.approx(law, rel=0.07 + 4 / math.sqrt(2 * 200))
    assert float(small("noise-floors")["passed"].sel(at)) == 1


def test_who_stays_below_the_threshold(small):
    """SGD's floor at 1e-2 is 14 standard deviations below 1e-3, Adam's under wd 7 times above."""
    below = small("noise-floors")["below"].sel(setting="figure 4", lam=1e-2)
    assert float(below.sel(rule="sgd", reg="l2")) == 1
    share = math.erf(1e-3 / 6.7e-3 / math.sqrt(2))
    error = math.sqrt(share * (1 - share) / 200)
    assert float(below.sel(rule="adam", reg="wd")) == pytest.approx(share, abs=4 * error)


# Memory ------------------------------------------------------------------------------------------


def test_the_dense_control_decays_as_weight_decay_does(small):
    """lr / sigma = 1: at p = 1 Adam + l2 takes what wd takes, at p = 1e-4 (nearly no gradient) not.

    Both see the same noise; their late levels after 3,000 steps of 1e-4 are exp(-0.3) = 0.74.
    """
    rms = small("memory")["rare_rms"].sel(beta2=0.99)
    dense, rare = rms.sel(p=1.0), rms.sel(p=1e-4)
    assert float(dense.sel(reg="l2")) == pytest.approx(float(dense.sel(reg="wd")), rel=0.02)
    assert float(rare.sel(reg="l2")) < 0.3 < 0.7 < float(rare.sel(reg="wd"))


def test_rarity_does_not_change_the_size_of_the_gradients(small):
    """With a memory much longer than the gap, rare gradients are as good as dense ones.

    Were their rms a tenth at p = 0.01, l2 would be ten times as fast: exp(-3) and not exp(-0.3).
    """
    rms = small("memory")["rare_rms"].sel(beta2=0.9999)
    for p in (0.1, 0.01):
        one = rms.sel(p=p)
        assert float(one.sel(reg="l2")) == pytest.approx(float(one.sel(reg="wd")), rel=0.1)


def test_a_longer_memory_delays_l2_and_not_weight_decay(small):
    data = small("memory")
    half = data["burst_time"].sel(level=0.5, lam=1e-3)
    wd = half.sel(reg="wd").values
    assert wd == pytest.approx(math.log(2) / -math.log1p(-1e-3), rel=0.04)  # noise: rms 0.02
    assert (np.diff(half.sel(reg="l2").values) > 0).all()


@pytest.mark.parametrize("lam", [1e-3, 1e-4])
def test_half_lives_are_those_of_figure_4(lam, small):
    """The same gradients as in figures/data/fig4.nc: 608 and 955 steps; here 40 lanes."""
    one = small("memory").sel(beta2=0.99, reg="l2", lam=lam, level=0.5)
    spread = float(one["burst_high"] - one["burst_low"])  # 4 standard errors of the median
    assert float(one["burst_time"]) == pytest.approx({1e-3: 608, 1e-4: 955}[lam], abs=spread + 1)


# AMSGrad -----------------------------------------------------------------------------------------


def test_the_flavours_order_and_the_rate_of_torchs(small):
    """torch's v_max is the burst's, sigma_1^2 (1 - beta2^100): rate lr lambda / sqrt(v_max)."""
    data = small("amsgrad-flavours").sel(setting="figure 4", lam=1e-4, level=0.5)
    rate = 1e-3 * 1e-4 / (1e-3 * math.sqrt(1 - 0.99**100))
    torch = data.sel(rule="torch")
    spread = float(torch["high"] - torch["low"])  # 4 standard errors
    assert float(torch["time"]) == pytest.approx(math.log(2) / rate, abs=spread + 0.02 / rate)
    time = data["time"]
    assert float(time.sel(rule="adam")) < 0.25 * float(torch["time"])
    assert not float(time.sel(rule="optax")) < 1.1 * float(torch["time"])  # NaN: after the end


def test_once_the_bias_is_gone_torchs_flavour_is_the_original(small):
    """After 1,000 steps of filling the corrections are 1 to 1e-4, so the steps are the same."""
    data = small("amsgrad-flavours").sel(setting="dense")
    torch, original = (data["rms"].sel(rule=rule).values for rule in ("torch", "original"))
    assert torch == pytest.approx(original, rel=1e-3)
    at_start = small("amsgrad-flavours").sel(setting="figure 4", lam=1e-2, level=0.5)["time"]
    assert float(at_start.sel(rule="original")) < 0.9 * float(at_start.sel(rule="torch"))


# Conventions -------------------------------------------------------------------------------------


def test_l2_is_weight_decay_only_where_lr_is_1_minus_momentum(small):
    data = small("conventions")
    half = data["time"].sel(momentum=0.9)
    wd, l2 = half.sel(reg="wd"), half.sel(reg="l2")
    assert wd.values == pytest.approx(math.log(2) / -math.log1p(-1e-3), rel=0.01)
    assert float(l2.sel(lr=0.1)) == pytest.approx(float(wd.sel(lr=0.1)), rel=0.02)
    for lr in (0.02, 0.5):
        # momentum starts from rest: 1 / (1 - momentum) = 10 steps later
        law = math.log(2) / -math.log1p(-decay_rate("l2", 1e-3, SGD(lr))) + 10
        assert float(l2.sel(lr=lr)) == pytest.approx(law, abs=3)
        assert abs(float(l2.sel(lr=lr) / wd.sel(lr=lr)) - 1) > 0.5


def test_written_settings_and_their_laws(small):
    data = small("conventions")
    law = dict(zip(data["written"].values.tolist(), data["written_law"].values, strict=True))
    assert law["the paper's Adam, WD 1e-4"] == pytest.approx(6931.1, abs=0.1)
    assert law["AdamW(weight_decay=0.1)"] == pytest.approx(6931.1, abs=0.1)
    assert law["AdamW(), torch's default 1e-2"] == pytest.approx(69314.4, abs=0.1)
    assert math.isnan(law["the paper's Adam, L2 1e-4"])


# Intermittency -----------------------------------------------------------------------------------


def test_sgd_settles_where_pull_and_l2_balance_and_adam_below(small):
    """Within 4 standard errors over lanes, after 2,000 steps at 1e-2.

    Adam in the committed run, where a firing image comes more rarely than its memory lasts.
    """
    sgd = small("intermittency").sel(f=1e-3, way="sgd l2")
    assert (abs(sgd["pull_mean"] - sgd["balance"]) < 4 * sgd["pull_error"]).all()
    adam = committed("intermittency").query("way == 'adam l2' and f * batch < 0.01")
    assert len(adam) == 7
    assert (adam["pull_mean"] < adam["balance"] - 4 * adam["pull_error"]).all()


def test_the_closed_form_of_a_pull_holds_where_it_says_so():
    """In the committed run, within 2 % and 4 standard errors; and computed again for one cell."""
    table = committed("intermittency")
    off = (table["pull_mean"] - table["law"]).abs()
    held = table["law"].notna()
    assert (off <= 4 * table["pull_error"] + 0.02 * table["law"])[held].all()
    assert held[table["way"] != "adam l2"].all() and (held & (table["way"] == "adam l2")).any()
    one = table.query("way == 'adam wd' and f == 1e-3 and batch == 40").iloc[0]
    assert intermittency._law("adam wd", 1e-3, 40) == pytest.approx(one["law"], rel=1e-4)
    assert math.isnan(intermittency._law("adam l2", 1e-4, 20))


def test_the_two_budgets_are_one_at_batch_40(small):
    data = small("intermittency")
    for name in ("rms", "below"):
        one = data[name]
        same = one.sel(batch=40)
        assert (same.sel(budget="epochs") == same.sel(budget="iterations")).all()
        other = one.sel(batch=20, way="adam l2")
        assert (other.sel(budget="epochs") != other.sel(budget="iterations")).any()


# Phase diagram -----------------------------------------------------------------------------------


def test_adams_two_regimes(small):
    """Steps of the learning rate's size below lambda theta = sigma, far from it on both sides."""
    half = small("phase-diagram")["time"].sel(way="adam l2", lam=1e-3)
    strong = half.sel(sigma=slice(0, 1e-5)).values
    # 0.5 / lr, and some 45 steps of lag: (N2 - N1) ln 2 with N = beta / (1 - beta), to 10 steps
    assert strong == pytest.approx(500 + (99 - 9) * math.log(2) - 15, abs=15)
    assert not float(half.sel(sigma=1e-2)) < 1500  # NaN: not within 2,000 steps


def test_the_regimes_of_the_committed_table_are_where_the_simulation_sees_them():
    """Sign-like: some 0.5 / lr steps to 0.5. Linear: the half-life of the rate lambda."""
    table = committed("phase-diagram")
    adam = table.query("way == 'adam l2'").groupby("regime")["t0.5"]
    assert adam.max()["sign-like"] < 1000 < adam.median()["noise-dominated"]
    linear = table.query("regime == 'linear' and lam >= 1e-4 and sigma <= 1e-4")
    assert set(linear["way"]) == {"adam wd", "sgd l2"}
    off = linear["t0.5"] * -np.log1p(-linear["lam"]) / math.log(2) - 1
    assert (off.abs() < 0.08).all()  # whole steps: 7 where the law has 6.6


def test_the_line_of_the_floor_parts_those_that_stay(small):
    """A hundredth of the size there: all are below the threshold; a hundred times: few."""
    below = small("phase-diagram")["below"]
    for way in ("adam l2", "sgd l2"):
        edge = phase_diagram.floor_sigma(way, 1e-2)
        one = below.sel(way=way, lam=1e-2)
        assert float(one.sel(sigma=edge / 100, method="nearest")) > 0.95
        assert float(one.sel(sigma=edge * 100, method="nearest")) < 0.2


# What studies share ------------------------------------------------------------------------------


def test_the_interval_of_a_median_covers_it():
    """19 times of 20: 2000 samples of 101 lanes, within 4 standard errors of the coverage."""
    draws = np.random.default_rng(0).exponential(size=(2000, 101))
    low, high = common.median_band(draws)
    covered = np.mean((low <= math.log(2)) & (math.log(2) <= high))
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / 2000) < covered < 0.99
    draws[:, :60] = np.nan  # most never pass
    assert np.isinf(common.median_band(draws)[1]).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"), (0.9999, "0.9999"), (1, "1"), (0.0123456, "0.0123"), (1e-3, "1e-3"),
        (2.5e-5, "2.5e-5"), (0, "0"), (math.nan, "-"), ("adam", "adam"), (612.0, "612"),
    ],
)  # fmt: skip
def test_how_a_cell_is_shown(value, text):
    assert common.shown(value) == text


def test_a_progress_bar_counts_every_job(monkeypatch):
    """Steps times lanes, whether the jobs are a list or made one by one."""
    seen = []

    class Bar:
        def __init__(self, what, total):
            seen.append((what, total))

        def __enter__(self):
            return seen.append

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("regdyn.progress.bar", Bar)
    jobs = [dict(rule="sgd", steps=4, lanes=8), dict(rule="sgd", steps=2, lanes=8)]
    assert len(list(common.runs("a", jobs))) == 2
    assert len(list(common.runs("b", iter(jobs), 48))) == 2
    assert seen == [("a", 48), 32, 16, ("b", 48), 32, 16]


# The command line --------------------------------------------------------------------------------


def fake(run, seconds=1):
    """A study whose numbers come from `run`."""
    from matplotlib.figure import Figure

    def draw(data):
        fig = Figure()
        fig.subplots().plot(data["x"])
        return fig

    return SimpleNamespace(
        QUESTION="Why?", SECONDS=seconds, run=run, draw=draw,
        answer=lambda data: "Asked: why. " * 20,
        table=lambda data: pd.DataFrame({"x": data["x"].values, "word": "a b"}),
    )  # fmt: skip


@pytest.fixture
def studies(monkeypatch, tmp_path):
    """Three studies: one that works, one that is interrupted, one that is slow; in a new folder."""

    def interrupted(**_):
        raise KeyboardInterrupt

    def plain(*, lanes, seed):
        return xr.Dataset({"x": ("i", [1.5, lanes or 7.0, seed])})

    found = {"good-one": fake(plain), "cut": fake(interrupted), "slow": fake(plain, 600)}
    monkeypatch.setattr(program, "studies", lambda: found)
    monkeypatch.chdir(tmp_path)
    return found


FILES = ["answer.txt", "figure.png", "result.nc", "table.csv"]


def test_a_run_writes_four_files_and_says_so(studies, tmp_path, capsys):
    assert program.main(["good-one", "--lanes", "12", "--seed", "3"]) == 0
    out = tmp_path / "results" / "sims" / "good-one"
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert (out / "table.csv").read_text() == "x,word\n1.5,a b\n12.0,a b\n3.0,a b\n"
    assert xr.load_dataset(out / "result.nc")["x"].values.tolist() == [1.5, 12, 3]
    lines = (out / "answer.txt").read_text().splitlines()
    assert len(lines) == 3 and all(len(line) <= 100 for line in lines)
    said = capsys.readouterr().out
    assert "word" in said and lines[0] in said and "good-one" in said.splitlines()[-1]


def test_names_may_have_underscores_and_files_another_folder(studies, tmp_path):
    assert program.main(["good_one", "--out", str(tmp_path / "a" / "b")]) == 0
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == FILES


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["goodone"], "unknown study 'goodone': did you mean 'good-one'?"),
        (["good-one", "--lanes", "5"], "lanes must be a whole number >= 10, not 5."),
        (["good-one", "--seed", "-1"], "seed must be"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(words, sentence, studies, tmp_path, capsys):
    assert program.main(words) == 2
    done = capsys.readouterr()
    assert done.out == "" and done.err.startswith(f"error: {sentence}")
    assert done.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing(studies, tmp_path, capsys):
    assert program.main(["cut"]) == 130
    assert "interrupted" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_picture_that_fails_leaves_no_other_file(studies, tmp_path, capsys):
    def fail(data):
        raise ValueError("no ink.")

    studies["good-one"].draw = fail
    assert program.main(["good-one"]) == 2
    assert capsys.readouterr().err == "error: no ink.\n" and not list(tmp_path.iterdir())


def test_all_runs_what_is_quick(studies, tmp_path, capsys):
    del studies["cut"]
    assert program.main(["all", "--out", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good-one"]
    assert "slow: left out" in capsys.readouterr().out


def test_a_long_table_is_cut_on_screen_and_whole_in_the_file(studies, tmp_path, capsys):
    studies["good-one"].table = lambda data: pd.DataFrame({"x": range(50)})
    assert program.main(["good-one"]) == 0
    out = capsys.readouterr().out
    assert f"and {50 - program.SHOWN} more rows" in out
    assert len((tmp_path / "results/sims/good-one/table.csv").read_text().splitlines()) == 51


def test_an_attribute_survives_the_file(small, tmp_path):
    """Attributes and labels of a real study, through netCDF."""
    data = small("noise-floors")
    data.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    again = xr.load_dataset(tmp_path / "a.nc")
    assert json.loads(again.attrs["config"]) == common.config_of(data)
    assert noise_floors.answer(again) == noise_floors.answer(data)
