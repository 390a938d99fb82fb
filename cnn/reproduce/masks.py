"""Which filters to prune, and holding them at zero.

A mask holds, for each layer's name, one bool per filter: True where it is pruned. No method takes
the whole of a layer: that of its filters stays which the method ranks highest.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from cnn.inactive import PerFilter, check_layers
from cnn.layers import layers
from regdyn.checks import finite

__all__ = ["Held", "implicit", "l1_norm", "slimming"]

Masks = dict[str, np.ndarray]


def implicit(model: nn.Module, threshold: float = 1e-3) -> Masks:
    r"""The filters that training itself has switched off: :math:`|\gamma| <` `threshold`."""
    threshold = finite("threshold", threshold, 0.0)
    return {name: _lowest(g, int((g < threshold).sum())) for name, g in _gammas(model).items()}


def slimming(model: nn.Module, share: float) -> Masks:
    r"""The smallest :math:`|\gamma|` of all layers together (Liu et al. 2017, section 3).

    Parameters
    ----------
    model : nn.Module
        They trained it with an L1 penalty on gamma (`OptimConfig.gamma_l1`).
    share : float
        Percent of all filters, in [0, 100).

    Raises
    ------
    ValueError
        If so many cannot go without a layer losing all of its filters.
    """
    share, scores = finite("share", share, 0.0, 100.0, open_above=True), _gammas(model)
    filters = sum(map(len, scores.values()))
    count, most = round(share / 100 * filters), filters - len(scores)
    if count > most:
        raise ValueError(
            f"share must be at most {100 * most / filters:.3g} so that each of the {len(scores)} "
            f"layers keeps a filter, not {share:g}."
        )
    for g in scores.values():
        g[np.argmax(g)] = np.inf
    flat = _lowest(np.concatenate([*scores.values()]), count)
    ends = np.cumsum([len(g) for g in scores.values()])[:-1]
    return dict(zip(scores, np.split(flat, ends), strict=True))


def l1_norm(model: nn.Module, share: float | Mapping[str, float]) -> Masks:
    r"""In each layer, the filters with the smallest :math:`\sum |w|` (Li et al. 2017, section 3.1).

    Parameters
    ----------
    model : nn.Module
    share : float or mapping
        Percent of the filters of every layer, or of each layer by its name; in [0, 100].

    Raises
    ------
    ValueError
        If a share is out of range, or a layer is missing or unknown.
    """
    found = layers(model, chain=False)
    shares = share if isinstance(share, Mapping) else {layer.name: share for layer in found}
    check_layers("share", shares, found)
    masks = {}
    for layer in found:
        norms = layer.conv.weight.detach().abs().sum((1, 2, 3)).cpu().double().numpy()
        percent = finite(f"share of {layer.name}", shares[layer.name], 0.0, 100.0)
        masks[layer.name] = _lowest(norms, round(percent / 100 * layer.filters))
    return masks


class Held:
    r"""Holds the :math:`\gamma` and :math:`\beta` of masked filters at 0: call it after each step.

    A filter then gives 0 everywhere, and its weights have a gradient of 0.
    """

    def __init__(self, model: nn.Module, masks: PerFilter) -> None:
        found = layers(model, chain=False)
        check_layers("masks", masks, found)
        self._held = [
            (p, torch.as_tensor(masks[layer.name], dtype=torch.bool, device=p.device))
            for layer in found
            for p in (layer.bn.weight, layer.bn.bias)
        ]
        self()

    @torch.no_grad()
    def __call__(self) -> None:
        for p, mask in self._held:
            p.masked_fill_(mask, 0)


def _gammas(model: nn.Module) -> Masks:
    return {layer.name: np.abs(layer.gamma) for layer in layers(model, chain=False)}


def _lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """The `count` smallest, the first of equal ones; the largest never."""
    mask = np.zeros(len(scores), dtype=bool)
    mask[np.argsort(scores, kind="stable")[: min(count, len(scores) - 1)]] = True
    return mask
