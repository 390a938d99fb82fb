r"""Figure 1: BasicNet, layer by layer.

Drawn from a description that ``python -m cnn.models --describe`` writes: figures load no torch. The
paper's own Figure 1 is not in the text that we have. Filters and the convolutions' parameters are
in its Table 2; kernels follow from them; where the network pools is our choice
(``docs/networks.md``).
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA = "basicnet.json"
COMMAND = ("cnn.models", "--width", "64-1x", "--channels", "3", "--classes", "10", "--size", "32")
INK = {
    "convolution": "#0072B2", "linear": "#E69F00", "max pooling": "0.75", "average pooling": "0.75",
}  # fmt: skip
LEFT, SPAN = 0.27, 0.36  # where bars begin, and how long the longest is: shares of the width
SIZE, PARAMETERS = 0.80, 1.0  # right edges of the columns of numbers
CAPTION = (
    "BasicNet for CIFAR10. Bars: filters or nodes. The paper's Table 2 gives the filters, and the "
    "{convolutions:,} parameters of the convolutions; kernels are derived from them, where it "
    "pools is our choice. {all_:,} parameters in all, BatchNorm's included."
)


def compute() -> dict[str, Any]:
    """The description, from the network itself: a process of its own, which needs torch.

    Raises
    ------
    RuntimeError
        If the process fails; its message is told.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / DATA
        words = [sys.executable, "-m", *COMMAND, "--out", str(path)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise RuntimeError(f"python -m {' '.join(COMMAND)} failed: {' '.join(last)}")
        return json.loads(path.read_text(encoding="utf-8"))


def draw(data: dict[str, Any]) -> "Figure":
    """A line for each layer, from the image at the top to the classes at the bottom."""
    from textwrap import fill

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    rows = data["layers"]
    longest = max(row["outputs"] for row in rows)
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(6.4, 0.3 * (len(rows) + 2) + 0.9))
        ax = fig.subplots()
        ax.set(xlim=(0, 1.01), ylim=(len(rows) + 0.6, -1.6))
        ax.axis("off")
        _line(ax, -1, ("layer", "output size", "parameters"), color="0.35")
        image = data["input"]
        _line(ax, 0, (f"image, {image['channels']} channels", _side(image["size"]), ""))
        for at, row in enumerate(rows, 1):
            size = "" if row["size"] is None else _side(row["size"])
            _line(
                ax, at, (_named(row), size, f"{row['parameters']:,}" if row["parameters"] else "")
            )
            width = SPAN * row["outputs"] / longest
            thick = 0.25 if row["kind"].endswith("pooling") else 0.7
            ax.barh(at, width, thick, left=LEFT, color=INK[row["kind"]])
            ax.text(LEFT + width + 0.01, at, str(row["outputs"]), va="center")
        total = data["parameters"]
        said = CAPTION.format(all_=total["all"], convolutions=total["convolutions"])
        fig.supxlabel(fill(said, 104), fontsize=8, x=0.01, ha="left")
    return fig


def _line(ax: "Axes", at: int, words: tuple[str, str, str], color: str = "black") -> None:
    """Name at the left, size and parameters in their columns."""
    places = ((0.0, "left"), (SIZE, "right"), (PARAMETERS, "right"))
    for word, (x, side) in zip(words, places, strict=True):
        ax.text(x, at, word, va="center", ha=side, color=color)


def _named(row: dict[str, Any]) -> str:
    """C1, 5×5, BN, ReLU."""
    kernel = _side(row["kernel"]) if row["kernel"] else ""
    kinds = {"max pooling": "maximum", "average pooling": "average"}
    act = {"relu": "ReLU", "leaky_relu": "leaky ReLU", None: ""}[row["activation"]]
    norm = "BN" if row["batch_norm"] else ""
    return ", ".join(filter(None, (row["name"], kernel, kinds.get(row["kind"]), norm, act)))


def _side(pixels: int) -> str:
    return f"{pixels}×{pixels}"
