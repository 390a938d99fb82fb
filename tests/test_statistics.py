"""Statistics over lanes: right, and the same bits however the lanes are divided."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regdyn import statistics
from regdyn.statistics import BINS, GRANULE, QUANTILES, TOP

THRESHOLDS = (0.5, 1e-2)
finite = st.floats(-1e100, 1e100)  # squares stay finite
lists = st.lists(finite, min_size=1, max_size=300)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def summary(x, first_lane=0, levels=statistics.BLOCK_LEVELS):
    """Of all lanes of x, block by block, blocks of 64 * 2^levels lanes."""
    size, lanes, whole = GRANULE * 2**levels, x.shape[-1], None
    cuts = [0, *range(-first_lane % size or size, lanes, size), lanes]
    for a, b in pairwise(cuts):
        part = statistics.summarise(x[..., a:b], first_lane + a, THRESHOLDS, levels)
        whole = part if whole is None else statistics.merge(whole, part)
    return whole


def statistics_of(x, *where):
    return statistics.reduce(summary(np.asarray(x, dtype=float), *where))


def quantiles_of(x, q=QUANTILES):
    x = np.array(x, dtype=float)
    return statistics.quantiles(statistics.histogram(x), x.min(), x.max(), q)


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), name


# Moments -----------------------------------------------------------------------------------------

DATA = {
    "normal": lambda rng: rng.normal(size=5000),
    "one lane": lambda rng: rng.normal(size=1),
    "spread 1e-9 about 1": lambda rng: 1 + 1e-9 * rng.normal(size=5000),
    "spread 1 about -1e6": lambda rng: -1e6 + rng.normal(size=5000),
    "tiny": lambda rng: 1e-30 * rng.normal(size=5000),
    "skew": lambda rng: np.exp(3 * rng.normal(size=5000)),
    "sorted": lambda rng: np.sort(rng.normal(size=5000)),
}


@pytest.mark.parametrize("data", DATA)
def test_moments_are_right(data, rng):
    """1e-12 relative, and of std besides 2^-52 |mean| / std, its condition number."""
    x = DATA[data](rng)
    mean = math.fsum(x) / len(x)
    std = math.sqrt(math.fsum((x - mean) ** 2) / len(x))
    found = statistics_of(x)
    assert abs(found["mean"] - mean) <= 1e-12 * np.abs(x).mean()
    assert abs(found["std"] - std) <= 1e-12 * std + 2.0**-52 * abs(mean)
    assert found["rms"] == pytest.approx(math.sqrt(math.fsum(x**2) / len(x)), rel=1e-12)
    assert (found["min"], found["max"]) == (x.min(), x.max())
    assert found["share_below"].tolist() == [np.mean(np.abs(x) < b) for b in THRESHOLDS]


def test_sums_of_squares_would_lose_a_small_spread(rng):
    """Negative control of the test above."""
    x = DATA["spread 1e-9 about 1"](rng)
    by_squares = (x**2).mean() - x.mean() ** 2
    assert abs(by_squares - x.var()) > 0.5 * x.var()
    assert abs(statistics_of(x)["std"] - x.std()) < 1e-6 * x.std()


def tree(x, first_lane):
    """(count, mean, M2) by the module's description, lane by lane, over absolute lane numbers."""
    granules = {}
    for lane, value in enumerate(x, start=first_lane):
        granules.setdefault(lane // GRANULE, []).append(value)
    nodes = {}
    for number, values in granules.items():
        mean = m2 = 0.0
        for value in values:
            mean += value
        mean /= len(values)
        for value in values:
            m2 += (value - mean) ** 2
        nodes[number] = (len(values), mean, m2)
    while len(nodes) > 1:
        parents = {number // 2 for number in nodes}
        nodes = {k: joined(nodes.get(2 * k), nodes.get(2 * k + 1)) for k in parents}
    return next(iter(nodes.values()))


def joined(a, b):
    """Chan, Golub & LeVeque (1979)."""
    if a is None or b is None:
        return a or b
    (na, ma, sa), (nb, mb, sb) = a, b
    share, d = nb / (na + nb), mb - ma
    return na + nb, ma + d * share, sa + sb + d * d * (na * share)


places = st.integers(0, 1000) | st.integers(0, 2**40)


@given(seed=st.integers(0, 99), lanes=st.integers(1, 1000), first=places)
def test_moments_follow_the_tree_of_absolute_lanes(seed, lanes, first):
    x = np.random.default_rng(seed).normal(1, 1e-3, lanes)
    found = statistics.root(*statistics.granules(x, first))
    assert tuple(found) == tree(x.tolist(), first)


def test_the_tree_hangs_on_absolute_lanes(rng):
    """Negative control of the division: counted from another lane the sums round differently."""
    x = rng.normal(size=1000)
    assert statistics_of(x, 0)["mean"] != statistics_of(x, 37)["mean"]


@pytest.mark.parametrize("first_lane", [0, 64])
@pytest.mark.parametrize("value", [1e-300, 1.0, 1e200])
def test_an_absent_half_passes_the_other_on_unchanged(value, first_lane):
    moments, number = statistics.granules(np.array([value]), first_lane)
    for part, above in zip(moments, statistics.climb(moments, number)[0], strict=True):
        assert np.array_equal(part, above)


@given(
    seed=st.integers(0, 99), lanes=st.integers(1, 3000), first=places, levels=st.integers(0, 5)
)  # fmt: skip
def test_any_division_into_blocks_gives_the_same_bits(seed, lanes, first, levels):
    x = np.random.default_rng(seed).normal(0.1, 1, (2, lanes))
    whole = statistics.reduce(statistics.summarise(x, first, THRESHOLDS, levels=40))
    assert_same_bits(statistics_of(x, first, levels), whole)


def test_rows_do_not_influence_each_other(rng):
    """Steps, settings and parameters are leading axes."""
    x = rng.normal(size=(3, 2, 500)) * 10.0 ** rng.uniform(-50, 10, (3, 2, 1))
    together = statistics_of(x, 5)
    for i, j in np.ndindex(3, 2):
        assert_same_bits({k: v[i, j] for k, v in together.items()}, statistics_of(x[i, j], 5))


# Histogram ---------------------------------------------------------------------------------------

EDGES = [2.0**e * (1 + k / 32) for e in range(-40, 8) for k in range(32)] + [2.0**8]
SPECIAL = [
    (0.0, TOP), (-0.0, TOP), (5e-324, TOP), (-5e-324, TOP), (2.0**-40, TOP + 1),
    (-(2.0**-40), TOP - 1), (np.nextafter(2.0**8, 0), BINS - 2), (2.0**8, BINS - 1),
    (1e300, BINS - 1), (math.inf, BINS - 1), (-(2.0**8), 0), (-math.inf, 0),
]  # fmt: skip


def test_bins_begin_exactly_at_their_edges():
    edges = np.array(EDGES)
    number = TOP + 1 + np.arange(len(edges))
    for sign in (1, -1):
        assert np.array_equal(statistics.bins(sign * edges), TOP + sign * (number - TOP))
        below = statistics.bins(sign * np.nextafter(edges, 0))
        assert np.array_equal(below, TOP + sign * (number - TOP - 1))
    assert number[-1] == BINS - 1


@pytest.mark.parametrize(("x", "number"), SPECIAL)
def test_bin_of_special_values(x, number):
    assert statistics.bins(np.array([x])).tolist() == [number]


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_bins_are_monotone_in_x(x):
    assert np.all(np.diff(statistics.bins(np.sort(x))) >= 0)


@given(lists)
def test_folded_histogram_is_that_of_the_sizes(x):
    counts, sizes = (statistics.histogram(f(np.array(x))) for f in (np.asarray, np.abs))
    assert counts.sum() == len(x)
    assert np.array_equal(statistics.fold(counts), sizes[TOP:])


# Quantiles ---------------------------------------------------------------------------------------

SMOOTH = {
    "normal": lambda rng, n: rng.normal(size=n),
    "decayed": lambda rng, n: 1e-3 + 1e-5 * rng.normal(size=n),
    "log-normal": lambda rng, n: np.exp(2 * rng.normal(size=n)) * 1e-4,
    "negative": lambda rng, n: -rng.exponential(size=n),
    "two signs": lambda rng, n: rng.uniform(-1, 3, n) ** 3,
}


@pytest.mark.parametrize("data", SMOOTH)
def test_quantiles_of_smooth_distributions(data, rng):
    """Within a bin, 1/32 of the value; np.quantile differs from an order statistic by O(1/n)."""
    x = SMOOTH[data](rng, 100_001)
    exact, exact_size = np.quantile(x, QUANTILES), np.quantile(np.abs(x), QUANTILES)
    found = statistics_of(x)
    assert np.all(np.abs(found["quantile"] - exact) <= np.abs(exact) / 32)
    assert np.all(np.abs(found["abs_quantile"] - exact_size) <= exact_size / 32)
    assert np.any(np.abs(found["quantile"] - 1.04 * exact) > np.abs(exact) / 32)


@given(st.lists(st.floats(2.0**-40, 2.0**7) | st.floats(-(2.0**7), -(2.0**-40)), min_size=1))
def test_quantiles_lie_in_the_bin_of_the_order_statistic(x):
    exact = np.quantile(x, QUANTILES, method="inverted_cdf")
    assert np.all(np.abs(quantiles_of(x) - exact) <= np.abs(exact) / 32)


@given(finite, st.integers(1, 100))
def test_quantiles_of_equal_lanes_are_exact(value, lanes):
    found = statistics_of([value] * lanes)
    assert found["quantile"].tolist() == [value] * len(QUANTILES)
    assert found["abs_quantile"].tolist() == [abs(value)] * len(QUANTILES)


@given(lists)
def test_quantiles_are_monotone_and_within_the_extremes(x):
    q = quantiles_of(x, tuple(np.linspace(0, 1, 41)))
    assert np.all(np.diff(q) >= 0)
    assert min(x) <= q[0] <= q[-1] <= max(x)


def test_quantiles_mirror_with_the_sign(rng):
    """At 1001 lanes no q is a boundary between lanes, where the lower one is taken."""
    x = rng.normal(size=1001)
    found, mirrored = statistics_of(x), statistics_of(-x)
    np.testing.assert_allclose(mirrored["quantile"], -found["quantile"][::-1], rtol=1e-12)
    assert np.array_equal(mirrored["abs_quantile"], found["abs_quantile"])


# First passage -----------------------------------------------------------------------------------


@given(st.lists(st.none() | st.integers(0, 20), min_size=1, max_size=30))
def test_passage_median_is_the_median_over_lanes(steps):
    """None is a lane that never passes; of exactly half that do, the last one."""
    passed = [step for step in steps if step is not None]
    counts = np.bincount(np.array(passed, dtype=int), minlength=21)
    ordered = sorted(math.inf if step is None else step for step in steps)
    lower, upper = ordered[(len(steps) - 1) // 2], ordered[len(steps) // 2]
    expected = lower if upper == math.inf else np.median(ordered)
    ever = np.stack([counts, counts * 0]).cumsum(axis=-1)
    found = statistics.passage_median(ever, len(steps))
    assert np.array_equal(found, [math.nan if expected == math.inf else expected, math.nan], True)
