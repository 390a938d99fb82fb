r"""Channels that a ReLU holds at 0 on all given images, whatever their :math:`\gamma`.

Such a filter gets no gradient from these images. That it gives 0 for others is not known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from cnn.evaluation import batches
from cnn.prune.certificate import Inactive
from cnn.prune.graph import sources
from cnn.prune.operations import Channels, Elementwise, Operation

__all__ = ["find", "summary"]

FLAT = {"relu", "relu6"}  # 0 for all that is not positive


class _Inputs(fx.Interpreter):
    """Runs a graph, and keeps of what each ReLU reads the maximum and the moments."""

    def __init__(self, traced: fx.GraphModule, nodes: set[fx.Node]) -> None:
        super().__init__(traced)
        self.nodes = nodes
        self.top: dict[fx.Node, Tensor] = {}
        self.sums: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """As `fx.Interpreter`; it looks before, since a ReLU may work in place."""
        if n in self.nodes:
            x = self.env[sources(n)[0]].double().transpose(0, 1).flatten(1)
            top, one = x.amax(1), torch.full_like(x[:, 0], x.shape[1])
            sums = torch.stack([one, x.sum(1), x.square().sum(1)])
            self.top[n] = torch.maximum(self.top[n], top) if n in self.top else top
            self.sums[n] = self.sums[n] + sums if n in self.sums else sums
        return super().run_node(n)


def find(traced: fx.GraphModule, found: dict[fx.Node, Operation], images: Any) -> int:
    """Mark in every ReLU of `found` what is 0 at every position of all images.

    Parameters
    ----------
    traced : torch.fx.GraphModule
    found : dict of node to Operation
        `Elementwise.off` and `Elementwise.margin` of its ReLUs are set: which channels, and how far
        below 0 the largest input is, in standard deviations of the channel's inputs.
    images : Tensor, Split, Stream or iterable
        As for `cnn.measure.activation_maxima`.

    Returns
    -------
    int
        How many images.

    Raises
    ------
    ValueError
        If there is no image, or they are not what the network takes.
    """
    relus = {n: op for n, op in found.items() if type(op) is Elementwise and op.word in FLAT}
    run, count = _Inputs(traced, set(relus)), 0
    with torch.no_grad():
        for x, _ in batches(traced, images, 500):
            try:
                run.run(x)
            except (RuntimeError, TypeError) as error:
                words = " ".join(str(error).split())[:120]
                raise ValueError(f"inactive_on must be what the model takes: {words}") from error
            count += len(x)
    for node, op in relus.items():
        top, (n, total, squares) = run.top[node].cpu(), run.sums[node].cpu()
        std = (squares / n - (total / n) ** 2).clamp(min=0).sqrt()
        op.off, op.margin = top <= 0, -top / std
    return count


def summary(
    found: dict[fx.Node, Operation], constants: dict[fx.Node, Channels], images: int
) -> Inactive:
    """How many channels the images alone made constant, and the smallest margin among them."""
    channels, margin = 0, float("inf")
    for node, op in found.items():
        if isinstance(op, Elementwise) and op.off is not None:
            known = torch.stack([constants[s].constant for s in sources(node)]).all(0)
            only = op.off & ~known
            channels += int(only.sum())
            margin = min([margin, *op.margin[only].tolist()])
    return Inactive(images, channels, margin if channels else None)
