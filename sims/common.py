"""What the studies share: running, labelling, spread, and pictures' colours."""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from regdyn.checks import integer

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from matplotlib.figure import Figure
    from pandas import DataFrame

LEVELS = (0.5, 0.1, 1e-2, 1e-3)  # of |theta|, as everywhere in regdyn
STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
TRAINING = 406_250  # the paper's run: 50,000 images in batches of 40, 325 epochs (section 2.1)
FILLING = 50_000  # steps at learning rate 0 before the clock starts, where v has to fill
FEWEST = 10  # lanes below which a spread says nothing
INK = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "0.35")  # Okabe and Ito


def lanes_or(lanes: int | None, default: int) -> int:
    """Lanes of a study: those asked for, at least 10, or its own number."""
    return default if lanes is None else integer("lanes", lanes, FEWEST)


def runs(
    what: str, jobs: Iterable[dict[str, Any]], total: float | None = None
) -> "Iterator[xr.Dataset]":
    """`regdyn.simulate` of each job, one after the other, under one progress bar.

    Parameters
    ----------
    what : str
        What the bar says.
    jobs : iterable of dict
        Keyword arguments of `regdyn.simulate`; `steps` and `lanes` (a number) must be there.
    total : float, optional
        Their steps times lanes, if the jobs are to be made one by one.

    Yields
    ------
    xarray.Dataset
    """
    from regdyn import simulate
    from regdyn.progress import bar

    if total is None:
        jobs = list(jobs)
        total = sum(job["steps"] * job["lanes"] for job in jobs)
    with bar(what, total) as done:
        for job in jobs:
            yield simulate(**job, progress=False)
            done(job["steps"] * job["lanes"])


def predicted(job: dict[str, Any]) -> "xr.Dataset":
    """`regdyn.theory.predict` of a job of `runs`: the theory's line beside the simulation's."""
    from regdyn.theory import predict

    only_simulated = ("lanes", "seed", "keep_passages")
    words = {name: value for name, value in job.items() if name not in only_simulated}
    return predict(words.pop("rule"), **words)


def labelled(data: Any, title: str, *, lanes: int, seed: int, **config: Any) -> Any:
    """The data with what made them as attributes: title, configuration, seed, versions."""
    from regdyn import store

    config = {"lanes": lanes, "seed": seed, **config}
    return data.assign_attrs(
        {
            "title": title,
            "config": json.dumps(config),
            "lanes": lanes,
            "seed": str(seed),  # 64 bits do not fit a netCDF attribute of signed integers
            **store.provenance(),
        }
    )


def last_tenth(steps: int, points: int = 200) -> np.ndarray:
    """Steps to record: the start, and `points` steps that end the run's last tenth."""
    late = np.linspace(0.9 * steps, steps, points).round().astype(int)
    return np.unique(np.append(0, late))


def median_band(passages: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    r"""95 % interval of a median over the last axis, from order statistics.

    The number of n lanes below their median is binomial(n, 1/2), so the interval runs from the
    lane of rank :math:`n/2 - z \sqrt{n}/2` to that of rank :math:`n/2 + z \sqrt{n}/2`, whatever
    the distribution. NaN (a lane that never passes) counts as infinitely late.

    Parameters
    ----------
    passages : ndarray, shape (..., lanes)
    z : float

    Returns
    -------
    low, high : ndarray, shape (...)
    """
    ordered = np.sort(np.where(np.isnan(passages), np.inf, passages), axis=-1)
    n = ordered.shape[-1]
    half = z * np.sqrt(n) / 2
    low = max(int(np.floor(n / 2 - half)), 0)
    high = min(int(np.ceil(n / 2 + half)), n - 1)
    return ordered[..., low], ordered[..., high]


def times(ds: "xr.Dataset") -> "xr.Dataset":
    """`time`, the median first passage, with its 95 % interval `low` ... `high`.

    Of a result with `keep_passages`. NaN where fewer than half of the lanes get there (`low` and
    `high`: where that end of the interval is not reached).
    """
    import xarray as xr

    passage = ds["first_passage"].transpose(..., "lane")
    ends = (np.where(np.isfinite(x), x, np.nan) for x in median_band(passage.values))
    low, high = (passage.isel(lane=0, drop=True).copy(data=x) for x in ends)
    out = xr.Dataset({"time": ds["first_passage_median"], "low": low, "high": high})
    out["low"].attrs = {"long_name": "lower end of the median's 95 % interval", "units": "step"}
    out["high"].attrs = {"long_name": "upper end of the median's 95 % interval", "units": "step"}
    return out.rename(threshold="level")


def since(data: Any, start: int) -> Any:
    """`times`, and the theory's, counted from step `start`."""
    for name in {"time", "low", "high", "theory_time"} & set(data):
        data[name] = (data[name] - start).assign_attrs(data[name].attrs)
    return data


def config_of(data: "xr.Dataset") -> dict[str, Any]:
    """What made the data, as `labelled` wrote it."""
    return json.loads(data.attrs["config"])


def frame(rows: list[dict[str, Any]]) -> "DataFrame":
    """Rows as a table; five significant digits, so that the file can be read and compared."""
    import pandas as pd

    table = pd.DataFrame(rows)
    for name in table.select_dtypes("float"):
        table[name] = [float(f"{x:.5g}") for x in table[name]]
    return table


def shown(value: Any) -> str:
    """A cell for a person: 12,345, 0.123, 1e-4; a dash for what is not there."""
    from regdyn.plotting import strength_label

    if isinstance(value, str | bool):
        return str(value)
    value = float(f"{float(value):.5g}")  # as the file has it
    if np.isnan(value):
        return "-"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    short = float(f"{value:.3g}")
    short = float(f"{value:.4g}") if short == 1 else short  # 0.9999 is not 1
    return f"{short:g}" if abs(short) >= 1e-3 and short != 1e-3 else strength_label(short)


def steps_text(value: Any) -> str:
    """Steps in a sentence: 1,234, or `never` where fewer than half of the lanes get there."""
    return "never" if np.isnan(float(value)) else f"{float(value):,.0f}"


def share_text(value: Any) -> str:
    """A share in a sentence: 12 %, 0.4 %."""
    percent = 100 * float(value)
    return f"{percent:.2g} %" if percent < 1 else f"{percent:.0f} %"


def plain_log(axis: Any, ticks: Any = None) -> None:
    """Plain labels (0.1, 1e-3) on a logarithmic axis, and no small ticks."""
    from matplotlib.ticker import FixedLocator, NullLocator

    from regdyn.plotting import strength_label

    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(
        lambda value, _: (
            f"{value:,g}" if 0.1 <= value < 1e6 else strength_label(value).replace("+", "")
        )
    )
    if ticks is not None:
        axis.set_major_locator(FixedLocator(ticks))


def note(fig: Any, text: str, width: int = 118) -> None:
    """A small caption under a picture."""
    from textwrap import fill

    fig.supxlabel(fill(text, width), fontsize=8, x=0.01, ha="left")


def save(fig: "Figure", path: "Path | str") -> None:
    """Write the picture as PNG with a palette of 256 colours: a third of the bytes."""
    from io import BytesIO

    from PIL import Image

    drawn = BytesIO()
    fig.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(256).save(path, "PNG", optimize=True)
