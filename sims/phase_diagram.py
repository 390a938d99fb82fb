r"""In which part of the plane of strength and gradient size does a parameter die, and how fast?

Constant gradients of standard deviation :math:`\sigma` and strength :math:`\lambda`, start 1, as
many steps as the paper trains. Lines from leading-order theory: under Adam + l2 the sign-like
regime, a step of the learning rate's size, needs :math:`\lambda\theta > \sigma`; the noise floor,
:math:`\sqrt{\eta\sigma/2\lambda}`, equals the threshold b = 1e-3 at
:math:`\sigma = 2\lambda b^2/\eta`. SGD's, :math:`\sigma/\sqrt{2\lambda}` at the paper's setting,
equals it at :math:`\sigma = b\sqrt{2\lambda}`; that of Adam + wd, :math:`\eta/\sqrt{2\lambda}`, at
no :math:`\sigma`, and at :math:`\lambda` = 0.5.
"""

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.common import (
    TRAINING,
    config_of,
    frame,
    labelled,
    lanes_or,
    last_tenth,
    note,
    plain_log,
    runs,
    shown,
    steps_text,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from pandas import DataFrame

QUESTION = "Where in the plane (lambda, sigma) does a parameter collapse, stay, or decay slowly?"
SECONDS = 60

STRENGTHS = tuple(float(f"{x:.3g}") for x in np.geomspace(1e-6, 1e-1, 11))
SIGMAS = tuple(float(f"{x:.3g}") for x in np.geomspace(1e-8, 1, 17))
WAYS = (("adam", "l2"), ("adam", "wd"), ("sgd", "l2"))
THRESHOLDS = (0.5, 1e-3)
LANES = 64


def run(*, lanes: int | None = None, seed: int = 0, steps: int = TRAINING) -> "xr.Dataset":
    """Half-life, share that passed 1e-3, share that is below it late, late rms, on a grid.

    Returns
    -------
    xarray.Dataset
        Dimensions way, lam, sigma: `time` (median first step below 0.5), `passed`, `below` (share
        of lanes and of the recorded steps of the last tenth), `rms`; and `regime`, the regime at
        the start by `regdyn.theory.regimes`.
    """
    import xarray as xr

    from regdyn.gradients import Gaussian
    from regdyn.report import late_rms

    lanes = lanes_or(lanes, LANES)
    jobs = [
        dict(
            rule=["adam", "sgd"], reg=["l2", "wd"], lam=list(STRENGTHS), steps=steps, lanes=lanes,
            gradient=Gaussian(std=sigma), seed=seed, record=last_tenth(steps, 100),
            thresholds=THRESHOLDS,
        )
        for sigma in SIGMAS
    ]  # fmt: skip
    parts = []
    for ds in runs("phase diagram", jobs):
        ever = ds["first_passage_count"].sum("step") / lanes
        late = ds["share_below"].isel(step=slice(1, None)).mean("step")
        part = {
            "time": ds["first_passage_median"].sel(threshold=0.5, drop=True),
            "passed": ever.sel(threshold=1e-3, drop=True),
            "below": late.sel(threshold=1e-3, drop=True),
            "rms": late_rms(ds),
        }
        part = xr.Dataset(part).drop_attrs()
        picked = [part.sel(rule=rule, reg=reg).drop_vars(["rule", "reg"]) for rule, reg in WAYS]
        names = [" ".join(way) for way in WAYS]
        parts.append(xr.concat(picked, xr.DataArray(names, dims="way", name="way")))
    sigma = xr.DataArray(list(SIGMAS), dims="sigma", name="sigma")
    data: Any = xr.concat(parts, sigma).transpose("way", "lam", "sigma", ...)
    data["time"].attrs = {"long_name": "median first step below 0.5", "units": "step"}
    data["passed"].attrs = {"long_name": "share of lanes ever below 1e-3", "units": "1"}
    data["below"].attrs = {"long_name": "share of lanes below 1e-3, late", "units": "1"}
    data["rms"].attrs = {"long_name": "root mean square of theta, late", "units": "theta"}
    data["regime"] = (("way", "lam", "sigma"), _regimes(), {"long_name": "regime at the start"})
    return labelled(data, "phase diagram", lanes=lanes, seed=seed, steps=steps, theta0=1.0)


def _regimes() -> np.ndarray:
    """Name of the regime at theta = 1, by theory, for every cell."""
    from regdyn.theory.regimes import regime

    names = [
        regime(rule, reg, lam, sigma, 1.0).name
        for (rule, reg), lam, sigma in product(WAYS, STRENGTHS, SIGMAS)
    ]
    return np.reshape(names, (len(WAYS), len(STRENGTHS), len(SIGMAS)))


def table(data: "xr.Dataset") -> "DataFrame":
    """One row per way, strength and size of the gradients."""
    rows = []
    for way, lam, sigma in product(data["way"].values, data["lam"].values, data["sigma"].values):
        at: dict[str, Any] = {"way": way, "lam": lam, "sigma": sigma}
        one = data.sel(at)
        row = at | {"t0.5": float(one["time"]), "regime": str(one["regime"].item())}
        rows.append(row | {name: float(one[name]) for name in ("passed", "below", "rms")})
    return frame(rows)


def floor_sigma(way: str, lam: Any, eta: float = 1e-3, threshold: float = 1e-3) -> Any:
    """Gradient size at which the leading-order noise floor equals the threshold."""
    if way == "adam l2":
        return 2 * lam * threshold**2 / eta
    return threshold * np.sqrt(2 * lam) if way == "sgd l2" else np.full_like(lam, np.nan)


def draw(data: "xr.Dataset") -> "Figure":
    """Two maps for each way: half-life, and share that is below 1e-3 late in the run."""
    from matplotlib import rc_context
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    from regdyn import plotting

    lam, sigma = data["lam"].values, data["sigma"].values
    with rc_context({**plotting.STYLE, "axes.grid": False}):
        fig = Figure(figsize=(7.2, 5.6))
        axes = fig.subplots(2, len(WAYS), sharex=True, sharey=True)
        maps: list[Any] = [None, None]
        norms = (LogNorm(10, 1e6), None)
        for column, way in zip(axes.T, data["way"].values, strict=True):
            for i, (ax, name) in enumerate(zip(column, ("time", "below"), strict=True)):
                values = data[name].sel(way=way).values.T
                limits = {} if norms[i] else {"vmin": 0, "vmax": 1}
                maps[i] = ax.pcolormesh(
                    _edges(lam), _edges(sigma), values, norm=norms[i], cmap="cividis", **limits
                )
                ax.set(xscale="log", yscale="log", facecolor="0.85")
                plain_log(ax.xaxis, [1e-6, 1e-4, 1e-2])
                plain_log(ax.yaxis, [1e-8, 1e-6, 1e-4, 1e-2, 1])
            span = np.geomspace(lam[0], lam[-1], 50)
            _name_regimes(column[0], data["regime"].sel(way=way))
            column[1].plot(span, floor_sigma(str(way), span), color="w", lw=1.2, ls="--")
            column[0].set_title(way)
            column[1].set_xlabel("strength λ")
        axes[0][0].set_xlim(_edges(lam)[[0, -1]])
        axes[0][0].set_ylim(_edges(sigma)[[0, -1]])
        for ax in axes[:, 0]:
            ax.set_ylabel("std σ of the gradients")
        fig.colorbar(maps[0], ax=axes[0], label="steps to 0.5")
        fig.colorbar(maps[1], ax=axes[1], label="share below 1e-3, late")
        note(
            fig,
            f"Constant gradients of std σ, start 1, {config_of(data)['steps']:,} steps, "
            f"{data.attrs['lanes']} lanes. Grey: fewer than half get below 0.5. Above: "
            "regimes at the start, by theory. Below, dashed: the noise floor's rms is 1e-3, to "
            "leading order.",
        )
    return fig


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of the cells of a logarithmic grid of half a factor of ten."""
    half = 10**0.25
    return np.append(centres / half, centres[-1] * half)


def _name_regimes(ax: Any, regimes: "xr.DataArray") -> None:
    """White lines between the regimes, and their names in their middle."""
    lam, sigma = regimes["lam"].values, regimes["sigma"].values
    for name in np.unique(regimes.values):
        inside = regimes.values == name
        if not inside.all():
            ax.contour(lam, sigma, inside.T.astype(float), [0.5], colors="w", linewidths=0.8)
        i, j = (np.median(at) for at in np.nonzero(inside))
        words = "noise\nfloor" if name.startswith("floor") else name.replace("-", "-\n")
        narrow = np.ptp(np.nonzero(inside)[0]) < 3
        ax.text(
            lam[int(i)], sigma[int(j)], words, color="w", fontsize=7.5, rotation=90 * narrow,
            ha="center", va="center", path_effects=_outline(),
        )  # fmt: skip


def _outline() -> list[Any]:
    """Dark edges, so that white words can be read on any ground."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.5, foreground="0.2")]


def answer(data: "xr.Dataset") -> str:
    """What came out."""

    def half(way: str, sigma: float, lam: float = 1e-4) -> str:
        return steps_text(data["time"].sel(way=way, sigma=sigma, lam=lam))

    def largest(way: str, lam: float) -> str:
        below = data["below"].sel(way=way, lam=lam)
        held = below["sigma"].values[below.values > 0.5]
        return f"sigma = {shown(held.max())}" if len(held) else "no sigma"

    settled = data["rms"].sel(way="adam wd", lam=1e-2)
    held = data["below"].sel(way="adam wd").max("sigma")
    weakest = held["lam"].values[held.values > 0.5]
    return (
        "Asked: for which strengths and gradient sizes a parameter that starts at 1 falls below "
        f"1e-3 within the paper's {config_of(data)['steps']:,} steps and is still there at their "
        f"end (n = {data.attrs['lanes']}, seed {data.attrs['seed']}, {len(STRENGTHS)} strengths, "
        f"{len(SIGMAS)} sizes). Adam + l2 has two regimes. Where lambda theta exceeds sigma it "
        f"halves in about 0.5 / lr steps, whatever both are ({half('adam l2', 1e-8)} at lambda "
        f"1e-4 and sigma 1e-8, {half('adam l2', 1e-6)} at sigma 1e-6). Beyond, the time grows as "
        f"sigma / (lr lambda): {half('adam l2', 1e-3)} steps at sigma 1e-3, where weight decay "
        f"takes {half('adam wd', 1e-3)}, and {half('adam l2', 1e-2)} at 1e-2. So at 1e-4 Adam + "
        "l2 is faster than weight decay for gradients below the learning rate, 1e-3, and slower "
        "above. More than half of the runs are below 1e-3 at the end up to "
        f"{largest('adam l2', 1e-4)} at lambda 1e-4 and {largest('adam l2', 1e-2)} at 1e-2; under "
        f"SGD + l2 up to {largest('sgd l2', 1e-4)} and {largest('sgd l2', 1e-2)}; under Adam + wd "
        f"{'at no strength' if len(weakest) == 0 else f'from lambda = {shown(weakest.min())} on'}, "
        "and there whatever sigma (its late rms at 1e-2 is "
        f"{shown(settled.sel(sigma=1e-6))} at sigma 1e-6 and {shown(settled.sel(sigma=1))} at 1; "
        f"{shown(settled.sel(sigma=1e-8))} at 1e-8, the size of eps). For the paper: Adam + l2 "
        "brings a scale down faster where gradients are small, as it says; but it keeps it below "
        "the threshold in a smaller part of the plane than SGD does, and Adam + wd, at the "
        "strengths that the paper trains with, up to 1e-2, at none of these gradient sizes."
    )
