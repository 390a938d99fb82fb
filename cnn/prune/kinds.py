"""Which operation of `cnn.prune.operations` a node of the graph is."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from cnn.layers import ACTIVATIONS
from cnn.prune.graph import module_of, prunable, shape, sources, width, word
from cnn.prune.layer_operations import Added, BatchNorm, Dense, Grouped, Selected
from cnn.prune.modules import Border, Select, Shift
from cnn.prune.operations import SAME, Concat, Elementwise, Flatten, Operation, Pool, Size

__all__ = ["operations"]

UNARY = ACTIVATIONS | {"clamp", "clip", "neg", "abs", "add", "iadd", "sub", "isub"}
UNARY |= {"mul", "imul", "truediv", "itruediv", "div", "pow", "sqrt", "exp"}
BINARY = {"add", "iadd", "sub", "isub", "mul", "imul", "maximum", "minimum"}
POOLS = {"maxpool", "avgpool", "adaptivemaxpool", "adaptiveavgpool", "mean", "pad", "zeropad"}
POOLS |= {"interpolate", "upsample", "upsamplingnearest", "upsamplingbilinear", "squeeze"}
FLATTENS = {"flatten", "view", "reshape"}
NO_SHAPE = {"dim", "ndimension", "ndim", "dtype", "device"}


def operations(traced: fx.GraphModule) -> dict[fx.Node, Operation]:
    """What each node does to channels, in the order of computation."""
    known = prunable(traced)
    return {node: _kind(traced, node, known)(traced, node) for node in traced.graph.nodes}


def _kind(traced: fx.GraphModule, node: fx.Node, known: set[fx.Node]) -> type[Operation]:
    name, module = word(traced, node), module_of(traced, node)
    tensors, out = [s for s in sources(node) if shape(s) is not None], shape(node) or ()
    if node.op in ("placeholder", "output", "get_attr") or not tensors:
        return Operation
    if name in ("size", "getattr", *NO_SHAPE):
        return Size if _asks_no_channels(node, name) else Operation
    if len(out) < 2 or any(len(shape(s) or ()) < 2 for s in tensors):
        return Operation
    if isinstance(module, Border | Shift | Select):
        return Selected if isinstance(module, Select) else Added
    if module is not None and node in known:
        return _known(module, out)
    alone, first = len(sources(node)) == 1, shape(tensors[0]) or (0, 0)
    if name in SAME | UNARY and alone and _stateless(module, node):
        return Elementwise
    if name in BINARY and len(sources(node)) == len(tensors) == 2:
        alike = all(len(shape(s) or ()) == len(out) and width(s) == out[1] for s in tensors)
        return Elementwise if alike else Operation
    if name in POOLS and alone and out[:2] == first[:2]:
        return Pool if _per_channel(node, name) else Operation
    if name in FLATTENS and len(out) == 2 and out[0] == first[0] and out[1] % first[1] == 0:
        return Flatten
    if name in ("cat", "concat") and len(tensors) == len(sources(node)) and _axis(node) == 1:
        return Concat
    return Operation


def _known(module: nn.Module, out: tuple[int, ...]) -> type[Operation]:
    if isinstance(module, nn.Linear):
        return Dense if len(out) == 2 else Operation  # else the last dimension is not dimension 1
    if isinstance(module, nn.Conv2d):
        if len(out) != 4:
            return Operation
        return Dense if module.groups == 1 else Grouped
    return BatchNorm


def _stateless(module: nn.Module | None, node: fx.Node) -> bool:
    """No parameters of its own (PReLU), not random in evaluation (F.dropout as written there)."""
    if module is not None:
        return not list(module.parameters())
    return not (
        node.kwargs.get("training") or ("dropout" in str(node.target) and True in node.args)
    )


def _asks_no_channels(node: fx.Node, name: str) -> bool:
    if name in NO_SHAPE or (name == "getattr" and node.args[1] in NO_SHAPE):
        return True
    if name == "size" and len(node.args) > 1:
        return _harmless(node.args[1], node)
    picked = [user.args[1] for user in node.users if user.target is operator.getitem]
    return len(picked) == len(node.users) and all(_harmless(index, node) for index in picked)


def _harmless(index: Any, node: fx.Node) -> bool:
    """Whether the index of a shape leaves dimension 1 out."""
    rank = len(shape(sources(node)[0]) or ())
    try:
        return 1 not in torch.atleast_1d(torch.arange(rank)[index]).tolist()
    except (TypeError, IndexError):
        return False


def _axis(node: fx.Node) -> int:
    axis = node.kwargs.get("dim", node.kwargs.get("axis", node.args[1] if node.args[1:] else 0))
    return axis % len(shape(node) or (0,)) if isinstance(axis, int) else -1


def _per_channel(node: fx.Node, name: str) -> bool:
    """A mean over positions only, a padding of positions only."""
    rank = len(shape(sources(node)[0]) or ())
    if name == "mean":
        axes = node.kwargs.get("dim", node.args[1] if node.args[1:] else None)
        axes = (axes,) if isinstance(axes, int) else axes
        whole = isinstance(axes, tuple | list) and all(isinstance(axis, int) for axis in axes)
        return whole and all(int(axis) % rank > 1 for axis in axes)  # type: ignore[arg-type]
    if name == "pad":
        value = node.kwargs.get("value", node.args[3] if node.args[3:] else None)
        return rank == 4 and len(node.args[1]) <= 4 and not value  # type: ignore[arg-type]
    return rank == 4 or name == "squeeze"
