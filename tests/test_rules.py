"""Every rule against its naive twin, against torch.optim, against itself, and its identities."""

import copy
import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regdyn import replay, rules
from regdyn.regularizers import schedule_factors
from regdyn.rules import FLAVOURS, RULES, SGD, Adadelta, Adagrad, Adam, AMSGrad, Lion, RMSprop

from . import naive

STEPS = 400
FIXED = [
    SGD(), SGD(momentum=0.0), SGD(nesterov=True), Adam(), Adam(beta2=0.999), AMSGrad(),
    AMSGrad(flavour="optax"), AMSGrad(flavour="original"), Adagrad(), Adadelta(), RMSprop(), Lion(),
]  # fmt: skip
IN_TORCH = [h for h in FIXED if type(h) is not Lion and getattr(h, "flavour", "torch") == "torch"]
every_rule = pytest.mark.parametrize("hp", FIXED, ids=str)


def power_of_ten(low, high):
    return st.floats(low, high).map(lambda x: 10.0**x)


unit = st.floats(0.0, 0.9999)
rate, eps = power_of_ten(-4, 0), power_of_ten(-10, -2)
# Under l2 without gradient Adam ends in a cycle around 0 that can be chaotic: there no two ways of
# rounding agree for long. From theta = 1 it does not get there in 400 steps of about 0.002 each.
slow = power_of_ten(-4, math.log10(0.002))
DRAWN = {
    "sgd": st.builds(SGD, rate, st.floats(0.01, 0.99), st.booleans()),
    "adam": st.builds(Adam, slow, unit, unit, eps),
    "amsgrad": st.builds(AMSGrad, slow, unit, unit, eps, st.sampled_from(FLAVOURS)),
    "adagrad": st.builds(Adagrad, rate, eps),
    "adadelta": st.builds(Adadelta, rate, unit, eps),
    "rmsprop": st.builds(RMSprop, rate, unit, eps),
    "lion": st.builds(Lion, rate, unit, unit),
}
lams = power_of_ten(-6, -0.5)
sizes = power_of_ten(-6, 6)
gradients = st.lists(st.builds(math.copysign, sizes, st.sampled_from([-1, 1])), min_size=1)


def eight_kinds(steps=STEPS):
    """Gradients of eight kinds, one a column."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((steps, 8))
    z[:, 0] = 0.0
    z[:, 1] *= 1e-30  # tiny
    z[:, 2] *= 1e6  # huge
    z[:, 3] *= np.where(np.arange(steps) < 100, 1e-3, 1e-5)  # the paper's
    z[:, 4] = 1e-3 * (-1.0) ** np.arange(steps)  # a new sign at every step
    z[:, 5] *= 10 ** rng.uniform(-30, 6, steps)  # all scales mixed
    z[:, 6] += 0.5  # with a mean
    z[:, 7] *= rng.random(steps) < 0.05  # intermittent
    return z


@pytest.fixture(scope="module")
def tape():
    return eight_kinds()


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def start(reg):
    """Steps of any size are seen from 0; a regulariser needs something to decay."""
    return 0.0 if reg == "none" else 1.0


def assert_same(ours, theirs):
    """|difference| <= 1e-12 of the largest |theta| so far."""
    largest = np.maximum.accumulate(np.abs(theirs), axis=0)
    assert np.max(np.abs(ours - np.array(theirs)) - 1e-12 * largest) <= 0  # NaN fails


# Witnesses: the naive twin and torch.optim -------------------------------------------------------


def check_naive(tape, hp, reg, lam):
    theirs = naive.run_lanes(rules.name_of(hp), tape.tolist(), reg, lam, start(reg), **hp._asdict())
    assert_same(replay(tape, hp, reg, lam, start(reg)), theirs)


@pytest.mark.parametrize("reg", ["none", "l2"])
@every_rule
def test_equals_naive_twin(hp, reg, tape):
    check_naive(tape, hp, reg, 1e-2)


@pytest.mark.parametrize("rule", DRAWN)
@settings(max_examples=20)
@given(data=st.data(), lam=lams, reg=st.sampled_from(["none", "l2"]))
def test_equals_naive_twin_for_any_hyper_parameters(rule, data, lam, reg, tape):
    check_naive(tape, data.draw(DRAWN[rule]), reg, lam)


def in_torch(torch, hp, reg="none"):
    """Torch's class, and its names for our hyper-parameters."""
    kwargs = hp._asdict()
    if not isinstance(hp, Adam | AMSGrad):
        return getattr(torch.optim, type(hp).__name__), kwargs
    kwargs["betas"] = kwargs.pop("beta1"), kwargs.pop("beta2")
    kwargs["amsgrad"] = kwargs.pop("flavour", None) == "torch"
    return torch.optim.AdamW if reg == "adamw" else torch.optim.Adam, kwargs


def check_torch(torch, tape, hp, reg, lam, schedule="constant"):
    theta = torch.full(tape.shape[1:], start(reg), dtype=torch.float64)
    kind, kwargs = in_torch(torch, hp, reg)
    optimizer = kind([theta], weight_decay=0.0 if reg == "none" else lam, **kwargs)
    theirs = [theta.numpy().copy()]
    factors = schedule_factors(schedule, len(tape))
    for scale, grad in zip(factors, torch.from_numpy(tape), strict=True):
        optimizer.param_groups[0]["lr"] = hp.lr * float(scale)
        theta.grad = grad
        optimizer.step()
        theirs.append(theta.numpy().copy())
    assert_same(replay(tape, hp, reg, lam, start(reg), schedule=schedule), theirs)


def torch_regs(hp):
    return ["none", "l2", "adamw"] if isinstance(hp, Adam | AMSGrad) else ["none", "l2"]


@pytest.mark.parametrize("schedule", ["constant", "paper", "cosine"])
@pytest.mark.parametrize("hp", IN_TORCH, ids=str)
def test_equals_torch_optim(hp, schedule, tape, torch):
    for reg in torch_regs(hp):
        check_torch(torch, tape, hp, reg, 1e-2, schedule)


@pytest.mark.parametrize("rule", [rule for rule in DRAWN if rule != "lion"])
@settings(max_examples=20)
@given(data=st.data(), lam=lams)
def test_equals_torch_optim_for_any_hyper_parameters(rule, data, lam, tape, torch):
    hp = data.draw(DRAWN[rule])
    hp = hp._replace(flavour="torch") if rule == "amsgrad" else hp
    check_torch(torch, tape, hp, data.draw(st.sampled_from(torch_regs(hp))), lam)


# One source for floats, arrays and tensors --------------------------------------------------------


def run(hp, grads, theta):
    """(delta, *state) of each step, by the loop of the module's docstring, under l2."""
    state = rules.init(theta, hp)
    for t, grad in enumerate(grads, start=1):
        delta, state = RULES[rules.name_of(hp)].step(
            grad + 1e-2 * theta, state, hp, rules.coef(hp, t)
        )
        theta = theta - delta
        yield delta, *state


@every_rule
def test_floats_and_arrays_give_the_same_bits(hp, tape):
    arrays = list(run(hp, tape.reshape(-1, 2, 4), np.ones((2, 4))))
    floats = [list(run(hp, column, 1.0)) for column in tape.T.tolist()]
    assert np.array_equal(np.moveaxis(floats, 0, -1), np.reshape(arrays, (STEPS, -1, 8)))


@every_rule
def test_tensors_take_the_same_step(hp, tape, torch):
    """To 1e-15: torch's vectorised square root may be off by one in the last place."""
    step, state = RULES[rules.name_of(hp)].step, rules.init(tape[0], hp)
    for t, grad in enumerate(tape, start=1):
        coef, before = rules.coef(hp, t), state._make(map(torch.from_numpy, state))
        delta, state = step(grad, state, hp, coef)
        theirs = step(torch.from_numpy(grad), before, hp, coef)
        for a, b in zip((delta, *state), (theirs[0], *theirs[1]), strict=True):
            np.testing.assert_allclose(b.numpy(), a, rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_rule
def test_shape_and_dtype_stay_and_inputs_are_not_modified(hp, dtype, torch):
    array = np.linspace(-1, 1, 6, dtype=dtype).reshape(2, 1, 3)
    for x in (array, torch.from_numpy(array)):
        state = rules.init(x, hp)._make(x * x + k for k in range(len(rules.init(x, hp))))
        given = copy.deepcopy((x, *state))
        delta, new = RULES[rules.name_of(hp)].step(x, state, hp, rules.coef(hp, 7))
        for part in (delta, *new, *rules.init(x, hp)):
            assert (type(part), part.dtype, part.shape) == (type(x), x.dtype, x.shape)
        assert all(bool((a == b).all()) for a, b in zip(given, (x, *state), strict=True))


@pytest.mark.parametrize("name", ["sqrt", "sign", "maximum"])
def test_helpers_agree_on_special_values(name, torch):
    values = [0.0, 2.25, -3.0, math.inf, math.nan]
    rows = [(a, b) for a in values for b in values] if name == "maximum" else [(a,) for a in values]
    function, columns = getattr(rules, name), np.array(rows).T
    floats = [function(*row) for row in rows]
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(function(*columns), floats)
    np.testing.assert_array_equal(function(*torch.from_numpy(columns)).numpy(), floats)


# Identities --------------------------------------------------------------------------------------


def deltas(hp, grads):
    """Steps from theta = 0 without regulariser, an array (steps, 1 + number of state entries)."""
    step, state, rows = RULES[rules.name_of(hp)].step, rules.init(0.0, hp), []
    for t, grad in enumerate(grads, start=1):
        delta, state = step(grad, state, hp, rules.coef(hp, t))
        rows.append((delta, *state))
    return np.array(rows)


@given(gradients, rate, st.booleans())
def test_sgd_without_momentum_steps_lr_times_gradient(grads, lr, nesterov):
    assert np.array_equal(deltas(SGD(lr, 0.0, nesterov), grads)[:, 0], lr * np.array(grads))


@given(gradients, st.floats(1e-4, 0.5), st.floats(0.0, 0.9))
def test_nesterov_is_the_lookahead_of_sutskever(grads, lr, mu):
    """v <- mu v - lr g, theta <- theta + v, with g taken at, and theta seen from, theta + mu v."""
    theta, v, seen = 0.0, 0.0, [0.0]
    for grad in grads:
        v = mu * v - lr * grad
        theta += v
        seen.append(theta + mu * v)
    assert_same(replay(grads, SGD(lr, mu, True), "none", 0.0, 0.0), seen)


@given(gradients, rate)
def test_adam_without_memory_and_eps_steps_the_sign(grads, lr):
    steps = deltas(Adam(lr, 0.0, 0.0, 0.0), grads)[:, 0]
    np.testing.assert_allclose(steps, lr * np.sign(grads), rtol=1e-15)  # two roundings


@pytest.mark.parametrize("rule", ["adam", "amsgrad", "adagrad", "rmsprop", "lion"])
@given(data=st.data(), grads=gradients, k=st.integers(-40, 40))
def test_scale_of_the_gradient_does_not_matter_at_zero_eps(rule, data, grads, k):
    """The same bits, as the scale is a power of two."""
    hp = data.draw(DRAWN[rule])
    hp = hp._replace(eps=0.0) if hasattr(hp, "eps") else hp
    scaled = deltas(hp, np.ldexp(grads, k).tolist())[:, 0]
    assert np.array_equal(scaled, deltas(hp, grads)[:, 0])


@given(st.one_of(*DRAWN.values()), gradients)
def test_mirrored_gradients_mirror_the_steps(hp, grads):
    assert np.array_equal(deltas(hp, [-g for g in grads])[:, 0], -deltas(hp, grads)[:, 0])


@given(DRAWN["amsgrad"], gradients)
def test_largest_v_of_amsgrad_never_falls(hp, grads):
    assert np.all(np.diff(deltas(hp, grads)[:, -1], prepend=0.0) >= 0)


@pytest.mark.parametrize("flavour", ["torch", "optax"])
@given(grads=gradients, lr=slow, beta1=unit, beta2=st.floats(0.0, 0.99))
def test_amsgrad_is_adam_while_v_grows(flavour, grads, lr, beta1, beta2):
    """To the rounding by which v may fall all the same: 1 - beta2^t has 14 digits, or more."""
    grads = sorted(grads, key=abs)
    theirs = deltas(Adam(lr, beta1, beta2), grads)[:, 0]
    ours = deltas(AMSGrad(lr, beta1, beta2, flavour=flavour), grads)[:, 0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)


@given(DRAWN["adadelta"], gradients)
def test_learning_rate_of_adadelta_only_multiplies_its_steps(hp, grads):
    scaled, unscaled = deltas(hp, grads), deltas(hp._replace(lr=1.0), grads)
    assert np.array_equal(scaled, unscaled * [hp.lr, 1, 1])


@given(st.lists(st.floats(-1e-10, 1e-10), min_size=1), unit)
def test_adadelta_is_plain_sgd_where_gradients_are_far_below_eps(grads, rho):
    """sqrt((X + eps) / (v + eps)) is 1 to about g^2 / eps <= 1e-20 / 1e-6."""
    ours = deltas(Adadelta(rho=rho), grads)[:, 0]
    np.testing.assert_allclose(ours, np.array(grads), rtol=1e-13, atol=0)


@given(DRAWN["lion"], st.lists(st.just(0.0) | sizes | sizes.map(lambda x: -x), min_size=1))
def test_lion_steps_lr_or_not_at_all(hp, grads):
    assert set(deltas(hp, grads)[:, 0]) <= {-hp.lr, 0.0, hp.lr}


@pytest.mark.parametrize("steps", [1, 137])
@every_rule
def test_longer_run_begins_with_the_shorter(hp, steps, tape):
    short, long = replay(tape[:steps], hp, "l2", 1e-2), replay(tape, hp, "l2", 1e-2)
    assert np.array_equal(short, long[: steps + 1])


# Presets and registry -----------------------------------------------------------------------------

PAPER = {  # section 2.1; rmsprop, amsgrad and the eps of adagrad are ours, lion has its own paper
    "sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": False},
    "adam": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
    "amsgrad": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "flavour": "torch"},
    "adagrad": {"lr": 1e-2, "eps": 1e-10},
    "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
    "rmsprop": {"lr": 1e-3, "alpha": 0.99, "eps": 1e-8},
    "lion": {"lr": 1e-4, "beta1": 0.9, "beta2": 0.99},
}


def test_paper_preset_is_the_default_and_the_papers_numbers():
    assert {name: rules.resolve(name)._asdict() for name in RULES} == PAPER
    assert all(rules.resolve(name) == rule.hyper() for name, rule in RULES.items())


@pytest.mark.parametrize("rule", [rule for rule in PAPER if rule != "lion"])
def test_torch_preset_is_torchs_own_defaults(rule, torch):
    kind, ours = in_torch(torch, rules.resolve(rule, "torch"))
    theirs = {k: p.default for k, p in inspect.signature(kind).parameters.items()}
    if rule == "amsgrad":
        theirs["amsgrad"] = True
    assert {k: theirs[k] for k in ours} == ours


@every_rule
def test_hyper_parameters_know_their_name_and_become_plain_numbers(hp):
    given = hp._replace(**{f: np.float64(x) for f, x in hp._asdict().items() if type(x) is float})
    resolved = rules.resolve(given, "torch")
    assert resolved == hp
    assert [type(x) for x in resolved] == [type(x) for x in hp]
    assert rules.name_of(resolved) == type(hp).__name__.lower()


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("Adm", "unknown rule 'Adm': did you mean 'adam'? Allowed: sgd, adam,"),
        ("zzz", "unknown rule 'zzz': Allowed: sgd, adam,"),
        (None, "not a rule: None. Give a name (sgd, adam,"),
        ((0.1, 0.9, False), "not a rule: (0.1, 0.9, False)."),
        (AMSGrad(flavour="torsh"), "unknown AMSGrad flavour 'torsh': did you mean 'torch'?"),
        (SGD(nesterov=1), "nesterov of sgd must be True or False, not 1."),
        (SGD(lr="0.1"), "lr of sgd must be a finite number >= 0, not '0.1'."),
        (Adam(beta2=1), "beta2 of adam must be a finite number >= 0 and < 1, not 1."),
    ],
)
def test_bad_rule_gets_a_sentence(rule, sentence):
    with pytest.raises(ValueError) as error:
        rules.resolve(rule)
    assert str(error.value).startswith(sentence)


def test_bad_preset_gets_a_sentence():
    with pytest.raises(ValueError, match="unknown preset 'torhc': did you mean 'torch'"):
        rules.resolve("adam", "torhc")


@pytest.mark.parametrize("call", [rules.init, rules.coef])
def test_only_hyper_parameters_are_initialised(call):
    with pytest.raises(ValueError, match="not a rule: 'adam'"):
        call(*((1.0, "adam") if call is rules.init else ("adam", 1)))


@given(st.sampled_from(FIXED), st.data())
def test_hyper_parameter_out_of_range_is_named(hp, data):
    numbers = [f for f in hp._fields if f not in ("nesterov", "flavour")]
    field = data.draw(st.sampled_from(numbers))
    bad = st.floats(max_value=-1e-300) | st.sampled_from([math.nan, math.inf, True, "1", None])
    above = st.nothing() if field in ("lr", "eps") else st.floats(min_value=1.0)
    with pytest.raises(ValueError, match=f"^{field} of {rules.name_of(hp)} must be a finite "):
        rules.resolve(hp._replace(**{field: data.draw(bad | above)}))
