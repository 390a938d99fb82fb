"""Where lambda enters, schedules, conversions between conventions, and half-lives."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regdyn import convert, half_life, replay, rules
from regdyn.regularizers import (
    REGULARIZERS,
    Conversion,
    Cosine,
    StepDecay,
    check_strength,
    decay,
    schedule_factors,
    strength,
)
from regdyn.rules import SGD, Adam, AMSGrad

from . import naive
from .test_rules import FIXED, assert_same, eight_kinds, power_of_ten

PLAIN, HEAVY, NESTEROV = SGD(0.1, 0.0), SGD(0.1, 0.9), SGD(0.1, 0.9, True)


@pytest.fixture(scope="module")
def tape():
    return eight_kinds(200)


# What each regulariser means ----------------------------------------------------------------------


def every_pair(*axes):
    """All combinations; by default a third of them, in which every pair of values occurs."""
    return [
        pytest.param(
            *(x for _, x in at), marks=[pytest.mark.slow] * (sum(i for i, _ in at) % 3 > 0)
        )
        for at in product(*map(enumerate, axes))
    ]


SCHEDULES = ["constant", "paper", "cosine"]


@pytest.mark.parametrize(
    ("hp", "reg", "schedule"), every_pair(FIXED, REGULARIZERS, SCHEDULES), ids=str
)
def test_equals_naive_twin_under_a_schedule(hp, reg, schedule, tape):
    factors = schedule_factors(schedule, len(tape)).tolist()
    fields = {**hp._asdict(), "schedule": factors}
    theirs = naive.run_lanes(rules.name_of(hp), tape.tolist(), reg, 1e-2, 1.0, **fields)
    assert_same(replay(tape, hp, reg, 1e-2, schedule=schedule), theirs)


@pytest.mark.parametrize(
    ("reg", "expected"),
    [
        ("none", (0.0, 1.0, 1.0)),
        ("l2", (0.2, 1.0, 1.0)),
        ("wd", (0.0, 1.0, 1 - 0.2 * 0.1)),
        ("adamw", (0.0, 1 - 0.2 * 0.1 * 0.5, 1.0)),
    ],
)
def test_decay_puts_the_strength_into_its_place(reg, expected):
    """Strength 0.2, learning rate 0.5, schedule at 0.1; l2, before, after."""
    assert decay(strength(reg, 0.2), 0.5, 0.1) == pytest.approx(expected, rel=1e-15)
    arrays = decay(strength(reg, np.array([0.2, 0.0])), 0.5, 0.1)
    parts = [np.broadcast_to(part, 2) for part in arrays]
    np.testing.assert_allclose(parts, np.transpose([expected, (0, 1, 1)]), rtol=1e-15)


@pytest.mark.parametrize(
    ("reg", "lam", "sentence"),
    [
        ("L2", 0.1, "unknown regulariser 'L2': did you mean 'l2'?"),
        ("l2", -1e-9, "strength lambda must be a finite number >= 0, not -1e-09."),
        ("none", math.nan, "strength lambda must be a finite number >= 0, not nan."),
        ("l2", math.inf, "strength lambda must be a finite number >= 0, not inf."),
        ("l2", "1e-4", "strength lambda must be a finite number >= 0, not '1e-4'."),
        ("wd", 1.0, "strength lambda must be < 1 under wd, not 1."),
        ("adamw", 1000, "lr * lambda must be < 1 under adamw, not 0.001 * 1000 = 1."),
    ],
)
def test_bad_strength_gets_a_sentence(reg, lam, sentence):
    for call in (lambda: check_strength(reg, lam, Adam()), lambda: half_life(reg, lam)):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(("reg", "lam"), [("l2", 1e6), ("wd", 0.999), ("adamw", 999), ("none", 7)])
def test_strength_in_range_is_returned_as_a_float(reg, lam):
    checked = check_strength(reg, lam, Adam())
    assert (checked, type(checked)) == (lam, float)


# Schedules ---------------------------------------------------------------------------------------


def test_papers_schedule_is_a_tenth_after_250_of_325():
    assert schedule_factors("paper", 325).tolist() == [1.0] * 250 + [0.1] * 75


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, [1, 1, 1, 1]),
        ("constant", [1, 1, 1, 1]),
        (StepDecay((0.75, 0.25), 0.5), [1, 0.5, 0.5, 0.25]),
        (StepDecay((0.0, 1.0), 0.5), [0.5, 0.5, 0.5, 0.5]),
        (StepDecay((0.5, 0.5), 0.5), [1, 1, 0.25, 0.25]),
        (StepDecay((), 0.5), [1, 1, 1, 1]),
        ("cosine", [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]),
        (Cosine(0.2), [1, 0.6 + 0.8 * math.sqrt(0.125), 0.6, 0.6 - 0.8 * math.sqrt(0.125)]),
        ([1, 0, 2, 0.5], [1, 0, 2, 0.5]),
    ],
)
def test_schedule_has_these_factors(schedule, expected):
    factors = schedule_factors(schedule, 4)
    assert factors.dtype == float
    np.testing.assert_allclose(factors, expected, rtol=1e-15)


def test_schedule_array_is_copied():
    given = np.ones(3)
    schedule_factors(given, 3)[:] = 0
    assert given.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        ("cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
        (StepDecay((1.5,)), "boundary must be a finite number >= 0 and <= 1, not 1.5."),
        (StepDecay(factor=-1), "factor of a StepDecay must be a finite number >= 0, not -1."),
        (Cosine(math.nan), "final of a Cosine must be a finite number >= 0, not nan."),
        ([1, 1, 1], "a schedule given as an array needs shape (4,)"),
        (np.ones((4, 1)), "a schedule given as an array needs shape (4,)"),
        ([1, 1, 1, -1], "a schedule given as an array needs shape (4,) and entries >= 0"),
        ([1, 1, 1, math.nan], "schedule must be finite and not empty, not [1, 1, 1, nan]."),
    ],
)
def test_bad_schedule_gets_a_sentence(schedule, sentence):
    with pytest.raises(ValueError) as error:
        schedule_factors(schedule, 4)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("steps", [0, -1, 2.0, True])
def test_schedule_needs_whole_steps(steps):
    with pytest.raises(ValueError, match="steps must be a whole number >= 1"):
        schedule_factors("paper", steps)


# Conversions -------------------------------------------------------------------------------------


def scaled(hp, factor):
    return hp._replace(lr=hp.lr * factor)


@pytest.mark.parametrize("pair", [("wd", "adamw"), ("adamw", "wd")])
@pytest.mark.parametrize("hp", FIXED, ids=str)
def test_wd_and_adamw_convert_exactly(hp, pair, tape):
    lam = 1e-3 / (hp.lr if pair[0] == "adamw" else 1)
    to = convert(lam, *pair, rule=hp)
    assert to.kind == "exact"
    theirs = replay(tape, scaled(hp, to.lr_factor), pair[1], to.strength)
    assert_same(theirs, replay(tape, hp, pair[0], lam))


@pytest.mark.parametrize("pair", [("l2", "wd"), ("wd", "l2"), ("l2", "adamw"), ("adamw", "l2")])
@pytest.mark.parametrize("hp", [PLAIN, SGD(0.5, 0.0, True)], ids=str)
def test_l2_of_plain_sgd_converts_exactly(hp, pair, tape):
    to = convert(1e-2, *pair, rule=hp)
    assert to.kind == "exact"
    theirs = replay(tape, scaled(hp, to.lr_factor), pair[1], to.strength)
    assert_same(theirs, replay(tape, hp, pair[0], 1e-2))


@pytest.mark.parametrize("pair", [("l2", "adamw"), ("adamw", "l2")])
def test_l2_is_adamw_under_plain_sgd_and_any_schedule(pair, tape):
    to = convert(1e-2, *pair, rule=PLAIN, schedule="cosine")
    assert to == Conversion(pytest.approx(1e-2, rel=1e-14), 1.0, "exact")
    theirs = replay(tape, PLAIN, pair[1], to.strength, schedule="cosine")
    assert_same(theirs, replay(tape, PLAIN, pair[0], 1e-2, schedule="cosine"))


def late_decay(hp, reg, lam, steps=600):
    """-ln of what a step leaves of theta without gradient, over the last 100 steps."""
    theta = replay(np.zeros(steps), hp, reg, lam)
    return math.log(theta[-101] / theta[-1]) / 100


def differ(a, b):
    """Whether two trajectories differ by far more than rounding."""
    return np.max(np.abs(a - b)) > 1e-6 * np.max(np.abs(a))


@pytest.mark.parametrize("hp", [HEAVY, NESTEROV, SGD(0.01, 0.5)], ids=str)
@pytest.mark.parametrize("pair", [("l2", "wd"), ("wd", "l2"), ("l2", "adamw"), ("adamw", "l2")])
def test_l2_under_momentum_converts_in_rate_only(hp, pair, tape):
    """By step 500 the fast root is gone: below (0.92 / 0.99)^500 < 1e-15."""
    lam = 1e-3 / hp.lr if pair[0] == "adamw" else 1e-3
    to = convert(lam, *pair, rule=hp)
    assert (to.kind, to.lr_factor) == ("rate_only", 1.0)
    rates = late_decay(hp, pair[1], to.strength), late_decay(hp, pair[0], lam)
    assert rates[0] == pytest.approx(rates[1], rel=1e-10)
    assert differ(replay(tape, hp, pair[1], to.strength), replay(tape, hp, pair[0], lam))


@pytest.mark.parametrize("schedule", ["paper", "step", "cosine", StepDecay(), Cosine(0.1)])
@pytest.mark.parametrize("pair", [("wd", "adamw"), ("adamw", "wd")])
@pytest.mark.parametrize("hp", [HEAVY, Adam()], ids=str)
def test_wd_and_adamw_convert_in_rate_only_under_a_schedule(hp, pair, schedule, tape):
    """Without gradient the same theta at every step; with gradients not."""
    lam = 1e-3 / hp.lr if pair[0] == "adamw" else 1e-3
    to = convert(lam, *pair, rule=hp, schedule=schedule)
    assert (to.kind, to.lr_factor) == ("rate_only", 1.0)
    old, new = (
        lambda grads, reg=reg, x=x: replay(grads, hp, reg, x, schedule=schedule)
        for reg, x in zip(pair, (lam, to.strength), strict=True)
    )
    assert_same(new(0 * tape), old(0 * tape))
    assert differ(new(tape), old(tape))


@pytest.mark.parametrize("schedule", [np.linspace(1, 0, 9), [1.0, 0.5]])
def test_schedule_given_as_an_array_converts_in_rate_only(schedule):
    assert convert(1e-4, "wd", "adamw", schedule=schedule).kind == "rate_only"


def test_adamw_with_the_papers_number_is_a_thousand_times_too_weak():
    """The trap: AdamW(weight_decay=1e-4) at lr 1e-3 is not the paper's weight decay 1e-4."""
    to = convert(1e-4, "wd", "adamw", rule="adam", schedule="paper")
    assert to.strength == pytest.approx(0.1, rel=1e-15)
    torch = pytest.importorskip("torch")
    theta = torch.ones(1, dtype=torch.float64)
    optimizer = torch.optim.AdamW([theta], lr=1e-3, weight_decay=1e-4)
    theta.grad = torch.zeros_like(theta)
    for _ in range(100):
        optimizer.step()
    paper = replay(np.zeros(100), "adam", "wd", 1e-4)[-1]
    factor = math.log(paper) / math.log(theta.item())
    assert factor == pytest.approx(1000, rel=1e-4)  # -ln(1 - 1e-4) = 1e-4 (1 + 5e-5)
    assert half_life("adamw", 1e-4) / half_life("wd", 1e-4) == pytest.approx(factor, rel=1e-8)


@pytest.mark.parametrize("reg", REGULARIZERS)
@pytest.mark.parametrize("hp", FIXED, ids=str)
def test_same_convention_and_strength_zero_convert_to_themselves(hp, reg):
    assert convert(0.3, reg, reg, rule=hp) == Conversion(0.3, 1.0, "exact")
    for to in REGULARIZERS:
        assert convert(0.0, reg, to, rule=hp, schedule="paper") == Conversion(0.0, 1.0, "exact")


NO_L2 = "l2 under {} has no equivalent strength: the rule divides lambda * theta by the size"


@pytest.mark.parametrize(
    ("args", "options", "sentence"),
    [
        ((1e-4, "l2", "wd"), {}, NO_L2.format("adam")),
        ((1e-4, "adamw", "l2"), {"rule": "adagrad"}, NO_L2.format("adagrad")),
        ((1e-4, "l2", "adamw"), {"rule": AMSGrad()}, NO_L2.format("amsgrad")),
        ((1e-4, "wd", "none"), {}, "wd with strength 0.0001 has no equivalent under none."),
        ((0.3, "wd", "l2"), {"rule": HEAVY}, "no l2 under momentum 0.9 decays as fast as 0.3"),
        ((20, "l2", "wd"), {"rule": HEAVY}, "l2 with lr * lambda = 2 and momentum 0.9 oscillates"),
        ((20, "l2", "wd"), {"rule": PLAIN}, "l2 with lr * lambda = 2 and momentum 0 oscillates"),
        ((1, "wd", "adamw"), {}, "strength lambda must be < 1 under wd, not 1."),
        ((5, "adamw", "wd"), {"lr": 0.2}, "lr * lambda must be < 1 under adamw, not 0.2 * 5 = 1."),
        ((-1, "wd", "adamw"), {}, "strength lambda must be a finite number >= 0, not -1."),
        ((1e-4, "wd", "adam"), {}, "unknown regulariser 'adam': did you mean 'adamw'?"),
        ((1e-4, "wd", "adamw"), {"rule": "adma"}, "unknown rule 'adma': did you mean 'adam'?"),
        ((1e-4, "wd", "adamw"), {"lr": 0}, "lr must be a finite number > 0, not 0."),
        ((1e-4, "wd", "adamw"), {"schedule": "papr"}, "unknown schedule 'papr': did you mean"),
    ],
)
def test_what_does_not_convert_says_why(args, options, sentence):
    with pytest.raises(ValueError) as error:
        convert(*args, **options)
    assert str(error.value).startswith(sentence)


def there_and_back(lam, pair, hp):
    """Both conversions, checked to undo each other and to keep the half-life."""
    to = convert(lam, *pair, rule=hp)
    new = scaled(hp, to.lr_factor)
    back = convert(to.strength, *pair[::-1], rule=new)
    # 1e-10: the slow root of momentum 0.99 is known to about 1e-16 / (1 - 0.99)^2
    assert back.strength == pytest.approx(lam, rel=1e-10)
    assert to.lr_factor * back.lr_factor == pytest.approx(1, rel=1e-14)
    kept = half_life(pair[1], to.strength, rule=new) / half_life(pair[0], lam, rule=hp)
    assert kept == pytest.approx(1, rel=1e-10)
    assert to.kind == back.kind
    return to.kind


@given(
    st.sampled_from(FIXED),
    power_of_ten(-5, 0),
    power_of_ten(-8, -0.4),
    st.sampled_from([("wd", "adamw"), ("adamw", "wd")]),
)
def test_round_trip_between_wd_and_adamw(hp, lr, share, pair):
    lam = share / lr if pair[0] == "adamw" else share
    assert there_and_back(lam, pair, hp._replace(lr=lr)) == "exact"
    assert convert(lam, *pair, rule=hp, lr=lr) == convert(lam, *pair, rule=hp._replace(lr=lr))


@given(
    st.builds(SGD, power_of_ten(-3, 0), st.just(0.0) | st.floats(0.01, 0.99), st.booleans()),
    power_of_ten(-6, -0.4),
    st.sampled_from([("l2", "wd"), ("wd", "l2"), ("l2", "adamw"), ("adamw", "l2")]),
)
def test_round_trip_with_l2_under_sgd(hp, share, pair):
    """Up to 0.4 of the rate 1 - sqrt(momentum) from which on l2 oscillates."""
    share *= 1 - math.sqrt(hp.momentum)
    lam = share if pair[0] == "wd" else convert(share, "wd", pair[0], rule=hp).strength
    assert there_and_back(lam, pair, hp) == ("rate_only" if hp.momentum else "exact")


# Half-lives --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reg", "share"), [("wd", 1e-3), ("adamw", 1e-3), ("wd", 0.5)])
@pytest.mark.parametrize("hp", FIXED, ids=str)
def test_half_life_is_that_of_the_mean_under_mirrored_gradients(hp, reg, share, tape):
    lam = share / hp.lr if reg == "adamw" else share
    pair = replay(tape, hp, reg, lam), replay(-tape, hp, reg, lam)
    largest = np.maximum.accumulate(np.abs(pair[0]))
    mean = 0.5 ** (np.arange(len(tape) + 1) / half_life(reg, lam, rule=hp))[:, None]
    assert np.max(np.abs((pair[0] + pair[1]) / 2 - mean) - 1e-12 * largest) <= 0


@pytest.mark.parametrize("lam", [1e-4, 1e-2])
@pytest.mark.parametrize("hp", [PLAIN, HEAVY, NESTEROV, SGD(0.01, 0.5)], ids=str)
def test_half_life_under_l2_is_the_late_one_without_gradient(hp, lam):
    simulated = math.log(2) / late_decay(hp, "l2", lam)
    # the logarithm of theta, known to 1e-16 per step, falls by lr lambda / (1 - momentum) in each
    assert half_life("l2", lam, rule=hp) == pytest.approx(simulated, rel=1e-15 / (hp.lr * lam))


@pytest.mark.parametrize(
    ("args", "options", "steps"),
    [
        (("wd", 0.5), {}, 1.0),
        (("wd", 1e-4), {"rule": "lion"}, 6931.1),
        (("adamw", 0.1), {}, 6931.1),
        (("adamw", 0.1), {"lr": 1e-2}, 692.8),
        (("adamw", 0.1), {"lr": 0}, math.inf),
        (("l2", 1e-4), {"rule": SGD(0.1, 0.0)}, 69314.4),
        (("none", 1e-4), {}, math.inf),
        (("l2", 0), {}, math.inf),
    ],
)
def test_half_life_in_steps(args, options, steps):
    assert half_life(*args, **options) == pytest.approx(steps, rel=1e-5)


@pytest.mark.parametrize(
    ("args", "options", "sentence"),
    [
        (("l2", 1e-4), {}, "l2 under adam has no constant rate: it depends on the gradient's size"),
        (("l2", 20), {"rule": HEAVY}, "l2 with lr * lambda = 2 and momentum 0.9 oscillates"),
        (("l2", 20), {"rule": NESTEROV}, "l2 with lr * lambda = 2 and momentum 0.9 oscillates"),
        (("adamw", 0.1), {"lr": -1}, "lr must be a finite number >= 0, not -1."),
        (("wd", 1e-4), {"rule": Adam(beta1=1)}, "beta1 of adam must be a finite number"),
    ],
)
def test_where_there_is_no_half_life_it_says_why(args, options, sentence):
    with pytest.raises(ValueError) as error:
        half_life(*args, **options)
    assert str(error.value).startswith(sentence)
