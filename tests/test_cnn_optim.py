"""The network's step against regdyn's own update of one parameter."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from cnn.config import OptimConfig
from cnn.optim import OPTIMIZERS, Update, hyperparameters
from regdyn import replay, rules

STEPS, DROP = 100, 75
SCHEDULE = np.where(np.arange(STEPS) < DROP, 1.0, 0.1)
REGULARIZERS = ("none", "l2", "wd", "adamw")
torch.set_num_threads(1)  # a session of pytest may share its cores; the nets here are tiny
every_setting = pytest.mark.parametrize(
    ("opt", "reg"), [(opt, reg) for opt in OPTIMIZERS for reg in REGULARIZERS]
)


def net(dtype=torch.float64, device="cpu"):
    """Convolution, BatchNorm and a linear layer: 41 parameters, gamma at U(0, 1)."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2)
    ).to(dtype=dtype, device=device)
    if device == "cpu":
        nn.init.uniform_(model[1].weight)
    return model


def flat(model, tensors=None):
    """All parameters, or what belongs to them, as one array."""
    return torch.cat([p.detach().flatten() for p in tensors or model.parameters()]).numpy()


def set_gradients(model, row):
    """Put the entries of `row` into `.grad`."""
    parts = torch.as_tensor(row).split([p.numel() for p in model.parameters()])
    for p, part in zip(model.parameters(), parts, strict=True):
        p.grad = part.reshape(p.shape).to(p.dtype)


def gradients(size=41):
    """Of all scales, with means, and zeros: what a network may see."""
    rng = np.random.default_rng(2)
    tape = rng.standard_normal((STEPS, size)) + rng.uniform(-0.5, 0.5, size)
    tape *= 10.0 ** rng.uniform(-5, 0, size)
    tape[:, :3] *= rng.random((STEPS, 3)) < 0.1
    return tape


def train(model, update, tape, schedule=SCHEDULE):
    """Parameters before the first step and after each, (steps + 1, parameters)."""
    path = [flat(model)]
    for row, scale in zip(tape, schedule, strict=True):
        set_gradients(model, row)
        update.set_scale(float(scale))
        update.step()
        path.append(flat(model))
    return np.array(path)


def is_gamma(model):
    return flat(model, [torch.full_like(p, p is model[1].weight) for p in model.parameters()]) == 1


# Against regdyn -----------------------------------------------------------------------------------


@every_setting
def test_every_step_is_that_of_regdyn(opt, reg):
    """Through a drop of the learning rate. Rounding differs: relative to theta <= 1, 1e-12."""
    config, tape = OptimConfig(opt=opt, reg=reg, lam=3e-3), gradients()
    model = net()
    start = flat(model)
    path = train(model, Update(model, config), tape)
    rule = rules.resolve(opt)
    ours = replay(tape, rule, reg, 3e-3, start, schedule=SCHEDULE, engine="numpy")
    np.testing.assert_allclose(path, ours, rtol=1e-12, atol=1e-12)
    slightly = replay(tape, rule, reg, 3.001e-3, start, schedule=SCHEDULE, engine="numpy")
    assert reg == "none" or np.abs(path - slightly).max() > 1e-9


@pytest.mark.parametrize("reg", REGULARIZERS)
@pytest.mark.parametrize("opt", ["sgd", "adam"])
@pytest.mark.parametrize("regularize", ["all", "no-batchnorm"])
def test_gamma_has_its_own_learning_rate_and_batchnorm_can_be_spared(opt, reg, regularize):
    """gamma's factor also multiplies its decay under adamw, and not under wd."""
    config = OptimConfig(opt=opt, reg=reg, lam=3e-3, gamma_lr=0.3, regularize=regularize)
    tape, model = gradients(), net()
    start, gamma = flat(model), is_gamma(model)
    beta = np.roll(gamma, 3)
    path = train(model, Update(model, config), tape)
    hp = hyperparameters(config)
    for mask, lr in ((gamma, 0.3 * hp.lr), (beta, hp.lr), (~gamma & ~beta, hp.lr)):
        lam = 0.0 if regularize == "no-batchnorm" and (mask & (gamma | beta)).any() else 3e-3
        rule = hp._replace(lr=lr)
        ours = replay(tape[:, mask], rule, reg, lam, start[mask], schedule=SCHEDULE, engine="numpy")
        np.testing.assert_allclose(path[:, mask], ours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("opt", "given", "rule"),
    [
        ("sgd", ("momentum=0.5", "nesterov=true"), rules.SGD(momentum=0.5, nesterov=True)),
        ("sgd", ("momentum=0",), rules.SGD(momentum=0.0)),
        ("adam", ("beta2=0.999", "beta1 = 0.8"), rules.Adam(beta1=0.8, beta2=0.999)),
        ("amsgrad", ("eps=1e-4",), rules.AMSGrad(eps=1e-4)),
        ("adagrad", ("eps=1e-4",), rules.Adagrad(eps=1e-4)),
        ("adadelta", ("rho=0.95",), rules.Adadelta(rho=0.95)),
        ("rmsprop", ("alpha=0.9",), rules.RMSprop(alpha=0.9)),
    ],
)
def test_hyperparameters_of_the_config_are_used(opt, given, rule):
    config, tape, model = OptimConfig(opt=opt, hyper=given, lr=0.02, lam=1e-3), gradients(), net()
    rule = rule._replace(lr=0.02)
    start = flat(model)
    path = train(model, Update(model, config), tape)
    assert hyperparameters(config) == rule
    ours = replay(tape, rule, "l2", 1e-3, start, schedule=SCHEDULE, engine="numpy")
    np.testing.assert_allclose(path, ours, rtol=1e-12, atol=1e-12)
    default = replay(tape, opt, "l2", 1e-3, start, schedule=SCHEDULE, engine="numpy")
    assert np.abs(path - default).max() > 1e-5


def test_frozen_parameters_stay():
    model = net()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    set_gradients(model, gradients()[0])
    Update(model, OptimConfig(reg="wd")).step()
    assert torch.equal(model[0].weight, before)


@every_setting
def test_a_step_leaves_the_gradients_as_they_are(opt, reg):
    """Also L2 does: a recorder that looks after the step sees the main objective's."""
    model, row = net(torch.float32), gradients()[0]
    set_gradients(model, row)
    Update(model, OptimConfig(opt=opt, reg=reg)).step()
    assert np.array_equal(flat(model, [p.grad for p in model.parameters()]), row.astype("f4"))


@pytest.mark.parametrize(
    ("opt", "kind", "fused"),
    [
        ("sgd", torch.optim.SGD, True),
        ("adam", torch.optim.Adam, True),
        ("amsgrad", torch.optim.Adam, True),
        ("adagrad", torch.optim.Adagrad, True),
        ("adadelta", torch.optim.Adadelta, False),
        ("rmsprop", torch.optim.RMSprop, False),
    ],
)
def test_the_optimizer_is_torchs_and_fused_where_it_can_be(opt, kind, fused):
    optimizer = Update(net(), OptimConfig(opt=opt)).optimizer
    assert type(optimizer) is kind and len(optimizer.param_groups) == 1
    assert [bool(optimizer.defaults.get(how)) for how in ("fused", "foreach")] == [fused, not fused]
    decoupled = Update(net(), OptimConfig(opt=opt, reg="adamw")).optimizer
    assert type(decoupled) is (torch.optim.AdamW if opt in ("adam", "amsgrad") else kind)


# Checkpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opt", "reg"), [*((opt, "l2") for opt in OPTIMIZERS), ("adam", "wd"), ("sgd", "adamw")]
)
def test_a_run_that_is_interrupted_ends_with_the_same_bits(opt, reg, tmp_path):
    """Interrupted after the drop, and written with torch.save, read with weights_only."""
    config, tape = OptimConfig(opt=opt, reg=reg, gamma_lr=0.5), gradients()
    one = net(torch.float32)
    train(one, Update(one, config), tape)
    two = net(torch.float32)
    update = Update(two, config)
    train(two, update, tape[:80], SCHEDULE[:80])
    torch.save({"model": two.state_dict(), "update": update.state_dict()}, tmp_path / "state.pt")
    entry = torch.load(tmp_path / "state.pt", weights_only=True)
    three = net(torch.float32)
    three.load_state_dict(entry["model"])
    update = Update(three, config)
    update.load_state_dict(entry["update"])
    assert update.scale == 0.1
    train(three, update, tape[80:], SCHEDULE[80:])
    assert np.array_equal(flat(one), flat(three))


def test_the_state_does_not_bring_hyperparameters_back():
    """A branch with another lambda gets its own."""
    old, model = net(), net()
    update = Update(old, OptimConfig(lam=1e-2))
    train(old, update, gradients()[:5], SCHEDULE[:5])
    branch = Update(model, OptimConfig(lam=1e-3, hyper=("beta2=0.9",)))
    branch.load_state_dict(update.state_dict())
    (group,) = branch.optimizer.param_groups
    assert group["weight_decay"] == 1e-3 and group["betas"] == (0.9, 0.9)


def test_a_state_of_another_kind_is_refused():
    model = net()
    update = Update(model, OptimConfig())
    train(model, update, gradients()[:2], SCHEDULE[:2])
    entry = update.state_dict()
    with pytest.raises(ValueError, match="that of adam, not of sgd"):
        Update(net(), OptimConfig(opt="sgd")).load_state_dict(entry)
    with pytest.raises(ValueError, match="that of other parameters"):
        Update(net(), OptimConfig(gamma_lr=0.5)).load_state_dict(entry)
    wider = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="that of other parameters"):
        Update(wider, OptimConfig()).load_state_dict(entry)


# Mixed precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 3])
@every_setting
def test_a_step_with_an_infinite_gradient_does_not_happen(opt, reg, bad):
    """Neither update nor decay nor count: the run is that without the step. The others unscale.

    Fused SGD of torch 2.15 leaves its momentum uninitialised if the very first step is skipped.
    """
    config, tape = OptimConfig(opt=opt, reg=reg), gradients()[:8].astype("f4")
    kept = np.delete(tape, bad, axis=0)
    plain = net(torch.float32)
    train(plain, Update(plain, config), kept, SCHEDULE[:7])
    model = net(torch.float32)
    update, scaler = Update(model, config), torch.amp.GradScaler("cpu", init_scale=4.0)
    skipped = []
    for t, row in enumerate(tape):
        set_gradients(model, scaler.scale(torch.as_tensor(row)))  # a power of 2: exact
        if t == bad:
            model[1].weight.grad[0] = torch.inf
        found = update.unscale(scaler)
        assert update.unscale(scaler) is found  # asking again divides no second time
        skipped.append(found.item())
        update.step(scaler)
        scaler.update()
    assert skipped == [float(t == bad) for t in range(8)]
    assert np.array_equal(flat(model), flat(plain))


def test_a_scaler_that_is_off_does_nothing():
    model, plain = net(), net()
    for each, scaler in ((model, torch.amp.GradScaler("cpu", enabled=False)), (plain, None)):
        update = Update(each, OptimConfig(reg="wd"))
        set_gradients(each, gradients()[0])
        assert update.unscale(scaler) is None
        update.step(scaler)
    assert np.array_equal(flat(model), flat(plain))


# Devices ------------------------------------------------------------------------------------------


@every_setting
def test_a_step_runs_on_the_meta_device(opt, reg):
    """So nothing looks at values and no tensor is left on the CPU."""
    model = net(torch.float32, "meta")
    update = Update(model, OptimConfig(opt=opt, reg=reg, gamma_lr=0.5))
    for scale in (1.0, 0.1):
        model(torch.zeros(4, 1, 3, 3, device="meta")).sum().backward()
        update.set_scale(scale)
        update.step()


def test_capturable_wants_cuda():
    with pytest.raises(ValueError, match="capturable needs a CUDA device, not cpu"):
        Update(net(), OptimConfig(), capturable=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_setting
def test_a_captured_step_follows_the_schedule(opt, reg):
    """A CUDA graph replays what it captured, with the learning rate and decay that are set."""
    config, tape = OptimConfig(opt=opt, reg=reg, lam=3e-3), gradients().astype("f4")[:20]
    schedule = np.where(np.arange(20) < 10, 1.0, 0.1)
    plain, model = net(torch.float32), net(torch.float32).cuda()
    train(plain, Update(plain, config), tape, schedule)
    update, start = Update(model, config, capturable=True), [p.clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        update.step()  # makes the optimizer's state
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update.step()
    with torch.no_grad():  # back to the beginning
        for p, first in zip(model.parameters(), start, strict=True):
            p.copy_(first)
        for state in update.optimizer.state.values():
            for value in state.values():
                value.zero_()
    sizes = [p.numel() for p in model.parameters()]
    for row, scale in zip(tape, schedule, strict=True):
        for p, part in zip(model.parameters(), torch.tensor(row).split(sizes), strict=True):
            p.grad.copy_(part.reshape(p.shape))
        update.set_scale(float(scale))
        graph.replay()
    np.testing.assert_allclose(flat(model.cpu()), flat(plain), rtol=1e-5, atol=1e-6)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"opt": "adamw"}, "give opt='adam', reg='adamw'"),
        ({"opt": "adm"}, "unknown optimizer 'adm': did you mean 'adam'"),
        ({"opt": "lion"}, "unknown optimizer 'lion'"),
        ({"reg": "L2"}, "unknown regulariser 'L2': did you mean 'l2'"),
        ({"lam": -1.0}, "strength lambda must be a finite number >= 0, not -1"),
        ({"reg": "wd", "lam": 1.0}, "must be < 1 under wd"),
        ({"reg": "adamw", "lam": 500.0, "gamma_lr": 3.0}, "must be < 1 under adamw"),
        ({"lr": float("nan")}, "lr of adam must be a finite number >= 0"),
        ({"gamma_lr": -0.1}, "gamma_lr must be a finite number >= 0, not -0.1"),
        ({"regularize": "conv"}, "unknown regularize 'conv'"),
        ({"hyper": ("beta=0.9",)}, "unknown hyper-parameter of adam 'beta': did you mean 'beta2'"),
        ({"hyper": ("lr=0.1",)}, "unknown hyper-parameter of adam 'lr'"),
        ({"hyper": ("beta2",)}, "hyper takes NAME=NUMBER"),
        ({"hyper": ("beta2=high",)}, "beta2 of adam must be a finite number"),
        ({"hyper": ("beta2=1",)}, "beta2 of adam must be a finite number >= 0 and < 1"),
        ({"opt": "amsgrad", "hyper": ("flavour=optax",)}, "unknown hyper-parameter of amsgrad"),
        ({"opt": "sgd", "hyper": ("nesterov=2",)}, "nesterov of sgd must be True or False"),
    ],
)
def test_bad_settings_get_one_sentence(given, sentence):
    with pytest.raises(ValueError) as found:
        Update(net(), dataclasses.replace(OptimConfig(), **given))
    assert sentence in str(found.value) and "\n" not in str(found.value)


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="no parameters to train"):
        Update(nn.ReLU(), OptimConfig())
