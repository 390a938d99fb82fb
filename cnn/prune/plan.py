r"""Which channels of which operation are kept.

Forwards, `Operation.constants` says which channels are constant; backwards, `Operation.needs` says
which channels somebody reads. A channel that nobody needs is not computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from cnn.prune import gradient_dead
from cnn.prune.certificate import Inactive
from cnn.prune.graph import CannotPrune, shape, sources, trace, width
from cnn.prune.kinds import operations
from cnn.prune.layer_operations import BatchNorm, Dense, Grouped
from cnn.prune.operations import Channels, Operation
from regdyn.checks import finite

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """A traced copy of a model and, for each node, what it does and what is kept of it.

    Attributes
    ----------
    traced : torch.fx.GraphModule
    operations : dict of node to Operation
    constants : dict of node to Channels
    kept : dict of node to bool tensor (channels,)
    readers : dict of str to int
        Operations that keep constant channels since they read every channel, and how many.
    inactive : Inactive or None
        What given images added.
    """

    traced: fx.GraphModule
    operations: dict[fx.Node, Operation]
    constants: dict[fx.Node, Channels]
    kept: dict[fx.Node, Tensor]
    readers: dict[str, int]
    inactive: Inactive | None = None

    @property
    def layers(self) -> list[tuple[str, int, int]]:
        """Path, filters and kept filters of each convolution that can be made narrower."""
        kinds = (Dense, Grouped)
        return [
            (str(node.target), len(self.kept[node]), int(self.kept[node].sum()))
            for node, op in self.operations.items()
            if isinstance(op, kinds) and isinstance(op.module, nn.Conv2d)
        ]

    def inputs(self, node: fx.Node) -> list[Channels]:
        """The constants of what `node` reads."""
        return [self.constants[source] for source in sources(node)]

    def needs(self, node: fx.Node) -> list[Tensor]:
        """The channels that `node` takes of each of its inputs."""
        if self.operations[node].narrows:
            return [self.kept[source] for source in sources(node)]
        return self.operations[node].needs(self.kept[node], self.inputs(node))


def plan(
    model: nn.Module, example: Tensor, threshold: float = 1e-3, inactive_on: Any = None
) -> Plan:
    r"""Find what goes. The model is not touched.

    Parameters
    ----------
    model : torch.nn.Module
    example : tensor (n, channels, height, width)
        An input of the model.
    threshold : float, default 1e-3
        A filter is dead if its BatchNorm's :math:`|\gamma|` is below.
    inactive_on : Tensor, Split, Stream or iterable, optional
        Images; what a ReLU holds at 0 on all of them is constant, too.

    Raises
    ------
    CannotPrune
        If the model cannot be traced, has no BatchNorm with gamma, or a number that is not finite.
    ValueError
        If the threshold is negative, it or the example is not finite, or the model does not run on
        `example`.
    """
    threshold = finite("threshold", threshold, 0.0)
    if not bool(example.isfinite().all()):
        raise ValueError("example_input holds numbers that are not finite.")
    traced = trace(model, example)
    found = operations(traced)
    norms = [op for op in found.values() if isinstance(op, BatchNorm)]
    if inactive_on is None and not any(op.module.affine for op in norms):
        raise CannotPrune(
            f"{type(model).__name__} has no BatchNorm with gamma whose filters could be dead."
        )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not bool(tensor.isfinite().all()):
            raise CannotPrune(f"{name} holds numbers that are not finite.")
    for op in norms:
        op.threshold = threshold
    images = None if inactive_on is None else gradient_dead.find(traced, found, inactive_on)
    constants: dict[fx.Node, Channels] = {}
    for node, op in found.items():
        constants[node] = op.constants([constants[source] for source in sources(node)])
    inactive = None if images is None else gradient_dead.summary(found, constants, images)
    return Plan(
        traced, found, constants, _kept(found, constants), _readers(found, constants), inactive
    )


def _readers(found: dict[fx.Node, Operation], constants: dict[fx.Node, Channels]) -> dict[str, int]:
    """Operations of which nothing is known, and how many constant channels they read."""
    counts = {}
    for node, op in found.items():
        count = max((int(constants[s].constant.sum()) for s in sources(node)), default=0)
        if type(op) is Operation and count:
            counts[f"{node.name} ({op.word})"] = count
    return counts


def _kept(
    found: dict[fx.Node, Operation], constants: dict[fx.Node, Channels]
) -> dict[fx.Node, Tensor]:
    """From the output back: what is needed of each node."""
    kept = {node: torch.zeros(width(node), dtype=torch.bool) for node in found}
    for node, op in reversed(found.items()):
        if len(kept[node]) and not kept[node].any():  # never an empty layer
            kept[node][int((~constants[node].constant).int().argmax())] = True
        kept[node] = op.complete(kept[node])
        inputs = [constants[source] for source in sources(node)]
        for source, needed in zip(sources(node), op.needs(kept[node], inputs), strict=True):
            if shape(source) is not None:
                kept[source] = kept[source] | needed
    return kept
