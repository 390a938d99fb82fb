"""The instrument for TensorBoard: scalars and histograms."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cnn.monitor.verdicts import NAMES
from cnn.monitor.view import View


class Board:
    """Writes TensorBoard's event files into `folder`.

    Scalars: the loss, the percent of all filters with each verdict, the forecast with its 80 %
    interval, and for each layer the percent that is collapsed. Histograms for each layer: log10
    |gamma|.

    Raises
    ------
    ValueError
        If TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise ValueError("tensorboard=True needs the package tensorboard: pip install it.")
        self.folder = folder
        self._writer: Any = None

    def show(self, view: View) -> None:
        """Write what is known at this step.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # after a resumption, what was written of later steps does not count
            self._writer = SummaryWriter(str(self.folder), purge_step=view.step)
        writer, step = self._writer, view.step
        for name, value in scalars(view).items():
            writer.add_scalar(name, value, step)
        for i, norm in enumerate(view.about.norms):
            sizes = np.abs(view.gamma[view.about.layer == i])
            sizes = np.log10(np.maximum(sizes[np.isfinite(sizes)], 1e-12))
            if len(sizes):
                writer.add_histogram(f"log10 gamma/{norm.name} {norm.path}", sizes, step)
        writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def scalars(view: View) -> dict[str, float]:
    """What is written as scalars."""
    found = {}
    if view.step and np.isfinite(view.history["loss"][-1]):
        found["loss"] = float(view.history["loss"][-1])
    if len(view.gamma):
        shares = 100 * view.counts.sum(0) / len(view.gamma)
        found |= {f"filters/{name}": x for name, x in zip(NAMES, shares.tolist(), strict=True)}
    if view.forecast is not None:
        names = ("low", "expected", "high")
        totals = view.forecast.total.tolist()
        found |= {f"forecast/{name}": x for name, x in zip(names, totals, strict=True)}
    for norm, numbers in zip(view.about.norms, view.counts, strict=True):
        found[f"collapsed/{norm.name} {norm.path}"] = 100 * float(numbers[3] / numbers.sum())
    for i, scale in enumerate(view.about.scales):
        found[f"scale mean/{scale.path}"] = float(view.history["scale_abs_mean"][-1, i])
    return found
