r"""Statistics of a block, compiled: the twin of `statistics.summarise`.

The sums run in lane order within a granule, as there, so the bits are the same; a tally is added to
in place, so that memory does not grow with the number of lanes.
"""

import numpy as np

from regdyn import statistics
from regdyn.compile import compiled

_GRANULE, _BINS, _TOP = statistics.GRANULE, statistics.BINS, statistics.TOP
_SHIFT, _BASE = statistics.SHIFT, statistics.BASE


@compiled
def moments(x, head, mean, m2):
    """Mean and M2 of the granules of each row of x, shape (rows, lanes).

    `head` is the place of the first lane within its granule; mean and m2 have shape
    (rows, granules) and are written.
    """
    for r in range(x.shape[0]):
        for g in range(mean.shape[1]):
            begin = max(g * _GRANULE - head, 0)
            end = min((g + 1) * _GRANULE - head, x.shape[1])
            total = 0.0
            for i in range(begin, end):
                total += x[r, i]
            centre = total / (end - begin)
            spread = 0.0
            for i in range(begin, end):
                d = x[r, i] - centre
                spread += d * d
            mean[r, g] = centre
            m2[r, g] = spread


@compiled
def extremes(x, low, high):
    """Update smallest and largest of each row; NaN once one is NaN."""
    for r in range(x.shape[0]):
        a, b = low[r], high[r]
        for i in range(x.shape[1]):
            v = x[r, i]
            a = v if v < a or v != v else a
            b = v if v > b or v != v else b
        low[r], high[r] = a, b


@compiled
def counts(x, thresholds, histogram, below):
    """Update the histogram and the counts below each threshold of each row."""
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            v = x[r, i]
            bits = np.float64(v).view(np.int64)
            size = ((bits & np.int64(0x7FFFFFFFFFFFFFFF)) >> _SHIFT) - _BASE
            size = min(max(size, 0), _TOP)
            histogram[r, _TOP - size if bits < 0 else _TOP + size] += 1
            v = abs(v)
            for k in range(thresholds.shape[0]):
                if v < thresholds[k]:
                    below[r, k] += 1
                else:
                    break  # thresholds descend
