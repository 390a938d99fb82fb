r"""Solids seen from afar: parallel rays against convex solids, in NumPy.

A solid is what satisfies all of n . x <= h (its planes) and, if it is round,

    q(x) = x^2 + y^2 + c2 z^2 + c1 z + c0 <= 0.

A ray is inside a convex solid between two depths, found in closed form. In the coordinates of the
picture x is to the right, y is up, z is to the viewer, and the picture is the square [-1, 1]^2.
Only the four operations and square roots: no function that differs between libraries.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

AMBIENT = 0.35
"""Share of the light that comes from everywhere."""
SAMPLES = 2
"""Rays along each side of a pixel; their mean is the pixel."""
PARALLEL = 1e-9
"""A ray at less of an angle to a face than this is taken to be at this angle."""
FAR = 1e6
"""Depth of what is not met; a finite number, so that it can be multiplied by 0."""

Vector = tuple[float, float, float]


class Solid(NamedTuple):
    """A convex solid within the cube [-1, 1]^3."""

    planes: tuple[tuple[float, float, float, float], ...]
    """(n_x, n_y, n_z, h) of each."""
    quadric: Vector | None = None
    """(c2, c1, c0)."""


class Part(NamedTuple):
    """A solid, stretched and moved to its place in an object."""

    solid: Solid
    size: Vector
    """Half its lengths along its own x, y and z."""
    at: Vector = (0.0, 0.0, 0.0)
    """Its centre."""
    along: Vector = (0.0, 0.0, 1.0)
    """Where its z points."""
    minus: "Part | None" = None
    """What is cut out of it, in coordinates in which the solid lies in [-1, 1]^3."""


class Placed(NamedTuple):
    """A part in the picture: x = frame @ (coordinates of the solid) + centre."""

    part: Part
    frame: np.ndarray
    """(3, 3), with orthogonal columns."""
    centre: np.ndarray
    """(3,)."""
    grey: float
    """What it reflects, from 0 to 1."""


# Solids ------------------------------------------------------------------------------------------


def tapered(x: float, y: float) -> Solid:
    """A box whose top has `x` and `y` times the half-lengths of its bottom, which are 1."""
    sides = []
    for axis, top in enumerate((x, y)):
        for sign in (-1.0, 1.0):
            n = [0.0, 0.0, (1 - top) / 2]
            n[axis] = sign
            sides.append((*n, (1 + top) / 2))
    return Solid((*_ENDS, *sides))


def frustum(top: float) -> Solid:
    """A cone, cut off where its radius is `top` times that of its bottom, which is 1."""
    mean, slope = (1 + top) / 2, (1 - top) / 2
    return Solid(_ENDS, (-(slope**2), 2 * mean * slope, -(mean**2)))


_ENDS = ((0.0, 0.0, -1.0, 1.0), (0.0, 0.0, 1.0, 1.0))  # -1 <= z <= 1
BOX, PYRAMID, ROOF = tapered(1, 1), tapered(0, 0), tapered(1, 0)
CYLINDER, CONE = frustum(1), frustum(0)
BALL = Solid((), (1.0, 0.0, -1.0))
DOME = Solid(((0.0, 0.0, -1.0, 0.0),), BALL.quadric)  # the upper half of the ball


def frame(part: Part) -> np.ndarray:
    """The part's axes times its half-lengths, as columns: float64 (3, 3).

    Its x lies level; where `along` is upright, its x is that of the object.
    """
    z = np.array(part.along) / np.sqrt(sum(a * a for a in part.along))
    x = np.array([z[1], -z[0], 0.0])
    length = np.sqrt(x[0] ** 2 + x[1] ** 2)
    x = x / length if length > PARALLEL else np.array([1.0, 0.0, 0.0])
    y = np.array([z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]])
    return np.stack([x, y, z], axis=1) * np.array(part.size)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b for (m, 3) and (3, n), summed in this order on every machine."""
    return a[:, :1] * b[0] + a[:, 1:2] * b[1] + a[:, 2:] * b[2]


# Rays --------------------------------------------------------------------------------------------


def render(parts: Sequence[Placed], light: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    r"""A picture of the parts on black, and how much of each pixel they cover.

    A surface with normal n that reflects r has the grey r (0.35 + 0.65 max(0, n . light)). There
    are no shadows. What is nearest to the viewer is seen.

    Parameters
    ----------
    parts : sequence of Placed
    light : ndarray, shape (3,)
        Unit vector to the light.
    size : int
        Pixels along a side.

    Returns
    -------
    tuple of 2 ndarrays, shape (size, size), float64
        Grey values from 0 to 1, and the share of each pixel that is covered.
    """
    side = size * SAMPLES
    depth, grey = np.full((side, side), np.inf), np.zeros((side, side))
    for part in parts:
        _draw(part, light, depth, grey)
    return _mean(grey), _mean(np.isfinite(depth).astype(np.float64))


def _mean(x: np.ndarray) -> np.ndarray:
    """The mean over the rays of each pixel."""
    side = len(x) // SAMPLES
    return x.reshape(side, SAMPLES, side, SAMPLES).mean((1, 3))


class _Rays(NamedTuple):
    """A grid of rays in the coordinates of a solid: x(t) = map @ (u, v, -t, 1)."""

    u: np.ndarray
    """Places in the picture from left to right, (w,)."""
    v: np.ndarray
    """From top to bottom, (h,)."""
    map: np.ndarray
    """(3, 4)."""

    def into(self, f: np.ndarray, at: np.ndarray) -> "_Rays":
        """The same rays in the coordinates of a solid with this frame, at this place."""
        inverse = (f / (f**2).sum(0)).T  # as the columns are orthogonal
        moved = self.map.copy()
        moved[:, 3] -= at
        return self._replace(map=product(inverse, moved))

    def plane(self, a: np.ndarray) -> np.ndarray:
        """a . (u, v, 0, 1): (h, w)."""
        return a[0] * self.u + (a[1] * self.v + a[3])[:, None]

    def points(self, where: tuple[np.ndarray, np.ndarray], t: np.ndarray) -> np.ndarray:
        """x(t) on the rays in these rows and columns: (3, m)."""
        a, b, e, c = self.map.T[:, :, None]
        return a * self.u[where[1]] + b * self.v[where[0]] - e * t + c


_PICTURE = np.eye(3, 4)


class _Crossings(NamedTuple):
    """Where rays enter and leave faces of a solid; the quadric is the face after the planes."""

    enter: np.ndarray
    """Depths (faces that are entered, h, w)."""
    entered: list[int]
    """Which faces these are."""
    leave: np.ndarray
    left: list[int]


def _draw(placed: Placed, light: np.ndarray, depth: np.ndarray, grey: np.ndarray) -> None:
    """Draw one part into `depth` and `grey` where it is nearer than what is there."""
    rows, columns = _rectangle(placed, len(depth))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    step = 2 / len(depth)
    u = (np.arange(columns.start, columns.stop) + 0.5) * step - 1
    v = 1 - (np.arange(rows.start, rows.stop) + 0.5) * step
    rays = _Rays(u, v, _PICTURE).into(placed.frame, placed.centre)
    where, t, normal = _seen(placed.part, rays, depth[rows, columns])

    # A gradient goes back by the transposed map, whose third column is that of -t, so of z.
    n = product(rays.map[:, :3].T, normal)
    n /= np.sqrt((n**2).sum(0))
    lit = AMBIENT + (1 - AMBIENT) * np.maximum(0, product(light[None], n)[0])
    depth[rows, columns][where] = t
    grey[rows, columns][where] = placed.grey * lit


def _rectangle(placed: Placed, side: int) -> tuple[slice, slice]:
    """Rows and columns of rays that can meet the part."""
    (x, y, _), (w, h, _) = placed.centre, np.abs(placed.frame).sum(1)
    edges = np.array([[1 - y - h, 1 - y + h], [1 + x - w, 1 + x + w]]) * (side / 2)
    low, high = np.clip(np.floor(edges) + np.array([0, 1]), 0, side).astype(int).T
    return slice(low[0], high[0]), slice(low[1], high[1])


def _seen(
    part: Part, rays: _Rays, depth: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Rows and columns of the rays that meet the part at t < depth, (m,) both; t; normals (3, m).

    `rays` are in the coordinates of the part's solid, and so are the normals: outward, of any
    length.
    """
    own = _crossings(part.solid, rays)
    t, end = own.enter.max(0), own.leave.min(0)
    rows, columns = np.nonzero((t < end) & (t < depth))  # a hole only moves a surface away
    where = rows, columns
    t, end = t[where], end[where]
    face = np.array(own.entered)[own.enter[:, *where].argmax(0)]
    normal = _normals(part.solid, face, rays.points(where, t))
    if part.minus is None:
        return where, t, normal
    f = frame(part.minus)
    inside = rays.into(f, np.array(part.minus.at))
    hole = _crossings(part.minus.solid, inside)
    start, out = hole.enter.max(0)[where], hole.leave.min(0)[where]
    face = np.array(hole.left)[hole.leave[:, *where].argmin(0)]
    inner = _normals(part.minus.solid, face, inside.points(where, out))
    through = (start < t) & (t < out)  # the ray goes on through the hole
    t = np.where(through, out, t)
    normal = np.where(through, -product((f / (f**2).sum(0)), inner), normal)
    seen = (t < end) & (t < depth[where])
    return (rows[seen], columns[seen]), t[seen], normal[:, seen]


def _crossings(solid: Solid, rays: _Rays) -> _Crossings:
    """Depths at which the rays enter and leave the faces of a solid."""
    planes = np.array(solid.planes).reshape(-1, 4)
    a = product(planes[:, :3], rays.map)  # n . x(t) = a . (u, v, -t, 1)
    a[:, 3] -= planes[:, 3]
    slope = np.where(np.abs(a[:, 2]) > PARALLEL, a[:, 2], PARALLEL)
    a /= slope[:, None]
    t = a[:, 0, None, None] * rays.u + (a[:, 1:2] * rays.v + a[:, 3:])[:, :, None]
    entered, left = np.flatnonzero(slope > 0).tolist(), np.flatnonzero(slope < 0).tolist()
    enter, leave = t[entered], t[left]
    if solid.quadric is not None:
        near, far = _round(solid.quadric, rays)
        if near is not None:
            enter, entered = np.concatenate([enter, near[None]]), [*entered, len(planes)]
        if far is not None:
            leave, left = np.concatenate([leave, far[None]]), [*left, len(planes)]
    return _Crossings(enter, entered, leave, left)


def _round(quadric: Vector, rays: _Rays) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Where q is at most 0: from and to, both (h, w), or None where there is no such end."""
    c2, c1, c0 = quadric
    e = rays.map[:, 2]
    x, y, z = (rays.plane(row) for row in rays.map)
    # q(x(t)) = a t^2 - 2 b t + c
    a = e[0] ** 2 + e[1] ** 2 + c2 * e[2] ** 2
    a = a if abs(a) > PARALLEL else PARALLEL
    b = e[0] * x + e[1] * y + (c2 * z + c1 / 2) * e[2]
    c = x * x + y * y + (c2 * z + c1) * z + c0
    square = b * b - a * c
    root = np.sqrt(np.maximum(square, 0.0))
    if a > 0:
        return np.where(square > 0, (b - root) / a, FAR), (b + root) / a
    # Steeper than the cone: the ray is in one half of the double cone before the first root and in
    # the other after the second. The solid's half is below the tip.
    return ((b - root) / a, None) if e[2] > 0 else (None, (b + root) / a)


def _normals(solid: Solid, face: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Outward normals, of any length, of these faces (numbers, (m,)) at the points x (3, m)."""
    flat = np.array([*(plane[:3] for plane in solid.planes), (0.0, 0.0, 0.0)])
    normal = flat[face].T
    if solid.quadric is not None:
        c2, c1, _ = solid.quadric
        gradient = np.stack([x[0], x[1], c2 * x[2] + c1 / 2])
        normal = np.where(face == len(solid.planes), gradient, normal)
    return normal
