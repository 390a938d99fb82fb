"""Pruned networks give the same outputs, at any input size; what cannot be pruned is refused."""

import copy
import json

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from cnn.prune import CannotPrune, prune
from cnn.prune.measure import compare
from cnn.prune.modules import Border, Select, Shift

from .networks import EXACT, NETS, images, net, plant, relative, small


def zeroed(model, threshold=1e-3):
    """The same network, every gamma below the threshold set to 0."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for bn in model.modules():
            if isinstance(bn, nn.BatchNorm1d | nn.BatchNorm2d):
                bn.weight[bn.weight.abs() < threshold] = 0
    return model


# The same outputs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_a_pruned_network_gives_the_same_outputs_at_any_size(name):
    model = net(name)
    state = copy.deepcopy(model.state_dict())
    pruned = prune(model, images(), latency=False)
    certificate = pruned.certificate
    assert [d.inputs for d in certificate.differences] == ["given", "random"]
    assert all(d.relative <= EXACT and d.flipped == 0 for d in certificate.differences)
    assert certificate.first is None and not certificate.kept.keys() - {"getitem (getitem)"}
    assert certificate.after.parameters < 0.8 * certificate.before.parameters
    for size in (48, 70):
        assert relative(model, pruned.model, images(size)) <= EXACT
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Hardswish, nn.Tanh])
def test_the_constant_of_every_activation_is_absorbed(act):
    torch.manual_seed(0)
    model = plant(small(act))
    dead = [int((bn.weight == 0).sum()) for bn in (model[1], model[5])]
    pruned = prune(model, images(), latency=False).model
    assert (pruned.get_submodule("0").out_channels, pruned.get_submodule("4").out_channels) == (
        8 - dead[0], 6 - dead[1],
    )  # fmt: skip
    for size in (16, 33):
        assert relative(model, pruned, images(size)) <= EXACT


def test_small_gammas_leave_what_the_certificate_says():
    model = net("basicnet", tiny=9e-4)
    pruned = prune(model, images(), latency=False)
    difference, _ = pruned.certificate.differences
    with torch.no_grad():
        measured = (model(images()) - pruned.model(images())).abs().max()
    assert difference.largest == pytest.approx(float(measured), rel=1e-3)
    assert difference.relative > 10 * EXACT and pruned.certificate.first is not None
    assert relative(zeroed(model), pruned.model, images()) <= EXACT
    kept = prune(model, images(), 8e-4, latency=False).certificate
    assert kept.before == kept.after and kept.differences[0].largest == 0


def test_zero_padding_needs_more_than_a_bias():
    """Negative control: with one number per channel instead of the map, the border differs."""
    torch.manual_seed(0)
    model = plant(small())
    with torch.no_grad():
        model[1].weight[:3], model[1].bias[:3] = 0, 1.0
    pruned = prune(model, images(), latency=False).model
    ((path, border),) = [(p, m) for p, m in pruned.named_modules() if isinstance(m, Border)]
    shift = Shift(border.kernel.sum((1, 2, 3)))
    assert relative(model, pruned, images()) <= EXACT
    pruned.get_submodule(path).forward = lambda y, x: shift(y)
    assert relative(model, pruned, images()) > 100 * EXACT


def test_average_pooling_of_one_padded_pixel():
    """At 1x1, a constant stays one number (a ninth); at another size it would not."""
    torch.manual_seed(0)
    model = plant(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, 32), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(3, 1, 1),
            nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
    )  # fmt: skip
    with torch.no_grad():
        model[1].weight[:3], model[1].bias[:3] = 0, 1.0
    pruned = prune(model, torch.randn(2, 3, 32, 32), latency=False).model
    assert relative(model, pruned, torch.randn(2, 3, 96, 128)) <= EXACT


def test_other_padding_needs_no_more_than_a_bias():
    torch.manual_seed(0)
    model = plant(small(padding_mode="reflect"))
    with torch.no_grad():
        model[1].weight[:3], model[1].bias[:3] = 0, 1.0
    pruned = prune(model, images(), latency=False).model
    assert not any(isinstance(m, Border) for m in pruned.modules())
    assert relative(model, pruned, images(33)) <= EXACT


# What goes ----------------------------------------------------------------------------------------


def test_a_residual_channel_goes_where_every_producer_is_dead():
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).eval()
    with torch.no_grad():
        for p in (model.bn1, model.layer1[0].bn2, model.layer1[1].bn2):
            p.weight[:5], p.bias[:5] = 0, 0.3
        model.layer1[0].bn2.weight[4] = 1
    pruned = prune(model, images(), latency=False)
    assert pruned.model.conv1.out_channels == 60
    assert pruned.model.layer1.get_submodule("1").conv2.out_channels == 60
    assert relative(model, pruned.model, images(50)) <= EXACT


def test_what_is_dead_for_one_reader_is_cut_for_that_reader():
    """DenseNet: a BatchNorm kills a channel that another one still reads."""
    torch.manual_seed(0)
    model = torchvision.models.DenseNet(4, (2, 2), 8, 2, 0, 10).eval()
    block = model.features.denseblock1
    with torch.no_grad():
        block.denselayer2.norm1.weight[:3], block.denselayer2.norm1.bias[:3] = 0, 0.5
    pruned = prune(model, images(), latency=False).model
    new = pruned.features.denseblock1
    assert new.denselayer2.conv1.in_channels == 12 - 3
    assert pruned.features.conv0.out_channels == 8 and new.denselayer1.conv1.in_channels == 8
    assert sum(isinstance(m, Select) for m in pruned.modules()) == 1
    assert relative(model, pruned, images(50)) <= EXACT


def test_a_product_with_zero_is_constant():
    """Squeeze and excitation: a dead filter goes if it gives 0, whatever it is multiplied by."""

    class Excited(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
            self.scale, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 3, padding=1)

        def forward(self, x):
            x = self.first(x)
            return self.last(x * self.scale(x.mean((2, 3), keepdim=True)).sigmoid())

    torch.manual_seed(0)
    model = Excited().eval()
    with torch.no_grad():
        bn = model.first[1]
        bn.weight[:5], bn.bias[:3], bn.bias[3:5] = 0, -1.0, 1.0
    pruned = prune(model, images(), latency=False).model
    assert pruned.last.in_channels == pruned.scale.out_channels == 5
    assert relative(model, pruned, images(50)) <= EXACT


def test_no_layer_is_emptied():
    """Everything dead: the filter with the largest gamma stays, of every layer."""
    model = net("basicnet")
    with torch.no_grad():
        for bn in model.modules():
            if isinstance(bn, nn.BatchNorm1d | nn.BatchNorm2d):
                bn.weight.zero_()[-2] = 5e-4
    pruned = prune(model, images(), latency=False)
    assert {after for _, _, after in pruned.certificate.layers} == {1}
    assert pruned.model.features.C3.bn.weight.tolist() == pytest.approx([5e-4])
    everything = prune(net("densenet", share=1.0), images(), latency=False)
    assert everything.certificate.differences[0].relative <= EXACT
    assert min(after for *_, after in everything.certificate.layers) == 1


@pytest.mark.parametrize("op", [lambda x: x.softmax(1), lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
                                lambda x: F.layer_norm(x, x.shape[1:])])  # fmt: skip
def test_an_operation_that_reads_all_channels_keeps_them(op):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
            self.last = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))

        def forward(self, x):
            return self.last(op(self.first(x))).mean((2, 3))

    torch.manual_seed(0)
    model = plant(Mixed())
    pruned = prune(model, images(), latency=False)
    assert pruned.model.first.get_submodule("0").out_channels == 8
    assert pruned.model.last.get_submodule("0").out_channels < 8 and pruned.certificate.kept
    assert relative(model, pruned.model, images()) <= EXACT


# The result ---------------------------------------------------------------------------------------


def test_modes_frozen_parameters_and_memory_format_stay(tmp_path):
    model = net("resnet18").to(memory_format=torch.channels_last).train()
    model.bn1.eval()
    model.conv1.requires_grad_(False)
    pruned = prune(model, images(), latency=False).model
    assert pruned.training and pruned.layer1.training and not pruned.bn1.training
    assert not pruned.conv1.weight.requires_grad and pruned.fc.weight.requires_grad
    assert pruned.layer2.get_submodule("0").conv1.weight.is_contiguous(
        memory_format=torch.channels_last
    )
    torch.save(pruned.eval(), tmp_path / "pruned.pt")
    again = torch.load(tmp_path / "pruned.pt", weights_only=False)
    assert relative(model.eval(), again, images()) <= EXACT


@pytest.mark.parametrize("name", ["resnet18", "densenet", "branches"])
def test_a_pruned_network_can_be_pruned_again(name):
    first = prune(net(name), images(), latency=False)
    same = prune(first.model, images(), latency=False).certificate
    assert (same.before, same.kept) == (same.after, first.certificate.kept)
    plant(first.model)
    again = prune(first.model, images(), latency=False)
    assert again.certificate.after.parameters < 0.9 * first.certificate.after.parameters
    assert relative(first.model, again.model, images(40)) <= EXACT


def test_the_certificate_counts_and_times():
    torch.manual_seed(0)
    model = plant(small(), share=0.0)
    with torch.no_grad():
        model[1].weight[:2], model[1].bias[:2] = 0, 1.0
    certificate = prune(model, torch.randn(4, 3, 16, 16)).certificate
    assert (certificate.before.filters, certificate.after.filters) == (14, 12)
    assert certificate.before.parameters - certificate.after.parameters == 2 * 27 + 4 + 2 * 54
    border = 6 * 9 * 16  # the map of the constants
    assert certificate.before.macs == 8 * 27 * 256 + 6 * 72 * 16 + 30
    assert certificate.after.macs == 6 * 27 * 256 + 6 * 54 * 16 + 30 + border
    assert set(certificate.latency) == {1, 64} and min(certificate.latency[64]) > 0
    entry = json.loads(certificate.json())
    assert entry["layers"] == [["0", 8, 6], ["4", 6, 6]] and entry["differences"][0]["count"] == 4
    assert "filters: 14 -> 12 (-14.3 %)" in str(certificate)


def test_a_prediction_has_flipped_where_another_class_is_largest():
    """Of a map (n, classes, height, width), at any position."""
    before = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    after = torch.tensor([[2.0, 1.0, 0.0], [0.0, 2.0, 2.5]])
    found = compare(lambda x: before, lambda x: after, before)
    assert (found.flipped, found.largest, found.scale) == (1, 1.5, 3.0)
    maps = [torch.stack([y, before], -1).unsqueeze(-1) for y in (before, after)]
    assert compare(lambda x: maps[0], lambda x: maps[1], before).flipped == 1
    assert compare(lambda x: before, lambda x: before, before).flipped == 0


@pytest.mark.slow
@pytest.mark.parametrize("name, added", [("branches", {Shift}), ("densenet", {Border, Shift})])
def test_torch_export_takes_the_pruned_network_at_any_batch(name, added):
    model = net(name)
    pruned = prune(model, images(), latency=False).model
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(pruned, (images(),), dynamic_shapes=({0: batch},)).module()
    assert {type(m) for m in pruned.modules()} >= added
    assert relative(model, exported, images(n=7)) <= EXACT


# What is refused ----------------------------------------------------------------------------------


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu(x, inplace=True) + x


def broken(name, value):
    """`small` with one number that is not finite."""
    model = small()
    with torch.no_grad():
        model.get_parameter(name).view(-1)[1] = value
    return model


@pytest.mark.parametrize(
    "make, threshold, message",
    [
        (lambda: nn.Conv2d(3, 4, 3), 1e-3, "has no BatchNorm with gamma"),
        (lambda: nn.Sequential(Branching(), small()), 1e-3, "cannot be traced by torch.fx"),
        (InPlace, 1e-3, r"relu \(relu\) changes in place what add reads after it"),
        (lambda: broken("5.weight", torch.nan), 1e-3, "5.weight holds numbers that are not finite"),
        (lambda: broken("0.weight", torch.inf), 1e-3, "0.weight holds numbers that are not finite"),
        (small, -1.0, "threshold must be a finite number >= 0, not -1.0"),
        (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), 1e-3, "example_input must"),
    ],
)
def test_what_cannot_be_pruned_is_refused_in_one_sentence(make, threshold, message):
    model = make()
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message) as error:
        prune(model, images(), threshold)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, CannotPrune) or "must" in message
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("given", ["train", 5, [1, 2], [(None, 1)], []])
def test_images_that_are_none_are_refused(given):
    with pytest.raises(ValueError, match=r"must (be|hold)"):
        prune(small(), images(), inactive_on=given, latency=False)


def test_example_input_must_be_finite():
    with pytest.raises(ValueError, match="example_input holds numbers that are not finite"):
        prune(small(), images() * torch.nan)


def test_a_model_and_an_optimizer_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"model must be a torch.nn.Module, not 'net'"):
        prune("net", images())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"optimizer must be a torch.optim.Optimizer, not 'adam'"):
        prune(small(), images(), optimizer="adam")  # type: ignore[arg-type]


def test_example_input_must_be_a_tensor():
    with pytest.raises(ValueError, match=r"example_input must be a tensor \(n, ...\), not None"):
        prune(small(), None)  # type: ignore[arg-type]
