"""Images for training and testing: `load` a set, turn its difficulty dials, go through it.

>>> from cnn.config import DataConfig
>>> data = load(DataConfig("digits"))
>>> len(data.train), len(data.test), data.classes, data.channels, data.size
(1437, 360, 10, 1, 8)
>>> batches = Batches(data.train, batch=40, seed=0, flip=data.flip)
>>> x, y = next(batches.start(1000))  # the batch of step 1000, of whatever run
>>> x.shape, y.shape
(torch.Size([40, 1, 8, 8]), torch.Size([40]))

Small sets are one tensor on the device, large ones are streamed. Either way the images of a step,
and what is done to them, are a pure function of (seed, step): a run can be taken up at any step.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from cnn import dials, folders
from cnn.batches import Batches
from cnn.config import DataConfig
from cnn.datasets import SETS, find
from cnn.sources import Images, Source
from cnn.splits import Moments, Split, Stream, normalise
from regdyn.checks import choose, finite, integer, shown

__all__ = ["Batches", "Data", "Split", "Stream", "load"]

IN_MEMORY = 2 * 2**30
"""Sets of more bytes (one for each value of a pixel) are streamed."""
AS_FLOATS = 2**30
"""Training images of more bytes as float32 stay uint8 in memory."""
MOMENTS_FROM = 2000
"""So many images of a stream give its mean and standard deviation."""


@dataclass(frozen=True)
class Data:
    """A set of images, ready for training."""

    name: str
    train: Split | Stream
    test: Split | Stream
    classes: int
    channels: int
    size: int
    """Height and width."""
    flip: bool
    """Whether training images are to be flipped at random."""
    mean: tuple[float, ...]
    """Of each channel, over the training images, in units of the peak value."""
    std: tuple[float, ...]

    def to(self, device: torch.device | str) -> "Data":
        """The same data, on a device if they are in memory."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


# A set, with its dials turned --------------------------------------------------------------------


def load(config: DataConfig, *, resident: bool | None = None) -> Data:
    """The set that `config` describes.

    Parameters
    ----------
    config : DataConfig
    resident : bool, optional
        Whether the images are read into memory. By default: if they fit 2 GiB and are not cropped
        at random.

    Returns
    -------
    Data
        Normalised with mean and standard deviation of the training images that are used (after
        resolution, clutter and texture, before noise), channel by channel.

    Raises
    ------
    ValueError
        If a setting is out of range, there is no such set, or a file is damaged or truncated.
    FileNotFoundError
        If the set is not there; the message says what to do.
    """
    _check(config)
    source = find(config.name, config.root)
    kept = dials.kept_classes(config.classes, source.classes)
    size = config.size or source.size
    if size == 0:
        raise ValueError(f"the images of {config.name} are not square: give them a size.")
    margin = source.margin * size // source.size if source.margin else 0
    parts = _chosen(source, config, kept)
    if resident is None:
        values = sum(len(part.y) for part in parts) * source.channels * size**2
        resident = margin == 0 and values <= IN_MEMORY
    if isinstance(source.train.x, np.ndarray) or (resident and margin == 0):
        train, test, moments = _in_memory(parts, source, config, size)
    elif resident:
        raise ValueError(f"{config.name} is cropped at random: it can only be streamed.")
    elif config.texture:
        raise ValueError(
            f"texture must be 0 for {config.name}, which is streamed, not {config.texture}."
        )
    else:
        train, test, moments = _streams(parts, source, config, size, margin)
    flip = source.flip if config.flip is None else config.flip
    return Data(config.name, train, test, len(kept), source.channels, size, flip, *moments)


def _check(config: DataConfig) -> None:
    """Raise ValueError if a setting is wrong whatever the set holds."""
    choose("data set", config.name, SETS)
    if config.images is not None:
        integer("images", config.images, 1)
    if config.size is not None:
        integer("size", config.size, 2, 4096)
    finite("random_labels", config.random_labels, 0.0, 1.0)
    finite("noise", config.noise, 0.0)
    finite("clutter", config.clutter, 0.0, 1.0)
    finite("texture", config.texture, 0.0, 1.0)
    if config.flip not in (None, True, False):
        raise ValueError(f"flip must be True, False or None, not {shown(config.flip)}.")
    integer("dial_seed", config.dial_seed, 0, 2**64 - 1)
    integer("workers", config.workers, 0)


class _Part(NamedTuple):
    """The images of one part that are used: their places in the set, and their labels."""

    source: Images
    index: np.ndarray
    y: np.ndarray
    test: bool

    def files(self) -> list[str]:
        return [str(self.source.x[i]) for i in self.index]


def _chosen(source: Source, config: DataConfig, kept: tuple[int, ...]) -> tuple[_Part, _Part]:
    """Training images after the dials classes, images, random labels; test images after classes."""
    seed = config.dial_seed
    index, y = dials.of_classes(source.train.y, kept)
    rows = dials.subset(index, config.images, seed)
    index, y = index[rows], y[rows]
    y = dials.random_labels(y, index, config.random_labels, classes=len(kept), seed=seed)
    test_index, test_y = dials.of_classes(source.test.y, kept)
    if len(test_y) == 0:
        raise ValueError(f"no test image is of the classes {shown(config.classes)}.")
    return _Part(source.train, index, y, False), _Part(source.test, test_index, test_y, True)


def _in_memory(
    parts: tuple[_Part, _Part], source: Source, config: DataConfig, size: int
) -> tuple[Split, Split, Moments]:
    """Both parts as tensors: float32, or uint8 if there are very many pixels and all are whole."""
    train, test = (_pixels(part, source, config, size) for part in parts)
    moments = dials.moments(train)
    if train.dtype != np.uint8 or config.noise or 4 * train.size <= AS_FLOATS:
        train, test = (
            _normalised(x, moments, part, config)
            for x, part in zip((train, test), parts, strict=True)
        )
    return _split(train, parts[0], moments), _split(test, parts[1], moments), moments


def _split(x: np.ndarray, part: _Part, moments: Moments) -> Split:
    return Split(torch.from_numpy(x), torch.from_numpy(part.y), moments)


def _pixels(part: _Part, source: Source, config: DataConfig, size: int) -> np.ndarray:
    """Images at their resolution and cluttered: uint8 from files, else float32 with peak 1."""
    if isinstance(part.source.x, np.ndarray):
        x = part.source.x[part.index].astype(np.float32) / np.float32(source.peak)
        x = dials.resize(x, size)
    else:
        read = partial(folders.read, channels=source.channels, side=size)
        with ThreadPoolExecutor(max(1, config.workers)) as pool:
            x = np.stack(list(pool.map(read, part.files())))
    if config.clutter:
        behind = dials.partners(part.index, config.dial_seed, part.test)
        clean, x = x, np.empty_like(x)
        for i in dials.pieces(x):
            x[i] = dials.clutter(clean[i], clean[behind[i]], config.clutter)
    if config.texture:
        for i in dials.pieces(x):
            behind = dials.texture(part.index[i], size, seed=config.dial_seed, test=part.test)
            x[i] = dials.textured(x[i], behind, config.texture)
    return x


def _normalised(x: np.ndarray, moments: Moments, part: _Part, config: DataConfig) -> np.ndarray:
    """Normalised images, with noise."""
    x = normalise(torch.from_numpy(x), moments).numpy()
    if config.noise:
        for i in dials.pieces(x):
            x[i] += dials.noise(
                part.index[i], x.shape[1:], config.noise, seed=config.dial_seed, test=part.test
            )
    return x


def _streams(
    parts: tuple[_Part, _Part], source: Source, config: DataConfig, size: int, margin: int
) -> tuple[Stream, Stream, Moments]:
    """Both parts as lists of files."""
    seed = config.dial_seed
    train, test = (
        Stream(
            files=np.array([os.fsencode(file) for file in part.files()]),
            y=torch.from_numpy(part.y),
            index=part.index,
            behind=dials.partners(part.index, seed, part.test) if config.clutter else part.index,
            test=part.test,
            channels=source.channels,
            size=size,
            margin=margin,
            clutter=config.clutter,
            noise=config.noise,
            dial_seed=seed,
            workers=config.workers,
        )
        for part in parts
    )
    moments = source.moments
    if moments is None:
        order = np.argsort(dials.keys(seed, train.index, dials.MOMENTS), kind="stable")
        rows = np.sort(order[:MOMENTS_FROM])
        moments = dials.moments(np.stack([train.pixels(int(i)) for i in rows]))
    return replace(train, moments=moments), replace(test, moments=moments), moments
