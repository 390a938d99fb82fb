"""The ledger of deaths: against a twin that goes filter by filter, and stories with a known end."""

import json
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn.validate import folders
from cnn.validate import ledger as command
from regdyn import store
from regdyn.filters.record import Record
from regdyn.ledger import FATES, THRESHOLDS, ledger, silences

EVERY = 20


def record(gamma, fires, *, beta=-0.5, var=1.0, eps=1e-5):
    """A record of given gamma (K, n) and share of steps with a gradient (K - 1, n)."""
    gamma = np.array(gamma, dtype=float)
    fires = np.array(fires, dtype=float)
    states, n = gamma.shape
    like = np.ones_like(gamma)
    windows = np.ones((states - 1, n))
    return Record(
        step=EVERY * np.arange(states), gamma=gamma, beta=beta * like, norm_in=like, norm_out=like,
        var=var * like, grad_gamma_mean=windows, grad_gamma_std=windows,
        grad_gamma_zero=1.0 - fires, grad_beta_mean=windows, grad_beta_std=windows,
        grad_out2=windows, layer=np.arange(n) % 2, names=("C1", "C2"), bn_eps=np.full(n, eps),
        weights_out=np.full(n, 9),
    )  # fmt: skip


def story(gamma, fires):
    """The ledger of one filter, as plain numbers; silence counts from 40 steps."""
    ds = ledger(record(np.array(gamma)[:, None], np.array(fires)[:, None]), silence=40)
    return SimpleNamespace(
        **{
            name: ds[name].values[..., 0].tolist()
            for name in ds.variables
            if name not in ("threshold", "layer")
        }
    )


# Stories -----------------------------------------------------------------------------------------


def test_a_filter_that_lives():
    one = story([1.0, 0.9, 0.8, 0.9], [1, 0.5, 1])
    assert (one.fate, one.dead, one.last_firing, one.silent) == ("alive", False, 60, 0)
    assert np.isnan(one.below).all() and one.revivals == [0, 0, 0] and one.woken == 0
    assert math.isnan(one.z) and math.isnan(one.gamma_silenced)


def test_a_filter_that_is_absorbed():
    """Its gradient ends at 20 with |gamma| = 0.005, below 1e-2 and above 1e-3."""
    gamma = [0.02, -0.005, -0.002, -8e-4, -4e-4, -2e-4, -1e-4]
    one = story(gamma, [0.5, 0, 0, 0, 0, 0])
    assert (one.fate, one.dead, one.last_firing, one.silent) == ("absorbed", True, 20, 100)
    assert one.gamma_silenced == 0.005
    assert one.z == pytest.approx(-0.5 / (0.005 / math.sqrt(1 + 1e-5)))
    means = np.abs([gamma[k : k + 3] for k in range(5)]).mean(axis=1)  # of 50 steps: three records
    assert one.below[0] == 0 and one.below[2] == 20 * (2 + int(np.argmax(means < 1e-3)))


def test_absorbed_filters_need_not_be_dead_yet():
    one = story([1.0, 0.5, 0.4, 0.3], [1, 0, 0])
    assert (one.fate, one.dead, one.silent) == ("absorbed", False, 40)
    one = story([1.0, 0.5, 0.4, 0.3], [1, 1, 0])  # not silent for long enough
    assert (one.fate, one.silent) == ("alive", 20)
    one = story([1.0, 0.5, 0.4, 0.3], [0, 0, 0])
    assert (one.fate, one.last_firing, one.silent) == ("absorbed", 0, 60)


def test_a_filter_that_is_worn_down():
    """It is below 1e-3 for good before its gradient ends."""
    gamma = [0.5, 5e-4, 5e-4, 5e-4, 5e-4, 0, 0, 0]
    assert story(gamma, [1, 1, 1, 1, 0, 0, 0]).fate == "worn down"
    assert story(gamma, [1] * 7).fate == "worn down"
    # it came back, and fell silent for good long after
    gamma = [0.5, *[5e-4] * 4, 9e-3, 9e-3, 9e-3, 5e-4, 4e-4, 3e-4, 2e-4]
    one = story(gamma, [1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0])
    assert (one.fate, one.woken, one.revivals) == ("worn down", 1, [0, 0, 1])
    assert one.below[2] == 60 and one.below_for_good[2] == 200


def test_a_sign_change_is_no_death():
    one = story([0.05, 0.04, 0.03, 0.0, -0.03, -0.04], [1] * 5)
    assert one.fate == "alive" and math.isnan(one.below[2])


# Against a twin ----------------------------------------------------------------------------------


@st.composite
def records(draw):
    states, n = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    levels = st.sampled_from([0.0, 3e-4, -8e-4, 2e-3, -9e-3, 0.03, 0.5, -1.0])
    shares = st.sampled_from([0.0, 0.0, 0.05, 1.0])
    gamma = [[draw(levels) for _ in range(n)] for _ in range(states)]
    fires = [[draw(shares) for _ in range(n)] for _ in range(states - 1)]
    return record(gamma, fires)


def twin(rec, j, silence):
    """Filter j, in words."""
    gamma = [abs(x) for x in rec.gamma[:, j]]
    mean = [sum(gamma[max(0, k - 2) : k + 1]) / min(3, k + 1) for k in range(len(gamma))]
    fired = [k + 1 for k, zero in enumerate(rec.grad_gamma_zero[:, j]) if zero < 1]
    last = fired[-1] if fired else 0
    silent = EVERY * (len(gamma) - 1 - last)
    found = {"last_firing": EVERY * last, "silent": silent, "dead": gamma[-1] < 1e-3}
    found["fate"] = "worn down" if gamma[-1] < 1e-3 else "alive"
    if silent >= silence and all(m >= 1e-3 for m in mean[: last + 1]):
        found["fate"] = "absorbed"
    for i, threshold in enumerate(THRESHOLDS):
        under = [m < threshold for m in mean]
        for_good = [k for k in range(len(under)) if all(under[k:])]
        found[f"below{i}"] = EVERY * under.index(True) if any(under) else None
        found[f"for_good{i}"] = EVERY * for_good[0] if for_good else None
        found[f"revivals{i}"] = sum(a and not b for a, b in pairwise(under))
    lengths, length = [], 0
    for zero in rec.grad_gamma_zero[:, j]:
        if zero == 1.0:
            length += EVERY
        elif length:
            lengths.append(length)
            length = 0
    found["woken"] = sum(length >= silence for length in lengths)
    return found


def number(value):
    return None if math.isnan(value) else value


@given(records(), st.sampled_from([1, 20, 40, 100]))
def test_every_entry_is_that_of_the_twin(rec, silence):
    ds = ledger(rec, silence=silence)
    for j in range(rec.filters):
        one, expected = ds.isel(filter=j), twin(rec, j, silence)
        for name in ("last_firing", "silent", "dead", "fate", "woken"):
            assert one[name].item() == expected[name], name
        for i in range(len(THRESHOLDS)):
            assert number(one["below"].values[i]) == expected[f"below{i}"]
            assert number(one["below_for_good"].values[i]) == expected[f"for_good{i}"]
            assert one["revivals"].values[i] == expected[f"revivals{i}"]


@given(records())
def test_fates_are_a_partition(rec):
    ds = ledger(rec, silence=40)
    assert set(ds["fate"].values.tolist()) <= set(FATES)
    assert not (ds["dead"].values & (ds["fate"].values == "alive")).any()
    only = ds["fate"].values == "worn down"
    assert ds["dead"].values[only].all()


@given(records())
def test_silences_are_the_windows_without_gradient(rec):
    found = silences(rec)
    silent = np.zeros_like(rec.grad_gamma_zero, dtype=bool)
    for j, begin, steps in zip(found.filter, found.begin, found.steps, strict=True):
        rows = slice(begin // EVERY, (begin + steps) // EVERY)
        assert not silent[rows, j].any()  # they do not overlap
        silent[rows, j] = True
    assert np.array_equal(silent, rec.grad_gamma_zero == 1.0)
    ends = found.begin + found.steps
    assert np.array_equal(found.woken, ends < rec.step[-1])
    for j, end in zip(found.filter[found.woken], ends[found.woken], strict=True):
        assert rec.grad_gamma_zero[end // EVERY, j] < 1.0  # and are as long as they can be


def test_the_ledger_of_a_part_knows_nothing_of_the_rest():
    rec = record([[1.0]] * 5 + [[1e-4]] * 5, [[1.0]] * 9)
    assert ledger(rec.until(80))["fate"].item() == "alive"
    assert ledger(rec)["fate"].item() == "worn down"
    assert ledger(rec.until(80)).attrs["until"] == 80


@pytest.mark.parametrize("silence", [0, -1, 1.5, "long", True])
def test_bad_silence(silence):
    with pytest.raises(ValueError, match="silence must be a whole number >= 1"):
        ledger(record([[1.0], [1.0]], [[1.0]]), silence=silence)


# The command -------------------------------------------------------------------------------------


@pytest.fixture
def some(monkeypatch):
    rng = np.random.default_rng(0)
    decay = np.exp(-rng.uniform(0, 0.5, 40) * np.arange(30)[:, None])
    fires = (np.arange(29)[:, None] < rng.integers(5, 60, 40)).astype(float)
    rec = record(decay, fires)
    monkeypatch.setattr(folders, "load", lambda folder: (SimpleNamespace(record=rec), None))
    return rec


def test_the_command_prints_and_writes(some, tmp_path, capsys):
    assert command.main([str(tmp_path / "run-7"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "how filters died" in said and "silences of 200 steps or more" in said
    ds = store.load(tmp_path / "out" / "ledger.nc")
    assert ds["fate"].values.tolist() == ledger(some)["fate"].values.tolist()
    assert json.loads(ds.attrs["config"])["silence"] == 200 and "git_revision" in ds.attrs
    assert str(tmp_path) not in ds.attrs["run"]
    assert (tmp_path / "out" / "ledger.png").stat().st_size > 10_000
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["ledger.nc", "ledger.png"]


def test_rows_add_up(some):
    rows = command.rows(ledger(some))
    assert [row["layer"] for row in rows] == ["C1", "C2", "all"]
    for name in ("filters", "dead", "worn_down", "absorbed", "revived"):
        assert rows[0][name] + rows[1][name] == rows[2][name]
    assert rows[2]["absorbed"] > 0 and rows[2]["z"] < 0


def test_a_layer_without_deaths_has_no_medians():
    rows = command.rows(ledger(record(np.ones((3, 2)), np.ones((2, 2)))))
    assert all(row["z"] is None and row["below_1e-2"] is None for row in rows)
    command.table(ledger(record(np.ones((3, 2)), np.ones((2, 2)))))


def test_the_picture_has_a_line_per_filter_and_a_mark_per_absorbed_one(some):
    ds = ledger(some)
    fig = command.draw(ds)
    marks = sum(len(line.get_xdata()) for ax in fig.axes for line in ax.lines)
    assert marks == (ds["fate"].values == "absorbed").sum() > 0
    bars = [bar for ax in fig.axes for bar in ax.patches]
    assert len(bars) == 4 * 40 and all(bar.get_width() >= 0 for bar in bars)
    assert sum(bar.get_width() for bar in bars) == pytest.approx(40 * some.step[-1])


def test_a_folder_without_a_run(tmp_path, capsys):
    from cnn.validate.__main__ import main

    assert main(["ledger", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no run.nc" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
