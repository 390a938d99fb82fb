r"""Statistics over lanes that do not depend on how the lanes are divided.

A floating-point sum depends on its order, so the order is fixed by the absolute lane number:

* lanes 64 k ... 64 k + 63 form granule k; within it, mean and M2 = sum (x - mean)^2 are summed in
  lane order;
* granules are merged on one binary tree over their numbers: 2 j with 2 j + 1, and so on upwards.
  An absent half passes the other on unchanged.

Counts, minimum and maximum have no order. Quantiles come from a histogram of counts: 32 bins an
octave from 2^-40 to 2^8 for each sign, the bin read off the bits of the float, one bin for all
|x| < 2^-40 and one at each end. Within a bin the lanes are taken as evenly spread, so a quantile
is known to 1/32 of its size (3 %), and exactly where all lanes agree.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

GRANULE = 64
BLOCK_LEVELS = 5  # a block is one subtree of the tree of granules
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)

_PER_OCTAVE, _LOW, _HIGH = 32, -40, 8
TOP = _PER_OCTAVE * (_HIGH - _LOW) + 1  # magnitude bins 0 (|x| < 2^-40) ... TOP (>= 2^8)
BINS = 2 * TOP + 1
SHIFT = 52 - 5  # leaves the exponent and five bits of the mantissa: 32 bins an octave
BASE = (1023 + _LOW) * _PER_OCTAVE - 1


class Moments(NamedTuple):
    """Moments of consecutive nodes of the tree; the nodes are the last axis."""

    count: np.ndarray  # (nodes,)
    mean: np.ndarray  # (..., nodes)
    m2: np.ndarray  # (..., nodes)


class Summary(NamedTuple):
    """What is known of the lanes of one block, or of all: arrays (...), histogram (..., BINS)."""

    moments: Moments  # one node per block, on the last axis
    first: int  # number of the first block
    histogram: np.ndarray
    low: np.ndarray
    high: np.ndarray
    below: np.ndarray  # (..., thresholds): lanes with |x| < threshold


def summarise(
    x: np.ndarray, first_lane: int, thresholds: tuple[float, ...], levels: int = BLOCK_LEVELS
) -> Summary:
    """Statistics of x, shape (..., lanes): the lanes of one block, from `first_lane` on.

    A block is `levels` levels of the tree high: 64 * 2^levels lanes, and begins at a multiple of
    that unless the lanes themselves begin later.
    """
    moments, first = block_node(*granules(x, first_lane), levels)
    magnitude = np.abs(x)
    below = [np.count_nonzero(magnitude < b, axis=-1) for b in thresholds]
    low, high = x.min(axis=-1) + 0.0, x.max(axis=-1) + 0.0  # no negative zero
    return Summary(moments, first, histogram(x), low, high, np.stack(below, axis=-1))


def block_node(moments: Moments, first: int, levels: int) -> tuple[Moments, int]:
    """The one node of a block, `levels` levels above its granules."""
    for _ in range(levels):
        moments, first = climb(moments, first)
    return moments, first


def merge(a: Summary, b: Summary) -> Summary:
    """Both together; the blocks of `b` follow those of `a`, and are put beside them."""
    moments = Moments(
        *(np.concatenate(pair, axis=-1) for pair in zip(a.moments, b.moments, strict=True))
    )
    return Summary(
        moments,
        a.first,
        a.histogram + b.histogram,
        np.minimum(a.low, b.low),
        np.maximum(a.high, b.high),
        a.below + b.below,
    )


def reduce(
    seen: Summary, *, full: bool = True, quantile: Callable[..., np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """The statistics that are kept, from all lanes: arrays (...) or (..., quantiles).

    Without `full`, those that need neither histogram nor counts. `quantile` computes what
    `quantiles` does.
    """
    with np.errstate(all="ignore"):
        n, mean, m2 = root(seen.moments, seen.first)
        var = m2 / n
        rms = np.sqrt(mean * mean + var)
    smallest = np.minimum(np.abs(seen.low), np.abs(seen.high))
    smallest = np.where((seen.low <= 0) & (seen.high >= 0), 0.0, smallest)
    largest = np.maximum(np.abs(seen.low), np.abs(seen.high))
    kept = {
        "mean": mean,
        "std": np.sqrt(var),
        "rms": rms,
        "min": seen.low,
        "max": seen.high,
    }
    if full:
        quantile = quantile or quantiles
        kept["quantile"] = quantile(seen.histogram, seen.low, seen.high)
        kept["abs_quantile"] = quantile(seen.histogram, smallest, largest, sizes=True)
        kept["share_below"] = seen.below / n
    return kept


def side_by_side(nodes: Iterable[Moments]) -> Moments:
    """Nodes that follow each other, as one."""
    count, mean, m2 = (np.concatenate(a, axis=-1) for a in zip(*nodes, strict=True))
    return Moments(count, mean, m2)


def granules(x: np.ndarray, first_lane: int) -> tuple[Moments, int]:
    """Moments of each granule of x, shape (..., lanes), and the first granule's number."""
    head = first_lane % GRANULE
    n = x.shape[-1]
    size = -(-(head + n) // GRANULE)
    padded = np.zeros((*x.shape[:-1], size * GRANULE))
    padded[..., head : head + n] = x
    present = np.zeros(size * GRANULE, dtype=bool)
    present[head : head + n] = True
    # lanes of a granule first, so that each addition below is over whole contiguous rows
    rows = np.ascontiguousarray(np.moveaxis(padded.reshape(*x.shape[:-1], size, GRANULE), -1, 0))
    here = np.moveaxis(present.reshape(size, GRANULE), -1, 0)
    count = here.sum(axis=0)
    mean = _in_order(rows) / count
    deviation = np.where(here.reshape(GRANULE, *[1] * (x.ndim - 1), size), rows - mean, 0.0)
    return Moments(count, mean, _in_order(deviation * deviation)), first_lane // GRANULE


def _in_order(rows: np.ndarray) -> np.ndarray:
    """Sum over the first axis, one row after the other."""
    total = np.zeros_like(rows[0])
    for row in rows:
        total += row
    return total


def climb(moments: Moments, first: int) -> tuple[Moments, int]:
    """One level up the tree: the parents of these nodes, and the first parent's number."""
    return _pairs(_even(moments, first)), first // 2


def root(moments: Moments, first: int) -> Moments:
    """The moments of all lanes, without the axis of nodes."""
    while len(moments.count) > 1:
        moments, first = climb(moments, first)
    return Moments(*(a[..., 0] for a in moments))


def _even(moments: Moments, first: int) -> Moments:
    """The nodes with an empty one before an odd first and after an odd last number."""
    before = first % 2
    after = (before + len(moments.count)) % 2
    if not before and not after:
        return moments
    pad = [(0, 0)] * (moments.mean.ndim - 1) + [(before, after)]
    return Moments(np.pad(moments.count, pad[-1:]), *(np.pad(a, pad) for a in moments[1:]))


def _pairs(moments: Moments) -> Moments:
    """Merge nodes 0 and 1, 2 and 3, ... (Chan, Golub & LeVeque, 1979)."""
    (na, nb), (ma, mb), (sa, sb) = ((a[..., ::2], a[..., 1::2]) for a in moments)
    n = na + nb
    share = nb / np.maximum(n, 1)
    d = np.where((na > 0) & (nb > 0), mb - ma, 0.0)
    return Moments(n, np.where(na > 0, ma, mb) + d * share, sa + sb + d * d * (na * share))


def bins(x: np.ndarray) -> np.ndarray:
    """Histogram bin of each x, from its bits: 0 ... BINS - 1, the middle one for |x| < 2^-40."""
    bits = x.view(np.int64)
    magnitude = ((bits & np.int64(2**63 - 1)) >> SHIFT) - BASE
    np.clip(magnitude, 0, TOP, out=magnitude)
    return np.where(bits < 0, TOP - magnitude, TOP + magnitude)


def histogram(x: np.ndarray) -> np.ndarray:
    """Counts per bin of x, shape (..., lanes) -> (..., BINS)."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    index = bins(rows) + BINS * np.arange(len(rows))[:, None]
    counts = np.bincount(index.ravel(), minlength=BINS * len(rows))
    return counts.astype(np.int32).reshape(*x.shape[:-1], BINS)


def fold(counts: np.ndarray) -> np.ndarray:
    """Histogram of |x| from that of x: shape (..., TOP + 1)."""
    folded = counts[..., TOP:].copy()
    folded[..., 1:] += counts[..., TOP - 1 :: -1]
    return folded


def quantiles(
    counts: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    q: tuple[float, ...] = QUANTILES,
    *,
    sizes: bool = False,
) -> np.ndarray:
    """Quantiles of x, or of its size, from the histogram of x; kept within [low, high].

    Parameters
    ----------
    counts : ndarray, shape (..., BINS)
    low, high : ndarray, shape (...)
        Smallest and largest x or size: exact, and so the quantiles of equal lanes are.
    q : tuple of float
        Probabilities.
    sizes : bool
        Whether of abs(x).

    Returns
    -------
    ndarray, shape (..., len(q))
    """
    left, right = edges(sizes=sizes)
    counts = fold(counts) if sizes else counts
    rows = counts.reshape(-1, counts.shape[-1])
    n = int(rows[0].sum())
    step = n + 1  # row r is raised by r (n + 1): all rows make one sorted sequence
    small = len(rows) * step < 2**31
    total = rows.cumsum(axis=1, dtype=np.int32 if small else np.int64)
    floor = step * np.arange(len(rows), dtype=total.dtype)[:, None]
    total += floor
    wanted = wanted_lanes(n, q)
    # the smallest integer that is not below, so that integers are compared with integers
    target = np.ceil(wanted).astype(total.dtype) + floor
    bin_ = np.searchsorted(total.ravel(), target) - np.arange(len(rows))[:, None] * rows.shape[1]
    inside = np.take_along_axis(rows, bin_, axis=1)
    passed = np.take_along_axis(total, bin_, axis=1) - floor - inside
    # the end bins reach to the extremes
    low, high = low.reshape(-1, 1), high.reshape(-1, 1)
    below = np.where((bin_ == 0) & (left[0] < 0), np.minimum(low, left[0]), left[bin_])
    above = np.where(bin_ == rows.shape[1] - 1, np.maximum(high, right[-1]), right[bin_])
    with np.errstate(all="ignore"):
        value = below + (above - below) * ((wanted - passed) / inside)
    value = np.minimum(value, above)  # rounding of a difference of very unlike edges
    return np.clip(value, low, high).reshape(*counts.shape[:-1], len(q))


def wanted_lanes(n: int, q: tuple[float, ...] = QUANTILES) -> np.ndarray:
    """So many of n lanes lie below each quantile."""
    return np.array([max(p * n, 0.5) for p in q])


def edges(*, sizes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of every bin of x, or of abs(x)."""
    k = np.arange(TOP)
    upper = np.ldexp(1.0 + (k % _PER_OCTAVE) / _PER_OCTAVE, _LOW + k // _PER_OCTAVE)
    left, right = np.append(0.0, upper), np.append(upper, upper[-1])
    if sizes:
        return left, right
    left, right = np.append(-right[:0:-1], left), np.append(-left[:0:-1], right)
    left[TOP] = -right[TOP]
    return left, right


def passage_median(passed: np.ndarray, lanes: int) -> np.ndarray:
    """Median first-passage step from how many have passed by each step, shape (..., steps + 1).

    NaN where fewer than half of the lanes pass. Of an even number of lanes the mean of the two
    middle ones, as usual; the lower one if the upper one never passes.
    """
    never = passed.shape[-1]
    lower, upper = (
        np.array([row.searchsorted(k) for row in passed.reshape(-1, never)])
        for k in ((lanes + 1) // 2, lanes // 2 + 1)
    )
    middle = np.where(upper < never, (lower + upper) / 2, lower.astype(float))
    return np.where(lower < never, middle, np.nan).reshape(passed.shape[:-1])
