"""A sheet of samples: the class's own image, as training sees it."""

import numpy as np
import pytest
from PIL import Image

from cnn import samples
from cnn.config import DataConfig
from cnn.data import load


def test_each_label_has_an_image_of_its_class():
    data = load(DataConfig("digits"))
    found = samples.one_of_each(data)
    assert list(found) == list(range(10))
    raw = data.train.x * data.std[0] + data.mean[0]
    for label, image in found.items():
        same = (raw[data.train.y == label, 0].numpy() - image) ** 2
        assert same.sum((1, 2)).min() < 1e-9


def test_what_noise_puts_outside_is_clipped_and_classes_are_cut_off():
    found = samples.one_of_each(load(DataConfig("digits", noise=3.0)), most=4)
    assert list(found) == [0, 1, 2, 3]
    assert all(0 <= image.min() and image.max() <= 1 for image in found.values())


def test_colour_from_files_and_a_class_that_has_none(tmp_path):
    for part in ("train", "test"):
        for label, value in enumerate((40, 200)):
            (tmp_path / part / f"kind{label}").mkdir(parents=True)
            Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(
                tmp_path / part / f"kind{label}" / "0.png"
            )
    data = load(DataConfig("folder", root=tmp_path))
    found = samples.one_of_each(data)
    assert [image.shape for image in found.values()] == [(8, 8, 3)] * 2
    assert np.allclose(found[1], 200 / 255, atol=1e-6)
    few = samples.one_of_each(load(DataConfig("digits", images=3)))
    assert 1 <= len(few) <= 3
    assert len(samples.draw(few).axes) == samples.ROW


def test_the_sheet_shows_each_image_with_its_label():
    images = {label: np.full((2, 2), label / 20) for label in range(13)}
    axes = samples.draw(images, "title").axes
    assert len(axes) == 20
    assert [ax.get_title("left") for ax in axes[:13]] == [str(label) for label in images]
    assert [float(ax.images[0].get_array()[0, 0]) for ax in axes[:13]] == pytest.approx(
        [label / 20 for label in images]
    )
    assert not any(ax.images for ax in axes[13:])


def test_the_command_line_writes_one_file_or_says_what_is_wrong(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert samples.main(["--out", str(out)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    assert samples.main(["--out", str(tmp_path / "sheet.gif")]) == 2
    assert "sheet.gif" in capsys.readouterr().err
