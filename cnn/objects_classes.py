"""The 30 classes of objects, as data: each is a few solids. z is up; the unit is arbitrary.

A part is (solid, half-lengths along its own x, y and z, centre, where its z points). What is cut
out of it (`minus`) is given in coordinates in which the part's solid lies in the cube [-1, 1]^3.
"""

from cnn.objects_render import (
    BALL,
    BOX,
    CONE,
    CYLINDER,
    DOME,
    PYRAMID,
    ROOF,
    Part,
    Vector,
    frustum,
    tapered,
)

X, Y, DOWN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)


def hollow(part: Part, wall: float = 0.15) -> Part:
    """`part`, open at the top: the same solid inside it, narrower by `wall` and raised as much."""
    up = wall if part.along[2] > 0 else -wall  # the part may stand on its head
    return part._replace(minus=Part(part.solid, (1 - wall, 1 - wall, 1.0), (0.0, 0.0, up)))


def ring(radius: float, width: float, at: Vector, along: Vector, inner: float = 0.7) -> Part:
    """A tube of this radius and half-length, whose opening has `inner` of its radius."""
    hole = Part(CYLINDER, (inner, inner, 2.0))
    return Part(CYLINDER, (radius, radius, width), at, along, hole)


def legs(solid_size: Vector, x: float, y: float, z: float) -> tuple[Part, ...]:
    """Four boxes of this size at (±x, ±y, z)."""
    return tuple(Part(BOX, solid_size, (i * x, j * y, z)) for i in (-1, 1) for j in (-1, 1))


def wheels(radius: float, xs: tuple[float, ...], y: float, z: float) -> tuple[Part, ...]:
    """Discs at both sides, upright in the plane of x and z."""
    return tuple(
        Part(CYLINDER, (radius, radius, 0.08), (x, j * y, z), Y) for x in xs for j in (-1, 1)
    )


CLASSES: dict[str, tuple[Part, ...]] = {
    # Solids
    "ball": (Part(BALL, (1, 1, 1)),),
    "cube": (Part(BOX, (1, 1, 1)),),
    "can": (Part(CYLINDER, (0.6, 0.6, 1)),),
    "cone": (Part(CONE, (0.7, 0.7, 1)),),
    "pyramid": (Part(PYRAMID, (1, 1, 0.8)),),
    # Furniture
    "table": (Part(BOX, (1, 0.7, 0.07), (0, 0, 0.6)), *legs((0.07, 0.07, 0.6), 0.9, 0.6, 0)),
    "chair": (
        Part(BOX, (0.5, 0.5, 0.07)),
        Part(BOX, (0.06, 0.5, 0.55), (-0.45, 0, 0.6)),
        *legs((0.06, 0.06, 0.35), 0.42, 0.42, -0.4),
    ),
    "bench": (
        Part(BOX, (1.2, 0.4, 0.07)),
        Part(BOX, (1.2, 0.06, 0.3), (0, 0.38, 0.4)),
        Part(BOX, (0.07, 0.38, 0.3), (-0.9, 0, -0.35)),
        Part(BOX, (0.07, 0.38, 0.3), (0.9, 0, -0.35)),
    ),
    "bed": (
        Part(BOX, (1.2, 0.75, 0.22)),
        Part(BOX, (0.07, 0.75, 0.5), (-1.2, 0, 0.2)),
        Part(BALL, (0.25, 0.5, 0.15), (-0.85, 0, 0.27)),
    ),
    "shelf": (
        Part(BOX, (0.7, 0.3, 1.1), minus=Part(BOX, (0.88, 1, 0.92), (0, -0.2, 0))),
        Part(BOX, (0.65, 0.28, 0.05), (0, 0, 0.35)),
        Part(BOX, (0.65, 0.28, 0.05), (0, 0, -0.35)),
    ),
    "stool": (
        Part(CYLINDER, (0.6, 0.6, 0.1), (0, 0, 0.7)),
        Part(CYLINDER, (0.07, 0.07, 0.75), (0.4, 0, 0), (-0.2, 0, 1)),
        Part(CYLINDER, (0.07, 0.07, 0.75), (-0.2, 0.35, 0), (0.1, -0.17, 1)),
        Part(CYLINDER, (0.07, 0.07, 0.75), (-0.2, -0.35, 0), (0.1, 0.17, 1)),
    ),
    "lamp": (
        Part(CYLINDER, (0.4, 0.4, 0.06), (0, 0, -1)),
        Part(CYLINDER, (0.05, 0.05, 0.8), (0, 0, -0.2)),
        Part(frustum(0.5), (0.55, 0.55, 0.35), (0, 0, 0.75)),
    ),
    # Kitchen and tools
    "mug": (
        hollow(Part(CYLINDER, (0.6, 0.6, 0.7))),
        ring(0.4, 0.09, (0.7, 0, 0), Y),
    ),
    "bottle": (
        Part(CYLINDER, (0.4, 0.4, 0.6), (0, 0, -0.5)),
        Part(frustum(0.3), (0.4, 0.4, 0.2), (0, 0, 0.3)),
        Part(CYLINDER, (0.13, 0.13, 0.3), (0, 0, 0.75)),
    ),
    "glass": (
        hollow(Part(frustum(0.5), (0.5, 0.5, 0.45), (0, 0, 0.6), DOWN)),
        Part(CYLINDER, (0.06, 0.06, 0.45), (0, 0, -0.3)),
        Part(CYLINDER, (0.4, 0.4, 0.05), (0, 0, -0.75)),
    ),
    "bowl": (hollow(Part(DOME, (1, 1, 0.7), along=DOWN)),),
    "pan": (
        hollow(Part(CYLINDER, (0.7, 0.7, 0.2))),
        Part(BOX, (0.6, 0.08, 0.06), (1.2, 0, 0.1)),
    ),
    "hammer": (
        Part(CYLINDER, (0.09, 0.09, 1), (0, 0, -0.2)),
        Part(BOX, (0.45, 0.2, 0.2), (0, 0, 0.9)),
        Part(ROOF, (0.2, 0.2, 0.2), (-0.6, 0, 0.9), (-1, 0, 0)),
    ),
    "dumbbell": (
        Part(CYLINDER, (0.12, 0.12, 0.8), along=X),
        Part(BALL, (0.4, 0.4, 0.4), (0.9, 0, 0)),
        Part(BALL, (0.4, 0.4, 0.4), (-0.9, 0, 0)),
    ),
    "ladder": (
        Part(BOX, (0.07, 0.07, 1.3), (0.4, 0, 0)),
        Part(BOX, (0.07, 0.07, 1.3), (-0.4, 0, 0)),
        *(Part(CYLINDER, (0.05, 0.05, 0.4), (0, 0, z), X) for z in (-0.9, -0.45, 0, 0.45, 0.9)),
    ),
    # Vehicles
    "wheel": (
        ring(1, 0.15, (0, 0, 0), Y, inner=0.8),
        Part(CYLINDER, (0.2, 0.2, 0.2), along=Y),
        *(Part(BOX, (0.06, 0.06, 0.9), along=a) for a in ((1, 0, 0), (0.5, 0, 1), (-0.5, 0, 1))),
    ),
    "car": (
        Part(BOX, (1.2, 0.5, 0.22)),
        Part(tapered(0.6, 0.85), (0.7, 0.48, 0.22), (-0.1, 0, 0.42)),
        *wheels(0.25, (-0.7, 0.7), 0.45, -0.22),
    ),
    "lorry": (
        Part(BOX, (0.95, 0.5, 0.55), (-0.35, 0, 0.3)),
        Part(BOX, (0.3, 0.45, 0.4), (0.95, 0, 0.1)),
        *wheels(0.22, (-0.9, -0.4, 0.9), 0.45, -0.3),
    ),
    "boat": (
        Part(tapered(0.7, 0.6), (1.1, 0.45, 0.25), (0, 0, -0.5), DOWN),
        Part(CYLINDER, (0.05, 0.05, 0.8), (0.1, 0, 0.5)),
        Part(ROOF, (0.02, 0.5, 0.6), (-0.5, 0, 0.55)),
    ),
    "aeroplane": (
        Part(BALL, (0.2, 0.2, 1.2), along=X),
        Part(BOX, (0.25, 1.2, 0.04), (0.1, 0, 0)),
        Part(BOX, (0.12, 0.45, 0.03), (-1, 0, 0.1)),
        Part(BOX, (0.12, 0.03, 0.25), (-1, 0, 0.3)),
    ),
    "rocket": (
        Part(CYLINDER, (0.3, 0.3, 0.8)),
        Part(CONE, (0.3, 0.3, 0.35), (0, 0, 1.15)),
        *(Part(PYRAMID, (0.35, 0.35, 0.3), (0.25 * x, 0.25 * y, -0.7)) for x, y in
          ((1, 1), (1, -1), (-1, 1), (-1, -1))),
    ),
    # Outdoors
    "house": (
        Part(BOX, (0.9, 0.7, 0.5)),
        Part(ROOF, (1, 0.85, 0.35), (0, 0, 0.85)),
        Part(BOX, (0.12, 0.12, 0.3), (0.5, 0.3, 1)),
    ),
    "tree": (
        Part(CYLINDER, (0.12, 0.12, 0.35), (0, 0, -0.9)),
        Part(CONE, (0.65, 0.65, 0.5), (0, 0, -0.15)),
        Part(CONE, (0.48, 0.48, 0.45), (0, 0, 0.5)),
    ),
    "mushroom": (
        Part(frustum(0.7), (0.28, 0.28, 0.55), (0, 0, -0.5)),
        Part(DOME, (0.8, 0.8, 0.7)),
    ),
    "umbrella": (
        Part(DOME, (1, 1, 0.6), (0, 0, 0.4), minus=Part(DOME, (0.93, 0.93, 0.93), (0, 0, -0.01))),
        Part(CYLINDER, (0.05, 0.05, 0.95), (0, 0, -0.05)),
        Part(BALL, (0.1, 0.1, 0.1), (0, 0, -1)),
    ),
}  # fmt: skip
"""The parts of each class, in the order of the labels."""
