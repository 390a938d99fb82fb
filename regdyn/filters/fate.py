r"""From paths to fates: the chance that a filter is gone at the end, and when it collapses.

A path is one mean course; batches come in another order each time. How far that scatters a filter's
fate was fitted once, on development runs (docs/filters.md): the chance of being gone is logistic in

    u = ln(clock at the end / clock at which the path passes the threshold)

and in the filter's weakness within its layer, with a slope that grows the later the forecast is
made. The clock is the sum of lr_t / lr.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtri

from regdyn.filters.absorption import Absorption, absorbed_share, hazard_of
from regdyn.filters.laws import Early
from regdyn.filters.model import Path
from regdyn.filters.record import COLLAPSED, DEAD

BEYOND = 0.6  # the path is followed further than the run, by this share of its steps
Z80 = float(ndtri(0.9))  # half an 80 % interval, in standard deviations


class Scatter(NamedTuple):
    """How far fates scatter around the path, at a forecast after a share f of the run.

    Attributes
    ----------
    bias, slope, weak : float
        logit p = bias + slope u f^sharpen + weak * weakness.
    sharpen : float
    time : float
        Standard deviation of ln(collapse step - at), over filters.
    layer, total : float
        Standard deviation of a layer's and of the total share's logit, beyond chance.
    """

    bias: float = 0.0
    slope: float = 8.0
    weak: float = 0.5
    sharpen: float = 0.3
    time: float = 0.25
    layer: float = 0.4
    total: float = 0.15


class Fates(NamedTuple):
    """Of n filters: chance of being gone, collapse step (median and 80 % interval; inf: never)."""

    p: np.ndarray
    t_median: np.ndarray
    t_lo: np.ndarray
    t_hi: np.ndarray


DEFAULT = Scatter()


def worn_down(path: Path, early: Early, scale: np.ndarray, *, scatter: Scatter = DEFAULT) -> Fates:
    """Fates of filters that the regulariser and the loss wear down along `path`."""
    f = early.step / len(scale)
    u, weakness = lateness(path, scale), weakness_of(early)
    p = expit(scatter.bias + scatter.slope * f**scatter.sharpen * u + scatter.weak * weakness)
    p = np.where(early.gamma < DEAD, 1.0, p)
    at = crossing(path, COLLAPSED)
    left = np.maximum(at - early.step, 0.0)
    wide = np.exp(Z80 * scatter.time)
    return Fates(p, at, early.step + left / wide, early.step + left * wide)


def lateness(path: Path, scale: np.ndarray) -> np.ndarray:
    """u; > 0 where the path passes the threshold before the end."""
    clock = np.concatenate([[0.0], np.cumsum(scale)])
    at = crossing(path, DEAD)
    end = path.step[-1] * np.maximum(path.gamma[-1] / DEAD, 1.0) ** 0.25  # further than followed
    at = np.where(np.isfinite(at), at, end)
    ticks = np.interp(at, np.arange(len(clock)), clock) + np.maximum(at - len(scale), 0)
    return np.log(clock[-1] / np.maximum(ticks, 1.0))


def crossing(path: Path, threshold: float) -> np.ndarray:
    """Step at which each filter's path first is below `threshold`, between grid points; or inf."""
    below = path.gamma < threshold
    k = np.argmax(below, axis=0)
    i, never = np.arange(below.shape[1]), ~below.any(axis=0)
    before = np.maximum(k - 1, 0)
    hi, lo = np.log(path.gamma[before, i]), np.log(path.gamma[k, i])
    part = np.clip((hi - np.log(threshold)) / np.maximum(hi - lo, 1e-12), 0, 1)
    at = path.step[before] + part * (path.step[k] - path.step[before])
    return np.where(never, np.inf, np.where(k == 0, path.step[0], at))


def weakness_of(early: Early) -> np.ndarray:
    """ln of the layer's root mean square of gamma over the filter's, between -3 and 3."""
    return np.clip(np.log(early.layers.rms(early.gamma) / early.gamma), -3, 3)


def absorbed(
    law: Absorption, early: Early, silent: np.ndarray, *, until: int, factor: np.ndarray,
    tilt: float = 0.3,
) -> Fates:  # fmt: skip
    """Fates of filters that a dead ReLU absorbs at the hazard of `law`.

    Parameters
    ----------
    law : Absorption
    early : Early
    silent : ndarray of bool, shape (n,)
        Which filters see no gradient any more: they only decay.
    until : int
        Step of the end.
    factor : ndarray, shape (L,)
        On each layer's hazard.
    tilt : float
        A filter e times weaker than its layer has exp(tilt) times the hazard.
    """
    layer, n = early.layers.layer, law.folds
    share = law.share(until, factor=factor)
    H = hazard_of(np.minimum(share, 1 - 1e-9), law.q)[layer]
    more = np.exp(tilt * weakness_of(early))
    more = more / early.layers.mean(more, np.ones_like(more))
    p = absorbed_share(H * more, law.q)
    # a silent filter decays as exp(-n): gone if the folds left are enough
    needed = np.log(np.maximum(early.gamma / DEAD, 1.0))
    p = np.where(silent, n[until] - n[early.step] >= needed, p).astype(float)
    times = [law.step_of(np.full(len(factor), q), factor=factor)[layer] for q in (0.1, 0.5, 0.9)]
    when = np.interp(n[early.step] + np.log(np.maximum(early.gamma / COLLAPSED, 1.0)), n,
                     np.arange(len(n)), right=np.inf)  # fmt: skip
    lo, median, hi = (np.where(silent, when, np.where(t <= until, t, np.inf)) for t in times)
    return Fates(p, median, lo, hi)
