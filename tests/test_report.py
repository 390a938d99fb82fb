"""The few numbers per setting, from datasets written by hand."""

import io
import json
import math

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from regdyn import report, sim
from regdyn.plan import THRESHOLDS

STEPS = np.arange(0, 101, 10)


def dataset(passage, rms, *, thresholds=THRESHOLDS, step=STEPS):
    """Adam, l2 0.1 and 0.001; `passage` (lam, [param,] threshold), `rms` (lam, step[, param])."""
    passage, rms = np.asarray(passage, float)[None, None], np.asarray(rms, float)[None, None]
    param = ["param"] if rms.ndim == 5 else []
    coords = {"rule": ["adam"], "reg": ["l2"], "lam": [0.1, 0.001], "step": step}
    variables = {
        "first_passage_median": (["rule", "reg", "lam", *param, "threshold"], passage),
        "rms": (["rule", "reg", "lam", "step", *param], rms),
    }
    coords |= {"threshold": list(thresholds)}
    if param:
        coords |= {"param": np.arange(rms.shape[-1])}
    return xr.Dataset(variables, coords)


def late(*last):
    """An rms that is 7 at every step except the last ones."""
    return [7.0] * (len(STEPS) - len(last)) + list(last)


TWO = dataset([[1, 2.5, 30, math.nan], [math.nan] * 4], [late(3, 4), late(0, 0)])


def test_late_rms_is_over_the_last_tenth():
    """Steps 90 and 100 of 100: the root of the mean of 3^2 and 4^2."""
    assert report.late_rms(TWO).values.tolist() == [[[math.sqrt(12.5), 0.0]]]


def test_rows_hold_null_for_what_is_not_reached():
    at = {"rule": "adam", "reg": "l2"}
    never = dict.fromkeys(("t50", "t10", "t1e-2", "t1e-3"))
    assert report.rows(TWO) == [
        at | {"lam": 0.1, "t50": 1, "t10": 2.5, "t1e-2": 30, "t1e-3": None, "rms": 12.5**0.5},
        at | {"lam": 0.001} | never | {"rms": 0},
    ]


def test_rows_are_plain_json():
    text = json.dumps(report.rows(TWO), allow_nan=False)
    assert json.loads(text) == report.rows(TWO)
    assert '"t50": 1,' in text and '"t10": 2.5,' in text


def test_a_threshold_that_was_not_asked_for_is_null():
    ds = dataset([[5, 6], [7, 8]], [late(1), late(1)], thresholds=(0.3, 0.1))
    assert [[row["t50"], row["t10"], row["t1e-2"]] for row in report.rows(ds)] == [
        [None, 6, None],
        [None, 8, None],
    ]


def test_a_vector_parameter_gets_a_row_for_each_entry():
    rms = [[[1, 2]] * len(STEPS), [[3, 4]] * len(STEPS)]
    passage = [[[1, 2, 3, 4], [5, 6, 7, 8]], [[9, 10, 11, 12], [13, 14, 15, 16]]]
    rows = report.rows(dataset(passage, rms))
    seen = [(row["lam"], row["param"], row["t50"], row["rms"]) for row in rows]
    assert seen == [(0.1, 0, 1, 1), (0.1, 1, 5, 2), (0.001, 0, 9, 3), (0.001, 1, 13, 4)]
    assert list(rows[0]) == ["rule", "reg", "lam", "param", *report.TIMES, "rms"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("last", [1, 2])
def test_an_rms_that_left_the_finite_numbers_is_null(bad, last):
    """Also where only part of the last tenth did: the finite part is not averaged silently."""
    ds = dataset([[1, 2, 3, 4]] * 2, [late(*[1.0, bad][-last:]), late(1, 1)])
    assert [row["rms"] for row in report.rows(ds)] == [None, 1]


# Beside a prediction -----------------------------------------------------------------------------

PREDICTED = dataset([[1, 2, 33, 80], [math.nan] * 4], [late(3, 4.4), late(0.5, 0.5)])


def test_a_prediction_is_compared_number_by_number():
    """Relative errors; none where the simulation has 0 or nothing, or the prediction nothing."""
    first, second = report.compared(TWO, PREDICTED)
    assert {k: v for k, v in first.items() if k != "error"} == report.rows(PREDICTED)[0]
    rms = pytest.approx(math.sqrt((9 + 4.4**2) / 25) - 1)
    assert first["error"] == {
        "t50": 0, "t10": pytest.approx(-0.2), "t1e-2": pytest.approx(0.1), "t1e-3": None,
        "rms": rms,
    }  # fmt: skip
    assert second["rms"] == 0.5 and set(second["error"].values()) == {None}
    assert report.compared(PREDICTED, TWO)[0]["error"]["t1e-3"] is None


def test_the_printed_comparison():
    out = io.StringIO()
    rows = report.rows(TWO), report.compared(TWO, PREDICTED)
    Console(file=out, width=80).print(report.compared_table(*rows))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["rule", "reg", "lambda", "level", "simulated", "predicted", "error"] in lines
    assert ["adam", "l2", "0.1", "0.5", "1", "1", "0.0%"] in lines
    assert ["0.1", "2", "2", "-20.0%"] in lines and ["0.01", "30", "33", "+10.0%"] in lines
    assert ["0.001", "-", "80", "-"] in lines and ["late", "rms", "3.54", "3.77", "+6.5%"] in lines


def shown(ds, width):
    """Lines of the printed table."""
    out = io.StringIO()
    Console(file=out, width=width).print(report.table(report.rows(ds)))
    return out.getvalue().splitlines()


def test_the_printed_table():
    lines = [line.split() for line in shown(TWO, 120)]
    assert ["adam", "l2", "0.1", "1", "2", "30", "-", "3.54"] in lines
    assert ["adam", "l2", "0.001", "-", "-", "-", "-", "0"] in lines
    heads = " ".join(shown(TWO, 120)[:3])
    for head in (
        "rule",
        "reg",
        "lambda",
        "first step with |theta| below, median",
        "0.5",
        "0.001",
        "late rms",
    ):
        assert head in heads


def test_the_printed_table_of_a_vector():
    ds = dataset(np.full((2, 2, 4), 21_800), [[[1, 2]] * len(STEPS)] * 2)
    lines = [line.split() for line in shown(ds, 120)]
    assert ["adam", "l2", "0.1", "1", *["21,800"] * 4, "2"] in lines


def test_the_command_line_prints_it_whole_in_80_columns(tmp_path, capsys, monkeypatch):
    """Every cell is there to be read: which rule, which regulariser, which strength."""
    monkeypatch.setenv("COLUMNS", "80")
    words = "--opt adagrad --reg adamw --lam 0.1 1e-6 --steps 50 --lanes 5 --no-plot --out"
    assert sim.main([*words.split(), str(tmp_path)]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    for lam, row in zip(("0.1", "1e-06"), rows, strict=True):
        assert ["adagrad", "adamw", lam, *"----", f"{row['rms']:.3g}"] in printed
