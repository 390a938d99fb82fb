"""The command line of the theory, and `--theory` of the simulation: what they say, and is it so."""

import json
import math
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import regdyn.theory
from regdyn import plotting, report, sim, simulate
from regdyn.gradients import AR1, Gaussian, LowGradient, StudentT, Well
from regdyn.rules import SGD, Adam
from regdyn.theory import __main__ as theory
from regdyn.theory import laws, predict, regime, stay_below
from regdyn.theory.times import times_to

ROOT = Path(__file__).parents[1]
HEAVY = {"numpy", "numba", "scipy", "xarray", "matplotlib"}


def command(*words):
    """Exit code of `python -m regdyn.theory`, run in this process."""
    try:
        return theory.main([str(word) for word in words])
    except SystemExit as stop:  # the parser's way out
        return stop.code


def answers(words, capsys):
    """What --json prints: its text, and all of it."""
    assert command(*words.split(), "--json") == 0
    out, err = capsys.readouterr()

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    content = json.loads(out, parse_constant=refuse)
    assert err == ""
    return content["text"], content


# Each question -----------------------------------------------------------------------------------


def test_half_life_is_the_law_and_the_closure(capsys):
    """Both are in the text; the simulator is where they say."""
    text, got = answers("half-life --opt adam --reg l2 --lam 1e-3 --sigma 1e-4", capsys)
    law = laws.time_to("adam", "l2", 1e-3, 1e-4, theta1=0.5)
    assert got["law"] == {"name": "adam_l2_time", **law._asdict()} and law.valid
    assert f"{law.value:,.0f} steps (adam_l2_time, valid: {law.reason})" in text
    mean, median = got["closure"]["mean"], got["closure"]["first_passage"]
    assert f"{mean:,.0f} steps; median lane {median:,.0f} steps" in text
    ds = predict("adam", lam=1e-3, gradient=Gaussian(std=1e-4), steps=1000, record=1)
    assert mean == int(np.argmax(ds["mean"].squeeze().values < 0.5))
    assert median == float(ds["first_passage_median"].sel(threshold=0.5).squeeze())
    ds = simulate("adam", lam=1e-3, gradient=Gaussian(std=1e-4), steps=1000, lanes=200, record=1)
    seen = int(np.argmax(ds["mean"].squeeze().values < 0.5))
    assert mean == pytest.approx(seen, abs=2) and law.value == pytest.approx(seen, rel=0.02)
    assert (got["question"], got["unit"]) == ("half-life", "step")
    assert got["hyper"] == Adam()._asdict() and got["gradient"] == {"sigma": 1e-4}


def test_collapse_passes_and_does_not_stay(capsys):
    """Figure 4 at 1e-4: half of the lanes pass after 1,915 steps, and 11 % are below late."""
    text, got = answers("collapse --lam 1e-4 --gradient low", capsys)
    stay = stay_below("adam", "l2", 1e-4, 1e-5)
    assert got["closure"]["first_passage"] == pytest.approx(1915, rel=0.01)
    assert got["stay"]["share"] == stay.share == pytest.approx(0.113, abs=1e-3)
    assert f"|theta| < 0.001 at {stay.share:.1%} of all steps" in text
    assert not got["law"]["valid"]
    text, got = answers("collapse --lam 1e-4 --sigma 1e-4", capsys)  # the law of the mean is valid
    assert not got["law"]["valid"] and "takes lanes below earlier" in text
    _, calm = answers("collapse --opt sgd --lam 1e-2 --sigma 1e-6", capsys)
    assert calm["law"]["valid"] and calm["stay"]["share"] > 0.999
    assert calm["closure"]["first_passage"] == pytest.approx(calm["law"]["value"], rel=0.01)
    _, other = answers("collapse --lam 1e-2 --gradient studentt std=1e-4", capsys)
    assert other["law"] is None and other["stay"] is None


def test_floor_and_how_often_it_is_below(capsys):
    text, got = answers("floor --opt rmsprop --lam 1e-2 --sigma 1e-5 --window 3", capsys)
    stay = stay_below("rmsprop", "l2", 1e-2, 1e-5, window=3)
    assert got["stay"]["floor"] == {**stay.floor._asdict(), "law": stay.floor.law._asdict()}
    assert got["law"]["name"] == "adam_l2_std" and got["closure"]["std"] == stay.floor.closure
    for name in ("share", "bound", "bound_share", "valid", "reason"):
        assert got["stay"][name] == getattr(stay, name)
    for words in (f"{stay.floor.law.value:.4g} (adam_l2_std, valid", f"{stay.share:.1%} of all"):
        assert words in text
    assert f"sigma = {stay.bound:.3g}" in text and f"in fact {stay.bound_share:.1%}" in text
    text, _ = answers("floor --reg wd", capsys)
    assert "only a dead feature stays below" in text
    text, got = answers("floor --opt adagrad --reg wd --lam 1e-2 --steps 3000", capsys)
    assert "after 3,000 steps" in text and got["stay"]["floor"]["steps"] == 3000
    assert got["law"]["name"] == "wd_std"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("--lam 1e-2", dict(lam=1e-2)),
        ("--opt sgd --hyper lr=1 --lam 0.1 --sigma 0", dict(rule=SGD(1.0), lam=0.1, sigma=0.0)),
        ("--past 1e-3 --ago 30 --theta0 0.4", dict(past=1e-3, ago=30, theta=0.4)),
        ("--reg wd --threshold 1", dict(reg="wd", threshold=1.0)),
    ],
)
def test_regime_is_the_library_s(words, asked, capsys):
    text, got = answers(f"regime {words}", capsys)
    found = regime(**{"rule": "adam", **asked})
    assert got["regime"] == found._asdict()
    assert f"  {found.name}: " in text and found.reason in text
    assert f"{found.rate:.3g} of theta per step" in text


def test_what_json_has_no_word_for_is_null(capsys):
    text, got = answers("half-life --reg none --steps 100", capsys)
    assert got["law"]["value"] is None and got["closure"] == {"mean": None, "first_passage": None}
    assert "later than 100 steps" in text
    text, got = answers("floor --opt sgd --hyper lr=30 --lam 1", capsys)
    assert got["stay"]["floor"]["std"] is None and got["stay"]["share"] == 0


def test_docs_show_what_is_printed_and_json_has_the_same_text(capsys):
    page = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    shown = re.findall(
        r"^```console\n\$ python -m regdyn.theory (.*)\n((?:.*\n)*?)```", page, re.MULTILINE
    )
    assert {words.split()[0] for words, _ in shown} == {name for name, _ in theory.ANSWERS.values()}
    for words, printed in shown:
        assert command(*words.split()) == 0
        assert capsys.readouterr().out == printed
        assert answers(words, capsys)[0] + "\n" == printed


# Times -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hp", "reg", "gradient", "name"),
    [
        (Adam(), "l2", LowGradient(), "burst_time"),
        (Adam(), "wd", LowGradient(), "wd_time"),
        (SGD(), "l2", AR1(), "sgd_l2_time"),
        (SGD(), "l2", Well(), ""),
        (Adam(), "l2", AR1(), ""),
        (Adam(), "l2", Gaussian(mean=1e-3), ""),
    ],
)
def test_the_law_that_fits_the_gradient(hp, reg, gradient, name):
    times = times_to(hp, reg, 1e-3, gradient, level=0.5)
    assert times.name == name and (times.law is None) == (name == "")
    if times.law and times.law.valid:
        assert times.law.value == pytest.approx(times.mean, rel=0.02)
        doubled = times_to(hp, reg, 2e-3, gradient, level=0.5)
        assert doubled.mean < 0.95 * times.mean


def test_times_between_recorded_steps_are_exact():
    """12,000 steps of weight decay, of which a half are recorded: ln 2 / -ln(1 - lambda)."""
    for lam in (1e-4, 6e-5, 1.234e-5):
        times = times_to("adam", "wd", lam, StudentT(std=1e-4), level=0.5)
        assert times.mean == math.ceil(math.log(2) / -math.log1p(-lam))
    short = times_to("adam", "wd", 1e-4, "low", level=0.5, steps=500)
    assert (short.mean, short.median, short.steps) == (math.inf, math.inf, 500)
    paper = times_to("sgd", "wd", 1e-3, "low", level=0.5, steps=800, schedule="paper")
    assert paper.name == "" and paper.mean > 700  # the last quarter decays a tenth as fast


# Bad input ---------------------------------------------------------------------------------------

BAD = {
    "half-life --opt adm": "unknown rule 'adm': did you mean 'adam'?",
    "half-life --reg l1": "unknown regulariser 'l1': did you mean 'l2'?",
    "half-life --lam -1": "strength lambda must be a finite number >= 0, not -1.0",
    "half-life --schedule cosine": "a schedule needs steps",
    "half-life --schedule cosin --steps 10": "did you mean 'cosine'?",
    "half-life --steps 0": "steps must be a whole number >= 1, not 0",
    "half-life --theta0 0": "0 < threshold < |theta0|",
    "half-life --theta0 nan": "theta0 must be a finite number",
    "half-life --gradient tape": "unknown gradient process 'tape'",
    "half-life --gradient ar1 ph=1": "unknown field of gradient ar1 'ph': did you mean 'phi'?",
    "half-life --sigma -1": "sigma must be a finite number >= 0",
    "collapse --threshold 2": "0 < threshold < |theta0|, not 2 and 1",
    "collapse --reg wd --lam 1": "must be < 1 under wd",
    "floor --sigma nan": "sigma must be a finite number",
    "floor --window 0": "window must be a whole number >= 1",
    "floor --threshold 0": "threshold must be a finite number > 0",
    "floor --steps -5": "steps must be a whole number >= 1",
    "floor --hyper beta3=0.5": "unknown hyper-parameter of adam 'beta3'",
    "floor --hyper lr=fast": "lr of adam must be a finite number",
    "floor --preset pytorch": "did you mean 'torch'?",
    "regime --past -1": "past must be a finite number >= 0",
    "regime --ago -1": "ago must be a whole number >= 0",
    "regime --theta0 inf": "theta0 must be a finite number",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(words, capsys):
    assert command(*words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and BAD[words] in err
    assert err.startswith("error: ") and err.endswith(".\n") and err.count("\n") == 1


@pytest.mark.parametrize(
    "words", ["", "halflife", "floor --lam x", "floor --lambda 1", "regime --steps 5"]
)
def test_what_the_parser_refuses_is_exit_code_2_too(words, capsys):
    assert command(*words.split()) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err and err


def test_help_is_fast():
    """It loads nothing heavy, and takes 0.7 s of processor time at most."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-X", "importtime", "-m", "regdyn.theory", "half-life", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "--sigma" in done.stdout
    assert "tyro" in loaded and not loaded & HEAVY
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.7


def test_importing_the_theory_loads_nothing():
    """And every public name is found on first use."""
    code = (
        "import sys, regdyn.theory as t; print(*sys.modules)\n"
        "print(t.laws.__name__, *(getattr(t, name).__name__ for name in t.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    loaded, names = done.stdout.splitlines()
    assert "regdyn.theory" in loaded and not {*loaded.split()} & HEAVY
    assert names == "regdyn.theory.laws floor regdyn.theory.laws predict regime stay_below"
    with pytest.raises(AttributeError, match="no attribute 'predikt'"):
        regdyn.theory.predikt  # noqa: B018


# --theory of the simulation ----------------------------------------------------------------------


def test_the_simulation_prints_both_columns_and_draws_both_curves(tmp_path, capsys, monkeypatch):
    """Every printed number is that of `simulate` or of `predict`, the error is their ratio; the
    picture's red lines are the medians of `predict`, and lie on the simulated ones."""
    figures, real = [], plotting.draw
    monkeypatch.setattr(plotting, "draw", lambda *args: figures.append(real(*args)) or figures[-1])
    words = "--opt adam --reg l2 --lam 1e-2 1e-3 --steps 2000 --lanes 400 --theory --out"
    assert sim.main([*words.split(), str(tmp_path)]) == 0
    out = capsys.readouterr().out
    row = r"(0\.5|0\.1|0\.01|0\.001|late rms) +([\d.,]+) +([\d.,]+) +([+-]?[\d.]+)%"
    rows = [[text.replace(",", "") for text in row] for row in re.findall(row, out)]
    seen = simulate("adam", lam=[1e-2, 1e-3], steps=2000, lanes=400).squeeze(["rule", "reg"])
    ours = predict("adam", lam=[1e-2, 1e-3], steps=2000).squeeze(["rule", "reg"])
    assert len(rows) == 10
    for i, (level, *cells) in enumerate(rows):
        lam, late = (1e-2, 1e-3)[i // 5], level == "late rms"
        simulated, predicted = (
            float(report.late_rms(ds).sel(lam=lam)) if late
            else float(ds["first_passage_median"].sel(lam=lam, threshold=float(level)))
            for ds in (seen, ours)
        )  # fmt: skip
        for cell, number in zip(cells, (simulated, predicted), strict=False):
            assert float(cell) == pytest.approx(number, rel=0.005, abs=0.0 if late else 0.5)
        assert float(cells[2]) == pytest.approx(100 * (predicted / simulated - 1), abs=0.051)
        assert abs(predicted / simulated - 1) < (0.12 if late else 0.02)
    (fig,) = figures
    drawn = [line for line in fig.axes[1].lines if line.get_color() == plotting.PREDICTED]
    dashed = [line for line in drawn if line.get_linestyle() == "--"]
    assert len(dashed) == 2 and len(drawn) == 6
    for line, lam in zip(dashed, (1e-2, 1e-3), strict=True):
        steps, middle = line.get_data()
        again = predict("adam", lam=lam, steps=2000, record=steps.astype(int))["mean"].squeeze()
        np.testing.assert_allclose(middle, again.sel(step=steps), rtol=1e-12)
        median = seen["quantile"].sel(lam=lam, q=0.5, step=steps).squeeze()
        assert np.abs(middle - median).max() < 0.01
