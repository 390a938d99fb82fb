"""Training a pruned network goes on as that of the masked one, with the optimizer's state."""

import copy
import functools

import pytest
import torch
import torchvision
from torch import nn, optim
from torch.nn import functional as F

from cnn import models
from cnn.config import ModelConfig
from cnn.prune import CannotPrune, prune
from cnn.prune.layer_operations import BatchNorm
from cnn.prune.plan import plan

torch.set_num_threads(1)
RULES = {
    "sgd": functools.partial(optim.SGD, lr=0.01, momentum=0.9, weight_decay=1e-2),
    "nesterov": functools.partial(optim.SGD, lr=0.01, momentum=0.9, nesterov=True),
    "adam": functools.partial(optim.Adam, lr=1e-2, weight_decay=1e-2),
    "adamw": functools.partial(optim.AdamW, lr=1e-2, weight_decay=0.1),
    "amsgrad": functools.partial(optim.Adam, lr=1e-2, amsgrad=True, weight_decay=1e-2),
    "adagrad": functools.partial(optim.Adagrad, lr=1e-2, weight_decay=1e-2),
    "rmsprop": functools.partial(optim.RMSprop, lr=1e-3, momentum=0.9, centered=True),
}


def chain():
    config = ModelConfig(width=0.0625, widths=(4, 6, 6, 8), pools=(1, 2))
    model = models.build(config, channels=3, classes=10, size=16)
    model.head.fc1.bias = None  # before a BatchNorm its gradient is round-off, which Adam amplifies
    return model


def residual():
    block = torchvision.models.resnet.BasicBlock
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), block(8, 8), block(8, 8),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def dense():
    return torchvision.models.DenseNet(4, (2, 2), 8, 2, 0, 10)


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10),
    )  # fmt: skip


def batches(steps, seed):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(8, 3, 32, 32, generator=draw, dtype=torch.float64)
        yield x, torch.randint(10, (8,), generator=draw)


def train(model, optimizer, steps, seed=0, after=lambda: None):
    model.train()
    for x, y in batches(steps, seed):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        after()


def started(make, rule):
    """A network after five steps, then with dead filters of either sign of beta."""
    torch.manual_seed(0)
    model = make().double()
    optimizer = RULES[rule](model.parameters())
    train(model, optimizer, 5)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for bn in model.modules():
            if isinstance(bn, nn.BatchNorm2d):
                dead = torch.rand(bn.num_features, generator=draw) < 0.4
                bn.weight[dead] = 5e-4 * torch.sign(bn.weight[dead])
                bn.bias[dead] = torch.randn(bn.num_features, generator=draw).double()[dead]
    return model, optimizer


def masked(model, example):
    """Make removed channels what they are to be: gamma 0, beta the constant, held by the result.

    Returns a function that holds them, and the weights that read them, where they are now.
    """
    asked = plan(model, example)
    kept = {}
    with torch.no_grad():
        for node, op in asked.operations.items():
            mask = asked.kept[node]
            if isinstance(op, BatchNorm):
                bn, (constant, value) = model.get_submodule(node.target), asked.constants[node]
                bn.weight[constant & ~mask] = 0
                bn.bias[constant & ~mask] = value[constant & ~mask]
                kept[f"{node.target}.weight"] = kept[f"{node.target}.bias"] = mask
            elif isinstance(op.module, nn.Conv2d | nn.Linear):
                mask = mask.reshape(-1, *[1] * (op.module.weight.ndim - 1)).clone()
                if getattr(op.module, "groups", 1) == 1:
                    reads = asked.needs(node)[0].reshape(1, -1, *[1] * (mask.ndim - 2))
                    mask = mask & reads
                kept[f"{node.target}.weight"] = mask.expand_as(op.module.weight)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def hold():
        for name, p in model.named_parameters():
            if name in kept:
                p.copy_(torch.where(kept[name], p, before[name]))

    return hold, kept


def agree(model, pruned, kept, tolerance=1e-10):
    for name, p in pruned.named_parameters():
        old = model.get_parameter(name)
        if p.shape != old.shape:
            assert name in kept or name.endswith("bias")
            if name not in kept:
                continue
            old = old[kept[name]].reshape(p.shape)
        torch.testing.assert_close(p, old, rtol=tolerance, atol=tolerance)


def both(make, rule, steps=20):
    model, optimizer = started(make, rule)
    ((x, _),) = batches(1, seed=7)
    new = prune(model, x, optimizer=optimizer, latency=False)
    assert new.certificate.after.parameters < new.certificate.before.parameters
    hold, kept = masked(model, x)
    train(model, optimizer, steps, seed=1, after=hold)
    train(new.model, new.optimizer, steps, seed=1)
    return model, new, kept, x


@pytest.mark.parametrize(
    "make, rule",
    [*((chain, rule) for rule in RULES), (residual, "adamw"), (dense, "adam"), (depthwise, "sgd")],
)
def test_training_goes_on_as_that_of_the_masked_network(make, rule):
    model, new, kept, x = both(make, rule)
    agree(model, new.model, kept)
    with torch.no_grad():
        for mode in (True, False):
            torch.testing.assert_close(
                new.model.train(mode)(x), model.train(mode)(x), rtol=1e-9, atol=1e-9
            )


def test_without_its_state_the_optimizer_would_go_elsewhere():
    """Negative control of the test above."""
    model, optimizer = started(chain, "adam")
    ((x, _),) = batches(1, seed=7)
    new = prune(model, x, latency=False)
    assert new.optimizer is None
    hold, kept = masked(model, x)
    train(model, optimizer, 20, seed=1, after=hold)
    train(new.model, RULES["adam"](new.model.parameters()), 20, seed=1)
    with pytest.raises(AssertionError):
        agree(model, new.model, kept, tolerance=1e-4)


def test_groups_keep_their_settings_and_the_old_optimizer_its_state():
    torch.manual_seed(0)
    model = chain().double()
    norms = [p for name, p in model.named_parameters() if ".bn" in name]
    others = [(name, p) for name, p in model.named_parameters() if ".bn" not in name]
    optimizer = optim.AdamW([{"params": others, "lr": 1e-2}], weight_decay=0.3)
    optimizer.add_param_group({"params": [("a", norms[0]), ("b", norms[1])], "weight_decay": 0.0})
    train(model, optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict())
    with torch.no_grad():
        model.features.C1.bn.weight[1] = 0
    ((x, _),) = batches(1, seed=7)
    new = prune(model, x, optimizer=optimizer, latency=False)
    first, second = new.optimizer.param_groups
    assert (first["lr"], first["weight_decay"]) == (1e-2, 0.3)
    assert (second["lr"], second["weight_decay"]) == (1e-3, 0.0)
    assert second["param_names"] == ["features.C1.bn.weight", "features.C1.bn.bias"]
    moment = new.optimizer.state[new.model.features.C1.bn.weight]["exp_avg"]
    old = optimizer.state[model.features.C1.bn.weight]["exp_avg"]
    assert torch.equal(moment, old[[0, 2, 3]]) and moment.shape == (3,)
    after = optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    for key, state in before["state"].items():
        assert all(torch.equal(value, after["state"][key][name]) for name, value in state.items())


def test_foreign_optimizers_and_other_rules_are_refused():
    model, other = chain(), chain()
    x = torch.randn(2, 3, 32, 32)
    with pytest.raises(ValueError, match="must be one of this model, and 2 of its 3 parameters"):
        few = [*list(other.parameters())[:2], next(model.parameters())]
        prune(model, x, optimizer=optim.SGD(few, lr=0.1))
    with pytest.raises(CannotPrune, match="state of LBFGS cannot be sliced: allowed are SGD, Adam"):
        prune(model, x, optimizer=optim.LBFGS(model.parameters()))
