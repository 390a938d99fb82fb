r"""The filters of any torch model: each convolution with its BatchNorm, activation and reader.

The order of computation is read from the model's graph (`torch.fx`), so that it does not matter
whether a ReLU is a module or a function.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor, fx, nn
from torch.nn.modules import activation

__all__ = ["Layer", "layers", "unwrapped"]

BatchNorm = nn.BatchNorm2d | nn.SyncBatchNorm

# Operations in lower case, without underscores and dimensions: F.max_pool2d is "maxpool".
KEEPS_FILTERS = {
    *("maxpool", "avgpool", "adaptivemaxpool", "adaptiveavgpool", "mean", "dropout", "identity"),
    *("flatten", "view", "reshape", "contiguous"),
}
MIXES_FILTERS = {"softmax", "logsoftmax", "softmin", "glu", "multiheadattention"}
ACTIVATIONS = {name.lower().removesuffix("2d") for name in activation.__all__} - MIXES_FILTERS
ASKS_SHAPE = {"size", "dim", "getattr"}  # as in x.view(x.size(0), -1)


@dataclass(frozen=True, eq=False)
class Layer:
    r"""One convolution and what follows it.

    Attributes
    ----------
    name : str
        ``"C1"``, ``"C2"``, ... in the order of computation.
    path : str
        The convolution's name in the model, such as ``"features.0"``.
    conv : torch.nn.Conv2d
    bn : torch.nn.BatchNorm2d or torch.nn.SyncBatchNorm
        :math:`\gamma` is ``bn.weight``, :math:`\beta` is ``bn.bias``.
    activation : callable or None
        What is applied to BatchNorm's output. None where nothing is, or not to it alone.
    following : torch.nn.Conv2d, torch.nn.Linear or None
        The convolution or linear layer that alone reads the output. None where there is no such
        module, as before a sum or a concatenation.
    """

    name: str
    path: str
    conv: nn.Conv2d
    bn: BatchNorm
    activation: Callable[[Tensor], Tensor] | None
    following: nn.Module | None

    @property
    def filters(self) -> int:
        """Number of filters."""
        return self.conv.out_channels

    @property
    def gamma(self) -> np.ndarray:
        r"""Copy of :math:`\gamma`, float64 (filters,)."""
        return self.bn.weight.detach().cpu().double().numpy()

    @property
    def beta(self) -> np.ndarray:
        r"""Copy of :math:`\beta`, float64 (filters,)."""
        return self.bn.bias.detach().cpu().double().numpy()

    @property
    def negative_slope(self) -> float:
        """Slope of the activation below zero: 0 for ReLU, 1 where there is none.

        Raises
        ------
        ValueError
            If the activation is neither ReLU nor leaky ReLU.
        """
        if self.activation is None:
            return 1.0
        if isinstance(self.activation, nn.ReLU):
            return 0.0
        if isinstance(self.activation, nn.LeakyReLU):
            return float(self.activation.negative_slope)
        raise ValueError(f"activation after {self.path} must be ReLU or leaky ReLU.")


def layers(model: nn.Module, *, chain: bool = True) -> list[Layer]:
    r"""The convolutions of `model` whose output goes into a BatchNorm with :math:`\gamma`.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that `torch.fx` can trace; those of torchvision are. DistributedDataParallel and
        torch.compile are looked through.
    chain : bool, default True
        Every layer's output must be read by one convolution or linear layer alone. Otherwise
        `following` is None where it is not.

    Returns
    -------
    list of Layer
        In the order of computation. The modules are the model's own, not copies.

    Raises
    ------
    ValueError
        If there is no such convolution, the model cannot be traced, or it is no chain.
    """
    model = unwrapped(model)
    found: list[Layer] = []
    for node in _graph(model).nodes:
        conv, after = _module(model, node), _reader(node)
        if not isinstance(conv, nn.Conv2d) or after is None:
            continue
        bn = _module(model, after)
        known = any(layer.conv is conv for layer in found)  # a module may be called twice
        if isinstance(bn, BatchNorm) and bn.affine and not known:
            act, following = _behind(model, after, filters=conv.out_channels)
            found.append(Layer(f"C{len(found) + 1}", str(node.target), conv, bn, act, following))
    name = type(model).__name__
    if not found:
        raise ValueError(f"model must have a convolution before a BatchNorm, and {name} has none.")
    open_ends = [layer for layer in found if layer.following is None]
    if chain and open_ends:
        raise ValueError(
            f"model must be a chain of layers, and in {name} no single convolution or linear "
            f"layer reads the output of {open_ends[0].path}."
        )
    return found


class _Tracer(fx.Tracer):
    """Looks into everything but convolutions, BatchNorms and linear layers, also derived ones."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, nn.Conv2d | nn.Linear | BatchNorm)
        return known or super().is_leaf_module(m, module_qualified_name)


def _graph(model: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(model)
    except Exception as error:  # forward is the user's code: it can fail in any way
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"model must be traceable by torch.fx, and {type(model).__name__} is not: {reason}"
        ) from error


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # torch.compile
            model = inner
        else:
            return model


def _module(model: nn.Module, node: fx.Node) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _word(model: nn.Module, node: fx.Node) -> str:
    """nn.MaxPool2d, F.max_pool2d and torch.max_pool2d are all "maxpool"."""
    module = _module(model, node)
    word = type(module).__name__ if module is not None else node.target
    word = word if isinstance(word, str) else getattr(word, "__name__", "")
    return re.sub(r"_|[123]d", "", word.lower())


def _reader(node: fx.Node) -> fx.Node | None:
    """The one node that reads the values of `node`, if there is one."""
    readers = [user for user in node.users if _target_name(user) not in ASKS_SHAPE]
    return readers[0] if len(readers) == 1 else None


def _target_name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _behind(
    model: nn.Module, start: fx.Node, *, filters: int
) -> tuple[Callable[[Tensor], Tensor] | None, nn.Module | None]:
    """Activation and reader behind the BatchNorm `start`."""
    act, node = None, _reader(start)
    while node is not None:
        module, word = _module(model, node), _word(model, node)
        if isinstance(module, nn.Conv2d):
            return act, module if module.in_channels == filters else None
        if isinstance(module, nn.Linear):
            return act, module if module.in_features % filters == 0 else None
        if word in ACTIVATIONS and act is None:
            act = _activation(module, node, word)
        elif word not in KEEPS_FILTERS:
            break
        node = _reader(node)
    return act, None


def _activation(module: nn.Module | None, node: fx.Node, word: str) -> Callable[[Tensor], Tensor]:
    """A function of its own: it triggers no hook of the model."""
    if word == "relu":
        return nn.ReLU()
    if word == "leakyrelu":
        given = node.args[1] if len(node.args) > 1 else node.kwargs.get("negative_slope", 0.01)
        slope = getattr(module, "negative_slope", given)
        return nn.LeakyReLU(slope)  # type: ignore[arg-type]
    if module is not None:
        return module
    function = node.target if callable(node.target) else getattr(Tensor, str(node.target))
    return partial(_call, function, node.args[1:], node.kwargs)


def _call(function: Callable, args: tuple, kwargs: dict, x: Tensor) -> Tensor:
    return function(x, *args, **kwargs)
