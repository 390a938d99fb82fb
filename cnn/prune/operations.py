r"""What each operation of a network does to channels: which it leaves constant, which it needs.

A channel (of a tensor (n, channels, height, width)) or feature (n, features) is *constant* if it is
the same number at every position, for every input. Two questions are answered here, operation by
operation:

* `constants`: given the constant channels that it reads, which does it give, and of what value?
* `needs`: given the channels of its output that are kept, which must it find in its inputs?

What is unknown (`Operation` itself) reads all channels and gives nothing constant. That is always
exact, as it sees what it saw before; it only keeps filters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, fx

from cnn.prune.graph import module_of, shape, sources, width, word

__all__ = [
    "Channels", "Concat", "Elementwise", "Flatten", "Operation", "Pool", "Size", "one_at_least",
]  # fmt: skip

SAME = {"dropout", "alphadropout", "featuredropout", "stochasticdepth", "droppath", "identity"}
SAME |= {"contiguous", "clone", "detach"}


class Channels(NamedTuple):
    """Which channels are constant, bool (channels,), and their values, 0 for the others."""

    constant: Tensor
    value: Tensor


class Operation:
    """An operation of which nothing is known.

    Attributes
    ----------
    narrows : bool
        It can read a constant channel or do without it: it takes what there is of its input.
    """

    narrows = False

    def __init__(self, traced: fx.GraphModule, node: fx.Node) -> None:
        self.node, self.module, self.word = node, module_of(traced, node), word(traced, node)
        self.width = width(node)

    def constants(self, inputs: list[Channels]) -> Channels:
        """The constant channels of the output, from those of each input."""
        meta = self.node.meta.get("tensor_meta")
        dtype = getattr(meta, "dtype", torch.float32)
        return Channels(
            torch.zeros(self.width, dtype=torch.bool), torch.zeros(self.width, dtype=dtype)
        )

    def complete(self, kept: Tensor) -> Tensor:
        """`kept` and those that cannot be left out then."""
        return torch.ones_like(kept)

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """The channels of each input that the kept channels of the output need."""
        return [torch.ones_like(channels.constant) for channels in inputs]


class Size(Operation):
    """x.size(0), x.shape[2:]: the number of channels is not asked for."""

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """None of them."""
        return [torch.zeros_like(channels.constant) for channels in inputs]


class Elementwise(Operation):
    """An activation, a sum of two: each channel from the same channel of every input.

    Attributes
    ----------
    off, margin : tensor (channels,) or None
        Set by `cnn.prune.gradient_dead`: channels of a ReLU that were 0 on all images, and how far.
    """

    off: Tensor | None = None
    margin: Tensor

    def constants(self, inputs: list[Channels]) -> Channels:
        """Where all inputs are constant; of a product also where one of them is 0."""
        constant = torch.stack([channels.constant for channels in inputs]).all(0)
        if self.word in ("mul", "imul"):  # 0 times anything
            zeros = [channels.constant & (channels.value == 0) for channels in inputs]
            constant = constant | torch.stack(zeros).any(0)
        values = [channels.value for channels in inputs]
        value = values[0] if self.word in SAME else self._evaluate(values)
        value = torch.where(constant, value, 0)
        return Channels(constant if self.off is None else constant | self.off, value)

    def complete(self, kept: Tensor) -> Tensor:
        """Each by itself."""
        return kept

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """The same channels of every input."""
        return [kept for _ in inputs]

    def _evaluate(self, values: list[Tensor]) -> Tensor:
        """The operation itself, on the constants."""
        row = (1, -1, 1, 1)[: len(shape(self.node) or ())]
        return _call(self, [v.clone().reshape(row) for v in values]).reshape(-1)


class Pool(Elementwise):
    """Pooling, padding, resizing: each channel by itself, but the border may differ."""

    def constants(self, inputs: list[Channels]) -> Channels:
        """All constant inputs, or only those that are 0 if the border differs."""
        (channels,) = inputs
        stays = self._stays_ones(channels.value.dtype) | (channels.value == 0)
        constant = channels.constant & stays
        return Channels(constant, torch.where(constant, channels.value, 0))

    def _stays_ones(self, dtype: torch.dtype) -> bool:
        """Whether a map of ones stays one: no border is seen."""
        size = (shape(sources(self.node)[0]) or ())[2:]
        given = _call(self, [torch.ones((1, 1, *size), dtype=dtype)])
        return bool(((given - 1).abs() <= 4 * torch.finfo(dtype).eps).all())


class Flatten(Operation):
    """(n, channels, height, width) to (n, features)."""

    def __init__(self, traced: fx.GraphModule, node: fx.Node) -> None:
        super().__init__(traced, node)
        self.positions = self.width // width(sources(node)[0])

    def constants(self, inputs: list[Channels]) -> Channels:
        """All features of a constant channel."""
        return Channels(*(part.repeat_interleave(self.positions) for part in inputs[0]))

    def complete(self, kept: Tensor) -> Tensor:
        """All features of a channel, or none."""
        return self._channels(kept).repeat_interleave(self.positions)

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """The channels with a kept feature."""
        none = [torch.zeros_like(channels.constant) for channels in inputs[1:]]
        return [self._channels(kept), *none]

    def _channels(self, kept: Tensor) -> Tensor:
        return kept.reshape(-1, self.positions).any(1)


class Concat(Operation):
    """Channels one after the other."""

    def constants(self, inputs: list[Channels]) -> Channels:
        """Those of every part."""
        return Channels(*(torch.cat(parts) for parts in zip(*inputs, strict=True)))

    def complete(self, kept: Tensor) -> Tensor:
        """At least one channel of each part."""
        return torch.cat([one_at_least(part) for part in self._split(kept)])

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """What is kept of each part."""
        return self._split(kept)

    def _split(self, kept: Tensor) -> list[Tensor]:
        return list(kept.split([width(source) for source in sources(self.node)]))


def one_at_least(kept: Tensor) -> Tensor:
    """Never an empty layer: the first channel, if there is none."""
    kept = kept.clone()
    kept[0] |= not kept.any()
    return kept


def _call(op: Operation, tensors: list[Tensor]) -> Tensor:
    """The operation on other tensors, on the CPU, in evaluation mode."""
    given = iter(tensors)
    args, kwargs = fx.map_arg((op.node.args, op.node.kwargs), lambda _: next(given))
    with torch.no_grad():
        if op.module is not None:
            return op.module(*args, **kwargs)
        if op.node.op == "call_method":
            return getattr(args[0], str(op.node.target))(*args[1:], **kwargs)
        return op.node.target(*args, **kwargs)  # type: ignore[operator]
