"""The batches of a training run: a pure function of (seed, step), from memory or from files."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from cnn import dials
from cnn.splits import Batch, Split, Stream, read_batch, ready, stream
from regdyn import random
from regdyn.checks import integer

CHUNK = 4 * 2**20
"""Bytes of images that are gathered at once."""


class Epoch(NamedTuple):
    """What one epoch draws; `flip` and `corner` belong to an image, not to its place in `order`."""

    order: np.ndarray
    """A permutation of the images."""
    flip: np.ndarray
    """Whether an image is flipped."""
    corner: np.ndarray
    """A 32-bit word that chooses an image's crop."""


def epoch_of(seed: int, epoch: int, n: int) -> Epoch:
    """Order and augmentation of an epoch (from 0) over n images: a function of these three.

    For image i, four 32-bit words are drawn from `regdyn.random` at (seed, lane i, steps
    4 epoch + 1 to 4 epoch + 4). The images are sorted by the first two; the highest bit of the
    third flips; the fourth crops. Neither the device, nor the number of ranks or workers, nor a
    library's version has a say.
    """
    words = random.words(seed, np.arange(n), 4 * epoch + 1, 4, dials.ORDER)
    high, low = words[:2].astype(np.uint64)
    order = np.argsort(high << np.uint64(32) | low, kind="stable")
    return Epoch(order, (words[2] >> np.uint32(31)).astype(bool), words[3])


class Batches(Dataset):
    """The batches of a training run, from any step.

    An epoch is a permutation of the images; what is left over after the last whole batch is
    dropped. Step s (from 0) is batch s % per_epoch of epoch s // per_epoch.

    Parameters
    ----------
    split : Split or Stream
        Training images.
    batch : int
        Images per step, over all ranks.
    seed : int
        Of order and augmentation.
    device : torch.device or str
        Where the batches come; a Split is copied there once.
    flip : bool
        Flip each image left to right with probability 1/2.
    rank, world : int
        Rank r of w takes images r b/w to (r + 1) b/w of each batch of b.
    memory_format : torch.memory_format
        Of the images.

    Raises
    ------
    ValueError
        If the batch is larger than the set or cannot be shared.
    """

    def __init__(
        self,
        split: Split | Stream,
        *,
        batch: int,
        seed: int,
        device: torch.device | str = "cpu",
        flip: bool = False,
        rank: int = 0,
        world: int = 1,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        if integer("batch", batch, 1) > len(split):
            raise ValueError(
                f"batch must be at most the number of training images, {len(split)}, not {batch}."
            )
        if batch % integer("world", world, 1):
            raise ValueError(f"batch must be a multiple of the {world} ranks, not {batch}.")
        self.split, self.device = split.to(device), torch.device(device)
        self.seed, self.flip = random.check_seed(seed), flip
        self.rank, self.world = integer("rank", rank, 0, world - 1), world
        self.share, self.per_epoch = batch // world, len(split) // batch
        self.memory_format = memory_format
        self._epoch: tuple[int, Epoch] | None = None

    def start(self, step: int = 0) -> Iterator[Batch]:
        """Batches (x, y) of the steps `step`, `step` + 1, ... without end.

        x is float32 (share, c, h, w) and normalised, y int64 (share,).
        """
        integer("step", step, 0)
        if isinstance(self.split, Split):
            return self._gathered(self.split, step)
        return self._streamed(self.split, step)

    def rows(self, epoch: int) -> tuple[np.ndarray, Epoch]:
        """Images of each step of an epoch, for this rank: (per_epoch, share); and what is drawn."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, epoch_of(self.seed, epoch, len(self.split))
        drawn = self._epoch[1]
        used = drawn.order[: self.per_epoch * self.share * self.world]
        return used.reshape(self.per_epoch, self.world, self.share)[:, self.rank], drawn

    def _gathered(self, split: Split, step: int) -> Iterator[Batch]:
        """From memory: the images of several steps are gathered and flipped at once."""
        at_once = max(1, CHUNK // (4 * self.share * split.x[0].numel()))
        while True:
            epoch, done = divmod(step, self.per_epoch)
            rows, drawn = self.rows(epoch)
            index = torch.from_numpy(rows[done:].reshape(-1)).to(self.device)
            flip = torch.from_numpy(drawn.flip).to(self.device)
            for i in index.split(at_once * self.share):
                x = ready(split.x[i], split.moments)
                if self.flip:
                    x = torch.where(flip[i][:, None, None, None], x.flip(3), x)
                x = x.contiguous(memory_format=self.memory_format)
                yield from zip(x.split(self.share), split.y[i].split(self.share), strict=True)
            step += self.per_epoch - done

    def _streamed(self, split: Stream, step: int) -> Iterator[Batch]:
        """From files: worker processes read ahead."""
        for x, y in stream(self, itertools.count(step), split, self.device):
            yield x.contiguous(memory_format=self.memory_format), y

    def __getitem__(self, step: int) -> Batch | Exception:
        """The batch of a step, read from files."""
        split, (epoch, at) = self.split, divmod(step, self.per_epoch)
        rows, drawn = self.rows(epoch)
        assert isinstance(split, Stream)

        def image(i: int) -> torch.Tensor:
            return split.image(i, self.flip and bool(drawn.flip[i]), int(drawn.corner[i]))

        return read_batch(split, rows[at].tolist(), image)
