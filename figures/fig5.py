r"""Figure 5: how selective the late layers are, at two batch sizes, on easier and harder tasks.

The paper shows CIFAR10, CIFAR100 and TinyImageNet, with the same number of iterations for both
batch sizes. Ours are pairs of Fashion-MNIST images: the same images, more labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import features
from figures.features import Curve

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

DATA = features.FILTERS
LAYERS = (4, 5, 6, 7)
SMALL, LARGE = "#0072B2", "#E69F00"
BATCHES = (40, 160)
SETS = ("pairs10", "pairs100")
PAIR = ("adam-l2-3e-3", "batch/iterations-160")  # of every set: batches of 40, of 160
CAPTION = (
    "Filters of C4 to C7 in the order of their universality: the percentage of training images "
    "that activate them. Numbers: filters that none activates (batches of 40 above, of 160 below). "
    "Gap at the right: filters with |γ| < 1e-3 that images activate, however weakly; universality "
    "does not see how strongly. BasicNet ({widths} filters in C4 to C7) on pairs of Fashion-MNIST "
    "images, {rule}, as many steps with either batch; all filters of {seeds} together. The paper's "
    "Figure 5 shows CIFAR10, CIFAR100 and TinyImageNet at a larger scale."
)


def draw(data: xr.Dataset) -> Figure:
    """A panel for each set, the easiest above."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    names = [f"{prefix}/{rule}" for prefix in SETS for rule in PAIR]
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(5.6, 1.4 + 2.3 * len(SETS)))
        axes = fig.subplots(len(SETS), 1, squeeze=False).flat
        for ax, prefix in zip(axes, SETS, strict=True):
            features.show(ax, data, LAYERS, _curves(prefix))
            ax.set_title(features.set_of(prefix))
            ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0)
        said = CAPTION.format(
            widths=", ".join(map(str, features.widths(data, names[0], LAYERS))),
            rule=features.rule_of(names[0]), seeds=features.counted(data, names),
        )  # fmt: skip
        features.caption(fig, said, 92)
    return fig


def _curves(prefix: str) -> tuple[Curve, ...]:
    """Small batches and large ones."""
    parts = zip(PAIR, BATCHES, (SMALL, LARGE), strict=True)
    return tuple(Curve(f"{prefix}/{rule}", f"batch {size}", ink) for rule, size, ink in parts)
