"""The description of a network: against the paper's table, and against the network itself."""

import json
import subprocess
import sys

import pytest

from cnn.config import ModelConfig
from cnn.describe import describe
from cnn.models import main
from figures.tables import load

BASIC = ["--width", "64-1x", "--describe"]


def printed(capsys, *words):
    assert main([*words]) == 0
    return json.loads(capsys.readouterr().out)


def test_basicnet_is_that_of_table_2(capsys):
    found = printed(capsys, *BASIC)
    table = load("table02_features").set_index("layer")
    convolutions = [row for row in found["layers"] if row["kind"] == "convolution"]
    assert [row["name"] for row in convolutions] == [*table.index[:-1]]
    for row in convolutions:
        theirs = table.loc[row["name"]]
        assert row["outputs"] == theirs["features"]
        assert row["inputs"] == theirs["in_channels_derived"]
        assert row["kernel"] == theirs["kernel_derived"] and row["stride"] == 1
        assert row["parameters"] == theirs["conv_params_derived"]
        assert row["batch_norm"] and row["activation"] == "relu"
    assert found["parameters"]["convolutions"] == table.loc["total", "conv_params"]


def test_sizes_poolings_and_head(capsys):
    found = printed(capsys, *BASIC)
    assert [(row["name"], row["size"]) for row in found["layers"]] == [
        ("C1", 32), ("P1", 16), ("C2", 16), ("P2", 8), ("C3", 8), ("C4", 8), ("C5", 8), ("C6", 8),
        ("C7", 8), ("pool", 1), ("fc1", None), ("fc2", None),
    ]  # fmt: skip
    pool, last = found["layers"][1], found["layers"][-1]
    assert (pool["kind"], pool["kernel"], pool["stride"]) == ("max pooling", 2, 2)
    assert (last["outputs"], last["batch_norm"], last["activation"]) == (10, False, None)
    batch_norm = 2 * (1856 + 256)
    assert found["parameters"]["all"] == 4_649_664 + batch_norm + 512 * 256 + 256 + 2560 + 10
    assert found["config"]["width"] == "64-1x" and "git_revision" in found["provenance"]


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (ModelConfig(name="vgg16"), 32),
        (ModelConfig(name="vgg11", width=0.125, head="imagenet"), 224),
        (ModelConfig(head="imagenet", pools=(1, 2, 4, 6), negative_slope=0.01), 224),
    ],
)
def test_a_layer_reads_what_the_one_before_gives(config, size):
    found = describe(config, channels=3, classes=5, size=size)
    before = found["input"]["channels"]
    side = size
    for row in found["layers"]:
        if row["kind"] == "linear" and before != row["inputs"]:  # all positions of the image
            before *= side**2
        assert row["inputs"] == before
        before, side = row["outputs"], row["size"] or 1
    assert before == 5
    kind = "leaky_relu" if config.negative_slope else "relu"
    assert {row["activation"] for row in found["layers"] if row["batch_norm"]} == {kind}


def test_without_the_flag_it_is_a_table(capsys):
    assert main(["--channels", "1", "--size", "8"]) == 0
    said = capsys.readouterr().out
    assert "C7" in said and "max pooling" in said and "parameters" in said


def test_it_writes_a_file(tmp_path, capsys):
    path = tmp_path / "net.json"
    assert main(["--out", str(path)]) == 0
    assert json.loads(path.read_text())["input"] == {"channels": 3, "size": 32}
    assert capsys.readouterr().out == f"{path}\n"


def test_bad_input_is_a_sentence(tmp_path, capsys):
    assert main(["--size", "2", "--out", str(tmp_path / "x.json")]) == 2
    assert capsys.readouterr().err.startswith("error: size must be >= 4")
    assert main(["--out", str(tmp_path / "none" / "x.json")]) == 2
    assert not list(tmp_path.iterdir())


def test_python_m_runs_it():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "cnn.models", "--describe"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["layers"][0]["outputs"] == 8
