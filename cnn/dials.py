r"""Difficulty dials: the same images, made harder or easier to tell apart.

Everything drawn here comes from `regdyn.random` by the dial seed and the image's place in its set,
not by what was drawn before. So the noise on an image is the same whichever others are kept; 1000
images are among the 2000 that the same seed draws; and labels that are random at a fraction of 0.1
stay so, with the same label, at 0.5. The dials are turned in the order

    classes, images, random labels | resolution, clutter, texture | normalisation | noise

where those before the first bar need no pixels.
"""

from collections.abc import Iterator

import numpy as np

from regdyn import random
from regdyn.checks import integer, shown

# Streams of random numbers. Of the dial seed; those of test images are TEST higher:
SPLIT, SUBSET, WHOSE_LABEL, WHICH_LABEL, CLUTTER, NOISE, MOMENTS = range(100, 107)
TEST = 100
PARTNERS, WAVES, GRAIN = range(107, 110)  # of pairs, and of a texture
# of the seed of the order of images:
ORDER = 300

DARK = 0.05
"""Background is where no channel exceeds this share of the peak value."""


def keys(seed: int, index: np.ndarray, stream: int) -> np.ndarray:
    """A random 64-bit number for each image, to sort by; uint64, shape of `index`."""
    high, low = random.words(seed, index, 1, 2, stream).astype(np.uint64)
    return high << np.uint64(32) | low


# Which images, which labels ----------------------------------------------------------------------


def kept_classes(classes: int | tuple[int, ...] | None, total: int) -> tuple[int, ...]:
    """The labels that stay, in the order of their new numbers: all; the first k; or those given.

    Raises
    ------
    ValueError
        If fewer than two would stay, one is given twice, or one is not from 0 to total - 1.
    """
    if classes is None:
        return tuple(range(total))
    given = (classes,) if isinstance(classes, int) else tuple(classes)
    if len(given) == 1:
        return tuple(range(integer("classes, as a number of classes,", given[0], 2, total)))
    for label in given:
        integer("each label in classes", label, 0, total - 1)
    if len(given) < 2 or len({*given}) < len(given):
        raise ValueError(f"classes must be two labels or more, each once, not {shown(classes)}.")
    return given


def of_classes(y: np.ndarray, kept: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Places of the images of these classes, and their labels counted anew from 0."""
    number = np.full(max(int(y.max()), *kept) + 1, -1, dtype=np.int64)
    number[list(kept)] = np.arange(len(kept))
    index = np.flatnonzero(number[y] >= 0)
    return index, number[y[index]]


def subset(index: np.ndarray, images: int | None, seed: int) -> np.ndarray:
    """Which entries of `index` stay, in order: those `images` with the smallest keys.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    if images is None:
        return np.arange(len(index))
    integer("images (of the training set, after the choice of classes)", images, 1, len(index))
    return np.sort(np.argsort(keys(seed, index, SUBSET), kind="stable")[:images])


def random_labels(
    y: np.ndarray, index: np.ndarray, fraction: float, *, classes: int, seed: int
) -> np.ndarray:
    """`y` with a share of the labels drawn anew, every class alike (so also the right one).

    They are the round(fraction * n) images with the smallest keys. A wrong label remains on about
    fraction * (1 - 1 / classes) of the images.
    """
    count = round(fraction * len(y))
    who = np.argsort(keys(seed, index, WHOSE_LABEL), kind="stable")[:count]
    word = random.words(seed, index, 1, 1, WHICH_LABEL)[0, who].astype(np.int64)
    new = y.copy()
    new[who] = word * classes >> 32
    return new


# Pixels ------------------------------------------------------------------------------------------


def resize(x: np.ndarray, size: int) -> np.ndarray:
    """Square images at another resolution; float32 (n, c, h, h) in and out.

    If h is a multiple k of `size`, every pixel is the mean of k x k pixels; else bilinear
    interpolation with antialiasing.
    """
    n, c, h = x.shape[:3]
    if h == size:
        return x
    if h % size == 0:
        k = h // size
        return x.reshape(n, c, size, k, size, k).mean((3, 5), dtype=np.float32)
    import torch
    from torch.nn.functional import interpolate

    out = interpolate(torch.from_numpy(x), (size, size), mode="bilinear", antialias=True)
    return out.numpy()


def partners(index: np.ndarray, seed: int, test: bool) -> np.ndarray:
    """For each of the images, another one (its place in `index`), to be seen behind it."""
    n = len(index)
    if n < 2:
        raise ValueError("clutter needs two images or more.")
    word = random.words(seed, index, 1, 1, CLUTTER + TEST * test)[0].astype(np.int64)
    return (np.arange(n) + 1 + (word * (n - 1) >> 32)) % n


def clutter(x: np.ndarray, behind: np.ndarray, strength: float) -> np.ndarray:
    r"""Images with another image where they are dark::

        x'  =  x                    where max over channels of x > 0.05 peak
            =  strength * behind    elsewhere, behind shifted cyclically by half its height, width

    Shapes (..., c, h, w); peak is 255 of uint8, which is rounded, and 1 of float32. The shift shows
    patches of the other image around this one. For the paper's experiment with clean and cluttered
    renderings (section 3); how it was cluttered there, the text does not say.
    """
    h, w = x.shape[-2:]
    patch = np.float32(strength) * np.roll(behind, (h // 2, w // 2), (-2, -1)).astype(np.float32)
    patch = np.rint(patch) if x.dtype == np.uint8 else patch
    return np.where(_bright(x), x, patch.astype(x.dtype))


def _bright(x: np.ndarray) -> np.ndarray:
    """Where an image is not dark: (..., 1, h, w)."""
    return x.max(axis=-3, keepdims=True) > DARK * (255 if x.dtype == np.uint8 else 1)


def texture(index: np.ndarray, size: int, *, seed: int, test: bool) -> np.ndarray:
    r"""A random texture for each image: float32 (n, size, size), from 0 to 1, mean about 1/2.

    White noise, of whose Fourier transform what is near three frequencies remains, each in a
    direction of its own: the factor at frequency f is

        sum_k 1 / (1 + |f ∓ f_k|^2 / b^2)^2,    b = 1/20, |f_k| from 1/24 to 1/6 cycles per pixel

    with the nearer sign. The result is brought to mean 1/2 and standard deviation 1/4, and clipped.
    """
    count, lanes = size * size, TEST * test
    z = random.normals(seed, index, 1, count, GRAIN + lanes).T.reshape(-1, size, size)
    u = random.words(seed, index, 1, 3, WAVES + lanes) * 2.0**-32
    a = random.normals(seed, index, 5, 6, WAVES + lanes).reshape(2, 3, -1)
    f = a / np.sqrt((a**2).sum(0)) * (1 + 3 * u) / 24  # (row or column, wave, image)
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    factor = np.zeros((len(index), size, size // 2 + 1))
    for row, column in np.moveaxis(f, 1, 0)[..., None, None]:
        nearer = np.minimum(
            (rows - row) ** 2 + (columns - column) ** 2, (rows + row) ** 2 + (columns + column) ** 2
        )
        factor += (1 + 400 * nearer) ** -2.0
    factor[:, 0, 0] = 0  # mean 0
    x = np.fft.irfft2(np.fft.rfft2(z) * factor, (size, size))
    x /= 4 * x.std((1, 2), keepdims=True)
    return np.clip(0.5 + x, 0, 1).astype(np.float32)


def textured(x: np.ndarray, behind: np.ndarray, strength: float) -> np.ndarray:
    """Images (n, c, h, w) with `strength` times these textures (n, h, w) where they are dark.

    Dark as in `clutter`; the texture is gray. uint8 is rounded.
    """
    patch = np.float32(strength) * behind[:, None]
    patch = np.rint(255 * patch) if x.dtype == np.uint8 else patch
    return np.where(_bright(x), x, patch.astype(x.dtype))


def noise(
    index: np.ndarray, shape: tuple[int, ...], sd: float, *, seed: int, test: bool
) -> np.ndarray:
    """sd times standard normals, for the pixels of these images: float32 (n, *shape)."""
    count = int(np.prod(shape))
    z = random.normals(seed, index, 1, count, NOISE + TEST * test)
    return np.float32(sd) * z.T.astype(np.float32).reshape(len(index), *shape)


def moments(x: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in units of the peak: 255 of uint8, else 1.

    Raises
    ------
    ValueError
        If a channel is constant.
    """
    sums = np.zeros((2, x.shape[1]))
    for i in pieces(x):
        values = x[i].astype(np.float64) / (255 if x.dtype == np.uint8 else 1)
        sums += values.sum((0, 2, 3)), (values**2).sum((0, 2, 3))
    mean, square = sums / (x.size / x.shape[1])
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    if not np.all(std > 1e-6):
        raise ValueError("the training images have a channel of one value: nothing to learn.")
    return tuple(mean.tolist()), tuple(std.tolist())


def pieces(x: np.ndarray) -> Iterator[slice]:
    """Slices of about a million values, so that temporary arrays stay small."""
    step = max(1, 2**20 // x[0].size)
    return (slice(i, i + step) for i in range(0, len(x), step))
