"""Images of one part of a set, for training or for testing: in memory, or streamed from files."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cnn import dials, folders

Moments = tuple[tuple[float, ...], tuple[float, ...]]
Batch = tuple[Tensor, Tensor]


def normalise(x: Tensor, moments: Moments) -> Tensor:
    """(x - mean) / std of each channel, in float32; uint8 has peak 255 and is brought to 1 first.

    The operations are exact to the last bit on every device: a division by a number would not be.
    """
    x = x.float().mul_(1 / 255) if x.dtype == torch.uint8 else x.clone()
    mean, std = _tensors(moments, x.device)
    return x.sub_(mean).div_(std)


def ready(x: Tensor, moments: Moments) -> Tensor:
    """x itself if it is float32, which is normalised already; else normalised."""
    return normalise(x, moments) if x.dtype == torch.uint8 else x


@lru_cache(maxsize=8)
def _tensors(moments: Moments, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation on the device, (c, 1, 1): copied there once."""
    mean, std = (torch.tensor(m, dtype=torch.float32).to(device)[:, None, None] for m in moments)
    return mean, std


@dataclass(frozen=True)
class Split:
    """Images in memory."""

    x: Tensor
    """(n, c, h, w): float32 and normalised; or, of a set of many pixels, uint8."""
    y: Tensor
    """Labels, int64 (n,)."""
    moments: Moments
    """Mean and standard deviation of each channel, which normalise uint8."""

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Split":
        """The same images on a device."""
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def in_order(self, batch: int = 500, device: torch.device | str | None = None) -> Iterator:
        """All images once, in batches (x, y) on the device; the last may be smaller."""
        for x, y in zip(self.x.split(batch), self.y.split(batch), strict=True):
            yield ready(x.to(device), self.moments), y.to(device)


@dataclass(frozen=True)
class Stream:
    """Images that are read from files when they are needed, by `workers` processes."""

    files: np.ndarray
    """Paths as bytes: a list of strings would be copied into every worker."""
    y: Tensor
    index: np.ndarray
    """The images' places in the set, which their noise depends on."""
    test: bool
    channels: int
    size: int
    margin: int
    clutter: float = 0.0
    noise: float = 0.0
    dial_seed: int = 0
    workers: int = 0
    moments: Moments = ((), ())
    behind: np.ndarray = field(default_factory=lambda: np.arange(0))
    """For each image, the one that is seen behind it in clutter."""

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Stream":
        """Itself: batches come to the device as they are read."""
        return self

    def in_order(self, batch: int = 500, device: torch.device | str | None = None) -> Iterator:
        """All images once, cropped at the centre, in batches; see `Split.in_order`."""
        return stream(_InOrder(self, batch), range(-(-len(self) // batch)), self, device)

    def pixels(self, i: int) -> np.ndarray:
        """Image i before crop, flip and noise: uint8 (c, size + margin, size + margin)."""
        x = self._file(i)
        if self.clutter:
            x = dials.clutter(x, self._file(int(self.behind[i])), self.clutter)
        return x

    def image(self, i: int, flip: bool = False, corner: int | None = None) -> Tensor:
        """Image i, of shape (c, size, size): uint8, or, if there is noise, float32 and normalised.

        `corner` is a random 32-bit word whose halves choose the rows and columns of the crop; None
        is the centre.
        """
        x = torch.from_numpy(self.pixels(i))
        if self.noise:
            only = self.index[i : i + 1]
            z = dials.noise(only, x.shape, self.noise, seed=self.dial_seed, test=self.test)[0]
            x = normalise(x, self.moments).add_(torch.from_numpy(z))
        if self.margin:
            top = left = self.margin // 2
            if corner is not None:
                top = (corner >> 16) * (self.margin + 1) >> 16
                left = (corner & 0xFFFF) * (self.margin + 1) >> 16
            x = x[:, top : top + self.size, left : left + self.size]
        return x.flip(2) if flip else x

    def _file(self, i: int) -> np.ndarray:
        path = os.fsdecode(self.files[i])
        return folders.read(path, self.channels, self.size + self.margin)


class _InOrder(Dataset):
    """Batch k of a stream, without augmentation."""

    def __init__(self, split: Stream, batch: int) -> None:
        self.split, self.batch = split, batch

    def __getitem__(self, k: int) -> Batch | Exception:
        rows = range(k * self.batch, min((k + 1) * self.batch, len(self.split)))
        return read_batch(self.split, rows, self.split.image)


def read_batch(
    split: Stream, rows: Sequence[int], image: Callable[[int], Tensor]
) -> Batch | Exception:
    """Images of these rows and their labels; or the error, which a worker cannot raise legibly."""
    try:
        return torch.stack([image(i) for i in rows]), split.y[list(rows)]
    except (ValueError, OSError) as error:
        return error


def stream(
    batches: Dataset, numbers: Iterable[int], split: Stream, device: torch.device | str | None
) -> Iterator[Batch]:
    """The batches with these numbers, read by workers, normalised on the device, in order."""
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=numbers,
        num_workers=split.workers,
        pin_memory=device is not None and torch.device(device).type == "cuda",
        generator=torch.Generator(),  # else it takes a number from torch's own
    )
    for found in loader:
        if isinstance(found, Exception):
            raise found
        x, y = (t.to(device, non_blocking=True) for t in found)
        yield ready(x, split.moments), y
