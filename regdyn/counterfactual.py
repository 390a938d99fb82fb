r"""The gradients of a run's gammas, taken apart and replayed with some of the parts.

A replay gives gradients to the rule and the regulariser again. It is exact in gamma and blind to
the network: with another gamma the gradients would have been others. Where a filter died, its noise
faded with it, because the weights that read it died too; the replay keeps this date, so that it
says too little of what made the filter weak before (the push), and too much of noise.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from regdyn import random, regularizers, rules
from regdyn.blocks import advance
from regdyn.checks import integer
from regdyn.filters.record import COLLAPSED, Record, Run
from regdyn.ledger import SILENT

FACTORS: tuple[str, ...] = ("noise", "push", "hold", "death")
"""What the gradient of gamma consists of; without all of them gamma only decays.

noise   what is left of the gradient without push and hold: it slows the decay, and moves gamma
push    the slow mean, where it points so that descending it makes abs(gamma) smaller
hold    the slow mean, where it makes abs(gamma) larger
death   the noise ends where the filter falls silent for good; without death it goes on as before
"""
SPAN = 500  # steps over which the mean is slow


class Signal(NamedTuple):
    """The slow mean of gamma's gradient in each window, seen in the direction of gamma's sign.

    Attributes
    ----------
    push, hold : ndarray, shape (K - 1, n)
        Its positive and its negative part; one of them is 0.
    sign : ndarray, shape (K - 1, n)
        Of gamma at the window's beginning; 1 for 0.
    """

    push: np.ndarray
    hold: np.ndarray
    sign: np.ndarray

    @property
    def recorded(self) -> np.ndarray:
        """Both, as they are part of the recorded gradient."""
        return self.sign * (self.push + self.hold)


def signal(record: Record, *, span: int = SPAN) -> Signal:
    r"""What is systematic in the gradients of a record.

    Notes
    -----
    Formula: with m the mean of sign(gamma) g / rms(g) over the N steps of `span` around the window
    (rms of each window), the signal is rms(g) times :math:`m (1 - 1 / (N m^2))_+` (James & Stein,
    positive part). Of pure noise, m alone would have a push of :math:`.4 / \sqrt{N}` and a hold of
    as much; this has .13. By so much each is too large; push and hold together are not. In units of
    the rms, as the gradient may shrink by orders within the span.

    Raises
    ------
    ValueError
        If `span` is not a whole number from 1.
    """
    span = integer("span", span, 1)
    middle = 0.5 * (record.step[1:] + record.step[:-1])
    first = np.searchsorted(middle, middle - span / 2)
    last = np.searchsorted(middle, middle + span / 2, side="right")

    def around(x: np.ndarray) -> np.ndarray:
        total = np.cumsum(record.window[:, None] * x, axis=0)
        total = np.vstack([np.zeros(record.filters), total])
        return total[last] - total[first]

    sign = np.where(record.gamma[:-1] < 0, -1.0, 1.0)
    rms = np.hypot(record.grad_gamma_mean, record.grad_gamma_std)
    unit = np.where(rms > 0, rms, 1.0)
    count = np.maximum(around(rms > 0), 1.0)  # silent windows do not count, and have no signal
    mean = around(sign * record.grad_gamma_mean / unit) / count
    kept = np.maximum(1 - 1 / np.maximum(count * mean**2, 1.0), 0)
    slow = rms * mean * kept
    return Signal(np.maximum(slow, 0), np.minimum(slow, 0), sign)


class Noise(NamedTuple):
    """What is not push or hold, per step; shape (steps, n).

    Attributes
    ----------
    seen : ndarray
        As it was.
    beyond : ndarray
        How it would have gone on where the filter fell silent for good; 0 before.
    """

    seen: np.ndarray
    beyond: np.ndarray


def replayed(
    run: Run, cases: Collection[Collection[str]], slow: Signal, noise: Noise
) -> tuple[np.ndarray, np.ndarray]:
    """gamma under some of the factors, by the run's rule, regulariser and schedule.

    Push and hold act along the sign of the replayed gamma: a push ends where it has brought gamma
    to 0.

    Parameters
    ----------
    run : Run
    cases : collection of collections of str
        The factors of each case.
    slow : Signal
    noise : Noise

    Returns
    -------
    end : ndarray, shape (cases, n)
        gamma after the last step.
    passed : ndarray, shape (cases, n)
        First step with abs(gamma) < 1e-2; inf if none.
    """
    record = run.record
    on = {name: np.array([[float(name in case)] for case in cases]) for name in FACTORS}
    beyond = on["noise"] * (1 - on["death"])
    strength = regularizers.check_strength(run.reg, run.lam, run.rule, float(run.scale.max()))
    lam = regularizers.strength(run.reg, strength)
    theta = np.repeat(record.gamma[:1], len(cases), axis=0)
    state, passed = rules.init(theta, run.rule), np.full(theta.shape, np.inf)
    for w, (begin, end) in enumerate(zip(record.step, record.step[1:], strict=False)):
        along = on["push"] * slow.push[w] + on["hold"] * slow.hold[w]
        for t in range(begin, end):
            grad = np.sign(theta) * along + on["noise"] * noise.seen[t] + beyond * noise.beyond[t]
            scale = float(run.scale[t])
            theta, state = advance(theta, state, grad, t + 1, run.rule, lam, scale)
            passed[(np.abs(theta) < COLLAPSED) & (passed == np.inf)] = t + 1
    return theta, passed


def noise(
    record: Record,
    slow: Signal,
    seed: int,
    *,
    span: int = SPAN,
    silence: int = SILENT,
    tape: np.ndarray | None = None,
    first: int = 0,
) -> Noise:
    """The rest of the gradients, step by step.

    Without a tape, those of a window are drawn as normals with exactly the recorded mean and
    standard deviation, so that they add up to what they did. After the last step in which a filter
    fired, if `silence` steps remain, its noise goes on as white noise with the standard deviation
    of the `span` steps before.

    Parameters
    ----------
    record : Record
    slow : Signal
        Of the record.
    seed : int
    span, silence : int
        Steps.
    tape : ndarray, shape (steps, n), optional
        gamma's gradient in every step.
    first : int
        Number of the first filter: its normals do not depend on which others there are.
    """
    steps = int(record.step[-1])
    z = random.normals(seed, first + np.arange(record.filters), 1, steps)
    after, before = _before_silence(record, span, silence)
    beyond = np.where(np.arange(1, steps + 1)[:, None] > after, before * z, 0.0)
    which = np.repeat(np.arange(len(record.window)), record.window)
    if tape is not None:
        return Noise(tape - slow.recorded[which], beyond)
    mean, std = record.grad_gamma_mean - slow.recorded, record.grad_gamma_std
    return Noise(mean[which] + std[which] * _standardised(z, record.step), beyond)


def _before_silence(record: Record, span: int, silence: int) -> tuple[np.ndarray, np.ndarray]:
    """Step after which each filter is silent for good (or the last), and its noise before."""
    fires, end = record.grad_gamma_zero < 1, int(record.step[-1])
    last = np.where(fires.any(axis=0), len(fires) - np.argmax(fires[::-1], axis=0), 0)
    after = record.step[last]
    mine = (record.step[1:, None] <= after) & (record.step[:-1, None] >= after - span)
    weight = mine * record.window[:, None]
    square = np.sum(weight * record.grad_gamma_std**2, axis=0)
    std = np.sqrt(square / np.maximum(weight.sum(axis=0), 1))
    return np.where(end - after >= silence, after, end), std


def _standardised(z: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Normals with mean 0 and standard deviation 1 in every window (0 in one of a single step)."""
    start, length = step[:-1], np.diff(step)
    which = np.repeat(np.arange(len(start)), length)
    z = z - (np.add.reduceat(z, start, axis=0) / length[:, None])[which]
    std = np.sqrt(np.add.reduceat(z * z, start, axis=0) / length[:, None])
    return z / np.where(std > 0, std, 1.0)[which]
