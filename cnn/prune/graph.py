"""A model as a graph of operations, and what makes it impossible to change one."""

from __future__ import annotations

import copy
import inspect
import operator
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.utils._pytree import tree_leaves

from cnn.layers import unwrapped
from cnn.prune.modules import Border, EvaluationOnly, Select, Shift
from cnn.prune.normact import split

__all__ = [
    "CannotPrune", "module_of", "prunable", "shape", "sources", "trace", "tracing_differs",
    "width", "word",
]  # fmt: skip

KNOWN = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
ALIASES = {"flatten", "view", "reshape", "squeeze", "contiguous", "identity", "dropout", "detach"}
RANDOM = {"StochasticDepth", "DropPath"}  # as a module it knows whether it is in training
IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow}


class CannotPrune(ValueError):
    """The model cannot be pruned exactly; the message names the operation."""


class _Tracer(fx.Tracer):
    """Looks into everything but torch's own modules, those derived from them, and ours."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (*KNOWN, Border, EvaluationOnly, Select, Shift))
        known = known or type(m).__name__ in ("StochasticDepth", "DropPath")
        return known or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """A traced copy of `model` in evaluation mode, each node with the shape that `example` gives.

    Raises
    ------
    CannotPrune
        If the model cannot be copied or traced, or it changes values in place that are read again.
    ValueError
        If it does not run on `example`.
    """
    model = unwrapped(model)
    name = type(model).__name__
    try:
        root = copy.deepcopy(model).eval()
        traced = fx.GraphModule(root, _Tracer().trace(root), name)
    except Exception as error:  # forward is the user's code: it can fail in any way
        raise CannotPrune(f"{name} cannot be traced by torch.fx: {_line(error)}") from error
    try:
        with torch.no_grad():
            given = root(example)  # ShapeProp would print what goes wrong
            is_split = split(traced)
            found = ShapeProp(traced).propagate(example)
    except Exception as error:
        given = f"a {example.dtype} tensor {tuple(example.shape)}"
        raise ValueError(
            f"example_input must be what {name} takes, not {given}: {_line(error)}"
        ) from error
    if is_split and not _alike(given, found):
        raise CannotPrune(
            f"{name} has a BatchNormAct2d that is more than BatchNorm and activation."
        )
    for node in traced.graph.nodes:
        _refuse(traced, node)
    traced.graph.eliminate_dead_code()
    return traced


def tracing_differs(model: nn.Module) -> bool:
    """Whether `model` computes something else in training, apart from what its modules do."""
    root, codes = copy.deepcopy(unwrapped(model)), []
    for training in (False, True):
        try:
            codes.append(str(_Tracer().trace(root.train(training))))
        except Exception:  # in evaluation mode it can be traced
            return True
    return codes[0] != codes[1]


def _alike(given: Any, found: Any) -> bool:
    pairs = zip(tree_leaves(given), tree_leaves(found), strict=True)
    return all(torch.allclose(a, b) for a, b in pairs if isinstance(a, Tensor))


def _line(error: Exception) -> str:
    """The first words of an error; torch.fx's interpreter appends the whole graph."""
    return " ".join(str(error).split())[:120]


# Nodes --------------------------------------------------------------------------------------------


def module_of(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that `node` calls, if it calls one."""
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def word(traced: fx.GraphModule, node: fx.Node) -> str:
    """nn.MaxPool2d, F.max_pool2d and torch.max_pool2d are all "maxpool"; x.relu_() is "relu"."""
    module = module_of(traced, node)
    if module is not None:
        found = type(module).__name__
    elif node.op in ("placeholder", "output", "get_attr"):
        return node.op
    else:
        found = node.target if isinstance(node.target, str) else node.target.__name__
    return re.sub(r"_|[123]d", "", found.lower())


def shape(node: fx.Node) -> tuple[int, ...] | None:
    """Shape of the tensor that `node` gives for the example; None if that is no tensor."""
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if isinstance(meta, TensorMetadata) else None


def width(node: fx.Node) -> int:
    """Channels, or features: the size of dimension 1; 0 where there is no such dimension."""
    found = shape(node)
    return found[1] if found is not None and len(found) >= 2 else 0


def sources(node: fx.Node) -> list[fx.Node]:
    """The nodes among the arguments, in their order; one that is given twice is listed twice."""
    found: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), lambda n: found.append(n) or n)
    return found


def prunable(traced: fx.GraphModule) -> set[fx.Node]:
    """The calls of convolutions, linear layers and BatchNorms that can be made narrower.

    Their forward must be torch's own, their parameters their own (no weight norm, no tied weights),
    and they must be called once.
    """
    owners = Counter(id(p) for _, p in traced.named_parameters(remove_duplicate=False))
    calls = {node: module_of(traced, node) for node in traced.graph.nodes}
    times = Counter(id(module) for module in calls.values())
    found = set()
    for node, module in calls.items():
        if not isinstance(module, KNOWN) or times[id(module)] > 1:
            continue
        kind = next(k for k in KNOWN if isinstance(module, k))
        plain = type(module).forward is kind.forward
        plain &= set(module._parameters) == {"weight", "bias"}
        if plain and all(owners[id(p)] == 1 for p in module.parameters()):
            found.add(node)
    return found


# What is refused ----------------------------------------------------------------------------------


def _refuse(traced: fx.GraphModule, node: fx.Node) -> None:
    """Writing into a value that is read again: then "constant" would depend on the order."""
    if node.target is operator.setitem or "out" in node.kwargs:
        raise CannotPrune(f"{node.name} writes into a tensor ({node.target}).")
    if not _in_place(traced, node):
        return
    order = {n: i for i, n in enumerate(traced.graph.nodes)}
    for alias in _same_memory(traced, node):
        later = [user for user in alias.users if order[user] > order[node]]
        if later and alias is not node:
            raise CannotPrune(
                f"{node.name} ({word(traced, node)}) changes in place what {later[0].name} reads "
                "after it."
            )


def _in_place(traced: fx.GraphModule, node: fx.Node) -> bool:
    module = module_of(traced, node)
    if module is not None:
        return bool(getattr(module, "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op != "call_function" or not callable(node.target):
        return False
    try:
        given = inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments
    except (TypeError, ValueError):
        given = node.kwargs
    name = getattr(node.target, "__name__", "")
    trailing = name.endswith("_") and not name.endswith("__")
    return node.target in IN_PLACE or trailing or bool(given.get("inplace", False))


def _same_memory(traced: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """Other names of the memory that `node` writes into: what it reads, and views of that."""
    first = node.args[0]
    while isinstance(first, fx.Node):
        yield first
        yield from _views(traced, first, but=node)
        if not (word(traced, first) in ALIASES or _in_place(traced, first)) or not first.args:
            return
        first = first.args[0]


def _views(traced: fx.GraphModule, node: fx.Node, but: fx.Node) -> Iterator[fx.Node]:
    for user in node.users:
        if user is not but and word(traced, user) in ALIASES:
            yield user
            yield from _views(traced, user, but)
