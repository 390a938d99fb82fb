"""What a set of images is before any dial is turned, and the errors that name a file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path("data")
"""Where a set is looked for when no root is given."""


class Images(NamedTuple):
    """Images and their labels."""

    x: np.ndarray | list[str]
    """uint8 (n, c, h, w), or one file for each image."""
    y: np.ndarray
    """int64 (n,)."""


class Source(NamedTuple):
    """A set of images as it lies on disk."""

    train: Images
    test: Images
    classes: int
    channels: int
    size: int
    """The set's own resolution, height and width; 0 if its images are not square."""
    flip: bool
    """Whether training images are flipped at random."""
    peak: int = 255
    """The pixel value that counts as 1."""
    margin: int = 0
    """Of random crops: files are resized to size + margin, and cut to size."""
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and standard deviation of each channel, where they are published."""


def first(folders: list[Path], files: list[str], name: str, todo: str) -> Path:
    """The first folder that has one of the files, else FileNotFoundError with what to do."""
    for folder in folders:
        if any((folder / file).exists() for file in files):
            return folder
    looked = ", ".join(repr(str(folder)) for folder in folders)
    raise FileNotFoundError(f"{name} is not there (looked in {looked}): {todo}.")


def torchvision(calls: str) -> str:
    """The command that runs calls of torchvision.datasets."""
    return f'python -c "from torchvision.datasets import *; {calls}"'


def damaged(path: Path | str, why: object) -> ValueError:
    """The error for a file that is not what it should be."""
    text = " ".join(str(why).split()) or type(why).__name__
    return ValueError(f"{str(path)!r} is damaged or truncated ({text}): get it again.")


def missing(path: Path | str) -> FileNotFoundError:
    """The error for one file of several."""
    return FileNotFoundError(f"{str(path)!r} is missing, though others of its set are there.")


def check_labels(path: Path, y: np.ndarray, classes: int) -> None:
    """Raise ValueError unless there are labels, and all are classes."""
    if len(y) == 0 or y.min() < 0 or y.max() >= classes:
        raise damaged(path, f"its labels are not all from 0 to {classes - 1}")
