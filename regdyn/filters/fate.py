r"""From paths to fates: the chance that a filter is gone at the end, and when it collapses.

A path is one mean course; batches come in another order each time. How many filters of a layer die,
and when, hardly changes with that order; which ones does (docs/forecast-accuracy.md). So with

    u = ln(clock at the end / clock at which the path passes the threshold)

the clock being the sum of lr_t / lr, a layer's share is the mean of `share_of` u, nearly the
count of paths that pass. Within the layer a filter's chance is sigmoid(c + rank) with the c that
gives this share. The rank is the path's, the more the later the forecast is made, and that of what
a filter saw so far: little gradient for long, and small weights of its own, go before death.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtri

from regdyn.filters.absorption import Absorption, absorbed_share, hazard_of
from regdyn.filters.laws import Early, Layers
from regdyn.filters.model import Path
from regdyn.filters.record import COLLAPSED, DEAD, Record, collapse_step, dead

BEYOND = 0.6  # the path is followed further than the run, by this share of its steps
Z80 = float(ndtri(0.9))  # half an 80 % interval, in standard deviations


class Scatter(NamedTuple):
    """How far fates scatter around the path, of a forecast after the share f of the run.

    With x = f / 0.1::

        layer's share = mean of sigmoid(SHARP (u - early - drift ln x))
        logit p = c + (path + later ln x) z(u) - quiet z(quiet) - into z(into)
        collapse = at + (path's - at) / (late x^-catch)         with scatter `time` in its logarithm

    Attributes
    ----------
    early, drift : float
        By how much the path is too early, in u.
    path, later, quiet, into : float
        z standardises within a layer; `laws.Early` has quiet and into.
    late, catch : float
        How much too late the path is.
    time : float
        Standard deviation over filters.
    layer, total : float
        Standard deviation of a layer's and of the total share's logit, beyond what chance does.
    """

    early: float
    drift: float
    path: float
    later: float
    quiet: float
    into: float
    late: float
    catch: float
    time: float
    layer: float
    total: float


SHARP = 12.0
FEW = 8  # filters that weigh as much as what is known without them
TRUST = 0.7  # of a pilot's error
RANK = {"path": 0.58, "later": 0.42, "quiet": 0.58, "into": 0.34}
WITH_PILOT = Scatter(
    early=0.12, drift=0.043, **RANK, late=1.19, catch=0.1, time=0.34,
    layer=0.42, total=0.23,
)  # fmt: skip
ALONE = Scatter(
    early=0.0, drift=0.22, **RANK, late=1.33, catch=0.23, time=0.34,
    layer=0.8, total=0.45,
)  # fmt: skip
ABSORBED = (0.3, 0.14)
"""Where filters are absorbed: standard deviation of a layer's and the total share's logit."""


class Fates(NamedTuple):
    """Of n filters: chance of being gone, and collapse step, median and 80 % interval.

    The step is of those that do collapse; inf: not before the end, or nothing tells.
    """

    p: np.ndarray
    t_median: np.ndarray
    t_lo: np.ndarray
    t_hi: np.ndarray


class Correction(NamedTuple):
    """What a pilot teaches: by how much paths are too early in u, and ln of how much too late."""

    early: np.ndarray
    late: np.ndarray


def worn_down(
    path: Path, early: Early, scale: np.ndarray, scatter: Scatter,
    correction: Correction | None = None,
) -> Fates:  # fmt: skip
    """Fates of filters that the regulariser and the loss wear down along `path`."""
    x = early.step / len(scale) / 0.1
    u = lateness(path, scale)
    if correction is None:
        correction = uncorrected(scatter, x, early.layers.number)
    of = early.layers.layer
    share = early.layers.mean(share_of(u - correction.early[of]), np.ones_like(u))
    z = early.layers.standard
    rank = (scatter.path + scatter.later * np.log(x)) * z(u)
    rank = rank - scatter.quiet * z(early.quiet) - scatter.into * z(early.into)
    p = with_mean(rank, share, early.layers)
    p = np.where(early.gamma < DEAD, 1.0, p)
    left = np.maximum(crossing(path, COLLAPSED) - early.step, 0.0)
    left = left * np.exp(-correction.late[of])
    lo, median, hi = (early.step + left * np.exp(z * scatter.time) for z in (-Z80, 0.0, Z80))
    return Fates(p, median, lo, hi)


def uncorrected(scatter: Scatter, x: float, layers: int) -> Correction:
    """By `scatter` alone, at x = 10 f."""
    early = scatter.early + scatter.drift * np.log(x)
    late = np.log(scatter.late) - scatter.catch * np.log(x)
    return Correction(np.full(layers, early), np.full(layers, late))


def corrected(
    start: Correction, path: Path, early: Early, scale: np.ndarray, record: Record, *,
    trust: float = TRUST,
) -> Correction:  # fmt: skip
    """What the model's error on a finished run, the pilot, teaches of its layers.

    Parameters
    ----------
    start : Correction
        Without the pilot.
    path, early, scale
        Of the pilot, from as early as the forecast.
    record : Record
        The pilot's, to its end.
    trust : float
        Share of the error, beyond what few filters leave open, that is taken over.
    """
    u, layers, gone = lateness(path, scale), early.layers, dead(record)
    when = collapse_step(record)
    said, ok = crossing(path, COLLAPSED), gone & (when > early.step + record.window.max())
    ok &= np.isfinite(said)
    ratio = np.log(np.where(ok, said - early.step, 1.0) / np.where(ok, when - early.step, 1.0))
    before, late = start.early.copy(), start.late.copy()
    overall = float(np.median(ratio[ok])) if ok.sum() > FEW else float(late[0])
    for l in range(layers.number):
        mine = layers.layer == l
        n, timed = mine.sum(), mine & ok
        more = _shift(u[mine] - before[l], gone[mine].sum())
        before[l] += trust * n / (n + 2 * FEW) * np.clip(more, -0.4, 0.4)
        median = float(np.median(ratio[timed])) if timed.any() else overall
        mean = (median * timed.sum() + overall * FEW) / (timed.sum() + FEW)
        late[l] += trust * (mean - late[l])
    return Correction(before, late)


def _shift(u: np.ndarray, gone: int) -> float:
    """What has to be taken off u for `gone` filters to be gone; 0 if none or all are anyway."""
    n = len(u)
    wanted, said = np.clip(gone, 0.5, n - 0.5), share_of(u).sum()
    if abs(said - gone) <= 0.5 and gone in (0, n):
        return 0.0
    a, b = -1.5, 1.5
    for _ in range(40):
        c = 0.5 * (a + b)
        a, b = (c, b) if share_of(u - c).sum() > wanted else (a, c)
    return 0.5 * (a + b)


def share_of(u: np.ndarray) -> np.ndarray:
    """Chance of the like of a filter, sigmoid(`SHARP` u): its mean over a layer is the share."""
    return expit(SHARP * u)


def with_mean(logit: np.ndarray, share: np.ndarray, layers: Layers) -> np.ndarray:
    """sigmoid(c + logit) with the c of each layer that makes its mean `share`; shape (n,)."""
    share = np.clip(share, 1e-6, 1 - 1e-6)
    low, high = -50.0 - logit.max(), 50.0 - logit.min()
    a, b = np.full(len(logit), low), np.full(len(logit), high)
    for _ in range(50):
        c = 0.5 * (a + b)
        more = layers.mean(expit(c + logit), np.ones_like(c)) < share
        a, b = np.where(more, c, a), np.where(more, b, c)
    return expit(0.5 * (a + b) + logit)


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
    # those that will be absorbed collapse as it happens: quantiles over them
    all_ = law.share(until, factor=factor, dead=False) * (1 - 1e-9)
    times = [law.step_of(q * all_, factor=factor)[layer] for q in (0.1, 0.5, 0.9)]
    when = np.interp(n[early.step] + np.log(np.maximum(early.gamma / COLLAPSED, 1.0)), n,
                     np.arange(len(n)), right=np.inf)  # fmt: skip
    lo, median, hi = (np.where(silent, when, t) for t in times)
    return Fates(p, median, lo, hi)
