r"""The paper's networks: BasicNet and VGG, with their heads.

What the paper fixes and what is our choice: ``docs/networks.md``. ``python -m cnn.models`` shows
the layers of one; ``--describe`` prints them as JSON.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from torch import nn

from cnn.layers import Layer, layers
from regdyn.checks import choose, finite, integer, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from cnn.config import ModelConfig
    from cnn.data import Data

__all__ = ["Layer", "Network", "build", "conv_parameters", "layers", "trained"]

BASICNET = (64, 128, 128, 256, 256, 512, 512)
WIDTHS = {  # section 5.1: filters of C1, and a multiplier for the others
    "64-1x": BASICNET,
    "64-0.5x": (64, 64, 64, 128, 128, 256, 256),
    "32-0.25x": (32, 32, 32, 64, 64, 128, 128),
}
STAGES = {  # convolutions of 64, 128, 256, 512 and 512 filters
    "vgg11": (1, 1, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
NETWORKS = ("basicnet", *STAGES)
HIDDEN = {  # section 5: nodes of the fully connected layers before the last
    "basicnet": {"cifar": (256,), "tinyimagenet": (512, 256), "imagenet": (4096, 2048)},
    "vgg11": {"cifar": (512,), "tinyimagenet": (512, 256), "imagenet": (4096, 4096)},
    "vgg16": {"cifar": (512,), "tinyimagenet": (512, 256), "imagenet": (4096, 4096)},
    "vgg19": {"cifar": (), "tinyimagenet": (512, 256), "imagenet": (4096, 4096)},
}


class Network(nn.Module):
    """A chain: `features` (convolution, BatchNorm, ReLU, now and then pooling), then `head`."""

    def __init__(self, features: nn.Sequential, head: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, channels, size, size)."""
        return self.head(self.features(x))


def build(config: ModelConfig, *, channels: int, classes: int, size: int) -> Network:
    r"""The network of `config`, initialised from torch's global random numbers.

    Weights are Xavier uniform with the gain of ReLU, :math:`U(-a, a)` with
    :math:`a = \sqrt{2}\sqrt{6 / (\text{fan in} + \text{fan out})}`; biases and BatchNorm's
    :math:`\beta` are 0; :math:`\gamma` is 1, or U(0, 1) with ``gamma_init="uniform"``.

    Parameters
    ----------
    config : ModelConfig
    channels, size : int
        The images are (n, channels, size, size).
    classes : int
        Number of outputs.

    Returns
    -------
    Network
        In training mode, on torch's default device: under ``with torch.device("meta"):`` it takes
        no memory.

    Raises
    ------
    ValueError
        If a field is unknown or out of range, or the images are too small for the network.
    """
    channels, classes = integer("channels", channels, 1), integer("classes", classes, 1)
    size = integer("size", size, 1)
    name = choose("net", config.name, NETWORKS)
    head = choose("head", config.head, HIDDEN[name])
    slope = finite("negative_slope", config.negative_slope, 0.0, 1.0, open_above=True)
    eps = finite("bn_eps", config.bn_eps, 0.0, open_below=True)
    choose("gamma_init", config.gamma_init, ("ones", "uniform"))
    filters = _widths(config)
    pools = _pools(config, len(filters), size)
    side = _side(name, head, size // 2 ** len(pools))

    act = partial(nn.LeakyReLU, slope, inplace=True) if slope else partial(nn.ReLU, inplace=True)
    features = _features((channels, *filters), pools, act, first=5 if name == "basicnet" else 3)
    nodes = (filters[-1] * side**2, *HIDDEN[name][head], classes)
    network = Network(features, nn.Sequential(OrderedDict(_head(name, head, nodes, act))))
    _initialise(network, eps=eps, uniform_gamma=config.gamma_init == "uniform")
    return network


def trained(config: ModelConfig, images: Data, weights: Mapping[str, Tensor]) -> Network:
    """The network for `images` with these weights: a checkpoint's entry ``model``; on the CPU."""
    network = build(config, channels=images.channels, classes=images.classes, size=images.size)
    network.load_state_dict(weights)
    return network


def conv_parameters(model: nn.Module) -> int:
    """Parameters of all convolutions: weights, and biases where a model has them."""
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return sum(p.numel() for conv in convolutions for p in conv.parameters())


def _features(
    widths: tuple[int, ...], pools: tuple[int, ...], act: Callable[[], nn.Module], *, first: int
) -> nn.Sequential:
    """C1, P1, C2, ...: convolutions that keep the size, and poolings that halve it."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (inputs, outputs) in enumerate(pairwise(widths), 1):
        kernel = first if i == 1 else 3
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        parts[f"C{i}"] = nn.Sequential(
            OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs), act=act())
        )
        if i in pools:
            parts[f"P{i}"] = nn.MaxPool2d(2)
    return nn.Sequential(parts)


def _head(name: str, head: str, nodes: tuple[int, ...], act: Callable[[], nn.Module]):
    """Names and modules: pooling, then fully connected layers with BatchNorm and ReLU between."""
    if head != "imagenet":
        yield "pool", nn.AdaptiveAvgPool2d(1)
    elif name == "basicnet":
        yield "pool", nn.AvgPool2d(5, stride=4)
    yield "flatten", nn.Flatten()
    for i, (inputs, outputs) in enumerate(pairwise(nodes), 1):
        yield f"fc{i}", nn.Linear(inputs, outputs)
        if i < len(nodes) - 1:
            yield f"bn{i}", nn.BatchNorm1d(outputs)
            yield f"act{i}", act()


def _initialise(network: nn.Module, *, eps: float, uniform_gamma: bool) -> None:
    gain = nn.init.calculate_gain("relu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = eps
            if uniform_gamma:
                nn.init.uniform_(module.weight)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, gain=gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _widths(config: ModelConfig) -> tuple[int, ...]:
    """Filters of each convolution."""
    full = BASICNET
    if config.name != "basicnet":
        stages = zip((64, 128, 256, 512, 512), STAGES[config.name], strict=True)
        full = tuple(width for width, convolutions in stages for _ in range(convolutions))
    if config.widths is not None:
        if not isinstance(config.widths, tuple | list) or not config.widths:
            raise ValueError(f"widths must be whole numbers >= 1, not {shown(config.widths)}.")
        given = tuple(integer("widths", width, 1) for width in config.widths)
        if config.name != "basicnet" and len(given) != len(full):
            raise ValueError(
                f"widths of {config.name} must be {len(full)} numbers, not {len(given)}."
            )
        return given
    if isinstance(config.width, str):
        if config.name != "basicnet":
            raise ValueError(f"width of {config.name} must be a number, not {config.width!r}.")
        return WIDTHS[choose("width", config.width, WIDTHS)]
    factor = finite("width", config.width, 0.0, open_below=True)
    return tuple(max(1, round(factor * width)) for width in full)


def _pools(config: ModelConfig, convolutions: int, size: int) -> tuple[int, ...]:
    """The convolutions, counted from 1, that a 2x2 max pooling follows."""
    if config.name == "basicnet":
        pools = tuple(integer("pools", at, 1, convolutions) for at in config.pools)
        if len(set(pools)) < len(pools):
            raise ValueError(f"pools must name a convolution once, not {shown(config.pools)}.")
    else:
        pools = tuple(accumulate(STAGES[config.name]))
        if config.name == "vgg19" and config.head == "cifar":  # as Liu et al.: no fifth pooling
            pools = pools[:-1]
    least = 2 ** len(pools)
    if size < least:
        raise ValueError(
            f"size must be >= {least} for the {len(pools)} poolings of {config.name}, not {size}."
        )
    return pools


def _side(name: str, head: str, side: int) -> int:
    """Positions per side that the first fully connected layer reads; `side` after the features."""
    if head != "imagenet":
        return 1
    if name != "basicnet":
        return side
    if side < 5:
        raise ValueError(
            f"size must leave 5x5 positions for the imagenet head of basicnet, and {side}x{side} "
            f"are left after the poolings: give larger images or fewer pools."
        )
    return (side - 5) // 4 + 1


def main(argv: list[str] | None = None) -> int:
    """Describe a network; returns the exit code. See `cnn.describe`."""
    from cnn import describe

    return describe.main(argv)


if __name__ == "__main__":
    sys.exit(main())
