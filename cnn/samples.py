"""A look at a set of images, as training sees them: one of each class, on one sheet.

python -m cnn.samples --data fashion-pairs-100 --size 14 --out pairs.png
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from tyro.conf import OmitArgPrefixes

from cnn.config import DataConfig
from regdyn.cli import exit_code

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cnn.data import Data

__all__ = ["draw", "main", "one_of_each"]

ROW = 10  # pictures
MOST = 100  # classes


def one_of_each(data: "Data", *, most: int = MOST) -> dict[int, np.ndarray]:
    """A training image of each class, the first in the order of seed 0, with all dials turned.

    Parameters
    ----------
    data : Data
    most : int
        So many classes at most, from label 0.

    Returns
    -------
    dict of int to ndarray, shape (h, w) or (h, w, 3)
        Label to image; from 0 to 1, what noise puts outside is clipped. A class without a training
        image is left out.
    """
    from cnn.data import Batches

    wanted, found = min(data.classes, most), {}
    batches = Batches(data.train, batch=min(100, len(data.train)), seed=0)
    batch = batches.start()
    for _ in range(batches.per_epoch):
        x, y = next(batch)
        for image, label in zip(x.numpy(), y.tolist(), strict=True):
            if label < wanted:
                found.setdefault(label, image)
        if len(found) == wanted:
            break
    mean, std = (np.reshape(value, (-1, 1, 1)) for value in (data.mean, data.std))
    shown = {label: np.clip(found[label] * std + mean, 0, 1) for label in sorted(found)}
    return {label: np.moveaxis(x, 0, -1).squeeze() for label, x in shown.items()}


def draw(images: dict[int, np.ndarray], title: str = "") -> "Figure":
    """Ten pictures a row, the label above each."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn.plotting import STYLE

    rows = -(-len(images) // ROW)
    with rc_context(STYLE):
        fig = Figure(figsize=(7.5, 0.4 + 0.95 * rows), layout="constrained")
        axes = fig.subplots(rows, ROW, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, (label, image) in zip(axes, images.items(), strict=False):
            ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_title(str(label), fontsize=7, pad=2)
        fig.suptitle(title, fontsize=9, x=0.01, ha="left")
    return fig


@dataclass(frozen=True)
class Settings:
    """Draw one training image of each class (of the first 100), as training sees them."""

    data: OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    out: Path = Path("samples.png")
    """The picture: .png, .pdf or .svg."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    return exit_code(lambda: _main(tyro.cli(Settings, prog="python -m cnn.samples", args=argv)))


def _main(settings: Settings) -> int:
    from cnn.data import load
    from regdyn import store

    if settings.out.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"out must end in .png, .pdf or .svg, not {settings.out.name!r}.")
    data = load(settings.data)
    title = f"{data.name}: {len(data.train)} training images, {data.classes} classes, "
    fig = draw(one_of_each(data), f"{title}{data.size}x{data.size}")
    with store.temporary(settings.out) as name:
        fig.savefig(name, dpi=150, format=settings.out.suffix[1:])
    print(settings.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
