"""The commands forecast, what-if and suggest, on two short runs."""

import json
import re

import pytest
import xarray as xr

from cnn.config import Config, ModelConfig, OptimConfig, RecordConfig
from cnn.train import train
from cnn.validate.__main__ import COMMANDS, main
from cnn.validate.folders import load
from cnn.validate.settings import SPLITS, settings


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of two runs that differ by their seed."""
    out = tmp_path_factory.mktemp("runs")
    config = Config(
        model=ModelConfig(width=0.0625), optim=OptimConfig(lr=2e-2, lam=3e-2, hyper=("beta2=0.9",)),
        record=RecordConfig(every=4), steps=160, batch=20, threads=1,
    )  # fmt: skip
    for seed in (0, 1):
        train(Config(**{**config.__dict__, "seed": seed}), out / f"seed-{seed}", plot=False)
    return out


def asked(capsys, *words):
    """What a command prints as JSON."""
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_forecast_is_written_and_compared(runs, tmp_path, capsys):
    out = tmp_path / "forecast"
    words = ["forecast", runs / "seed-0", "--at", "0.5", "--pilot", runs / "seed-1", "--out", out]
    assert main([*map(str, words)]) == 0
    printed = capsys.readouterr().out
    assert "measured" in printed and re.search(r"^│ all", printed, re.MULTILINE)
    ds = xr.load_dataset(out / "forecast.nc")
    assert ds.attrs["at"] == 80 and ds.sizes["filter"] == load(runs / "seed-0")[0].record.filters
    said = json.loads((out / "forecast.json").read_text())
    assert said["share"] == pytest.approx(float(ds["total"]), abs=0.01)
    assert said["share_lo"] <= said["share"] <= said["share_hi"]
    assert {*said["layers"]} == {*said["measured_layers"]} == {f"C{i}" for i in range(1, 8)}
    assert (out / "forecast.png").stat().st_size > 10_000
    assert not [p for p in out.iterdir() if p.name not in {"forecast.nc", "forecast.json",
                                                          "forecast.png"}]  # fmt: skip
    assert asked(capsys, *words) == said


def test_what_if_prints_percent(runs, capsys):
    weak, strong = (asked(capsys, "what-if", runs / "seed-0", "--lam", lam) for lam in (1e-4, 1.0))
    assert {*weak} == {"share", "share_lo", "share_hi", "layers"}
    assert 0 <= weak["share"] < strong["share"] <= 100
    other = asked(capsys, "what-if", runs / "seed-0", "--opt", "sgd", "--lam", 5e-3, "--lr", 0.05)
    assert other["share"] >= 0
    again = asked(capsys, "what-if", runs / "seed-0", "--beta2", 0.9, "--batch", 20, "--lr", 2e-2)
    same = asked(capsys, "what-if", runs / "seed-0")
    assert again == same


def test_what_if_can_be_tried(runs, tmp_path, capsys):
    words = ["what-if", runs / "seed-0", "--lam", 0.1, "--train", "--out", tmp_path / "tried"]
    found = asked(capsys, *words)
    run, config = load(tmp_path / "tried")
    assert config.optim.lam == 0.1 and config.seed == 1 and run.steps == 160
    assert 0 <= found["measured"] <= 100
    assert asked(capsys, *words) == found  # the run is not done again


def test_a_suggestion_is_a_strength(runs, capsys):
    wanted = 30.0
    found = asked(capsys, "suggest", runs / "seed-0", "--share", wanted)
    assert found["share"] == pytest.approx(wanted, abs=1.5)
    lam = repr(found["lam"])
    there = asked(capsys, "what-if", runs / "seed-0", "--lam", lam)
    assert there["share"] == pytest.approx(found["share"], abs=0.01)


@pytest.mark.parametrize(
    "words, said",
    [
        (["forecast", "nowhere"], "no run.nc"),
        (["forecast", "RUN", "--at", "1.5"], "--at must be"),
        (["forecast", "RUN", "--at", "0.05"], "third window"),
        (["what-if", "RUN", "--opt", "madam"], "'madam'"),
        (["what-if", "RUN", "--lam", "-1"], "lam"),
        (["what-if", "RUN", "--beta2", "1.5"], "beta2"),
        (["what-if", "RUN", "--width", "0.5"], "give a pilot of that width"),
        (["suggest", "RUN", "--lam", "1"], "--lam is what suggest looks for"),
        (["suggest", "RUN", "--share", "120"], "share"),
        (["predict", "RUN"], "unknown command 'predict'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(runs, words, said, capsys):
    words = [str(runs / "seed-0") if word == "RUN" else word for word in words]
    assert main(words) == 2
    printed = capsys.readouterr()
    assert said in printed.err and "Traceback" not in printed.err and printed.out == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gamma_lr": 0.1}, "gamma_lr must be 1"),
        ({"regularize": "no-batchnorm"}, "regularize"),
    ],
)
def test_gamma_on_its_own_is_refused(runs, tmp_path, changed, said, capsys):
    ds = xr.load_dataset(runs / "seed-0" / "run.nc")
    config = json.loads(ds.attrs["config"])
    config["optim"].update(changed)
    ds.assign_attrs(config=json.dumps(config)).to_netcdf(tmp_path / "run.nc")
    load(tmp_path)  # what only reads the record takes it
    for words in (["forecast", tmp_path], ["what-if", tmp_path], ["suggest", tmp_path],
                  ["forecast", runs / "seed-1", "--pilot", tmp_path]):  # fmt: skip
        assert main([*map(str, words)]) == 2
        assert said in capsys.readouterr().err


def test_a_record_without_the_number_of_weights_gets_it_from_the_network(runs, tmp_path):
    run, _ = load(runs / "seed-0")
    ds = xr.load_dataset(runs / "seed-0" / "run.nc")
    ds.drop_vars("weights_out").to_netcdf(tmp_path / "run.nc")
    assert load(tmp_path)[0].record.weights_out.tolist() == run.record.weights_out.tolist()


# Commands and settings ---------------------------------------------------------------------------


def test_every_command_has_help(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert name in listed
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        capsys.readouterr()


def test_development_and_test_share_no_run():
    both = [{(s.config, seed) for s in settings(split) for seed in s.seeds} for split in SPLITS]
    assert not both[0] & both[1]
    assert len(settings()) == sum(len(settings(split)) for split in SPLITS)
    names = {s.name for s in settings("test")}
    assert sum(name.startswith("digits/") for name in names) >= 20
    assert sum(name.startswith("fashion/") for name in names) >= 6
    with pytest.raises(ValueError, match="split"):
        settings("training")
