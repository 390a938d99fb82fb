"""python -m cnn.prune.compare: as many filters by each method, and what the table says."""

import json

import pytest
import torch
from torch import nn

from cnn.prune import compare, rivals
from cnn.prune.finished import first, network
from cnn.prune.measure import size

from .networks import EXACT, relative, written


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(f"seed-{seed}") for seed in range(2)]
    for seed, folder in enumerate(folders):
        written(folder, seed)
    return folders


@pytest.mark.parametrize("name", [name for name in rivals.METHODS if "BNScale" not in name])
def test_each_method_takes_as_many_filters(runs, name):
    """And only ours leaves the outputs as they were: one dead filter's beta is positive."""
    model, images, _ = network(runs[0])
    example = first(model, images.test, 8)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    pruned = rivals.METHODS[name](model, example, 1e-3)
    filters = [m.out_channels for m in pruned.modules() if isinstance(m, nn.Conv2d)]
    assert sum(filters) == 10 - 2 and size(pruned, example).filters == 8
    if "one share" not in name:
        assert filters == [2, 6]
    assert (relative(model, pruned, example) <= EXACT) == (name == "ours")
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_latencies_are_taken_by_turns(runs, monkeypatch):
    """One number per network and round, in an order that alternates; of 64 images too."""
    asked, names = [], {}

    def seconds(network, x, calls):
        asked.append((names.setdefault(id(network), len(names)), len(x)))
        return 0.01 * (1 + names[id(network)])

    monkeypatch.setattr(compare, "_seconds", seconds)
    model, images, _ = network(runs[0])
    example = first(model, images.test, 8)
    found = compare.latencies({"unpruned": model, "a": model}, example, 2)
    assert found["a"] == {"1": [20.0, 20.0], "64": [20.0, 20.0]}
    assert asked[-4:] == [(1, 64), (0, 64), (0, 64), (1, 64)]


def made_up(seed, ratio):
    times = {"1": [1.0, 2.0, 4.0], "64": [5.0, 5.0, 5.0]}
    pruned = {batch: [ratio * t for t in ts] for batch, ts in times.items()}
    config = {"seed": seed, "optim": {"opt": "adam", "reg": "l2", "lam": 0.01, "lr": 1.0}}
    rows = [
        {"method": "unpruned", "filters": 10, "parameters": 2000, "macs": 900,
         "test_error": 1.0 + seed, "flipped": 0, "milliseconds": times},
        {"method": "ours", "filters": 8 - seed, "parameters": 1500, "macs": 700,
         "test_error": 1.0 + seed, "flipped": seed, "milliseconds": pruned},
    ]  # fmt: skip
    return {"config": config, "images": 360, "largest_constant": 0.125, "rows": rows}


def test_the_table_has_one_part_for_runs_that_differ_in_their_seed():
    other = made_up(0, 1.0)
    other["config"]["optim"]["lam"] = 0.0
    shown = compare.table({"runs": [made_up(0, 0.5), made_up(1, 0.7), other]})
    first_, second = shown.split("\n\nopt")
    assert first_.startswith("opt adam, reg l2, lam 0.01; seeds 0, 1; largest constant")
    assert first_.split("\n")[0].endswith("of a filter that goes: 0.12, 0.12")
    assert second.startswith(" adam, reg l2, lam 0.0; seeds 0; ")
    row = "| ours | 8 | 1,500 | 700 | 1.00, 2.00 | 1 of 720 | 0.60 (0.50 – 0.70) |"
    assert row in first_ and "| unpruned | 10 |" in first_


@pytest.mark.extras
def test_it_writes_what_it_prints(runs, tmp_path, capsys):
    pytest.importorskip("torch_pruning")
    out = tmp_path / "table.json"
    words = [*map(str, runs), "--out", str(out), "--rounds", "2"]
    assert compare.main(words) == 0
    found = json.loads(out.read_text())
    assert capsys.readouterr().out == f"{compare.table(found)}\nwritten to {out}\n"
    assert [run["config"]["seed"] for run in found["runs"]] == [0, 1]
    assert found["provenance"]["torch-pruning"] and len(found["runs"][0]["checkpoint"]) == 64
    for run in found["runs"]:
        assert run["largest_constant"] == pytest.approx(0.7)
        before, ours, *others = run["rows"]
        assert len(others) == 4 and {row["filters"] for row in [ours, *others]} == {8}
        assert (ours["flipped"], ours["test_error"]) == (0, before["test_error"])
        assert all(len(row["milliseconds"]["64"]) == 2 for row in run["rows"])
    assert compare.main(words) == 2
    assert "is there: take another --out." in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--out", "none/x.json"], "--out must be in a folder that exists"),
        (["--out", "x.json", "--rounds", "-1"], "--rounds must be a whole number >= 0, not -1."),
        (["--out", "x.json", "--threshold", "0"], "has no |gamma| below 0 to remove."),
        (["--out", "x.json", "--threshold", "nan"], "--threshold must be a finite number >= 0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(runs, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr(rivals, "find_spec", lambda name: True)
    monkeypatch.setattr(compare, "version", lambda name: "1")
    monkeypatch.chdir(tmp_path)
    assert compare.main([str(runs[0]), *words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and message in shown and shown.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_a_missing_package_is_named(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rivals, "find_spec", lambda name: None)
    assert compare.main([str(runs[0]), "--out", str(tmp_path / "x.json")]) == 2
    assert "pip install torch-pruning" in capsys.readouterr().err
