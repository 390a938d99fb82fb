"""Prune a network: plan, operate, certify."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn, optim

from cnn.layers import unwrapped
from cnn.prune import fusion, measure
from cnn.prune.certificate import Certificate
from cnn.prune.graph import tracing_differs
from cnn.prune.optimizer import check, sliced
from cnn.prune.plan import Plan, plan
from cnn.prune.surgery import operate
from regdyn.checks import shown

__all__ = ["Pruned", "prune"]


@dataclass(frozen=True, eq=False)
class Pruned:
    """What `prune` returns.

    Attributes
    ----------
    model : torch.fx.GraphModule
        The narrower network, in the mode (training or evaluation) of the one before. Its modules
        and parameters have the names that they had.
    optimizer : torch.optim.Optimizer or None
        For its parameters, with the state of what is kept.
    certificate : Certificate
    """

    model: fx.GraphModule
    optimizer: optim.Optimizer | None
    certificate: Certificate


def prune(
    model: nn.Module,
    example_input: Tensor,
    threshold: float = 1e-3,
    optimizer: optim.Optimizer | None = None,
    *,
    inactive_on: Any = None,
    fuse: bool = False,
    latency: bool = True,
) -> Pruned:
    r"""Remove the dead filters of any network that torch.fx can trace.

    A filter is dead if its BatchNorm's :math:`|\gamma|` is below the threshold. What it still gives
    is the constant :math:`\text{act}(\beta)`, and that is added to what reads it, exactly, at any
    input size. No layer loses its last filter.

    Parameters
    ----------
    model : torch.nn.Module
        It is not changed, nor is the optimizer.
    example_input : tensor (n, channels, height, width)
        Some inputs, on the model's device; also those on which the certificate compares.
    threshold : float, default 1e-3
    optimizer : torch.optim.Optimizer, optional
        One that trains `model`, to be carried over.
    inactive_on : Tensor, Split, Stream or iterable, optional
        Images. Filters that a ReLU holds at 0 at every position of all of them go, too, whatever
        their gamma: exact for these images (in evaluation mode), not known for others.
    fuse : bool, default False
        Put each BatchNorm into the convolution before it. The result is for evaluation only.
    latency : bool, default True
        Measure how long both networks take.

    Returns
    -------
    Pruned
        model, optimizer, certificate.

    Raises
    ------
    CannotPrune
        If it cannot be done exactly; the message names the operation.
    ValueError
        If an argument is not what it should be.

    Notes
    -----
    ``docs/prune.md`` says what is removed, what is kept, and how training goes on.
    """
    if not isinstance(example_input, Tensor) or example_input.ndim < 2 or not len(example_input):
        raise ValueError(f"example_input must be a tensor (n, ...), not {shown(example_input)}.")
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, not {shown(model)}.")
    model = unwrapped(model)
    if fuse and (optimizer is not None or model.training):
        what = "with an optimizer" if optimizer is not None else "of a model in training mode"
        raise ValueError(f"fuse must be False {what}: a fused network is for evaluation only.")
    if optimizer is not None:
        check(optimizer, model)
    asked = plan(model, example_input, threshold, inactive_on)
    before = copy.deepcopy(asked.traced)
    slices = operate(asked)
    notes = [fusion.fuse(asked.traced)] if fuse else []
    made = None if optimizer is None else sliced(optimizer, model, asked.traced, slices)
    certificate = _certify(before, asked, example_input, threshold, latency)
    certificate.notes.extend(notes)
    if tracing_differs(model):
        certificate.notes.append(
            "The model computes something else in training than in evaluation; the pruned one "
            "computes what evaluation does, in either mode."
        )
    _modes(model, asked.traced)
    return Pruned(asked.traced, made, certificate)


def _certify(
    before: fx.GraphModule, done: Plan, example: Tensor, threshold: float, timed: bool
) -> Certificate:
    """Measure what was done; both networks are in evaluation mode."""
    after = done.traced
    drawn = torch.randn(example.shape, generator=torch.Generator().manual_seed(0))
    random = drawn.to(example.device, example.dtype)
    kept = {node.name: mask for node, mask in done.kept.items()}
    return Certificate(
        threshold=float(threshold),
        before=measure.size(before, example),
        after=measure.size(after, example),
        layers=done.layers,
        differences=[
            measure.compare(before, after, example),
            measure.compare(before, after, random, "random"),
        ],
        first=measure.first_difference(before, after, kept, example),
        kept=done.readers,
        latency=measure.latency(before, after, example) if timed else {},
        inactive=done.inactive,
    )


def _modes(model: nn.Module, pruned: nn.Module) -> None:
    """Every module in the mode that it had: some BatchNorms may be frozen."""
    pruned.train(model.training)
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in pruned.named_modules():
        module.training = modes.get(name, model.training)
