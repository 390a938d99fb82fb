"""The ledger: checks on made-up runs of known difference, verdicts, and what is kept."""

import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from figures.claims import checks, ledger, of_ours, of_paper, of_paper_late, page, runs_page
from figures.claims.checks import LEVEL, Check, Outcome
from figures.claims.recorded import (
    ERROR,
    FILTERS,
    GAMMA,
    RUNS,
    Recorded,
    layers,
    share,
    universality,
)
from figures.tables import load

ROOT = Path(__file__).parents[1]
COLUMNS = ("name", "seed", "sparsity_gamma", "test_error", "layers")


def write(folder, groups):
    """runs.csv: name -> (sparsities, errors), one of each per seed."""
    with (folder / RUNS).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for name, (sparsities, errors) in groups.items():
            for seed, (sparsity, error) in enumerate(zip(sparsities, errors, strict=True)):
                rows.writerow([name, seed, sparsity, error, f"0 {sparsity} {2 * sparsity}"])
    return Recorded(folder)


@pytest.fixture
def runs(tmp_path):
    """Three seeds each: high, alike (to high), low, few (one seed), poor (high, at high error)."""
    return write(
        tmp_path,
        {
            "high": ([40, 42, 44], [5.0, 5.2, 5.1]),
            "alike": ([41, 42, 43], [5.0, 5.2, 5.1]),
            "low": ([10, 11, 12], [5.5, 5.0, 5.2]),
            "few": ([40], [5.0]),
            "poor": ([60, 61, 62], [9.0, 9.1, 9.2]),
            "zero": ([0, 0, 0], [5.0, 5.0, 5.0]),
            "nearly zero": ([0.43, 0.43, 0.43], [5.0, 5.0, 5.0]),
        },
    )


def write_close(runs):
    """With a group a little above `low`."""
    values = {name: ([float(r["sparsity_gamma"]) for r in rows], [5.0] * len(rows))
              for name, rows in runs.rows.items()}  # fmt: skip
    return write(runs._folder, {**values, "close": ([11, 12, 13], [5.0] * 3)})


# Checks -------------------------------------------------------------------------------------------


def test_p_is_that_of_student(runs):
    outcome = checks.more("high", "low")(runs)
    expected = stats.ttest_ind([40, 42, 44], [10, 11, 12], alternative="greater")
    assert outcome.p == pytest.approx(expected.pvalue)
    assert outcome.holds and not outcome.against
    assert outcome.means == (42, 11) and outcome.n == 3 and outcome.names == ("high", "low")
    assert outcome.sds == pytest.approx((2, 1))
    margin = stats.ttest_ind([15, 17, 19], [10, 11, 12], alternative="greater")
    assert checks.more("high", "low", by=25)(runs).p == pytest.approx(margin.pvalue)


def test_the_opposite_is_told_from_not_shown(runs):
    assert checks.more("low", "high")(runs).against
    undecided = checks.more("high", "alike")(runs)
    assert not undecided.holds and not undecided.against


def test_the_same_needs_evidence(runs):
    assert checks.same("high", "alike", 8)(runs).holds
    assert not checks.same("high", "alike", 2)(runs).holds  # three runs cannot tell
    assert checks.same("high", "low", 8)(runs).against
    assert checks.differ("high", "low")(runs).holds
    assert not checks.differ("high", "alike")(runs).holds


def test_limits_are_for_every_run(runs):
    assert checks.at_least("high", 30)(runs).holds and checks.at_most("high", 30)(runs).against
    assert checks.at_most("high", 60)(runs).holds and checks.at_most("zero", 1)(runs).holds
    for limit in (41, 43):  # runs on both sides, the mean on either
        undecided = checks.at_most("high", limit)(runs)
        assert not undecided.holds and not undecided.against and undecided.p is None


def test_equal_runs_do_not_prove_that_there_is_no_noise(runs):
    assert not checks.more("nearly zero", "zero")(runs).holds


def test_a_rise_has_no_fall_inside(runs):
    assert checks.rises(("zero", "low", "high"))(runs).holds
    assert not checks.rises(("zero", "high", "low"))(runs).holds
    assert checks.rises(("zero", "high", "low"))(runs).against


def test_comparable_errors(runs):
    assert checks.comparable("low", "high")(runs).holds
    assert checks.comparable("high", "poor")(runs).holds  # lower counts
    outcome = checks.comparable("poor", "high")(runs)
    assert not outcome.holds and outcome.against and outcome.p is None


def test_the_sparsest_of_a_family_at_its_lowest_error(runs):
    outcome = checks.best(("low", "high", "poor"), ("zero",))(runs)
    assert outcome.holds and outcome.names == ("high", "zero")  # poor is sparser, at 9 % error
    assert checks.best(("poor",), ("low",))(runs).holds is None
    assert checks.best(("missing", "high"), ("low",))(runs).holds


def test_too_few_runs_or_none_is_no_result(runs):
    for check in (checks.more("few", "low"), checks.at_least("no such run", 1)):
        outcome = check(runs)
        assert outcome.holds is None and outcome.p is None
    assert "1 runs of few, and 3 are needed" in checks.more("few", "low")(runs).text


def test_without_an_effect_it_is_shown_at_the_level():
    rng, shown, many = np.random.default_rng(0), 0, 4000
    for a, b in rng.normal(50, 3, (many, 2, 3)):
        groups = checks.Group("a", a, 0.4), checks.Group("b", b, 0.4)
        shown += checks._p_above(groups[0].mean - groups[1].mean, *groups) < LEVEL
    rate, error = shown / many, np.sqrt(LEVEL / many)
    assert abs(rate - LEVEL) < 4 * error


# Measures -----------------------------------------------------------------------------------------


def test_layers_are_counted_from_one(runs):
    assert layers(2, 3, minus=(1,)).of(runs, "low").tolist() == [15, 16.5, 18]


def test_measures_of_filters(tmp_path):
    made = write(tmp_path, {"a": ([50], [1])})
    values = {
        "gamma": [[0.5, 1e-4, 0.2, 0.3]], "beta": [[-1.0, 1.0, 1.0, np.nan]],
        "universality": [[10.0, 0.0, 30.0, np.nan]],
    }  # fmt: skip
    xr.Dataset(
        {name: (("run", "filter"), value) for name, value in values.items()},
        {"name": ("run", ["a"]), "layer": (("run", "filter"), [[6, 6, 6, 0]])},
    ).to_netcdf(tmp_path / FILTERS)
    assert universality(6).of(made, "a").tolist() == [20]  # of the live ones
    assert share(6, "beta", -1).of(made, "a").tolist() == [50]
    assert share(6, "gamma", 1).of(made, "a").tolist() == [100]


# Verdicts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ("++", ledger.HOLDS), ("++?", ledger.PART), ("+-", ledger.PART), ("+!", ledger.PART),
        ("-!", ledger.NOT), ("--", ledger.UNTESTED), ("?", ledger.UNTESTED), ("", ledger.UNTESTED),
    ],
)  # fmt: skip
def test_verdict_of_checks(given, verdict, runs):
    kinds = {"+": (True, False), "-": (False, False), "!": (False, True), "?": (None, False)}
    outcomes = [
        Outcome(holds, "text", 0.5, against, n=3) for holds, against in map(kinds.get, given)
    ]
    made = tuple(Check(str(i), lambda _, one=one: one) for i, one in enumerate(outcomes))
    entry = ledger._entry("x", "1", "claim", of_paper.Claim(made, "note", "cost"), runs)
    assert entry.verdict == verdict
    assert list(entry.row()) == list(ledger.COLUMNS)


def test_holm_keeps_the_smallest():
    ps = [0.0001, 0.02, 0.004, 0.5]  # 0.05 / 4, / 3, / 2: the third fails at .02 < .025, so stays
    entries = [
        ledger.Entry(str(p), "", "", ledger.HOLDS, [(str(p), Outcome(True, "", p))], "") for p in ps
    ]
    found = ledger.statistics(entries)
    assert (found.tests, found.after_holm, found.shown) == (4, 3, 2)
    assert found.by_chance == pytest.approx(0.04)


def test_every_claim_of_the_paper_has_its_checks():
    known = {**of_paper.CLAIMS, **of_paper_late.CLAIMS}
    assert list(known) == load("claims")["id"].tolist()
    assert all(one.checks or one.cost for one in known.values())
    assert all(one.checks for one in of_ours.CLAIMS.values())


def test_experiments_that_checks_name_are_listed():
    from importlib.resources import files

    listed = set()
    for name in ("experiments.csv", "explicit.csv"):
        text = (files("figures") / "data" / name).read_text(encoding="utf-8")
        listed |= {row["name"] for row in csv.DictReader(text.splitlines())}

    class Asked(Recorded):
        """Notes what is asked for."""

        asked: set[str] = set()
        rows = {}

        def of(self, name):
            self.asked.add(name)
            return super().of(name)

    runs = Asked()
    ledger.of_claims(runs), ledger.beyond(runs)
    assert len(runs.asked) > 20 and runs.asked <= listed


# What is kept -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    runs = Recorded()
    return ledger.of_claims(runs), ledger.beyond(runs), runs


def test_what_is_kept_is_what_the_runs_give(judged):
    claims, beyond, runs = judged
    kept = ROOT / "figures" / "data"
    assert (kept / "claims.csv").read_text(encoding="utf-8") == page.table(claims)
    assert (kept / "beyond.csv").read_text(encoding="utf-8") == page.table(beyond)
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert text == page.markdown(claims, beyond, runs)
    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    assert text == runs_page.markdown(runs)


def test_no_verdict_without_runs_and_few_untested(judged):
    claims, _, _ = judged
    untested = [entry for entry in claims if entry.verdict == ledger.UNTESTED]
    assert len(claims) == 51 and len(untested) <= 12
    for entry in untested:
        assert entry.note.startswith("undecided by" if entry.done else "not run: ")
    for entry in claims:
        row = entry.row()
        assert bool(row["runs"]) == bool(entry.done)
        assert not entry.done or int(row["n"]) >= checks.LEAST_RUNS


def test_undecided_says_how_many_runs_would_decide(runs):
    one = checks.more("close", "low")(write_close(runs))
    t = stats.t.isf(one.p, 4)
    needed = int(np.ceil(3 * ((stats.norm.isf(LEVEL) + 0.84) / t) ** 2))
    assert ledger._undecided([one]) == f"undecided by 3 runs a side: about {needed} would decide"


def test_the_picture_has_a_mark_for_every_check(judged):
    claims, *_ = judged
    axes = page.draw(claims).axes[0]
    marks = [line for line in axes.lines if line.get_marker() != "s"]
    assert len(marks) == sum(len(entry.checks) for entry in claims)
    row = [line for line in marks if line.get_ydata()[0] == 0]
    assert len(row) == len(claims[0].checks)
    assert len(axes.texts) == len(claims) == 51


def test_smallest_effect_is_where_the_test_turns(tmp_path):
    runs = write(tmp_path, {"a": ([40, 42, 44], [1] * 3), "b": ([10, 12, 14], [1] * 3)})
    sd, effect = page.smallest_effect(runs)
    assert sd == pytest.approx(2)
    groups = [checks.Group(name, GAMMA.of(runs, name), 0.4) for name in "ab"]
    assert checks._p_above(effect, *groups) == pytest.approx(LEVEL)
    assert ERROR.of(runs, "a").tolist() == [1, 1, 1]
