r"""When filters are active: over images, and from BatchNorm's parameters alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnn.evaluation import batches, evaluating
from cnn.inactive import PerFilter
from cnn.layers import Layer, layers, unwrapped
from regdyn.checks import finite

__all__ = ["activation_maxima", "positive_share", "selectivity", "universality"]


def activation_maxima(model: nn.Module, images: Any, *, batch: int = 500) -> dict[str, np.ndarray]:
    """Largest absolute activation of each filter over all positions of all images.

    Parameters
    ----------
    model : torch.nn.Module
    images : Tensor, Split, Stream or iterable
        Normalised images (n, channels, height, width), a part of `cnn.data.load`, or batches of
        images or of (images, labels). The paper asks all training images.
    batch : int, default 500
        Images at a time; batches that are given stay as they are.

    Returns
    -------
    dict of float arrays
        One per layer, one entry per filter; NaN where an activation is NaN.
    """
    top: dict[str, Tensor] = {}
    model = unwrapped(model)  # hooks are not called within compiled code
    with _watching(model) as seen:
        for x, _ in batches(model, images, batch):
            model(x)
            for name, pooled in seen.items():
                most = pooled.amax(0)
                top[name] = torch.maximum(top[name], most) if name in top else most
    return {name: most.cpu().double().numpy() for name, most in top.items()}


def universality(
    model: nn.Module,
    images: Any,
    *,
    maxima: PerFilter | None = None,
    threshold: float = 1e-3,
    batch: int = 500,
) -> dict[str, np.ndarray]:
    r"""Percent of the images on which a filter is active (section 3 of the paper).

    With :math:`p_{ij}` the largest absolute activation of filter j on image i, this is the percent
    of images with :math:`p_{ij} / \max_k p_{kj} >` `threshold`; 0 for a filter that never
    activates.

    Parameters
    ----------
    model, images, batch
        As for `activation_maxima`. Batches must be there to be read twice.
    maxima : mapping, optional
        What `activation_maxima` returned for the same images; otherwise it is called here.
    threshold : float, default 1e-3
        The paper's.

    Returns
    -------
    dict of float arrays
        One per layer, one entry per filter, from 0 to 100.
    """
    threshold = finite("threshold", threshold, 0.0)
    if maxima is None:
        if isinstance(images, Iterator):
            raise ValueError("images must be a tensor or batches that can be read twice.")
        maxima = activation_maxima(model, images, batch=batch)
    active: dict[str, Any] = dict.fromkeys(maxima, 0)
    count = 0
    model = unwrapped(model)
    with _watching(model) as seen:
        for x, _ in batches(model, images, batch):
            model(x)
            count += len(x)
            for name, pooled in seen.items():
                top = torch.as_tensor(maxima[name]).to(pooled)
                active[name] = active[name] + (pooled / top > threshold).sum(0)
    return {name: 100.0 * number.cpu().numpy() / count for name, number in active.items()}


def selectivity(share: PerFilter) -> dict[str, np.ndarray]:
    """100 minus a percentage per filter: of `universality` (section 3) or of `positive_share`."""
    return {name: 100.0 - np.asarray(values) for name, values in share.items()}


def positive_share(model: nn.Module, *, running_var: bool = False) -> dict[str, np.ndarray]:
    r"""Percent of positions at which a filter is positive, without any image.

    It is :math:`100\,\Phi(\beta / |\gamma|)`, exact if what BatchNorm normalises is normal with the
    running mean and variance. 100 minus it is the data-free selectivity.

    Parameters
    ----------
    model : torch.nn.Module
    running_var : bool, default False
        BatchNorm's output before :math:`\gamma` has the variance v / (v + eps), not 1, where v is
        the running variance. With True, it is :math:`100\,\Phi(\beta / (|\gamma| s))` with
        :math:`s^2 = v / (v + \epsilon)`.

    Returns
    -------
    dict of float arrays
        One per layer, one entry per filter. With :math:`\gamma = 0` it is 100 where
        :math:`\beta > 0`, and else 0.
    """
    found = {}
    for layer in layers(model, chain=False):
        scale, beta = np.abs(layer.gamma), layer.beta
        if running_var:
            if layer.bn.running_var is None:
                raise ValueError(f"{layer.path} must have a BatchNorm with a running variance.")
            var = layer.bn.running_var.cpu().double().numpy()
            scale = scale * np.sqrt(var / (var + layer.bn.eps))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where((scale == 0) & (beta == 0), -np.inf, beta / scale)
        found[layer.name] = 100.0 * torch.special.ndtr(torch.from_numpy(ratio)).numpy()
    return found


@contextmanager
def _watching(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """After each forward pass, layer -> largest absolute activation (images, filters)."""
    seen: dict[str, Tensor] = {}

    def watch(layer: Layer):
        def hook(_, __, y: Tensor) -> None:
            # a copy: the activation, ours or the model's, may work in place
            y = y if layer.activation is None else layer.activation(y.clone())
            seen[layer.name] = y.abs().amax((2, 3))

        return layer.bn.register_forward_hook(hook)

    handles = [watch(layer) for layer in layers(model, chain=False)]
    try:
        with evaluating(model):
            yield seen
    finally:
        for handle in handles:
            handle.remove()
