r"""Figure 2: :math:`\gamma` and :math:`\beta` of the sixth convolution while a network is trained.

The paper shows CIFAR100 with Adam (L2 1e-5 and 1e-4) and SGD (L2 5e-4): a low strength, a higher
one, and SGD. Ours are pairs of Fashion-MNIST images, at the strengths below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from figures import features

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA = features.COURSE
RULES = {  # of each set: Adam at a low and at a higher strength, SGD
    "pairs100": ("adam-l2-3e-4", "adam-l2-3e-3", "sgd-l2-1e-3"),
    "pairs10": ("adam-l2-1e-3", "adam-l2-3e-3", "sgd-l2-1e-3"),
}
SEED = 0
ALIVE, COLLAPSED = "#0072B2", "#D55E00"
BINS = 24
CAPTION = (
    "A line for each of the {filters} filters of C6 (seed {seed}); at the right of each panel, how "
    "they are distributed after the last step, each on its own scale. Red: |γ| < 1e-3 by then. β > "
    "0: how many of the others; β is the mean of what enters the ReLU. BasicNet on pairs of "
    "Fashion-MNIST images, {labels}. The paper's Figure 2 shows CIFAR100 at a larger scale: Adam "
    "with L2 1e-5 and 1e-4, SGD with L2 5e-4."
)


class Course(NamedTuple):
    """C6 of one run: steps (steps,), gamma and beta (steps, filters)."""

    step: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray

    @property
    def collapsed(self) -> np.ndarray:
        """Filters with a small gamma after the last step."""
        from regdyn.plotting import COLLAPSED

        return np.abs(self.gamma[-1]) < COLLAPSED


def draw(data: xr.Dataset) -> Figure:
    r"""A column for each run: :math:`\gamma` above, :math:`\beta` below; 100 labels."""
    return _draw(data, "pairs100")


def draw_pairs10(data: xr.Dataset) -> Figure:
    """The same for the same images with 10 labels."""
    return _draw(data, "pairs10")


def course(data: xr.Dataset, name: str, seed: int = SEED) -> Course:
    """C6 of one run, without the places that are not of its network or after its end.

    Raises
    ------
    ValueError
        If the data hold no run of this name and seed.
    """
    runs = features.runs_of(data, name)
    rows = np.flatnonzero(runs["seed"].values == seed)
    if len(rows) != 1:
        seeds = ", ".join(map(str, runs["seed"].values))
        raise ValueError(f"run {name!r} must be there once with seed {seed}; its seeds: {seeds}.")
    one = runs.isel(run=rows[0]).dropna("filter", how="all").dropna("step", how="all")
    return Course(*(one[name].values for name in ("step", "gamma", "beta")))


def _draw(data: xr.Dataset, prefix: str) -> Figure:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    runs = {name: course(data, name) for name in (f"{prefix}/{rule}" for rule in RULES[prefix])}
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(6.0, 5.0))
        ratios = [4, 1] * len(runs)
        axes = fig.subplots(
            2, len(ratios), sharey="row", width_ratios=ratios, gridspec_kw={"wspace": 0.0}
        )
        for nth, (name, one) in enumerate(runs.items()):
            top, bottom = axes[:, 2 * nth : 2 * nth + 2]
            _panel(top, one, one.gamma)
            _panel(bottom, one, one.beta)
            bottom[0].set_xlabel("step")
            collapsed, alive = one.collapsed, one.beta[-1][~one.collapsed]
            top[0].set_title(f"{features.rule_of(name)}\n|γ| < 1e-3: {_share(collapsed)}")
            bottom[0].set_title(f"β > 0: {_share(alive > 0)}")
        axes[0, 0].set_ylabel("γ")
        axes[1, 0].set_ylabel("β")
        filters = next(iter(runs.values())).gamma.shape[1]
        labels = features.set_of(prefix)
        said = CAPTION.format(filters=filters, seed=SEED, labels=labels)
        features.caption(fig, said, 98)
    return fig


def _panel(pair: np.ndarray, one: Course, values: np.ndarray) -> None:
    """Lines over the steps, and what they come to in a narrow panel at their right."""
    over, final = pair
    for some, colour in ((~one.collapsed, ALIVE), (one.collapsed, COLLAPSED)):
        over.plot(one.step, values[:, some], color=colour, linewidth=0.6, alpha=0.4)
    over.axhline(0, color="0.3", linewidth=0.8)
    over.set_xlim(0, one.step[-1])
    _steps(over)
    edges = np.linspace(np.min(values), np.max(values), BINS + 1)
    groups = [values[-1][~one.collapsed], values[-1][one.collapsed]]
    final.hist(
        groups, bins=list(edges), orientation="horizontal", stacked=True, color=[ALIVE, COLLAPSED]
    )
    final.axis("off")


def _steps(ax: Axes) -> None:
    """Three ticks: 0, the middle, the end, in thousands; the labels stay within the panel."""
    end = ax.get_xlim()[1]
    ax.set_xticks([0, end / 2, end], ["0", "", f"{end / 1000:g}k"])
    ax.get_xticklabels()[0].set_horizontalalignment("left")
    ax.get_xticklabels()[-1].set_horizontalalignment("right")


def _share(which: np.ndarray) -> str:
    """Percent of the filters; a dash if there are none."""
    return features.said(100.0 * float(np.mean(which))) if which.size else "–"
