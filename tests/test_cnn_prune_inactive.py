"""Filters that a ReLU holds at 0 on given images are removed on request, whatever their gamma."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

from cnn.inactive import by_activation
from cnn.measure import activation_maxima
from cnn.prune import prune

from .networks import EXACT, NETS, images, relative, small


def silenced(name, share=0.3):
    """Of some filters gamma is 1 and beta so low that a ReLU holds them at 0."""
    torch.manual_seed(0)
    model, draw = NETS[name](), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for bn in model.modules():
            if isinstance(bn, nn.BatchNorm2d):
                bn.bias.copy_(torch.randn(bn.num_features, generator=draw) * 0.5)
                bn.bias[torch.rand(bn.num_features, generator=draw) < share] = -30.0
    return model.eval()


@pytest.mark.parametrize("name", ["basicnet", "resnet18", "densenet"])
def test_they_are_removed_exactly_for_these_images(name):
    model, seen = silenced(name), images(n=6)
    state = copy.deepcopy(model.state_dict())
    by_gamma = prune(model, seen, latency=False).certificate
    assert by_gamma.before == by_gamma.after and by_gamma.inactive is None
    pruned = prune(model, seen, inactive_on=seen, latency=False)
    found = pruned.certificate
    assert found.after.parameters < 0.8 * found.before.parameters
    assert found.inactive.images == 6 and found.inactive.channels > 0 < found.inactive.margin
    assert found.differences[0].relative <= EXACT and found.differences[0].flipped == 0
    assert relative(model, pruned.model, seen) <= EXACT
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    entry = json.loads(found.json())["inactive"]
    assert entry["channels"] == found.inactive.channels and "on 6 images" in str(found)


def test_they_are_those_of_the_activation_measure():
    """In a chain, the filters whose largest activation over the images is 0."""
    torch.manual_seed(0)
    model = NETS["basicnet"]().eval()
    with torch.no_grad():
        for bn in model.modules():
            if isinstance(bn, nn.BatchNorm2d):
                bn.bias.copy_(torch.randn(bn.num_features) * 4 - 3)
    seen = images(n=4)
    masks = by_activation(activation_maxima(model, seen), 0.0)
    certificate = prune(model, seen, inactive_on=seen.split(2), latency=False).certificate
    gone = [before - after for _, before, after in certificate.layers]
    assert gone == [min(int(mask.sum()), len(mask) - 1) for mask in masks.values()]
    assert sum(gone) > 20 and certificate.inactive.images == 4


def test_what_other_images_wake_is_measured_and_not_promised():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 1),
        nn.Flatten(),
    ).eval()  # fmt: skip
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 1.0]).reshape(2, 1, 1, 1))
        model[1].bias.copy_(torch.tensor([0.0, -2.5]))
    seen = torch.linspace(0, 2, 5).reshape(5, 1, 1, 1)
    pruned = prune(model, seen, inactive_on=seen, latency=False)
    assert pruned.model.get_submodule("0").out_channels == 1
    inputs = seen.flatten().double() / (1 + 1e-5) ** 0.5 - 2.5
    margin = float(-inputs.max() / inputs.std(correction=0))
    assert pruned.certificate.inactive.margin == pytest.approx(margin, rel=1e-5)
    assert relative(model, pruned.model, seen) <= EXACT
    bright = torch.full((1, 1, 1, 1), 6.0)
    assert relative(model, pruned.model, bright) > 0.1
    woken = prune(model, bright, inactive_on=seen, latency=False).certificate
    assert woken.differences[0].relative > 0.1


def test_what_gamma_has_made_constant_is_not_counted_again():
    torch.manual_seed(0)
    model = small().eval()
    with torch.no_grad():
        model[1].bias[:3] = -30.0
        model[1].weight[:2] = 0
    certificate = prune(model, images(), inactive_on=images(), latency=False).certificate
    assert certificate.layers[0] == ("0", 8, 5) and certificate.inactive.channels == 1


def test_a_leaky_relu_holds_nothing_at_zero():
    torch.manual_seed(0)
    model = small(nn.LeakyReLU).eval()
    with torch.no_grad():
        model[1].bias.fill_(-30.0)
    certificate = prune(model, images(), inactive_on=images(), latency=False).certificate
    assert certificate.before == certificate.after
    assert certificate.inactive == type(certificate.inactive)(3, 0, None)


def test_without_batchnorm_images_say_what_goes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
    with torch.no_grad():
        model[0].bias[2:5] = -100.0
    pruned = prune(model, images(), inactive_on=images(), latency=False).model
    assert pruned.get_submodule("0").out_channels == 5
    assert relative(model, pruned, images()) <= EXACT


@pytest.mark.parametrize(
    "given, message",
    [
        (images()[:, :1], "inactive_on must be what the model takes: "),
        ([], "data must hold at least one image"),
        (images().int(), "images must be normalised floating-point numbers, not torch.int32"),
    ],
)
def test_images_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=message) as error:
        prune(small(), images(), inactive_on=given)
    assert "\n" not in str(error.value)


def test_training_goes_on_as_with_the_removed_filters_held_at_zero():
    """Held: gamma and beta at 0, and the weights that read the filter where they were."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3),
        nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).double()  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, 8, 8, generator=draw, dtype=torch.float64)
    y = torch.randint(3, (8,), generator=draw)
    with torch.no_grad():
        model[1].bias[:2] = -30.0
    adam = optim.Adam(model.parameters(), 1e-2, weight_decay=1e-2)
    new = prune(model.eval(), x, optimizer=adam, inactive_on=x, latency=False)
    kept = [2, 3, 4, 5]
    assert new.model.get_submodule("0").out_channels == len(kept)
    held = copy.deepcopy(model[3].weight.detach()[:, :2])
    for _ in range(20):
        with torch.no_grad():
            model[1].weight[:2], model[1].bias[:2], model[3].weight[:, :2] = 0, 0, held
        for network, optimizer in ((model, adam), (new.model, new.optimizer)):
            optimizer.zero_grad()
            F.cross_entropy(network.train()(x), y).backward()
            optimizer.step()
    for at, index in (("0.weight", kept), ("1.bias", kept), ("7.weight", slice(None))):
        after = new.model.get_parameter(at).detach().numpy()
        np.testing.assert_allclose(after, model.get_parameter(at).detach()[index], atol=1e-10)
