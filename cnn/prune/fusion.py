r"""BatchNorm fused into the convolution before it, for evaluation only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from cnn.prune.graph import module_of, prunable, shape, sources
from cnn.prune.modules import Border, EvaluationOnly, Shift

__all__ = ["fuse"]

Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm


def fuse(traced: fx.GraphModule) -> str:
    r"""Put each BatchNorm into the convolution or linear layer whose output it alone reads.

    With :math:`s = \gamma / \sqrt{v + \epsilon}` and the running mean m and variance v::

        s (W * x + b - m) + beta  =  (s W) * x + s (b - m) + beta

    A `Border` between the two is multiplied by s, too. A `Shift`, between them or behind a
    convolution without BatchNorm, goes into the bias.

    Parameters
    ----------
    traced : torch.fx.GraphModule
        In evaluation mode; it is changed, and can no longer be set to training mode.

    Returns
    -------
    str
        A sentence for the certificate: how many were fused.
    """
    known = prunable(traced)
    norms = [n for n in traced.graph.nodes if isinstance(module_of(traced, n), Norm)]
    fused = 0
    for node in norms:
        chain = _chain(traced, node, known) if node in known else None
        if chain is not None and module_of(traced, node).running_mean is not None:  # type: ignore[union-attr]
            _into(traced, node, chain)
            fused += 1
    for node in [*traced.graph.nodes]:
        chain = _chain(traced, node, known)
        if chain is not None and isinstance(module_of(traced, node), Shift):
            _bias(_layer(traced, chain)).data.add_(module_of(traced, node).value)  # type: ignore[union-attr]
            _leave_out(traced, node)
    _refuse_training(traced)
    traced.graph.lint()
    traced.recompile()
    return (
        f"{fused} of {len(norms)} BatchNorms are fused into the layer before them: "
        "this network is for evaluation only."
    )


def _chain(traced: fx.GraphModule, node: fx.Node, known: set[fx.Node]) -> list[fx.Node] | None:
    """From `node` back to the layer that it alone reads, over what pruning added; None if none."""
    chain = []
    while sources(node):
        node = sources(node)[0]
        chain.append(node)
        module = module_of(traced, node)
        if len(node.users) != 1:
            return None
        if isinstance(module, nn.Conv2d | nn.Linear):
            features_last = isinstance(module, nn.Linear) and len(shape(node) or ()) != 2
            return chain if node in known and not features_last else None
        if not isinstance(module, Border | Shift):
            return None
    return None


def _layer(traced: fx.GraphModule, chain: list[fx.Node]) -> nn.Conv2d | nn.Linear:
    return module_of(traced, chain[-1])  # type: ignore[return-value]


@torch.no_grad()
def _into(traced: fx.GraphModule, node: fx.Node, chain: list[fx.Node]) -> None:
    """Into the layer at the end of `chain`, and what lies between; sums in float64."""
    bn: Any = traced.get_submodule(str(node.target))
    layer, mean = _layer(traced, chain), bn.running_mean.double()
    gamma = 1.0 if bn.weight is None else bn.weight.double()
    beta = 0.0 if bn.bias is None else bn.bias.double()
    scale, bias = gamma / (bn.running_var.double() + bn.eps).sqrt(), _bias(layer)
    _scale(layer.weight.data, scale)
    bias.data.copy_(scale * (bias.double() - mean) + beta)
    for between in chain[:-1]:
        module = module_of(traced, between)
        _scale(module.kernel if isinstance(module, Border) else module.value, scale)  # type: ignore[union-attr, arg-type]
    _leave_out(traced, node)


def _scale(tensor: Tensor, scale: Tensor) -> None:
    """Each output's entries times its number, in place: the memory format stays."""
    tensor.copy_(tensor.double() * scale.reshape(-1, *[1] * (tensor.ndim - 1)))


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """The bias of a layer, 0 where there was none."""
    if layer.bias is None:
        weight = layer.weight
        layer.bias = nn.Parameter(weight.new_zeros(weight.shape[0]), weight.requires_grad)
    return layer.bias


def _leave_out(traced: fx.GraphModule, node: fx.Node) -> None:
    """Who read `node` reads what it read. What its module holds (timm's activation) stays."""
    node.replace_all_uses_with(sources(node)[0])
    traced.graph.erase_node(node)
    path, holder = str(node.target), nn.Module()
    for name, child in traced.get_submodule(path).named_children():
        holder.add_module(name, child)
    traced.delete_submodule(path)
    if [*holder.children()]:
        traced.add_submodule(path, holder)


def _refuse_training(traced: fx.GraphModule) -> None:
    """`EvaluationOnly` is the first module that `train` asks. In the graph, so that it is saved."""
    if any(isinstance(module, EvaluationOnly) for module in traced.modules()):
        return
    first = next(node for node in traced.graph.nodes if node.op == "placeholder")
    name = "evaluation_only"
    traced._modules = {name: EvaluationOnly().eval(), **traced._modules}
    readers = [*first.users]
    with traced.graph.inserting_after(first):
        called = traced.graph.call_module(name, (first,))
    for reader in readers:
        reader.replace_input_with(first, called)
