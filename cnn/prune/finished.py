"""The network of a run of cnn.train, and its images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnn import checkpoint, data, models
from cnn.config import Config
from cnn.evaluation import batches

__all__ = ["first", "network"]


def network(path: Path) -> tuple[nn.Module, data.Data, Config]:
    """The network of a checkpoint, in evaluation mode, images and settings of its run.

    Parameters
    ----------
    path : Path
        A checkpoint, or the folder of a run: the last one in it. It is only read.
    """
    entry = checkpoint.read(path / checkpoint.LAST if path.is_dir() else path)
    config = checkpoint.config_of(entry)
    images = data.load(config.data)
    model = models.trained(config.model, images, entry["model"])
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    return model.to(memory_format=layout).eval(), images, config  # type: ignore[call-overload]


def first(model: nn.Module, images: Any, count: int) -> Tensor:
    """The first `count` images of a part of the data, as the model takes them."""
    found: list[Tensor] = []
    for x, _ in batches(model, images, count):
        found.append(x)
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]
