"""Scores against textbook twins, and bootstrap intervals against what they should cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regdyn import scores, scoring
from regdyn.filters.record import GRADIENT, STATE, Record
from regdyn.scores import Outcome, Prediction
from regdyn.scoring import Case, bootstrap, row

COARSE = st.integers(-3, 3).map(float)  # so that there are ties
FILTER = st.tuples(COARSE, st.booleans(), st.integers(0, 2))


def split(filters):
    """Scores, deaths and layers of drawn filters."""
    score, dead, layer = zip(*filters, strict=True)
    return np.array(score), np.array(dead), np.array(layer)


# AUC ------------------------------------------------------------------------------------------


def by_pairs(score, dead, layer, least):
    """Every dead filter against every living one of its layer."""
    found = []
    for number in set(layer.tolist()):
        gone, alive = score[(layer == number) & dead], score[(layer == number) & ~dead]
        if len(gone) >= least and len(alive) >= least:
            wins = [1.0 if g > a else 0.5 if g == a else 0.0 for g in gone for a in alive]
            found.append(sum(wins) / len(wins))
    return sum(found) / len(found) if found else math.nan


@given(st.lists(FILTER, min_size=1, max_size=40), st.integers(1, 4))
def test_auc_is_the_share_of_pairs_in_order(filters, least):
    score, dead, layer = split(filters)
    ours = scores.auc(score, dead, layer, least=least)
    assert ours == pytest.approx(by_pairs(score, dead, layer, least), nan_ok=True)


@given(st.lists(FILTER, min_size=1, max_size=40))
def test_auc_knows_ranks_only(filters):
    """A monotone change of the scores, other for each layer, changes nothing; -score mirrors."""
    score, dead, layer = split(filters)
    ours = scores.auc(score, dead, layer, least=1)
    bent = np.exp(score) * (1 + layer) - 7 * layer
    assert scores.auc(bent, dead, layer, least=1) == pytest.approx(ours, nan_ok=True)
    assert scores.auc(-score, dead, layer, least=1) == pytest.approx(1 - ours, nan_ok=True)


def test_auc_takes_infinite_scores_and_only_layers_with_three_of_each():
    layer = np.repeat([0, 1], 6)
    dead = np.array([1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0], bool)
    score = np.array([math.inf, 2, 1, 0, -1, -math.inf, 0, 0, 9, 9, 9, 9])
    assert scores.auc(score, dead, layer) == 1.0
    assert scores.auc(score, dead, layer, least=2) == 0.5
    assert math.isnan(scores.auc(score, dead, layer, least=4))


# Calibration ----------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 12),
)
def test_bins_hold_all_filters_and_no_probability_twice(pairs, bins):
    p, dead = (np.array(x) for x in zip(*pairs, strict=True))
    table = scores.calibration(p, dead, bins=bins)
    assert table.count.sum() == len(p) and len(table.count) <= bins and (table.count > 0).all()
    assert np.all(np.diff(table.p) > 0)
    assert (table.count * table.p).sum() == pytest.approx(p.sum())
    assert (table.count * table.share).sum() == pytest.approx(dead.sum())
    assert table.error >= abs(p.mean() - dead.mean()) - 1e-12  # equal with one bin
    if bins == 1:
        assert table.error == pytest.approx(abs(p.mean() - dead.mean()), abs=1e-12)
    if len(np.unique(p)) == len(p) >= bins:
        assert table.count.max() - table.count.min() <= 1


def test_calibration_by_hand():
    p = np.array([0.1, 0.1, 0.1, 0.1, 0.8, 0.8])
    table = scores.calibration(p, np.array([0, 0, 0, 1, 1, 1]), bins=10)
    assert table.count.tolist() == [4, 2]
    assert table.p == pytest.approx([0.1, 0.8]) and table.share == pytest.approx([0.25, 1.0])
    assert table.error == pytest.approx((4 * 0.15 + 2 * 0.2) / 6)


def test_floor_is_the_error_of_right_probabilities():
    rng = np.random.default_rng(3)
    p = rng.beta(0.3, 0.5, size=400)
    drawn = [scores.calibration(p, rng.random(400) < p) for _ in range(300)]
    assert np.mean([one.error for one in drawn]) == pytest.approx(drawn[0].floor, rel=0.05)


# Times and shares -----------------------------------------------------------------------------


def test_time_ratio_counts_filters_that_died_after_the_forecast():
    inf = math.inf
    true = np.array([50, 200, 400, 800, 400, inf, 300])
    said = np.array([50, 100, 480, 1600, 400, 300, inf])
    dead = np.array([1, 1, 1, 1, 0, 1, 1], bool)
    ratio = scores.time_ratio(said, true, dead, 100)
    assert ratio.count == 4  # not the first (before), the fifth (lives), the sixth (never fell)
    assert ratio.median == pytest.approx((1.2 + 2.0) / 2)  # of .5, 1.2, 2, inf
    assert ratio.within == 25.0
    left = scores.time_ratio(said, true, dead, 100, remaining=True)
    assert left.within == 0.0 and left.median == pytest.approx((380 / 300 + 1500 / 700) / 2)
    none = scores.time_ratio(said, true, dead & False, 100)
    assert none.count == 0 and math.isnan(none.median)


def test_shares():
    layer = np.array([0, 0, 0, 0, 1, 1])
    true = Outcome(np.array([1, 0, 0, 0, 1, 1], bool), np.full(6, np.inf), layer, 10)
    assert true.layer_share.tolist() == [25.0, 100.0] and true.total == 50.0
    assert scores.share_error(np.array([30.0, 80.0]), true.layer_share) == 12.5
    lo, hi = np.array([25.0, 0.0]), np.array([40.0, 99.0])
    assert scores.covered(lo, hi, true.layer_share) == 50.0
    p = np.array([0.9, 0.6, 0.4, 0.5, 0.9, 0.1])
    assert scores.false_deaths(p, true.dead) == pytest.approx(100 / 3)
    assert math.isnan(scores.false_deaths(p, np.ones(6, bool)))
    said = scores.of_probabilities(p, layer, t=true.t)
    assert said.layer_share == pytest.approx([60.0, 50.0]) and said.total == pytest.approx(340 / 6)
    assert said.score is p and said.t is true.t


def record(gamma, every=20):
    """A record of these |gamma|, shape (K, n), in one layer; all else is of no matter here."""
    k, n = gamma.shape
    arrays = dict.fromkeys(STATE, np.ones((k, n))) | dict.fromkeys(GRADIENT, np.zeros((k - 1, n)))
    rest = dict.fromkeys(Record._fields, np.ones(n)) | arrays
    rest |= {"step": np.arange(k) * every, "gamma": gamma, "layer": np.zeros(n, int)}
    return Record(**rest)


def test_outcome_of_a_run():
    gamma = np.array([[1.0, 1.0], [0.5, 1.0], [1e-3, 1.0], [1e-4, 1.0], [1e-5, 1.0], [0.0, 1.0]])
    true = scores.outcome(record(gamma), 40)
    assert true.dead.tolist() == [True, False]
    assert true.t.tolist() == [80.0, math.inf]  # mean of the last 50 steps: records 40, 60, 80
    with pytest.raises(ValueError, match="at must be a whole number from 0 to 100, not 101"):
        scores.outcome(record(gamma), 101)


# Many runs ------------------------------------------------------------------------------------


def case(rng, n=60, noise=1.0, at=10):
    """A run whose filters die where a hidden number is large; the forecast sees it with noise."""
    hidden, layer = rng.normal(size=n), np.sort(rng.integers(0, 3, size=n))
    layer[:3], layer[-3:] = 0, 2
    layer[n // 2] = 1
    layer.sort()
    dead = hidden > 0.3
    t = np.where(dead, 200.0 - 20 * hidden, np.inf)
    score = hidden + noise * rng.normal(size=n)
    p = 1 / (1 + np.exp(-score))
    share = scores.layer_means(100.0 * p, layer)
    said = scores.of_probabilities(p, layer, score=score, t=np.where(p > 0.3, 210.0, np.inf))
    said = said._replace(layer_lo=share - 20, layer_hi=share + 20, lo=0.0, hi=100.0)
    return Case(said, Outcome(dead, t, layer, at))


def test_a_row_has_every_score():
    one = case(np.random.default_rng(0))
    found = row(one)
    said, true = one
    assert found["n_dead"] == true.dead.sum() and found["filters"] == 60
    assert found["auc"] == scores.auc(said.score, true.dead, true.layer)
    assert found["ece"] == scores.calibration(said.p, true.dead).error
    assert found["share_mae"] == scores.share_error(said.layer_share, true.layer_share)
    assert found["total_said"] == said.total and found["total_true"] == true.total
    for total in (true.total - 7, true.total + 7):
        assert row(Case(Prediction(total=total), true))["total_error"] == pytest.approx(7)
    assert found["total_covered"] == 100.0 and 0 <= found["coverage"] <= 100
    ratio = scores.time_ratio(said.t, true.t, true.dead, true.at, remaining=True)
    assert (found["remaining_ratio"], found["remaining_within_1_25"]) == ratio[:2]
    assert set(scoring.STATISTICS) < set(found)


def test_what_a_method_does_not_say_is_none():
    true = case(np.random.default_rng(0)).true
    found = row(Case(Prediction(score=true.layer.astype(float)), true))
    known = {name for name, value in found.items() if value is not None}
    assert known == {"n_dead", "filters", "total_true", "auc"}
    assert found["auc"] == 0.5  # the layer's number says nothing within it


def test_interval_narrows_with_runs_and_holds_the_value():
    rng = np.random.default_rng(1)
    many = [case(rng) for _ in range(24)]
    both = [bootstrap(some, rng, draws=60) for some in (many[:3], many)]
    for name in scoring.STATISTICS:
        wide, narrow = (found[name] for found in both)
        assert narrow.lo <= narrow.hi and narrow.value == scoring.STATISTICS[name].of(many)
        if name != "ece":  # which is larger, the fewer filters it has
            assert narrow.lo <= narrow.value <= narrow.hi
        if name in ("auc", "share_mae", "false_deaths", "within_1_25"):
            assert narrow.hi - narrow.lo < wide.hi - wide.lo


def test_runs_are_drawn():
    """One forecast total is right, the other 40 points off: half of the draws hold both."""
    true = case(np.random.default_rng(2)).true
    runs = [Case(Prediction(total=true.total + off), true) for off in (0.0, 40.0)]
    found = bootstrap(runs, np.random.default_rng(0), names=["total_error"], draws=100)
    assert found["total_error"] == pytest.approx((20, 0, 40))


def test_interval_of_one_run_covers_other_filters_four_times_in_five():
    """AUC of 60 filters of one layer, forecast with known noise."""

    def one(n):
        some = case(rng, n=n)
        return some._replace(true=some.true._replace(layer=np.zeros(n, int)))

    rng = np.random.default_rng(5)
    truth = scoring.STATISTICS["auc"].of([one(20_000)])
    hits = []
    for _ in range(80):
        found = bootstrap([one(60)], rng, names=["auc"], draws=50)["auc"]
        hits.append(found.lo <= truth <= found.hi)
    assert 0.66 <= np.mean(hits) <= 0.9


def test_same_seed_same_interval():
    many = [case(np.random.default_rng(k)) for k in range(3)]
    for name in ("auc", "share_mae"):
        one, two, three = (
            bootstrap(many, np.random.default_rng(seed), draws=20)[name] for seed in (1, 1, 2)
        )
        assert one == two != three


def test_layers_are_drawn_with_their_shares():
    """All layers are forecast exactly: they still are when they are drawn again."""
    true = case(np.random.default_rng(2)).true
    said = Prediction(layer_share=true.layer_share)
    found = bootstrap([Case(said, true)], np.random.default_rng(0), draws=20)
    assert found["share_mae"] == (0, 0, 0)


def test_filters_are_drawn_from_their_layer():
    """The score is the layer's number, so within layers it never tells anything."""
    true = case(np.random.default_rng(2)).true
    said = Prediction(score=true.layer.astype(float))
    found = bootstrap([Case(said, true)], np.random.default_rng(0), names=["auc"], draws=20)
    assert found == {"auc": (0.5, 0.5, 0.5)}


def test_nothing_to_score_is_nan():
    one = Case(Prediction(), case(np.random.default_rng(2)).true)
    found = bootstrap([one], np.random.default_rng(0), draws=2)
    assert set(found) == set(scoring.STATISTICS) and np.isnan(list(found.values())).all()


# Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda a, d, l: scores.auc(a[:2], d, l), r"not score \(2,\), dead \(3,\), layer \(3,\)"),
        (lambda a, d, l: scores.auc(a * np.nan, d, l), "score must have no NaN"),
        (lambda a, d, l: scores.auc(a, d, l, least=0), "least must be a whole number >= 1"),
        (lambda a, d, l: scores.calibration(a + 1, d), "p must be probabilities from 0 to 1"),
        (lambda a, d, l: scores.calibration(a * np.nan, d), "p must be probabilities"),
        (lambda a, d, l: scores.calibration(a[:0], d[:0]), "p must be probabilities"),
        (lambda a, d, l: scores.calibration(a, d, bins=0), "bins must be a whole number >= 1"),
        (lambda a, d, l: scores.share_error(a, a[:2]), r"not said \(3,\), true \(2,\)"),
        (lambda a, d, l: scores.covered(a[None], a, a), r"of one dimension .* not lo \(1, 3\)"),
        (lambda a, d, l: bootstrap([], np.random.default_rng(0)), "at least one run"),
        (
            lambda a, d, l: bootstrap([], np.random.default_rng(0), names=["aucs"]),
            "unknown score 'aucs': did you mean 'auc'",
        ),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.array([0.0, 0.5, 1.0]), np.array([True, False, True]), np.zeros(3, int))
