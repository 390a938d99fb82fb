"""The optimizer of a pruned network: the state of what is kept."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn, optim

from cnn.prune.graph import CannotPrune
from cnn.prune.surgery import Slices, cut
from regdyn.checks import shown

__all__ = ["check", "sliced"]

# Rules that treat each entry of a parameter by itself: the others do not go on as they were.
ELEMENTWISE = (
    optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad, optim.Adadelta, optim.RMSprop, optim.NAdam,
    optim.RAdam, optim.Adamax, optim.ASGD, optim.Rprop,
)  # fmt: skip


def check(optimizer: optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimizer that cannot be sliced.

    Raises
    ------
    CannotPrune
        If its rule is not one of torch.optim that works entry by entry.
    ValueError
        If it trains a parameter that is not of `model`.
    """
    if not isinstance(optimizer, optim.Optimizer):
        raise ValueError(f"optimizer must be a torch.optim.Optimizer, not {shown(optimizer)}.")
    if type(optimizer) not in ELEMENTWISE:
        names = ", ".join(rule.__name__ for rule in ELEMENTWISE)
        raise CannotPrune(
            f"the state of {type(optimizer).__name__} cannot be sliced: allowed are {names}."
        )
    own = {id(p) for p in model.parameters()}
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    foreign = [p for p in trained if id(p) not in own]
    if foreign:
        raise ValueError(
            f"optimizer must be one of this model, and {len(foreign)} of its {len(trained)} "
            "parameters are not."
        )


def sliced(
    optimizer: optim.Optimizer, model: nn.Module, pruned: nn.Module, slices: Slices
) -> optim.Optimizer:
    """An optimizer of the same rule, groups and settings for the parameters of `pruned`.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Not changed. Parameters that no operation reads are left out.
    model, pruned : torch.nn.Module
        Before and after.
    slices : Slices
        What `operate` returned.
    """
    paths = {id(p): path for path, p in model.named_parameters()}
    new = dict(pruned.named_parameters())
    groups = []
    for group in optimizer.param_groups:
        kept = [paths[id(p)] for p in group["params"] if paths[id(p)] in new]
        params: list[Any] = [new[path] for path in kept]
        if "param_names" in group:
            params = [*zip(kept, params, strict=True)]
        rest = {k: v for k, v in group.items() if k not in ("params", "param_names")}
        groups.append({**rest, "params": params})
    known = inspect.signature(type(optimizer)).parameters
    settings = {k: v for k, v in optimizer.defaults.items() if k in known}
    made = type(optimizer)([group for group in groups if group["params"]], **settings)
    for p, state in optimizer.state.items():
        path = paths[id(p)]
        if path in new:
            index = slices.get(path, ())
            made.state[new[path]] = {k: _entry(v, p, index) for k, v in state.items()}
    return made


def _entry(entry: Any, p: Tensor, index: tuple[Tensor, ...]) -> Any:
    """A moment has its parameter's shape; a count of steps has none."""
    if not isinstance(entry, Tensor):
        return entry
    return (cut(entry, index) if entry.shape == p.shape else entry).clone(
        memory_format=torch.preserve_format
    )
