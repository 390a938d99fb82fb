"""Measure two networks against each other: sizes, outputs, operations, latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from cnn.prune.certificate import Difference, Size
from cnn.prune.graph import width
from cnn.prune.modules import Border

__all__ = ["compare", "first_difference", "latency", "size"]

TOLERANCE = 1e-5  # of the scale of an operation's output
BATCHES = (1, 64)
PATIENCE = 10.0  # seconds for each batch
Model = nn.Module | Callable[[Tensor], Any]


def size(model: nn.Module, example: Tensor) -> Size:
    """Filters, parameters, and multiplications for one input like those of `example`."""
    macs = 0

    def count(module: nn.Module, args: Any, out: Tensor) -> None:
        nonlocal macs
        if isinstance(module, Border):
            macs += module.kernel[0].numel() * out[0].numel()
        else:
            macs += module.weight[0].numel() * out[0].numel()  # type: ignore[index, union-attr, operator]

    counted = (nn.Conv2d, nn.Linear, Border)
    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, counted)]
    try:
        _outputs(model, example[:1])
    finally:
        for hook in hooks:
            hook.remove()
    filters = sum(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    return Size(filters, sum(p.numel() for p in model.parameters()), macs)


def compare(before: Model, after: Model, inputs: Tensor, what: str = "given") -> Difference:
    """How much the outputs differ. Both networks are in evaluation mode.

    Parameters
    ----------
    before, after : torch.nn.Module or function of the inputs
    inputs : tensor (n, ...)
    what : str
        What the inputs are.
    """
    old, new = _outputs(before, inputs), _outputs(after, inputs)
    largest = max(float((a - b).abs().max()) for a, b in zip(old, new, strict=True))
    scale = max(float(a.abs().max()) for a in old)
    flipped = 0
    if old[0].ndim >= 2:
        flips = old[0].argmax(1) != new[0].argmax(1)  # of a map, at any position
        flipped = int(flips.reshape(len(flips), -1).any(1).sum())
    return Difference(what, len(inputs), largest, scale, flipped)


@torch.no_grad()
def _outputs(model: Model, inputs: Tensor) -> list[Tensor]:
    return [x for x in tree_leaves(model(inputs)) if isinstance(x, Tensor)]


# Operation by operation ---------------------------------------------------------------------------


class _Watched(fx.Interpreter):
    """Runs a graph, and hands over what every node gives."""

    def __init__(self, traced: fx.GraphModule, watch: Callable[[str, Any], None]) -> None:
        super().__init__(traced)
        self.watch = watch

    def run_node(self, n: fx.Node) -> Any:
        """As `fx.Interpreter`."""
        found = super().run_node(n)
        self.watch(n.name, found)
        return found


def first_difference(
    before: fx.GraphModule, after: fx.GraphModule, kept: dict[str, Tensor], example: Tensor
) -> str | None:
    """The first operation of `before` whose kept channels differ in `after`.

    Convolutions and linear layers are passed over: their constant may be in what follows.
    """
    names = {
        n.name
        for n in before.graph.nodes
        if width(n) and n.name in kept and not _is_dense(before, n) and n.op != "output"
    }
    old: dict[str, Tensor] = {}
    differing: list[str] = []

    def keep(name: str, value: Any) -> None:
        if name in names:
            index = kept[name].nonzero().flatten().to(value.device)
            old[name] = value.index_select(1, index)

    def look(name: str, value: Any) -> None:
        if name in old:
            scale = float(old[name].abs().max())
            if not float((old[name] - value).abs().max()) <= TOLERANCE * scale:
                differing.append(name)

    with torch.no_grad():
        _Watched(before, keep).run(example)
        _Watched(after, look).run(example)
    return differing[0] if differing else None


def _is_dense(traced: fx.GraphModule, node: fx.Node) -> bool:
    is_module = node.op == "call_module"
    return is_module and isinstance(traced.get_submodule(str(node.target)), nn.Conv2d | nn.Linear)


# Time ---------------------------------------------------------------------------------------------


def latency(
    before: nn.Module, after: nn.Module, example: Tensor, *, repeats: int = 9
) -> dict[int, tuple[float, float]]:
    """Median milliseconds of both networks at batch 1 and 64, run by turns.

    There are fewer repeats where they would take more than `PATIENCE`, but one.
    """
    found = {}
    for batch in BATCHES:
        inputs = example[:1].expand(batch, *example.shape[1:]).contiguous()
        times: tuple[list[float], list[float]] = ([], [])
        start = time.perf_counter()
        for done in range(repeats + 1):  # the first one warms up
            if done > 1 and time.perf_counter() - start > PATIENCE:
                break
            for model, taken in zip((before, after), times, strict=True):
                taken.append(_seconds(model, inputs))
        old, new = (1000 * statistics.median(taken[1:]) for taken in times)
        found[batch] = (old, new)
    return found


def _seconds(model: nn.Module, inputs: Tensor) -> float:
    start = time.perf_counter()
    found = _outputs(model, inputs)
    if found[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
