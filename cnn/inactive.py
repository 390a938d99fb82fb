r"""Which filters are inactive, by which measure, and what share of the parameters goes with them.

A mask holds, for each layer's name, one bool per filter: True where it is inactive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from cnn.layers import Layer, layers
from regdyn.checks import finite, shown

__all__ = [
    "Agreement",
    "PerFilter",
    "Sparsity",
    "agreement",
    "by_absorption",
    "by_activation",
    "by_gamma",
    "check_layers",
    "prunable_share",
    "sparsity",
    "sparsity_gamma",
]

PerFilter = Mapping[str, np.ndarray]


def by_gamma(model: nn.Module, threshold: float = 1e-3) -> dict[str, np.ndarray]:
    r"""Filters with :math:`|\gamma| <` `threshold` (section 2.1 of the paper).

    Returns
    -------
    dict of bool arrays
        One per layer, one entry per filter.
    """
    threshold = finite("threshold", threshold, 0.0)
    return {layer.name: np.abs(layer.gamma) < threshold for layer in layers(model, chain=False)}


def by_activation(maxima: PerFilter, threshold: float = 1e-12) -> dict[str, np.ndarray]:
    """Filters whose largest absolute activation does not exceed `threshold` (section 2.1).

    `maxima` is what `activation_maxima` returns for the training images.
    """
    threshold = finite("threshold", threshold, 0.0)
    return {name: np.asarray(top) <= threshold for name, top in maxima.items()}


def by_absorption(record: Any) -> dict[str, np.ndarray]:
    r"""Filters whose :math:`\gamma` has a gradient of exactly zero for good.

    Parameters
    ----------
    record : xarray.Dataset
        A training record, with ``absorbed(filter)``: the step from which every gradient of
        :math:`\gamma` up to the last step was exactly zero; -1 if there is none.
    """
    absorbed, names = record["absorbed"].values, record["layer"].values
    return {str(name): absorbed[names == name] >= 0 for name in dict.fromkeys(names)}


@dataclass(frozen=True)
class Sparsity:
    """Inactive filters in percent: of each layer, and of all filters together."""

    layers: dict[str, float]
    total: float


def sparsity(inactive: PerFilter) -> Sparsity:
    """What share of the filters a mask calls inactive; larger layers weigh more in the total."""
    if not inactive:
        raise ValueError("inactive must hold at least one layer.")
    masks = {name: np.asarray(mask, dtype=bool) for name, mask in inactive.items()}
    per_layer = {name: 100.0 * float(mask.mean()) for name, mask in masks.items()}
    return Sparsity(per_layer, 100.0 * float(np.concatenate([*masks.values()]).mean()))


def sparsity_gamma(model: nn.Module, threshold: float = 1e-3) -> Sparsity:
    r"""Sparsity by :math:`\gamma`: `sparsity` of `by_gamma`."""
    return sparsity(by_gamma(model, threshold))


@dataclass(frozen=True)
class Agreement:
    """Where several measures of inactivity agree.

    Attributes
    ----------
    filters : int
        Number of filters.
    percent : float
        Percent of them on which all measures agree.
    counts : dict
        Filters by the measures that call them inactive, as in
        ``{(): 131, ("gamma",): 2, ("gamma", "activation"): 99}``.
    differing : list of dict
        Every other filter: ``{"layer": "C3", "filter": 4, "gamma": True, "activation": False}``.
    """

    filters: int
    percent: float
    counts: dict[tuple[str, ...], int]
    differing: list[dict[str, Any]]


def agreement(measures: Mapping[str, PerFilter]) -> Agreement:
    """Compare measures of inactivity, filter by filter.

    Parameters
    ----------
    measures : mapping
        Name of a measure -> mask per layer, as in
        ``{"gamma": by_gamma(model), "activation": by_activation(maxima)}``. All must have the same
        layers with the same numbers of filters.
    """
    if len(measures) < 2:
        raise ValueError(f"measures must be at least two, not {shown([*measures])}.")
    shapes = {
        what: {name: np.shape(mask) for name, mask in masks.items()}
        for what, masks in measures.items()
    }
    first, *others = shapes
    for other in others:
        if shapes[other] != shapes[first]:
            raise ValueError(
                f"measures must have the same filters, and {first} and {other} have not: "
                f"{shown(shapes[first])} and {shown(shapes[other])}."
            )
    counts: Counter[tuple[str, ...]] = Counter()
    differing = []
    for layer, (filters,) in shapes[first].items():
        for index in range(filters):
            says = {what: bool(masks[layer][index]) for what, masks in measures.items()}
            counts[tuple(what for what, inactive in says.items() if inactive)] += 1
            if len(set(says.values())) > 1:
                differing.append({"layer": layer, "filter": index, **says})
    total = sum(counts.values())
    return Agreement(total, 100 * (total - len(differing)) / total, dict(counts), differing)


def prunable_share(model: nn.Module, alive: Mapping[str, Any]) -> float:
    r"""Percent of the convolutions' parameters that go with the filters that are not alive.

    A filter takes its own weights with it, and those of the next layer that read it. With
    :math:`a_l` the share of layer l's filters that are alive, :math:`a_0 = 1` and :math:`n_l` its
    parameters, it is :math:`100\,(1 - \sum_l n_l a_l a_{l-1} / \sum_l n_l)`, the last column but
    one of the paper's Table 2.

    Parameters
    ----------
    model : torch.nn.Module
        May lie on the device `meta`.
    alive : mapping
        Layer -> bool array, True where a filter is alive, or the share of them (from 0 to 1).

    Raises
    ------
    ValueError
        If a layer is missing or unknown, or a convolution is grouped.
    """
    found = layers(model, chain=False)
    check_layers("alive", alive, found)
    shares = {layer.name: _share(layer, alive[layer.name]) for layer in found}
    out = {layer.conv: shares[layer.name] for layer in found}
    into = {layer.following: shares[layer.name] for layer in found if layer.following is not None}
    total, kept = 0, 0.0
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        if conv.groups != 1:
            raise ValueError(f"model must have no grouped convolutions, not {conv}.")
        bias = 0 if conv.bias is None else conv.bias.numel()
        total += conv.weight.numel() + bias
        kept += (conv.weight.numel() * into.get(conv, 1.0) + bias) * out.get(conv, 1.0)
    return 100.0 * (1 - kept / total)


def check_layers(what: str, given: Mapping[str, Any], found: list[Layer]) -> None:
    """Raise ValueError if the mapping has not the layers of a model, or a mask not its filters."""
    names = [layer.name for layer in found]
    if set(given) != set(names):
        raise ValueError(f"{what} must have the layers {', '.join(names)}, not {shown([*given])}.")
    for layer in found:
        shape = np.shape(given[layer.name])
        if shape not in ((), (layer.filters,)):
            raise ValueError(
                f"{what} must have {layer.filters} filters in {layer.name}, not shape {shape}."
            )


def _share(layer: Layer, given: Any) -> float:
    """The share of filters that are alive, of a mask or as it is given."""
    if np.ndim(given) == 0:
        return finite(f"alive in {layer.name}", given, 0.0, 1.0)
    return float(np.asarray(given, dtype=bool).mean())
