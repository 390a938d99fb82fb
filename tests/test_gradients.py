"""Each gradient process against its formula; common random numbers; bad parameters."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, t

from regdyn import gradients, random, sample
from regdyn.gradients import AR1, Gaussian, Intermittent, LowGradient, StudentT, Tape, Well

STEPS, LANES = 130, 12
RAMP = np.linspace(0.5, 2, STEPS)
SAMPLED = [
    LowGradient(), LowGradient(steps0=7), Gaussian(mean=0.1, std=0.5), Gaussian(-RAMP, RAMP**2),
    Intermittent(f=0.1, batch=4, std=RAMP), AR1(phi=-0.7, std=RAMP), StudentT(nu=3, std=RAMP),
    Tape(np.outer(RAMP, np.arange(40))), Tape(RAMP),
]  # fmt: skip


def ids(process):
    fields = [f"{v:g}" if np.ndim(v) == 0 else "array" for v in process]
    return f"{type(process).__name__}({','.join(fields)})"


every_process = pytest.mark.parametrize("process", SAMPLED, ids=ids)


def z(steps=STEPS, lanes=LANES, stream=0):
    return random.normals(0, np.arange(lanes), 1, steps, stream)


def column(values):
    return np.broadcast_to(values, STEPS)[:, None]


# Formulas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps0", [0, 7, 100, 1000])
def test_low_gradient_has_two_stages(steps0):
    """The burst is steps 1 to steps0."""
    std = np.where(np.arange(1, STEPS + 1) <= steps0, 1e-3, 1e-5)
    assert np.array_equal(sample(LowGradient(steps0=steps0), STEPS, LANES), z() * column(std))


def test_low_gradient_of_the_paper():
    """arXiv 1811.12495, figure 4: std 1e-3 in the first 100 iterations, then 1e-5."""
    assert gradients.resolve("low") == LowGradient(std0=1e-3, std=1e-5, steps0=100)


@pytest.mark.parametrize(
    ("mean", "std"), [(0.1, 0.5), (RAMP, 0.5), (-1.0, RAMP), (RAMP, -RAMP + 3)]
)
def test_gaussian_has_mean_and_std_of_the_step(mean, std):
    expected = z() * column(std) + column(mean)
    assert np.array_equal(sample(Gaussian(mean, std), STEPS, LANES), expected)


@pytest.mark.parametrize(("f", "batch"), [(0.0, 4), (1e-3, 40), (0.1, 4), (1.0, 4)])
def test_intermittent_fires_with_probability_p(f, batch):
    """p = 1 - (1 - f)^B, and the amplitude of a firing is std / B."""
    g = sample(Intermittent(f, batch, std=3.0), 400, 500)
    p, n, fired = 1 - (1 - f) ** batch, g.size, g != 0
    assert abs(fired.mean() - p) <= 4 * math.sqrt(p * (1 - p) / n)
    amplitude = z(400, 500)[fired]
    assert np.array_equal(g[fired], amplitude * (3.0 / batch))
    if f > 0:  # it fires whatever the amplitude
        assert abs(np.mean(amplitude**2) - 1) <= 4 * math.sqrt(2 / amplitude.size)
    if 0 < f < 1:  # negative controls: B = 1, and B a tenth larger
        for wrong in (f, 1 - (1 - f) ** (1.1 * batch)):
            assert abs(fired.mean() - wrong) > 4 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("phi", [-0.7, 0.0, 0.9])
def test_ar1_is_its_recursion(phi):
    x, expected = None, []
    for fresh in z():
        x = fresh if x is None else phi * x + math.sqrt(1 - phi * phi) * fresh
        expected.append(x)
    assert np.array_equal(sample(AR1(phi, RAMP), STEPS, LANES), np.array(expected) * column(RAMP))


@pytest.mark.parametrize("phi", [-0.7, 0.9])
def test_ar1_is_stationary_with_correlation_phi_to_the_lag(phi):
    """Over independent lanes: Var(x_t x_{t+k}) = 1 + phi^2k, with k = 0 the variance."""
    g, lanes = sample(AR1(phi, std=2.0), 30, 20_000) / 2.0, 20_000
    for lag in range(6):
        found = np.mean(g[: 30 - lag] * g[lag:], axis=1)
        error = 4 * math.sqrt((1 + phi ** (2 * lag)) / lanes)
        assert np.abs(found - phi**lag).max() <= error
        assert np.abs(found - 1.3 * phi**lag).max() > error  # negative control


@pytest.mark.parametrize("nu", [3, 4, 5])
def test_student_t_is_distributed_so(nu):
    """Kolmogorov-Smirnov, p above that of 4 standard errors; nu + 1 is told apart."""
    g = sample(StudentT(nu, std=2.0), 1000, 400).ravel()
    x = g / (2.0 * math.sqrt((nu - 2) / nu))
    assert kstest(x, t(nu).cdf).pvalue > 6.3e-5
    assert kstest(x, t(nu + 1).cdf).pvalue < 6.3e-5


def test_student_t_has_standard_deviation_std():
    """Var x^2 = (2 + 6 / (nu - 4)) std^4 where nu > 4."""
    nu, std = 10, 2.0
    g = sample(StudentT(nu, std), 400, 1000)
    error = 4 * math.sqrt((2 + 6 / (nu - 4)) / g.size)
    assert abs(np.mean(g**2) / std**2 - 1) <= error
    assert abs(np.mean(g**2) / std**2 * nu / (nu - 2) - 1) > error  # without its factor


def test_tape_is_itself():
    tape = np.random.default_rng(0).normal(size=(STEPS, LANES))
    assert np.array_equal(sample(Tape(tape), STEPS, LANES), tape)
    assert np.array_equal(sample(Tape(tape), 9, range(3, 7)), tape[:9, 3:7])
    assert np.array_equal(sample(Tape(tape[:, 0]), 9, 5), np.repeat(tape[:9, :1], 5, axis=1))
    assert np.array_equal(sample(Tape([1, 2, 3]), 3, 1), [[1.0], [2.0], [3.0]])


def test_pull_of_a_well():
    assert gradients.pull(Well(curvature=0.5, center=2.0), 3.0) == 0.5 * (3.0 - 2.0)


def test_well_is_not_sampled():
    with pytest.raises(ValueError, match=r"Well cannot be sampled: .* Use simulate\."):
        sample(Well(), 10, 10)


# Common random numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Gaussian, Intermittent, AR1, StudentT], ids=lambda k: k.__name__)
def test_std_only_scales_the_same_numbers(kind):
    """A power of two, so that the products are exact."""
    small, large = (sample(kind(std=std), STEPS, LANES) for std in (1.0, 2.0**-20))
    assert small.any()
    assert np.array_equal(small * 2.0**-20, large)


@every_process
def test_seeds_differ_unless_recorded(process):
    one, other, again = (sample(process, STEPS, LANES, seed) for seed in (0, 1, 0))
    assert np.array_equal(one, again)
    assert np.array_equal(one, other) == isinstance(process, Tape)


@every_process
@given(data=st.data())
def test_lanes_and_steps_are_a_part_of_more_of_them(process, data):
    first = data.draw(st.integers(0, 38))
    last = data.draw(st.integers(first + 1, 39))
    steps = STEPS
    if not any(np.ndim(field) == 1 for field in process):  # arrays must have one entry per step
        steps = data.draw(st.integers(1, STEPS))
    whole, part = sample(process, STEPS, 40), sample(process, steps, range(first, last))
    assert np.array_equal(part, whole[:steps, first:last])


@every_process
@pytest.mark.parametrize("size", [1, 4, 7, 1000])
def test_numbers_do_not_depend_on_the_block_size(process, size):
    source = gradients.Source(gradients.resolve(process), STEPS, np.arange(LANES), 0)
    source.size = size
    blocks = list(source.blocks(1, 50)) + list(source.blocks(51, STEPS))
    assert len(blocks[0]) == min(size, 50)
    assert np.array_equal(np.concatenate(blocks), sample(process, STEPS, LANES))


def test_names_give_the_defaults():
    for name, kind in gradients.GRADIENTS.items():
        if name != "tape":
            assert gradients.resolve(name) == kind()


# Bad parameters ----------------------------------------------------------------------------------

NAN = math.nan
BAD = [
    ("gausian", "did you mean 'gaussian'?"),
    (3, "not a gradient process: 3"),
    (Gaussian, "not a gradient process"),
    (LowGradient(steps0=-1), "steps0 of LowGradient must be a whole number >= 0, not -1"),
    (LowGradient(steps0=1.5), "steps0 of LowGradient must be a whole number"),
    (LowGradient(std0=-1.0), "std0 of LowGradient must be a finite number >= 0"),
    (LowGradient(std=-1.0), "std of LowGradient must be a finite number >= 0"),
    (Gaussian(mean=NAN), "mean of Gaussian must be a finite number, not nan"),
    (Gaussian(std=math.inf), "std of Gaussian must be a finite number >= 0, not inf"),
    (Gaussian(std="wide"), "std of Gaussian must be a finite number"),
    (Gaussian(std=["wide"] * 3), "std of Gaussian must be numbers"),
    (Gaussian(std=[1.0, -1.0, 1.0]), "std of Gaussian must be >= 0, not [1.0, -1.0, 1.0]"),
    (Gaussian(mean=[1.0, NAN, 1.0]), "mean of Gaussian must be finite"),
    (Gaussian(std=[1.0, 1.0]), "std of Gaussian must be a number or have one entry per step"),
    (Gaussian(mean=np.zeros((3, 3))), "mean of Gaussian must be a number or have one entry"),
    (Intermittent(f=1.5), "f of Intermittent must be a finite number >= 0 and <= 1, not 1.5"),
    (Intermittent(batch=0), "batch of Intermittent must be a whole number >= 1, not 0"),
    (AR1(phi=1.0), "phi of AR1 must be a finite number > -1 and < 1, not 1.0"),
    (StudentT(nu=2), "nu of StudentT must be a whole number from 3 to 1000, not 2"),
    (StudentT(nu=4.5), "nu of StudentT must be a whole number"),
    (Well(curvature=NAN), "curvature of Well must be a finite number, not nan"),
    (Tape(), "not (0,)"),
    (Tape("abc"), "a tape must be an array of numbers"),
    (Tape(np.zeros((2, 2, 2))), "a tape needs shape (steps, lanes) or (steps,), not (2, 2, 2)"),
    (Tape([[0.0, 1.0], [NAN, NAN]]), "2 entries that are not finite, first at row 1, column 0"),
    (Tape([0.0, 1.0]), "the tape has shape (2,), too small for 3 steps"),
    (Tape(np.zeros((3, 3))), "too small for 3 steps and 4 lanes"),
]


@pytest.mark.parametrize(("process", "fragment"), BAD, ids=[fragment for _, fragment in BAD])
def test_bad_parameters_get_one_sentence(process, fragment):
    with pytest.raises(ValueError) as caught:
        sample(process, 3, 4)
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)
