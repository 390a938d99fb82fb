"""Operations with numbers of their own: layers, and what an earlier pruning added."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnn.prune.modules import Border, Select, Shift
from cnn.prune.operations import Channels, Elementwise, Operation, one_at_least

__all__ = ["Added", "BatchNorm", "Dense", "Grouped", "Selected", "borders"]


class BatchNorm(Elementwise):
    r""":math:`\gamma \hat{x} + \beta`: constant where :math:`|\gamma|` is small, or x is constant.

    Of the channels whose input is not constant, that of the largest :math:`|\gamma|` is never dead.
    """

    module: nn.BatchNorm2d
    threshold = 0.0

    def constants(self, inputs: list[Channels]) -> Channels:
        """Dead channels, and those whose input is constant."""
        bn, (channels,) = self.module, inputs
        gamma, beta = (torch.as_tensor(p).detach().cpu() for p in self._affine())
        dead = gamma.abs() < self.threshold
        if bool((dead | channels.constant).all()):
            open_ = torch.where(channels.constant, -1.0, gamma.abs().float())
            dead[int(open_.argmax())] = False
        xhat = torch.zeros_like(beta)
        if bn.running_mean is not None and bn.running_var is not None:
            mean, var = bn.running_mean.cpu(), bn.running_var.cpu()
            xhat = (channels.value.to(mean.dtype) - mean) / (var + bn.eps).sqrt()
        value = torch.where(channels.constant, gamma * xhat + beta, beta)
        constant = dead | channels.constant
        return Channels(constant, torch.where(constant, value, 0))

    def _affine(self) -> tuple[Any, Any]:
        if self.module.weight is not None:
            return self.module.weight, self.module.bias
        return torch.ones(self.width), torch.zeros(self.width)


class Dense(Operation):
    """A convolution of one group, or a linear layer: every output reads every input.

    It needs no constant channel: what it makes of one is added to its output.
    """

    module: nn.Conv2d | nn.Linear
    narrows = True

    def complete(self, kept: Tensor) -> Tensor:
        """Each by itself."""
        return kept

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """All inputs that are not constant."""
        return [one_at_least(~channels.constant) for channels in inputs]


class Grouped(Operation):
    """A grouped convolution, depthwise too: whole groups go."""

    module: nn.Conv2d

    def constants(self, inputs: list[Channels]) -> Channels:
        """The groups whose inputs are constant, if the border does not differ."""
        conv, (channels,) = self.module, inputs
        taken = channels.constant & ((channels.value == 0) | (not borders(conv)))
        constant = taken.reshape(conv.groups, -1).all(1)
        weight = (
            conv.weight.detach().cpu().sum((2, 3)).reshape(conv.groups, -1, conv.weight.shape[1])
        )
        value = (weight @ channels.value.reshape(conv.groups, -1, 1)).reshape(-1)
        if conv.bias is not None:
            value = value + conv.bias.detach().cpu()
        constant = constant.repeat_interleave(self.width // conv.groups)
        return Channels(constant, torch.where(constant, value, 0))

    def groups(self, kept: Tensor) -> Tensor:
        """The groups with a kept output, bool (groups,)."""
        return kept.reshape(self.module.groups, -1).any(1)

    def complete(self, kept: Tensor) -> Tensor:
        """Whole groups."""
        return self.groups(kept).repeat_interleave(self.width // self.module.groups)

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """All inputs of the groups."""
        return [self.groups(kept).repeat_interleave(len(inputs[0].constant) // self.module.groups)]


class Added(Operation):
    """The constant that an earlier pruning added. Of the input of a `Border` it reads the size."""

    module: Border | Shift

    def complete(self, kept: Tensor) -> Tensor:
        """Each by itself."""
        return kept

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """The channels that it adds to."""
        return [kept, *(torch.zeros_like(channels.constant) for channels in inputs[1:])]


class Selected(Operation):
    """The channels that an earlier pruning selected."""

    module: Select
    narrows = True

    def constants(self, inputs: list[Channels]) -> Channels:
        """Those of the selected channels."""
        return Channels(*(part[self.module.index.cpu()] for part in inputs[0]))

    def complete(self, kept: Tensor) -> Tensor:
        """Each by itself."""
        return kept

    def needs(self, kept: Tensor, inputs: list[Channels]) -> list[Tensor]:
        """Where the kept channels were before."""
        needed = torch.zeros_like(inputs[0].constant)
        needed[self.module.index.cpu()[kept]] = True
        return [needed]


def borders(conv: nn.Conv2d) -> bool:
    """Whether a constant input gives another output at the border: zeros are padded."""
    return conv.padding_mode == "zeros" and any(conv._reversed_padding_repeated_twice)
