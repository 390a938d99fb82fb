"""Two garments side by side: one set of images with 2, 10 and 100 labels, as a scale of difficulty.

The paper compares CIFAR10 with CIFAR100, whose images differ as well as their labels. Here nothing
but the question differs.
"""

import numpy as np

from cnn import dials
from cnn.sources import Images, Source
from regdyn.checks import shown

LABELS = (2, 10, 100)
UPPER = (0, 2, 3, 4, 6)
"""Fashion-MNIST's T-shirt, pullover, dress, coat and shirt."""


def of(source: Source, labels: int) -> Source:
    """Pairs of the images of Fashion-MNIST, 28x28, each garment at half its width.

    Every image is once on the left and once on the right, and each of the 100 pairs of kinds is
    there as often. They are not flipped: left and right matter.

    Parameters
    ----------
    source : Source
        Fashion-MNIST.
    labels : {2, 10, 100}
        What is asked: whether the left garment is worn on the upper body (half of them are); its
        kind; or the kinds of both, 10 left + right.
    """
    if labels not in LABELS:
        raise ValueError(f"labels must be 2, 10 or 100, not {shown(labels)}.")
    train = _paired(source.train, labels, dials.PARTNERS)
    test = _paired(source.test, labels, dials.PARTNERS + dials.TEST)
    return source._replace(train=train, test=test, classes=labels, flip=False)


def _paired(images: Images, labels: int, stream: int) -> Images:
    assert isinstance(images.x, np.ndarray)
    right = partners(images.y, stream)
    half = images.x.reshape(*images.x.shape[:-1], -1, 2).mean(-1, dtype=np.float32)
    x = np.rint(np.concatenate([half, half[right]], -1)).astype(np.uint8)
    left, both = images.y, 10 * images.y + images.y[right]
    return Images(x, {2: np.isin(left, UPPER).astype(np.int64), 10: left, 100: both}[labels])


def partners(y: np.ndarray, stream: int) -> np.ndarray:
    """The place of each image's partner: a permutation in which every kind meets all as often.

    The images of a kind take the kinds 0, 1, ... in turn; which image of that kind, is drawn at
    random. It is even if all kinds are as frequent, and their number a multiple of the kinds'.
    """
    classes = int(y.max()) + 1
    turn = np.empty_like(y)
    for kind in range(classes):
        here = np.flatnonzero(y == kind)
        turn[here] = (np.arange(len(here)) + kind) % classes
    # slots by wanted kind against images by kind in random order: a permutation of all images
    order = np.lexsort((dials.keys(0, np.arange(len(y)), stream), y))
    right = np.empty_like(y)
    right[np.argsort(turn, kind="stable")] = order
    return right
