"""Expectations under sums of squares, and the largest of them, against exact values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy.linalg import eigh_tridiagonal
from scipy.special import gammaln

from regdyn.theory import largest, moments


@given(st.floats(1.1, 1e4), st.floats(1e-12, 1e3))
def test_gamma_variable(k, mean):
    """E v^-1/2 of a gamma variable, against gamma functions."""
    exact = math.exp(gammaln(k - 0.5) - gammaln(k)) * math.sqrt(k / mean)
    ours = moments.inverse_root(mean, mean**2 / k, 2 * mean**3 / k**2)
    assert ours == pytest.approx(exact, rel=0.01 if k < 1.5 else 2e-3)


@given(st.floats(1.1, 1e3), st.floats(0.0, 10.0))
def test_eps_interpolates(k, eps):
    """E 1 / (sqrt(v) + eps), against quadrature over the gamma density: at worst 0.104 / k off."""
    log_norm = gammaln(k)

    def expected(f):
        centre, width = math.log(k), 12 / math.sqrt(k)
        grid = np.linspace(centre - 2 * width - 6, centre + width, 20_001)
        density = np.exp(k * grid - np.exp(grid) - log_norm)
        return integrate.trapezoid(f(np.exp(grid) / k) * density, grid)

    one, two = moments.divided(1.0, 1 / k, 2 / k**2, eps)
    assert one == pytest.approx(expected(lambda v: 1 / (np.sqrt(v) + eps)), rel=0.11 / k)
    if k > 3:
        assert two == pytest.approx(expected(lambda v: 1 / (np.sqrt(v) + eps) ** 2), rel=0.12 / k)


def _weighted(beta2):
    """Weights and three cumulants of v = sum w x^2."""
    w = (1 - beta2) * beta2 ** np.arange(int(40 / (1 - beta2)))
    return w, (w.sum(), 2 * (w**2).sum(), 8 * (w**3).sum())


def _inverse_root(w):
    """E v^-1/2 = pi^-1/2 int s^-1/2 prod (1 + 2 w s)^-1/2 ds, exactly."""
    x = np.linspace(-30, 30, 6001)
    terms = [-0.5 * np.log1p(2 * w * math.exp(y)).sum() + 0.5 * y for y in x]
    return integrate.trapezoid(np.exp(terms), x) / math.sqrt(math.pi)


@pytest.mark.parametrize("beta2", [0.8, 0.9, 0.95, 0.99])
def test_sum_of_squares(beta2):
    """Three cumulants of Adam's v give E v^-1/2 to 0.1 %; without the third it is off by more."""
    w, (mean, var, third) = _weighted(beta2)
    exact = _inverse_root(w)
    assert moments.inverse_root(mean, var, third) == pytest.approx(exact, rel=1.5e-3)
    two_only = moments.inverse_root(mean, var, 2 * var**2 / mean)
    assert abs(two_only / exact - 1) > abs(moments.inverse_root(mean, var, third) / exact - 1)


@pytest.mark.parametrize(("u", "value"), [(0.0, 1.0), (-1.0, 2.0), (-math.sqrt(3), 3.0)])
def test_rate_at_zeros_of_hermite_polynomials(u, value):
    assert largest.rate(u) == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize("u", [0.25, 0.7, 1.3, 2.2, 2.9, 3.5, 4.5])
def test_rate_is_the_first_eigenvalue(u):
    """Against finite differences of -y'' + (x^2/4 - 1/2) y = rate y, y(u) = 0."""
    x = np.linspace(-9, u, 4002)[1:-1]
    h = x[1] - x[0]
    diagonal, off = 2 / h**2 + x**2 / 4 - 0.5, -np.ones(len(x) - 1) / h**2
    exact = eigh_tridiagonal(diagonal, off, select="i", select_range=(0, 0))[0][0]
    assert largest.rate(u) == pytest.approx(exact, rel=0.015)
    assert abs(u * moments.pdf(u) / exact - 1) > 0.02  # the textbook's high-level rate is not it


@pytest.mark.parametrize(("beta2", "accuracy"), [(0.99, 0.005), (0.9, 0.012)])
def test_largest_v(beta2, accuracy):
    """E M^-1/2 of the largest v in 3000 steps, 2000 lanes."""
    rng = np.random.default_rng(0)
    v, top = np.zeros(2000), np.zeros(2000)
    x, F = largest.levels(1e-6, 100.0)
    cumulants, start = np.zeros(3), 0
    for _ in range(3000):
        v = beta2 * v + (1 - beta2) * rng.standard_normal(2000) ** 2
        np.maximum(top, v, out=top)
        decay = beta2 ** np.arange(1, 4)
        cumulants = decay * cumulants + (1 - beta2) ** np.arange(1, 4) * np.array([1, 2, 8])
        mean, var, _, start = largest.update(x, F, start, tuple(cumulants), beta2, 1)
    found = moments.inverse_root(mean, var, 2 * var**2 / mean)
    sample = top**-0.5
    error = 4 * sample.std() / math.sqrt(2000) + accuracy * sample.mean()
    assert abs(found - sample.mean()) < error
    assert abs(cumulants[0] ** -0.5 - sample.mean()) > 5 * error  # the mean of v is not its largest
    assert math.sqrt(var) == pytest.approx(top.std(), rel=0.12)
