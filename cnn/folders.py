"""Sets that are folders of image files: TinyImageNet, ImageNet, and any folder of classes."""

import io
from pathlib import Path

import numpy as np

from cnn.sources import ROOT, Images, Source, damaged, first, missing, torchvision

GRAY = {"1", "L", "LA"}  # Pillow's modes
COLOUR = {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def tinyimagenet(root: Path | None) -> Source:
    """TinyImageNet: 200 classes, 64x64, 100,000 and 10,000 images; its val is the test set.

    Its test folder has no labels. Labels of val are those of val_annotations.txt, or, where
    somebody has sorted it, of the class folders.
    """
    base = root or ROOT
    todo = (
        "get http://cs231n.stanford.edu/tiny-imagenet-200.zip, unzip it there, or name the folder "
        "with --root"
    )
    place = first([base, base / "tiny-imagenet-200"], ["wnids.txt"], "TinyImageNet", todo)
    names, train = class_folders(place / "train")
    if not (place / "val" / "val_annotations.txt").exists():
        return Source(train, _same_classes(place / "val", names), len(names), 3, 64, True)
    return Source(train, _annotated(place / "val", names), len(names), 3, 64, True)


def _annotated(folder: Path, names: list[str]) -> Images:
    """TinyImageNet's val: lines of file name, class and four numbers, separated by tabs."""
    path = folder / "val_annotations.txt"
    number = {name: k for k, name in enumerate(names)}
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    if not rows or any(len(row) < 2 or row[1] not in number for row in rows):
        raise damaged(path, "a line does not hold a file name and a class of train, or none does")
    y = np.array([number[row[1]] for row in rows])
    return Images([str(folder / "images" / row[0]) for row in rows], y)


def imagenet(root: Path | None) -> Source:
    """ImageNet (ILSVRC 2012) as torchvision unpacks it: 1000 classes; its val is the test set.

    As in the paper, images are resized to 256x256; training takes random crops of 224x224, flipped
    at random, and testing the centre. (At another size the proportion 8:7 is kept.) Mean and
    standard deviation are those that torchvision's models use.
    """
    base = root or ROOT
    calls = f"[ImageNet({str(base)!r}, split=s) for s in ('train', 'val')]"
    todo = (
        "put ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz "
        f"into one folder, run `{torchvision(calls)}` for it, and name it with --root"
    )
    first([base], ["train"], "ImageNet", todo)
    first([base], ["val"], "ImageNet's val", todo)
    names, train = class_folders(base / "train")
    test = _same_classes(base / "val", names)
    moments = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Source(train, test, len(names), 3, 224, True, margin=32, moments=moments)


def folder(root: Path | None) -> Source:
    """A folder with train/ and test/ (or val/), and in each one folder per class.

    Resolution and channels are those of the first training image; every other one is made to fit.
    If it is not square, a resolution must be given.
    """
    if root is None:
        raise ValueError(
            "the data set 'folder' needs --root: the folder that holds train and test."
        )
    todo = "make train and test (or val) there, and in each one folder of images per class"
    first([root], ["train"], "the folder train", todo)
    test = next((root / t for t in ("test", "val") if (root / t).is_dir()), None)
    if test is None:
        raise FileNotFoundError(f"{str(root)!r} has neither a folder test nor val: {todo}.")
    names, train = class_folders(root / "train")
    image = _open(train.x[0])
    width, height = image.size
    size, channels = width if width == height else 0, 1 if image.mode in GRAY else 3
    return Source(train, _same_classes(test, names), len(names), channels, size, True)


# Files -------------------------------------------------------------------------------------------


def class_folders(path: Path) -> tuple[list[str], Images]:
    """Names of the class folders, sorted, and the images below them, sorted within a class.

    Raises
    ------
    FileNotFoundError
        If there are no class folders, or one holds no image.
    """
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(path)
    except FileNotFoundError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise FileNotFoundError(
            f"{str(path)!r} must hold one folder of images per class: {reason}."
        ) from None
    if len(found.classes) < 2:
        raise ValueError(f"{str(path)!r} holds one class folder only, {found.classes[0]!r}.")
    files, labels = zip(*found.samples, strict=True)
    return found.classes, Images(list(files), np.array(labels))


def _same_classes(path: Path, names: list[str]) -> Images:
    """The images of a test folder, whose class folders are those of the training folder."""
    found, images = class_folders(path)
    if found != names:
        odd = sorted({*found} ^ {*names})
        raise ValueError(
            f"the class folders of {str(path)!r} are not those of train: {', '.join(odd[:5])}."
        )
    return images


def read(path: str, channels: int, side: int) -> np.ndarray:
    """One image file as uint8, shape (channels, side, side).

    It is made gray or colour as `channels` says, transparency on black, and resized to a square:
    by means of k x k pixels where both sides are k times as long, else bilinear with
    antialiasing; rounded to 8 bits.

    Raises
    ------
    ValueError
        If the file is damaged, truncated or of a kind that is not read.
    FileNotFoundError
        If it is not there.
    """
    from PIL import Image

    image = _open(path)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    image = image.convert("L" if channels == 1 else "RGB")
    width, height = image.size
    if width == height and width % side == 0:
        image = image.reduce(width // side)
    elif (width, height) != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.array(image).reshape(side, side, channels).transpose(2, 0, 1).copy()


def _open(path: str):
    """The decoded image. Decoding a PNG looks at some of its checksums, `verify` at all."""
    from PIL import Image

    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise missing(path) from None
    try:
        image = Image.open(io.BytesIO(raw))
        if image.format == "PNG":
            image.verify()
            image = Image.open(io.BytesIO(raw))
        image.load()
    except Exception as error:  # Pillow's plugins raise many kinds
        raise damaged(path, error) from None
    if image.mode not in GRAY | COLOUR:
        raise ValueError(f"{path!r} has pixels of Pillow's mode {image.mode}, not 8 bits.")
    return image
