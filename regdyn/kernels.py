r"""The steps of a block of lanes, compiled: the twin of `blocks.advance`.

The rule is the function of `regdyn.rules`, inlined into the loop over lanes: numba picks it by the
type of the hyper-parameters. The three functions that rules take from `regdyn.rules` (`sqrt`,
`maximum`, `sign`) have a compiled meaning here. Strict IEEE: same bits as the NumPy form.
"""

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from regdyn import rules
from regdyn.compile import OPTIONS, compiled
from regdyn.kernel_noise import TAPE, fill

LARGEST = np.finfo(np.float64).max
_STRICT: Any = {"error_model": "numpy"}
_RULE = {rule.hyper: rule for rule in rules.RULES.values()}


@overload(rules.sqrt, jit_options=_STRICT, inline="always")
def _sqrt(x):
    return lambda x: np.sqrt(x)


@overload(rules.maximum, jit_options=_STRICT, inline="always")
def _maximum(a, b):
    return lambda a, b: np.maximum(a, b)


@overload(rules.sign, jit_options=_STRICT, inline="always")
def _sign(x):
    return lambda x: np.sign(x)


def _step(grad, state, hp, coef) -> Any:
    """The rule whose hyper-parameters `hp` are."""
    raise NotImplementedError("compiled only")


@overload(_step, jit_options=_STRICT, strict=False)
def _step_of_type(grad, state, hp, coef):
    return _RULE[hp.instance_class].step


def _load(S, c, i, hp) -> Any:
    """State of the rule of `hp` in slot i of configuration c."""
    raise NotImplementedError("compiled only")


@overload(_load, jit_options=_STRICT)
def _load_of_type(S, c, i, hp):
    state = _RULE[hp.instance_class].state
    return {
        1: lambda S, c, i, hp: state(S[0, c, i]),
        2: lambda S, c, i, hp: state(S[0, c, i], S[1, c, i]),
        3: lambda S, c, i, hp: state(S[0, c, i], S[1, c, i], S[2, c, i]),
    }[len(state._fields)]


def _store(S, c, i, state) -> Any:
    """Put a state back into slot i of configuration c."""
    raise NotImplementedError("compiled only")


@overload(_store, jit_options=_STRICT)
def _store_of_type(S, c, i, state):
    def one(S, c, i, state):
        S[0, c, i] = state[0]

    def two(S, c, i, state):
        S[0, c, i] = state[0]
        S[1, c, i] = state[1]

    def three(S, c, i, state):
        S[0, c, i] = state[0]
        S[1, c, i] = state[1]
        S[2, c, i] = state[2]

    return {1: one, 2: two, 3: three}[len(state)]


def _coef(row, hp) -> Any:
    """Coefficients of the rule of `hp` from a row of `coefficients`."""
    raise NotImplementedError("compiled only")


@overload(_coef, jit_options=_STRICT)
def _coef_of_type(row, hp):
    coef = type(_RULE[hp.instance_class].coef(hp.instance_class(), 1, 1.0))
    return {
        1: lambda row, hp: coef(row[0]),
        2: lambda row, hp: coef(row[0], row[1]),
        3: lambda row, hp: coef(row[0], row[1], row[2]),
    }[len(coef._fields)]


class _Steps(np.ndarray):
    """Steps 1, 2, ...: a number to their power is computed by Python, one by one.

    NumPy's own power may differ from it in the last bit.
    """

    def __rpow__(self, base):
        return np.fromiter(map(base.__pow__, self.tolist()), dtype=float)


def coefficients(hp, scales: np.ndarray) -> np.ndarray:
    """Coefficients of every step, shape (steps, fields): computed once, by the caller."""
    steps = np.arange(1.0, len(scales) + 1).view(_Steps)
    return np.stack(np.broadcast_arrays(*_RULE[type(hp)].coef(hp, steps, scales)), axis=1)


@njit(**OPTIONS)
def _row(theta, S, c, grad, well, hp, coef, decay):
    """One step of configuration c."""
    curvature, center = well
    l2, before, after = decay
    for i in range(theta.shape[1]):
        x = theta[c, i]
        g = grad[i]
        if curvature != 0.0:
            g = g + curvature * (x - center)
        delta, state = _step(g + l2 * x, _load(S, c, i, hp), hp, coef)
        _store(S, c, i, state)
        theta[c, i] = after * (before * x - delta)


@njit(**OPTIONS)
def _watched_row(theta, S, c, grad, well, hp, coef, decay, bar):
    """The same; counts slots below the threshold they wait for, and such as are not finite.

    Written out again: with the step in a function of its own, SGD's loop runs at half the speed.
    """
    curvature, center = well
    l2, before, after = decay
    events = 0
    for i in range(theta.shape[1]):
        x = theta[c, i]
        g = grad[i]
        if curvature != 0.0:
            g = g + curvature * (x - center)
        delta, state = _step(g + l2 * x, _load(S, c, i, hp), hp, coef)
        _store(S, c, i, state)
        x = after * (before * x - delta)
        theta[c, i] = x
        size = abs(x)
        events += 0 if (size >= bar[c, i]) & (size <= LARGEST) else 1
    return events


@compiled
def look(theta, c, t, bars, level, bar, first, nonfinite):
    """Note first passages and lanes that are not finite: what `Track.look` does."""
    for i in range(theta.shape[1]):
        size = abs(theta[c, i])
        if not size <= LARGEST:
            nonfinite[c] = min(nonfinite[c], t)
        while size < bar[c, i]:
            first[c, level[c, i], i] = t
            level[c, i] += 1
            bar[c, i] = bars[level[c, i]]


@compiled
def advance(hp, lr, table, scales, strength, well, process, lanes, span, watch, record):
    """Steps span[0] ... span[1] of the slots of a block, in place.

    Parameters
    ----------
    hp : NamedTuple of floats
        Picks the rule.
    lr : float
    table : float64 (steps, fields)
        `coefficients`.
    scales : float64 (steps,)
        lr_t / lr.
    strength : tuple of 3 float64 (configs,)
        lambda under l2, wd, adamw.
    well : tuple of 2 floats
        Curvature and center.
    process : tuple (noise, slots, seed, std, mean, carry, tape)
        See `kernel_noise.fill`; tape is float64 (steps of the span, n), used if the kind is TAPE.
    lanes : tuple (theta (configs, n), S (fields, configs, n))
        State, changed.
    span : tuple of 2 ints
        The first is 1 + a multiple of 4.
    watch : tuple (full, bars, level, bar, first, nonfinite)
        What is seen, changed; `full` is whether to watch every step.
    record : tuple (steps int64 (r,), theta float64 (r, configs, n))
        When theta is kept, and where.
    """
    theta, S = lanes
    l2, wd, adamw = strength
    noise, slots, seed, std, mean, carry, tape = process
    full, bars, level, bar, first, nonfinite = watch
    kept, out = record
    n = slots.shape[0]
    grads = np.empty((4, n))
    work, z = np.empty((4, n), np.uint32), np.empty((4, n), np.float32)
    r = 0
    for t in range(span[0], span[1] + 1):
        k = (t - 1) & 3
        if noise[0] == TAPE:
            for i in range(n):
                grads[k, i] = tape[t - span[0], i]
        elif k == 0:
            fill(grads, noise, slots, seed, t - k, std, mean, carry, work, z)
        coef, scale = _coef(table[t - 1], hp), scales[t - 1]
        for c in range(theta.shape[0]):
            decay = (l2[c], 1.0 - lr * scale * adamw[c], 1.0 - wd[c] * scale)
            if full:
                if _watched_row(theta, S, c, grads[k], well, hp, coef, decay, bar) > 0:
                    look(theta, c, t, bars, level, bar, first, nonfinite)
            else:
                _row(theta, S, c, grads[k], well, hp, coef, decay)
        if r < kept.shape[0] and kept[r] == t:
            out[r] = theta
            r += 1
