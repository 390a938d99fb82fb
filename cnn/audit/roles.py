"""The tensors of a model: names, what they are for, how large their values are."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd

from cnn.layers import unwrapped

ROLES = ("conv", "linear", "BN gamma", "BN beta", "norm", "embedding", "head", "bias", "other")
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
SCALES = ("weight", "scale", "gamma", "g")
"""What the scale of a normalisation is called in classes that are not torch's."""


class Held(NamedTuple):
    """A tensor that the model trains or could train.

    Attributes
    ----------
    names : tuple of str
        Several if modules share it.
    role : str
        One of `ROLES`, that of its first name.
    tensor : Tensor
    rms : float
        Root mean square of its values; NaN where they are unknown or not finite.
    """

    names: tuple[str, ...]
    role: str
    tensor: Tensor
    rms: float


def held(model: nn.Module) -> list[Held]:
    """The parameters of `model` in its order, each once; DDP and torch.compile are looked through.

    Raises
    ------
    ValueError
        If there are none, or some have no shape yet (a lazy module before its first batch).
    """
    model = unwrapped(model)
    names: dict[int, list[str]] = {}
    found: dict[int, tuple[str, Tensor]] = {}
    head = _head(model)
    for path, module in model.named_modules():
        for name, tensor in module.named_parameters(recurse=False, remove_duplicate=False):
            full = f"{path}.{name}" if path else name
            if nn.parameter.is_lazy(tensor):
                raise ValueError(f"{full} has no shape yet: run one batch through the model first.")
            names.setdefault(id(tensor), []).append(full)
            found.setdefault(id(tensor), (_role(module, name, head), tensor))
    if not found:
        raise ValueError(f"the model has no parameters: {type(model).__name__}.")
    sizes = _rms([tensor for _, tensor in found.values()])
    return [
        Held(tuple(names[key]), role, tensor, size)
        for (key, (role, tensor)), size in zip(found.items(), sizes, strict=True)
    ]


def _role(module: nn.Module, name: str, head: nn.Module | None) -> str:
    """What a parameter is for, from the module that holds it."""
    kind = type(module).__name__.lower()
    if isinstance(module, _BatchNorm):
        return "BN gamma" if name == "weight" else "BN beta"
    if isinstance(module, _NORMS) or ("norm" in kind and name in (*SCALES, "bias", "beta")):
        return "norm"
    if name == "bias" or name.endswith("_bias") or name.startswith("bias_"):
        return "bias"
    if isinstance(module, _ConvNd):
        return "conv"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(module, nn.Linear) or "proj_weight" in name:
        return "head" if module is head else "linear"
    return "other"


def _head(model: nn.Module) -> nn.Module | None:
    """The last linear layer, unless a convolution comes after it or it is all there is."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear | _ConvNd)]
    return last[-1] if len(last) > 1 and isinstance(last[-1], nn.Linear) else None


@torch.no_grad()
def _rms(tensors: list[Tensor]) -> list[float]:
    """Root mean squares, one transfer for each device; NaN for a tensor without values."""
    sizes = [math.nan] * len(tensors)
    places: dict[torch.device, list[int]] = {}
    for i, tensor in enumerate(tensors):
        numbers = tensor.is_floating_point() or tensor.is_complex()
        if tensor.numel() and numbers and not tensor.is_meta:
            places.setdefault(tensor.device, []).append(i)
    for where in places.values():
        norms = [torch.linalg.vector_norm(tensors[i].abs(), dtype=_wide(tensors[i])) for i in where]
        for i, norm in zip(where, torch.stack(norms).tolist(), strict=True):
            sizes[i] = norm / math.sqrt(tensors[i].numel()) if math.isfinite(norm) else math.nan
    return sizes


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64  # MPS has no float64
