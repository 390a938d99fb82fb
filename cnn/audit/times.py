"""Half-lives and shrinks of tensors that decay alike: which of the three ways of knowing applies.

A share of theta per step (decays.py); L2 inside an adaptive rule without gradient, by recursion
(quiet.py); the same under noise, by the laws of `regdyn.theory`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cnn.audit import quiet
from cnn.audit.decays import UNKNOWN, Adaptive, Nothing, half_life
from cnn.audit.readers import number


class Rates(NamedTuple):
    """Learning rates of a group: now, of the steps to come (steps,), and after these."""

    now: float
    coming: np.ndarray
    after: float


class Times(NamedTuple):
    """Of tensors that decay alike, ndarrays (tensors,), and a doubt about them; empty if none."""

    shrink: np.ndarray
    steps: np.ndarray
    doubt: str


def rates(group: Mapping[str, Any], scale: np.ndarray) -> Rates:
    """Learning rates of a parameter group under the factors `scale`."""
    lr = number(group, "lr")
    if not len(scale):
        return Rates(lr, scale, lr)
    base = number(group, "initial_lr") if "initial_lr" in group else lr
    return Rates(lr, base * scale, float(base * scale[-1]))


def times(decay: Any, sizes: np.ndarray, lr: Rates, sigma: float) -> Times:
    """Shrinks and half-lives of tensors whose rms are `sizes`."""
    if decay.rule == UNKNOWN:
        return Times(np.full(len(sizes), math.nan), np.full(len(sizes), math.nan), "")
    if isinstance(decay, Nothing):
        return Times(np.zeros(len(sizes)), np.full(len(sizes), math.inf), "")
    if not isinstance(decay, Adaptive):
        share = decay.share(np.array([lr.now]), np.array([0]))[0]
        half = half_life(decay, lr.coming, lr.after)
        return Times(np.full(len(sizes), share), np.full(len(sizes), half), "")
    steps, doubt = _adaptive(decay, sizes, lr, sigma)
    steady = steps
    if len(lr.coming):
        steady, _ = _adaptive(decay, sizes, Rates(lr.now, np.empty(0), lr.now), sigma)
    with np.errstate(divide="ignore"):
        return Times(-np.expm1(-math.log(2) / steady), steps, doubt)


def _adaptive(
    decay: Adaptive, sizes: np.ndarray, lr: Rates, sigma: float
) -> tuple[np.ndarray, str]:
    if sigma == 0:
        found = quiet.half_lives(decay, sizes, lr.coming, lr.after)
        lost = np.isnan(found) & (sizes > 0)
        long = f"it is longer than {quiet.LONGEST:,} steps, and no law tells the rest of the way."
        return found, long if lost.any() else ""
    base = float(lr.coming[0]) if len(lr.coming) and lr.coming[0] > 0 else lr.now
    found = [quiet.noisy_half_life(decay, float(x), base, sigma) for x in sizes]
    values = base * np.array([law.value for law in found])
    doubt = next((law.reason for law in found if not law.valid), "")
    return quiet.step_at(values, lr.coming, lr.after), doubt
