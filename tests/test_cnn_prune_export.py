"""Exports of pruned networks compute the same, in onnxruntime and by torch.export; fusion."""

import copy
import json

import pytest
import torch
from torch import nn, optim

from cnn.prune import prune
from cnn.prune.export import export
from cnn.prune.modules import Border, Shift

from .networks import EXACT, images, net, plant, relative, small


def bordered():
    """A chain with a dead filter whose constant is not 0: a `Border` is added."""
    torch.manual_seed(0)
    model = plant(small())
    with torch.no_grad():
        model[1].weight[:3], model[1].bias[:3] = 0, 1.0
    return model


def modules(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


# Fusion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, fused", [("basicnet", "8 of 8"), ("branches", "4 of 5"),
    ("depthwise", "7 of 7"), ("densenet", "8 of 18"), ("mobilenet_v2", "52 of 52")])  # fmt: skip
def test_a_fused_network_gives_the_same_outputs_at_any_size(name, fused):
    """What stands before a convolution stays (DenseNet), or reads a part of one (branches)."""
    model = net(name)
    pruned = prune(model, images(), fuse=True, latency=False)
    norms = modules(pruned.model, nn.BatchNorm1d | nn.BatchNorm2d)
    done, total = map(int, fused.split(" of "))
    assert len(norms) == total - done
    assert f"{fused} BatchNorms are fused" in pruned.certificate.notes[0]
    assert pruned.certificate.differences[0].relative <= EXACT
    for size in (32, 48):
        assert relative(model, pruned.model, images(size)) <= EXACT


def test_a_batchnorm_that_does_not_read_alone_stays():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return (self.bn(x) + x).mean((2, 3))

    model = plant(Both())
    fused = prune(model, images(), fuse=True, latency=False)
    assert "0 of 1 BatchNorms are fused" in fused.certificate.notes[0]
    assert relative(model, fused.model, images()) <= EXACT


def test_a_border_is_scaled_and_a_shift_goes_into_the_bias():
    model = bordered()
    pruned = prune(model, images(), fuse=True, latency=False).model
    assert len(modules(pruned, Border)) == 1 and not modules(pruned, nn.BatchNorm2d | Shift)
    assert relative(model, pruned, images(33)) <= EXACT
    modules(pruned, Border)[0].kernel.mul_(0.9)  # negative control
    assert relative(model, pruned, images(33)) > 100 * EXACT


def test_a_fused_network_refuses_training(tmp_path):
    """Also after it was saved and loaded, and within another module."""
    model = bordered()
    fused = prune(model, images(), fuse=True, latency=False).model
    torch.save(fused, tmp_path / "fused.pt")
    again = torch.load(tmp_path / "fused.pt", weights_only=False)
    for network in (fused, again, nn.Sequential(copy.deepcopy(again))):
        with pytest.raises(ValueError, match="has no BatchNorm left to train: train the one"):
            network.train()
        assert not any(module.training for module in [*network.modules()][2:])
        assert relative(model, network.eval(), images()) <= EXACT
    with pytest.raises(ValueError, match="fuse must be False of a model in training mode"):
        prune(bordered().train(), images(), fuse=True)
    with pytest.raises(ValueError, match="fuse must be False with an optimizer"):
        prune(model, images(), optimizer=optim.SGD(model.parameters(), 0.1), fuse=True)


# Export -------------------------------------------------------------------------------------------


def test_a_program_of_torch_export_is_written_and_run(tmp_path):
    pruned = prune(bordered(), images(), latency=False)
    given, first = export(pruned, tmp_path / "pruned.pt2", images())
    assert (given.count, first.count, first.inputs) == (3, 1, "first")
    assert given.relative <= EXACT and first.relative <= EXACT
    again = torch.export.load(tmp_path / "pruned.pt2").module()
    assert relative(pruned.model, again, images(n=5)) <= EXACT
    with pytest.raises(AssertionError, match="size"):  # the size is fixed
        again(images(48))
    entry = json.loads(pruned.certificate.json())["exports"]
    ((name, rows),) = entry.items()
    assert name.startswith("pruned.pt2 (torch ") and rows[0]["relative"] == given.relative
    assert "against the pruned network: 3 given inputs" in str(pruned.certificate)


def test_height_and_width_can_be_left_open(tmp_path):
    """The border is computed from the size of the input, in the exported program too."""
    model = bordered()
    pruned = prune(model, images(), latency=False).model
    *_, larger = export(pruned, tmp_path / "pruned.pt2", images(), sizes=True)
    assert larger.inputs == "larger" and larger.relative <= EXACT
    again = torch.export.load(tmp_path / "pruned.pt2").module()
    assert relative(model, again, images(50)) <= EXACT


@pytest.mark.parametrize(
    "name, message",
    [
        ("pruned.pt", "path must end with .onnx or .pt2, not"),
        ("none/pruned.pt2", "none"),
    ],
)
def test_a_path_that_cannot_be_is_refused(tmp_path, name, message):
    with pytest.raises((ValueError, OSError), match=message):
        export(small(), tmp_path / name, images())
    assert not [*tmp_path.iterdir()]


def test_a_file_that_computes_something_else_is_not_left(tmp_path, monkeypatch):
    monkeypatch.setattr("cnn.prune.export._torch_export", lambda *_: lambda x: x.new_zeros(3, 5))
    with pytest.raises(ValueError, match=r"pruned.pt2 computes something else: outputs on given"):
        export(bordered(), tmp_path / "pruned.pt2", images())
    assert not [*tmp_path.iterdir()]


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("cnn.prune.export.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install onnx onnxruntime onnxscript"):
        export(small(), tmp_path / "pruned.onnx", images())


def check_onnx(model, path, fuse, sizes):
    """The file that is written computes what the network computed before it was pruned."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    import onnxruntime

    pruned = prune(model, images(), fuse=fuse, latency=False)
    found = export(pruned, path, images(), sizes=sizes)
    assert [d.inputs for d in found] == ["given", "first", *["larger"] * sizes]
    assert all(d.relative <= EXACT and d.flipped == 0 for d in found)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    session = onnxruntime.InferenceSession(path)
    x = images(48 if sizes else 32, n=5)
    (y,) = session.run(None, {"images": x.numpy()})
    assert relative(model, lambda _: torch.from_numpy(y), x) <= EXACT


def test_onnxruntime_computes_the_same(tmp_path):
    """With a border and BatchNorm fused, at any batch and any size."""
    check_onnx(bordered(), tmp_path / "pruned.onnx", fuse=True, sizes=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet", "depthwise", "branches", "basicnet", "mobilenet_v2"])
@pytest.mark.parametrize("fuse", [False, True])
def test_onnxruntime_computes_the_same_for_larger_networks(tmp_path, name, fuse):
    check_onnx(net(name), tmp_path / "pruned.onnx", fuse, name == "depthwise")


@pytest.mark.slow
def test_an_onnx_file_that_does_not_run_at_another_size_is_not_left(tmp_path):
    """The exporter takes what adaptive pooling gives for a constant; running it shows that."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match=r"does not run on inputs \(2, 3, 64, 80\)") as error:
        export(net("branches"), tmp_path / "pruned.onnx", images(), sizes=True)
    assert "\n" not in str(error.value) and not [*tmp_path.iterdir()]
