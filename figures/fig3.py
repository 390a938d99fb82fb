r"""Figure 3: how selective the filters of each layer are, Adam against SGD.

The paper shows CIFAR100 (and CIFAR10 in its supplement, which we do not have), at low and at higher
strengths that its text does not give. Ours are pairs of Fashion-MNIST images with 100 or 10 labels,
at the strengths below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import features
from figures.features import Curve

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

DATA = features.FILTERS
LAYERS = (1, 2, 3, 4, 5, 6, 7)
ADAM, SGD = "#0072B2", "#D55E00"  # as in Table 1
PANELS = {  # title: Adam's experiment, SGD's
    "low strength": ("adam-l2-1e-3", "sgd-l2-1e-3"),
    "higher strength": ("adam-l2-3e-3", "sgd-l2-5e-3"),
}
CAPTION = (
    "Filters of each layer in the order of their universality: the percentage of training images "
    "that activate them. Numbers: filters that none activates (Adam above, SGD below). Gap at the "
    "right: filters with |γ| < 1e-3 that images activate, however weakly; universality does not "
    "see how strongly. BasicNet ({widths} filters) on pairs of Fashion-MNIST images, {labels}, all "
    "filters of {seeds} together. The paper's Figure 3 shows {paper}."
)
PAPER = {
    "pairs100": "CIFAR100 at a larger scale",
    "pairs10": "CIFAR100; its counterpart for CIFAR10 is in a supplement that we do not have",
}


def draw(data: xr.Dataset) -> Figure:
    """A low strength above, a higher one below: 100 labels."""
    return _draw(data, "pairs100")


def draw_pairs10(data: xr.Dataset) -> Figure:
    """The same for the same images with 10 labels."""
    return _draw(data, "pairs10")


def _draw(data: xr.Dataset, prefix: str) -> Figure:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    names = [f"{prefix}/{rule}" for pair in PANELS.values() for rule in pair]
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(5.6, 6.0))
        for ax, (title, (adam, sgd)) in zip(fig.subplots(2, 1), PANELS.items(), strict=True):
            curves = [(f"{prefix}/{adam}", ADAM), (f"{prefix}/{sgd}", SGD)]
            shown = tuple(Curve(name, features.rule_of(name), ink) for name, ink in curves)
            features.show(ax, data, LAYERS, shown)
            ax.set_title(title)
            ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0)
        widths = ", ".join(map(str, features.widths(data, names[0], LAYERS)))
        said = CAPTION.format(
            widths=widths, labels=features.set_of(names[0]), paper=PAPER[prefix],
            seeds=features.counted(data, names),
        )  # fmt: skip
        features.caption(fig, said, 92)
    return fig
