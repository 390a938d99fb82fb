"""The coupled filter model: its laws one by one, against the rules, closed forms and itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regdyn import regularizers, replay, rules
from regdyn.filters import absorption, fate, laws, model, preconditioner, stochastic
from regdyn.filters.record import GRADIENT, collapse_step, dead, read, smoothed

from .records import dataset, record


def chosen(rule="adam", reg="l2", lam=1e-2, steps=1000, **hyper):
    hp = rules.resolve(rule)._replace(**hyper)
    return model.Settings(hp, reg, lam, np.ones(steps))


# The rule in coarse time -------------------------------------------------------------------------

LANES, STEPS, LATE = 2000, 2000, 1000


@pytest.mark.parametrize("name", ["sgd", "adam", "amsgrad", "adagrad", "rmsprop", "lion"])
def test_the_gain_is_the_mean_step_over_the_mean_gradient(name):
    """Many copies under noise with a small mean: how far the rule moves them, over lr mu n."""
    hp, sigma = rules.resolve(name), 1e-2
    mu = 2e-4 if name == "lion" else 1e-3  # the sign is linear in small means only
    rng = np.random.default_rng(0)
    tape = mu + sigma * rng.standard_normal((STEPS, LANES))
    theta = replay(tape, hp, "none", 0.0, 0.0)
    moved = theta[LATE] - theta[STEPS]
    square = np.full((20, 1), sigma**2 + mu**2)
    window = np.full(20, 50)
    memory = preconditioner.begin(hp, square, window, square[0])
    if name == "amsgrad":  # the largest v of a noisy mean lies above its mean: from the tape
        v = np.zeros(LANES)
        top = np.zeros(LANES)
        for g in tape[: (LATE + STEPS) // 2]:
            v = hp.beta2 * v + (1 - hp.beta2) * g * g
            top = np.maximum(top, v)
        memory = memory._replace(other=top)
    if name == "adagrad":
        memory = preconditioner.advance(hp, memory, square[0], (LATE + STEPS) / 2 - 1000)
    P = np.mean(preconditioner.gain(hp, memory))
    said = hp.lr * P * mu * (STEPS - LATE)
    error = moved.std() / np.sqrt(LANES)
    assert abs(moved.mean() - said) < 4 * error + 0.02 * said  # the law is of leading order
    assert abs(moved.mean() - 1.2 * said) > 4 * error + 0.02 * said  # and would miss 20 %


def test_adadelta_settles_by_the_kurtosis_of_its_gradients(monkeypatch):
    monkeypatch.setattr(preconditioner, "KURTOSIS", 3.0)  # Gaussian
    hp, sigma, mu = rules.Adadelta(), 1e-1, 1e-2
    rng = np.random.default_rng(1)
    tape = mu + sigma * rng.standard_normal((4000, 500))
    theta = replay(tape, hp, "none", 0.0, 0.0)
    moved = (theta[3000] - theta[4000]).mean()
    square = np.full((40, 1), sigma**2 + mu**2)
    memory = preconditioner.begin(hp, square, np.full(40, 100), square[0])
    said = hp.lr * float(preconditioner.gain(hp, memory)[0]) * mu * 1000
    assert moved == pytest.approx(said, rel=0.25)  # leading order in 1 - rho = 0.1
    monkeypatch.setattr(preconditioner, "KURTOSIS", 7.0)
    memory = preconditioner.begin(hp, square, np.full(40, 100), square[0])
    heavy = hp.lr * float(preconditioner.gain(hp, memory)[0]) * mu * 1000
    assert heavy == pytest.approx(said / np.sqrt(3))
    assert not moved == pytest.approx(heavy, rel=0.25)


@given(st.sampled_from(["adam", "rmsprop", "adadelta"]), st.floats(1e-6, 1e2))
def test_under_steady_gradients_size_is_their_root_mean_square(name, size):
    hp = rules.resolve(name)
    square = np.full((10, 3), size**2)
    window = np.array([7, 20, 20, 20, 20, 20, 20, 20, 20, 3])
    assert np.allclose(preconditioner.averages(hp, square, window), size**2)
    assert np.allclose(preconditioner.size(hp, square, window, slice(2, 9)), size)


# Layers ------------------------------------------------------------------------------------------


def test_sums_over_layers_in_any_order():
    rng = np.random.default_rng(0)
    layer, x = rng.permutation(np.repeat([0, 1, 2], [3, 5, 4])), rng.random(12)
    layers = laws.Layers(layer)
    assert np.allclose(layers.total(x), [x[layer == i].sum() for i in range(3)])
    assert np.allclose(layers.norm(x), [np.linalg.norm(x[layer == i]) for i in layer])
    assert np.allclose(layers.mean(x, x), [(x[layer == i] ** 2).sum() / x[layer == i].sum()
                                           for i in layer])  # fmt: skip


@given(st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_the_products_do_not_see_a_layers_scale(c):
    """gamma -> c gamma makes its gradient 1/c of what it was: C stays; likewise D."""
    one = record()
    scaled = one._replace(
        gamma=c * one.gamma, norm_out=one.norm_out * c,
        **{k: getattr(one, k) / c for k in ("grad_gamma_mean", "grad_gamma_std")},
        grad_out2=one.grad_out2 / c**2,
    )  # fmt: skip
    hp = rules.Adam()
    a, b = laws.course(one, hp), laws.course(scaled, hp)
    assert np.allclose(a.C, b.C, rtol=1e-6) and np.allclose(a.D, b.D, rtol=1e-6)


def test_a_followed_course_starts_where_the_filters_are():
    one, pilot = record(seed=1), record(seed=2, sigma=3e-2)
    start = laws.early(one, 200, rules.Adam(), look=100)
    course = laws.following(laws.course(pilot, rules.Adam()), start)
    now = int(np.searchsorted(course.step, start.step, side="right")) - 1
    assert np.allclose(course.C[now], start.products()[0])
    assert np.allclose(course.D[now], start.products()[1])


def test_an_early_record_is_all_that_a_start_reads():
    one = record()
    later = {name: getattr(one, name).copy() for name in ("gamma", "norm_out", *GRADIENT)}
    for values in later.values():
        values[25:] = 7.0
    a, b = (laws.early(r, 400, rules.Adam(), look=100) for r in (one, one._replace(**later)))
    assert np.array_equal(a.gamma, b.gamma) and np.array_equal(a.sigma, b.sigma)


# The recursion -----------------------------------------------------------------------------------


def run_model(one, settings_, *, own=None, at=200, **constants):
    start = laws.early(one, at, settings_.rule, look=100)._replace(rho=None)
    course = laws.course(one, settings_.rule)
    grid = model.grid(start.step, len(settings_.scale), parts=400)
    c = model.DEFAULT._replace(**constants)
    return start, course, model.evolve(start, course, settings_, at=grid, constants=c, own=own)


@given(st.integers(0, 100), st.sampled_from(["adam", "rmsprop", "adagrad"]))
@settings(max_examples=20, deadline=None)
def test_the_loss_moves_no_layer_as_a_whole(seed, name):
    """sum gamma_j mu_j = 0 over each layer: the loss does not see its scale."""
    one, chosen_ = record(seed=seed), chosen(name)
    start = laws.early(one, 200, chosen_.rule, look=100)
    state = model.State(start.gamma, start.beta, start.out, None)
    rho = model.law_of_push(state, start, chosen_, model.DEFAULT)
    start = start._replace(output=model.relu_std(start.gamma, start.beta))
    course = laws.course(one, chosen_.rule)
    seen = model.gradient(state, start, course, rho, 200, chosen_, model.DEFAULT)
    total = start.layers.total(start.gamma * seen.mu)
    assert np.all(np.abs(total) <= 1e-12 * start.layers.total(np.abs(start.gamma * seen.mu)))
    assert np.any(np.abs(seen.mu) > 0)
    broken = start.layers.total(start.gamma * rho * seen.sigma)  # without the mean taken off
    assert np.any(np.abs(broken) > 1e-6 * start.layers.total(np.abs(start.gamma * seen.mu)))


def test_one_filter_alone_under_adam_and_l2_has_a_closed_form():
    r"""A layer of one has no push; sigma = C / gamma: 1/gamma grows by lr lam t / C."""
    gamma = np.ones((51, 1)) * np.linspace(1, 0.99, 51)[:, None]
    one = record((1,), gamma=gamma, sigma=0.5)
    settings_ = chosen(lam=1e-3, lr=1e-2, steps=4000)
    start, course, path = run_model(one, settings_)
    C = course.C[-1, 0]
    flat = laws.Course(course.step, np.full_like(course.C, C), course.D, course.burst)
    path = model.evolve(start, flat, settings_, at=path.step)
    expected = 1 / (1 / start.gamma[0] + 1e-2 * 1e-3 * (path.step - path.step[0]) / C)
    assert np.allclose(path.gamma[:, 0], expected, rtol=2e-3)
    assert expected[-1] < 0.95 * expected[0]  # it did move


@pytest.mark.parametrize("reg, rate", [("wd", 1e-3), ("adamw", 1e-3 * 1e-3)])
def test_weight_decay_is_exact_where_the_loss_is_silent(reg, rate):
    one, settings_ = record((1, 1)), chosen(reg=reg, lam=1e-3)
    _, _, path = run_model(one, settings_, push=0.0)
    left = np.exp(-rate * (path.step[-1] - path.step[0]))
    assert np.allclose(path.gamma[-1], path.gamma[0] * left, rtol=1e-9)


def test_a_schedule_slows_what_goes_with_the_learning_rate():
    one = record((3, 3))
    full = run_model(one, chosen())[2]
    slow = chosen()._replace(scale=np.full(1000, 0.1))
    less = run_model(one, slow)[2]
    assert np.all(full.gamma[0] - full.gamma[-1] > 2 * (less.gamma[0] - less.gamma[-1]).clip(0))


@given(st.permutations(range(10)))
@settings(max_examples=5, deadline=None)
def test_filters_in_another_order_have_the_same_fates(order):
    one, order = record(), np.array(order)
    names = ("gamma", "beta", "norm_in", "norm_out", "var", *GRADIENT)
    mixed = one._replace(**{k: getattr(one, k)[:, order] for k in names}, layer=one.layer[order],
                         weights_out=one.weights_out[order], bn_eps=one.bn_eps[order])  # fmt: skip
    a, b = (run_model(r, chosen())[2].gamma for r in (one, mixed))
    assert np.allclose(a[:, order], b, rtol=1e-8)


def test_weak_filters_are_pushed_down_and_less_so_by_short_memories():
    one = record((2, 8), seed=3)
    fell = {}
    for beta2 in (0.9, 0.99, 0.999):
        start, _, path = run_model(one, chosen(beta2=beta2, lam=0.0))
        weak = int(np.argmin(np.where(one.layer == 1, start.gamma, np.inf)))
        fell[beta2] = float(path.gamma[-1, weak] / path.gamma[0, weak])
    assert fell[0.99] < 1 and fell[0.9] > fell[0.99]


# Absorption --------------------------------------------------------------------------------------


def law_for(rule="adam", reg="wd", lam=3e-3, steps=4000, filters=(8, 16, 32), **more):
    return absorption.law(rules.resolve(rule), reg, lam, scale=np.ones(steps),
                          filters=np.array(filters), **more)  # fmt: skip


@given(st.floats(0, 50), st.floats(0.1, 3))
def test_share_and_hazard_are_inverse(hazard, q):
    share = absorption.absorbed_share(hazard, q)
    assert 0 <= share < 1
    assert absorption.hazard_of(share, q) == pytest.approx(hazard, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("rule, reg, lam", [("adam", "wd", 3e-3), ("sgd", "l2", 7e-3)])
def test_random_absorption_has_the_laws_mean_and_scatters_as_chance_does(rule, reg, lam):
    law, layer = law_for(rule, reg, lam), np.repeat([0, 1, 2], [8, 16, 32])
    copies = 500
    found = stochastic.absorbed(law, layer, until=4000, copies=copies)
    error = found.share.std(axis=0) / np.sqrt(copies)
    said = 100 * law.share(4000)
    # what is left scatters in a layer of few: the mean of S^q is not (mean S)^q
    assert np.all(np.abs(found.share.mean(axis=0) - said) < 4 * error + 0.6)
    other = 100 * absorption.absorbed_share(law.hazard[-1], 4 * law.q)
    assert np.any(np.abs(found.share.mean(axis=0) - other) > 4 * error + 0.6)
    assert 1 < found.total.std() < 10


def test_absorbed_filters_need_time_to_be_gone():
    law = law_for()
    assert np.all(law.share(4000) < law.share(4000, dead=False))
    half = law.step_of(np.full(3, 0.1))
    there = [law.share(int(t), dead=False)[i] for i, t in enumerate(half) if np.isfinite(t)]
    assert np.allclose(there, 0.1, atol=0.01)
    assert np.all(np.isinf(law.step_of(np.full(3, 0.99))))


def test_which_settings_absorb():
    adam, sgd = rules.Adam(), rules.SGD()
    assert absorption.applies(adam, "wd") and absorption.applies(adam, "adamw")
    assert absorption.applies(sgd, "l2") and not absorption.applies(adam, "l2")
    assert not absorption.applies(sgd, "none")


def test_a_larger_eps_of_batchnorm_saves_filters():
    shares = [law_for(bn_eps=eps).share(4000).mean() for eps in (1e-12, 1e-5, 1e-3)]
    assert shares[0] > shares[1] > shares[2]


def test_a_pilot_scales_the_law_to_what_it_measured():
    one = record((40, 40), steps=4000)
    gone = np.zeros(80, dtype=bool)
    gone[:20] = gone[40:50] = True
    zero = np.where(gone, 1.0, 0.0) * np.ones((len(one.window), 1))
    zero[: len(zero) // 2] = 0
    one = one._replace(grad_gamma_zero=zero)
    assert np.array_equal(absorption.absorbed(one), gone)
    law = law_for(filters=(40, 40))
    factor = absorption.measured_factor(one, law, prior=0.0)
    assert np.allclose(law.share(4000, factor=factor, dead=False), [0.5, 0.25])
    drawn = absorption.measured_factor(one, law, prior=1e9)
    assert np.allclose(drawn, 1, atol=1e-3)


# Fates -------------------------------------------------------------------------------------------


def test_a_crossing_lies_between_the_steps_where_it_happens():
    step = np.array([0.0, 10.0, 20.0])
    gamma = np.array([[1.0, 1.0, 0.5, 1e-4], [0.1, 1.0, 1e-2, 1e-4], [1e-3, 0.5, 1e-4, 1e-4]])
    path = model.Path(step, gamma, np.zeros_like(gamma))
    at = fate.crossing(path, 1e-2)
    assert at[0] == pytest.approx(15) and np.isinf(at[1]) and at[2] == pytest.approx(10, abs=1e-6)
    assert at[3] == 0


def test_a_filter_that_is_expected_earlier_is_likelier_gone():
    one, settings_ = record((6, 6)), chosen(lam=3e-2)
    start, course, _ = run_model(one, settings_)
    grid = model.grid(start.step, 1000, beyond=fate.BEYOND)
    path = model.evolve(start, course, settings_, at=grid)
    u = fate.lateness(path, settings_.scale)
    by_path = fate.ALONE._replace(path=1.0, later=0.0, quiet=0.0, into=0.0)
    found = fate.worn_down(path, start, settings_.scale, by_path)
    for one_layer in (one.layer == 0, one.layer == 1):
        order = np.argsort(u[one_layer])
        assert np.all(np.diff(found.p[one_layer][order]) >= 0)
    ok = np.isfinite(found.t_median)
    assert np.all(found.t_lo[ok] <= found.t_median[ok])
    assert np.all(found.t_median[ok] <= found.t_hi[ok])


def test_copies_differ_only_by_their_luck():
    one, settings_ = record((6, 10), seed=5), chosen(lam=3e-2)
    start, course, _ = run_model(one, settings_)
    calm = model.DEFAULT._replace(shown=0.0, wander=1e-30)
    found = stochastic.worn_down(start, course, settings_, copies=3, constants=calm)
    grid = model.grid(start.step, 1000)
    mean = model.evolve(start, course, settings_, at=grid, constants=calm).gamma[-1]
    assert np.array_equal(found.dead, np.tile(mean < 1e-3, (3, 1)))
    lucky = stochastic.worn_down(start, course, settings_, copies=40)
    again = stochastic.worn_down(start, course, settings_, copies=40)
    assert np.array_equal(lucky.dead, again.dead)  # the seed's
    assert lucky.total.shape == (40,) and np.all((lucky.p >= 0) & (lucky.p <= 1))


# Records -----------------------------------------------------------------------------------------


def test_a_dataset_is_read_as_it_is():
    one = record()
    again = read(dataset(one))
    for name, value in one._asdict().items():
        assert np.array_equal(getattr(again, name), value), name


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda d: d.drop_vars("grad_out2"), "has no grad_out2"),
        (lambda d: d.assign_coords(step=d.step + 1), "ascend from 0"),
        (lambda d: d.assign(gamma=d.gamma * np.nan), "gamma of the record is not finite"),
        (lambda d: d.assign(var=d["var"].isel(step=0)), "var of the record must have the dim"),
    ],
)
def test_a_wrong_record_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        read(change(dataset(record())))


def test_what_became_of_filters():
    gamma = np.ones((51, 3))
    gamma[26:, 1] = 5e-4  # step 520
    gamma[40:, 2] = -5e-3
    one = record((3,), gamma=gamma)
    assert dead(one).tolist() == [False, True, False]
    assert smoothed(one)[26, 1] == pytest.approx((1 + 1 + 5e-4) / 3)  # of the last 50 steps
    assert collapse_step(one).tolist() == [np.inf, 560.0, 840.0]


def test_decay_rates_are_the_regularisers_own():
    law = law_for("sgd", "l2", 5e-3)
    assert law.folds[1] == pytest.approx(regularizers.decay_rate("l2", 5e-3, rules.SGD()))


def test_lions_step_is_never_longer_than_its_rate():
    hp, mean = rules.Lion(), np.array([0.0, 1e-3, 1.0])
    memory = preconditioner.begin(hp, np.full((2, 3), 1e-4), np.full(2, 20), 1e-4 + mean**2)
    assert np.all(preconditioner.gain(hp, memory, mean) * mean <= 1)
    assert preconditioner.gain(hp, memory, mean)[2] * mean[2] == pytest.approx(1, rel=1e-2)
