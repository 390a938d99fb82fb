"""python -m cnn.prune: what it prints, what it writes, what it refuses."""

import json

import pytest
import torch

from cnn import checkpoint, data
from cnn.config import Config, DataConfig, ModelConfig, OptimConfig
from cnn.measure import evaluate
from cnn.prune.__main__ import main
from cnn.train import train

from .networks import written


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run and its network."""
    folder = tmp_path_factory.mktemp("run")
    return folder, written(folder)


def test_it_writes_the_narrower_network_and_its_certificate(run, tmp_path, capsys):
    folder, model = run
    assert main([str(folder / checkpoint.LAST), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "features.C1.conv: 2 of 4 filters go" in shown and "0 predictions flipped" in shown
    pruned = torch.load(tmp_path / "out" / "pruned.pt", weights_only=False)
    assert pruned.features.C1.conv.out_channels == 2
    images = data.load(DataConfig("digits"))
    assert evaluate(pruned, images.test).error == evaluate(model, images.test).error
    entry = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert (entry["before"]["filters"], entry["after"]["filters"]) == (10, 8)
    assert entry["differences"][0]["count"] == 360
    assert (tmp_path / "out" / "certificate.txt").read_text() in shown
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "holds results: take another --out." in capsys.readouterr().err


def test_it_fuses_looks_at_the_training_images_and_exports(run, tmp_path, capsys):
    folder, model = run
    words = ["--out", str(tmp_path / "out"), "--inactive", "--fuse", "--pt2"]
    assert main([str(folder), *words]) == 0
    shown = capsys.readouterr().out
    assert "on 1,437 images" in shown and "BatchNorms are fused" in shown
    assert "written to" in shown and "pruned.pt, pruned.pt2, certificate.txt" in shown
    entry = json.loads((tmp_path / "out" / "certificate.json").read_text())
    ((_, rows),) = entry["exports"].items()
    assert [row["inputs"] for row in rows] == ["given", "first"]
    assert max(row["relative"] for row in rows) < 1e-5 and entry["inactive"]["images"] == 1437
    x = data.load(DataConfig("digits")).test.x
    written = torch.export.load(tmp_path / "out" / "pruned.pt2").module()
    with torch.no_grad():
        assert torch.equal(written(x).argmax(1), model.eval()(x).argmax(1))


def test_missing_packages_are_named_before_any_work(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("cnn.prune.export.find_spec", lambda name: None)
    assert main([str(run[0]), "--out", str(tmp_path / "out"), "--onnx"]) == 2
    assert "pip install onnx onnxruntime onnxscript" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(run, capsys):
    folder, _ = run
    before = sorted(folder.iterdir())
    assert main([str(folder), "--dry-run", "--threshold", "2"]) == 0
    shown = capsys.readouterr().out
    assert "C1.conv: 3 of 4 filters go" in shown and "together: 8 of 10" in shown
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "give --out DIR for the results, or --dry-run."),
        (["--dry-run", "--threshold", "-1"], "--threshold must be a finite number >= 0, not -1.0."),
        (["--dry-run", "--threads", "0"], "--threads must be a whole number >= 1, not 0."),
    ],
)
def test_bad_input_is_refused_in_one_sentence(run, capsys, words, message):
    folder, _ = run
    assert main([str(folder), *words]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_missing_checkpoint_is_named(tmp_path, capsys):
    assert main([str(tmp_path / "none.pt"), "--dry-run"]) == 2
    assert "there is no checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_basicnet_predicts_the_same_on_the_whole_test_set(tmp_path):
    """Its filters died by themselves, under Adam with L2; a tenth of them at least."""
    config = Config(
        model=ModelConfig(width=0.125), data=DataConfig("digits"), steps=800, threads=1,
        optim=OptimConfig(lam=2e-2, lr=1e-2),
    )  # fmt: skip
    train(config, tmp_path / "run", plot=False)
    assert main([str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--inactive"]) == 0
    entry = json.loads((tmp_path / "out" / "certificate.json").read_text())
    given, random = entry["differences"]
    assert (given["count"], given["flipped"], random["flipped"]) == (360, 0, 0)
    assert entry["after"]["filters"] < 0.9 * entry["before"]["filters"]
    (note,) = [note for note in entry["notes"] if "test error on 360 images" in note]
    before, after = note.split(": ")[1].split(" -> ")
    assert before == after and float(before.split()[0]) < 5
