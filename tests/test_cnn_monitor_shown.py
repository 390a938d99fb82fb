"""What the monitor shows: document, terminal, TensorBoard, command line; and trouble."""

import io
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnn.config import Config, to_dict
from cnn.monitor import GammaMonitor
from cnn.monitor.__main__ import main
from cnn.monitor.document import document, thinned
from cnn.monitor.packing import unpack
from cnn.monitor.page import page
from cnn.monitor.quantities import Budget, Spent
from cnn.monitor.recorded import read
from cnn.monitor.terminal import bar, drawing, headline
from cnn.monitor.verdicts import NAMES
from cnn.record import Recorder
from regdyn.store import save

torch.set_num_threads(1)
EXAMPLES = Path(__file__).parents[1] / "examples"


def network():
    """A traced layer with a ReLU, one whose filters nobody reads alone, and a LayerNorm."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 3),
    )  # fmt: skip


def run(folder, until=60, **how):
    """A run under a monitor, closed after `until` steps."""
    model = network()
    with torch.no_grad():
        model[1].weight[0] = 1e-4
        model[1].bias[1] = -9.0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, weight_decay=1e-2)
    how = {"steps": until, "every": 5, "show": False, **how}
    with GammaMonitor(model, optimizer, folder, **how) as monitor:
        for _ in range(until):
            x, y = torch.randn(8, 1, 4, 4), torch.randint(3, (8,))
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    return monitor


@pytest.fixture(scope="module")
def halfway(tmp_path_factory):
    """The folder of a run that ended half-way, and its monitor."""
    folder = tmp_path_factory.mktemp("halfway")
    return folder, run(folder, 30, steps=60)


SCHEMA = {
    "format": int, "title": str, "written": str, "step": int, "steps": int, "seconds": float,
    "setting": {"optimizer": str, "rule": str, "reg": str, "lam": float, "lr": float,
                "note": None},
    "provenance": {"torch_version": str, "regdyn_version": str, "numpy_version": str,
                   "numba_version": str, "xarray_version": str, "python_version": str,
                   "machine": str, "git_revision": str},
    "loss": {"step": [int], "value": "packed"},
    "threshold": float, "step_axis": [int],
    "layers": [{"name": str, "path": str, "kind": str, "filters": int,
                "counts": dict.fromkeys(NAMES, int),
                "share_lo": float, "share": float, "share_hi": float}],
    "filters": {"layer": [int], "channel": [int], "verdict": [int], "gamma": "packed",
                "beta": "packed", "p_collapse": "packed", "t_lo": "packed", "t_median": "packed",
                "t_hi": "packed", "reason": [int], "prunable": [bool]},
    "verdicts": [{"name": str, "meaning": str}], "reasons": [str],
    "forecast": {"at": int, "until": int, "total_lo": float, "total": float, "total_hi": float,
                 "note": str},
    "forecast_why_not": None,
    "prunable": {"filters": int, "of": int, "percent": float, "how": str},
    "scales": [{"path": str, "kind": str, "size": int, "abs_mean": "packed", "abs_min": "packed",
                "below": int}],
    "warnings": [str],
}  # fmt: skip


def check(given, schema, at="document"):
    """`given` has the keys and kinds of the schema, and no others."""
    if isinstance(schema, dict):
        assert set(given) == set(schema), at
        for key, inside in schema.items():
            check(given[key], inside, f"{at}.{key}")
    elif isinstance(schema, list):
        assert isinstance(given, list), at
        for one in given:
            check(one, schema[0], f"{at}[]")
    elif schema == "packed":
        assert unpack(given).size, at
    elif schema is None:
        assert given is None, at
    else:
        assert type(given) is schema, at


def test_the_document_keeps_to_the_schema(halfway):
    """Key by key; sizes agree; JSON holds it, and so does the page."""
    made = halfway[1].document()
    check(json.loads(json.dumps(made, allow_nan=False)), SCHEMA)
    assert made["step"] == 30 and made["steps"] == 60
    assert (made["step_axis"] == made["scales"] and False) or made["step_axis"] == [
        *range(0, 31, 5)
    ]
    assert unpack(made["filters"]["gamma"]).shape == (7, 7)
    for key in ("layer", "channel", "verdict", "reason", "prunable"):
        assert len(made["filters"][key]) == 7
    assert made["filters"]["channel"] == [0, 1, 2, 0, 1, 2, 3]
    assert unpack(made["loss"]["value"]).shape == (6,) and made["loss"]["step"] == [
        *range(5, 31, 5)
    ]
    assert made["prunable"]["filters"] == 1 and made["prunable"]["of"] == 7
    assert max(made["filters"]["reason"]) < len(made["reasons"])
    assert sum(sum(one["counts"].values()) for one in made["layers"]) == 7
    assert halfway[1].view().about.title in page(made)


def test_trajectories_are_those_of_the_record(halfway):
    made, ds = halfway[1].document(), halfway[1].dataset()
    assert np.array_equal(unpack(made["filters"]["gamma"]), ds["gamma"].T)
    assert np.array_equal(unpack(made["scales"][0]["abs_mean"]),
                          ds["scale_abs_mean"][:, 0].astype("f4"))  # fmt: skip


@pytest.mark.parametrize("records", [1, 2, 199, 200, 201, 4001])
def test_long_records_are_thinned_evenly(records):
    kept = thinned(records)
    assert kept[0] == 0 and kept[-1] == records - 1 and len(kept) == min(records, 200)
    assert len(kept) == 1 or np.ptp(np.diff(kept)) <= 1


def test_a_folder_read_again_is_what_the_monitor_knew(halfway):
    """All but the time at which it was written."""
    folder, monitor = halfway
    ours, theirs = monitor.document(), document(read(folder))
    for one in (ours, theirs):
        one.pop("written"), one.pop("seconds")
    assert ours == theirs
    assert (folder / "report.html").is_file()


def test_a_run_of_cnn_train_is_shown_too(tmp_path):
    """run.nc has no forecast: it is made, and at the end it is what came out."""
    model = network()
    with torch.no_grad():
        model[1].weight[0] = 1e-4
    recorder = Recorder(model, steps=60, every=5)
    for step in range(1, 61):
        loss = model(torch.randn(8, 1, 4, 4)).square().mean()
        model.zero_grad()
        loss.backward()
        recorder.observe(step, loss)
        recorder.after(step)
    settings = json.dumps(to_dict(Config(steps=60)))
    save(recorder.dataset().assign_attrs(config=settings), tmp_path / "run.nc")
    made = document(read(tmp_path))
    check(made, {**SCHEMA, "scales": [None]})
    assert made["setting"]["reg"] == "l2" and made["forecast"]["at"] == 60
    assert made["forecast"]["total"] == made["forecast"]["total_lo"] == pytest.approx(100 / 7)
    assert made["layers"][0]["counts"]["collapsed"] == 1
    dated = np.isfinite(unpack(made["filters"]["t_median"]))
    assert not dated[np.array(made["filters"]["verdict"]) != 3].any()


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"gamma_lr": 0.5}, "rate of its own"), ({"regularize": "no-batchnorm"}, "spared"),
     ({"gamma_l1": 1e-3}, "penalised")],
)  # fmt: skip
def test_a_run_whose_gamma_is_treated_apart_has_no_forecast(tmp_path, changed, why):
    recorder = Recorder(network(), steps=60, every=5)
    config = to_dict(Config(steps=60))
    config["optim"].update(changed)
    save(recorder.dataset().assign_attrs(config=json.dumps(config)), tmp_path / "run.nc")
    made = document(read(tmp_path))
    assert made["forecast"] is None and why in made["forecast_why_not"]


# The command line ---------------------------------------------------------------------------------


def test_the_command_line_shows_a_folder(halfway, tmp_path, capsys):
    folder, _ = halfway
    assert main([str(folder), "--html", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    assert "step 30 of 60" in said and "C1 1" in said and "LayerNorm" in said
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert main([str(folder / "record.nc"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 30


@pytest.mark.parametrize("what", ["nothing", "damaged", "other"])
def test_a_folder_that_holds_no_record_is_one_sentence(what, tmp_path, capsys):
    if what == "damaged":
        (tmp_path / "record.nc").write_bytes(b"CDF")
    if what == "other":
        import xarray as xr

        xr.Dataset(attrs={"config": "{}"}).to_netcdf(tmp_path / "run.nc")
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1


# The terminal -------------------------------------------------------------------------------------


def plain(renderable, width=80):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    console.print(renderable)
    return console.file.getvalue()


def test_the_drawing_fits_80_columns_and_says_the_numbers(halfway):
    view = halfway[1].view()
    lines = plain(drawing(view)).splitlines()
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)
    row = next(line for line in lines if line.startswith("C1 1")).split()
    counts = view.counts[0]
    assert row[2] == "3" and [int(x) for x in row[4:7]] == counts[1:4].tolist()
    assert "1 of 7 filters are gone" in " ".join(lines) and "80 %:" in " ".join(lines)


def test_a_bar_has_the_share_of_each_verdict():
    """Marks as well as colours; the whole is always as wide."""
    assert bar(np.array([4, 1, 1, 2, 0])).plain == "████████▓▓▒▒░░░░"
    for numbers in np.random.default_rng(0).integers(1, 9, (20, 5)):
        assert len(bar(numbers).plain) == 16


def test_the_next_collapse_is_the_soonest_that_is_expected(halfway):
    view = halfway[1].view()
    one = view.forecast._replace(
        p=np.array([1, 0.9, 0.6, 0.4, 0.8, 0.9, 0.1]),
        t_median=np.array([10.0, 55, 45, 35, 29, np.nan, 40]),
    )
    view.forecast = one
    assert view.coming.tolist() == [2, 1]  # 0 is gone, 3 and 6 are not likely, 4 is past
    assert view.next_in(0) == 45 and view.next_in(1) is None
    view.seconds = 60.0
    assert "45 (30 s)" in plain(drawing(view))


def test_the_terminal_draws_where_it_is_asked_to(tmp_path, capsys):
    run(tmp_path, 10, show=True)
    assert "step 10 of 10" in capsys.readouterr().err
    run(tmp_path, 10, show=None)
    assert capsys.readouterr().err == ""  # not a terminal


def test_a_headline_without_a_forecast_says_why(tmp_path):
    assert "No forecast: the length of the run" in headline(run(tmp_path, 20, steps=None).view())


# TensorBoard --------------------------------------------------------------------------------------


def test_scalars_are_the_numbers_of_the_view(halfway):
    from cnn.monitor.board import scalars

    found, view = scalars(halfway[1].view()), halfway[1].view()
    assert found["filters/collapsed"] == pytest.approx(100 / 7)
    assert sum(found[f"filters/{name}"] for name in NAMES) == pytest.approx(100)
    assert found["collapsed/C1 1"] == pytest.approx(100 / 3)
    assert found["forecast/expected"] == view.forecast.total[1]
    assert found["loss"] == float(view.history["loss"][-1])


def test_tensorboard_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("cnn.monitor.board.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package tensorboard"):
        run(tmp_path, 5, tensorboard=True)


# Cost and trouble ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("recording", "times"), [(0.0, [100, 200, 300, 400]), (0.05, [500])])
def test_a_budget_is_kept(recording, times, monkeypatch):
    """2 % of the time, of work that takes 2 seconds; a fifth where recording takes too much."""
    now, spent, done = [0.0], Spent(), []
    monkeypatch.setattr("cnn.monitor.quantities.time.perf_counter", lambda: now[0])
    budget = Budget(0.02, 2.0, spent)
    while now[0] < (450 if recording == 0 else 900):
        if budget.due():
            done.append(now[0])
            with budget.spending():
                now[0] += 2
        now[0] += 1
        spent.seconds += recording
    assert done == times and budget.spent == 2 * len(times)
    assert not Budget(1.0, 0.0, Spent(), apart=5.0).due()


def test_an_instrument_that_fails_is_left_out(tmp_path, monkeypatch):
    """A mistake in the page must not end a training of days."""

    def fail(*_):
        raise KeyError("layers")

    monkeypatch.setattr("cnn.monitor.page.page", fail)
    with pytest.warns(RuntimeWarning, match="no more files: it failed"):
        monitor = run(tmp_path, 10)
    assert (tmp_path / "record.nc").is_file() and not monitor._instruments[0].works


def test_a_forecast_that_fails_says_so(tmp_path, monkeypatch):
    def fail(*_):
        raise FloatingPointError("overflow")

    monkeypatch.setattr("cnn.monitor.monitor.forecast", fail)
    assert "FloatingPointError: overflow" in run(tmp_path, 20).document()["forecast_why_not"]


def test_the_loop_of_the_examples_runs(tmp_path):
    runpy.run_path(str(EXAMPLES / "plain_loop.py"))["main"](str(tmp_path / "out"), 60)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"record.nc", "report.html"}
    assert read(tmp_path / "out").step == 60


def test_examples_are_short():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 60
