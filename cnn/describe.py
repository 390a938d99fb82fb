"""A network in words: its layers, kernels, filters, poolings, sizes and parameters, as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from tyro.conf import OmitArgPrefixes

from cnn.config import ModelConfig
from regdyn.cli import exit_code

if TYPE_CHECKING:
    from torch import nn

__all__ = ["describe"]


def describe(config: ModelConfig, *, channels: int, classes: int, size: int) -> dict[str, Any]:
    r"""What the network of `config` consists of; takes no memory for its numbers.

    Parameters
    ----------
    config : ModelConfig
    channels, size : int
        The images are (n, channels, size, size).
    classes : int
        Number of outputs.

    Returns
    -------
    dict
        For JSON: ``config``; ``input`` (channels, size); ``layers``, in the order of computation,
        each with name, kind (convolution, max pooling, average pooling, linear), inputs and
        outputs (filters or nodes), kernel and stride in pixels, size (pixels per side of the
        output; None after the last pooling), parameters, batch_norm, and the activation (relu,
        leaky_relu or None); and ``parameters``: of the convolutions' weights, and of all,
        BatchNorm's included.

    Raises
    ------
    ValueError
        If a field is unknown or out of range, or the images are too small for the network.
    """
    import torch

    from cnn.models import build, conv_parameters

    with torch.device("meta"):
        network = build(config, channels=channels, classes=classes, size=size).eval()
        layers = _layers(network, torch.empty(1, channels, size, size))
    return {
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "input": {"channels": channels, "size": size},
        "layers": layers,
        "parameters": {
            "convolutions": conv_parameters(network),
            "all": sum(p.numel() for p in network.parameters()),
        },
    }


def _layers(network: nn.Module, images: Any) -> list[dict[str, Any]]:
    """A row for each layer; BatchNorm and activation belong to the layer before."""
    from torch import nn

    rows: list[dict[str, Any]] = []
    x = images
    for path, module in network.named_modules():
        if list(module.children()):
            continue
        inputs = x.shape[1]
        x = module(x)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            rows[-1]["batch_norm"] = True
        elif isinstance(module, nn.ReLU | nn.LeakyReLU):
            rows[-1]["activation"] = "relu" if isinstance(module, nn.ReLU) else "leaky_relu"
        elif not isinstance(module, nn.Flatten):
            rows.append(_row(path, module, inputs, x))
    return rows


def _row(path: str, module: nn.Module, inputs: int, x: Any) -> dict[str, Any]:
    kind = {
        "Conv2d": "convolution", "MaxPool2d": "max pooling", "Linear": "linear",
        "AvgPool2d": "average pooling", "AdaptiveAvgPool2d": "average pooling",
    }[type(module).__name__]  # fmt: skip
    name = path.removeprefix("features.").removeprefix("head.").removesuffix(".conv")
    return {
        "name": name,
        "kind": kind,
        "inputs": inputs,
        "outputs": x.shape[1],
        "kernel": _pixels(getattr(module, "kernel_size", None)),
        "stride": _pixels(getattr(module, "stride", None)),
        "size": x.shape[2] if x.ndim == 4 else None,
        "parameters": sum(p.numel() for p in module.parameters()),
        "batch_norm": False,
        "activation": None,
    }


def _pixels(given: Any) -> int | None:
    """(3, 3) as 3; None where the whole image is averaged."""
    return given[0] if isinstance(given, tuple) else given


# The command line --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Describe a network: a table, or with --describe everything as JSON."""

    model: OmitArgPrefixes[ModelConfig] = field(default_factory=ModelConfig)
    channels: int = 3
    """Channels of the images."""
    classes: int = 10
    """Outputs."""
    size: int = 32
    """Pixels per side of the images."""
    describe: bool = False
    """Print JSON."""
    out: Path | None = None
    """Write the JSON to this file instead."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    return exit_code(lambda: _main(tyro.cli(Settings, prog="python -m cnn.models", args=argv)))


def _main(settings: Settings) -> int:
    from regdyn import store

    found = describe(
        settings.model, channels=settings.channels, classes=settings.classes, size=settings.size
    )
    if settings.out is None and not settings.describe:
        _show(found)
        return 0
    made = {name: store.provenance()[name] for name in ("regdyn_version", "git_revision")}
    text = json.dumps({**found, "provenance": made}, indent=1) + "\n"
    if settings.out is None:
        print(text, end="")
        return 0
    with store.temporary(settings.out) as name:
        Path(name).write_text(text, encoding="utf-8")
    print(settings.out)
    return 0


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    heads = ("layer", "kind", "kernel", "inputs", "outputs", "size", "parameters")
    table = Table(title=f"{found['config']['name']}: {found['parameters']['all']:,} parameters")
    for head in heads:
        table.add_column(head, justify="left" if head in heads[:2] else "right")
    for row in found["layers"]:
        cells = [row[name] for name in ("name", "kind", "kernel", "inputs", "outputs", "size")]
        shown = ["" if cell is None else str(cell) for cell in cells]
        table.add_row(*shown, f"{row['parameters']:,}")
    Console().print(table)
