"""The companion package's images: sets on disk, dials, batches. Files are written by the tests."""

import gzip
import hashlib
import itertools
import pickle
import struct
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

import regdyn
from cnn import batches, data, datasets, dials, folders
from cnn.batches import Batches, epoch_of
from cnn.config import DataConfig
from cnn.data import Split, Stream, load

RNG = np.random.default_rng(0)


# Writers: small files in the formats of the real sets --------------------------------------------


def pictures(n, size, channels=1, seed=0):
    """Random uint8 images (n, size, size, channels) that are dark at the border."""
    x = np.random.default_rng(seed).integers(100, 256, (n, size, size, channels), dtype=np.uint8)
    edge = size // 4
    dark = np.ones((size, size, 1), bool)
    dark[edge : size - edge, edge : size - edge] = False
    return np.where(dark, x // 25, x).astype(np.uint8)


def write_idx(path, x, zipped=True):
    raw = bytes([0, 0, 8, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape) + x.tobytes()
    path.with_name(path.name + ".gz" * zipped).write_bytes(gzip.compress(raw) if zipped else raw)


def write_fashion(folder, train=60, test=30, zipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    for k, (part, n) in enumerate({"train": train, "t10k": test}.items()):
        write_idx(folder / f"{part}-images-idx3-ubyte", pictures(n, 28, seed=k)[..., 0], zipped)
        labels = np.arange(n, dtype=np.uint8) % 10
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels, zipped)


def write_cifar(root, classes, n=20):
    """The keys, names and layout of the python version; returns the pixels written."""
    if classes == 10:
        folder, key = root / "cifar-10-batches-py", "labels"
        names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    else:
        folder, key, names = root / "cifar-100-python", "fine_labels", ["train", "test"]
    folder.mkdir(parents=True)
    seen = []
    for k, name in enumerate(names):
        x = pictures(n, 32, 3, seed=k).transpose(0, 3, 1, 2).reshape(n, 3072)
        entry = {"data": x, key: [(k + j) % classes for j in range(n)], "filenames": ["a.png"] * n}
        (folder / name).write_bytes(pickle.dumps(entry, protocol=2))
        seen.append(x)
    return np.concatenate(seen[:-1]), seen[-1]


def write_folder(root, *, classes=3, n=8, size=12, channels=1, parts=("train", "test"), ext="png"):
    for k, part in enumerate(parts):
        x = pictures(classes * n, size, channels, seed=10 + k)
        for j, pixels in enumerate(x):
            path = root / part / f"class{j % classes}" / f"{j:03d}.{ext}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    return root


def write_tinyimagenet(root):
    """train/CLASS/images/*.JPEG with a list of boxes beside; val with its list of labels."""
    for k, name in enumerate(["n02", "n01", "n03"]):
        (root / "train" / name / "images").mkdir(parents=True)
        (root / "train" / name / f"{name}_boxes.txt").write_text("x\t0\t0\t1\t1\n")
        for j, pixels in enumerate(pictures(4, 64, 3, seed=k)):
            Image.fromarray(pixels).save(root / "train" / name / "images" / f"{name}_{j}.JPEG")
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for j, pixels in enumerate(pictures(6, 64, 3, seed=9)):
        Image.fromarray(pixels).save(root / "val" / "images" / f"val_{j}.JPEG")
        lines.append(f"val_{j}.JPEG\t{['n03', 'n01', 'n02'][j % 3]}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("n02\nn01\nn03\n")
    return root


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    root = tmp_path_factory.mktemp("fashion")
    write_fashion(root)
    return root


@pytest.fixture(scope="module")
def renderings(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("renderings"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tinyimagenet(tmp_path_factory.mktemp("tiny"))


def pixels_of(split, data):
    """Normalised images back in units of the peak value, as float64 (n, c, h, w)."""
    x = torch.cat([x for x, _ in split.in_order()]).double().numpy()
    mean, std = (np.array(m)[:, None, None] for m in (data.mean, data.std))
    return x * std + mean


def steps(split, first, count, **options):
    """The batches of steps first, first + 1, ..., stacked: (count, batch, c, h, w), (count, ...)"""
    options = {"batch": 7, "seed": 3, "flip": True, **options}
    it = Batches(split, **options).start(first)
    x, y = zip(*itertools.islice(it, count), strict=True)
    return torch.stack(x), torch.stack(y)


# The sets ----------------------------------------------------------------------------------------


def test_digits_are_split_once_and_for_all():
    """Every digit is in one part; 1437 and 360; the same ones whatever the dial seed."""
    from sklearn.datasets import load_digits

    found = load(DataConfig(dial_seed=1))
    assert (len(found.train), len(found.test)) == (1437, 360)
    assert (found.classes, found.channels, found.size, found.flip) == (10, 1, 8, False)
    both = np.concatenate([pixels_of(s, found) for s in (found.train, found.test)])
    seen = Counter(x.tobytes() for x in np.rint(both * 16).astype(np.uint8))
    assert seen == Counter(x.astype(np.uint8).tobytes() for x in load_digits().images)
    assert found.test.y[:12].tolist() == [8, 5, 5, 2, 1, 1, 8, 0, 7, 1, 9, 2]
    assert torch.equal(found.test.x, load(DataConfig()).test.x)
    assert found.train.x.dtype == torch.float32 and found.train.y.dtype == torch.int64
    assert abs(found.train.x.mean()) < 1e-5 and abs(found.train.x.std() - 1) < 1e-3


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_fashion_mnist_is_found_and_read(tmp_path, below, zipped):
    write_fashion(tmp_path / below, zipped=zipped)
    found = load(DataConfig("fashion-mnist", root=tmp_path))
    assert (len(found.train), len(found.test), found.size, found.flip) == (60, 30, 28, True)
    want = pictures(60, 28)[..., 0] / 255
    np.testing.assert_allclose(pixels_of(found.train, found)[:, 0], want, atol=1e-6)
    assert found.test.y.tolist() == [*range(10)] * 3
    assert found.mean == pytest.approx([want.mean()]) and found.std == pytest.approx([want.std()])


def test_fashion_mnist_without_a_root_is_debians(fashion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "DEBIAN", fashion)
    assert len(load(DataConfig("fashion-mnist")).train) == 60


@pytest.mark.slow
@pytest.mark.skipif(not datasets.DEBIAN.is_dir(), reason="no dataset-fashion-mnist")
def test_the_real_fashion_mnist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load(DataConfig("fashion-mnist", size=14))
    assert found.train.x.shape == (60_000, 1, 14, 14) and found.test.x.shape == (10_000, 1, 14, 14)
    assert found.train.y.bincount().tolist() == [6000] * 10


def test_flips_are_the_sets_own_unless_they_are_chosen(fashion):
    for name, own in (("digits", False), ("fashion-mnist", True)):
        chosen = [load(DataConfig(name, root=fashion, flip=f)).flip for f in (None, True, False)]
        assert chosen == [own, True, False]


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_is_read(tmp_path, classes):
    train, test = write_cifar(tmp_path, classes)
    found = load(DataConfig(f"cifar{classes}", root=tmp_path))
    assert (found.classes, found.channels, found.size, found.flip) == (classes, 3, 32, True)
    for split, want in ((found.train, train), (found.test, test)):
        want = want.reshape(-1, 3, 32, 32) / 255
        np.testing.assert_allclose(pixels_of(split, found), want, atol=1e-6)
    assert found.test.y[:3].tolist() == ([5, 6, 7] if classes == 10 else [1, 2, 3])
    assert np.ptp(found.train.x.mean((0, 2, 3)).numpy()) < 1e-5  # each channel by itself


def test_tinyimagenet_takes_the_labels_of_val_from_its_list(tiny):
    found = load(DataConfig("tinyimagenet", root=tiny))
    assert (found.classes, found.channels, found.size, found.flip) == (3, 3, 64, True)
    assert found.train.y.bincount().tolist() == [4, 4, 4]
    assert found.test.y.tolist() == [2, 0, 1] * 2  # n03, n01, n02 among the sorted names
    want = np.asarray(Image.open(tiny / "val/images/val_1.JPEG")).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(pixels_of(found.test, found)[1], want, atol=1e-6)


def test_tinyimagenet_with_a_sorted_val_is_the_same(tiny, tmp_path):
    (tmp_path / "wnids.txt").write_text("")
    (tmp_path / "train").symlink_to(tiny / "train")
    for line in (tiny / "val/val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        place = tmp_path / "val" / wnid
        place.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(tiny / "val/images" / name)
    assert load(DataConfig("tinyimagenet", root=tmp_path)).test.y.tolist() == [0, 0, 1, 1, 2, 2]


def test_imagenet_is_resized_and_cropped(tmp_path):
    """Resized to 8/7 of the size; the centre for testing, all 33 x 33 corners for training."""
    write_folder(tmp_path, size=40, channels=3, parts=("train", "val"), ext="jpeg")
    Image.fromarray(pictures(1, 50, 3)[0, :30]).save(tmp_path / "val/class0/000.jpeg")  # 50 x 30
    found = load(DataConfig("imagenet", root=tmp_path, size=28, workers=0))
    assert isinstance(found.train, Stream) and (found.size, found.flip) == (28, True)
    assert found.mean == (0.485, 0.456, 0.406) and found.std == (0.229, 0.224, 0.225)
    whole = np.asarray(
        Image.open(tmp_path / "val/class0/000.jpeg").resize((32, 32), Image.Resampling.BILINEAR)
    )
    centre = whole[2:30, 2:30].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(pixels_of(found.test, found)[0], centre, atol=1e-6)
    full = found.train.pixels(0)
    corners = {
        (top, left): full[:, top : top + 28, left : left + 28].tobytes()
        for top in range(5)
        for left in range(5)
    }
    words = [h * 2**16 + w for h in range(0, 2**16, 5000) for w in range(0, 2**16, 5000)]
    seen = {found.train.image(0, corner=word).numpy().tobytes() for word in [*words, 2**32 - 1]}
    assert seen == set(corners.values()) and len(seen) == 25
    assert load(DataConfig("imagenet", root=tmp_path)).train.margin == 32


def test_a_folder_of_images(renderings):
    found = load(DataConfig("folder", root=renderings))
    assert (found.classes, found.channels, found.size, found.flip) == (3, 1, 12, True)
    want = pictures(24, 12, seed=10).transpose(0, 3, 1, 2) / 255
    order = np.argsort(np.arange(24) % 3, kind="stable")  # class by class
    np.testing.assert_allclose(pixels_of(found.train, found), want[order], atol=1e-6)
    assert found.train.y.tolist() == [0] * 8 + [1] * 8 + [2] * 8


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "1", "CMYK"])
def test_kinds_of_images(tmp_path, mode):
    """What is transparent is black; a palette, one bit and CMYK become colours or grays."""
    image = Image.fromarray(pictures(1, 8, 3)[0])
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(np.eye(8, dtype=np.uint8) * 255))
    image = image.convert(mode)
    image.save(path := tmp_path / ("x.tif" if mode == "CMYK" else "x.png"))
    gray, colour = (folders.read(str(path), channels, 8) for channels in (1, 3))
    assert gray.shape == (1, 8, 8) and colour.shape == (3, 8, 8) and gray.dtype == np.uint8
    if mode in ("RGBA", "LA"):
        assert not colour[:, ~np.eye(8, dtype=bool)].any() and colour[:, 4, 4].all()
    else:
        np.testing.assert_array_equal(colour.transpose(1, 2, 0), np.asarray(image.convert("RGB")))


def test_a_file_is_made_smaller_by_means_where_that_is_possible(tmp_path):
    x = pictures(1, 12)[0, ..., 0]
    Image.fromarray(x).save(tmp_path / "x.png")
    means = x.reshape(4, 3, 4, 3).mean((1, 3))
    assert np.abs(folders.read(str(tmp_path / "x.png"), 1, 4) - means).max() <= 0.5
    assert folders.read(str(tmp_path / "x.png"), 1, 5).shape == (1, 5, 5)


# Missing and damaged -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "todo"),
    [
        ("fashion-mnist", r"FashionMNIST\('.*', download=True\).*dataset-fashion-mnist"),
        ("cifar10", r"CIFAR10\('.*', download=True\)"),
        ("cifar100", r"CIFAR100\('.*', download=True\)"),
        ("tinyimagenet", r"tiny-imagenet-200\.zip"),
        ("imagenet", r"ILSVRC2012_img_train\.tar"),
        ("folder", "one folder of images per class"),
    ],
)
def test_a_missing_set_says_what_to_do(tmp_path, name, todo):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=f"(?s)is not there.*{todo}") as error:
            load(DataConfig(name, root=root))
        assert "\n" not in str(error.value) and error.value.filename is None


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        load(DataConfig("fashionmnist"))
    with pytest.raises(ValueError, match="'folder' needs --root"):
        load(DataConfig("folder"))


def refused(config, *words, **options):
    """The one sentence with which `config` is refused; it holds all the words."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load(config, **options)
    text = str(error.value)
    assert "\n" not in text and text.endswith("."), text
    for word in words:
        assert str(word) in text, text
    return text


IDX = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", IDX)
def test_a_truncated_idx_file_is_named(tmp_path, name, zipped):
    write_fashion(tmp_path, zipped=zipped)
    path = tmp_path / (name + ".gz" * zipped)
    raw = path.read_bytes()
    for keep in (0, 3, 9, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:keep])
        refused(DataConfig("fashion-mnist", root=tmp_path), path, "damaged or truncated")
    path.unlink()
    if name == IDX[0]:
        refused(DataConfig("fashion-mnist", root=tmp_path), "is not there")
    else:
        refused(DataConfig("fashion-mnist", root=tmp_path), path.stem.split(".")[0], "is missing")


def test_a_changed_byte_in_a_zipped_file_is_seen(tmp_path):
    write_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    raw = path.read_bytes()
    for at in [0, *RNG.integers(10, len(raw), 20)]:  # bytes 4 to 9 are a date and a system
        changed = bytearray(raw)
        changed[at] ^= 4
        path.write_bytes(bytes(changed))
        refused(DataConfig("fashion-mnist", root=tmp_path), path)


def test_idx_files_that_are_not_what_they_should_be(tmp_path):
    config = DataConfig("fashion-mnist", root=tmp_path)
    write_fashion(tmp_path)
    images = tmp_path / "t10k-images-idx3-ubyte"
    write_idx(images, np.zeros((29, 28, 28), np.uint8))
    refused(config, images, "30 labels")
    write_idx(images, np.zeros((30, 28), np.uint8))
    refused(config, images, "3 dimensions")
    write_idx(images, np.zeros((30, 28, 28), np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.full(30, 10, np.uint8))
    refused(config, "t10k-labels-idx1-ubyte", "from 0 to 9")


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_4", "test_batch"])
def test_a_truncated_cifar_file_is_named(tmp_path, name):
    write_cifar(tmp_path, 10)
    path = tmp_path / "cifar-10-batches-py" / name
    raw = path.read_bytes()
    for keep in (0, 1, 50, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:keep])
        refused(DataConfig("cifar10", root=tmp_path), path, "damaged or truncated")
    path.unlink()
    words = ["is not there"] if name == "data_batch_1" else [path, "is missing"]
    refused(DataConfig("cifar10", root=tmp_path), *words)


class Evil:
    """Pickled, it is a call of a function that was not asked for."""

    def __reduce__(self):
        return Counter, ("abc",)


def test_cifar_files_that_are_not_what_they_should_be(tmp_path):
    write_cifar(tmp_path, 10)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    x = np.zeros((5, 3072), np.uint8)
    for entry, word in [
        ({"data": x, "labels": [0, 1, 2, 3]}, "labels"),
        ({"data": x[:, :100], "labels": [0] * 5}, "data"),
        ({"data": x.astype(float), "labels": [0] * 5}, "float64"),
        ({"data": x, "labels": [0, 1, 2, 3, 10]}, "from 0 to 9"),
        ({"data": x, "fine_labels": [0] * 5}, "labels"),
        ([x], "list"),
        (Evil(), "collections.Counter"),
    ]:
        path.write_bytes(pickle.dumps(entry, protocol=2))
        refused(DataConfig("cifar10", root=tmp_path), path, word)


def test_a_cifar_file_of_full_length_must_have_the_original_checksum(tmp_path, monkeypatch):
    """A changed pixel is seen in nothing else."""
    from torchvision.datasets import CIFAR100

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    sums = {}
    monkeypatch.setattr(datasets, "CIFAR", (50, 10))
    for name, n in (("train", 50), ("test", 10)):
        x = pictures(n, 32, 3).reshape(n, 3072)
        raw = pickle.dumps({"data": x, "fine_labels": [0] * n}, protocol=2)
        (folder / name).write_bytes(raw)
        sums[name] = [[name, hashlib.md5(raw).hexdigest()]]
    refused(DataConfig("cifar100", root=tmp_path), folder / "train", "MD5")
    monkeypatch.setattr(CIFAR100, "train_list", sums["train"])
    refused(DataConfig("cifar100", root=tmp_path), folder / "test", "MD5")
    monkeypatch.setattr(CIFAR100, "test_list", sums["test"])
    assert len(load(DataConfig("cifar100", root=tmp_path)).train) == 50


@pytest.mark.parametrize("ext", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path, ext):
    write_folder(tmp_path, size=16, ext=ext)
    path = tmp_path / f"train/class1/004.{ext}"
    raw = path.read_bytes()
    for keep in (0, 20, len(raw) // 2, len(raw) - 20):
        path.write_bytes(raw[:keep])
        refused(DataConfig("folder", root=tmp_path), path, "damaged or truncated")
    path.write_text("no image at all")
    refused(DataConfig("folder", root=tmp_path), path, "damaged or truncated")


def test_a_changed_byte_in_a_png_is_seen(tmp_path):
    """Each part of a PNG has a checksum; a change outside leaves the pixels as they were."""
    Image.fromarray(pictures(1, 16)[0, ..., 0]).save(path := tmp_path / "x.png")
    raw, want, seen = path.read_bytes(), folders.read(str(path), 1, 16), 0
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 << at % 8
        path.write_bytes(bytes(changed))
        try:
            np.testing.assert_array_equal(folders.read(str(path), 1, 16), want)
        except ValueError:
            seen += 1
    assert seen > 0.95 * len(raw)


def test_images_of_more_than_8_bits_are_refused(tmp_path):
    write_folder(tmp_path)
    path = tmp_path / "train/class2/005.png"
    Image.fromarray(np.full((12, 12), 1000, np.uint16)).save(path)
    refused(DataConfig("folder", root=tmp_path), path, "8 bits")


def test_folders_without_what_they_need(tmp_path):
    config = DataConfig("folder", root=tmp_path)
    (tmp_path / "train").mkdir()
    refused(config, "neither a folder test nor val")
    (tmp_path / "val").mkdir()
    refused(config, tmp_path / "train", "one folder of images per class")
    (tmp_path / "train" / "a").mkdir()
    refused(config, tmp_path / "train", "no valid file")
    write_folder(tmp_path, classes=1, parts=("train",))
    (tmp_path / "train" / "a").rmdir()
    refused(config, "one class folder only")
    write_folder(tmp_path, classes=3, parts=("train",))
    write_folder(tmp_path, classes=2, parts=("val",))
    refused(config, tmp_path / "val", "class2")
    write_folder(tmp_path, classes=3, parts=("val",))
    assert load(config).classes == 3
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "train/class0/000.png")
    refused(config, "not square", "size")
    assert load(DataConfig("folder", root=tmp_path, size=4)).train.x.shape[2:] == (4, 4)


# Dials -------------------------------------------------------------------------------------------


def test_fewer_classes(fashion):
    """Chosen labels are counted anew, in the order given; one number means the first so many."""
    config = DataConfig("fashion-mnist", root=fashion)
    whole, part = load(config), load(DataConfig("fashion-mnist", root=fashion, classes=(7, 2)))
    assert part.classes == 2 and len(part.train) == 12 and len(part.test) == 6
    for a, b in ((part.train, whole.train), (part.test, whole.test)):
        want = {7: 0, 2: 1}
        assert a.y.tolist() == [want[int(y)] for y in b.y if int(y) in want]
    np.testing.assert_allclose(
        pixels_of(part.train, part),
        pixels_of(whole.train, whole)[np.isin(whole.train.y, (7, 2))],
        atol=1e-6,
    )
    first = load(DataConfig("fashion-mnist", root=fashion, classes=(4,)))
    assert first.train.y.unique().tolist() == [0, 1, 2, 3]


def test_fewer_images_are_nested(fashion):
    kept = [
        {x.tobytes() for x in np.rint(255 * pixels_of(d.train, d)).astype(np.uint8)}
        for n in (5, 20, 60)
        for d in [load(DataConfig("fashion-mnist", root=fashion, images=n))]
    ]
    assert [len(k) for k in kept] == [5, 20, 60] and kept[0] < kept[1] < kept[2]
    other = load(DataConfig("fashion-mnist", root=fashion, images=5, dial_seed=1))
    again = np.rint(255 * pixels_of(other.train, other)).astype(np.uint8)
    assert {x.tobytes() for x in again} != kept[0]
    assert len(other.test) == 30


def test_random_labels():
    """A share of training labels is drawn anew, evenly, nested in the share; test labels stay."""
    clean = load(DataConfig()).train.y.numpy()
    changed = []
    for p in (0.1, 0.5, 1.0):
        found = load(DataConfig(random_labels=p))
        y = found.train.y.numpy()
        changed.append(y != clean)
        n, q = len(y), p * 0.9
        assert abs(changed[-1].sum() - n * q) < 4 * np.sqrt(round(p * n) * 0.9 * 0.1)
        assert torch.equal(found.test.y, load(DataConfig()).test.y)
    assert not (changed[0] & ~changed[1]).any() and not (changed[1] & ~changed[2]).any()
    counts = np.bincount(y, minlength=10)  # of p = 1
    assert (np.abs(counts - 143.7) < 4 * np.sqrt(143.7 * 0.9)).all()
    assert (load(DataConfig(random_labels=1.0, dial_seed=1)).train.y.numpy() != y).mean() > 0.8
    two = load(DataConfig(random_labels=1.0, classes=(3, 8))).train.y
    assert two.unique().tolist() == [0, 1]


def test_noise_is_added_to_normalised_images(fashion):
    """Its size is in standard deviations of the pixels; each image, also of testing, has its own
    for good, whichever others are kept."""
    clean = load(DataConfig("fashion-mnist", root=fashion))
    noisy = load(DataConfig("fashion-mnist", root=fashion, noise=0.5))
    z = {}
    for part in ("train", "test"):
        z[part] = (getattr(noisy, part).x - getattr(clean, part).x).numpy()
        n = z[part].size
        assert abs(z[part].mean()) < 4 * 0.5 / np.sqrt(n)
        assert abs(z[part].std() - 0.5) < 4 * 0.5 / np.sqrt(2 * n)
    a, b = z["train"][:30], z["test"]
    assert abs((a * b).mean()) < 4 * 0.25 / np.sqrt(a.size)
    config = DataConfig("fashion-mnist", root=fashion, noise=0.5, classes=(1, 2))
    part, base = load(config), load(DataConfig("fashion-mnist", root=fashion, classes=(1, 2)))
    kept = np.isin(clean.train.y, (1, 2))
    np.testing.assert_allclose(part.train.x - base.train.x, z["train"][kept], atol=1e-5)
    other = load(DataConfig("fashion-mnist", root=fashion, noise=0.5, dial_seed=1))
    assert not torch.equal(other.train.x, noisy.train.x)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_clutter_shows_another_image_where_one_is_dark(fashion, strength):
    clean = load(DataConfig("fashion-mnist", root=fashion))
    found = load(DataConfig("fashion-mnist", root=fashion, clutter=strength))
    for part in ("train", "test"):
        x, y = pixels_of(getattr(clean, part), clean), pixels_of(getattr(found, part), found)
        dark = x <= 0.05
        np.testing.assert_allclose(y[~dark], x[~dark], atol=1e-6)
        behind = strength * np.roll(x, (14, 14), (2, 3))
        for i in range(len(x)):
            fits = [np.allclose(y[i][dark[i]], b[dark[i]], atol=1e-5) for b in behind]
            assert sum(fits) == 1 and not fits[i]  # one image, and not the same one
        assert y[dark].mean() > 3 * x[dark].mean()
    assert found.std != clean.std  # normalised as it is seen


def test_resolution_by_means_or_by_interpolation(fashion):
    whole = load(DataConfig("fashion-mnist", root=fashion))
    x = pixels_of(whole.train, whole)
    half = load(DataConfig("fashion-mnist", root=fashion, size=14))
    means = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    np.testing.assert_allclose(pixels_of(half.train, half), means, atol=1e-6)
    assert (half.size, half.test.x.shape) == (14, (30, 1, 14, 14))
    other = load(DataConfig("fashion-mnist", root=fashion, size=20))
    got = pixels_of(other.train, other)
    assert got.shape == (60, 1, 20, 20) and abs(got.mean() - x.mean()) < 0.01
    assert load(DataConfig("fashion-mnist", root=fashion, size=32)).size == 32
    step = np.repeat([0.0, 1.0], 14).astype(np.float32) * np.ones((1, 1, 28, 1), np.float32)
    small = dials.resize(step, 9)[0, 0]
    np.testing.assert_allclose(small, small[:, ::-1] * -1 + 1, atol=1e-6)  # the edge stays centred
    stripes = np.tile(np.array([0, 1], np.float32), 14) * np.ones((1, 1, 28, 1), np.float32)
    assert np.ptp(dials.resize(stripes, 9)[..., 1:-1]) < 0.2  # without antialiasing: 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 0}, ["images", ">= 1"]),
        ({"images": 1438}, ["images", "from 1 to 1437"]),
        ({"images": 400, "classes": (2,)}, ["images", "choice of classes"]),
        ({"size": 1}, ["size"]),
        ({"classes": (1,)}, ["classes", "from 2 to 10"]),
        ({"classes": (11,)}, ["classes", "from 2 to 10"]),
        ({"classes": (3, 10)}, ["label", "from 0 to 9"]),
        ({"classes": (3, 3)}, ["classes", "each once"]),
        ({"classes": ()}, ["classes"]),
        ({"random_labels": 1.5}, ["random_labels"]),
        ({"random_labels": -0.1}, ["random_labels"]),
        ({"noise": -1.0}, ["noise"]),
        ({"noise": float("nan")}, ["noise"]),
        ({"clutter": 2.0}, ["clutter"]),
        ({"flip": "yes"}, ["flip"]),
        ({"dial_seed": -1}, ["dial_seed"]),
        ({"workers": -1}, ["workers"]),
        ({"images": 1, "clutter": 1.0}, ["two images"]),
    ],
)
def test_dials_out_of_range(change, words):
    refused(DataConfig(**change), *words)


def test_images_without_contrast_are_refused(tmp_path):
    write_folder(tmp_path)
    for path in tmp_path.glob("train/*/*.png"):
        Image.fromarray(np.full((12, 12), 7, np.uint8)).save(path)
    refused(DataConfig("folder", root=tmp_path), "one value")


# Batches -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered():
    """Images that say who they are: image i is i at the left and -i at the right."""
    i = torch.arange(50.0)
    return Split(torch.stack([i, -i], 1)[:, None, None, :], torch.arange(50), ((0.0,), (1.0,)))


def test_an_epoch_shows_every_image_once(numbered):
    x, y = steps(numbered, 0, 3 * 7, batch=7)  # 7 batches of 7 in an epoch: one image is left out
    for epoch in y.reshape(3, 49):
        assert len(epoch.unique()) == 49
    assert len({tuple(epoch.tolist()) for epoch in y.reshape(3, 49)}) == 3
    assert torch.equal(x.abs()[..., 0].flatten(), y.float().flatten())  # labels go with images


def test_the_order_is_that_of_the_counter_generator():
    """Written out by hand from its docstring; so no library's shuffle has a say."""
    for seed, epoch, n in ((0, 0, 9), (5, 3, 100)):
        w = [
            regdyn.random.words(seed, np.array([i]), 4 * epoch + 1, 4, 300)[:, 0].tolist()
            for i in range(n)
        ]
        drawn = epoch_of(seed, epoch, n)
        assert drawn.order.tolist() == sorted(range(n), key=lambda i: (w[i][0], w[i][1]))
        assert drawn.flip.tolist() == [v[2] >= 2**31 for v in w]
        assert drawn.corner.tolist() == [v[3] for v in w]
    assert epoch_of(0, 0, 9).order.tolist() == [7, 0, 8, 6, 1, 2, 4, 3, 5]


def test_half_of_the_images_are_flipped(numbered):
    x, y = steps(numbered, 0, 400, batch=50)
    flipped = x[:, :, 0, 0, 0] != y
    assert (torch.where(flipped, -1, 1) * x[:, :, 0, 0, 0] == y).all()
    share = flipped[y > 0].double().mean()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(400 * 49)
    assert not torch.equal(flipped[0], flipped[1])
    x, y = steps(numbered, 0, 20, flip=False)
    assert torch.equal(x[:, :, 0, 0, 0], y.float())


@pytest.mark.parametrize("first", [0, 1, 6, 7, 8, 40])
def test_a_run_can_be_taken_up_at_any_step(numbered, first, monkeypatch):
    x, y = steps(numbered, 0, 60)
    monkeypatch.setattr(batches, "CHUNK", 200)  # several pieces in an epoch
    x2, y2 = steps(numbered, first, 60 - first)
    assert torch.equal(x[first:], x2) and torch.equal(y[first:], y2)


def test_seeds_differ(numbered):
    one, two = (steps(numbered, 0, 7, seed=seed)[1] for seed in (0, 1))
    assert not torch.equal(one, two)


@pytest.mark.parametrize("world", [2, 5])
def test_ranks_share_each_batch(numbered, world):
    x, y = steps(numbered, 3, 20, batch=10)
    parts = [steps(numbered, 3, 20, batch=10, rank=r, world=world) for r in range(world)]
    assert torch.equal(torch.cat([p[0] for p in parts], 1), x)
    assert torch.equal(torch.cat([p[1] for p in parts], 1), y)
    assert parts[0][1].shape == (20, 10 // world)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 51}, "at most the number of training images, 50, not 51"),
        ({"batch": 0}, "batch must be"),
        ({"batch": 7, "world": 2}, "multiple of the 2 ranks"),
        ({"rank": 2, "world": 2, "batch": 4}, "rank must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_batches_that_cannot_be(numbered, change, words):
    with pytest.raises(ValueError, match=words):
        Batches(numbered, **{"batch": 7, "seed": 0, **change})
    with pytest.raises(ValueError, match="step must be"):
        Batches(numbered, batch=7, seed=0).start(-1)


def test_memory_format(fashion):
    split = load(DataConfig("fashion-mnist", root=fashion)).train
    split = Split(split.x.repeat(1, 3, 1, 1), split.y, split.moments)
    x, _ = next(Batches(split, batch=8, seed=0, memory_format=torch.channels_last).start())
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, next(Batches(split, batch=8, seed=0).start())[0])


# In memory and streamed --------------------------------------------------------------------------


def test_many_pixels_stay_whole_numbers_in_memory(tiny, monkeypatch):
    """The batches are the same to the bit; with noise there is no such form."""
    config = DataConfig("tinyimagenet", root=tiny, clutter=0.7)
    floats = load(config)
    monkeypatch.setattr(data, "AS_FLOATS", 0)
    whole = load(config)
    assert whole.train.x.dtype == torch.uint8 and floats.train.x.dtype == torch.float32
    for a, b in zip(steps(floats.train, 2, 5), steps(whole.train, 2, 5), strict=True):
        assert torch.equal(a, b)
    (a, _), (b, _) = next(floats.test.in_order()), next(whole.test.in_order())
    assert torch.equal(a, b)
    noisy = load(DataConfig("tinyimagenet", root=tiny, noise=0.1))
    assert noisy.train.x.dtype == torch.float32


@pytest.mark.parametrize(
    "dials",
    [
        {},
        {"size": 4, "images": 20, "random_labels": 0.5},
        {"size": 7, "noise": 0.5, "clutter": 0.8, "classes": (2, 0)},
    ],
)
def test_a_stream_is_the_same_as_memory(renderings, dials):
    """Both parts, to the bit, whatever the dials."""
    config = DataConfig("folder", root=renderings, workers=0, **dials)
    memory, streamed = load(config, resident=True), load(config, resident=False)
    assert isinstance(memory.train, Split) and isinstance(streamed.train, Stream)
    assert (memory.mean, memory.std) == (streamed.mean, streamed.std)
    for a, b in zip(steps(memory.train, 1, 9), steps(streamed.train, 1, 9), strict=True):
        assert torch.equal(a, b)
    for part in ("train", "test"):
        a, b = (list(getattr(d, part).in_order(5)) for d in (memory, streamed))
        assert len(a) == len(b) == -(-len(getattr(memory, part)) // 5)
        for (x, y), (x2, y2) in zip(a, b, strict=True):
            assert torch.equal(x, x2) and torch.equal(y, y2)


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded")  # fork, as torch's loader does
def test_workers_change_nothing(renderings):
    """Nor do they take a number from torch's generator; and a run can be taken up at any step."""
    none, two = (
        load(DataConfig("folder", root=renderings, workers=w), resident=False) for w in (0, 2)
    )
    before = torch.get_rng_state()
    x, y = steps(none.train, 0, 12)
    x2, y2 = steps(two.train, 5, 7)
    assert torch.equal(x[5:], x2) and torch.equal(y[5:], y2)
    assert torch.equal(torch.get_rng_state(), before)
    parts = [steps(none.train, 2, 4, batch=6, rank=r, world=2)[1] for r in (0, 1)]
    assert torch.equal(torch.cat(parts, 1), steps(none.train, 2, 4, batch=6)[1])


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_named_while_streaming(tmp_path, workers):
    write_folder(tmp_path)
    found = load(DataConfig("folder", root=tmp_path, workers=workers), resident=False)
    path = tmp_path / "train/class2/005.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"^'.*005\.png' is damaged or truncated.*\.$"):
        steps(found.train, 0, 8)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"^'.*005\.png' is missing"):
        steps(found.train, 0, 8)


def test_crops_and_flips_of_a_stream_are_those_of_the_epoch(tmp_path):
    write_folder(tmp_path, size=16, channels=3, parts=("train", "val"))
    found = load(DataConfig("imagenet", root=tmp_path, size=14, workers=0))
    split = found.train
    x, _ = steps(split, 4, 1)  # 24 images, 3 steps in an epoch: step 1 of epoch 1
    drawn = epoch_of(3, 1, 24)
    for k, i in enumerate(drawn.order[7:14]):
        image = split.image(int(i), bool(drawn.flip[i]), int(drawn.corner[i]))
        want = (image / 255 - torch.tensor(found.mean)[:, None, None]) / torch.tensor(found.std)[
            :, None, None
        ]
        torch.testing.assert_close(x[0, k], want)
    with pytest.raises(ValueError, match="only be streamed"):
        load(DataConfig("imagenet", root=tmp_path), resident=True)


def test_large_sets_are_streamed_by_themselves(renderings, monkeypatch):
    assert isinstance(load(DataConfig("folder", root=renderings)).train, Split)
    monkeypatch.setattr(data, "IN_MEMORY", 48 * 144 - 1)
    assert isinstance(load(DataConfig("folder", root=renderings)).train, Stream)


def test_a_stream_estimates_its_moments_from_a_sample(renderings, monkeypatch):
    config = DataConfig("folder", root=renderings)
    whole = load(config, resident=False)
    monkeypatch.setattr(data, "MOMENTS_FROM", 12)
    part = load(config, resident=False)
    assert part.mean != whole.mean and part.mean == pytest.approx(whole.mean, rel=0.2)
    assert part.mean == load(config, resident=False).mean


def test_data_go_to_a_device(fashion):
    found = load(DataConfig("fashion-mnist", root=fashion)).to("meta")
    assert found.train.x.device.type == found.test.y.device.type == "meta"
    x, y = next(Batches(found.train, batch=7, seed=0, device="meta", flip=True).start(3))
    assert x.device.type == y.device.type == "meta" and x.shape == (7, 1, 28, 28)
