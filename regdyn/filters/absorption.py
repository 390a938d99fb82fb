r"""Death by a dead ReLU: how many filters are absorbed once decay and noise balance.

Under weight decay, and under SGD, a layer's scale falls as e^(-a t) until it meets a plateau where
the noise of the steps holds it. There no filter is worn down: gamma and beta wander, and now and
then beta gets so far below gamma's spread (about -2.5 gamma, or less) that the ReLU passes nothing
of any image. The gradient is exactly zero from then on, and only the decay is left. What can be
forecast is the hazard, so how many, and hardly which.

    a        share of gamma that decays per step (`regularizers.decay_rate`)
    n(t)     e-folds until step t: the sum of a lr_t / lr
    R        root mean square of a layer's gamma on the plateau, which begins at n = ln(1 / R)
    S        share of the layer's filters that is not absorbed,   dS/dn = -h S^(1 + q)

The more are gone, the less the loss lets go of the others: that is q.

Adaptive rules, whose steps have a size s that does not shrink with the gradient::

    R^2 = s^2 / (2 a) + r^2,    k = R / floor
    h = exp(-h0 - h1 k) (filters / 32)^omega (images per step / 40)^batch

The first term is the floor of noise. r is where the variance that BatchNorm sees comes down to its
eps, below which the loss is not blind to scale and holds the layer. That variance is a product of
two such squares, of the layer before and of the weights, so r ~ eps^(1/4).

SGD, whose steps shrink with the gradient: h = c a lr_t / lr, the same in all layers, from n = 1.8.

What is fitted, and on which runs, is in docs/filters.md.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from regdyn import regularizers
from regdyn.filters import preconditioner as gains
from regdyn.filters.record import DEAD, Record
from regdyn.rules import SGD, Adadelta

BATCH = 40  # images per step of the runs that the hazards were fitted to
FILTERS = 33.1  # per layer, of those with SGD
SILENT = 100
"""Steps without any gradient that make an absorbed filter, as the constants were fitted. Some fire
again, 5 of 499 under Adam and weight decay and 41 of 312 under SGD: `regdyn.ledger.SILENT`."""


class Constants(NamedTuple):
    """What is fitted; see docs/filters.md.

    Attributes
    ----------
    h0, h1, omega, q : float
        Of adaptive rules, see above.
    r : float
        At eps = 1e-5 and a = 3e-3; it goes with eps^(1/4) a^0.2.
    last_r, last_h : float
        Factors on r and on the hazard in the layer that the classifier reads.
    size : float
        |gamma| at absorption, in units of R: says when it is below `record.DEAD`.
    batch : float
        Exponent of the hazard in the images per step, over `BATCH`: not under SGD, where no such
        dependence was found.
    c, sgd_q, sgd_start, sgd_gone : float
        Of SGD: hazard, saturation, e-folds until the plateau, and from absorption to DEAD.
    sgd_width : float
        Of SGD: exponent of the hazard in width.
    """

    h0: float = 0.62
    h1: float = 0.96
    omega: float = 0.64
    q: float = 1.5
    r: float = 0.0226
    last_r: float = 1.9
    last_h: float = 0.09
    size: float = 0.17
    batch: float = -0.33
    c: float = 2.6
    sgd_q: float = 0.5
    sgd_start: float = 1.8
    sgd_gone: float = 3.5
    sgd_width: float = 0.5


DEFAULT = Constants()


class Absorption(NamedTuple):
    """The law for one training, in each of L layers.

    Attributes
    ----------
    folds : ndarray, shape (steps + 1,)
        n(t), from n(0) = 0.
    hazard : ndarray, shape (steps + 1, L)
        The integral of h dn until each step.
    q, gone : float
        Saturation; e-folds from absorption until |gamma| < DEAD.
    """

    folds: np.ndarray
    hazard: np.ndarray
    q: float
    gone: float

    def share(self, step: int, *, factor: Any = 1.0, dead: bool = True) -> np.ndarray:
        """Share of each layer that is absorbed at `step`, or dead as well; shape (L,)."""
        if dead:
            step = int(np.searchsorted(self.folds, self.folds[step] - self.gone, side="right")) - 1
        return absorbed_share(self.hazard[max(step, 0)] * factor, self.q)

    def step_of(self, share: np.ndarray, *, factor: Any = 1.0) -> np.ndarray:
        """Step at which this share of each layer is absorbed; inf if never; shape (L,)."""
        wanted = hazard_of(share, self.q) / factor
        found = np.full(len(wanted), np.inf)
        for l, H in enumerate(wanted):
            t = int(np.searchsorted(self.hazard[:, l], H))
            found[l] = t if t < len(self.folds) else np.inf
        return found


def absorbed_share(hazard: Any, q: float) -> Any:
    r"""1 - S for an integral H of the hazard: S = (1 + q H)^(-1/q)."""
    return 1 - (1 + q * np.asarray(hazard)) ** (-1 / q)


def hazard_of(share: Any, q: float) -> Any:
    """The integral of the hazard that absorbs this share."""
    return ((1 - np.asarray(share)) ** (-q) - 1) / q


def applies(hp: Any, reg: str) -> bool:
    """Whether filters die by absorption under this rule and regulariser, not by being worn down."""
    return reg in ("wd", "adamw") or (isinstance(hp, SGD) and reg == "l2")


def law(
    hp: Any, reg: str, lam: float, *, scale: np.ndarray, filters: np.ndarray, bn_eps: float = 1e-5,
    batch: float = BATCH, width: float = 1.0, constants: Constants = DEFAULT,
) -> Absorption:  # fmt: skip
    """Absorption in a training with these settings.

    Parameters
    ----------
    hp, reg, lam
        Rule, regulariser and strength, for which `applies` holds.
    scale : ndarray, shape (steps,)
        The schedule, lr_t / lr.
    filters : ndarray of int, shape (L,)
        Filters of each layer; the classifier reads the last.
    bn_eps : float
    batch : float
        Images per step.
    width : float
        SGD: see `wideness`.
    constants : Constants
    """
    c = constants
    a = max(regularizers.decay_rate(reg, lam, hp), 1e-12) if lam > 0 else 1e-12
    folds = np.concatenate([[0.0], np.cumsum(a * scale)])
    if isinstance(hp, SGD):
        crowd = width**c.sgd_width
        h = c.c * a * crowd * scale[:, None] * np.ones(len(filters))
        entry, q, gone = np.full(len(filters), c.sgd_start), c.sgd_q, c.sgd_gone
    else:
        s, last = hp.lr * step_size(hp), np.arange(len(filters)) == len(filters) - 1
        floor = s / math.sqrt(2 * a)
        R = np.hypot(floor, c.r * (bn_eps / 1e-5) ** 0.25 * (a / 3e-3) ** 0.2
                     * np.where(last, c.last_r, 1.0))  # fmt: skip
        h = (
            np.exp(-c.h0 - c.h1 * R / floor)
            * (filters / 32) ** c.omega
            * (batch / BATCH) ** c.batch
        )
        h = np.ones((len(scale), 1)) * h * np.where(last, c.last_h, 1.0)
        entry, q = np.log(1 / np.minimum(R, 1.0)), c.q
        gone = max(math.log(c.size * float(np.median(R)) / DEAD), 0.0)
    inside = np.clip(folds[1:, None] - entry, 0.0, (a * scale)[:, None])  # e-folds on the plateau
    hazard = np.vstack([np.zeros(len(filters)), np.cumsum(h * inside, axis=0)])
    return Absorption(folds, hazard, q, gone)


def step_size(hp: Any) -> float:
    """Root mean square of an adaptive rule's step over its learning rate, under steady noise."""
    return math.sqrt(gains.settled(hp)) if isinstance(hp, Adadelta) else 1.0


# What a record says ------------------------------------------------------------------------------


def wideness(record: Record) -> float:
    """Filters per layer, over those of the runs that SGD's hazard was fitted to."""
    return record.filters / len(record.names) / FILTERS


def last_fired(record: Record) -> np.ndarray:
    """End of the last window with a gradient of gamma that is not zero; 0 if none; shape (n,)."""
    fired = record.grad_gamma_zero < 1
    last = len(fired) - 1 - np.argmax(fired[::-1], axis=0)
    return np.where(fired.any(axis=0), record.step[last + 1], 0)


def absorbed(record: Record) -> np.ndarray:
    """Which filters saw no gradient at all for the last `SILENT` steps; shape (n,)."""
    return last_fired(record) <= record.step[-1] - SILENT


def measured_factor(record: Record, expected: Absorption, prior: float = 4.0) -> np.ndarray:
    """How much faster than the law the filters of a finished run were absorbed; shape (L,).

    Each layer's ratio is drawn towards that of all layers, and that towards 1, by as many filters
    as `prior` says.
    """
    n = np.bincount(record.layer)
    gone = np.bincount(record.layer, weights=absorbed(record), minlength=len(n))
    seen = n * hazard_of(np.minimum(gone / n, 1 - 0.5 / n), expected.q)
    law_says = n * expected.hazard[min(record.step[-1], len(expected.folds) - 1)]
    total = (seen.sum() + prior) / (law_says.sum() + prior)
    return (seen + prior * total) / (law_says + prior)
