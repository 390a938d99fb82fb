"""Figure 1: its description is that of the network, and the drawing that of the description."""

import copy
import subprocess

import pytest

from figures import __main__ as program
from figures import fig1
from figures.tables import load


@pytest.fixture(scope="module")
def data():
    """The description that is kept with the code."""
    return program.stored("basicnet.json")


def words(fig):
    return [text.get_text() for text in fig.axes[0].texts]


def test_the_committed_description_is_that_of_the_network(tmp_path, data, capsys):
    """--refresh asks the network itself, in another process."""
    assert program.main(["fig1", "--refresh", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"basicnet.json", "fig1.png"}
    assert len(capsys.readouterr().out.splitlines()) == 2
    fresh = program.json.loads((tmp_path / "basicnet.json").read_text())
    for part in ("config", "input", "layers", "parameters"):
        assert fresh[part] == data[part]
    assert not data["provenance"]["git_revision"].endswith("dirty")


def test_filters_and_parameters_are_the_papers(data):
    table = load("table02_features").set_index("layer")
    shown = words(fig1.draw(data))
    for layer in table.index[:-1]:
        at = next(i for i, word in enumerate(shown) if word.startswith(f"{layer},"))
        size, parameters, filters = shown[at + 1 : at + 4]
        assert filters == str(table.loc[layer, "features"])
        assert parameters == f"{int(table.loc[layer, 'conv_params_derived']):,}"
        assert size == ("32×32" if layer == "C1" else "16×16" if layer == "C2" else "8×8")


def test_a_bar_for_each_layer_as_long_as_it_is_wide(data):
    ax = fig1.draw(data).axes[0]
    bars = ax.patches
    assert len(bars) == len(data["layers"])
    for bar, row in zip(bars, data["layers"], strict=True):
        assert bar.get_width() == pytest.approx(fig1.SPAN * row["outputs"] / 512)
    middles = [bar.get_y() + bar.get_height() / 2 for bar in bars]
    assert middles == pytest.approx([*range(1, len(bars) + 1)])
    assert ax.yaxis_inverted()


def test_names_say_what_follows_a_convolution(data):
    changed = copy.deepcopy(data)
    changed["layers"][0].update(kernel=7, activation="leaky_relu")
    changed["layers"][2]["batch_norm"] = False
    shown = words(fig1.draw(changed))
    assert {"C1, 7×7, BN, leaky ReLU", "C2, 3×3, ReLU", "P1, 2×2, maximum"} <= {*shown}
    assert {"pool, average", "fc1, BN, ReLU", "fc2", "image, 3 channels"} <= {*shown}


def test_the_caption_says_what_is_ours(data):
    said = " ".join(fig1.draw(data).get_supxlabel().split())
    assert "pools is our choice" in said and "kernels are derived" in said
    assert "4,649,664" in said and f"{data['parameters']['all']:,}" in said


def test_a_network_that_cannot_be_described_is_an_error(monkeypatch, tmp_path, capsys):
    failed = subprocess.CompletedProcess([], 2, "", "one\nerror: no torch")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    assert program.main(["fig1", "--refresh", "--out", str(tmp_path)]) == 2
    assert "failed: error: no torch" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
