r"""Loss and error of a network, also with some of its filters set to zero."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnn.inactive import PerFilter, check_layers
from cnn.layers import layers
from regdyn.checks import integer, shown

__all__ = ["Evaluation", "batches", "evaluate", "evaluating", "zeroed"]


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats), and percent of images whose label is not the first choice, or
    not among the first five."""

    loss: float
    error: float
    top5: float
    images: int


def evaluate(model: nn.Module, data: Any, *, batch: int = 500) -> Evaluation:
    """Loss and errors in evaluation mode, one crop per image, no augmentation.

    Parameters
    ----------
    model : torch.nn.Module
        It returns logits (n, classes).
    data : Split, Stream or iterable of (x, y)
        Images and labels: a part of `cnn.data.load`, or batches of normalised images.
    batch : int, default 500
        Images at a time; batches that are given stay as they are.

    Returns
    -------
    Evaluation
        With five classes or fewer, `top5` is 0.
    """
    losses, right, among, count = [], [], [], 0
    with evaluating(model):
        for x, y in batches(model, data, batch):
            if y is None:
                raise ValueError("data must give images and labels, not images alone.")
            logits = model(x)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            losses.append(F.cross_entropy(logits, y, reduction="sum"))
            right.append((logits.argmax(1) == y).sum())
            best = logits.topk(min(5, logits.shape[1]), 1).indices
            among.append((best == y[:, None]).any(1).sum())
            count += len(y)
    loss, hit, hit5 = (torch.stack(n).cpu().double().sum().item() for n in (losses, right, among))
    error, top5 = (100 * (count - good) / count for good in (hit, hit5))
    return Evaluation(loss / count, error, top5, count)


@contextmanager
def zeroed(model: nn.Module, inactive: PerFilter) -> Iterator[nn.Module]:
    r"""Within it, the masked filters give 0: their :math:`\gamma` and :math:`\beta` are set to 0.

    Afterwards both have the bits that they had. The error after zeroing::

        with zeroed(model, by_gamma(model)):
            after = evaluate(model, test)
    """
    found = layers(model, chain=False)
    check_layers("inactive", inactive, found)
    values = [p for layer in found for p in (layer.bn.weight, layer.bn.bias)]
    before = [p.detach().clone() for p in values]
    with torch.no_grad():
        for layer in found:
            mask = torch.as_tensor(inactive[layer.name], dtype=torch.bool)
            mask = mask.to(layer.bn.weight.device)
            layer.bn.weight.masked_fill_(mask, 0)
            layer.bn.bias.masked_fill_(mask, 0)
    try:
        yield model
    finally:
        with torch.no_grad():
            for value, old in zip(values, before, strict=True):
                value.copy_(old)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def batches(model: nn.Module, data: Any, batch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """(images, labels or None) on the model's device and in its floating-point type.

    `data` is a tensor of images, an object with ``in_order(batch, device)``, or an iterable of
    images or of (images, labels).
    """
    batch = integer("batch", batch, 1)
    like = next(model.parameters())
    if isinstance(data, Tensor):
        data = data.split(batch)
    elif hasattr(data, "in_order"):
        data = data.in_order(batch, like.device)
    elif isinstance(data, str) or not isinstance(data, Iterable):
        raise ValueError(f"data must be images, a set of them or batches, not {shown(data)}.")
    empty = True
    for entry in data:
        pair = (entry, None) if isinstance(entry, Tensor) else entry
        if not isinstance(pair, tuple | list) or not pair or not isinstance(pair[0], Tensor):
            raise ValueError(f"a batch must be images or (images, labels), not {shown(entry)}.")
        x, y = pair[0], pair[1] if len(pair) > 1 else None
        if len(x) == 0:
            continue
        if not x.is_floating_point():
            raise ValueError(f"images must be normalised floating-point numbers, not {x.dtype}.")
        empty = False
        yield x.to(like), None if y is None else y.to(like.device)
    if empty:
        raise ValueError("data must hold at least one image.")
