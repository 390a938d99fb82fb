"""The sets of images: where they are looked for, how they are read and checked.

Those that are arrays are read here, those that are files in `cnn.folders`. A set that is missing
raises FileNotFoundError, which says what to do; a damaged or truncated file raises ValueError,
which names it. No torch here.
"""

import gzip
import hashlib
import io
import pickle
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnn import dials, pairs
from cnn.folders import folder, imagenet, tinyimagenet
from cnn.objects import objects, objects_cluttered
from cnn.sources import ROOT, Images, Source, check_labels, damaged, first, missing, torchvision
from regdyn.checks import choose

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""
CIFAR = (50_000, 10_000)
"""Images for training and testing."""


def find(name: str, root: Path | None = None) -> Source:
    """The set `name`, from the folder `root`.

    Raises
    ------
    ValueError
        If there is no such set, or a file is damaged or truncated.
    FileNotFoundError
        If the set, or one of its files, is not there; the message says what to do.
    """
    return SETS[choose("data set", name, SETS)](root)


# scikit-learn's digits ---------------------------------------------------------------------------


def digits(root: Path | None) -> Source:
    """scikit-learn's 1797 digits, 8x8 in 17 shades, which are part of that package.

    There is no official test set. A fixed permutation (`regdyn.random`, seed 0) makes four fifths
    of them, 1437, training images and the other 360 test images. `root` is not needed.
    """
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    x, y = found.images.astype(np.uint8)[:, None], found.target.astype(np.int64)
    order = np.argsort(dials.keys(0, np.arange(len(y)), dials.SPLIT), kind="stable")
    train, test = np.split(order, [len(y) * 4 // 5])
    return Source(Images(x[train], y[train]), Images(x[test], y[test]), 10, 1, 8, False, peak=16)


# Fashion-MNIST -----------------------------------------------------------------------------------


def fashion_mnist(root: Path | None) -> Source:
    """Fashion-MNIST: idx files, gzipped or not, 28x28, 60,000 and 10,000 images.

    They are looked for in `root`, in FashionMNIST/raw below it (where torchvision puts them), and,
    without a root, also where Debian's package puts them.
    """
    base = root or ROOT
    folders = [base, base / "FashionMNIST" / "raw", *([] if root else [DEBIAN])]
    folder = first(
        folders,
        ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"],
        "Fashion-MNIST",
        f"run `{torchvision(f'FashionMNIST({str(base)!r}, download=True)')}`, or on Debian "
        "`apt-get install dataset-fashion-mnist`",
    )
    train, test = (_idx_pair(folder, part) for part in ("train", "t10k"))
    return Source(train, test, 10, 1, 28, True)


def fashion_pairs(labels: int, root: Path | None) -> Source:
    """Two garments of Fashion-MNIST side by side, with 2, 10 or 100 labels: see `cnn.pairs`."""
    return pairs.of(fashion_mnist(root), labels)


def _idx_pair(folder: Path, part: str) -> Images:
    """Images and labels of one part, which must fit."""
    paths = [folder / f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    paths = [p if not (z := p.with_name(f"{p.name}.gz")).exists() else z for p in paths]
    x, y = (idx(path, ndim) for path, ndim in zip(paths, (3, 1), strict=True))
    if x.shape != (len(y), 28, 28):
        raise damaged(paths[0], f"images {x.shape}, not 28x28 ones for {len(y)} labels")
    check_labels(paths[1], y, 10)
    return Images(x[:, None], y.astype(np.int64))


def idx(path: Path, ndim: int) -> np.ndarray:
    """The bytes of an idx file, with `ndim` dimensions; gzipped if its name ends in .gz.

    Its format: the bytes 0, 0, 8 (unsigned bytes), the number of dimensions; each dimension as a
    big-endian 32-bit number; the data, the last dimension fastest.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except FileNotFoundError:
        raise missing(path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(path, error) from None
    head = 4 + 4 * ndim
    if len(raw) < head or raw[:4] != bytes([0, 0, 8, ndim]):
        raise damaged(path, f"it does not begin as an idx file of {ndim} dimensions does")
    shape = tuple(np.frombuffer(raw, ">u4", ndim, 4).tolist())
    if len(raw) - head != (size := int(np.prod(shape, dtype=object))):
        raise damaged(path, f"{len(raw) - head} bytes of data where {size} are announced")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


# CIFAR -------------------------------------------------------------------------------------------


def cifar10(root: Path | None) -> Source:
    """CIFAR10: 50,000 and 10,000 colour images, 32x32, in the "python version"."""
    return _cifar("CIFAR10", 10, root)


def cifar100(root: Path | None) -> Source:
    """CIFAR100, with its 100 fine labels; otherwise as CIFAR10."""
    return _cifar("CIFAR100", 100, root)


def _cifar(name: str, classes: int, root: Path | None) -> Source:
    """File names and checksums are torchvision's; the files lie in `root` or in its subfolder."""
    from torchvision import datasets

    kind, base = getattr(datasets, name), root or ROOT
    todo = f"run `{torchvision(f'{name}({str(base)!r}, download=True)')}`"
    folder = first([base, base / kind.base_folder], [kind.train_list[0][0]], name, todo)

    def part(files: list[list[str]], images: int) -> Images:
        full = images // len(files)
        read = [_batch(folder / file, md5, full, classes) for file, md5 in files]
        x, y = zip(*read, strict=True)
        return Images(np.concatenate(x), np.concatenate(y))

    train, test = (
        part(files, n) for files, n in zip((kind.train_list, kind.test_list), CIFAR, strict=True)
    )
    return Source(train, test, classes, 3, 32, True)


def _batch(path: Path, md5: str, full: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) and labels of one pickle.

    A pickle holds no checksum. One with as many images as the original must have the original's.
    """
    try:
        raw = path.read_bytes()
        entry = _Unpickler(io.BytesIO(raw), encoding="latin1").load()
        y = np.asarray(entry["fine_labels" if classes == 100 else "labels"])
        x = np.asarray(entry["data"])
    except FileNotFoundError:
        raise missing(path) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise damaged(path, error) from None
    if x.dtype != np.uint8 or x.shape != (len(y), 3072) or y.dtype.kind != "i":
        raise damaged(path, f"data {x.dtype} {x.shape}, labels {y.dtype} {y.shape}")
    if len(y) == full and hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
        raise damaged(path, "its MD5 checksum is not the original's")
    check_labels(path, y, classes)
    return x.reshape(-1, 3, 32, 32), y.astype(np.int64)


class _Unpickler(pickle.Unpickler):
    """Builds NumPy arrays and nothing else: a pickle can run any code."""

    allowed = {("_codecs", "encode"), ("numpy", "ndarray"), ("numpy", "dtype")} | {
        (f"numpy.{core}.{name}", what)
        for core in ("core", "_core")
        for name, what in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
    }

    def find_class(self, module: str, name: str) -> Any:
        """The function or class `name`, if it may be used."""
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return super().find_class(module, name)


SETS: dict[str, Callable[[Path | None], Source]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    **{f"fashion-pairs-{labels}": partial(fashion_pairs, labels) for labels in pairs.LABELS},
    "cifar10": cifar10,
    "cifar100": cifar100,
    "tinyimagenet": tinyimagenet,
    "imagenet": imagenet,
    "folder": folder,
    "objects": objects,
    "objects-cluttered": objects_cluttered,
}
