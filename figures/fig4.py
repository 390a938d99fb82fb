r"""Figure 4: what regularisation does to a scalar that sees low gradients.

The paper's caption fixes the gradients (normal, std 1e-3 for 100 steps, then 1e-5), SGD's learning
rate 0.1 and momentum 0.9, Adam's learning rate 1e-3. Its text leaves open the strengths, the start
value, the number of steps, Adam's betas in this figure, and how many runs are drawn: ours are
1e-2 ... 1e-6, 1, 30,000, those of section 2.1 (0.9, 0.99), and 1000. The other rules are said to be
in its supplement, which we do not have: `fig4-supplement` draws them by the same recipe.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

DATA = "fig4.nc"
STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
REGS = ("l2", "wd")
STEPS, LANES = 30_000, 1000
PAPER = ("sgd", "adam")
OTHERS = ("adagrad", "adadelta", "amsgrad", "rmsprop", "lion")
KEPT = ["abs_quantile", "mean", "rms", "first_passage_median"]

CAPTION = (
    "|θ| under regularisation of strength λ: median and 10–90 % of {lanes} runs. Fixed by the "
    "paper: normal gradients of std 1e-5 (1e-3 for the first 100 steps){fixed}. Our choice: θ₀ = "
    "1, strengths, {steps:,} steps, {ours}. Dotted: 1e-3, the paper's threshold for a collapsed "
    "filter."
)
FIXED = {PAPER: "; SGD lr 0.1, momentum 0.9; Adam lr 1e-3", OTHERS: ""}
OURS = {
    PAPER: "Adam's β = (0.9, 0.99) and ε = 1e-8 from section 2.1",
    OTHERS: "Adagrad and Adadelta as in section 2.1, AMSGrad as Adam (torch's flavour), RMSprop lr "
    "1e-3, α 0.99, Lion lr 1e-4",
}


def compute() -> "xr.Dataset":
    """Run the figure's simulation (about a minute) and keep what is drawn."""
    from regdyn import simulate

    record = np.unique(np.round(np.geomspace(1, STEPS, 200)).astype(int))
    ds = simulate(
        [*PAPER, *OTHERS], REGS, STRENGTHS, steps=STEPS, lanes=LANES, record=np.append(0, record)
    )
    return ds[KEPT].sel(q=[0.1, 0.5, 0.9])


def draw(data: "xr.Dataset") -> "Figure":
    """The paper's two rules: a row each, L2 on the left, weight decay on the right."""
    return _grid(data, PAPER)


def draw_supplement(data: "xr.Dataset") -> "Figure":
    """The other adaptive rules, by the same recipe."""
    return _grid(data, OTHERS)


def _grid(data: "xr.Dataset", names: tuple[str, ...]) -> "Figure":
    """A row for each rule, a column for each regulariser, all on the same logarithmic axes."""
    from textwrap import fill

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    colours = plotting.strength_colours(data["lam"].values)
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.2, 1.2 + 2.1 * len(names)))
        axes = fig.subplots(len(names), len(REGS), sharex=True, sharey=True, squeeze=False)
        for row, name in zip(axes, names, strict=True):
            for ax, reg in zip(row, REGS, strict=True):
                for lam, colour in colours.items():
                    one = data.sel(rule=name, reg=reg, lam=lam)
                    label = plotting.strength_label(lam)
                    plotting.band(ax, one, "abs_quantile", colour, label)
                plotting.log_axes(ax, data)
                plotting.mark_collapse(ax)
                ax.set_title(f"{name}, {reg}")
            row[0].set_ylabel("|θ|")
        for ax in axes[-1]:
            ax.set_xlabel("step")
        lines, labels = axes[0][0].get_legend_handles_labels()
        fig.legend(lines, labels, title="strength λ", loc="outside right upper")
        caption = CAPTION.format(
            lanes=data.attrs["lanes"], steps=int(data["step"][-1]), fixed=FIXED[names],
            ours=OURS[names],
        )  # fmt: skip
        fig.supxlabel(fill(caption, 118), fontsize=8, x=0.01, ha="left")
    return fig
