r"""Figure 5: how selective the late layers are, at two batch sizes, on easier and harder tasks.

The paper shows CIFAR10, CIFAR100 and TinyImageNet, with the same number of iterations for both
batch sizes. Ours are digits, and pairs of Fashion-MNIST images.
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
SMALL, LARGE = "#0072B2", "#000000"
PAIRS = (  # experiments with batches of 40 and of 160, the easiest task first
    ("digits/adam-l2-1e-2", "digits/batch/iterations-160"),
    ("pairs100/adam-l2-3e-3", "pairs100/batch/iterations-160"),
)
CAPTION = (
    "Filters of C4 to C7 in the order of their universality: the percentage of training images "
    "that activate them. Numbers: filters that none activates (batches of 40 above, of 160 below). "
    "Gap at the right: filters with |γ| < 1e-3 that images activate, however weakly; universality "
    "does not see how strongly. BasicNet ({widths} filters in C4 to C7) on {tasks}, as many steps "
    "with either batch; all filters of {seeds} together. The paper's Figure 5 shows CIFAR10, "
    "CIFAR100 and TinyImageNet at a larger scale."
)


def draw(data: xr.Dataset) -> Figure:
    """A panel for each task, the easiest above."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    names = [name for pair in PAIRS for name in pair]
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(5.6, 1.4 + 2.3 * len(PAIRS)))
        axes = fig.subplots(len(PAIRS), 1, squeeze=False).flat
        for ax, (small, large) in zip(axes, PAIRS, strict=True):
            curves = (Curve(small, "batch 40", SMALL), Curve(large, "batch 160", LARGE))
            features.show(ax, data, LAYERS, curves)
            ax.set_title(f"{features.set_of(small)}: {features.rule_of(small)}")
            ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0)
        widths = ", ".join(map(str, features.widths(data, names[0], LAYERS)))
        tasks = " and on ".join(dict.fromkeys(map(_task, names)))
        said = CAPTION.format(widths=widths, tasks=tasks, seeds=features.counted(data, names))
        features.caption(fig, said, 92)
    return fig


def _task(name: str) -> str:
    """What an experiment's network learns: digits, or pairs of garments."""
    task = features.set_of(name)
    return f"pairs of Fashion-MNIST images ({task})" if name.startswith("pairs") else task
