r"""The gradients of a block, four steps at a time, compiled: the twin of `gradients.Source`.

The same counters, the same polynomials in the same order, strict IEEE arithmetic: the same bits
as `regdyn.random`. What is unrolled by hand here, LLVM would otherwise not vectorise: a call or a
short loop inside the loop over lanes stops it.
"""

import numpy as np
from numba import njit

from regdyn import random
from regdyn.compile import OPTIONS, compiled

NORMAL, INTERMITTENT, AR1, STUDENT, TAPE = range(5)

_u32, _u64, _i32, _f32 = np.uint32, np.uint64, np.int32, np.float32
_M0, _M1 = _u64(0xD2511F53), _u64(0xCD9E8D57)
_W0, _W1 = _u64(0x9E3779B9), _u64(0xBB67AE85)
_LOW, _S32 = _u64(0xFFFFFFFF), _u64(32)
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7, _P8 = (_f32(c) for c in random.LOG)
_S0, _S1, _S2, _S3, _S4 = (_f32(c) for c in random.SIN)
_C0, _C1, _C2, _C3, _C4 = (_f32(c) for c in random.COS)
_LN2, _SQRT_HALF = _f32(random.LN2), _i32(random.SQRT_HALF)
_SCALE, _HALF, _TINY, _ONE, _MINUS2 = _f32(2**-32), _f32(0.5), _f32(2**-33), _f32(1), _f32(-2)
_BIT0, _BIT1, _23, _30 = _i32(1), _i32(2), _i32(23), _i32(30)

_inlined = njit(inline="always", **OPTIONS)


@njit(**OPTIONS)
def _bits(x):
    return _f32(x).view(_i32)


@njit(**OPTIONS)
def _float(x):
    return _i32(x).view(_f32)


@njit(**OPTIONS)
def _round(c0, c1, c2, c3, k0, k1):
    """One round; the upper halves of c1 and c3 may hold garbage, which the next round masks."""
    p0 = _M0 * (c0 & _LOW)
    p1 = _M1 * (c2 & _LOW)
    return (p1 >> _S32) ^ c1 ^ k0, p1, (p0 >> _S32) ^ c3 ^ k1, p0


@_inlined
def _philox(c0, c1, c2, c3, k0, k1):
    """`random.philox4x32`: ten rounds, the key bumped between them."""
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _W0, k1 + _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _u64(2) * _W0, k1 + _u64(2) * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _u64(3) * _W0, k1 + _u64(3) * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _u64(4) * _W0, k1 + _u64(4) * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _u64(5) * _W0, k1 + _u64(5) * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _u64(6) * _W0, k1 + _u64(6) * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _u64(7) * _W0, k1 + _u64(7) * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _u64(8) * _W0, k1 + _u64(8) * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _u64(9) * _W0, k1 + _u64(9) * _W1)
    return c0, c1, c2, c3


@njit(**OPTIONS)
def fill_words(words, slots, group, seed, stream):
    """Random words of one counter group: words[0..3, i] for slot number slots[i]."""
    k0, k1, s = seed & _LOW, seed >> _S32, _u64(stream)
    for i in range(words.shape[1]):
        lane = _u64(slots[i])
        a, b, c, d = _philox(group, lane & _LOW, lane >> _S32, s, k0, k1)
        words[0, i] = _u32(a)
        words[1, i] = _u32(b)
        words[2, i] = _u32(c)
        words[3, i] = _u32(d)


@njit(**OPTIONS)
def _box_muller(a, b):
    """`random.box_muller` of two words, as signed numbers."""
    u = _f32(a) * _SCALE + _HALF
    u = u if u > _TINY else _TINY
    bits = _bits(u)
    exponent = _i32(_i32(bits - _SQRT_HALF) >> _23)  # numba would widen it to 64 bits
    f = _float(_i32(bits - _i32(exponent << _23))) - _ONE
    f2 = f * f
    p = _P0
    p = p * f + _P1
    p = p * f + _P2
    p = p * f + _P3
    p = p * f + _P4
    p = p * f + _P5
    p = p * f + _P6
    p = p * f + _P7
    p = p * f + _P8
    log_u = _f32(exponent) * _LN2 + (f + (p * (f2 * f) - _HALF * f2))
    r = np.sqrt(_MINUS2 * log_u)
    x = _f32(b) * _SCALE
    x2 = x * x
    s = ((((_S0 * x2 + _S1) * x2 + _S2) * x2 + _S3) * x2 + _S4) * x
    c = (((_C0 * x2 + _C1) * x2 + _C2) * x2 + _C3) * x2 + _C4
    r = _float(_bits(r) ^ _i32(_i32(b & _BIT1) << _30))
    swap = (b & _BIT0) != 0
    return r * (s if swap else c), r * (c if swap else s)


@njit(**OPTIONS)
def fill_normals(z, words):
    """Four steps of normals, float32, from the words of a group."""
    for i in range(z.shape[1]):
        z[0, i], z[1, i] = _box_muller(_i32(words[0, i]), _i32(words[1, i]))
    for i in range(z.shape[1]):
        z[2, i], z[3, i] = _box_muller(_i32(words[2, i]), _i32(words[3, i]))


@compiled
def fill(out, noise, slots, seed, first, std, mean, carry, work, z):
    """Gradients of the four steps of a group, without what depends on theta.

    Parameters
    ----------
    out : float64 (4, n)
    noise : tuple (kind, phi, kick, below, nu)
        Kind of process; AR(1)'s coefficients; the word below which a feature fires; Student's nu.
    slots : int64 (n,)
        Slot numbers, from which the random numbers follow.
    seed : uint64
    first : int
        First step of the group, 1 + a multiple of 4.
    std, mean : float64 (steps,)
        Factors on the noise; means (empty if there are none).
    carry : float64 (n,)
        AR(1): the last value.
    work : uint32 (4, n), z : float32 (4, n)
        Scratch.
    """
    kind, phi, kick, below, nu = noise
    n = slots.shape[0]
    group = _u64((first - 1) >> 2)
    fill_words(work, slots, group, seed, 0)
    fill_normals(z, work)
    if kind == NORMAL and mean.shape[0] == 0:
        for k in range(min(4, std.shape[0] + 1 - first)):
            for i in range(n):
                out[k, i] = np.float64(z[k, i]) * std[first - 1 + k]
        return
    for k in range(4):
        for i in range(n):
            out[k, i] = np.float64(z[k, i])
    if kind == INTERMITTENT:
        fill_words(work, slots, group, seed, 1)
        for k in range(4):
            for i in range(n):
                out[k, i] = out[k, i] if _u64(work[k, i]) < below else 0.0
    elif kind == STUDENT:
        total = np.zeros((4, n))
        for s in range(nu):
            fill_words(work, slots, group, seed, 1 + s)
            fill_normals(z, work)
            for k in range(4):
                for i in range(n):
                    x = np.float64(z[k, i])
                    total[k, i] += x * x
        for k in range(4):
            for i in range(n):
                out[k, i] = out[k, i] / np.sqrt(total[k, i] / nu)
    elif kind == AR1:
        for k in range(4):
            for i in range(n):
                x = out[k, i]
                if first + k > 1:
                    x = phi * carry[i] + kick * x
                carry[i] = x
                out[k, i] = x
    for k in range(4):
        if first - 1 + k < std.shape[0]:
            for i in range(n):
                out[k, i] = out[k, i] * std[first - 1 + k]
            if mean.shape[0] > 0:
                for i in range(n):
                    out[k, i] = out[k, i] + mean[first - 1 + k]


@compiled
def draw(rows, noise, slots, seed, first, std, mean, carry):
    """Gradients of steps first, first + 1, ...: rows has shape (steps, n); see `fill`."""
    n = slots.shape[0]
    work, z, four = np.empty((4, n), np.uint32), np.empty((4, n), np.float32), np.empty((4, n))
    for t in range(0, rows.shape[0], 4):
        fill(four, noise, slots, seed, first + t, std, mean, carry, work, z)
        for k in range(min(4, rows.shape[0] - t)):
            rows[t + k] = four[k]
