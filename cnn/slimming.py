"""The L1 penalty on BatchNorm's gamma of Liu et al. (2017), Learning Efficient Convolutional
Networks through Network Slimming, around a step of any optimizer."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["BATCHNORM", "gammas", "penalty"]

BATCHNORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def gammas(model: nn.Module) -> list[Tensor]:
    """Every BatchNorm's gamma, also behind fully connected layers; some BatchNorms have none."""
    norms = [module for module in model.modules() if isinstance(module, BATCHNORM)]
    return [module.weight for module in norms if module.weight is not None]


@contextmanager
def penalty(penalised: Iterable[Tensor], strength: float) -> Iterator[None]:
    r"""Within it, the gradient of each gamma has that of the penalty added::

        g <- g + strength * sign(gamma)

    Conventions: a subgradient, with sign(0) = 0, as in the authors' code; whatever regulariser
    there is adds to it. The sum is another tensor: afterwards `.grad` is the gradient of the loss
    again, with the bits that it had, and a captured CUDA graph never writes there.

    Parameters
    ----------
    penalised : iterable of Tensor
        Those without a gradient are left alone.
    strength : float
    """
    before = [(gamma, gamma.grad) for gamma in penalised if gamma.grad is not None]
    for gamma, grad in before:
        gamma.grad = torch.add(grad, torch.sign(gamma.detach()), alpha=strength)
    try:
        yield
    finally:
        for gamma, grad in before:
            gamma.grad = grad
