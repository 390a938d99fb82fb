r"""A rule in coarse time: over many steps it moves a parameter by its mean gradient times a gain.

Where the mean gradient changes little over the rule's memory, whatever momentum does in between,

    theta(t + n) - theta(t)  =  - sum of lr_t * P * mean gradient,

    sgd                      P = 1 / (1 - momentum)
    adam, rmsprop            P = 1 / (sqrt(v) + eps),           v a running mean of g^2
    amsgrad                  the same with the largest v so far
    adagrad                  P = 1 / (sqrt(S) + eps),           S the sum of all g^2
    adadelta                 P = sqrt(X + eps) / sqrt(v + eps), X a running mean of squared steps
    lion                     P = 1 / sqrt(pi / 2 s^2 + mean^2),  s the noise in what is signed

and what fluctuates about it adds lr_t^2 P^2 sigma^2 per step to the variance of theta, also
whatever momentum does. Sources: `regdyn.rules`; for Adadelta's X docs/laws/adadelta.md.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from regdyn.rules import SGD, Adadelta, Adagrad, AMSGrad, Lion, RMSprop

KURTOSIS = 7.0
"""Of gradients of gamma: makes Adadelta's X settle at (X + eps) = eps / ((kurtosis - 1) (1 - rho)),
where Gaussian gradients (3) would give eps / (2 (1 - rho)). Fitted to the steps of one digits run
(a root mean square of 1.5e-3, Adadelta, l2 1e-2)."""


class Memory(NamedTuple):
    """What a rule remembers of g^2: v (or S), the largest v or Adadelta's X, steps so far."""

    v: Any
    other: Any
    t: float


def decay_of_v(hp: Any) -> float | None:
    """Decay per step of the running mean of g^2; None where there is none."""
    if isinstance(hp, (SGD, Adagrad, Lion)):
        return None
    if isinstance(hp, RMSprop):
        return hp.alpha
    return hp.rho if isinstance(hp, Adadelta) else hp.beta2


def averages(hp: Any, square: np.ndarray, window: np.ndarray) -> np.ndarray:
    """v at the end of every window, bias corrected, from the mean of g^2 over each; (W, ...)."""
    decay = decay_of_v(hp)
    if decay is None:
        return square
    v, steps = np.empty_like(square), np.cumsum(window)
    running = np.zeros(square.shape[1:])
    for k, n in enumerate(window):
        q = decay ** float(n)
        running = q * running + (1 - q) * square[k]
        v[k] = running / (1 - decay ** float(steps[k]))
    return v


def size(hp: Any, square: np.ndarray, window: np.ndarray, part: slice) -> np.ndarray:
    """Size of the gradient as the rule sees it over the windows of `part`.

    The harmonic mean of sqrt(v), so that its inverse is the mean gain, where the rule divides by
    a running mean; else the root mean square.
    """
    if decay_of_v(hp) is None:
        weights = window[part, None] / window[part].sum()
        return np.sqrt((weights * square[part]).sum(axis=0))
    v = averages(hp, square[: part.stop], window[: part.stop])[part]
    return 1 / np.mean(1 / np.sqrt(v + 1e-30), axis=0)


def begin(hp: Any, square: np.ndarray, window: np.ndarray, now: np.ndarray) -> Memory:
    """The memory after windows with these means of g^2, of which the last is about `now`."""
    t = float(window.sum())
    if isinstance(hp, Adagrad):
        return Memory((window[:, None] * square).sum(axis=0), None, t)
    if isinstance(hp, AMSGrad):
        return Memory(now, averages(hp, square, window).max(axis=0), t)
    if isinstance(hp, Adadelta):
        return Memory(now, np.full_like(now, settled(hp)), t)
    return Memory(now, None, t)


def settled(hp: Adadelta) -> float:
    """X + eps once it has settled, under gradients well above sqrt(eps)."""
    return hp.eps / ((KURTOSIS - 1) * (1 - hp.rho))


def advance(hp: Any, memory: Memory, square: np.ndarray, n: float) -> Memory:
    """The memory after n more steps with this mean of g^2."""
    t = memory.t + n
    if isinstance(hp, Adagrad):
        return Memory(memory.v + n * square, None, t)
    decay = decay_of_v(hp)
    q = 0.0 if decay is None else decay**n
    v = q * memory.v + (1 - q) * square
    if isinstance(hp, AMSGrad):
        return Memory(v, np.maximum(memory.other, v), t)
    if isinstance(hp, Adadelta):  # below sqrt(eps) X follows g^2, and the rule is SGD
        return Memory(v, np.minimum(settled(hp), v + hp.eps), t)
    return Memory(v, memory.other, t)


def gain(hp: Any, memory: Memory, mean: Any = 0.0) -> Any:
    """P: the step per unit of learning rate and mean gradient.

    Only Lion needs the mean itself, beyond what v has of it: its step never exceeds lr.
    """
    if isinstance(hp, SGD):
        return 1 / (1 - hp.momentum)
    if isinstance(hp, Lion):  # c = beta1 m + (1 - beta1) g, m of decay beta2
        share = (1 - hp.beta1) ** 2 + hp.beta1**2 * (1 - hp.beta2) / (1 + hp.beta2)
        known = np.minimum(np.square(mean), memory.v)
        return 1 / np.sqrt(math.pi / 2 * share * (memory.v - known) + known + 1e-30)
    if isinstance(hp, Adadelta):
        return np.sqrt(memory.other / (memory.v + hp.eps))
    v = memory.other if isinstance(hp, AMSGrad) else memory.v
    return 1 / (np.sqrt(v) + hp.eps)
