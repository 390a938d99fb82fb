r"""Statistics of a block, compiled: the twin of `statistics.summarise`.

The sums run in lane order within a granule, as there, so the bits are the same; a tally is added to
in place, so that memory does not grow with the number of lanes.
"""

import numpy as np
from numba import njit

from regdyn import statistics
from regdyn.compile import OPTIONS, compiled

_GRANULE, _TOP = statistics.GRANULE, statistics.TOP
_SHIFT, _BASE = statistics.SHIFT, statistics.BASE
_MASK = np.int64(2**63 - 1)  # all bits but the sign
_SKIP = 32  # bins looked at together


@compiled
def summarise(x, head, moments, extremes, counts):
    """Take in theta at recorded steps, row by row, while a row is in the cache.

    Parameters
    ----------
    x : float64 (rows, lanes)
    head : int
        Place of the first lane within its granule.
    moments : tuple (mean, m2), float64 (rows, granules)
        Written.
    extremes : tuple (low, high), float64 (rows,)
        Updated; NaN once one is NaN.
    counts : tuple (full, thresholds, histogram (rows, bins), below (rows, thresholds))
        Updated if `full`.
    """
    mean, m2 = moments
    low, high = extremes
    full, thresholds, histogram, below = counts
    index = np.empty(x.shape[1], np.int32)
    for r in range(x.shape[0]):
        _moments(x[r], head, mean[r], m2[r])
        a, b = _extremes(x[r])
        low[r] = a if a < low[r] or a != a else low[r]
        high[r] = b if b > high[r] or b != b else high[r]
        if full:
            _count(x[r], thresholds, histogram[r], below[r], index)


@njit(**OPTIONS)
def _moments(x, head, mean, m2):
    """Mean and M2 of each granule."""
    for g in range(mean.shape[0]):
        begin = max(g * _GRANULE - head, 0)
        end = min((g + 1) * _GRANULE - head, x.shape[0])
        total = 0.0
        for i in range(begin, end):
            total += x[i]
        centre = total / (end - begin)
        spread = 0.0
        for i in range(begin, end):
            d = x[i] - centre
            spread += d * d
        mean[g] = centre
        m2[g] = spread


@njit(**OPTIONS)
def _extremes(x):
    """Smallest and largest, or NaN. The search for the smallest of integers is vectorised."""
    least, most = _MASK, -_MASK
    for i in range(x.shape[0]):
        key = _sorted(np.float64(x[i]).view(np.int64))
        least, most = min(least, key), max(most, key)
    a = np.int64(_sorted(least)).view(np.float64)
    b = np.int64(_sorted(most)).view(np.float64)
    return (a, b) if a == a and b == b else (np.nan, np.nan)  # NaN lies beyond an infinity


@njit(**OPTIONS)
def _sorted(bits):
    """Integers that sort as the floats with these bits do; its own inverse."""
    return bits ^ ((bits >> np.int64(63)) & _MASK)


@njit(**OPTIONS)
def _count(x, thresholds, histogram, below, index):
    """Count x in its bins, and below each threshold."""
    for k in range(thresholds.shape[0]):
        n = 0
        for i in range(x.shape[0]):
            n += abs(x[i]) < thresholds[k]
        below[k] += n
    for i in range(x.shape[0]):
        index[i] = _bin(x[i])
    for i in range(x.shape[0]):
        histogram[index[i]] += 1


@njit(**OPTIONS)
def _bin(x):
    """`statistics.bins` of one number."""
    bits = np.float64(x).view(np.int64)
    size = min(max(((bits & _MASK) >> _SHIFT) - _BASE, 0), _TOP)
    return _TOP - size if bits < 0 else _TOP + size


@compiled
def quantiles(histogram, low, high, left, right, wanted, value):
    """Quantiles of each row: what `statistics.quantiles` does, but past the empty bins.

    Bins `left` to `right` are those of x, or of abs(x); `wanted` are lanes, ascending; value has
    shape (rows, wanted) and holds NaN, which stays where low and high are NaN.
    """
    bins, some = left.shape[0], wanted.shape[0]
    fold = histogram.shape[1] - bins  # bins of negative x to be folded
    row = np.zeros(-(-bins // _SKIP) * _SKIP, np.int32)
    for r in range(value.shape[0]):
        first = (_bin(low[r]) - fold) // _SKIP * _SKIP
        last = min((_bin(high[r]) - fold) // _SKIP * _SKIP + _SKIP, bins)
        part, counts = row[first:last], histogram[r, fold + first : fold + last]
        for k in range(part.shape[0]):
            part[k] = counts[k]
        if fold > 0:
            part = row[max(first, 1) : last]
            counts = histogram[r, fold + 1 - last : fold + 1 - max(first, 1)]
            for k in range(part.shape[0]):
                part[part.shape[0] - 1 - k] += counts[k]
        passed, q = 0, 0
        for begin in range(first, last, _SKIP):
            part, here = row[begin : begin + _SKIP], np.int32(0)
            for k in range(_SKIP):
                here += part[k]
            if passed + here < wanted[q]:
                passed += here
                continue
            for k in range(begin, begin + _SKIP):
                while q < some and passed + row[k] >= wanted[q]:
                    below = np.minimum(low[r], left[0]) if k == 0 and left[0] < 0 else left[k]
                    above = np.maximum(high[r], right[k]) if k == bins - 1 else right[k]
                    v = below + (above - below) * ((wanted[q] - passed) / row[k])
                    v = np.minimum(v, above)
                    value[r, q] = np.minimum(np.maximum(v, low[r]), high[r])
                    q += 1
                passed += row[k]
            if q == some:
                break
