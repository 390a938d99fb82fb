r"""Renderings of 30 classes of objects, gray, 64x64, on a clean or on a cluttered background.

In the place of the paper's renderings of ObjectNet3D (section 3, Task Difficulty). Image i of a
part shows an object of class i mod 30 and depends on (SEED, part, i) only. Both sets show the same
objects, in the same pose and light; what differs is the background:

    objects            black
    objects-cluttered  a texture, before it 8 pieces of objects, lit as the object is

No set is read: they are rendered (about half a minute on one core, a minute with clutter), and kept
in ROOT/objects.
"""

import contextlib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn import dials
from cnn.objects_classes import CLASSES
from cnn.objects_render import Part, Placed, frame, product, render
from cnn.sources import ROOT, Images, Source
from regdyn import random, store

SEED = 0
SIZE = 64
COUNTS = (6000, 1500)
"""Images for training and testing."""
PIECES = 8
"""Pieces of objects in a cluttered background."""
BEHIND = 0.8
"""Largest grey value of the texture."""

# Streams of random numbers of SEED; those of test images are dials.TEST higher:
POSE, TURN, PIECE, PIECE_TURN = range(400, 404)

ELEVATION = (0.1, 0.7)
"""Range of the sine of the angle from which an object is seen from above."""
TILT = 0.25
"""Largest sine of the angle by which the picture is turned."""
EXTENT = (0.55, 0.95)
"""Range of the radius of the ball around an object; half the picture is 1."""


def objects(root: Path | None) -> Source:
    """The renderings on a clean background: 6000 and 1500 images of 30 classes."""
    return _source(root, cluttered=False)


def objects_cluttered(root: Path | None) -> Source:
    """The same objects before textures and pieces of other objects."""
    return _source(root, cluttered=True)


def pictures(index: np.ndarray, *, test: bool, cluttered: bool) -> np.ndarray:
    """The images with these numbers, of the training set or of the test set.

    Parameters
    ----------
    index : ndarray of int, shape (n,)
    test, cluttered : bool

    Returns
    -------
    ndarray, shape (n, 1, 64, 64), dtype uint8
    """
    x = np.empty((len(index), 1, SIZE, SIZE), np.uint8)
    for rows in dials.pieces(x):
        draws = _draws(index[rows], test)
        texture = dials.texture(index[rows], SIZE, seed=SEED, test=test) if cluttered else None
        for k, i in enumerate(index[rows]):
            own = _Draws(*(d[k] for d in draws))
            light = _light(own.light)
            grey, covered = render(_object(_models()[i % len(CLASSES)], own), light, SIZE)
            if texture is not None:
                front, hidden = render(_pieces(own), light, SIZE)
                grey += (1 - covered) * (front + (1 - hidden) * BEHIND * texture[k])
            x[rows][k] = np.rint(255 * grey)
    return x


class _Draws(NamedTuple):
    """Random numbers of one image: uniform in [0, 1), or normal (`turn`, `light`, `turns`)."""

    pose: np.ndarray
    """(20,)"""
    turn: np.ndarray
    """(2,)"""
    light: np.ndarray
    """(3,)"""
    pieces: np.ndarray
    """(PIECES, 6)"""
    turns: np.ndarray
    """(PIECES, 4)"""


def _draws(index: np.ndarray, test: bool) -> _Draws:
    """Those of these images: each entry has one more axis, the first."""

    def drawn(kind: Any, count: int, stream: int) -> np.ndarray:
        return kind(SEED, index, 1, count, stream + dials.TEST * test).T

    turn = drawn(random.normals, 5, TURN)
    pieces = drawn(random.words, 6 * PIECES, PIECE).reshape(-1, PIECES, 6)
    turns = drawn(random.normals, 4 * PIECES, PIECE_TURN).reshape(-1, PIECES, 4)
    pose = drawn(random.words, 20, POSE) * 2.0**-32
    return _Draws(pose, turn[:, :2], turn[:, 2:], pieces * 2.0**-32, turns)


# An object ---------------------------------------------------------------------------------------


class _Model(NamedTuple):
    """A class of objects, moved and scaled into the unit ball."""

    parts: tuple[Part, ...]
    frames: tuple[np.ndarray, ...]
    """(3, 3) each."""
    centres: tuple[np.ndarray, ...]
    """(3,) each."""


@cache
def _models() -> tuple[_Model, ...]:
    return tuple(_model(parts) for parts in CLASSES.values())


def _model(parts: tuple[Part, ...]) -> _Model:
    """Within the unit ball are the corners of the boxes around all parts."""
    frames = [frame(part) for part in parts]
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]).T
    placed = zip(parts, frames, strict=True)
    all_corners = np.concatenate(
        [product(f, corners) + np.array(part.at)[:, None] for part, f in placed], axis=1
    )
    middle = (all_corners.min(1) + all_corners.max(1)) / 2
    radius = np.sqrt(((all_corners - middle[:, None]) ** 2).sum(0).max())
    centres = ((np.array(part.at) - middle) / radius for part in parts)
    return _Model(parts, tuple(f / radius for f in frames), tuple(centres))


def _object(model: _Model, own: _Draws) -> list[Placed]:
    """An object in the picture."""
    u, z = own.pose, own.turn
    extent = _between(*EXTENT, u[0])
    view = _view(z, _between(*ELEVATION, u[1]), _between(-TILT, TILT, u[2]))
    at = np.array([*((1 - extent) * (2 * u[3:5] - 1)), 0.0])
    greys = _between(0.5, 1.0, u[5]) * _between(0.7, 1.0, u[6:])
    return [
        Placed(part, extent * product(view, f), extent * product(view, c[:, None])[:, 0] + at, grey)
        for part, f, c, grey in zip(*model, greys[: len(model.parts)].tolist(), strict=True)
    ]


def _between(low: float, high: float, u):
    return low + (high - low) * u


def _view(z: np.ndarray, elevation: float, tilt: float) -> np.ndarray:
    """Rotation (3, 3): about the upright axis by the angle of z, seen from above, then tilted."""
    c, s = z / np.sqrt((z**2).sum())
    about = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    up, out = elevation, np.sqrt(1 - elevation**2)
    above = np.array([[1, 0, 0], [0, up, out], [0, -out, up]])  # right, up, to the viewer
    level = np.sqrt(1 - tilt**2)
    tilted = np.array([[level, tilt, 0], [-tilt, level, 0], [0, 0, 1]])
    return product(tilted, product(above, about))


def _light(z: np.ndarray) -> np.ndarray:
    """Unit vector to the light, on the viewer's side, from normals (3,)."""
    z = np.array([z[0], z[1], abs(z[2]) + 0.3])
    return z / np.sqrt((z**2).sum())


# What is behind it -------------------------------------------------------------------------------


def _pieces(own: _Draws) -> list[Placed]:
    return [_piece(u, z) for u, z in zip(own.pieces, own.turns, strict=True)]


def _piece(u: np.ndarray, z: np.ndarray) -> Placed:
    """One part of any class, turned anyhow, up to half as large as the picture."""
    models = _models()
    model = models[int(u[0] * len(models))]
    k = int(u[1] * len(model.parts))
    part, f = model.parts[k], model.frames[k]
    f = f * (_between(0.15, 0.45, u[2]) / np.sqrt((f**2).sum(0).max()))
    at = np.array([*(2 * u[3:5] - 1), -1.0 - z[0] ** 2])  # they hide each other in any order
    return Placed(part, product(_rotation(z), f), at, _between(0.35, 1.0, u[5]))


def _rotation(z: np.ndarray) -> np.ndarray:
    """The rotation of a quaternion of four normals: any rotation alike."""
    w, a, b, c = z / np.sqrt((z**2).sum())
    return np.array(
        [
            [1 - 2 * (b * b + c * c), 2 * (a * b - c * w), 2 * (a * c + b * w)],
            [2 * (a * b + c * w), 1 - 2 * (a * a + c * c), 2 * (b * c - a * w)],
            [2 * (a * c - b * w), 2 * (b * c + a * w), 1 - 2 * (a * a + b * b)],
        ]
    )


# Kept on disk ------------------------------------------------------------------------------------


def _source(root: Path | None, *, cluttered: bool) -> Source:
    path = (root or ROOT) / "objects" / f"{'cluttered' if cluttered else 'clean'}.npz"
    indices = [np.arange(n) for n in COUNTS]
    found = _kept(path, indices, cluttered)
    if found is None:
        found = [
            pictures(i, test=test, cluttered=cluttered)
            for i, test in zip(indices, (False, True), strict=True)
        ]
        _keep(path, found)
    train, test = (Images(x, i % len(CLASSES)) for x, i in zip(found, indices, strict=True))
    return Source(train, test, len(CLASSES), 1, SIZE, True)


def _kept(path: Path, indices: list[np.ndarray], cluttered: bool) -> list[np.ndarray] | None:
    """What an earlier run kept, or None: if it is not there, damaged, or not what is drawn now.

    The file's checksum sees damage. That it is not of another version is seen on one image in 499.
    """
    try:
        with np.load(path) as file:
            found = [file["train"], file["test"]]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    for test, (x, i) in enumerate(zip(found, indices, strict=True)):
        some = i[::499]  # of every class in turn, as 499 and 30 have no common factor
        if x.shape != (len(i), 1, SIZE, SIZE) or np.any(
            x[some] != pictures(some, test=bool(test), cluttered=cluttered)
        ):
            return None
    return found


def _keep(path: Path, parts: list[np.ndarray]) -> None:
    """Write the file whole, under a temporary name first; or not, where nothing can be written."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.temporary(path) as name:
            np.savez(name, train=parts[0], test=parts[1])
