"""The theory check: its settings, its Monte Carlo reference, and its verdicts."""

import numpy as np
import pandas as pd
import pytest

from regdyn import gradients, rules, simulate
from regdyn.report import late_rms
from sims import _theory_compare as compare
from sims import _theory_counts as counts
from sims import _theory_design as design
from sims import _theory_page as page
from sims import _theory_reference as reference
from sims import theory_check
from sims.theory_check import sets

STEPS, LANES = 3000, 512
SGD, ADAM = rules.SGD(), rules.Adam()
NOISE = gradients.Gaussian(std=1e-3)
CELLS = [
    design.Cell(rule, reg, lam, NOISE)
    for rule in (SGD, ADAM)
    for reg in ("l2", "wd")
    for lam in (1e-3, 1e-2)
]


# Settings ----------------------------------------------------------------------------------------


def test_the_matrix_is_the_whole_grid():
    cells = design.matrix()
    assert len(set(cells)) == len(cells) == 7 * 2 * 5 * 3
    assert {cell.rule for cell in cells} == {rules.resolve(name) for name in rules.RULES}


def groups(cells):
    """Cells by rule and regulariser."""
    found = {}
    for cell in cells:
        found.setdefault((rules.name_of(cell.rule), cell.reg), []).append(cell)
    return found


def test_every_rule_and_regulariser_has_four_constant_and_two_scheduled_sets():
    found = groups(design.random_sets(design.DEV_SEED))
    assert set(found) == {(name, reg) for name in rules.RULES for reg in ("l2", "wd")}
    for cells in found.values():
        kinds = [type(cell.gradient).__name__ for cell in cells]
        assert kinds == ["Gaussian"] * 4 + ["LowGradient"] * 2


def test_random_sets_stay_in_the_ranges_that_were_announced():
    """And fill them: the extremes of many draws come near both ends."""
    cells = [cell for seed in range(100, 120) for cell in design.random_sets(seed)]
    drawn = {"lam": [c.lam for c in cells], "std": [c.gradient.std for c in cells]}
    for field in ("lr", "momentum", "beta1", "beta2", "rho", "alpha", "eps"):
        drawn[field] = [getattr(c.rule, field) for c in cells if hasattr(c.rule, field)]
    ranges = {
        "lr": (1e-4, 1e-1), "eps": (1e-12, 1e-4), "lam": (1e-6, 1e-1), "std": (1e-7, 1.0),
        "momentum": (0.01, 1), "beta1": (0.01, 1), "beta2": (1e-4, 0.2), "rho": (1e-4, 0.2),
        "alpha": (1e-4, 0.2),
    }  # fmt: skip
    for field, (low, high) in ranges.items():
        values = np.array(drawn[field])
        values = 1 - values if field in design.ONE_MINUS else values
        assert low * (1 - 1e-9) <= values.min() < low * (high / low) ** 0.1
        assert high * (1 + 1e-9) >= values.max() > low * (high / low) ** 0.9
    for cell in cells:
        if hasattr(cell.gradient, "std0"):
            assert cell.gradient == (min(100 * cell.gradient.std, 1), cell.gradient.std, 100)


def test_a_seed_gives_the_same_sets_and_another_seed_others():
    assert design.random_sets(1) == design.random_sets(1)
    assert not set(design.random_sets(1)) & set(design.random_sets(2))


def test_no_set_of_sgd_grows_without_bound():
    """`simulate` warns of those, and warnings are errors here."""
    for cell in design.random_sets(design.DEV_SEED)[:12]:
        simulate(cell.rule, cell.reg, cell.lam, gradient=cell.gradient, steps=1, lanes=1)


# The reference -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "time"),
    [([1, 0.6, 0.2], 12.5), ([1, 0.5, 0.4], 10.0), ([1, 1, 1], np.inf), ([0.4, 1, 1], 0.0)],
)
def test_crossing_is_linear_between_recorded_steps(y, time):
    assert reference.crossing(np.array([0, 10, 20]), np.array(y), 0.5) == pytest.approx(time)


def test_the_interval_of_a_time_ends_where_the_mean_is_certainly_below():
    """A noisy mean falls below 0.5 - 3 s.e. by chance at first, a swinging one rises again."""
    step, error = np.arange(6), 0.3
    noisy = np.array([1, 0.19, 0.9, 0.4, 0.1, 0.0])
    over = noisy + 2 * error < 0.5
    assert reference.crossing(step, noisy + error, 0.5) < 1
    assert reference.last_crossing(step, noisy + error, 0.5, over) == pytest.approx(3 + 2 / 3)
    swinging = np.array([1, -0.9, 0.8, -0.7, 0.6, -0.5])
    over = swinging + 2 * error < 0.5
    assert reference.last_crossing(step, swinging + error, 0.5, over) < 1
    never = np.ones(6)
    assert reference.last_crossing(step, never, 0.5, never < 0) == np.inf


def test_the_interval_of_a_median_holds_it_as_often_as_three_standard_errors():
    """99.7 % of 4000 samples; 4 standard errors of that share are 0.35 %."""
    rng = np.random.default_rng(0)
    inside = 0
    for sample in rng.exponential(size=(4000, 256)):
        found = reference.passage("t", sample)
        inside += found["t_low"] <= np.log(2) <= found["t_high"]
    assert abs(inside / 4000 - 0.9973) < 0.0035


def test_lanes_that_never_pass_count_as_later():
    first = np.array([np.nan] * 60 + [5.0] * 40)
    found = reference.passage("t", first)
    assert (found["t"], found["t_low"], found["t_high"]) == (np.inf, 5.0, np.inf)


@pytest.fixture(scope="module")
def measured():
    return reference.measure(CELLS, lanes=LANES, steps=STEPS, seed=7)


def test_the_reference_is_what_simulate_says(measured, monkeypatch):
    ds = simulate(
        [SGD, ADAM], ["l2", "wd"], [1e-3, 1e-2], gradient=NOISE, steps=STEPS, lanes=LANES, seed=7,
        record=reference.record(STEPS),
    )  # fmt: skip
    monkeypatch.setattr(reference, "BATCH", 200)  # 200 + 200 + 112 lanes
    in_batches = reference.measure(CELLS, lanes=LANES, steps=STEPS, seed=7)
    for table in (measured, in_batches):
        for _, row in table.iterrows():
            one = ds.sel(rule=row["rule"], reg=row["reg"], lam=row["lam"])
            assert row["late"] == pytest.approx(float(late_rms(one)), rel=1e-12)
            assert row["mean"] == pytest.approx(float(one["mean"][-1]), rel=1e-9)
            assert row["sd"] == pytest.approx(float(one["std"][-1]), rel=1e-12)
            assert row["p10"] == one["first_passage_median"].sel(threshold=0.1).item()
            share = one["share_below"].sel(threshold=0.01)[-1].item()
            assert row["below_1e-2"] == pytest.approx(share, rel=1e-12)


def test_the_standard_error_of_the_late_rms():
    """Against the spread over 40 groups of 64 lanes: known to 11 %, and 4 times that is allowed."""
    [(_, ds)] = reference.simulations(CELLS[4:5], lanes=2560, steps=500, seed=7)
    ds = ds.isel(rule=0, reg=0, lam=0)
    parts = [ds.isel(lane=slice(k, k + 64)) for k in range(0, 2560, 64)]
    found = pd.DataFrame([reference.measurements(part) for part in parts])
    spread = found["late"].std(ddof=1)
    assert spread / found["late_se"].mean() == pytest.approx(1, abs=4 * 0.11)


def test_cells_that_are_no_grid_are_refused():
    with pytest.raises(ValueError, match="whole grid"):
        list(reference.grids(CELLS[:3]))


# Verdicts ----------------------------------------------------------------------------------------

END = 1000


@pytest.mark.parametrize(
    ("value", "true", "low", "high", "passes"),
    [
        (100.9, 100, 100, 100, True),
        (102, 100, 100, 100, False),
        (98, 100, 97, 100, True),  # inside 3 standard errors below
        (102, 100, 97, 100, False),  # but not above
        (10.9, 10, 10, 10, True),  # a step
        (np.inf, np.inf, np.inf, np.inf, True),
        (500, np.inf, np.inf, np.inf, False),
        (992, np.inf, np.inf, np.inf, True),  # within 1 % of the last step
        (500, np.inf, 400, np.inf, True),  # the simulation does not know either
        (np.inf, 900, 890, 910, False),
        (np.inf, 995, 995, 995, True),
        (np.inf, 900, 890, np.inf, True),
        (np.nan, 100, 50, 150, False),
    ],
)
def test_what_passes(value, true, low, high, passes):
    row = {"t50": true, "t50_low": low, "t50_high": high, "theory_t50": value}
    row |= {"t10": 1.0, "t10_low": 1, "t10_high": 1, "theory_t10": 1.0}
    row |= {"p1e-3": 1.0, "p1e-3_low": 1, "p1e-3_high": 1, "theory_p1e-3": 1.0}
    row |= {"late": 1.0, "late_se": 0.0, "theory_late": 1.0}
    out = compare.verdicts(pd.DataFrame([row]), "theory", END)
    assert bool(out["theory_t50_pass"][0]) == bool(out["theory_pass"][0]) == passes


def test_passages_and_rms_have_no_standard_errors_in_their_tolerance():
    row = {name: 100.0 for name in ("t50", "t10", "p1e-3", "late")}
    row |= {f"{name}_{end}": 100.0 for name in ("t50", "t10") for end in ("low", "high")}
    row |= {"p1e-3_low": 90.0, "p1e-3_high": 110.0, "late_se": 5.0}
    row |= {f"theory_{name}": 100.0 for name in ("t50", "t10")}
    row |= {"theory_p1e-3": 104.0, "theory_late": 103.0}
    out = compare.verdicts(pd.DataFrame([row]), "theory", END)
    for name in ("p1e-3", "late"):
        assert not out[f"theory_{name}_pass"][0] and out[f"theory_{name}_within"][0]


@pytest.mark.parametrize(
    ("value", "true", "low", "high", "verdict"),
    [
        (100.9, 100, 99.5, 100.5, "within"),
        (100.9, 100, 97, 100.5, "open"),  # 3 standard errors are more than 1 %
        (102, 100, 99.5, 100.5, "outside"),
        (102, 100, 97, 103, "open"),
        (104, 100, 97, 103, "outside"),
        (10.9, 10, 9.5, 10.5, "within"),  # a step
        (np.inf, np.inf, np.inf, np.inf, "within"),
        (np.inf, np.inf, 900, np.inf, "open"),  # it may have been at 900
        (500, np.inf, np.inf, np.inf, "outside"),
        (np.nan, 100, 99.5, 100.5, "outside"),
    ],
)
def test_what_the_simulation_decides(value, true, low, high, verdict):
    row = {name: 1.0 for k in compare.TOLERANCE for name in (k, f"{k}_low", f"{k}_high")}
    row |= {f"theory_{k}": 1.0 for k in compare.TOLERANCE} | {"late_se": 0.0}
    row |= {"t10": true, "t10_low": low, "t10_high": high, "theory_t10": value}
    out = compare.decisions(pd.DataFrame([row]), "theory", END)
    assert out["theory_t10_verdict"][0] == verdict
    assert {out[f"theory_{k}_verdict"][0] for k in ("t50", "p1e-3", "late")} == {"within"}


def test_an_rms_is_open_where_its_standard_error_is_a_percent():
    row = {name: 1.0 for k in ("t50", "t10", "p1e-3") for name in (k, f"{k}_low", f"{k}_high")}
    row |= {f"theory_{k}": 1.0 for k in ("t50", "t10", "p1e-3")} | {"late": 1.0}
    for error, off, verdict in [
        (0.005, 0.01, "within"), (0.01, 0.01, "open"), (0.01, 0.025, "open"),
        (0.005, 0.025, "outside"),
    ]:  # fmt: skip
        some = pd.DataFrame([row | {"late_se": error, "theory_late": 1 + off}])
        assert compare.decisions(some, "theory", END)["theory_late_verdict"][0] == verdict


def another_simulation(delay=1.0):
    """In the place of `predict`: a simulation with another seed, its times stretched."""

    def predict(rule, *, order, **rest):
        ds = simulate(rule, **rest, lanes=4 * LANES, seed=8)
        stretched = np.append(0, np.round(ds["step"].values[1:] * delay))
        return ds.assign_coords(step=stretched)

    return predict


def test_another_simulation_passes_in_the_place_of_the_theory(measured):
    """Times of the mean within 3 standard errors (of ours; 1.1 times that of the difference)."""
    out = compare.compare(measured, CELLS, steps=STEPS, predict=another_simulation())
    assert out["theory_t50_pass"].all() and out["theory_t10_pass"].all()
    assert out["theory_within"].all()


def test_a_theory_that_is_three_percent_late_fails(measured):
    """Negative control, where standard errors are small: lambda 1e-2 (t10 of some 220 steps)."""
    out = compare.compare(measured, CELLS, steps=STEPS, predict=another_simulation(1.03))
    assert not out["theory_t10_pass"][out["lam"] == 1e-2].any()


def test_every_part_has_its_set_of_cells():
    sizes = {name: len(cells) for name, (cells, _) in sets().items()}
    assert sizes == {"matrix": 210, "dev": 84, "test": 84}


def test_the_closure_passes_and_the_naive_mean_field_does_not(measured):
    """Negative control: without fluctuations there is no floor, and passages are too early."""
    out = compare.compare(measured, CELLS, steps=STEPS)
    assert out["theory_within"].all()
    strong = out[out["lam"] == 1e-2]
    assert not strong["naive_p1e-3_within"].any() and not strong["naive_late_within"].any()


# The study ---------------------------------------------------------------------------------------


def test_the_study_from_beginning_to_end(monkeypatch):
    monkeypatch.setattr(theory_check, "sets", lambda: {"matrix": (CELLS, 0), "test": (CELLS, 50)})
    data = theory_check.run(lanes=64, steps=500, seed=1)
    table = theory_check.table(data)
    assert len(table) == data.sizes["cell"] == 2 * len(CELLS)
    assert table["score"].is_monotonic_decreasing
    assert "Of 8 random settings" in theory_check.answer(data)
    assert "500 steps" in theory_check.answer(data)
    assert len(theory_check.draw(data).axes) == 6
    cells = data.to_dataframe().reset_index(drop=True)
    assert set(cells["seed"]) == {1, 51}
    every = page.body(cells).partition("### Every setting")[2]
    for rule in ("sgd", "adam"):
        assert every.count(f"| {rule} | l2 |") == every.count(f"| {rule} | wd |") == 4


@pytest.mark.parametrize("words", [["--only", "test"], ["--monte-carlo", "--only", "tests"]])
def test_bad_words_stop_before_any_work(words, capsys):
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(theory_check.main(words))
    assert stop.value.code == 2 and "only" in capsys.readouterr().err


# What is committed -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept():
    return theory_check.committed()


def test_the_page_follows_from_the_committed_table(kept):
    text = page.PAGE.read_text(encoding="utf-8")
    assert text.partition(page.BEGIN)[2].partition(page.END)[0] == f"\n{page.body(kept)}"
    assert page.PICTURE.exists()


def test_the_committed_settings_are_those_of_the_design(kept):
    """No set was exchanged for another: as drawn from the seeds, all of them, in their order."""
    for name, (cells, offset) in sets().items():
        some = kept[kept["set"] == name].reset_index(drop=True)
        drawn = pd.DataFrame([reference.settings(cell) for cell in cells])
        pd.testing.assert_frame_equal(
            some[list(drawn)], drawn, rtol=1e-5, check_dtype=False, obj=name
        )
        assert (some["lanes"] >= 4000).all()
        assert some["seed"].between(offset, offset + 83).all()


def test_the_committed_flags_follow_from_the_committed_times(kept):
    """Of what is rounded to six digits, a score moves by a few 1e-4."""
    for who in compare.ORDERS:
        again = compare.verdicts(kept, who, design.STEPS) | compare.decisions(
            kept, who, design.STEPS
        )
        for name, values in again.items():
            if name.endswith("_score"):
                finite = np.isfinite(kept[name])
                assert np.allclose(values[finite], kept[name][finite], rtol=1e-3, atol=2e-3)
            elif not name.endswith("_error"):
                near = 2e-3 > np.abs(again[f"{who}_score"] - 1)
                assert (values == kept[name])[~near].all(), name


def committed_anew(kept, rows):
    """The theory's times and rms of these rows, computed anew, beside those committed."""
    for name, (cells, _) in sets().items():
        some = kept[kept["set"] == name].reset_index(drop=True)
        for k in rows(some):
            for who, order in compare.ORDERS.items():
                [new] = compare.predictions([cells[k]], order, design.STEPS, None)
                yield pd.Series(new), some.loc[k, [f"{who}_{key}" for key in new]].astype(float)


def assert_same(new, old):
    """To the six digits that are kept; a median is a whole step, or between two."""
    new, old = (np.minimum(x.to_numpy(float), 1e7) for x in (new, old))
    assert np.all(np.abs(new - old) <= 2e-5 * np.abs(old) + np.append(np.full(6, 0.02), 0))


def test_the_theory_says_what_is_committed(kept):
    """Two rows of each set."""
    for new, old in committed_anew(kept, lambda some: [len(some) // 2, len(some) - 1]):
        assert_same(new, old)


@pytest.mark.slow
def test_the_theory_says_what_is_committed_everywhere(kept):
    for new, old in committed_anew(kept, lambda some: range(len(some))):
        assert_same(new, old)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "k"), [("matrix", 71), ("test", 6)])
def test_the_simulation_says_what_is_committed(kept, name, k):
    """All lanes and steps of a row, from the seed in the table."""
    row = kept[kept["set"] == name].iloc[k]
    again = reference.measure([sets()[name][0][k]], seed=row["seed"]).iloc[0]
    for key, value in again.items():
        assert row[key] == (
            value if isinstance(value, str) else pytest.approx(value, rel=1e-5, nan_ok=True)
        )


def test_the_naive_mean_field_fails_where_the_spread_matters(kept):
    """The negative control, on the paper's settings; the closure passes there."""
    some = kept[kept["set"] == "matrix"]
    for title, where, rows, marks in counts._cases(some):
        passes = {
            who: np.mean([some[f"{who}_{k}_pass"][rows].mean() for k in marks])
            for who in compare.ORDERS
        }
        assert passes["theory"] > 0.99
        if (title, where[:6]) == ("late rms", "spread"):
            assert passes["naive"] == 0 and rows.sum() > 150
        if (title, where[:6]) == ("passage", "spread"):
            assert passes["naive"] < 0.1 and rows.sum() > 100
        if where.startswith("SGD") or (title, where) == ("late rms", "less"):
            assert passes["naive"] == 1
