"""The forecast and what-if, as they are called: what they give, refuse, and do not look at."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regdyn import rules
from regdyn.filters import reasons
from regdyn.filters.record import GRADIENT, STATE, Run
from regdyn.forecast import forecast, hazard_factor, measured, of_run
from regdyn.what_if import dataset as labelled
from regdyn.what_if import suggest, what_if

from .records import dataset, record

ADAM = {"rule": "adam", "reg": "l2", "lam": 1e-2}
DROP = np.r_[np.ones(800), np.full(200, 0.1)]


def run(one=None, rule="adam", reg="l2", lam=1e-2, scale=DROP, **hyper):
    one = record((4, 8)) if one is None else one
    return Run(one, rules.resolve(rule)._replace(**hyper), reg, lam, scale)


# Forecast ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, reg, lam",
    [("adam", "l2", 1e-2), ("amsgrad", "l2", 1e-2), ("rmsprop", "l2", 1e-2),
     ("adagrad", "l2", 1e-2), ("adadelta", "l2", 1e-2), ("lion", "l2", 1e-2), ("sgd", "l2", 5e-3),
     ("sgd", "wd", 5e-3), ("adam", "wd", 3e-3), ("adam", "adamw", 1.0), ("lion", "wd", 1e-3),
     ("adadelta", "wd", 3e-3), ("sgd", "none", 0.0), ("adam", "none", 0.0)],
)  # fmt: skip
@pytest.mark.parametrize("with_pilot", [True, False])
def test_every_rule_and_regulariser_has_a_forecast(rule, reg, lam, with_pilot):
    pilot = dataset(record((4, 8), seed=9)) if with_pilot else None
    ds = forecast(dataset(record((4, 8))), at=200, until=1000, rule=rule, reg=reg, lam=lam,
                  scale=DROP, pilot=pilot)  # fmt: skip
    assert ds.sizes == {"filter": 12, "layer_name": 2}
    p = ds["p_collapse"].values
    assert np.all((p >= 0) & (p <= 1))
    assert np.all(ds["t_lo"] <= ds["t_median"]) and np.all(ds["t_median"] <= ds["t_hi"])
    for lo, mid, hi in (("share_lo", "share", "share_hi"), ("total_lo", "total", "total_hi")):
        assert np.all(ds[lo] <= ds[mid]) and np.all(ds[mid] <= ds[hi])
        assert np.all(ds[lo] >= 0) and np.all(ds[hi] <= 100)
    known = {v for k, v in vars(reasons).items() if k.isupper()}
    assert set(ds["reason"].values.tolist()) <= known
    assert np.allclose(ds["share"], [100 * p[:4].mean(), 100 * p[4:].mean()])
    assert all("units" in ds[name].attrs for name in ds.data_vars)
    assert "regdyn_version" in ds.attrs or "git_revision" in ds.attrs


@given(st.integers(0, 10))
@settings(max_examples=5, deadline=None)
def test_nothing_later_than_the_forecast_is_read(seed):
    one = record((4, 8), seed=seed)
    later = {k: getattr(one, k).copy() for k in (*STATE, *GRADIENT)}
    for k, values in later.items():
        values[11 if k in STATE else 10 :] = np.random.default_rng(seed).random()
    a, b = (of_run(run(r), 200) for r in (one, one._replace(**later)))
    assert a.drop_attrs().equals(b.drop_attrs())
    c = of_run(run(one), 400)
    assert not a["p_collapse"].equals(c["p_collapse"])  # but what is earlier is


def test_without_a_regulariser_nothing_dies_and_with_more_more_does():
    one = record((8, 16), sigma=3e-3)
    totals = [float(of_run(run(one, lam=lam), 200)["total"]) for lam in (1e-4, 1e-2, 1.0)]
    assert totals[0] < totals[1] < totals[2]
    none = of_run(run(one, reg="none", lam=0.0), 200)
    assert float(none["total"]) == 0 and set(none["reason"].values) == {reasons.FREE}


def test_dead_filters_are_known_and_silent_ones_only_decay():
    one = record((4, 8))
    gamma, zero = one.gamma.copy(), one.grad_gamma_zero.copy()
    gamma[:, 1] = 1e-5
    one = one._replace(gamma=gamma)
    ds = of_run(run(one), 200)
    assert ds["p_collapse"][1] == 1 and ds["reason"][1] == reasons.GONE
    zero[:, 2:4] = 1.0
    gamma[:, 2], gamma[:, 3] = 0.01, 0.9
    silent = one._replace(gamma=gamma, grad_gamma_zero=zero)
    ds = of_run(run(silent, reg="wd", lam=4e-3, scale=np.ones(1000)), 200)  # 3.2 e-folds left
    assert ds["reason"][2] == reasons.SILENT and ds["p_collapse"].values[2:4].tolist() == [1, 0]


def test_ten_thousand_filters_take_about_a_second():
    one = record((2000, 3000, 5000), steps=1000)
    start = time.process_time()
    of_run(run(one), 200)
    assert time.process_time() - start < 5  # about 1 on an idle core; a limit, not a benchmark


@pytest.mark.parametrize(
    "change, said",
    [
        ({"at": 0}, "at must be"),
        ({"at": 2000}, "at must be"),
        ({"at": 30}, "third window"),
        ({"rule": "madam"}, "unknown rule 'madam'"),
        ({"reg": "l1"}, "l1"),
        ({"lam": -1.0}, "lam"),
        ({"lam": float("nan")}, "lam"),
        ({"scale": np.ones(10)}, "a factor for each of the 1000 steps"),
        ({"pilot": dataset(record((3, 8)))}, "the pilot is of another network"),
        ({"until": 0}, "until"),
    ],
)
def test_bad_input_gets_a_sentence(change, said):
    arguments = {"at": 200, "until": 1000, **ADAM, **change}
    with pytest.raises(ValueError, match=said):
        forecast(dataset(record((4, 8))), **arguments)


def test_the_end_is_that_of_the_schedule_and_the_batch_matters_where_filters_are_absorbed():
    early = dataset(record((4, 8)).until(400))
    asked = {"at": 200, "rule": "adam", "reg": "wd", "lam": 4e-3, "scale": np.ones(4000)}
    ds = forecast(early, **asked)
    assert ds.attrs["until"] == 4000
    assert float(forecast(early, **asked, batch=160)["total"]) < float(ds["total"])


def test_a_pilot_that_dies_by_another_law_says_nothing_of_the_hazard():
    decay, descent = run(reg="wd", lam=2e-2), run(rule="sgd", lam=5e-3)
    assert hazard_factor(descent, decay).tolist() == [1, 1]
    assert hazard_factor(decay, decay).tolist() != [1, 1]


def test_measured_shares_are_those_of_the_record():
    one = record((4, 8))
    gamma = one.gamma.copy()
    gamma[-1, :2] = 1e-4
    found = measured(run(one._replace(gamma=gamma)))
    assert found.share.tolist() == [50, 0] and found.total == pytest.approx(100 / 6)


# What-if -----------------------------------------------------------------------------------------


def pilot(**more):
    return run(record((8, 16), seed=4, sigma=3e-3), **more)


def test_a_stronger_regulariser_kills_more():
    totals = [what_if(pilot(), lam=lam).total for lam in (1e-3, 1e-2, 1e-1)]
    assert totals[0] < totals[1] < totals[2]
    assert what_if(pilot(), reg="none").total == 0


def test_what_is_left_out_is_the_pilots():
    one = pilot()
    same = what_if(one, rule=rules.Adam(), reg="l2", lam=1e-2, scale=DROP, batch=one.batch)
    assert what_if(one).total == same.total


def test_amsgrad_kills_fewer_and_a_larger_batch_more():
    assert what_if(pilot(), rule="amsgrad").total <= what_if(pilot()).total
    assert what_if(pilot(), batch=640).total > what_if(pilot()).total


def test_other_rules_follow_their_own_law_and_refuse_where_there_is_none():
    decayed = what_if(pilot(), reg="wd", lam=1e-2, scale=np.ones(4000))
    assert 1 < decayed.total < 60
    wide = what_if(pilot(), reg="wd", lam=1e-2, scale=np.ones(4000), width=2.0)
    assert wide.total > decayed.total
    fewer = what_if(pilot(), reg="wd", lam=1e-2, scale=np.ones(4000), batch=160)
    assert decayed.total > fewer.total > 0
    descent = what_if(pilot(), rule="sgd", lam=1e-2, scale=np.ones(4000))
    same = what_if(pilot(), rule="sgd", lam=1e-2, scale=np.ones(4000), batch=160)
    assert descent.total == same.total > 0  # no such dependence was found
    with pytest.raises(ValueError, match="says nothing of adam and l2"):
        what_if(pilot(reg="wd", lam=3e-3), reg="l2", lam=1e-2)
    with pytest.raises(ValueError, match="give a pilot of that width"):
        what_if(pilot(), lam=1e-3, width=2.0)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"lam": -1}, "lam"),
        ({"rule": "nadam"}, "unknown rule"),
        ({"reg": "l0"}, "l0"),
        ({"batch": 1}, "batch"),
        ({"width": 0.0}, "width"),
        ({"width": float("inf")}, "width"),
    ],
)
def test_bad_settings_get_a_sentence(change, said):
    with pytest.raises(ValueError, match=said):
        what_if(pilot(), **change)


def test_a_pilot_must_be_finished():
    with pytest.raises(ValueError, match="must be finished: its record ends at step 600 of 1000"):
        what_if(run(record((4, 8)).until(600)))


def test_a_suggestion_gives_what_was_wanted():
    one = pilot(lr=3e-3)
    lam, found = suggest(one, 40.0)
    assert found.total == pytest.approx(40, abs=1)
    assert what_if(one, lam=lam).total == found.total
    with pytest.raises(ValueError, match="no strength gives 80 %"):
        suggest(pilot(reg="wd", lam=3e-3), 80.0)
    with pytest.raises(ValueError, match="no strength to start from"):
        suggest(pilot(reg="none", lam=0.0), 20.0)
    assert labelled(found, one)["share"].sizes == {"layer_name": 2}
