"""What is kept of every filter of a finished run: gamma, beta, and on how many images it fires."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from cnn import checkpoint, data, measure, models
from cnn.config import DataConfig
from cnn.layers import layers
from regdyn import store

NAMES = ("layer", "gamma", "beta", "universality")


def of(folder: Path) -> dict[str, np.ndarray]:
    r"""The filters of the trained network in `folder`, layer by layer.

    They are read off its last checkpoint once, and kept there as features.npz.

    Returns
    -------
    dict of arrays
        One entry per filter: layer (1 is C1), gamma, beta, and universality, the percent of
        training images on which the filter is active (section 3 of the paper).

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    """
    kept = Path(folder) / "features.npz"
    if kept.is_file():
        with np.load(kept) as file:
            return {name: file[name] for name in NAMES}
    found = _measured(Path(folder))
    with store.temporary(kept) as name:
        np.savez_compressed(name, **found)  # pyright: ignore[reportArgumentType]
    return found


def _measured(folder: Path) -> dict[str, np.ndarray]:
    entry = checkpoint.last(folder)
    if entry is None:
        raise FileNotFoundError(f"{str(folder)!r} holds no checkpoint.")
    config = checkpoint.config_of(entry)
    images = _images(config.data)
    torch.set_num_threads(1)  # the sums of one thread are the same everywhere
    model = models.trained(config.model, images, entry["model"])
    share = measure.universality(model, images.train)
    found = layers(model, chain=False)
    return {
        "layer": np.repeat(np.arange(1, len(found) + 1), [layer.filters for layer in found]),
        "gamma": np.concatenate([layer.gamma for layer in found]),
        "beta": np.concatenate([layer.beta for layer in found]),
        "universality": np.concatenate([share[layer.name] for layer in found]),
    }


@lru_cache(maxsize=2)
def _images(config: DataConfig) -> data.Data:
    return data.load(config)
