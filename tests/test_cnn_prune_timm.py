"""BatchNorm and activation in one module, as in timm; and networks that cnn.prune never saw."""

import copy

import pytest
import torch
import torchvision
from torch import nn, optim

from cnn.prune import CannotPrune, prune

from .networks import EXACT, images, plant, relative


class BatchNormAct2d(nn.BatchNorm2d):
    """timm's, but for its options."""

    scale = 1.0

    def __init__(self, filters, act):
        super().__init__(filters)
        self.drop, self.act = nn.Identity(), act

    def forward(self, x):
        x = nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training,
            self.momentum, self.eps,
        )  # fmt: skip
        return self.act(self.drop(x)) * self.scale


def activated(act, kind=BatchNormAct2d):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), kind(8, act), nn.Conv2d(8, 8, 3), kind(8, act),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    return plant(model)


@pytest.mark.parametrize("act", [nn.ReLU(inplace=True), nn.SiLU(), nn.Identity()])
def test_the_constant_is_that_after_the_activation(act):
    model = activated(act)
    dead = [int((model[i].weight == 0).sum()) for i in (1, 3)]
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    pruned = prune(model, images(), optimizer=optimizer, latency=False)
    convolutions = [m for m in pruned.model.modules() if isinstance(m, nn.Conv2d)]
    assert [8 - m.out_channels for m in convolutions] == dead and min(dead) > 0
    for size in (32, 48):
        assert relative(model, pruned.model, images(size)) <= EXACT
    assert type(model[1]) is BatchNormAct2d
    assert {name for name, _ in pruned.model.named_parameters()} == {
        name for name, _ in model.named_parameters()
    }
    fused = prune(model, images(), fuse=True, latency=False)
    assert not [m for m in fused.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert "2 of 2 BatchNorms are fused" in fused.certificate.notes[0]
    assert relative(model, fused.model, images(48)) <= EXACT


def test_it_is_taken_apart_only_if_that_computes_the_same():
    class Scaled(BatchNormAct2d):
        scale = 2.0

    Scaled.__name__ = "BatchNormAct2d"
    with pytest.raises(CannotPrune, match="a BatchNormAct2d that is more than BatchNorm and act"):
        prune(activated(nn.ReLU(), Scaled), images())


def planted(model):
    """gamma of 40 % of the filters exactly 0, beta of either sign; nothing else."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for bn in model.modules():
            if isinstance(bn, nn.BatchNorm2d):
                bn.bias.copy_(torch.randn(bn.num_features, generator=draw) * 0.5)
                bn.weight[torch.rand(bn.num_features, generator=draw) < 0.4] = 0
    return model.eval()


def check_pruned(model, least):
    """At least so many percent of the parameters go; exact at two sizes; the model as it was."""
    state, (small, large) = copy.deepcopy(model.state_dict()), (images(64), images(96))
    pruned = prune(model, small, 1e-12, latency=False)
    certificate = pruned.certificate
    assert certificate.after.parameters <= (1 - least / 100) * certificate.before.parameters
    for difference in certificate.differences:
        assert difference.relative <= EXACT and difference.flipped == 0
    assert relative(model, pruned.model, large) <= EXACT
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.extras
@pytest.mark.parametrize(
    "name, least",
    [("mobilenetv3_small_050", 5), ("lcnet_050", 10), ("regnety_002", 40), ("resnet14t", 50),
     ("ghostnet_050", 5), ("resnest14d", 30), ("convmixer_768_32", 25)],
)  # fmt: skip
def test_networks_of_timm(name, least):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    check_pruned(planted(timm.create_model(name)), least)


@pytest.mark.extras
@pytest.mark.parametrize(
    "name, message",
    [("mobilevit_xxs", "ByobNet cannot be traced by torch.fx: symbolically traced variables"),
     ("nf_resnet26", "NormFreeNet has no BatchNorm with gamma whose filters could be dead.")],
)  # fmt: skip
def test_networks_of_timm_that_are_refused(name, message):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name).eval()
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(CannotPrune, match=message):
        prune(model, images(64))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name, least", [("efficientnet_v2_s", 5), ("wide_resnet50_2", 50)])
def test_networks_of_torchvision(name, least):
    torch.manual_seed(0)
    check_pruned(planted(torchvision.models.get_model(name, weights=None)), least)
