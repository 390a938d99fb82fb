r"""Other ways to choose filters, on the same network: as many as `prune` takes, no fine-tuning.

As their papers have it, what a removed filter still gave is dropped, not added elsewhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from cnn.inactive import PerFilter
from cnn.prune.pruning import prune
from cnn.reproduce import masks
from cnn.slimming import gammas

__all__ = ["METHODS", "installed"]

ZERO = torch.finfo(torch.float32).tiny  # |gamma| below this is 0


def installed() -> None:
    """Raise ValueError if Torch-Pruning is missing."""
    if find_spec("torch_pruning") is None:
        raise ValueError("this comparison needs Torch-Pruning: pip install torch-pruning.")


def ours(model: nn.Module, example: Tensor, threshold: float) -> nn.Module:
    r"""`prune`: filters with :math:`|\gamma|` below the threshold, and their constants absorbed."""
    return prune(model, example, threshold, latency=False).model


def bn_scale(model: nn.Module, example: Tensor, threshold: float) -> nn.Module:
    r"""Torch-Pruning's BNScaleImportance, all layers together, in one step, its other defaults.

    It divides each :math:`|\gamma|` by the mean of its layer. Linear layers keep their outputs.
    """
    import torch_pruning  # pyright: ignore[reportMissingImports]

    model, dead = copy.deepcopy(model), _count(masks.implicit(model, threshold))
    filters = sum(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    pruner = torch_pruning.pruner.BNScalePruner(
        model, example[:1], importance=torch_pruning.importance.BNScaleImportance(),
        global_pruning=True, pruning_ratio=(dead - 0.5) / filters,  # it rounds what is kept down
        ignored_layers=[m for m in model.modules() if isinstance(m, nn.Linear)],
    )  # fmt: skip
    pruner.step()
    return model


def slimming(model: nn.Module, example: Tensor, threshold: float) -> nn.Module:
    r"""The smallest :math:`|\gamma|` of all layers together (Liu et al. 2017)."""
    dead = masks.implicit(model, threshold)
    return _without(model, example, masks.slimming(model, _share(dead)))


def l1_norm(model: nn.Module, example: Tensor, threshold: float) -> nn.Module:
    r"""The smallest :math:`\sum |w|`, one share of every layer (Li et al. 2017)."""
    dead = masks.implicit(model, threshold)
    return _without(model, example, masks.l1_norm(model, _share(dead)))


def l1_norm_per_layer(model: nn.Module, example: Tensor, threshold: float) -> nn.Module:
    r"""The smallest :math:`\sum |w|`, as many of each layer as `ours` takes there."""
    shares = {name: 100.0 * float(m.mean()) for name, m in masks.implicit(model, threshold).items()}
    return _without(model, example, masks.l1_norm(model, shares))


METHODS: dict[str, Callable[[nn.Module, Tensor, float], nn.Module]] = {
    "ours": ours,
    "Torch-Pruning, BNScale": bn_scale,
    "network slimming": slimming,
    "L1 norm, one share": l1_norm,
    "L1 norm, per layer as ours": l1_norm_per_layer,
}


def _count(found: PerFilter) -> int:
    return int(sum(np.sum(mask) for mask in found.values()))


def _share(found: PerFilter) -> float:
    """Percent of all filters."""
    return 100.0 * _count(found) / sum(len(mask) for mask in found.values())


def _without(model: nn.Module, example: Tensor, chosen: PerFilter) -> nn.Module:
    """The narrower network without the chosen filters and with all others.

    They are set to 0, then removed; what was 0 by itself is moved to the smallest number that is
    not.
    """
    model = copy.deepcopy(model)
    with torch.no_grad():
        for gamma in gammas(model):
            gamma[gamma.abs() < ZERO] = ZERO
    masks.Held(model, chosen)
    return prune(model, example, ZERO, latency=False).model
