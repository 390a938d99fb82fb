"""The closed forms on random settings: the committed table, and (slow) a new one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from regdyn.rules import RULES, SGD
from regdyn.theory.laws import Law
from sims import laws_check

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def committed():
    return pd.read_csv(ROOT / "sims/data/laws-check.csv")


def test_the_committed_table_shows_what_is_claimed(committed):
    """Within 2 % where valid; the flag right on 95 % even strictly; a law for 60 %."""
    found = laws_check.summary(committed.to_xarray())
    assert found["measured"] > 200
    assert found["within 2 % where valid"] > 0.98
    assert found["flag right, strictly"] >= 0.95 and found["flag right"] >= 0.98
    assert found["valid"] >= 0.6
    assert set(committed["rule"]) == set(RULES) and set(committed["reg"]) == {"l2", "wd"}


def test_the_committed_table_is_that_of_these_laws(committed):
    """A sample of its rows, drawn and predicted again."""
    cells = laws_check.draw_cells(20261124)
    for _, row in committed[committed["verdict"] == "right"].iloc[::40].iterrows():
        cell = cells[row["cell"]]
        assert cell.lam == pytest.approx(row["lam"], rel=1e-4)
        law = laws_check.predict(cell, row["quantity"], row["steps"])
        assert law.valid and law.value == pytest.approx(row["law"], rel=1e-3)


def test_verdicts():
    """A wrong number that calls itself valid is wrong, a right one that refuses too modest."""
    columns = ["quantity", "steps", "measured", "standard_error", "law", "valid", "verdict"]
    rows = [
        ("half-life", 3e3, 100.0, 0.1, 101.0, True, "right"),
        ("half-life", 3e3, 100.0, 0.1, 103.0, True, "wrong"),
        ("half-life", 3e3, 100.0, 0.1, 103.0, False, "rightly invalid"),
        ("half-life", 3e3, 100.0, 0.1, np.nan, False, "rightly invalid"),
        ("half-life", 3e3, 100.0, 0.1, 101.0, False, "too modest"),
        ("half-life", 3e3, 100.0, 2.0, 103.0, True, "not measured"),
        ("late std", 1e6, np.nan, 0.1, 103.0, True, "not measured"),
        ("half-life", 1e6, np.nan, 0.1, 5e5, True, "wrong"),
        ("half-life", 1e6, np.nan, 0.9, 5e5, True, "not measured"),
        ("half-life", 1e6, np.nan, 0.1, 2e6, True, "not measured"),
    ]
    frame = pd.DataFrame(rows, columns=columns)
    assert laws_check.judge(frame)["verdict"].tolist() == frame["verdict"].tolist()


def test_a_cell_is_measured_and_judged(monkeypatch):
    """SGD, where everything is exact; and a law that is 5 % off is found out."""
    cell = laws_check.Cell(SGD(0.1, 0.5), "l2", 0.05, 1e-3)
    monkeypatch.setattr(laws_check, "draw_cells", lambda seed, cells: [cell])
    data = laws_check.run(lanes=1024, seed=3, cells=1)
    assert data["verdict"].values.tolist() == ["right"] * 3
    assert laws_check.table(data)["valid"].all()
    assert "3 quantities were measured" in laws_check.answer(data)
    assert len(laws_check.draw(data).axes) == 3
    wrong = lambda *a: Law(1.05 * exact(*a).value, True, "Off.")  # noqa: E731
    exact = laws_check.predict
    monkeypatch.setattr(laws_check, "predict", wrong)
    data = laws_check.run(lanes=1024, seed=3, cells=1)
    assert data["verdict"].values.tolist() == ["wrong"] * 3
    assert isinstance(data, xr.Dataset) and data.attrs["seed"] == 3


def test_the_grid_spans_what_it_says():
    cells = laws_check.draw_cells(1, 50)
    assert len(cells) == 50 * 2 * len(RULES)
    rate = np.array([cell.hp.lr for cell in cells])
    assert 1e-4 <= rate.min() < 2e-4 and 5e-2 < rate.max() <= 1e-1
    sigma = np.array([cell.sigma for cell in cells])
    assert 1e-7 <= sigma.min() < 1e-6 and 0.1 < sigma.max() <= 1


@pytest.mark.slow
def test_new_settings():
    """Four settings per rule and regulariser that nobody has seen: the claims hold there."""
    found = laws_check.summary(laws_check.run(lanes=1024, seed=4711, cells=4))
    assert found["measured"] > 60
    assert found["flag right"] >= 0.95 and found["flag right, strictly"] >= 0.9
    assert found["valid"] >= 0.6
