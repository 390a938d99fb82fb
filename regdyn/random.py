r"""Counter-based random numbers: Philox4x32-10 and normals by Box-Muller.

A number is a function of (seed, lane, step, stream) and of nothing else, so it does not matter how
many lanes run, in what order, on how many threads or machines. The counter is

    ((t - 1) // 4,  lane mod 2^32,  lane div 2^32,  stream),      key = the 64-bit seed,

and its four 32-bit words serve the four steps t of the group: word, or normal, (t - 1) % 4.

References
----------
Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).
Box & Muller, "A note on the generation of random normal deviates", 1958.
"""

import numpy as np

from regdyn.checks import integer

MAX_STEPS = 2**34  # (t - 1) // 4 fits 32 bits
MAX_LANES = 2**62
MAX_AT_ONCE = 2**30  # lanes of one call

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)

# log(1 + f) = f - f^2/2 + f^3 P(f) on [sqrt(1/2) - 1, sqrt(2) - 1], relative error 8e-10; and
# sin(pi x / 2) = x S(x^2), cos(pi x / 2) = C(x^2) on |x| <= 1/2, errors 7e-12 and 5e-11, before the
# coefficients (highest power first) are rounded to float32. Fitted for this file.
LOG = (
    0.0674663856625557, -0.11675651371479034, 0.11888162791728973, -0.1240558922290802,
    0.14219552278518677, -0.1666799634695053, 0.2000211924314499, -0.25000008940696716,
    0.3333331346511841,
)  # fmt: skip
SIN = (
    0.00015820673434063792, -0.004681266378611326, 0.07969257980585098, -0.6459640860557556,
    1.5707963705062866,
)  # fmt: skip
COS = (
    0.0009036316769197583, -0.02086007222533226, 0.25366920232772827, -1.2337005138397217, 1.0,
)  # fmt: skip
LN2 = np.float32(0.6931471805599453)
SQRT_HALF = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)


def philox4x32(counter: tuple, key: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Philox4x32 with 10 rounds.

    Parameters
    ----------
    counter : tuple of 4 arrays
        Counter words, each below 2^32; broadcast against each other.
    key : tuple of 2 ints
        Low and high half of the 64-bit key.

    Returns
    -------
    tuple of 4 ndarrays, dtype uint64
        Random words, each below 2^32.
    """
    c0, c1, c2, c3 = (np.asarray(c, dtype=np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0 = (p1 >> _32) ^ c1 ^ np.uint64(k0)
        c2 = (p0 >> _32) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def box_muller(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two independent standard normals from two 32-bit words, in strict float32 arithmetic.

    The radius is sqrt(-2 log u) with u = 1/2 + a / 2^32, a read as a signed number, and at least
    2^-33: so |z| <= sqrt(2 log 2^33) = 6.76. (u is a multiple of 2^-25 near 0, so beyond 5.9 the
    radius takes few values.) The two low bits of b choose the quadrant, b read as a signed number
    the angle within it. No libm call: the bits are the same everywhere.

    Parameters
    ----------
    a, b : ndarray, dtype uint32

    Returns
    -------
    tuple of 2 ndarrays, dtype float32
    """
    f32 = np.float32
    u = np.maximum(a.view(np.int32).astype(f32) * f32(2.0**-32) + f32(0.5), f32(2.0**-33))
    bits = u.view(np.int32)
    exponent = (bits - SQRT_HALF) >> np.int32(23)
    f = (bits - (exponent << np.int32(23))).view(f32) - f32(1)
    f2 = f * f
    log_u = exponent.astype(f32) * LN2 + (f + (_horner(LOG, f) * (f2 * f) - f32(0.5) * f2))
    r = np.sqrt(f32(-2) * log_u)

    x = b.view(np.int32).astype(f32) * f32(2.0**-32)
    x2 = x * x
    s, c = _horner(SIN, x2) * x, _horner(COS, x2)
    swap = (b & np.uint32(1)).astype(bool)
    r = np.where(b & np.uint32(2), -r, r)
    return r * np.where(swap, s, c), r * np.where(swap, c, s)


def _horner(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """The polynomial with these coefficients, highest power first, at float32 `x`."""
    value = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value *= x
        value += np.float32(c)
    return value


def words(seed: int, lanes: np.ndarray, first: int, steps: int, stream: int = 0) -> np.ndarray:
    """Random words of steps first, ..., first + steps - 1.

    Parameters
    ----------
    seed : int
        0 <= seed < 2^64.
    lanes : ndarray of int, shape (n,)
        Absolute lane numbers, 0 <= lane < 2^63.
    first, steps : int
        First step (from 1) and number of steps.
    stream : int
        0 <= stream < 2^32; streams are independent of each other.

    Returns
    -------
    ndarray, shape (steps, n), dtype uint32
    """
    groups, drop = _groups(first, steps)
    return _words(seed, lanes, groups, stream).reshape(-1, len(lanes))[drop : drop + steps]


def normals(seed: int, lanes: np.ndarray, first: int, steps: int, stream: int = 0) -> np.ndarray:
    """Standard normals of steps first, ..., first + steps - 1: float32 widened to float64.

    Parameters and shapes are those of `words`.
    """
    groups, drop = _groups(first, steps)
    w = _words(seed, lanes, groups, stream)
    z = np.empty(w.shape)
    z[:, 0], z[:, 1] = box_muller(w[:, 0], w[:, 1])
    z[:, 2], z[:, 3] = box_muller(w[:, 2], w[:, 3])
    return z.reshape(-1, len(lanes))[drop : drop + steps]


def check_seed(seed: object) -> int:
    """`seed`, if it is a whole number from 0 to 2^64 - 1."""
    return integer("seed", seed, 0, 2**64 - 1)


def _groups(first: int, steps: int) -> tuple[np.ndarray, int]:
    """Counter groups that hold the steps, and how many leading steps to drop."""
    start, stop = (first - 1) // 4, (first + steps - 2) // 4 + 1
    return np.arange(start, stop, dtype=np.uint64), (first - 1) % 4


def _words(seed: int, lanes: np.ndarray, groups: np.ndarray, stream: int) -> np.ndarray:
    """Words of whole groups: shape (groups, 4, lanes), dtype uint32."""
    lanes = np.asarray(lanes, dtype=np.uint64)
    counter = (groups[:, None], lanes & _LOW, lanes >> _32, np.uint64(stream))
    w = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return np.stack([x.astype(np.uint32) for x in w], axis=1)
