"""The modules that pruning may add to a network. A network can be pruned again."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Border", "EvaluationOnly", "Select", "Shift"]


class Select(nn.Module):
    """Some channels of a tensor that others read whole.

    Parameters
    ----------
    index : tensor of int64 (kept,)
    """

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        """Of x (n, channels, ...), those of `index`."""
        return x.index_select(1, self.index)


class Shift(nn.Module):
    """What removed channels add to a layer's output, the same at every position.

    Parameters
    ----------
    value : tensor (channels,)
        A buffer: it is not trained, and no regulariser sees it.
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, x: Tensor) -> Tensor:
        """The output of the layer and the shift."""
        return x + self.value.reshape(1, -1, *[1] * (x.ndim - 2))


class Border(nn.Module):
    r"""What removed channels add to a convolution's output where zeros are padded.

    A removed channel k is the number :math:`c_k` everywhere, and 0 outside of the image. All of
    them together give what one channel of ones gives with the kernel
    :math:`V = \sum_k c_k W_{\cdot k}`, at any input size.

    Parameters
    ----------
    kernel : tensor (channels, 1, height, width)
        V, a buffer: it is not trained.
    conv : torch.nn.Conv2d
        Whose stride, padding and dilation it has.
    """

    kernel: Tensor

    def __init__(self, kernel: Tensor, conv: nn.Conv2d) -> None:
        super().__init__()
        self.register_buffer("kernel", kernel)
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """The convolution's output y for its input x, and the constant."""
        ones = x.new_ones(1, 1, x.shape[2], x.shape[3])
        return y + F.conv2d(ones, self.kernel, None, self.stride, self.padding, self.dilation)


class EvaluationOnly(nn.Module):
    """What a fused network gives its input to: it lets it through, and no training mode."""

    def train(self, mode: bool = True) -> EvaluationOnly:
        """Refuse training mode."""
        if mode:
            raise ValueError(
                "a fused network has no BatchNorm left to train: train the one that prune returns "
                "without fuse."
            )
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x
