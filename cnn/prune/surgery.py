r"""Make the layers of a traced model narrower, and add what the removed channels still gave."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from cnn.prune.graph import sources
from cnn.prune.layer_operations import Added, BatchNorm, Dense, Grouped, Selected, borders
from cnn.prune.modules import Border, Select, Shift
from cnn.prune.operations import Flatten
from cnn.prune.plan import Plan

__all__ = ["Slices", "operate"]

WIDTHS = (("out_channels", "out_features", "num_features"), ("in_channels", "in_features"))
Edge = tuple[fx.Node, Tensor]  # what is read, and which of its channels
Slices = dict[str, tuple[Tensor, ...]]
"""Parameter -> kept indices of each of its first dimensions."""


def operate(plan: Plan) -> Slices:
    r"""Change ``plan.traced`` as planned.

    What a convolution or linear layer loses with its removed inputs, :math:`\sum_k c_k W_k`, goes

    * into the running mean of the BatchNorm that alone reads it, if it is the same everywhere;
    * into a `Shift`, if nothing of the kind follows;
    * into a `Border`, if zeros are padded and :math:`c \ne 0`.

    None of them is a parameter: what is trained afterwards is what was trained before.

    Returns
    -------
    Slices
        For every parameter that was cut, what is left of it.
    """
    slices: Slices = {}
    edges = {node: [*zip(sources(node), plan.needs(node), strict=True)] for node in plan.kept}
    for node, op in plan.operations.items():
        _select(plan, node, edges[node])
        outputs = _positions(plan.kept[node])
        if isinstance(op, Dense):
            _absorb(plan, node, op.module, edges[node][0])
            _cut(node, op.module, (outputs, _positions(edges[node][0][1])), slices)
        elif isinstance(op, Grouped):
            _cut(node, op.module, (outputs,), slices)
            op.module.groups = int(op.groups(plan.kept[node]).sum())
            op.module.in_channels = op.module.groups * op.module.weight.shape[1]
        elif isinstance(op, BatchNorm | Added):
            _cut(node, op.module, (outputs,), slices)
        elif isinstance(op, Selected):
            whole = plan.kept[edges[node][0][0]]
            index = (whole.cumsum(0) - 1)[op.module.index.cpu()[outputs]]
            op.module.index = index.to(op.module.index.device)
        elif isinstance(op, Flatten) and not bool(plan.kept[node].all()):
            _flatten(node)
    plan.traced.graph.eliminate_dead_code()
    plan.traced.graph.lint()
    plan.traced.recompile()
    return slices


def _positions(kept: Tensor) -> Tensor:
    return kept.nonzero().flatten()


# Layers -------------------------------------------------------------------------------------------


def _cut(node: fx.Node, module: nn.Module, kept: tuple[Tensor, ...], slices: Slices) -> None:
    """Make a layer narrower: `kept` holds the indices of outputs, then of inputs."""
    for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
        if tensor is None or tensor.ndim == 0:
            continue
        here = kept[: tensor.ndim]
        if all(len(k) == n for k, n in zip(here, tensor.shape, strict=False)):
            continue
        if isinstance(tensor, nn.Parameter):
            slices[f"{node.target}.{name}"] = here
            module._parameters[name] = nn.Parameter(
                cut(tensor.detach(), here), tensor.requires_grad
            )
        else:
            module._buffers[name] = cut(tensor, here)
    for names, index in zip(WIDTHS, kept, strict=False):
        for name in names:
            if hasattr(module, name):
                setattr(module, name, len(index))


def cut(tensor: Tensor, kept: tuple[Tensor, ...]) -> Tensor:
    """The entries `kept` of each of the first dimensions; the memory format stays."""
    out = tensor
    for dim, index in enumerate(kept):
        out = out.index_select(dim, index.to(tensor.device))
    last = torch.channels_last
    is_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=last)
    return out.contiguous(memory_format=last) if is_last and not tensor.is_contiguous() else out


# Constants ----------------------------------------------------------------------------------------


def _absorb(plan: Plan, node: fx.Node, module: nn.Conv2d | nn.Linear, edge: Edge) -> None:
    """Add what the removed inputs of a layer gave; before the layer is cut."""
    (source, needed), kept = edge, (_positions(plan.kept[node]),)
    value = torch.where(needed, 0, plan.constants[source].value).double()
    if not bool(value.any()):
        return
    weight = module.weight.detach()
    given = torch.einsum("oi...,i->o...", weight.double(), value.to(weight.device))
    if isinstance(module, nn.Conv2d) and borders(module):
        kernel = cut(given.unsqueeze(1).to(weight.dtype), kept)
        _insert(plan.traced, node, Border(kernel, module), sources(node)[0])
        return
    shift = given.flatten(1).sum(1) if isinstance(module, nn.Conv2d) else given
    reader = plan.operations.get(next(iter(node.users))) if len(node.users) == 1 else None
    if isinstance(reader, BatchNorm) and reader.module.running_mean is not None:
        reader.module.running_mean -= shift.to(reader.module.running_mean.dtype)
        return
    _insert(plan.traced, node, Shift(cut(shift.to(weight.dtype), kept)))


def _insert(traced: fx.GraphModule, node: fx.Node, module: nn.Module, *more: fx.Node) -> None:
    """Call `module` on the output of `node`; who read that reads this."""
    path = _add(traced, f"absorbed.{node.name}", module)
    readers = list(node.users)
    with traced.graph.inserting_after(node):
        added = traced.graph.call_module(path, (node, *more))
    for reader in readers:
        reader.replace_input_with(node, added)


def _add(traced: fx.GraphModule, path: str, module: nn.Module) -> str:
    """Where the module is; a model that was pruned before has some of the same name."""
    names = {name for name, _ in traced.named_modules()}
    path = next(p for p in (path + "_" * i for i in range(len(names) + 1)) if p not in names)
    module.training = False
    traced.add_submodule(path, module)
    return path


# Other nodes --------------------------------------------------------------------------------------


def _select(plan: Plan, node: fx.Node, edges: list[Edge]) -> None:
    """Where an input has channels that this reader does without, select the others."""
    given = iter(range(len(edges)))

    def argument(read: fx.Node) -> fx.Node:  # `read` may be a constant after the edge's source
        i = next(given)
        source, needed = edges[i]
        if not needed.any() or bool((needed == plan.kept[source]).all()):
            return read
        index = _positions(needed[plan.kept[source]]).to(_device(plan.traced))
        path = _add(plan.traced, f"selected.{node.name}_{i}", Select(index))
        with plan.traced.graph.inserting_before(node):
            return plan.traced.graph.call_module(path, (read,))

    node.args, node.kwargs = fx.map_arg((node.args, node.kwargs), argument)  # type: ignore[assignment]


def _device(traced: fx.GraphModule) -> torch.device:
    return next(traced.parameters()).device


def _flatten(node: fx.Node) -> None:
    """x.view(n, 512) as torch.flatten(x, 1), which has no number of features in it."""
    if node.op == "call_module":
        return
    source = sources(node)[0]
    node.op, node.target, node.args, node.kwargs = "call_function", torch.flatten, (source, 1), {}
