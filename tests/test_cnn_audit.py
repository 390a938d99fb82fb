"""The audit's numbers against a parameter without gradient, for torch.optim and for others."""

import copy
import inspect
import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from cnn.audit import Coupled, Decoupled, audit_decay, quiet, readers, register
from cnn.audit.__main__ import main
from cnn.audit.decays import COUPLED, DECOUPLED, L2, NONE, UNKNOWN, Adaptive
from cnn.audit.views import number
from cnn.config import Config, ModelConfig, OptimConfig
from cnn.train import train
from regdyn import rules
from regdyn.theory import laws

torch.set_num_threads(1)  # a session of pytest may share its cores; the nets here are tiny
O = torch.optim
WD = {"weight_decay": 1e-2}

# What takes a constant share of theta per step, in the long run: rule, class, options
SHARES = [
    (L2, O.SGD, {"lr": 0.1, **WD}),
    (L2, O.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}),
    (L2, O.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": True}),
    (L2, O.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, "dampening": 0.5}),
    (L2, O.SGD, {"lr": 0.1, "momentum": 0.5, "weight_decay": 1e-2, "maximize": True}),
    (L2, O.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "fused": True}),
    (L2, O.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "foreach": True}),
    (L2, O.SGD, {"lr": 1.0, "weight_decay": 2.5}),  # overshoots and grows
    (COUPLED, O.AdamW, {"lr": 0.1, **WD}),
    (COUPLED, O.AdamW, {"lr": 0.1, "amsgrad": True, "fused": True, **WD}),
    (COUPLED, O.AdamW, {"lr": 0.1, "foreach": True, "maximize": True, **WD}),
    (COUPLED, O.AdamW, {"lr": torch.tensor(0.1, dtype=torch.float64), "foreach": False, **WD}),
    (COUPLED, O.Adam, {"lr": 0.1, "decoupled_weight_decay": True, **WD}),
    (COUPLED, O.NAdam, {"lr": 0.1, "decoupled_weight_decay": True, **WD}),
    (COUPLED, O.RAdam, {"lr": 0.1, "decoupled_weight_decay": True, **WD}),
    (COUPLED, O.Adafactor, {"lr": 0.1, **WD}),
    (COUPLED, O.Muon, {"lr": 0.1, **WD}),
    (COUPLED, O.ASGD, {"lr": 0.1, "lambd": 1e-2, "alpha": 0.0}),
    (COUPLED, O.ASGD, {"lr": 0.1, "lambd": 0.0, **WD}),
]
# L2 inside an adaptive rule: no constant share
ADAPTIVE = [
    (O.Adam, {"lr": 1e-2, **WD}),
    (O.Adam, {"lr": 1e-2, "betas": (0.9, 0.99), "maximize": True, **WD}),
    (O.Adam, {"lr": 1e-2, "eps": 1e-2, "fused": True, **WD}),
    (O.Adam, {"lr": 1e-2, "amsgrad": True, **WD}),
    (O.NAdam, {"lr": 1e-2, **WD}),
    (O.RAdam, {"lr": 1e-2, **WD}),
    (O.Adamax, {"lr": 1e-2, **WD}),
    (O.RMSprop, {"lr": 1e-2, **WD}),
    (O.RMSprop, {"lr": 1e-3, "momentum": 0.9, **WD}),
    (O.RMSprop, {"lr": 1e-3, "centered": True, **WD}),
    (O.Adagrad, {"lr": 5e-2, **WD}),
    (O.Adagrad, {"lr": 5e-2, "lr_decay": 1e-2, "initial_accumulator_value": 1e-3, **WD}),
    (O.Adagrad, {"lr": 5e-2, "fused": True, **WD}),
    (O.Adadelta, {**WD}),
    (O.Adadelta, {"lr": 1.0, "weight_decay": 1e-3, "rho": 0.95}),
]
NEVER = [(O.Rprop, {}), (O.LBFGS, {}), (O.SparseAdam, {})]  # these have no decay
OFF = [(kind, {"weight_decay": 0.0}) for kind in (O.SGD, O.Adam, O.AdamW, O.Muon, O.Adagrad)]


def name_of(value):
    if isinstance(value, dict):
        return "-".join(f"{k}={float(v) if k == 'lr' else v}" for k, v in value.items())
    return getattr(value, "__name__", str(value).replace(" ", "-"))


class Values(nn.Module):
    """One matrix, all entries of one size."""

    def __init__(self, size=0.7):
        super().__init__()
        self.w = nn.Parameter(torch.full((2, 2), size, dtype=torch.float64))


def path(optimizer, model, factors=()):
    """theta before the first step and after each, with no gradient; the model is left as it is."""
    model, optimizer = copy.deepcopy((model, optimizer))  # in one: the optimizer keeps its tensors
    base = [group["lr"] for group in optimizer.param_groups]
    for s in itertools.chain(factors, itertools.repeat(1.0)):
        yield model.w[0, 0].item()
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * s
        model.w.grad = torch.zeros_like(model.w)
        optimizer.step()


def steps_of(optimizer, model, steps):
    """The first entries of `path`, as an array."""
    return np.array(list(itertools.islice(path(optimizer, model), steps + 1)))


def halved(optimizer, model, factors=()):
    """When theta, its steps joined by straight lines, has come to half of its start."""
    before = start = None
    for t, now in enumerate(itertools.islice(path(optimizer, model, factors), 5000)):
        start = now if start is None else start
        if now <= start / 2:
            return t - 1 + (before - start / 2) / (before - now)
        before = now
    raise AssertionError("it has not halved")


def row_of(kind, options, *args, **how):
    model = Values()
    return audit_decay(kind(model.parameters(), **options), model, *args, **how).rows[0]


# The matrix --------------------------------------------------------------------------------------


def test_every_class_of_torch_optim_is_in_the_matrix():
    """Fails when torch gets a new optimizer: it needs a reader, and a line above."""
    kinds = {k for k in vars(O).values() if inspect.isclass(k) and issubclass(k, O.Optimizer)}
    tested = {kind for *_, kind, _ in [*SHARES, *ADAPTIVE, *NEVER]}
    assert kinds - {O.Optimizer} == tested
    takes = {k for k in kinds if "weight_decay" in inspect.signature(k).parameters}
    assert takes <= {kind for *_, kind, _ in [*SHARES, *ADAPTIVE]}


@pytest.mark.parametrize(("rule", "kind", "options"), SHARES, ids=name_of)
def test_the_share_that_a_step_takes(rule, kind, options):
    """Against the ratio of two late steps: exact but for rounding."""
    model = Values()
    optimizer = kind(model.parameters(), **options)
    row = audit_decay(optimizer, model).rows[0]
    late = steps_of(optimizer, model, 250)[-2:]
    assert row.rule == rule
    assert row.shrink == pytest.approx(1 - abs(late[1] / late[0]), rel=1e-6)
    expected = math.log(2) / -math.log1p(-row.shrink) if row.shrink > 0 else math.inf
    assert row.half_life_steps == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("kind", "options"), ADAPTIVE, ids=name_of)
def test_the_half_life_of_l2_in_an_adaptive_rule(kind, options):
    model = Values()
    optimizer = kind(model.parameters(), **options)
    row = audit_decay(optimizer, model).rows[0]
    seen = halved(optimizer, model)
    assert row.rule == L2
    assert row.half_life_steps == pytest.approx(seen, rel=1e-6)
    assert row.shrink == pytest.approx(1 - 0.5 ** (1 / seen), rel=1e-6)


@pytest.mark.parametrize(("kind", "options"), NEVER + OFF, ids=name_of)
def test_what_does_not_decay(kind, options):
    row = row_of(kind, options)
    assert (row.rule, row.shrink, row.half_life_steps, row.sigma_lost) == (NONE, 0, math.inf, 0)


def test_asgd_decays_by_lambd_at_weight_decay_0_and_more_slowly_with_time():
    """Also in the middle of a run: its step size stands in its state."""
    model = Values()
    optimizer = O.ASGD(model.parameters(), lr=0.1, lambd=0.1)
    for done in (0, 40):
        for _ in range(done):
            model.w.grad = torch.zeros_like(model.w)
            optimizer.step()
        row = audit_decay(optimizer, model).rows[0]
        values = steps_of(optimizer, model, 1)
        assert row.rule == COUPLED
        assert row.shrink == pytest.approx(1 - values[1] / values[0], rel=1e-6)
        assert row.half_life_steps == pytest.approx(halved(optimizer, model), rel=1e-3)
        assert row.half_life_steps > 1.02 * math.log(2) / row.shrink  # not as if it were constant


def test_complex_roots_have_the_half_life_of_their_envelope():
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    model = Values()
    optimizer = O.SGD(model.parameters(), **options)
    row = audit_decay(optimizer, model).rows[0]
    assert row.half_life_steps == pytest.approx(math.log(2) / (-math.log(0.9) / 2))
    assert any("swings" in warning for warning in row.warnings)
    x = steps_of(optimizer, model, 30)
    product = x[2:] * x[:-2] - x[1:-1] ** 2  # goes as the product of the roots, whatever the phase
    rate = -np.log(product[1:] / product[:-1])[5:] / 2
    assert np.log(2) / rate == pytest.approx(row.half_life_steps, rel=1e-9)


def test_a_long_way_is_extrapolated(monkeypatch):
    """Against the whole recursion, of falls at a constant speed, a constant rate, in between."""
    cases = [
        ("adam", {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}, 1e-2, 2e-4, 0.01),
        ("amsgrad", {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}, 1e-2, 2e-4, 0.04),
        ("adagrad", {"eps": 1e-10}, 1e-2, 5e-3, 0.001),
        ("adadelta", {"rho": 0.9, "eps": 1e-6}, 4e-4, 0.9, 0.01),
    ]
    for kind, options, lam, lr, error in cases:
        decay = Adaptive(kind, lam, tuple(options.items()))
        for lrs in (np.empty(0), np.full(300, 2 * lr))[: 1 if kind == "adagrad" else 2]:
            whole, short = [], []
            for found, longest in ((whole, 6000), (short, 500)):
                monkeypatch.setattr(quiet, "LONGEST", longest)
                found += [float(quiet.half_lives(decay, np.array([0.7]), lrs, lr)[0])]
            assert 1000 < whole[0] < 6000
            assert short == pytest.approx(whole, rel=error)
    still_faster = Adaptive("adadelta", 1e-2, (("rho", 0.9), ("eps", 1e-6)))
    assert np.isnan(quiet.half_lives(still_faster, np.array([0.7]), np.empty(0), 1e-2)).all()
    slower = Adaptive("adagrad", 1e-2, (("eps", 1e-10),))
    assert np.isnan(quiet.half_lives(slower, np.array([0.7]), np.full(10, 2e-3), 1e-3)).all()


# Schedules ---------------------------------------------------------------------------------------

STEPPED = [1.0] * 50 + [0.25] * 450


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (O.AdamW, {"lr": 0.1, "weight_decay": 5e-2}),
        (O.SGD, {"lr": 0.1, "weight_decay": 5e-2}),
        (O.Adam, {"lr": 5e-3, **WD}),
        (O.RMSprop, {"lr": 2e-3, **WD}),
        (O.Adagrad, {"lr": 3e-2, **WD}),
    ],
    ids=name_of,
)
def test_a_schedule(kind, options):
    model = Values()
    optimizer = kind(model.parameters(), **options)
    seen = halved(optimizer, model, STEPPED)
    assert seen > 60  # the drop counts
    given = STEPPED, np.array(STEPPED), lambda step: STEPPED[step]
    for schedule in given:
        row = audit_decay(optimizer, model, schedule, steps=500).rows[0]
        assert row.half_life_steps == pytest.approx(seen, rel=1e-3)
    by_epoch = audit_decay(optimizer, model, [1.0] + [0.25] * 9, steps_per_epoch=50)
    assert by_epoch.steps == 500
    assert by_epoch.rows[0].half_life_steps == pytest.approx(seen, rel=1e-3)
    assert by_epoch.rows[0].half_life_epochs == pytest.approx(seen / 50, rel=1e-3)
    assert by_epoch.rows[0].shrink == row_of(kind, options).shrink  # of the present learning rate


def test_momentum_follows_its_slow_root_under_a_schedule():
    """1 %: the buffer is 10 steps behind at the start, and not at the drop."""
    model = Values()
    optimizer = O.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = [1.0] * 1000 + [0.25] * 3000
    seen = halved(optimizer, model, schedule)
    row = audit_decay(optimizer, model, schedule).rows[0]
    assert 1000 < seen and row.half_life_steps == pytest.approx(seen, rel=0.02)
    assert row.half_life_steps == pytest.approx(seen - 4 * 9, rel=0.002)  # a lag at the low lr


def test_a_scheduler_s_first_learning_rate_is_what_factors_refer_to():
    """The schedule of a warm-up begins at 0, and so does the present learning rate."""
    model = Values()
    optimizer = O.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    warm = lambda step: min(1.0, step / 10)  # noqa: E731
    O.lr_scheduler.LambdaLR(optimizer, warm)
    row = audit_decay(optimizer, model, warm, steps=100).rows[0]
    assert row.shrink == 0
    expected = math.log(2) / -math.log1p(-0.01)
    assert row.half_life_steps == pytest.approx(expected + 5.5, abs=0.1)


# Other optimizers --------------------------------------------------------------------------------


class Lion(O.Optimizer):
    """Chen et al. (2023): decay as AdamW's."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in filter(lambda p: p.grad is not None, group["params"]):
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.sign(torch.lerp(p.grad, m, group["betas"][0])), alpha=-group["lr"])
                m.lerp_(p.grad, 1 - group["betas"][1])


class SGDW(O.Optimizer):
    """Loshchilov & Hutter (2019): decay that knows the schedule, not the learning rate."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "lr0": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in filter(lambda p: p.grad is not None, group["params"]):
                p.mul_(1 - group["weight_decay"] * group["lr"] / group["lr0"])
                p.add_(p.grad, alpha=-group["lr"])


class MySGD(O.SGD):
    """Replaces the step."""

    def step(self, closure=None):
        return None


class NamedSGD(O.SGD):
    """Keeps the step."""


@pytest.fixture
def own_readers(monkeypatch):
    monkeypatch.setattr(readers, "READERS", dict(readers.READERS))


@pytest.mark.parametrize(
    ("kind", "rule", "reader"),
    [
        (Lion, COUPLED, lambda group, state: Coupled(group["weight_decay"])),
        (SGDW, DECOUPLED, lambda group, state: Decoupled(group["weight_decay"], group["lr0"])),
    ],
    ids=name_of,
)
def test_an_optimizer_from_elsewhere(own_readers, kind, rule, reader):
    """Unknown, and said so, until it is registered; then as exact as torch's."""
    model = Values()
    optimizer = kind(model.parameters(), lr=0.05, weight_decay=0.02)
    row = audit_decay(optimizer, model).rows[0]
    assert row.rule == UNKNOWN
    assert all(map(math.isnan, (row.shrink, row.half_life_steps, row.sigma_lost)))
    assert any(kind.__name__ in warning and "register" in warning for warning in row.warnings)
    register(kind, reader)
    row = audit_decay(optimizer, model).rows[0]
    values = steps_of(optimizer, model, 2)
    assert row.rule == rule
    assert row.shrink == pytest.approx(1 - values[2] / values[1], rel=1e-9)
    schedule = [1.0] * 10 + [4.0] * 400
    optimizer.param_groups[0]["weight_decay"] = 0.01 if kind is SGDW else 0.2
    row = audit_decay(optimizer, model, schedule).rows[0]
    seen = halved(optimizer, model, schedule)
    assert row.half_life_steps == pytest.approx(seen, rel=1e-3)


def test_a_reader_that_returns_something_else(own_readers):
    register(Lion, lambda group, state: 0.1)
    with pytest.raises(ValueError, match=r"reader of Lion must give .* not 0\.1"):
        row_of(Lion, {})
    with pytest.raises(ValueError, match="by_hand must give"):
        row_of(O.SGD, {"lr": 0.1}, by_hand={0: 0.1})


def test_a_subclass_is_known_only_as_long_as_it_keeps_the_step():
    assert row_of(NamedSGD, {"lr": 0.1, **WD}).shrink == row_of(O.SGD, {"lr": 0.1, **WD}).shrink
    row = row_of(MySGD, {"lr": 0.1, **WD})
    assert row.rule == UNKNOWN and "replaces the step of SGD" in row.warnings[0]


def test_decay_by_hand():
    model = Values()
    optimizer = O.Adam(model.parameters(), lr=1e-3)
    row = audit_decay(optimizer, model, by_hand={0: Decoupled(1e-4, lr0=1e-3)}).rows[0]
    assert (row.rule, round(row.half_life_steps)) == (DECOUPLED, 6931)
    optimizer = O.AdamW(model.parameters(), lr=1e-3)
    row = audit_decay(optimizer, model, by_hand={0: Coupled(0.1)}).rows[0]
    assert row.rule == UNKNOWN and "by hand" in row.warnings[0]


# The noise ---------------------------------------------------------------------------------------


def test_the_gradient_below_which_a_parameter_is_lost():
    """The floor at that sigma is the threshold; the numbers are those of docs/theory.md."""
    adam = {"lr": 1e-3, "betas": (0.9, 0.99)}
    cases = [  # last: what the leading order leaves out
        (O.Adam, {**adam, "weight_decay": 1e-4}, ("l2", 1e-4, rules.Adam()), 2e-7, 0.1),
        (O.AdamW, {**adam, "weight_decay": 0.1}, ("adamw", 0.1, rules.Adam()), 1.43e-10, 0.02),
        (O.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}, ("l2", 1e-4, rules.SGD()),
         1.414e-5, 1e-4),
        (O.Adadelta, {"weight_decay": 1e-4}, ("l2", 1e-4, rules.Adadelta()), 1.414e-5, 1e-3),
    ]  # fmt: skip
    for kind, options, (reg, lam, hp), sigma, error in cases:
        row = row_of(kind, options)
        floor = laws.late_std(hp, reg, lam, row.sigma_lost).value
        assert row.sigma_lost == pytest.approx(sigma, rel=5e-3)
        assert floor == pytest.approx(1e-3, rel=error)
    assert math.isnan(row_of(O.NAdam, {"lr": 1e-3, **WD}).sigma_lost)  # no law: not guessed


def test_l2_under_noise_follows_the_law():
    options = {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 1e-4}
    law = laws.time_to("adam", "l2", 1e-4, 1e-3, theta0=0.7, theta1=0.35)
    row = row_of(O.Adam, options, sigma=1e-3)
    assert law.valid and row.half_life_steps == pytest.approx(law.value, rel=1e-6)
    assert row.half_life_steps > 10 * row_of(O.Adam, options).half_life_steps
    slow = row_of(O.Adam, options, [0.5], sigma=1e-3)
    assert slow.half_life_steps == pytest.approx(2 * law.value, rel=0.02)
    row = row_of(O.NAdam, {"lr": 1e-3, **WD}, sigma=1e-3)
    assert math.isnan(row.half_life_steps) and any("no law" in w for w in row.warnings)


# Rows, roles, warnings ---------------------------------------------------------------------------


class Net(nn.Module):
    """A little of everything."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(5, 4)
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 5)
        self.free = nn.Parameter(torch.ones(3))


def warned(audit, name):
    """All warnings of a tensor, as one text."""
    (row,) = [row for row in audit.rows if row.name == name]
    return " ".join(row.warnings)


def test_roles():
    model = Net()
    rows = audit_decay(O.SGD(model.parameters(), lr=0.1), model).rows
    assert {row.name: row.role for row in rows} == {
        "free": "other",
        "words.weight": "embedding",
        "conv.weight": "conv",
        "conv.bias": "bias",
        "bn.weight": "BN gamma",
        "bn.bias": "BN beta",
        "fc.weight": "linear",
        "fc.bias": "bias",
        "norm.weight": "norm",
        "norm.bias": "norm",
        "out.weight": "head",
        "out.bias": "bias",
    }
    wrapped = nn.DataParallel(model)
    assert audit_decay(O.SGD(model.parameters(), lr=0.1), wrapped).rows == rows


def test_a_strength_that_never_acts_and_one_that_acts_at_once():
    """The issue's example: AdamW 1e-4 at lr 1e-3 halves in 6.9 million steps."""
    model = Net()
    audit = audit_decay(O.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4), model)
    assert {round(row.half_life_steps) for row in audit.rows} == {6_931_471}
    text = warned(audit, "conv.weight")
    assert "never acts" in text and "weight_decay=0.1." in text and "6,931 steps" in text
    decayed = O.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    good = audit_decay(decayed, model, steps=10_000)
    assert warned(good, "conv.weight") == ""
    short = audit_decay(decayed, model, steps=6000)
    assert "acts slowly" in warned(short, "conv.weight")
    assert "beyond the run of 6,000 steps" in warned(short, "conv.weight")
    few = audit_decay(decayed, model, steps=1000)
    assert "never acts" in warned(few, "conv.weight")  # 0.69 = 100 steps * 1e-3 * 6.9
    assert "tenth of the run takes weight_decay=6.9." in warned(few, "conv.weight")
    at_once = audit_decay(O.SGD(model.parameters(), lr=0.1, weight_decay=0.1), model)
    assert "at once" in warned(at_once, "conv.weight")
    adam = audit_decay(O.Adam(model.parameters(), lr=2e-3, weight_decay=1e-6), model)
    assert "whatever the strength" in warned(adam, "conv.weight")
    grows = audit_decay(O.SGD(model.parameters(), lr=1.0, weight_decay=3.0), model)
    assert "grows" in warned(grows, "conv.weight")


def test_gamma_and_the_advice():
    model = Net()
    norms = [*model.bn.parameters(), *model.norm.parameters()]
    rest = [p for p in model.parameters() if all(p is not q for q in norms)]
    groups = [{"params": rest}, {"params": norms, "weight_decay": 0.0}]
    off = audit_decay(O.AdamW(groups, lr=1e-2, weight_decay=0.1), model)
    assert "not decayed" in warned(off, "bn.weight") and warned(off, "norm.weight") == ""
    assert "off for your norms" in off.advice and "693 steps" in off.advice
    optimizer = O.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    on = audit_decay(optimizer, model, [1.0] * 20, steps_per_epoch=100)
    assert "gamma is decayed" in warned(on, "bn.weight")
    assert "on for your norms" in on.advice
    assert "693 steps (6.9 epochs), and the run has 2,000 steps" in on.advice
    weak = audit_decay(O.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4), model)
    assert "makes little difference" in weak.advice
    with torch.no_grad():
        model.bn.weight.fill_(0.1)
    adam = audit_decay(O.Adam(model.parameters(), weight_decay=1e-2), model)
    halves = [row.half_life_steps for row in adam.rows if row.name in ("bn.weight", "norm.weight")]
    assert halves[0] < halves[1]
    words = f"of {halves[0]:,.0f} steps to {halves[1]:,.0f} steps, tensor by tensor"
    assert words in adam.advice


def test_frozen_tensors():
    """torch skips a tensor without .grad; with zeros in it, it decays."""
    model = Net()
    optimizer = O.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    model.conv.weight.requires_grad_(False)
    audit = audit_decay(optimizer, model)
    row = next(row for row in audit.rows if row.name == "conv.weight")
    assert (row.rule, row.shrink) == (NONE, 0)
    assert "Frozen" in warned(audit, "conv.weight") and "skips" in warned(audit, "conv.weight")
    model.conv.weight.grad = torch.zeros_like(model.conv.weight)
    audit = audit_decay(optimizer, model)
    row = next(row for row in audit.rows if row.name == "conv.weight")
    before = model.conv.weight.clone()
    optimizer.step()
    assert row.rule == COUPLED and "acts on it" in warned(audit, "conv.weight")
    assert torch.allclose(model.conv.weight, (1 - row.shrink) * before)


def test_groups_and_shared_tensors():
    model = Net()
    model.out.weight, model.extra = nn.Parameter(model.words.weight.data[:, :4]), nn.Linear(4, 4)
    model.words.weight = model.out.weight
    optimizer = O.SGD([*model.fc.parameters(), model.out.weight], lr=0.1, weight_decay=1e-3)
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [model.fc.weight]})
    audit = audit_decay(optimizer, model)
    assert "In no group" in warned(audit, "conv.weight")
    assert "groups [0, 1]" in warned(audit, "fc.weight")
    assert next(row for row in audit.rows if row.name == "fc.weight").rule == UNKNOWN
    assert "Shared: words.weight, out.weight" in warned(audit, "words.weight")
    assert "out.weight" not in [row.name for row in audit.rows]
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert "1 tensors of the optimizer are not" in audit_decay(optimizer, model).notes[0]


def test_amsgrad_hooks_and_values():
    model = Net()
    optimizer = O.Adam(model.parameters(), weight_decay=1e-4, amsgrad=True)
    optimizer.register_step_post_hook(lambda *_: None)
    with torch.no_grad():
        model.fc.weight[0, 0] = math.nan
    audit = audit_decay(optimizer, model)
    assert "torch's flavour" in warned(audit, "conv.weight")
    assert "hooks" in audit.notes[0]
    row = next(row for row in audit.rows if row.name == "fc.weight")
    assert math.isnan(row.half_life_steps) and "not finite" in warned(audit, "fc.weight")
    assert "values are 0" in warned(audit, "bn.bias")
    free = audit_decay(O.AdamW(model.parameters(), weight_decay=0.0), model)
    assert "not finite" in warned(free, "fc.weight")
    decoupled = audit_decay(O.AdamW(model.parameters(), amsgrad=True), model)
    assert "flavour" not in warned(decoupled, "conv.weight")  # of no effect on the decay


# Nothing changes, bad input, views, command line -------------------------------------------------


@pytest.mark.parametrize("kind", [O.SGD, O.Adam, O.AdamW, O.ASGD, O.Adadelta], ids=name_of)
def test_the_audit_changes_nothing(kind):
    """Values, gradients, state, groups, random numbers, versions of tensors, hooks."""
    model = Net()
    optimizer = kind(model.parameters(), lr=1e-2, weight_decay=1e-2)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()

    def state():
        tensors = [*model.parameters(), *(p.grad for p in model.parameters())]
        kept = [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
        return copy.deepcopy(
            ([t.detach() for t in tensors + kept], [t._version for t in tensors + kept],
             [{**g, "params": None} for g in optimizer.param_groups], len(optimizer.state),
             torch.get_rng_state(), torch.is_grad_enabled(), model.training)
        )  # fmt: skip

    before = state()
    audit_decay(optimizer, model, [1.0, 0.1], steps_per_epoch=50).html()
    after = state()
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert torch.equal(before[4], after[4])
    assert before[1:4] == after[1:4] and before[5:] == after[5:]


def broken(**entries):
    model = Values()
    optimizer = O.AdamW(model.parameters())
    optimizer.param_groups[0].update(entries)
    return optimizer, model


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: audit_decay(O.SGD(Net().parameters(), lr=0.1), Net()), "another model's"),
        (lambda: audit_decay(O.SGD(Net().parameters(), lr=0.1), nn.ReLU()), "no parameters"),
        (lambda: audit_decay("adam", Net()), "optimizer must be"),
        (lambda: audit_decay(broken()[0], "net"), "model must be"),
        (lambda: audit_decay(*broken(lr=math.nan)), "lr of a group must be finite"),
        (lambda: audit_decay(*broken(weight_decay="much")), "weight_decay of a group must be a"),
        (lambda: audit_decay(*broken(), lambda step: 1.0), "needs steps"),
        (lambda: audit_decay(*broken(), [1.0, -1.0]), "factors >= 0"),
        (lambda: audit_decay(*broken(), [1.0, math.nan]), "schedule must be finite"),
        (lambda: audit_decay(*broken(), []), "schedule must be finite and not empty"),
        (lambda: audit_decay(*broken(), [1.0], steps=2), "each of 2 steps, not 1"),
        (lambda: audit_decay(*broken(), lambda step: -1.0, steps=3), r"schedule\(0\)"),
        (lambda: audit_decay(*broken(), steps_per_epoch=0), "steps_per_epoch must be"),
        (lambda: audit_decay(*broken(), sigma=-1.0), "sigma must be"),
        (lambda: audit_decay(*broken(), threshold=0), "threshold must be"),
        (lambda: audit_decay(*broken(), by_hand={3: Coupled(0.1)}), "by_hand"),
        (lambda: register(dict, lambda group, state: None), "kind must be"),
        (lambda: register(Lion, "lion"), "reader must be"),
    ],
)
def test_bad_input_is_one_sentence(call, says):
    with pytest.raises(ValueError, match=says) as error:
        call()
    text = str(error.value)
    assert "\n" not in text and len(text) < 250


def test_a_scheduler_is_refused_with_what_to_do():
    optimizer, model = broken()
    scheduler = O.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch)
    with pytest.raises(ValueError, match="scheduler LambdaLR"):
        audit_decay(optimizer, model, scheduler, steps=10)


def test_the_views_show_the_same():
    model = Net()
    model.add_module("<b>&", nn.Linear(1, 1))
    audit = audit_decay(O.AdamW(model.parameters(), weight_decay=1e-4), model, steps_per_epoch=100)
    text, page, entry = str(audit), audit.html(), json.loads(audit.json())
    for row, plain in zip(audit.rows, entry["rows"], strict=True):
        assert plain["name"] == row.name and plain["half_life_steps"] == row.half_life_steps
        assert row.name in text
        assert all(warning in page or "'" in warning for warning in row.warnings)
    assert audit.advice in entry["advice"] and "6,931,471" in text and "6,931,471" in page
    assert "<b>" not in page and "&lt;b&gt;&amp;.weight" in page
    assert "<script" not in page and "http" not in page
    none = audit_decay(O.SGD(model.parameters(), lr=0.1), model)
    assert json.loads(none.json())["rows"][0]["half_life_steps"] is None
    assert "never" in none.text() and "epochs" not in none.text()


def test_numbers_for_a_person():
    given = [math.nan, math.inf, 0.0, 1e-7, 0.01234, 999.7, 6_931_471.2, 2e15]
    said = ["?", "never", "0", "1e-07", "0.0123", "1,000", "6,931,471", "2e+15"]
    assert [number(value) for value in given] == said


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A short run on the digits, under the paper's weight decay, which the loop does by hand."""
    folder = tmp_path_factory.mktemp("run")
    optim = OptimConfig(opt="adam", reg="wd", lam=1e-3)
    config = Config(model=ModelConfig(width=0.05), optim=optim, steps=20, threads=1)
    train(config, folder, plot=False, progress=False)
    return folder


def test_a_run_from_the_command_line(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    page = tmp_path / "audit.html"
    assert main([str(run_folder / "config.json"), "--json", "--html", str(page)]) == 0
    fresh = json.loads(capsys.readouterr().out)
    assert {row["rule"] for row in fresh["rows"]} == {DECOUPLED}
    # 16 steps at 1e-3, and later at a tenth of it
    expected = 16 + (math.log(2) + 16 * math.log1p(-1e-3)) / -math.log1p(-1e-4)
    assert fresh["rows"][0]["half_life_steps"] == pytest.approx(expected, rel=1e-9)
    assert fresh["steps"] == 20 and fresh["steps_per_epoch"] == 1437 // 40
    assert page.read_text().startswith("<!doctype html>")
    middle = sorted(run_folder.glob("checkpoint-*.pt"))
    for path in (run_folder, run_folder / "checkpoint.pt", middle[0]):
        assert main([str(path)]) == 0
        said = capsys.readouterr().out
        assert "fully decoupled" in said
        assert ("going on at its last learning rate" in said) == (path != middle[0])


def test_a_checkpoint_without_its_images(run_folder, monkeypatch):
    from cnn.audit import runs

    def missing(name, root):
        raise FileNotFoundError("digits is not there.")

    with_images = runs.audit_run(run_folder)
    monkeypatch.setattr(runs.datasets, "find", missing)
    assert runs.audit_run(run_folder).rows[0][:5] == with_images.rows[0][:5]
    with pytest.raises(FileNotFoundError):
        runs.audit_run(run_folder / "config.json")


def test_bad_input_on_the_command_line(run_folder, tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"opt": "adam"}')
    (tmp_path / "torn.pt").write_bytes(b"PK")
    (tmp_path / "none").mkdir()
    torch.save({"model": {}}, tmp_path / "other.pt")
    for words, says in [
        ([str(tmp_path / "config.json")], "unknown field of Config 'opt'"),
        ([str(tmp_path / "torn.pt")], "damaged"),
        ([str(tmp_path / "other.pt")], "not a checkpoint"),
        ([str(tmp_path / "none")], "no checkpoint and no config.json"),
        ([str(tmp_path / "nowhere")], "there is no"),
        ([str(run_folder), "--sigma", "-1"], "sigma must be"),
        ([str(run_folder), "--html", str(tmp_path / "no" / "page.html")], "cannot write"),
    ]:
        assert main(words) == 2, words
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ") and says in shown.err and shown.err.count("\n") == 1
        assert shown.out == ""
