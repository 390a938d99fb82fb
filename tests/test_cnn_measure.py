"""Measures of filters, each against a hand-computed number or a twin that goes filter by filter."""

import copy
import math
import re

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn import functional as F
from torchvision import models as torchvision_models

from cnn import measure
from cnn.config import ModelConfig
from cnn.models import build, conv_parameters, layers
from figures.tables import load


@pytest.fixture(autouse=True)
def one_thread():
    """The networks here are small, and the machine's cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scatter(model, seed=0):
    """Parameters and running statistics as after training: no two alike, both signs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.weight.normal_(0, 1, generator=generator)
                module.bias.normal_(-0.7, 0.7, generator=generator)
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
    return model


def network(slope=0.0):
    """BasicNet with 3 + 4 + 5 filters; of the second layer, filters 1 and 2 give nothing."""
    torch.manual_seed(0)
    config = ModelConfig(widths=(3, 4, 5), pools=(1,), negative_slope=slope)
    model = scatter(build(config, channels=2, classes=7, size=6))
    with torch.no_grad():
        bn = layers(model)[1].bn
        bn.weight[1], bn.bias[1] = 0.0, 0.0
        bn.weight[2], bn.bias[2] = 1e-4, 0.0 if slope else -1.0
    return model


def images(n=23, channels=2, size=6):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(1))


def pooled(model, x):
    """Twin of what a filter does: layer -> list of lists, largest |activation| [image][filter]."""
    found = {f"C{i}": [] for i in range(1, 4)}
    for image in x:
        y = image[None]
        for name, module in model.features.named_children():
            if name.startswith("P"):
                y = module(y)
                continue
            y, bn = module.conv(y), module.bn
            shape = (1, -1, 1, 1)
            y = (y - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + bn.eps).sqrt()
            y = module.act(y * bn.weight.view(shape) + bn.bias.view(shape)).detach()
            found[name].append([max(abs(v) for v in map_.flatten().tolist()) for map_ in y[0]])
    return found


# Inactive by gamma -------------------------------------------------------------------------------


def test_by_gamma_is_less_than_the_threshold():
    model = network().double()
    for layer in layers(model):
        nn.init.ones_(layer.bn.weight)
    gamma = layers(model)[2].bn.weight.data
    gamma[:] = torch.tensor([1e-3, -9.99e-4, 0.0, -1e-3, 5e-3])
    masks = measure.by_gamma(model)
    assert [mask.tolist() for mask in masks.values()] == [
        *([False] * 3, [False] * 4, [False, True, True, False, False])
    ]
    assert measure.by_gamma(model, 1e-2)["C3"].tolist() == [True] * 5
    assert measure.by_gamma(model, 0)["C3"].tolist() == [False] * 5


def test_a_network_that_diverged_is_not_called_sparse():
    model = network()
    nn.init.constant_(layers(model)[0].bn.weight, math.nan)
    assert not measure.by_gamma(model)["C1"].any()
    maxima = measure.activation_maxima(model, images())
    assert np.isnan(maxima["C1"]).all() and not measure.by_activation(maxima)["C1"].any()


def test_sparsity_weighs_layers_by_their_filters():
    masks = {"C1": np.array([True, False]), "C2": np.array([True] * 3 + [False] * 5)}
    assert measure.sparsity(masks) == measure.Sparsity({"C1": 50.0, "C2": 37.5}, 40.0)
    model = network()
    found = measure.sparsity_gamma(model)
    assert found == measure.sparsity(measure.by_gamma(model))
    assert found.layers == {"C1": 0.0, "C2": 50.0, "C3": 0.0}
    assert found.total == pytest.approx(100 * 2 / 12)


@pytest.mark.parametrize("row", range(8))
def test_total_of_table_2_from_its_layers(row):
    """Printed layers are rounded: the total may be off by 0.5 for that and 0.5 for its own."""
    printed = load("table02_layers").iloc[row]
    features = load("table02_features").set_index("layer")["features"]
    masks = {
        name: np.arange(1000 * features[name]) < 10 * printed[name] * features[name]
        for name in features.index[:-1]
    }
    assert abs(measure.sparsity(masks).total - printed["total"]) <= 1


# Inactive by activation --------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_activation_maxima_against_a_loop_over_images_and_filters(slope):
    model, x = network(slope), images()
    found = measure.activation_maxima(model, x, batch=7)
    for name, values in pooled(model, x).items():
        np.testing.assert_allclose(found[name], np.max(values, axis=0), rtol=1e-4, atol=1e-6)
    assert found["C2"][1] == 0 and (found["C2"][2] == 0) == (slope == 0)


def test_by_activation_does_not_exceed_the_threshold():
    maxima = {"C1": np.array([0.0, 1e-12, 1.1e-12, 1e-4, 1.0])}
    assert measure.by_activation(maxima)["C1"].tolist() == [True, True, False, False, False]
    assert measure.by_activation(maxima, 1e-4)["C1"].tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("batch", [1, 5, 23, 500])
def test_the_batch_does_not_matter(batch):
    model, x = network(), images()
    y = torch.arange(23) % 7
    whole = measure.activation_maxima(model, x, batch=23)
    for name, top in measure.activation_maxima(model, x, batch=batch).items():
        np.testing.assert_allclose(top, whole[name], rtol=1e-5)
    share = measure.universality(model, x, batch=23)
    for name, values in measure.universality(model, x, batch=batch).items():
        np.testing.assert_array_equal(values, share[name])
    found = measure.evaluate(model, [*zip(x.split(batch), y.split(batch), strict=True)])
    expected = measure.evaluate(model, [(x, y)])
    assert (found.error, found.top5, found.images) == (expected.error, expected.top5, 23)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


class Part:
    """What `cnn.data.load` gives, as far as measures look at it."""

    def in_order(self, batch, device):
        assert device == torch.device("cpu")
        return zip(images().split(batch), (torch.arange(23) % 7).split(batch), strict=True)


def test_every_form_of_images():
    model, x = network(), images()
    expected = measure.universality(model, x)
    pairs = [(part, torch.zeros(len(part))) for part in x.split(6)]
    for given in (Part(), x.split(6), pairs, x.double()):
        for name, values in measure.universality(model, given, batch=4).items():
            np.testing.assert_array_equal(values, expected[name])
    assert measure.evaluate(model, Part(), batch=4).images == 23


@pytest.mark.parametrize("training", [True, False])
def test_measures_leave_the_model_as_it_was(training):
    model, x = network().train(training), images()
    layers(model)[1].bn.eval()  # frozen by its user
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    measure.universality(model, x)
    measure.evaluate(model, Part())
    measure.positive_share(model)
    with pytest.raises(RuntimeError):
        measure.activation_maxima(model, images(channels=3))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.is_grad_enabled()


# Selectivity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1e-3, 0.3])
def test_universality_against_a_loop(threshold):
    """Percent of images whose pooled activation, divided by the largest, exceeds the threshold."""
    model, x = network(), images()
    found = measure.universality(model, x, threshold=threshold)
    for name, values in pooled(model, x).items():
        for j, share in enumerate(found[name]):
            column = [row[j] for row in values]
            active = [v / max(column) > threshold for v in column] if max(column) > 0 else [False]
            assert share == pytest.approx(100 * sum(active) / len(active))
    assert found["C2"][[1, 2]].tolist() == [0, 0]
    assert 0 < np.concatenate([*found.values()]).mean() < 100
    selective = measure.selectivity(found)
    assert all((selective[name] + found[name] == 100).all() for name in found)


def test_universality_takes_the_maxima_of_other_images():
    model, x = network(), images()
    top = {name: 4 * values for name, values in measure.activation_maxima(model, x).items()}
    found = measure.universality(model, x, maxima=top, threshold=0.1)
    expected = measure.universality(model, x, threshold=0.4)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_positive_share_is_phi():
    model = network().double()
    found = measure.positive_share(model)
    corrected = measure.positive_share(model, running_var=True)
    for layer in layers(model):
        bn = layer.bn
        for j in range(layer.filters):
            gamma, beta, var = (v[j].item() for v in (bn.weight, bn.bias, bn.running_var))
            if gamma == 0:
                assert (found[layer.name][j], corrected[layer.name][j]) == (0, 0)
                continue
            z = beta / abs(gamma)
            phi = [50 * math.erfc(-z * s / math.sqrt(2)) for s in (1, math.sqrt(1 + bn.eps / var))]
            assert found[layer.name][j] == pytest.approx(phi[0], rel=1e-9, abs=1e-300)
            assert corrected[layer.name][j] == pytest.approx(phi[1], rel=1e-9, abs=1e-300)


def test_positive_share_without_gamma_and_with_little_variance():
    bn = nn.BatchNorm2d(4, eps=1e-5).double()
    bn.weight.data[:] = torch.tensor([0.0, 0.0, -1.0, 1.0])
    bn.bias.data[:] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    bn.running_var[:] = 1e-5 / 3  # s = 1/2
    model = nn.Sequential(nn.Conv2d(1, 4, 1).double(), bn)
    found = measure.positive_share(model)["C1"]
    corrected = measure.positive_share(model, running_var=True)["C1"]
    np.testing.assert_allclose(found, [100, 0, 84.1344746, 15.8655254], rtol=1e-8)
    np.testing.assert_allclose(corrected, [100, 0, 97.7249868, 2.2750132], rtol=1e-7)


def test_positive_share_is_what_normal_images_show():
    """A 1x1 convolution of normal pixels is normal: within 4 standard errors over its positions.

    BatchNorm's eps is large here: without its correction the share is another one.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 1, bias=False), nn.BatchNorm2d(6, eps=0.1), nn.ReLU())
    scatter(model)
    nn.init.uniform_(model[0].weight, 0.2, 1.0)
    bn, weight = model[1], model[0].weight.detach().flatten()
    bn.running_mean[:], bn.running_var[:] = 0.0, weight.square()
    y = model.eval()(images(100, 1, 30)).detach()
    seen = (y > 0).double().mean((0, 2, 3)).numpy()

    def deviation(running_var):
        share = measure.positive_share(model, running_var=running_var)["C1"] / 100
        return np.abs(seen - share) / np.sqrt(share * (1 - share) / (100 * 30 * 30))

    assert deviation(True).max() < 4 < deviation(False).min()
    assert np.ptp(seen) > 0.2


# Absorption, agreement ---------------------------------------------------------------------------


def test_by_absorption_reads_the_record():
    record = xr.Dataset(
        {"absorbed": ("filter", [-1, 0, 17, -1, 4000])},
        coords={"layer": ("filter", ["C1", "C1", "C2", "C2", "C2"])},
    )
    masks = measure.by_absorption(record)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "C1": [False, True],
        "C2": [True, False, True],
    }


def test_agreement_lists_what_differs():
    gamma = {"C1": np.array([True, False, True]), "C2": np.array([False, True])}
    act = {"C1": np.array([True, False, False]), "C2": np.array([False, True])}
    absorbed = {"C1": np.array([True, False, False]), "C2": np.array([True, True])}
    found = measure.agreement({"gamma": gamma, "act": act, "absorbed": absorbed})
    assert (found.filters, found.percent) == (5, 60.0)
    assert found.counts == {
        ("gamma", "act", "absorbed"): 2,
        (): 1,
        ("gamma",): 1,
        ("absorbed",): 1,
    }
    assert found.differing == [
        {"layer": "C1", "filter": 2, "gamma": True, "act": False, "absorbed": False},
        {"layer": "C2", "filter": 0, "gamma": False, "act": False, "absorbed": True},
    ]
    same = measure.agreement({"gamma": gamma, "again": gamma})
    assert same.percent == 100 and not same.differing


# Prunable parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize("row", range(8))
def test_prunable_share_is_the_column_of_table_2(row):
    """Exactly what its layer columns give; that rounds to the printed number, within their own
    rounding (0.5 each); counting filters alone would not."""
    printed = load("table02_layers").iloc[row]
    checks = load("derived_checks", as_printed=True).query("check == 'table02_params_pruned'")
    with torch.device("meta"):
        model = build(ModelConfig(width="64-1x"), channels=3, classes=100, size=32)

    def pruned(shift, both=True):
        alive = {f"C{i}": 1 - np.clip(printed[f"C{i}"] + shift, 0, 100) / 100 for i in range(1, 8)}
        if both:
            return measure.prunable_share(model, alive)
        sizes = {layer.name: layer.conv.weight.numel() for layer in layers(model)}
        return 100 - 100 * sum(sizes[name] * alive[name] for name in sizes) / 4_649_664

    expected = float(checks.iloc[row]["recomputed_or_other_table"])
    assert pruned(0) == pytest.approx(expected, abs=0.0051)
    assert pruned(-0.5) - 0.5 <= printed["params_pruned_percent"] <= pruned(0.5) + 0.5
    if printed["params_pruned_percent"] > 4:
        assert pruned(0.5, both=False) + 0.5 < printed["params_pruned_percent"]


def test_prunable_share_against_a_count():
    """Weight by weight, in a network with biases and a convolution without BatchNorm."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()),
        *(nn.Conv2d(3, 4, 3), nn.ReLU()),
        *(nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU()),
        *(nn.Conv2d(5, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2)),
    )
    alive = {
        "C1": np.array([True, False, True]),
        "C2": np.array([True, True, False, False, True]),
        "C3": np.array([False] * 5 + [True]),
    }
    keep = {3: [True] * 4, 0: alive["C1"], 5: alive["C2"], 8: alive["C3"]}
    reads = {0: [True] * 2, 3: keep[0], 5: keep[3], 8: keep[5]}
    gone = total = 0
    for at, out in keep.items():
        conv = model[at]
        for o in range(conv.out_channels):
            for i in range(conv.in_channels):
                taps = conv.weight[o, i].numel()
                total, gone = total + taps, gone + taps * (not (out[o] and reads[at][i]))
            if conv.bias is not None:
                total, gone = total + 1, gone + (not out[o])
    assert total == conv_parameters(model)
    assert measure.prunable_share(model, alive) == pytest.approx(100 * gone / total)
    shares = {name: mask.mean() for name, mask in alive.items()}
    assert measure.prunable_share(model, shares) == pytest.approx(100 * gone / total)
    everything = {name: np.ones_like(mask) for name, mask in alive.items()}
    assert measure.prunable_share(model, everything) == 0


# Loss and error ----------------------------------------------------------------------------------


class Fixed(nn.Module):
    """The images are the logits."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x


def test_evaluate_against_a_loop():
    logits = torch.randn(40, 9, generator=torch.Generator().manual_seed(3))
    y = torch.arange(40) % 9
    loss = wrong = wrong5 = 0
    for row, label in zip(logits.double().tolist(), y.tolist(), strict=True):
        loss += math.log(sum(math.exp(v) for v in row)) - row[label]
        better = sum(v > row[label] for v in row)
        wrong, wrong5 = wrong + (better > 0), wrong5 + (better > 4)
    found = measure.evaluate(Fixed(), [(logits[:30], y[:30]), (logits[30:], y[30:])])
    assert found.loss == pytest.approx(loss / 40, rel=1e-6)
    assert found.error == pytest.approx(100 * wrong / 40)
    assert found.top5 == pytest.approx(100 * wrong5 / 40)
    assert 0 < wrong5 < wrong < 40 and found.images == 40


def test_evaluate_with_few_classes_half_precision_and_a_dead_network():
    y = torch.tensor([0, 1, 2, 3])
    assert measure.evaluate(Fixed(), [(torch.randn(4, 4), y)]).top5 == 0
    dead = measure.evaluate(Fixed(), [(torch.zeros(4, 4), y)])
    assert (dead.error, dead.loss) == (75.0, pytest.approx(math.log(4)))
    half = measure.evaluate(Fixed().bfloat16(), [(torch.eye(4), y)])
    assert (half.error, half.loss) == (0, pytest.approx(math.log(math.e + 3) - 1))


def test_zeroed_filters_give_nothing():
    model, x = network(), images()
    inactive = {
        "C1": np.array([False, True, False]),
        "C2": np.array([False] * 3 + [True]),
        "C3": np.array([True] * 4 + [False]),
    }
    before = copy.deepcopy(model.state_dict())
    with measure.zeroed(model, inactive) as same:
        assert same is model
        found = measure.activation_maxima(model, x)
        for name, mask in inactive.items():
            assert (found[name][mask] == 0).all()
        assert found["C1"][0] > 0
        inside = measure.evaluate(model, Part())
    after = measure.evaluate(model, Part())
    assert inside.loss != after.loss
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(KeyError), measure.zeroed(model, inactive):
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_zeroing_filters_that_never_activate_changes_nothing():
    model = network()
    inactive = measure.by_activation(measure.activation_maxima(model, images()))
    assert inactive["C2"].tolist() == [False, True, True, False]
    expected = measure.evaluate(model, Part())
    with measure.zeroed(model, inactive):
        assert measure.evaluate(model, Part()) == expected


# Models of others --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg():
    """torchvision's VGG-11 with BatchNorm, with a small classifier in place of 124 M numbers."""
    with torch.device("meta"):
        model = torchvision_models.vgg11_bn()
        model.classifier = nn.Sequential(nn.Linear(512 * 49, 10))
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
    scatter(model)
    with torch.no_grad():
        model.features[1].weight[:5] = 1e-4
        model.features[1].bias[:4] = -1.0
    return model.eval()


def test_measures_of_torchvisions_vgg11_bn(vgg):
    x = images(6, 3, 32)
    bns = [module for module in vgg.modules() if isinstance(module, nn.BatchNorm2d)]
    seen = {}
    for i, module in enumerate(vgg.features):
        if isinstance(module, nn.BatchNorm2d):
            y = F.relu(vgg.features[: i + 1](x))  # the network's own ReLU works in place
            seen[f"C{len(seen) + 1}"] = y.detach().numpy().max((2, 3))
    maxima = measure.activation_maxima(vgg, x, batch=4)
    universality = measure.universality(vgg, x, maxima=maxima, batch=4)
    assert [len(values) for values in maxima.values()] == [bn.num_features for bn in bns]
    for name, values in seen.items():
        np.testing.assert_allclose(maxima[name], values.max(0), rtol=1e-4, atol=1e-6)
        with np.errstate(invalid="ignore"):
            active = values / values.max(0) > 1e-3
        differ = np.abs(100 * active.mean(0) - universality[name]) > 1e-9
        assert differ.sum() <= 1  # rounding, at the threshold
    by_gamma, by_act = measure.by_gamma(vgg), measure.by_activation(maxima)
    assert np.flatnonzero(by_gamma["C1"]).tolist() == [0, 1, 2, 3, 4]
    assert by_act["C1"][:4].all()
    found = measure.agreement({"gamma": by_gamma, "act": by_act})
    assert found.filters == 2752
    assert measure.sparsity_gamma(vgg).total == 100 * sum(m.sum() for m in by_gamma.values()) / 2752
    assert measure.positive_share(vgg)["C1"][:4].max() < 1e-9
    alive = {name: ~mask for name, mask in by_gamma.items()}
    assert 0 < measure.prunable_share(vgg, alive) < 100
    with measure.zeroed(vgg, by_gamma):
        assert measure.evaluate(vgg, [(x, torch.arange(6))]).images == 6


def test_an_activation_that_works_in_place_is_applied_once():
    """What the second layer sees must be the same with and without the measure's look at C1."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.SiLU(inplace=True)),
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    )
    scatter(model).eval()
    x = images()
    maxima = measure.activation_maxima(model, x)
    first = F.silu(model[1](model[0](x))).detach()
    expected = first.abs().amax((0, 2, 3)).numpy(), model(x).detach().amax((0, 2, 3)).numpy()
    np.testing.assert_allclose(maxima["C1"], expected[0], rtol=1e-5)
    np.testing.assert_allclose(maxima["C2"], expected[1], rtol=1e-5)


def test_measures_of_a_residual_network():
    """Where a sum reads the output, the filter is measured before the sum, else after its ReLU."""
    torch.manual_seed(0)
    model = scatter(torchvision_models.resnet18(num_classes=3)).eval()
    x = images(2, 3, 32)
    maxima = measure.activation_maxima(model, x)
    block, y = model.layer1[0], model.maxpool(F.relu(model.bn1(model.conv1(x))))
    inner = block.bn1(block.conv1(y))
    outer = block.bn2(block.conv2(F.relu(inner)))
    for name, expected in [("C2", F.relu(inner)), ("C3", outer.abs())]:
        np.testing.assert_allclose(
            maxima[name], expected.detach().amax((0, 2, 3)).numpy(), rtol=1e-4, atol=1e-5
        )
    assert len(measure.sparsity_gamma(model).layers) == 20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_measures_on_a_gpu_are_those_of_the_cpu():
    """Within what TF32 convolutions round."""
    model, data = network(), [(images(), torch.arange(23) % 7)]
    top, loss = measure.activation_maxima(model, data), measure.evaluate(model, data).loss
    model.to("cuda")
    for name, values in measure.activation_maxima(model, data).items():
        np.testing.assert_allclose(values, top[name], rtol=1e-2, atol=1e-2)
    assert measure.evaluate(model, data).loss == pytest.approx(loss, rel=1e-2)
    assert measure.universality(model, data)["C2"][1] == 0
    with measure.zeroed(model, {**measure.by_gamma(model), "C1": [True] * 3}):
        assert not measure.activation_maxima(model, data)["C1"].any()


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: measure.by_gamma(m, -1), "threshold must be a finite number >= 0, not -1."),
        (lambda m: measure.by_activation({}, math.nan), "threshold must be a finite number >= 0,"),
        (lambda m: measure.sparsity({}), "inactive must hold at least one layer."),
        (
            lambda m: measure.agreement({"gamma": measure.by_gamma(m)}),
            "measures must be at least two, not ['gamma'].",
        ),
        (
            lambda m: measure.agreement({"a": {"C1": np.ones(3)}, "b": {"C1": np.ones(4)}}),
            "measures must have the same filters, and a and b have not: {'C1': (3,)} and",
        ),
        (
            lambda m: measure.prunable_share(m, {"C1": 0.5}),
            "alive must have the layers C1, C2, C3, not ['C1'].",
        ),
        (
            lambda m: measure.prunable_share(m, {"C1": 0.5, "C2": 2, "C3": 1}),
            "alive in C2 must be a finite number >= 0 and <= 1, not 2.",
        ),
        (
            lambda m: measure.prunable_share(
                nn.Sequential(nn.Conv2d(2, 2, 1, groups=2), nn.BatchNorm2d(2)), {"C1": 1}
            ),
            "model must have no grouped convolutions, not Conv2d(2, 2,",
        ),
        (
            lambda m: measure.zeroed(m, {**measure.by_gamma(m), "C3": [True]}).__enter__(),
            "inactive must have 5 filters in C3, not shape (1,).",
        ),
        (
            lambda m: measure.universality(m, iter([images()])),
            "images must be a tensor or batches that can be read twice.",
        ),
        (
            lambda m: measure.activation_maxima(m, images().to(torch.uint8)),
            "images must be normalised floating-point numbers, not torch.uint8.",
        ),
        (
            lambda m: measure.activation_maxima(m, images()[:0]),
            "data must hold at least one image.",
        ),
        (lambda m: measure.evaluate(m, []), "data must hold at least one image."),
        (
            lambda m: measure.evaluate(m, images()),
            "data must give images and labels, not images alone.",
        ),
        (lambda m: measure.evaluate(m, images(), batch=0), "batch must be a whole number >= 1,"),
    ],
)
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call(network())
