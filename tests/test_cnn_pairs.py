"""Pairs of garments: every image twice, every pair of kinds as often, labels that fit."""

import numpy as np
import pytest

from cnn import dials, pairs
from cnn.sources import Images, Source


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(10), 20))
    # an image of kind k is k+1 everywhere
    x = np.repeat(y[:, None, None] + 1, 28, 1).repeat(28, 2).astype(np.uint8)
    part = Images(x[:, None], y.astype(np.int64))
    return Source(part, part, 10, 1, 28, True)


def test_every_pair_of_kinds_is_there_as_often(source):
    y = pairs.of(source, 100).train.y
    assert np.bincount(y, minlength=100).tolist() == [2] * 100


def test_partners_are_a_permutation_of_the_images():
    y = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 30))
    right = pairs.partners(y, 0)
    assert np.sort(right).tolist() == list(range(300))
    assert not np.array_equal(right, pairs.partners(y, 1))


@pytest.mark.parametrize("part", ["train", "test"])
def test_labels_say_what_is_left_and_right(source, part):
    two, ten, hundred = (getattr(pairs.of(source, n), part) for n in pairs.LABELS)
    assert np.array_equal(two.x, ten.x) and np.array_equal(ten.x, hundred.x)
    left, right = ten.x[:, 0, 5, 3] - 1, ten.x[:, 0, 5, 20] - 1
    assert np.array_equal(hundred.y, 10 * left + right)
    assert np.array_equal(ten.y, left)
    assert np.array_equal(two.y, np.isin(left, [0, 2, 3, 4, 6]))
    assert two.y.mean() == 0.5


def test_both_garments_keep_their_pixels():
    x = np.random.default_rng(2).integers(0, 256, (100, 1, 28, 28)).astype(np.uint8)
    y = np.tile(np.arange(10), 10)
    made = pairs.of(Source(Images(x, y), Images(x, y), 10, 1, 28, True), 100)
    right = pairs.partners(y, dials.PARTNERS)
    expected = np.rint(x.reshape(100, 28, 14, 2).mean(-1)).astype(np.uint8)
    assert np.array_equal(made.train.x[:, 0, :, :14], expected)
    assert np.array_equal(made.train.x[:, 0, :, 14:], expected[right])
    assert not made.flip and made.size == 28 and made.classes == 100


def test_other_numbers_of_labels_are_refused(source):
    with pytest.raises(ValueError, match="labels must be"):
        pairs.of(source, 3)
