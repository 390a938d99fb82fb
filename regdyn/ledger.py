r"""The death of every filter: when it fired last, fell below thresholds, came back; how it died.

A filter fires in a window if the gradient of its gamma is not exactly zero in one of its steps.
|gamma| is the mean over the last 50 steps, as where a collapse is dated: a scale that changes its
sign is not gone. All dates are recorded steps.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regdyn.checks import integer
from regdyn.filters.absorption import last_fired
from regdyn.filters.record import DEAD, Record, dead, smoothed

if TYPE_CHECKING:
    import xarray as xr

THRESHOLDS = (1e-1, 1e-2, 1e-3)
SILENT = 200
"""Steps without gradient, up to the end, after which a filter counts as absorbed.

Of the silences that had lasted so long, and began before the filter was dead, so many ended with
the filter firing again (26 runs of BasicNet: digits, Fashion-MNIST; those that a record cuts off
within 100 steps more are left out):

==============  =========  =========  =========  =========
rule            40         100        200        400 steps
==============  =========  =========  =========  =========
Adam + wd       28/522     5/499      0/493      0/493
Adadelta + L2   4/100      0/96       0/96       0/96
SGD + L2, wd    125/397    41/312     9/279      1/271
RMSprop + L2    78/113     74/109     66/101     32/64
Adam + L2       1957/2015  1799/1852  1614/1663  663/702
==============  =========  =========  =========  =========

So under Adam + L2 silence absorbs nothing: it moves gamma and beta by about a learning rate each,
whatever their size, so that beta / gamma changes and the filter fires again. Weight decay, and SGD,
shrink both by one factor.
"""
FATES = ("alive", "worn down", "absorbed")


def ledger(record: Record, *, silence: int = SILENT) -> "xr.Dataset":
    r"""What became of each filter, and when.

    Absorbed is a filter that was alive when its gradient ended: silent for the last `silence` steps
    at least, and its mean of abs(gamma) had never been below 1e-3 before. From then on
    regularisation alone moves it. Worn down is any other filter with abs(gamma) < 1e-3 at the end:
    it was carried there with its gradient on.

    Why 1e-3 and not 1e-2: under Adam + weight decay filters are absorbed at the floor of the noise,
    some learning rates high, most of them below 1e-2. Why "never before": under Adam + L2 a filter
    that has been worn down oscillates around 0, silent and firing in turns (`SILENT`), so that its
    last silence may come long after its death and says nothing of it.

    Parameters
    ----------
    record : Record
        Its end is the end of the ledger.
    silence : int
        Steps.

    Returns
    -------
    xarray.Dataset
        Dimensions filter and threshold (1e-1, 1e-2, 1e-3); steps are NaN where it never happened.

        dead
            abs(gamma) < 1e-3 at the end.
        fate
            'alive', 'worn down' or 'absorbed'. An absorbed filter need not be dead yet.
        gamma
            At the end.
        last_firing
            End of the last window in which it fired; 0 if it never did.
        silent
            Steps from there to the end.
        gamma_silenced, z
            abs(gamma) and :math:`\beta / (|\gamma| s)`, :math:`s = \sqrt{v / (v + \varepsilon)}`,
            at last_firing; NaN unless silent for `silence` steps. What the ReLU gets has mean beta
            and standard deviation :math:`|\gamma| s`. It is seen up to a window late: momentum has
            carried beta on since.
        below, below_for_good
            First step with mean abs(gamma) below the threshold, and the one after which it stayed.
        revivals
            Times it came back above.
        woken
            Earlier silences of `silence` steps or more, after which it fired again.

    Raises
    ------
    ValueError
        If `silence` is not a whole number from 1.
    """
    import xarray as xr

    silence = integer("silence", silence, 1)
    last, every = np.searchsorted(record.step, last_fired(record)), np.arange(record.filters)
    silent = record.step[-1] - record.step[last]
    over = silent >= silence
    mean = smoothed(record)
    gone_before = (np.minimum.accumulate(mean)[last, every]) < DEAD
    absorbed, fell = over & ~gone_before, dead(record)
    fate = np.where(absorbed, "absorbed", np.where(fell, "worn down", "alive"))
    gamma, beta, var = (x[last, every] for x in (record.gamma, record.beta, record.var))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = beta / (np.abs(gamma) * np.sqrt(var / (var + record.bn_eps)))
    before = silences(record)
    again = before.filter[before.woken & (before.steps >= silence)]
    each = {
        "dead": (fell, "|gamma| < 1e-3 at the end", "1"),
        "fate": (fate, "how it died", "1"),
        "gamma": (record.gamma[-1], "gamma at the end", "1"),
        "last_firing": (record.step[last], "end of the last window with a gradient", "step"),
        "silent": (silent, "steps without gradient, to the end", "step"),
        "gamma_silenced": (np.where(over, np.abs(gamma), np.nan), "|gamma| at last_firing", "1"),
        "z": (np.where(over, z, np.nan), "beta / (|gamma| xstd) at last_firing", "1"),
        "woken": (np.bincount(again, minlength=record.filters), "silences that ended", "1"),
    }
    variables = {
        name: ("filter", values, {"long_name": long_name, "units": units})
        for name, (values, long_name, units) in each.items()
    }
    coords = {
        "threshold": ("threshold", list(THRESHOLDS), {"long_name": "threshold on mean |gamma|"}),
        "layer": ("filter", np.array(record.names)[record.layer]),
    }
    end = {"silence": silence, "until": int(record.step[-1])}
    return xr.Dataset(variables | _passages(record.step, mean), coords, end)


class Silences(NamedTuple):
    """Stretches of windows without any gradient, shape (m,).

    Attributes
    ----------
    filter : ndarray of int
    begin : ndarray of int
        Step of the state before the first silent window.
    steps : ndarray of int
    gamma : ndarray
        Mean abs(gamma) at `begin`.
    woken : ndarray of bool
        Whether the filter fired again; if not, the record ended.
    """

    filter: np.ndarray
    begin: np.ndarray
    steps: np.ndarray
    gamma: np.ndarray
    woken: np.ndarray


def silences(record: Record) -> Silences:
    """Every silence of every filter, filter after filter.

    How many of them end, by rule and length: `SILENT`.
    """
    silent = record.grad_gamma_zero.T == 1.0
    edge = np.diff(np.pad(silent, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    filters, first = np.nonzero(edge == 1)
    _, after = np.nonzero(edge == -1)  # window `after` fires, or is none any more
    begin, end = record.step[first], record.step[after]
    mean = smoothed(record)[first, filters]
    return Silences(filters, begin, end - begin, mean, after < silent.shape[1])


def _passages(step: np.ndarray, mean: np.ndarray) -> dict[str, tuple]:
    """below, below_for_good and revivals: shape (threshold, filter)."""
    found: dict[str, list] = {"below": [], "below_for_good": [], "revivals": []}
    for threshold in THRESHOLDS:
        under = mean < threshold
        found["below"].append(np.where(under.any(axis=0), step[np.argmax(under, axis=0)], np.nan))
        back = np.argmax(~under[::-1], axis=0)  # states since it was last above
        stayed = np.where(under.all(axis=0), len(step), back)
        when = step[np.minimum(len(step) - stayed, len(step) - 1)]
        found["below_for_good"].append(np.where(stayed > 0, when, np.nan))
        found["revivals"].append(np.sum(under[:-1] & ~under[1:], axis=0))
    long_names = {
        "below": ("first step below the threshold", "step"),
        "below_for_good": ("step from which it stays below", "step"),
        "revivals": ("times it came back above", "1"),
    }
    return {
        name: (("threshold", "filter"), np.array(found[name]), {"long_name": text, "units": units})
        for name, (text, units) in long_names.items()
    }
