"""The command line: what it computes, writes, prints and refuses, and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import regdyn
import regdyn.theory
from regdyn import report, sim, store
from regdyn.gradients import Gaussian, Intermittent, Well
from regdyn.regularizers import StepDecay
from regdyn.rules import RULES, SGD, Adam, AMSGrad

ROOT = Path(__file__).parents[1]
SMALL = ("--steps", "300", "--lanes", "20")
ALL = ["result.nc", "summary.json", "figure.png"]


def command(*words):
    """Exit code of `python -m regdyn.sim`, run in this process."""
    try:
        return sim.main([str(word) for word in words])
    except SystemExit as stop:  # the parser's way out
        return stop.code


def program(*words):
    """`python -m regdyn.sim` in a process of its own."""
    words = [sys.executable, *map(str, words)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)


def strict(text):
    """JSON without NaN and Infinity, which Python reads and others do not."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def files(folder):
    """Every file and folder in `folder`, hidden ones too, with the contents of the files."""
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def rows_by_hand(ds):
    """The summary's rows, from their definitions."""
    rows = []
    for rule, reg, lam in ds.stack(at=("rule", "reg", "lam"))["at"].values:
        one = ds.sel(rule=rule, reg=reg, lam=lam)
        times = [None if np.isnan(t) else t for t in one["first_passage_median"].values]
        late = one["rms"].values[one["step"].values >= 0.9 * one["step"].values[-1]]
        keys = ("rule", "reg", "lam", "t50", "t10", "t1e-2", "t1e-3", "rms")
        # a mean of at most 400 numbers: their order changes less than 400 roundings
        rms = pytest.approx(np.sqrt(np.mean(late**2)), rel=1e-13)
        rows.append(dict(zip(keys, (rule, reg, lam, *times, rms), strict=True)))
    return rows


ASKED = {
    "--opt sgd --lam 0.1 1e-6": dict(rule="sgd", lam=[0.1, 1e-6]),
    "--opt all --reg l2 wd --lam 1e-2": dict(rule=list(RULES), reg=["l2", "wd"], lam=1e-2),
    "--opt adam sgd --reg all": dict(rule=["adam", "sgd"], reg=["none", "l2", "wd", "adamw"]),
    "--hyper beta2=0.999 lr=1e-2": dict(rule=Adam(lr=1e-2, beta2=0.999)),
    "--opt sgd adam --hyper momentum=0.5 eps=1e-4": dict(rule=[SGD(momentum=0.5), Adam(eps=1e-4)]),
    "--opt sgd --hyper nesterov=True": dict(rule=SGD(nesterov=True)),
    "--opt amsgrad --hyper flavour=optax": dict(rule=AMSGrad(flavour="optax")),
    "--gradient gaussian std=1e-3 mean=-1e-4": dict(gradient=Gaussian(mean=-1e-4, std=1e-3)),
    "--gradient intermittent f=0.1 batch=10": dict(gradient=Intermittent(f=0.1, batch=10)),
    "--gradient well": dict(gradient=Well()),
    "--opt rmsprop sgd --preset torch": dict(rule=["rmsprop", "sgd"], preset="torch"),
    "--schedule paper": dict(schedule="paper"),
    "--schedule cosine": dict(schedule="cosine"),
    "--engine numpy --threads 1": dict(engine="auto"),
    "--theta0 -0.5 --seed 7": dict(theta0=-0.5, seed=7),
}


@pytest.mark.parametrize("words", ASKED)
def test_it_is_simulate(words, tmp_path, capsys):
    defaults = dict(rule="adam", lam=sim.STRENGTHS, steps=300, lanes=20)
    expected = regdyn.simulate(**defaults | ASKED[words])
    assert command(*SMALL, "--no-plot", "--json", "--out", tmp_path, *words.split()) == 0
    written = store.load(tmp_path / "result.nc").drop_attrs(deep=False)
    xr.testing.assert_identical(written, expected.drop_attrs(deep=False))
    out, err = capsys.readouterr()
    assert strict(out) == strict((tmp_path / "summary.json").read_text())
    assert strict(out)["rows"] == rows_by_hand(expected)
    assert err == ""


def test_times_are_numbers_where_reached_and_null_elsewhere(tmp_path, capsys):
    command(*SMALL, "--opt", "sgd", "--lam", "0.1", "1e-6", "--json", "--out", tmp_path)
    fast, slow = strict(capsys.readouterr().out)["rows"]
    assert 0 < fast["t50"] <= fast["t10"] <= fast["t1e-2"] <= fast["t1e-3"] <= 300
    assert {slow[t] for t in ("t50", "t10", "t1e-2", "t1e-3")} == {None}


@pytest.mark.parametrize(("flag", "names"), [("--plot", ALL), ("--no-plot", ALL[:2])])
def test_what_is_written_and_where_it_says_so(flag, names, tmp_path, capsys):
    assert command(*SMALL, flag, "--out", tmp_path / "new" / "er") == 0
    folder = tmp_path / "new" / "er"
    assert {path.name for path in folder.iterdir()} == set(names)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"written to {folder}{os.sep}: {', '.join(names)}"
    if flag == "--plot":
        assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_folder_is_named_after_rules_and_regularisers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(*SMALL, "--no-plot", "--opt", "adam", "sgd", "--reg", "wd") == 0
    assert (tmp_path / "results" / "adam-sgd-wd" / "result.nc").is_file()


# Beside a prediction -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["--opt all --reg l2 wd --lam 1e-2", "--gradient well --schedule paper --theta0 -0.5"]
)
def test_theory_is_predict_with_its_errors(words, tmp_path, capsys, monkeypatch):
    """The result is that of a run without --theory; the summary also has predict's rows."""
    seen = {}
    real = regdyn.theory.predict
    monkeypatch.setattr(
        "regdyn.theory.predict", lambda **asked: seen.update(asked) or real(**asked)
    )
    for flag in ("--no-theory", "--theory"):
        out = tmp_path / flag
        assert command(*SMALL, *words.split(), flag, "--json", "--no-plot", "--out", out) == 0
    plain, both = (
        strict(line) for line in capsys.readouterr().out.replace("}\n{", "}\0{").split("\0")
    )
    assert strict((tmp_path / "--theory" / "summary.json").read_text()) == both
    ds, same = (store.load(tmp_path / flag / "result.nc") for flag in ("--no-theory", "--theory"))
    assert ds.drop_attrs().identical(same.drop_attrs())
    theory = both.pop("theory")
    assert both == plain and len(theory) == len(plain["rows"])
    config = regdyn.plan.from_config(ds.attrs["config"])
    assert set(seen) == set(config) - {
        "lanes", "seed", "keep_lanes", "keep_passages", "statistics",
    }  # fmt: skip
    again = real(**{name: config[name] for name in seen})
    for row, expected in zip(theory, report.compared(ds, again), strict=True):
        # the order in which an rms is averaged differs in memory and on disk
        assert row.pop("error") == pytest.approx(expected.pop("error"), abs=1e-12)
        assert row.pop("rms") == pytest.approx(expected.pop("rms"), rel=1e-12)
        assert row == expected


def test_theory_agrees_and_an_error_is_seen(tmp_path, capsys):
    """Adam + l2 at 1e-2: times within 1 %, rms within 4 standard errors of some 1000 lanes; and
    not so for a prediction of another learning rate."""
    words = "--opt adam --lam 1e-2 --steps 2000 --lanes 1000 --theory --json --no-plot".split()
    assert command(*words, "--out", tmp_path) == 0
    (row,) = strict(capsys.readouterr().out)["theory"]
    assert all(abs(row["error"][t]) < 0.01 for t in report.TIMES)
    assert abs(row["error"]["rms"]) < 4 / np.sqrt(2 * 1000)
    wrong = regdyn.theory.predict(Adam(lr=1.05e-3), lam=1e-2, steps=2000)
    other = report.compared(store.load(tmp_path / "result.nc"), wrong)[0]["error"]
    assert all(abs(other[t]) > 0.01 for t in report.TIMES)


def test_theory_is_printed_and_drawn(tmp_path, capsys):
    assert command(*SMALL, "--theory", "--lam", "0.1", "--out", tmp_path) == 0
    out, err = capsys.readouterr()
    assert err == "" and "simulated   predicted" in out and "moment closure" in out
    command(*SMALL, "--lam", "0.1", "--out", tmp_path / "without")
    pictures = [path.read_bytes() for path in tmp_path.rglob("figure.png")]
    assert len({*pictures}) == 2
    assert "predicted" not in capsys.readouterr().out


def test_theory_of_a_stored_result_and_of_an_unstable_one(tmp_path, capsys):
    words = ("--steps", "600", "--lanes", "20", "--opt", "sgd", "--lam", "100", "0.1")
    assert command(*words, "--theory", "--out", tmp_path / "run") == 0
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2 and err[0].startswith("warning: unstable") and "not finite" in err[1]
    path = tmp_path / "run" / "result.nc"
    assert command("--from", path, "--theory", "--json", "--out", tmp_path / "again") == 0
    unstable, stable = strict(capsys.readouterr().out)["theory"]
    assert set(unstable["error"].values()) == {None} and abs(stable["error"]["t50"]) <= 0.1


STORED = {
    "grid": dict(rule=["adam", "lion"], reg=["l2", "wd"], lam=[1e-2, 1e-4], gradient="ar1"),
    "vector": dict(rule=Adam(beta2=0.9), theta0=[1.0, -2.0], keep_lanes=True, keep_passages=True),
    "range": dict(rule="sgd", lanes=range(50, 90), record=7, thresholds=[0.3], theta0=0.5),
    "schedule": dict(rule="adam", schedule=StepDecay((0.2, 0.4), 0.5), seed=2**64 - 1),
}


@pytest.mark.parametrize("case", STORED)
def test_from_gives_the_same_bits(case, tmp_path, capsys):
    ds = regdyn.simulate(**dict(steps=100, lanes=20) | STORED[case])
    path = store.save(ds, tmp_path / "result.nc")
    assert command("--from", path, "--no-plot", "--json", "--out", tmp_path / "again") == 0
    again = store.load(tmp_path / "again" / "result.nc")
    assert again.drop_attrs().identical(ds.drop_attrs())
    out, err = capsys.readouterr()
    assert strict(out)["rows"]
    assert err == f"the same bits as {path}\n"


def test_from_notices_one_changed_bit(tmp_path, capsys):
    ds = regdyn.simulate("adam", steps=100, lanes=20)
    ds["mean"][..., 50] = np.nextafter(ds["mean"][..., 50], 2)
    path = store.save(ds, tmp_path / "tampered.nc")
    assert command("--from", path, "--no-plot", "--out", tmp_path / "again") == 1
    assert f"error: other numbers than {path}" in capsys.readouterr().err


BAD = {
    "--opt adm": "unknown rule 'adm': did you mean 'adam'?",
    "--opt all adam": "all stands for every name",
    "--opt adam adam": "rule is given twice",
    "--opt": "rule is empty",
    "--reg l1": "unknown regulariser 'l1': did you mean 'l2'?",
    "--preset pytorch": "unknown preset 'pytorch': did you mean 'torch'?",
    "--schedule cosin": "unknown schedule 'cosin': did you mean 'cosine'?",
    "--gradient gausian": "unknown gradient process 'gausian': did you mean 'gaussian'?",
    "--gradient gaussian sd=1": "unknown field of gradient gaussian 'sd': did you mean 'std'?",
    "--gradient gaussian std=x": "std of Gaussian must be a finite number",
    "--gradient tape": "tape",
    "--hyper beta3=0.5": "unknown hyper-parameter of adam 'beta3'",
    "--hyper lr": "not 'lr'",
    "--hyper lr=": "not 'lr='",
    "--hyper beta2=1": "beta2 of adam must be a finite number >= 0 and < 1, not 1",
    "--lam -0.1": "strength lambda must be a finite number >= 0, not -0.1",
    "--lam nan": "strength lambda must be a finite number >= 0, not nan",
    "--lam": "lam is empty",
    "--lam --explain": "lam is empty",
    "--reg wd --lam 1": "strength lambda must be < 1 under wd, not 1",
    "--reg adamw --lam 1000": "lr * lambda must be < 1 under adamw",
    "--steps 0": "steps must be a whole number from 1",
    "--lanes 0": "lanes must be a whole number >= 1, not 0",
    "--threads 0": "threads must be a whole number >= 1, not 0",
    "--engine numpi": "unknown engine 'numpi': did you mean 'numpy'?",
    "--theta0 inf": "theta0 must be finite",
    "--seed -1": "seed must be a whole number from 0",
    "--explain --gradient well": "Well cannot be sampled",
    "--out {here}/file/below": "'{here}/file/below'",
    "--out {here}/file": "'{here}/file'",
    "--from {here}/missing.nc": "there is no file '{here}/missing.nc'",
    "--from {here}/file": "'{here}/file' is not a netCDF file, or is damaged",
    "--from {here}/short.nc": "'{here}/short.nc' is not a netCDF file, or is damaged",
    "--from {here}/foreign.nc": "'{here}/foreign.nc' is a netCDF file, but not a result",
    "--from {here}/more.nc": "not the config of a regdyn result",
    "--from {here}/less.nc": "not the config of a regdyn result",
    "--from {here}/good.nc --opt sgd": "--opt cannot change a stored result",
    "--from {here}/good.nc --hyper lr=1": "--hyper cannot change a stored result",
    "--from {here}/good.nc --seed 1": "--seed cannot change a stored result",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a text file and with good and bad results."""
    folder = tmp_path_factory.mktemp("here")
    ds = regdyn.simulate("adam", steps=50, lanes=2)
    good = store.save(ds, folder / "good.nc").read_bytes()
    (folder / "short.nc").write_bytes(good[: len(good) // 2])
    (folder / "file").write_text("not a folder, not netCDF\n")
    store.save(ds.drop_attrs(), folder / "foreign.nc")
    config = json.loads(ds.attrs["config"])
    store.save(ds.assign_attrs(config=json.dumps(config | {"x": 1})), folder / "more.nc")
    del config["steps"]
    store.save(ds.assign_attrs(config=json.dumps(config)), folder / "less.nc")
    return folder


@pytest.mark.parametrize("words", BAD)
def test_bad_input_gets_a_sentence_and_leaves_nothing(words, here, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = files(here)
    out = SMALL if "--out" in words else ("--out", tmp_path / "new" / "er")
    assert command(*out, *words.format(here=here).split()) == 2
    printed, sentence = capsys.readouterr()
    assert printed == ""
    assert sentence.startswith("error: ") and sentence.count("\n") == 1
    assert BAD[words].format(here=here) in sentence
    assert files(tmp_path) == {} and files(here) == before


@pytest.mark.parametrize("words", ["--steps 1.5", "--lam strong", "--bogus"])
def test_what_the_parser_refuses(words, tmp_path, capsys):
    assert command("--out", tmp_path / "new", *words.split()) == 2
    printed, message = capsys.readouterr()
    assert printed == "" and words.split()[0] in message
    assert files(tmp_path) == {}


def test_as_a_program(tmp_path):
    """Streams and exit codes, as a shell sees them."""
    good = program("-m", "regdyn.sim", *SMALL, "--json", "--out", tmp_path / "new")
    assert (good.returncode, good.stderr) == (0, "")
    assert len(strict(good.stdout)["rows"]) == len(sim.STRENGTHS)
    bad = program("-m", "regdyn.sim", *SMALL, "--out", tmp_path / "new" / "result.nc" / "below")
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["regdyn.engine.simulate", "regdyn.plotting.draw"])
def test_an_interrupt_leaves_what_was_there(where, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(where, interrupt)
    (tmp_path / "kept.txt").touch()
    for folder in (tmp_path, tmp_path / "new" / "er"):
        assert command(*SMALL, "--out", folder) == 130
        assert capsys.readouterr() == ("", "interrupted: nothing was written.\n")
    assert list(files(tmp_path)) == [tmp_path / "kept.txt"]


def test_a_failing_picture_leaves_no_temporary_file(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupt)
    assert command(*SMALL, "--out", tmp_path) == 130
    assert {path.name for path in tmp_path.iterdir()} <= set(ALL)


# theta passes 1e154, where its square overflows, near step 171, and the largest float near 341
@pytest.mark.parametrize(("steps", "lanes"), [(100, 20), (175, 20), (300, 2048), (600, 20)])
def test_an_unstable_setting_warns_and_runs(steps, lanes, tmp_path, capsys):
    words = ("--steps", steps, "--lanes", lanes, "--opt", "sgd", "--lam", "100", "0.1", "--json")
    assert command(*words, "--out", tmp_path) == 0
    out, err = capsys.readouterr()
    unstable, stable = strict(out)["rows"]
    first, *others = err.splitlines()
    assert first.startswith("warning: unstable: sgd with l2 100")
    assert ["not finite from step" in other for other in others] == [True] * (steps > 341)
    assert (unstable["rms"] is None) == (steps > 171)
    assert stable["rms"] < 1
    assert {path.name for path in tmp_path.iterdir()} == set(ALL)
