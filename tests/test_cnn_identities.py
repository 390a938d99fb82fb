r"""What scale invariance says exactly of the gradients of a network's filters.

With :math:`G_j = \gamma_j \, \partial L / \partial \gamma_j + \beta_j \, \partial L / \partial
\beta_j` of filter j, behind which stands a positively homogeneous activation, f(c y) = c f(y) for
c > 0 (ReLU, leaky ReLU), then perhaps a pooling, then the weights :math:`w_j` that read it:

one filter   (gamma_j, beta_j) times c and w_j by c is the same network, at any eps of BatchNorm:
             :math:`G_j = w_j \cdot \partial L / \partial w_j`.
a layer      all (gamma, beta) of a layer times c changes the next layer's input by c, which its
             BatchNorm undoes but for eps: with :math:`v_k` the batch's variance before it,
             :math:`\sum_j G_j = \sum_k \gamma_k \, (\partial L / \partial \gamma_k) \,
             \varepsilon / (v_k + \varepsilon)`, which is 0 at eps = 0.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnn import data
from cnn.config import DataConfig, ModelConfig
from cnn.models import build, layers

EXACT = 1e-10  # relative: float64 leaves 1e-13


@pytest.fixture(autouse=True)
def one_thread():
    """The network is small, and the machine's cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Push:
    """A BasicNet of 3 to 6 filters per layer after one backward pass on digits, in float64.

    Poolings follow C1 and C2; C7 is read by a linear layer, behind an average over positions.
    """

    def __init__(self, *, slope=0.0, eps=1e-5, act=None):
        torch.manual_seed(0)
        config = ModelConfig(widths=(3, 4, 5, 6, 5, 4, 3), negative_slope=slope, bn_eps=eps)
        images = data.load(DataConfig(images=100))
        model = build(config, channels=images.channels, classes=images.classes, size=images.size)
        model = scattered(model if act is None else with_activation(model, act)).double()
        variance = []
        hooks = [
            module.register_forward_pre_hook(lambda _, x: variance.append(batch_variance(*x)))
            for module in model.modules()
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)
        ]
        batches = data.Batches(images.train, batch=40, seed=0)
        x, y = next(iter(batches.start()))
        F.cross_entropy(model(x.double()), y).backward()
        for hook in hooks:
            hook.remove()
        norms = [layer.bn for layer in layers(model)] + [model.head.bn1]
        self.layers = layers(model)
        self.eps = eps
        self.behind = list(zip(norms[1:], variance[1:], strict=True))  # BatchNorm after each layer

    def of_filters(self, layer):
        """G_j of every filter."""
        gamma, beta = layer.bn.weight, layer.bn.bias
        return (gamma * gamma.grad + beta * beta.grad).detach()

    def of_weights(self, layer):
        """w_j . dL/dw_j of the weights that read filter j."""
        weight = layer.following.weight
        product = (weight * weight.grad).detach()
        if isinstance(layer.following, nn.Linear):  # several inputs may come from one filter
            product = product.unflatten(1, (layer.filters, -1))
        return product.transpose(0, 1).flatten(1).sum(1)

    def of_eps(self, number):
        """What BatchNorm's eps leaves of the next layer's scale."""
        bn, variance = self.behind[number]
        left = bn.weight * bn.weight.grad * self.eps / (variance + self.eps)
        return left.detach().sum()


def scattered(model):
    """gamma of both signs and beta of any size: many a ReLU6 is full."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.weight.normal_(0, 4, generator=generator)
                module.bias.normal_(0.2, 0.5, generator=generator)
    return model


def with_activation(model, act):
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, act)
    return model


def batch_variance(x):
    """BatchNorm's, with divisor n."""
    return x.detach().transpose(0, 1).flatten(1).var(1, correction=0)


def error(found, expected):
    """The largest difference, relative to the largest number."""
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module", params=[0.0, 0.01, 0.3], ids=["relu", "leaky-0.01", "leaky-0.3"])
def push(request):
    return Push(slope=request.param)


# One filter --------------------------------------------------------------------------------------


def test_a_filter_and_its_readers_feel_one_signal(push):
    assert len(push.layers) == 7
    for layer in push.layers:
        found, expected = push.of_filters(layer), push.of_weights(layer)
        assert expected.abs().max() > 1e-5, layer.name  # not 0 = 0
        assert error(found, expected) < EXACT, layer.name


@pytest.mark.parametrize("eps", [1e-12, 1e-1])
def test_batchnorm_eps_does_not_matter_to_one_filter(eps):
    push = Push(eps=eps)
    for layer in push.layers:
        assert error(push.of_filters(layer), push.of_weights(layer)) < EXACT, layer.name


@pytest.mark.parametrize(
    "act", [nn.SiLU(), nn.ReLU6(), nn.Softplus()], ids=["silu", "relu6", "softplus"]
)
def test_an_activation_that_is_not_homogeneous_breaks_it(act):
    push = Push(act=act)
    worst = max(error(push.of_filters(one), push.of_weights(one)) for one in push.layers)
    assert worst > 0.05


def test_a_filter_behind_a_dead_relu_feels_nothing():
    """Absorbing: gamma, beta and the readers' gradients are 0 exactly."""
    torch.manual_seed(0)
    model = build(ModelConfig(widths=(3, 4), pools=()), channels=1, classes=4, size=6).double()
    first = layers(model)[0]
    with torch.no_grad():
        first.bn.bias[1] = -100.0
    x = torch.randn(8, 1, 6, 6, dtype=torch.float64)
    F.cross_entropy(model(x), torch.arange(8) % 4).backward()
    assert first.bn.weight.grad[1] == 0.0 and first.bn.bias.grad[1] == 0.0
    assert not first.following.weight.grad[:, 1].any()
    assert first.bn.weight.grad[0] != 0.0 and first.following.weight.grad[:, 0].any()


# A layer -----------------------------------------------------------------------------------------


def test_a_layer_feels_what_eps_leaves(push):
    for number, layer in enumerate(push.layers):
        each = push.of_filters(layer)
        assert abs(each.sum() - push.of_eps(number)) < EXACT * each.abs().sum(), layer.name


def test_it_is_exact_at_any_eps():
    push = Push(eps=1e-1)
    for number, layer in enumerate(push.layers):
        each, left = push.of_filters(layer), push.of_eps(number)
        assert abs(each.sum() - left) < EXACT * each.abs().sum(), layer.name
        assert abs(left) > 1e-6 * each.abs().sum(), layer.name  # here it is not zero


def test_without_eps_the_sum_over_a_layer_is_zero():
    push = Push(eps=1e-14)
    for layer in push.layers:
        each = push.of_filters(layer)
        assert abs(each.sum()) < 1e-8 * each.abs().sum(), layer.name  # variances from 1e-5 on


@pytest.mark.parametrize("act", [nn.SiLU(), nn.ReLU6()], ids=["silu", "relu6"])
def test_the_sum_needs_a_homogeneous_activation_too(act):
    push = Push(act=act, eps=1e-14)
    worst = max(
        float(abs(each.sum()) / each.abs().sum()) for each in map(push.of_filters, push.layers)
    )
    assert worst > 0.01
