"""Why a filter will be gone, or not, in words."""

import numpy as np

from regdyn.filters.laws import Early
from regdyn.filters.model import Path
from regdyn.filters.record import DEAD

GONE = "already dead"
SILENT = "absorbed: its ReLU passes nothing, only the decay is left"
OUTPACED = "worn down: the regulariser outpaces the signal"
PUSHED = "worn down: pushed down by the loss"
ABSORBED = "absorbed: a dead ReLU is likely in time"
NOT_ABSORBED = "alive: a dead ReLU is unlikely in time"
HELD = "held: the loss holds it against the regulariser"
SLOWED = "noise-slowed: it falls, but not in time"
FREE = "free: nothing is regularised"


def of_worn(path: Path, alone: Path, early: Early, p: np.ndarray, *, until: int) -> np.ndarray:
    """Reasons of filters that are worn down, or not.

    Parameters
    ----------
    path, alone : Path
        With the loss's push, and with the regulariser alone.
    early : Early
    p : ndarray, shape (n,)
        Chance of being gone.
    until : int
        Step of the end.
    """
    end = int(np.searchsorted(alone.step, until))
    without = alone.gamma[min(end, len(alone.step) - 1)] < DEAD
    inside = path.step <= until
    held = np.median(path.push[inside], axis=0) > 0.5  # more than the regulariser takes
    gone = np.where(without, OUTPACED, PUSHED)
    stays = np.where(held, HELD, SLOWED)
    return np.where(early.gamma < DEAD, GONE, np.where(p >= 0.5, gone, stays))


def of_absorbed(early: Early, silent: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Reasons where filters die by absorption."""
    some = np.where(p >= 0.5, ABSORBED, NOT_ABSORBED)
    return np.where(early.gamma < DEAD, GONE, np.where(silent, SILENT, some))
