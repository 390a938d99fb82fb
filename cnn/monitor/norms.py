"""What of a model can be watched: the filters of its BatchNorms, the scales of its other norms."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cnn.audit.roles import SCALES
from cnn.layers import Layer, unwrapped


class Norm(NamedTuple):
    """A BatchNorm, whose scales are those of filters.

    Attributes
    ----------
    name : str
        ``"C1"``, ... after a convolution that torch.fx found (`cnn.layers`), else ``"N1"``, ...
    path : str
        In the model.
    kind : str
        Its class.
    filters : int
    relu : bool
        Whether a ReLU is known to follow.
    traced : bool
        Whether the weights around it are known.
    frozen : bool
        Whether its scale was not trained when the monitor began.
    """

    name: str
    path: str
    kind: str
    filters: int
    relu: bool
    traced: bool
    frozen: bool


class Scale(NamedTuple):
    """The scale of a norm that has no filters, such as LayerNorm's."""

    path: str
    kind: str
    size: int


def batchnorms(model: nn.Module) -> dict[str, nn.Module]:
    """Every BatchNorm with a scale by its path in `model`, each once.

    Raises
    ------
    ValueError
        If one has no shape yet.
    """
    found = {}
    for path, module in unwrapped(model).named_modules():
        if isinstance(module, _BatchNorm) and module.affine:
            _shaped(path, module.weight)
            found[path] = module
    return found


def scales(model: nn.Module) -> dict[str, tuple[str, Tensor]]:
    """Kind and scale of every other normalisation by its path; also of classes not torch's."""
    found, seen = {}, set()
    for path, module in unwrapped(model).named_modules():
        kind = type(module).__name__
        if isinstance(module, _BatchNorm) or "norm" not in kind.lower():
            continue
        for name, tensor in module.named_parameters(recurse=False):
            if name in SCALES and id(tensor) not in seen:
                _shaped(path, tensor)
                seen.add(id(tensor))
                found[path] = kind, tensor
    return found


def _shaped(path: str, tensor: Any) -> None:
    if nn.parameter.is_lazy(tensor):
        raise ValueError(f"{path} has no shape yet: run one batch through the model first.")


def described(layer: Layer, path: str, name: str, *, kind: str, traced: bool) -> Norm:
    """What is said of a layer that a recorder watches."""
    relu = isinstance(layer.activation, nn.ReLU)
    frozen = not layer.bn.weight.requires_grad
    return Norm(name, path, kind, layer.filters, relu, traced, frozen)


class Shells(nn.Module):
    """BatchNorms of any kind in the form that `cnn.record.Recorder` reads.

    Each shell holds the parameters and the running variance of its BatchNorm, not copies, after a
    convolution whose weights are NaN: what is not known. It computes nothing.
    """

    def __init__(self, norms: list[Any]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_unknown(bn) for bn in norms)
        self.norms = nn.ModuleList(_shell(bn) for bn in norms)

    def forward(self, x: Any) -> list[Any]:
        """For torch.fx: each BatchNorm reads its convolution."""
        return [bn(conv(x)) for conv, bn in zip(self.convs, self.norms, strict=True)]


def _unknown(bn: Any) -> nn.Module:
    with torch.device("meta"):  # draws no random numbers
        conv = nn.Conv2d(1, bn.num_features, 1, bias=False)
    nan = torch.full((bn.num_features, 1, 1, 1), torch.nan, device=bn.weight.device)
    conv.weight = nn.Parameter(nan, requires_grad=False)
    return conv


def _shell(bn: Any) -> nn.Module:
    shell = nn.BatchNorm2d(bn.num_features, eps=bn.eps, device="meta")
    shell.weight, shell.bias = bn.weight, bn.bias
    nan = torch.full((bn.num_features,), torch.nan, device=bn.weight.device)
    shell.running_var = nan if bn.running_var is None else bn.running_var
    return shell


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Random numbers go on after it as if nothing had been: tracing runs the user's code."""
    devices = [device] if device.type == "cuda" else []
    state, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=devices):
        yield
    random.setstate(state)
    np.random.set_state(of_numpy)  # noqa: NPY002
