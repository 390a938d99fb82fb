"""What becomes of each filter, in a word."""

import numpy as np
from scipy.special import ndtr

from regdyn.filters.absorption import SILENT

SELECTIVE = 0.05  # positive at fewer than this share of positions
VERDICTS = {
    "alive": "none of the others",
    "selective": "positive at fewer than 5 % of positions, by Phi(beta/|gamma|), before a ReLU",
    "doomed": "expected to be gone at the end (chance above 50 %), or only the decay is left, and "
    f"it will go if training goes on: no gradient at all for {SILENT} steps",
    "collapsed": "|gamma| is below the threshold",
    "unknown": "gamma or beta is not a number",
}
NAMES = tuple(VERDICTS)
ALIVE, SELECTIVE_NOW, DOOMED, COLLAPSED, UNKNOWN = range(len(NAMES))


def verdicts(
    gamma: np.ndarray, beta: np.ndarray, *, threshold: float, relu: np.ndarray,
    p_collapse: np.ndarray, only_decay: np.ndarray,
) -> np.ndarray:  # fmt: skip
    r"""The verdict on every filter, a number of `NAMES`.

    The first that applies of: unknown, collapsed, doomed, selective, alive. A filter is selective
    if :math:`\Phi(\beta / |\gamma|) < 0.05`: exact if what BatchNorm normalises is normal.

    Parameters
    ----------
    gamma, beta : ndarray (filters,)
    threshold : float
        Of collapse, in |gamma|.
    relu, only_decay : ndarray of bool (filters,)
        Whether a ReLU follows; whether nothing but a decay acts on gamma any more.
    p_collapse : ndarray (filters,)
        The forecast's chance of being gone at the end; NaN where there is none.
    """
    size = np.abs(gamma)
    with np.errstate(divide="ignore", invalid="ignore"):
        positive = ndtr(np.where(size > 0, beta / size, np.sign(beta) * np.inf))
        rules = {
            UNKNOWN: ~np.isfinite(gamma) | ~np.isfinite(beta),
            COLLAPSED: size < threshold,
            DOOMED: (p_collapse > 0.5) | only_decay,
            SELECTIVE_NOW: relu & (positive < SELECTIVE),
        }
    return np.select(list(rules.values()), list(rules), ALIVE)


def counts(verdict: np.ndarray, layer: np.ndarray, layers: int) -> np.ndarray:
    """Number of filters by layer and verdict, (layers, len(NAMES))."""
    found = np.zeros((layers, len(NAMES)), np.int64)
    np.add.at(found, (layer, verdict), 1)
    return found
