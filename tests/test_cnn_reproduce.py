"""The experiments behind the ledger: their list, and what is kept of their runs."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import tyro
import xarray as xr

from cnn.config import Config, DataConfig, ModelConfig, OptimConfig
from cnn.reproduce import after, explicit, pruning
from cnn.reproduce import collect as module
from cnn.reproduce import experiments as listed
from cnn.reproduce.__main__ import main
from cnn.reproduce.collect import FILTERS, RUNS, collect
from cnn.reproduce.experiments import TIERS, chosen, experiments
from cnn.train import train
from cnn.validate import folders

RULE = re.compile(r"^[^/]+/(sgd|adam|amsgrad|adagrad|adadelta|rmsprop)-(none|(l2|wd)-([\d.e-]+))$")


def test_every_row_is_a_training_run_with_a_name_of_its_own():
    every = experiments()
    assert len({one.name for one in every}) == len(every)
    assert {one.tier for one in every} <= set(TIERS)
    assert all(one.seeds == tuple(range(len(one.seeds))) and one.seeds for one in every)
    settings = [one.config for one in every]
    assert len(set(settings)) == len(settings), "two names of one setting"


def test_names_say_the_rule():
    named = [(one, RULE.match(one.name)) for one in experiments()]
    assert sum(match is not None for _, match in named) > 15
    for one, match in named:
        if match:
            optim = one.config.optim
            assert optim.opt == match[1]
            assert optim.reg == (match[3] or "none")
            assert optim.lam == float(match[4] or 0)


def test_choice_by_pattern_and_tier():
    some = chosen(("digits/batch/*",))
    assert some and all(one.name.startswith("digits/batch/") for one in some)
    assert all(one.tier == "core" for one in chosen((), "core"))
    with pytest.raises(ValueError, match="no experiment of the long tier matches 'nothing'"):
        chosen(("nothing",), "long")


def test_flags_that_training_does_not_know_are_named():
    row = {"name": "x/y", "tier": "core", "flags": "--optt adam", "seeds": "1"}
    with pytest.raises(ValueError, match=r"'x/y'.*'--optt adam'"):
        listed._experiment(row)


def test_the_list_shows_the_command_of_each(capsys):
    assert main(["digits/batch/iterations-10", "--list"]) == 0
    assert "python -m cnn.train --batch 10" in capsys.readouterr().out
    assert main(["nothing"]) == 2
    assert "no experiment matches 'nothing'" in capsys.readouterr().err


class One(NamedTuple):
    name: str
    config: Config
    seeds: tuple[int, ...]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two small settings of other widths, trained for some steps."""
    out = tmp_path_factory.mktemp("runs")
    base = Config(data=DataConfig(images=80), batch=20, steps=20, threads=1)
    wide = Config(**{**vars(base), "model": ModelConfig(width=0.0625)})
    narrow = Config(**{**vars(base), "model": ModelConfig(width=0.03125)})
    planned = [One("pairs10/adam-l2-1", narrow, (0, 1, 2)), One("b", wide, (0,))]
    for one, seed in ((planned[0], 0), (planned[0], 1), (planned[1], 0)):
        train(replace(one.config, seed=seed), out / one.name / f"seed-{seed}", plot=False)
    return planned, out


def test_what_is_kept_is_what_the_runs_found(trained, tmp_path):
    planned, out = trained
    collect(planned, out, tmp_path)
    rows = pd.read_csv(tmp_path / RUNS, dtype={"layers": str})
    assert list(rows["name"]) == ["pairs10/adam-l2-1"] * 2 + ["b"]  # seed 2 was not run
    assert list(rows["seed"]) == [0, 1, 0]
    summary = json.loads((out / "b" / "seed-0" / "summary.json").read_text())
    row = rows.set_index("name").loc["b"]
    assert row["test_error"] == pytest.approx(summary["test_error"], rel=1e-3)
    assert row["revision"] == summary["provenance"]["git_revision"]
    layers = [layer["sparsity_gamma"] for layer in summary["layers"]]
    assert np.allclose([float(x) for x in row["layers"].split()], layers, rtol=1e-3)

    with xr.open_dataset(tmp_path / FILTERS) as ds, xr.open_dataset(out / "b/seed-0/run.nc") as run:
        gamma = ds["gamma"].values[2]
        assert np.allclose(gamma, run["gamma"].values[-1], rtol=1e-3, atol=0)
        narrow = ds.isel(run=0)
        filters = int((narrow["layer"] > 0).sum())
        assert filters < len(gamma) and np.isnan(narrow["gamma"].values[filters:]).all()
        assert not np.isnan(narrow["universality"].values[:filters]).any()
        assert ds["universality"].max() <= 100
    with xr.open_dataset(tmp_path / module.COURSE) as ds:
        assert list(ds["name"].values) == ["pairs10/adam-l2-1"] and ds["step"].values[0] == 0


def test_runs_that_are_not_at_hand_stay(trained, tmp_path):
    planned, out = trained
    both, kept = tmp_path / "out", tmp_path / "kept"
    kept.mkdir()
    shutil.copytree(out, both)
    collect(planned, both, kept)
    before = (kept / RUNS).read_text()
    shutil.rmtree(both / "b")
    collect(planned, both, kept)
    assert (kept / RUNS).read_text() == before
    with xr.open_dataset(kept / FILTERS) as ds:
        assert list(ds["name"].values) == ["pairs10/adam-l2-1"] * 2 + ["b"]
        assert not np.isnan(ds["gamma"].values[2]).any()
    shutil.rmtree(both / "pairs10")
    collect(planned[1:], both, kept)  # what is no experiment any more goes
    assert list(pd.read_csv(kept / RUNS)["name"]) == ["b"]


def test_a_run_of_other_settings_is_refused(trained, tmp_path):
    planned, out = trained
    other = planned[1]._replace(config=Config(**{**vars(planned[1].config), "batch": 40}))
    with pytest.raises(ValueError, match="holds another run: its batch is 20, not 40"):
        collect([other], out, tmp_path)


# Pruned after training ----------------------------------------------------------------------------


def finished(out, name, seed=0):
    folder = out / name / f"seed-{seed}"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{}")


def test_what_is_pruned_names_experiments_and_flags_that_exist():
    known = {one.name: one for one in experiments()}
    names = [one.name for one in after.listed()]
    assert len(set(names)) == len(names) and not set(names) & set(known)
    for one in after.listed():
        assert {one.run, one.like} - {""} <= set(known)
        assert all(set(one.seeds) <= set(known[name].seeds) for name in (one.run, one.like) if name)
        words = one.command(Path("out"), 2)[3:]
        parsed = tyro.cli(explicit.Settings, args=words)
        pruning.check(parsed.pruning)
        assert parsed.run == Path("out") / one.run / "seed-2"
        if one.like:
            assert parsed.pruning.per_layer_of == Path("out") / one.like / "seed-2"


def test_only_finished_runs_are_pruned_and_only_once(tmp_path, monkeypatch):
    rows = [
        after.Pruned("explicit/a", "base", "", "--method implicit", (0, 1)),
        after.Pruned("explicit/b", "base", "other", "--method l1-norm", (0,)),
    ]
    monkeypatch.setattr(after, "listed", lambda: rows)
    asked = []

    def run(words, **_):
        asked.append(words[words.index("--out") + 1])
        finished(tmp_path, "explicit/a")
        return subprocess.CompletedProcess(words, 0, "test error: 1 %\nwritten\n", "")

    monkeypatch.setattr(after.subprocess, "run", run)
    said = []
    finished(tmp_path, "base")
    assert after.prune(tmp_path, say=said.append) == []
    assert asked == [str(tmp_path / "explicit/a/seed-0")]
    assert said == ["1 networks to prune", "explicit/a seed 0: test error: 1 %"]
    assert after.prune(tmp_path, say=said.append) == [] and len(asked) == 1


def test_a_failure_is_told_with_its_sentence(tmp_path, monkeypatch):
    row = after.Pruned("explicit/a", "base", "", "--method implicit", (0,))
    monkeypatch.setattr(after, "listed", lambda: [row])
    ended = subprocess.CompletedProcess([], 2, "", "error: no checkpoint.\n")
    monkeypatch.setattr(after.subprocess, "run", lambda *_, **__: ended)
    finished(tmp_path, "base")
    assert after.prune(tmp_path, say=str) == ["explicit/a seed 0: error: no checkpoint."]


def test_forecasts_refuse_runs_with_a_penalty_on_gamma():
    config = replace(Config(), optim=OptimConfig(gamma_l1=1e-3))
    with pytest.raises(ValueError, match=r"gamma_l1 must be 0 for a forecast, not 0\.001"):
        folders.of(None, config)
