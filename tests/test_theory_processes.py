"""Theory beyond white Gaussian gradients: scale mixtures, and the study theory-processes."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from regdyn import gradients, rules, sample
from regdyn.gradients import AR1, Gaussian, Intermittent, StudentT
from regdyn.theory import forms, mixture, predict
from sims import theory_processes as study
from sims._theory_page import share
from sims._theory_processes_page import words
from sims.theory_processes import Case

HEAVY = [StudentT(4), Intermittent(0.5, 1)]


def draws(process, n, size, seed=0):
    """tau of the squares, and normals, of n samples of `size` terms."""
    rng = np.random.default_rng(seed)
    tau, weight = mixture.mixture(process)
    return rng.choice(tau, p=weight, size=(n, size)), rng.standard_normal((n, size)), rng


def close(values, expected, slack=0.0):
    """The mean of `values` is as expected, within 4 standard errors and a stated accuracy."""
    error = 4 * values.std(ddof=1) / math.sqrt(len(values)) + slack * abs(expected)
    assert abs(values.mean() - expected) < error


# Scale mixtures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("nu", [3, 4, 5, 10, 100, 1000])
def test_student_t_is_the_mixture_that_it_should_be(nu):
    """E tau = 1, and E sqrt(tau) by gamma functions."""
    tau, weight = mixture.mixture(StudentT(nu))
    root = math.exp(math.lgamma((nu - 1) / 2) - math.lgamma(nu / 2)) * math.sqrt((nu - 2) / 2)
    assert weight @ tau == pytest.approx(1, rel=1e-6)
    assert weight @ np.sqrt(tau) == pytest.approx(root, rel=1e-6)


@pytest.mark.parametrize("process", HEAVY, ids=str)
@pytest.mark.parametrize("memory", [(0.0, 0.9, 0.0), (0.5, 0.9, 1.0), (0.0, 0.4, 0.0)])
def test_exact_expectations_are_those_of_samples(process, memory):
    """Of g^2 / (v + eps), and of the response with the i-th square of 3 degrees of freedom.

    m enters by its mean age, which is good to 0.5 % here.
    """
    memory = mixture.Memory(*memory)
    size = int(-20 / math.log(memory.bv)) + 1
    tau, z, rng = draws(process, 10_000, size)
    w = (1 - memory.bv) * memory.bv ** np.arange(size)
    square = tau * z * z
    response, of_square = mixture.exact(*mixture.mixture(process), memory)
    with np.errstate(invalid="ignore"):
        close(np.nan_to_num(square[:, 0] / (square @ w + memory.eps)), of_square)
    age = rng.geometric(1 - memory.bm, size=len(tau)) - 1
    more = np.take(w, age) * tau[np.arange(len(tau)), age] * rng.chisquare(2, len(tau))
    close(1 / np.sqrt(square @ w + more + memory.eps), response, slack=0.005)


def test_where_v_is_the_last_square_the_response_is_that_of_a_sign():
    """E sign(b + x) / b = sqrt(2 / pi) for small b: E 1 / |x| of 3 degrees of freedom."""
    one = mixture.exact(np.ones(1), np.ones(1), mixture.Memory(0.0, 0.0))
    assert one == pytest.approx((math.sqrt(2 / math.pi), 1.0), rel=1e-4)


@pytest.mark.parametrize("which", [mixture.RESPONSE, mixture.SQUARE])
def test_the_effective_square_of_gaussian_noise_is_two(which):
    found = mixture.effective_square(StudentT(1000), mixture.Memory(0.9, 0.99), which)
    assert found == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize("process", [StudentT(3), Intermittent(0.1, 1)], ids=str)
def test_lion_sees_the_density_at_zero(process):
    newest, first, bm = 0.1, 0.009, 0.99
    tau, _, _ = draws(process, 4000, 900)
    w = np.append(newest, first * bm ** np.arange(899))
    density = (2 * math.pi * (tau @ w**2)) ** -0.5
    gaussian = (2 * math.pi * np.sum(w**2)) ** -0.5
    close(density / gaussian, 1 / mixture.sign_scale(process, newest, first, bm), slack=0.01)


@pytest.mark.parametrize("process", [StudentT(4), Intermittent(0.1, 1)], ids=str)
def test_the_largest_v_of_heavy_tails(process):
    """To 7 % in 1 / sqrt(v); Gaussian noise in its place is more than 30 % off."""
    x = sample(process, 10_000, 128, seed=1)
    x = (x / (gradients.tables(process, 1)[0] * scale(process))) ** 2
    v = top = np.ones(128)
    for square in x:
        v = 0.99 * v + 0.01 * square
        top = np.maximum(top, v)
    close(top**-0.5, mixture.largest(*mixture.mixture(process), 0.99, 10_000), slack=0.07)
    found = mixture.largest_of_gamma(mixture.largest_square(process, 0.99, 20_000), 0.99, 10_000)
    close(top**-0.5, found, slack=0.07)
    assert mixture.largest_of_gamma(2.0, 0.99, 10_000) > 1.3 * np.mean(top**-0.5)


def scale(process):
    """Standard deviation in units of what `gradients.tables` gives."""
    if isinstance(process, StudentT):
        return math.sqrt(process.nu / (process.nu - 2))
    return math.sqrt(gradients.fires_below(process) / 2**32)


def test_gaussian_noise_is_left_alone():
    for name in rules.RULES:
        noise = forms.noise(Gaussian(std=3e-4), 7, rules.resolve(name))
        assert noise.square == 2.0 and np.all(noise.sigma == 3e-4)


@pytest.mark.parametrize(
    "process",
    [
        StudentT(3), StudentT(1000), StudentT(4, 1e-300), Intermittent(1.0, 1),
        Intermittent(0.0, 1), Intermittent(1e-9, 1), Intermittent(0.1, 1, 0.0),
        Intermittent(0.01, 1, [0, 1, 2.0]),
    ],
    ids=str,
)  # fmt: skip
def test_extreme_noise_and_rules_give_numbers(process):
    for hp in (
        rules.Lion(beta1=0.0), rules.Lion(beta2=0.0), rules.Lion(beta1=0.9999, beta2=0.9999),
        rules.Adam(beta1=0.0, beta2=0.0), rules.Adam(beta1=0.99, beta2=0.5), rules.Adam(),
        rules.AMSGrad(beta2=0.0), rules.AMSGrad(), rules.RMSprop(alpha=0.0), rules.Adagrad(),
        rules.Adadelta(eps=0.0), rules.Adadelta(eps=1e10), rules.SGD(),
    ):  # fmt: skip
        noise = forms.noise(process, 3, hp)
        assert math.isfinite(noise.square) and noise.square >= 0
        assert np.isfinite(noise.sigma).all()


def test_student_t_of_many_degrees_is_gaussian():
    """nu = 1000: the whole prediction, to 0.4 % (AMSGrad's largest v sees the tails)."""
    names = list(rules.RULES)
    one, two = (
        predict(names, lam=1e-3, gradient=g, steps=3000, record=500)
        for g in (StudentT(1000, 1e-3), Gaussian(std=1e-3))
    )
    assert float(abs(one["std"] / two["std"] - 1).max()) < 4e-3
    assert float(abs(one["mean"] - two["mean"]).max()) < 2e-3


# The study ---------------------------------------------------------------------------------------

SMALL = {
    "mean 0.1 sigma": Case("mean", Gaussian(1e-4, 1e-3), steps=3000),
    "ar1 phi 0.9": Case("ar1", AR1(0.9, 1e-3), steps=3000),
    "start -1": Case("start", Gaussian(std=1e-3), -1.0, "cosine", 3000),
    "rare-rms f 0.001": Case("rare-rms", Intermittent(1e-3, 1, 1e-3**0.5), steps=3000),
}


@pytest.fixture(scope="module")
def small():
    return study.run(lanes=256, seed=3, which=SMALL)


def frame(data) -> Any:
    return data.to_dataframe().reset_index(drop=True)


def test_white_noise_with_a_mean_or_another_start_is_predicted(small):
    """Times of the mean within 4 standard errors or 1.6 %, late rms within 2 % and 4.

    AMSGrad needs the 1.6 %: its time to half is 1.4 % off.
    """
    cells = frame(small)
    cells = cells[cells["group"].isin(["mean", "start"])]
    for name in ("theory_t50", "theory_t10"):
        near = (cells[f"{name}_score"] <= 4 / 3) | (abs(cells[f"{name}_error"]) < 0.016)
        assert near.all()
    error = abs(cells["theory_late_error"])
    assert (error < 0.02 + 4 * cells["late_se"] / cells["late"]).all()


def test_rare_gradients_of_the_same_rms_are_predicted_under_wd_only(small):
    """A known failure: Adam + l2 at 1e-4 halves after some 700 steps; in theory it takes 10,000.

    Under wd the mean is exact: within 4 standard errors.
    """
    cells = frame(small)
    rare = cells[cells["group"] == "rare-rms"].set_index(["rule", "reg", "lam"])
    one = rare.loc["adam", "l2", 1e-4]
    assert 600 < one["t50"] < 850 and one["theory_t50"] > 3000
    assert (rare.xs("wd", level="reg")["theory_t50_score"] <= 4 / 3).all()
    worst = f"after {one['t50']:,.0f} steps, in theory after {one['theory_t50']:,.0f}"
    others = cells[(cells["rule"] == "adam") | (cells["group"] != "rare-rms")]
    assert worst in words(others, 256)


def test_negative_controls_fail(small):
    """The naive mean field has no floor; white noise in the place of AR(1) a far lower one."""
    measured = frame(small)[[*study.KEYS, *study.MEASURED]]
    naive: Any = study.check(measured, SMALL, order=1)
    decayed = (naive["lam"] == 1e-2) & (naive["reg"] == "wd")
    decayed &= naive["group"].isin(["ar1", "start"])
    assert decayed.sum() == 14 and not naive["theory_late_pass"][decayed].any()
    white = SMALL | {"ar1 phi 0.9": Case("ar1", Gaussian(std=1e-3), steps=3000)}
    wrong: Any = study.check(measured, white)
    wrong = wrong[(wrong["case"] == "ar1 phi 0.9") & (wrong["rule"] == "sgd")]
    assert (wrong["theory_late_error"][wrong["lam"] == 1e-2] < -0.5).all()
    right = frame(small)
    right = right[(right["case"] == "ar1 phi 0.9") & (right["rule"] == "sgd")]
    assert (abs(right["theory_late_error"]) < 0.02 + 4 * right["late_se"] / right["late"]).all()


def test_table_answer_and_picture(small):
    table = study.table(small)
    assert table["score"].is_monotonic_decreasing and len(table) == 4 * 42
    text = study.answer(small)
    assert text.startswith("Asked:") and "168 settings (256 lanes each)" in text
    assert len(study.draw(small).axes) == 5


def test_a_times_error_is_relative_to_the_start():
    """A start of -1 is that of 1 mirrored: same times, opposite means."""
    one, two = (
        list(study.predictions(Case("start", Gaussian(std=1e-3), start, steps=2000)))
        for start in (1.0, -1.0)
    )
    for a, b in zip(one, two, strict=True):
        assert a["t50"] == b["t50"] and a["late"] == b["late"] and a["centre"] == -b["centre"]


def test_the_committed_table_is_whole():
    table = pd.read_csv(study.DATA)
    assert len(table) == len(study.cases()) * 42 and not table.duplicated([*study.KEYS]).any()
    assert set(table["case"]) == set(study.cases())
    shares: Any = table.groupby("case")["score"].apply(lambda score: (score <= 1).mean())
    for case in ("white", "mean 0.01 sigma", "cosine", "paper", "start 10"):
        assert shares[case] == 1


def test_the_page_has_the_shares_of_the_committed_table():
    """The last column of its first table; the rest needs the theory again (slow)."""
    score = pd.read_csv(study.DATA).groupby("case")["score"]
    lines = study.PAGE.read_text(encoding="utf-8").splitlines()
    for case in study.cases():
        (row,) = [
            line for line in lines if line.startswith(f"| {case} |") and line.count(" %, ") == 5
        ]
        kept = score.get_group(case)  # rounded: 1.0 in the file may have been 1.002
        shares = {share((kept <= 1).mean()), share((kept < 1).mean())}
        assert row.split(" | ")[-1].removesuffix(" |") in shares, case


@pytest.mark.slow
def test_the_committed_table_and_page_follow_from_the_theory():
    data = study.check(study.stored(), study.cases()).rename_axis("cell").to_xarray()
    data = data.assign_attrs(lanes=study.LANES)
    found, kept = study.table(data), pd.read_csv(study.DATA)
    both: Any = found.merge(kept, on=[*study.KEYS], suffixes=("", " kept"))
    assert len(both) == len(kept)
    for name in study.TITLES:
        error = abs(both[f"{name} %"] - both[f"{name} % kept"])
        tame = abs(both[f"{name} % kept"]) < 100
        assert (error[tame] < 0.1 + 0.02 * abs(both[f"{name} % kept"][tame])).all()
    assert study.page_with(data) == study.PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_simulation_is_what_was_committed():
    """One case simulated again: all digits that were kept."""
    name, k = "mean 1 sigma", list(study.cases()).index("mean 1 sigma")
    rows = pd.DataFrame(study.measured(name, study.cases()[name], study.LANES, k))
    kept = study.stored()
    kept = kept[kept["case"] == name].reset_index(drop=True)
    for column in study.MEASURED:
        np.testing.assert_allclose(rows[column], kept[column], rtol=6e-4, atol=1e-12)
