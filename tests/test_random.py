"""The generator against its published definition, a scalar twin, float64 and the statisticians."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from regdyn import random

ONES = 0xFFFFFFFF
LANES, STEPS = 1000, 400


# Philox ------------------------------------------------------------------------------------------


def philox(counter, key):
    """Philox4x32-10 of Salmon et al. (2011), section 3.3, on Python's whole numbers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & ONES, (p0 >> 32) ^ c3 ^ k1, p0 & ONES
        k0, k1 = (k0 + 0x9E3779B9) & ONES, (k1 + 0xBB67AE85) & ONES
    return c0, c1, c2, c3


# Random123, file tests/kat_vectors: counter, key, result.
KNOWN = {
    "zeros": ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    "ones": (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    "pi": (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
}


@pytest.mark.parametrize("case", KNOWN)
def test_philox_gives_the_known_answers(case):
    counter, key, answer = (tuple(int(w, 16) for w in part.split()) for part in KNOWN[case])
    assert tuple(int(w) for w in random.philox4x32(counter, key)) == answer
    assert philox(counter, key) == answer  # and so does the twin


seeds, lanes_ = st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)
steps_, streams = st.integers(1, random.MAX_STEPS), st.integers(0, ONES)


@given(seed=seeds, lane=lanes_, t=steps_, stream=streams)
def test_words_follow_the_counter_layout(seed, lane, t, stream):
    counter = ((t - 1) // 4, lane % 2**32, lane // 2**32, stream)
    expected = philox(counter, (seed % 2**32, seed // 2**32))[(t - 1) % 4]
    assert random.words(seed, np.array([lane]), t, 1, stream).tolist() == [[expected]]


@given(seed=seeds, lane=lanes_, group=st.integers(0, 2**32 - 1), stream=streams)
def test_normals_are_the_box_muller_pairs_of_a_group(seed, lane, group, stream):
    counter = (group, lane % 2**32, lane // 2**32, stream)
    w = np.array(philox(counter, (seed % 2**32, seed // 2**32)), dtype=np.uint32)
    expected = np.ravel([random.box_muller(w[i : i + 1], w[i + 1 : i + 2]) for i in (0, 2)])
    z = random.normals(seed, np.array([lane]), 4 * group + 1, 4, stream)
    assert z.dtype == np.float64
    assert np.array_equal(z[:, 0], expected)


@given(
    first=st.integers(1, 30), steps=st.integers(1, 30),
    kept=st.lists(st.integers(0, 49), min_size=1), draw=st.sampled_from(["words", "normals"]),
)  # fmt: skip
def test_a_slice_is_the_same_numbers(first, steps, kept, draw):
    draw = getattr(random, draw)
    whole = draw(5, np.arange(50), 1, 60)
    part = draw(5, np.array(kept), first, steps)
    assert np.array_equal(part, whole[first - 1 : first - 1 + steps, kept])


# Box-Muller --------------------------------------------------------------------------------------


def exact_pair(a, b):
    """The documented formula in float64, from the float32 numbers u and x of the docstring."""
    signed = a.view(np.int32).astype(np.float32) * np.float32(2.0**-32)
    u = np.maximum(signed + np.float32(0.5), np.float32(2.0**-33)).astype(float)
    x = (b.view(np.int32).astype(np.float32) * np.float32(2.0**-32)).astype(float)
    r = np.sqrt(-2 * np.log(u)) * np.where(b & 2, -1, 1)
    c, s = r * np.cos(np.pi / 2 * x), r * np.sin(np.pi / 2 * x)
    return np.where(b & 1, s, c), np.where(b & 1, c, s)


def test_box_muller_is_accurate():
    """Error at most 2 roundings of float32 (2^-24 each) of the largest radius, 6.8."""
    a, b = np.random.default_rng(0).integers(0, 2**32, (2, 10**6), dtype=np.uint32)
    error = np.abs(np.subtract(random.box_muller(a, b), exact_pair(a, b)))
    assert error.max() < 2 * 2.0**-24 * 6.8


def test_radius_is_right_for_every_u_in_the_last_octave():
    """u = 1/2 + k 2^-24 exhaustively: where log u is small, and a wrong sign would make NaN."""
    for k in np.arange(2**23, dtype=np.uint32).reshape(8, -1):
        r, zero = random.box_muller(k << np.uint32(8), np.zeros_like(k))  # angle 0
        exact = np.sqrt(-2 * np.log1p((k.astype(float) - 2**23) * 2.0**-24))
        assert not zero.any()
        assert np.abs(r / exact - 1).max() < 2 * 2.0**-24


@pytest.mark.parametrize(
    ("a", "u"),
    [(0x80000000, 2.0**-33), (0x80000040, 2.0**-33), (0x80000080, 2.0**-25), (0x7FFFFFFF, 1.0)],
)
def test_radius_at_the_ends_of_u(a, u):
    """The smallest u, and with it the largest |z| = 6.76 <= 6.8; the next u; u = 1."""
    r, zero = random.box_muller(np.array([a], dtype=np.uint32), np.zeros(1, dtype=np.uint32))
    assert abs(r[0] - np.sqrt(-2 * np.log(u))) < 2 * 2.0**-24 * 6.8
    assert abs(r[0]) <= 6.8
    assert zero[0] == 0


@pytest.mark.parametrize(
    ("low_bits", "pair"), [(0, (1, 0)), (1, (0, 1)), (2, (-1, 0)), (3, (0, -1))]
)
def test_low_bits_choose_the_quadrant(low_bits, pair):
    z = random.box_muller(np.zeros(1, dtype=np.uint32), np.array([low_bits], dtype=np.uint32))
    np.testing.assert_allclose(np.ravel(z), np.sqrt(2 * np.log(2)) * np.array(pair), atol=1e-6)


# Distribution ------------------------------------------------------------------------------------


def normals(seed=0, stream=0):
    return random.normals(seed, np.arange(LANES), 1, STEPS, stream)


def in_standard_errors(z):
    """How far the first four moments are from the normal's: Var z^k = 1, 2, 15, 96."""
    moments = [z.mean(), (z**2).mean() - 1, (z**3).mean(), (z**4).mean() - 3]
    return np.abs(moments) / np.sqrt([1, 2, 15, 96]) * np.sqrt(z.size)


def correlations(a, b):
    """Of the numbers and of their squares (Var = 1, 2 * 2), in standard errors."""
    products = [np.mean(a * b), np.mean((a**2 - 1) * (b**2 - 1)) / 2]
    return np.abs(products) * np.sqrt(a.size)


PAIRS = {
    "lanes": lambda z: (z[:, :-1], z[:, 1:]),
    "steps": lambda z: (z[:-1], z[1:]),
    "pairs": lambda z: (z[::2], z[1::2]),
    "groups": lambda z: (z[:-4], z[4:]),
    "seeds": lambda z: (z, normals(seed=1)),
    "high seeds": lambda z: (z, normals(seed=2**32)),
    "streams": lambda z: (z, normals(stream=1)),
}


def test_moments_are_the_normal_ones():
    assert in_standard_errors(normals()).max() < 4


def test_distribution_is_normal():
    """Kolmogorov-Smirnov: p above that of 4 standard errors."""
    assert kstest(normals().ravel(), "norm").pvalue > 6.3e-5


@pytest.mark.parametrize("across", PAIRS)
def test_independent_across(across):
    assert correlations(*PAIRS[across](normals())).max() < 4


def test_the_checks_see_a_planted_defect():
    """Negative controls: a spread of 1.01, a shift of 0.01, a correlation of 0.01, one size."""
    z, other = normals(), normals(seed=7)
    assert in_standard_errors(1.01 * z).max() > 4
    assert kstest((z + 0.01).ravel(), "norm").pvalue < 6.3e-5
    assert correlations(z, 0.01 * z + other)[0] > 4
    assert correlations(z, np.abs(z) * np.sign(other))[1] > 4
