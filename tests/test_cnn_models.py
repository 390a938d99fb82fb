"""The paper's networks: their sizes, heads and initial values; filters of any model."""

import copy
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models as torchvision_models

from cnn.config import ModelConfig, OptimConfig
from cnn.models import build, conv_parameters, layers
from cnn.optim import Update
from cnn.record import Recorder
from figures.tables import load

PROTOCOL = load("protocol", as_printed=True).set_index("name")["value"]
WIDTHS = ("64-1x", "64-0.5x", "32-0.25x")
VGG = ("vgg11", "vgg16", "vgg19")
HEADS = ("cifar", "tinyimagenet", "imagenet")
SIZES = {"cifar": 32, "tinyimagenet": 64, "imagenet": 224}


@pytest.fixture(autouse=True)
def one_thread():
    """The networks here are small, and the machine's cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def on_meta(config, *, channels=3, classes=10, size=32):
    """The network without memory for its numbers."""
    with torch.device("meta"):
        return build(config, channels=channels, classes=classes, size=size)


def of_type(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


# Sizes that the paper prints ---------------------------------------------------------------------


def test_basicnet_has_the_convolutions_of_table_2():
    table = load("table02_features").set_index("layer")
    model = on_meta(ModelConfig(width="64-1x"))
    assert conv_parameters(model) == table.loc["total", "conv_params"] == 4_649_664
    for layer in layers(model):
        row = table.loc[layer.name]
        assert layer.filters == row["features"]
        assert layer.conv.in_channels == row["in_channels_derived"]
        assert {*layer.conv.kernel_size} == {row["kernel_derived"]}
        assert layer.conv.bias is None and layer.conv.stride == (1, 1)


@pytest.mark.parametrize("width", WIDTHS)
def test_widths_of_table_6(width):
    printed = re.findall(r"\d+", PROTOCOL["conv_features"])
    first, factor = re.fullmatch(r"(\d+)-(.*)x", width).groups()
    expected = [int(first), *(int(int(n) * float(factor)) for n in printed[1:])]
    assert [layer.filters for layer in layers(on_meta(ModelConfig(width=width)))] == expected


@pytest.mark.parametrize(("name", "filters"), [("vgg11", 2752), ("vgg16", 4224), ("vgg19", 5504)])
def test_filters_of_vgg(name, filters):
    model = on_meta(ModelConfig(name, width=1.0))
    assert sum(layer.filters for layer in layers(model)) == filters
    assert len(of_type(model, nn.Conv2d)) + 3 == int(
        name[3:]
    )  # it counts fully connected layers too
    if name == "vgg16":
        table = load("table07_features")["features"].tolist()
        assert [layer.filters for layer in layers(model)] == table


def test_any_width_and_any_list_of_widths():
    def filters(config):
        return [layer.filters for layer in layers(on_meta(config))]

    assert filters(ModelConfig(width=0.125)) == [8, 16, 16, 32, 32, 64, 64]
    assert filters(ModelConfig(width=1e-9)) == [1] * 7
    assert filters(ModelConfig(width=2)) == [128, 256, 256, 512, 512, 1024, 1024]
    assert filters(ModelConfig(widths=(5, 7, 3))) == [5, 7, 3]
    assert filters(ModelConfig("vgg11", width=0.5)) == [32, 64, 128, 128, 256, 256, 256, 256]
    assert filters(ModelConfig("vgg11", widths=tuple(range(1, 9)))) == [*range(1, 9)]


# Heads -------------------------------------------------------------------------------------------


def nodes(text):
    """'GAP, [512][256][200]' -> [512, 256, 200]"""
    return [int(n) for n in re.findall(r"\[(\d+)\]", text)]


@pytest.mark.parametrize(
    ("names", "head", "entry"),
    [
        (["basicnet"], "cifar", "fc_basicnet_cifar10"),
        (["basicnet"], "cifar", "fc_basicnet_cifar100"),
        (["basicnet"], "tinyimagenet", "fc_basicnet_tinyimagenet"),
        (["basicnet"], "imagenet", "fc_basicnet_imagenet"),
        (["vgg11", "vgg16"], "cifar", "fc_vgg11_vgg16_cifar10"),
        (["vgg11", "vgg16"], "cifar", "fc_vgg11_vgg16_cifar100"),
        (["vgg11", "vgg16"], "tinyimagenet", "fc_vgg11_vgg16_tinyimagenet"),
    ],
)
def test_heads_of_the_protocol(names, head, entry):
    expected = nodes(PROTOCOL[entry])
    for name in names:
        config = ModelConfig(name, width=1.0, head=head)
        model = on_meta(config, classes=expected[-1], size=SIZES[head])
        assert [fc.out_features for fc in of_type(model, nn.Linear)] == expected
        assert [bn.num_features for bn in of_type(model, nn.BatchNorm1d)] == expected[:-1]
        assert [type(module) for module in model.head][-4:] == [
            *(nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear)
        ]


def test_heads_that_other_papers_give():
    """VGG on ImageNet as in Simonyan and Zisserman, VGG-19 on CIFAR as in Liu et al."""
    for name in VGG:
        model = on_meta(ModelConfig(name, width=1.0, head="imagenet"), classes=1000, size=224)
        fcs = of_type(model, nn.Linear)
        assert [fc.out_features for fc in fcs] == [4096, 4096, 1000]
        assert fcs[0].in_features == 7 * 7 * 512
        assert len(of_type(model, nn.MaxPool2d)) == 5
    model = on_meta(ModelConfig("vgg19", width=1.0))
    assert [fc.out_features for fc in of_type(model, nn.Linear)] == [10]
    assert len(of_type(model, nn.MaxPool2d)) == 4


def test_the_imagenet_head_of_basicnet_pools_5x5_by_4():
    """The last feature map is 14x14 with four poolings: (14 - 5) // 4 + 1 = 3 positions a side."""
    config = ModelConfig(width="64-1x", head="imagenet", pools=(1, 3, 5, 7))
    model = on_meta(config, classes=1000, size=224)
    (pool,) = of_type(model, nn.AvgPool2d)
    assert (pool.kernel_size, pool.stride) == (5, 4)
    assert of_type(model, nn.Linear)[0].in_features == 3 * 3 * 512


def test_pools_follow_the_convolutions_that_are_named():
    torch.manual_seed(0)
    x = torch.randn(2, 1, 16, 16)
    for pools, sides in [((), [16] * 7), ((2, 7), [16, 16, 8, 8, 8, 8, 8]), ((1, 2), [16, 8])]:
        model = build(ModelConfig(width=0.02, pools=pools), channels=1, classes=3, size=16)
        seen = []
        for layer in layers(model):
            layer.bn.register_forward_hook(lambda _, __, y, seen=seen: seen.append(y.shape[-1]))
        model(x)
        assert seen[: len(sides)] == sides and {*seen[len(sides) :]} <= {4}


# What it computes --------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("training", [True, False])
def test_the_forward_pass_is_the_formula(slope, training):
    """Convolution, gamma * x_hat + beta, ReLU, pooling; then mean, and the layers of the head."""
    torch.manual_seed(0)
    config = ModelConfig(widths=(3, 4, 5), pools=(2,), negative_slope=slope, bn_eps=1e-3)
    model = build(config, channels=2, classes=6, size=8).double().train(training)
    for bn in of_type(model, nn.BatchNorm2d | nn.BatchNorm1d):
        for value in (bn.weight, bn.bias, bn.running_mean, bn.running_var):
            nn.init.uniform_(value.detach(), 0.2, 2.0)
    values = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(5, 2, 8, 8, dtype=torch.float64)

    def normalised(y, at):
        mean, var = values[f"{at}.running_mean"], values[f"{at}.running_var"]
        if training:
            axes = [axis for axis in range(y.ndim) if axis != 1]
            mean, var = y.mean(axes), y.var(axes, correction=0)
        shape = (1, -1, *[1] * (y.ndim - 2))
        y = (y - mean.view(shape)) / (var.view(shape) + 1e-3).sqrt()
        y = values[f"{at}.weight"].view(shape) * y + values[f"{at}.bias"].view(shape)
        return torch.where(y > 0, y, slope * y)

    y = x
    for i, padding in [(1, 2), (2, 1), (3, 1)]:
        y = F.conv2d(y, values[f"features.C{i}.conv.weight"], padding=padding)
        y = normalised(y, f"features.C{i}.bn")
        if i == 2:
            y = y.view(5, 4, 4, 2, 4, 2).amax((3, 5))
    y = y.mean((2, 3)) @ values["head.fc1.weight"].T + values["head.fc1.bias"]
    y = normalised(y, "head.bn1") @ values["head.fc2.weight"].T + values["head.fc2.bias"]
    torch.testing.assert_close(model(x), y, rtol=1e-12, atol=1e-12)


def test_xavier_with_the_gain_of_relu():
    torch.manual_seed(0)
    model = build(ModelConfig(width=0.5), channels=3, classes=10, size=32)
    for module in of_type(model, nn.Conv2d | nn.Linear):
        weight = module.weight.detach().double()
        taps = weight[0, 0].numel()
        bound = math.sqrt(2) * math.sqrt(6 / (taps * (weight.shape[0] + weight.shape[1])))
        assert bound * 0.99 < weight.abs().max() <= bound * (1 + 1e-6)
        # the variance of x^2 is 4/45 bound^4 for a uniform x
        error = bound**2 * math.sqrt(4 / 45 / weight.numel())
        assert abs(weight.square().mean() - bound**2 / 3) < 4 * error
        assert module.bias is None or not module.bias.any()


def test_gamma_starts_at_1_or_uniform_and_beta_at_0():
    for kind in ("ones", "uniform"):
        torch.manual_seed(0)
        config = ModelConfig(width="64-1x", gamma_init=kind, bn_eps=1e-12)
        model = build(config, channels=1, classes=10, size=8)
        norms = of_type(model, nn.BatchNorm2d | nn.BatchNorm1d)
        gamma = torch.cat([bn.weight.detach() for bn in norms])
        assert not torch.cat([bn.bias.detach() for bn in norms]).any()
        assert {bn.eps for bn in norms} == {1e-12}
        assert len(gamma) == 1856 + 256
        if kind == "ones":
            assert (gamma == 1).all()
        else:
            assert 0 <= gamma.min() < 0.01 and 0.99 < gamma.max() <= 1
            assert abs(gamma.mean() - 0.5) < 4 / math.sqrt(12 * len(gamma))


def test_the_same_seed_gives_the_same_weights():
    def weights(seed):
        torch.manual_seed(seed)
        model = build(ModelConfig(), channels=1, classes=10, size=8)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_leaky_relu_is_everywhere():
    model = on_meta(ModelConfig(negative_slope=0.02))
    assert {act.negative_slope for act in of_type(model, nn.LeakyReLU)} == {0.02}
    assert len(of_type(model, nn.LeakyReLU)) == 8 and not of_type(model, nn.ReLU)
    assert {layer.negative_slope for layer in layers(model)} == {0.02}


# One training step on a device that is not the CPU ------------------------------------------------


def train_step(model, x, y):
    """Forward, loss, backward, recording, optimizer, recording; the loss."""
    update = Update(model, OptimConfig(reg="wd", lam=1e-4))
    recorder = Recorder(model, steps=1, tape=True)
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    recorder.observe(1, loss.detach())
    update.step()
    recorder.after(1)
    return loss


def meta_batch(size, classes=10):
    return torch.empty(4, 3, size, size, device="meta"), torch.empty(
        4, dtype=torch.int64, device="meta"
    )


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", [*WIDTHS, *VGG])
def test_a_training_step_stays_on_its_device(name, head):
    """Every tensor of the step is on `meta`: one that the code puts on the CPU would raise."""
    config = (
        ModelConfig(name, 1.0, head=head) if name in VGG else ModelConfig(width=name, head=head)
    )
    model = on_meta(config, size=SIZES[head])
    loss = train_step(model, *meta_batch(SIZES[head]))
    assert loss.device.type == "meta" and loss.shape == ()
    assert {p.grad.device.type for p in model.parameters()} == {"meta"}


LEFT = [
    *("images", "labels", "recorder"),
    *("features.C1.conv.weight", "features.C2.bn.weight", "features.C2.bn.bias"),
    *("features.C3.bn.running_mean", "features.C3.bn.running_var"),
    *("head.fc1.weight", "head.fc1.bias", "head.bn1.weight", "head.bn1.running_var"),
]


@pytest.mark.parametrize("left", LEFT)
def test_a_tensor_left_on_the_cpu_is_found(left, monkeypatch):
    """The negative control of the test above."""
    model = on_meta(ModelConfig(width=0.02))
    x, y = meta_batch(32)
    if left == "images":
        x = torch.zeros(4, 3, 32, 32)
    elif left == "labels":
        y = torch.zeros(4, dtype=torch.int64)
    elif left == "recorder":
        zeros = torch.zeros
        monkeypatch.setattr(torch, "zeros", lambda *size, device=None, **like: zeros(*size, **like))
    else:
        path, _, name = left.rpartition(".")
        owner = model.get_submodule(path)
        value = torch.zeros(getattr(owner, name).shape)
        setattr(owner, name, nn.Parameter(value) if "running" not in name else value)
    with pytest.raises(RuntimeError, match="device"):
        train_step(model, x, y)


# Layers of any model ------------------------------------------------------------------------------


class Functional(nn.Module):
    """ReLU, pooling and flattening are functions; C3's output is read twice."""

    def __init__(self):
        super().__init__()
        self.c3 = nn.Conv2d(4, 4, 3, padding=1)  # registered in another order than called
        self.c2 = nn.Conv2d(6, 4, 3, padding=1)
        self.c1 = nn.Conv2d(3, 6, 3, padding=1)
        self.plain = nn.Conv2d(4, 4, 1)
        self.b1, self.b2, self.b3 = nn.BatchNorm2d(6), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 4 * 4, 5)

    def forward(self, x):
        x = F.max_pool2d(F.leaky_relu(self.b1(self.c1(x)), 0.2), 2)
        x = self.b2(self.c2(x)).relu_()
        x = x + F.silu(self.b3(self.c3(x)))
        x = F.relu(self.plain(x))
        return self.fc(x.view(x.size(0), -1))


def test_layers_of_basicnet():
    model = on_meta(ModelConfig())
    found = layers(model)
    assert [layer.name for layer in found] == [f"C{i}" for i in range(1, 8)]
    assert [layer.path for layer in found] == [f"features.C{i}.conv" for i in range(1, 8)]
    for i, layer in enumerate(found, 1):
        assert layer.conv is model.get_submodule(f"features.C{i}.conv")
        assert layer.bn is model.get_submodule(f"features.C{i}.bn")
        reader = f"features.C{i + 1}.conv" if i < 7 else "head.fc1"
        assert layer.following is model.get_submodule(reader)
        assert layer.negative_slope == 0


def test_layers_of_a_model_with_functions():
    model = Functional()
    first, second, third = layers(model, chain=False)
    assert [layer.conv for layer in (first, second, third)] == [model.c1, model.c2, model.c3]
    assert [layer.bn for layer in (first, second, third)] == [model.b1, model.b2, model.b3]
    assert first.negative_slope == 0.2 and first.following is model.c2
    assert second.negative_slope == 0 and second.following is None
    x = torch.randn(3, 4)
    torch.testing.assert_close(third.activation(x), F.silu(x))
    with pytest.raises(ValueError, match=r"^activation after c3 must be ReLU or leaky ReLU\.$"):
        third.negative_slope  # noqa: B018
    with pytest.raises(ValueError, match=r"in Functional no single .* the output of c2\.$"):
        layers(model)


@pytest.mark.parametrize(
    "flat",
    [
        lambda x: x.view(x.size(0), -1),
        lambda x: x.reshape(x.shape[0], -1),
        lambda x: torch.flatten(x, 1),
        lambda x: F.dropout(F.adaptive_avg_pool2d(x, 8).flatten(1), 0.5),
    ],
)
def test_a_linear_layer_reads_the_filters_however_they_are_flattened(flat):
    class Flattening(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Linear(256, 2)

        def forward(self, x):
            return self.fc(flat(F.relu(self.bn(self.conv(x)))))

    model = Flattening()
    model(torch.zeros(2, 1, 8, 8))
    assert layers(model)[0].following is model.fc


def test_layers_of_torchvision_models():
    with torch.device("meta"):
        vgg, resnet = torchvision_models.vgg11_bn(), torchvision_models.resnet50()
    found = layers(vgg)
    assert [layer.filters for layer in found] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert found[0].following is vgg.features[4] and found[-1].following is vgg.classifier[0]
    assert {layer.negative_slope for layer in found} == {0.0}

    found = {layer.path: layer for layer in layers(resnet, chain=False)}
    assert len(found) == len(of_type(resnet, nn.BatchNorm2d)) == 53
    block = resnet.layer1[0]
    assert found["layer1.0.conv2"].following is block.conv3
    assert found["layer1.0.conv2"].negative_slope == 0  # one ReLU module, called three times
    assert found["layer1.0.conv3"].following is None  # a sum reads it
    assert found["layer1.0.conv3"].negative_slope == 1
    with pytest.raises(ValueError, match=r"in ResNet no single"):
        layers(resnet)


def test_layers_looks_through_data_parallel():
    model = build(ModelConfig(width=0.02), channels=1, classes=3, size=8)
    plain = [layer.conv for layer in layers(model)]
    assert [layer.conv for layer in layers(nn.DataParallel(model))] == plain


@pytest.mark.slow  # torch.compile is slow to import
def test_layers_looks_through_torch_compile():
    model = build(ModelConfig(width=0.02), channels=1, classes=3, size=8)
    found = layers(torch.compile(model))
    assert [layer.conv for layer in found] == [layer.conv for layer in layers(model)]


def test_layers_leaves_the_model_alone():
    model = build(ModelConfig(width=0.02), channels=1, classes=3, size=8)
    before, state = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    layers(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == state


def test_a_derived_convolution_and_one_that_is_called_twice():
    class Own(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * (1.0 if x.mean() > 0 else 2.0)  # no graph of this

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.fc = Own(3, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 2)

        def forward(self, x):
            x = self.bn(self.conv(x)).relu()
            return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))

    (layer,) = layers(Twice(), chain=False)
    assert isinstance(layer.conv, Own) and layer.name == "C1"


class Branching(nn.Module):
    """Its graph depends on its numbers."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Folding(nn.Module):
    """The second convolution reads four filters as one."""

    def __init__(self):
        super().__init__()
        self.first, self.bn, self.second = nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.second(self.bn(self.first(x)).view(-1, 1, 8, 8))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Folding(), "reads the output of first"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), "a convolution before a BatchNorm, and Seq"),
        (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, affine=False)),
            "and Sequential has no",
        ),
        (Branching(), r"must be traceable by torch\.fx, and Branching is not: "),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), "reads the output of 0"),
    ],
)
def test_a_model_without_layers(model, message):
    with pytest.raises(ValueError, match=message):
        layers(model)


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            dict(name="basicnt"),
            "unknown net 'basicnt': did you mean 'basicnet'? Allowed: basicnet,",
        ),
        (dict(head="cifr"), "unknown head 'cifr': did you mean 'cifar'?"),
        (dict(width="64-2x"), "unknown width '64-2x': did you mean '64-1x'?"),
        (dict(width=0.0), "width must be a finite number > 0, not 0.0."),
        (dict(width=math.nan), "width must be a finite number > 0, not nan."),
        (dict(name="vgg16", width="64-1x"), "width of vgg16 must be a number, not '64-1x'."),
        (dict(name="vgg16", widths=(3, 4)), "widths of vgg16 must be 13 numbers, not 2."),
        (dict(widths=()), "widths must be whole numbers >= 1, not ()."),
        (dict(widths=(3, 0)), "widths must be a whole number >= 1, not 0."),
        (dict(pools=(8,)), "pools must be a whole number from 1 to 7, not 8."),
        (dict(pools=(1, 1)), "pools must name a convolution once, not (1, 1)."),
        (dict(pools=(1, 2, 3, 4)), "size must be >= 16 for the 4 poolings of basicnet, not 8."),
        (dict(name="vgg11"), "size must be >= 32 for the 5 poolings of vgg11, not 8."),
        (dict(head="imagenet"), "size must leave 5x5 positions for the imagenet head"),
        (dict(negative_slope=1.0), "negative_slope must be a finite number >= 0 and < 1, not 1.0."),
        (dict(gamma_init="one"), "unknown gamma_init 'one': did you mean 'ones'?"),
        (dict(bn_eps=0.0), "bn_eps must be a finite number > 0, not 0.0."),
    ],
)
def test_bad_input_gets_one_sentence(config, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build(ModelConfig(**config), channels=1, classes=10, size=8)


@pytest.mark.parametrize("name", ["channels", "classes", "size"])
def test_a_network_of_nothing(name):
    given = {"channels": 1, "classes": 10, "size": 8, name: 0}
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number >= 1, not 0\.$"):
        build(ModelConfig(), **given)
