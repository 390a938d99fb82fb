"""Renderings of objects, clean and cluttered, and the texture dial."""

import numpy as np
import pytest
from PIL import Image

from cnn import dials, objects
from cnn.config import DataConfig
from cnn.data import load
from cnn.objects_classes import CLASSES
from cnn.objects_render import (
    AMBIENT,
    BALL,
    BOX,
    CONE,
    CYLINDER,
    DOME,
    PYRAMID,
    ROOF,
    Part,
    Placed,
    frustum,
    render,
    tapered,
)

VIEWER = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def drawn():
    """The first 60 training images: clean, cluttered; float64 (60, 64, 64) from 0 to 255."""
    index = np.arange(60)
    return tuple(
        objects.pictures(index, test=False, cluttered=c)[:, 0].astype(float) for c in (False, True)
    )


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Sets of 60 and 30 images, kept in tmp_path."""
    monkeypatch.setattr(objects, "COUNTS", (60, 30))
    return tmp_path


def picture(part, frame=None, centre=(0.0, 0.0, 0.0), light=VIEWER, size=64, grey=1.0):
    frame = np.diag(part.size) if frame is None else frame
    return render([Placed(part, frame, np.array(centre), grey)], light, size)


# The renderer ------------------------------------------------------------------------------------


def test_silhouettes_have_the_areas_of_geometry():
    """Seen along z: discs, squares; seen along y: rectangles, triangles. To 1 % of the picture."""
    upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # y of the picture is the solid's z
    for solid, above, aside in [
        (BALL, np.pi, np.pi),
        (BOX, 4, 4),
        (CYLINDER, np.pi, 4),
        (CONE, np.pi, 2),
        (frustum(0.5), np.pi, 3),
        (PYRAMID, 4, 2),
        (ROOF, 4, 4),
        (DOME, np.pi, np.pi / 2),
    ]:
        for frame, area in ((np.eye(3), above), (upright, aside)):
            covered = picture(Part(solid, (1, 1, 1)), 0.7 * frame)[1]
            assert abs(covered.mean() * 4 - 0.49 * area) < 0.02, (solid, frame)


def inside(part, x):
    """Whether the points x (3, n), in the coordinates of the part's solid, are in it."""
    found = np.ones(x.shape[1], bool)
    for *n, h in part.solid.planes:
        found &= np.array(n) @ x <= h
    if part.solid.quadric is not None:
        c2, c1, c0 = part.solid.quadric
        found &= x[0] ** 2 + x[1] ** 2 + c2 * x[2] ** 2 + c1 * x[2] + c0 <= 0
    if part.minus is not None:
        hole = part.minus
        found &= ~inside(hole, (x - np.array(hole.at)[:, None]) / np.array(hole.size)[:, None])
    return found


def march(part, frame, u, v):
    """Heights z at which rays through (u, v) first meet the part; NaN if they do not."""
    inverse, z = np.linalg.inv(frame), np.linspace(1.8, -1.8, 401)
    grid = np.stack(np.broadcast_arrays(u[:, None], v[:, None], z)).reshape(3, -1)
    within = inside(part, inverse @ grid).reshape(len(u), -1)
    first = within.argmax(1)
    low, high = z[first], z[np.maximum(first - 1, 0)]
    for _ in range(30):
        middle = (low + high) / 2
        hit = inside(part, inverse @ np.stack([u, v, middle]))
        low, high = np.where(hit, middle, low), np.where(hit, high, middle)
    return np.where(within.any(1), low, np.nan)


@pytest.mark.parametrize(
    "part",
    [
        Part(tapered(0.5, 0.8), (0.8, 0.5, 0.6)),
        Part(CONE, (0.5, 0.6, 0.9)),
        Part(DOME, (0.9, 0.7, 0.8)),
        Part(CYLINDER, (0.6, 0.6, 0.8), minus=Part(CYLINDER, (0.8, 0.8, 1.0), (0, 0, 0.2))),
        Part(BOX, (0.8, 0.4, 0.7), minus=Part(frustum(0.3), (0.7, 0.7, 1.2))),
    ],
    ids=["tapered", "cone", "dome", "hollow", "bored"],
)
def test_rays_find_what_marching_along_them_finds(part):
    """Coverage, and the normal's z by differences of depth, from five sides each.

    Two of them are nearly along the solid's z, where a ray is steeper than a cone.

    The light is at the viewer: a pixel's grey says what the normal's z is.
    """
    at = (np.arange(24) + 0.5) / 12 - 1
    u, v = (a.ravel() for a in np.meshgrid(at, -at))
    above = np.array([[1, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]])
    turns = [np.linalg.qr(np.random.default_rng(k).normal(size=(3, 3)))[0] for k in range(3)]
    for turn in (*turns, above, np.diag([1, -1, -1]) @ above):
        frame = turn * np.array(part.size)
        grey, covered = picture(part, frame, size=24, grey=0.8)
        d = 1e-4
        z, *near = (
            march(part, frame, u + a, v + b) for a, b in ((0, 0), (d, 0), (-d, 0), (0, d), (0, -d))
        )
        slopes = (near[0] - near[1]) / (2 * d), (near[2] - near[3]) / (2 * d)
        want = 0.8 * (AMBIENT + (1 - AMBIENT) / np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2))
        whole, empty = covered.ravel() == 1, covered.ravel() == 0
        assert not np.isnan(z[whole]).any() and np.isnan(z[empty]).mean() > 0.99
        error = np.abs(grey.ravel() - want)[whole & ~np.isnan(want)]
        assert np.mean(error < 0.02) > 0.8 and np.median(error) < 2e-3  # the rest are edges


def test_the_nearest_part_is_seen():
    near = Placed(Part(BOX, (1, 1, 1)), 0.3 * np.eye(3), np.array([0, 0, 0.5]), 1.0)
    far = Placed(Part(BOX, (1, 1, 1)), 0.6 * np.eye(3), np.array([0, 0, -0.5]), 0.5)
    one, other = (render(parts, VIEWER, 32)[0] for parts in ([near, far], [far, near]))
    assert np.array_equal(one, other) and one[16, 16] == 1.0 and one[16, 8] == 0.5


# The sets ----------------------------------------------------------------------------------------


def test_an_image_depends_on_its_number_and_its_part_only():
    for cluttered in (False, True):
        many = objects.pictures(np.arange(8), test=False, cluttered=cluttered)
        some = objects.pictures(np.array([6, 3]), test=False, cluttered=cluttered)
        assert many.shape == (8, 1, 64, 64) and many.dtype == np.uint8
        assert np.array_equal(some, many[[6, 3]])
        other = objects.pictures(np.array([6, 3]), test=True, cluttered=cluttered)
        assert not np.array_equal(some, other)


def test_every_object_is_seen_whole_and_no_two_alike(drawn):
    clean, _ = drawn
    edge = np.ones((64, 64), bool)
    edge[1:-1, 1:-1] = False
    assert not clean[:, edge].any()
    assert ((clean > 13).mean((1, 2)) > 0.01).all()  # above what the dials take for dark
    assert len({x.tobytes() for x in clean}) == 60
    assert len(CLASSES) == 30


def test_only_the_background_differs(drawn):
    """Where a pixel and its neighbours are the object's, both sets agree; elsewhere they do not."""
    clean, cluttered = drawn
    shown = clean > 0
    near = [np.roll(shown, (a, b), (1, 2)) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    within, beyond = np.all(near, axis=0), ~np.any(near, axis=0)
    assert np.mean(clean[within] == cluttered[within]) > 0.99  # but where one sees through
    assert np.mean(cluttered[beyond] > 13) > 0.8
    low, high = np.quantile(clean[within], [0.1, 0.9])
    share = np.mean((cluttered[beyond] > low) & (cluttered[beyond] < high))
    assert share > 0.5  # grey values of the background are those of the objects


def test_the_sets_as_they_are_loaded(few):
    sets = [load(DataConfig(name, root=few)) for name in ("objects", "objects-cluttered")]
    for found in sets:
        assert (len(found.train), len(found.test)) == (60, 30)
        assert (found.classes, found.channels, found.size, found.flip) == (30, 1, 64, True)
        assert found.train.y.tolist() == [*range(30)] * 2
    assert sets[1].mean[0] > 3 * sets[0].mean[0]
    assert load(DataConfig("objects", root=few, size=32)).train.x.shape == (60, 1, 32, 32)


def test_what_is_kept_is_used_unless_it_is_damaged_or_old(few, monkeypatch):
    asked = []
    real = objects.pictures
    monkeypatch.setattr(
        objects, "pictures", lambda i, **how: asked.append(len(i)) or real(i, **how)
    )
    first = objects.objects(few)
    path = few / "objects" / "clean.npz"
    assert [p.name for p in path.parent.iterdir()] == ["clean.npz"]
    asked.clear()
    assert np.array_equal(objects.objects(few).train.x, first.train.x) and max(asked) <= 2
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    old = {"train": np.roll(first.train.x, 1, 0), "test": first.test.x}
    for damage in (lambda: path.write_bytes(raw), lambda: np.savez(path, **old)):
        damage()
        asked.clear()
        assert np.array_equal(objects.objects(few).train.x, first.train.x) and 60 in asked
    asked.clear()
    objects.objects(few)
    assert 60 not in asked  # written anew


def test_where_nothing_can_be_written_they_are_rendered(few):
    root = few / "file"
    root.write_text("")
    assert len(objects.objects(root).train.y) == 60
    assert root.read_text() == ""


# Texture where an image is dark ------------------------------------------------------------------


def raw(part, data):
    return part.x.double().numpy() * data.std[0] + data.mean[0]


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_texture_shows_where_an_image_is_dark(few, strength):
    clean, found = (load(DataConfig("objects", few, size=32, texture=t)) for t in (0, strength))
    for name in ("train", "test"):
        x, y = raw(getattr(clean, name), clean), raw(getattr(found, name), found)
        dark = x <= dials.DARK
        np.testing.assert_allclose(y[~dark], x[~dark], atol=1e-6)
        assert abs(y[dark].mean() / strength - 0.5) < 0.02
        assert abs(y[dark].std() / strength - 0.25) < 0.02 and y[dark].max() <= strength + 1e-6
    assert found.std != clean.std  # normalised as it is seen


def test_a_texture_belongs_to_its_image(few):
    config = DataConfig("objects", few, size=16, texture=1.0)
    whole = load(config)
    some = load(DataConfig("objects", few, size=16, texture=1.0, classes=(7, 2)))
    kept = np.isin(whole.train.y, (7, 2))
    np.testing.assert_allclose(raw(some.train, some), raw(whole.train, whole)[kept], atol=1e-6)
    args = {"seed": 0, "test": False}
    one = dials.texture(np.arange(4), 28, **args)
    assert one.shape == (4, 28, 28) and one.dtype == np.float32
    assert np.array_equal(dials.texture(np.array([2]), 28, **args)[0], one[2])
    for other in ({"seed": 1, "test": False}, {"seed": 0, "test": True}):
        assert not np.array_equal(dials.texture(np.arange(4), 28, **other), one)


def test_textures_are_waves_of_a_few_directions():
    """The strongest sixteenth of the frequencies has over 0.6 of the power; of white noise 0.24."""

    def share(x):
        power = np.abs(np.fft.fft2(x - x.mean((1, 2), keepdims=True))).reshape(len(x), -1) ** 2
        return np.sort(power, axis=1)[:, -(32 * 32) // 16 :].sum(1) / power.sum(1)

    assert share(dials.texture(np.arange(50), 32, seed=0, test=False).astype(float)).min() > 0.6
    assert share(np.random.default_rng(0).normal(size=(50, 32, 32))).max() < 0.4


def test_texture_on_images_from_files_is_rounded_and_a_stream_refuses_it(tmp_path):
    for part in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            for k in range(3):
                x = np.zeros((12, 12), np.uint8)
                x[4:8, 4:8] = 200 + k
                Image.fromarray(x).save(tmp_path / part / label / f"{k}.png")
    config = DataConfig("folder", tmp_path, texture=0.5, workers=0)
    found = load(config)
    x = raw(found.train, found) * 255
    np.testing.assert_allclose(x, np.rint(x), atol=1e-3)
    texture = dials.texture(np.arange(6), 12, seed=0, test=False)
    np.testing.assert_allclose(x[:, 0, 0], np.rint(127.5 * texture[:, 0]), atol=1.001)
    assert (x[:, 0, 4:8, 4:8] > 199).all()
    with pytest.raises(ValueError, match=r"texture must be 0 for folder.*streamed, not 0\.5"):
        load(config, resident=False)


def test_no_texture_is_the_default(few):
    found = load(DataConfig("objects", few))
    want = objects.pictures(np.arange(60), test=False, cluttered=False) / 255
    np.testing.assert_allclose(raw(found.train, found), want, atol=1e-6)


@pytest.mark.parametrize("texture", [-0.1, 1.5, float("nan"), "much"])
def test_a_texture_out_of_range(texture):
    with pytest.raises(ValueError, match="texture"):
        load(DataConfig(texture=texture))
