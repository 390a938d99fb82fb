"""Audit a live optimizer: which rule decays each tensor of a model, and how fast.

From the outside in: the learning rates to come (schedule.py), the tensors (roles.py), what the
optimizer does to each (readers.py), how long that takes (decays.py, quiet.py), the noise that
would hold a parameter up (floors.py), and what is said about it (words.py).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torch.optim import Optimizer

from cnn.audit import words
from cnn.audit.decays import NONE, UNKNOWN, Decay, Nothing, Unknown, strength
from cnn.audit.floors import sigma_lost
from cnn.audit.readers import Reader, reader_of
from cnn.audit.result import Audit, Row
from cnn.audit.roles import Held, held
from cnn.audit.schedule import Schedule, factors
from cnn.audit.times import Rates, rates, times
from regdyn.checks import finite, integer, shown

SCALES = ("BN gamma", "norm")
WEIGHTS = ("conv", "linear", "head", "embedding", "other")


def audit_decay(
    optimizer: Optimizer,
    model: nn.Module,
    schedule: Schedule | None = None,
    *,
    steps: int | None = None,
    steps_per_epoch: int | None = None,
    sigma: float = 0.0,
    threshold: float = 1e-3,
    by_hand: Mapping[int, Any] | None = None,
) -> Audit:
    r"""Which rule decays each parameter tensor, and how fast; changes nothing.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any of torch.optim's, or one that `register` has made known. Others are reported as unknown.
    model : nn.Module
        The model that it trains. DDP and torch.compile are looked through.
    schedule : callable or sequence of float, optional
        Factors on the learning rate (on `initial_lr` where a scheduler has noted it) of the steps
        to come: a function of the step from 0, or its values. Of epochs, if `steps_per_epoch` is
        given. After its end the last factor stays. By default the learning rate stays as it is.
    steps : int, optional
        Length of the run from now; a schedule that is a function needs it.
    steps_per_epoch : int, optional
    sigma : float
        Standard deviation of the gradient that L2 inside an adaptive rule is divided by; 0: no
        gradient at all.
    threshold : float
        A parameter below it counts as lost.
    by_hand : mapping of int to decay, optional
        Decay that the training loop does itself around the step, by number of the parameter group:
        `Decoupled` or `Coupled`.

    Returns
    -------
    Audit
        Its `rows` are `Row`, one for each tensor.

    Raises
    ------
    ValueError
        For bad input, in one sentence: no parameters, an optimizer of another model, a learning
        rate or strength that is not finite.

    Notes
    -----
    L2 inside an adaptive rule has no constant rate. Its half-life is that of a parameter as large
    as the tensor's rms; without gradient by the rule's own recursion from an empty state, at a
    given `sigma` by the laws of `regdyn.theory`.
    """
    scale = factors(schedule, steps, steps_per_epoch)
    return audited(
        optimizer, model, scale, steps=steps or len(scale) or None, per_epoch=steps_per_epoch,
        sigma=sigma, threshold=threshold, by_hand=by_hand or {},
    )  # fmt: skip


def audited(
    optimizer: Optimizer, model: nn.Module, scale: np.ndarray, *, steps: int | None,
    per_epoch: int | None, sigma: float, threshold: float, by_hand: Mapping[int, Any],
) -> Audit:  # fmt: skip
    """`audit_decay` for factors `scale` of each step to come, (steps,); empty: constant."""
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"optimizer must be a torch.optim.Optimizer, not {shown(optimizer)}.")
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, not {shown(model)}.")
    for i in by_hand:
        integer("a key of by_hand, a parameter group,", i, 0, len(optimizer.param_groups) - 1)
    sigma = finite("sigma", sigma, 0.0)
    threshold = finite("threshold", threshold, 0.0, open_below=True)
    tensors = held(model)
    groups = _groups(optimizer)
    known = {id(one.tensor) for one in tensors}
    strangers = len(groups.keys() - known)
    if strangers == len(groups):
        raise ValueError("the optimizer holds no parameter of this model: is it another model's?")
    reader = partial(_decay, optimizer, reader_of(optimizer), by_hand)
    cases = _cases(tensors, groups, reader)
    lrs = [rates(group, scale) for group in optimizer.param_groups]
    found = _times(cases, lrs, sigma)
    about = _About(optimizer, lrs, steps, per_epoch, threshold)
    rows = tuple(_row(case, of, about) for case, of in zip(cases, found, strict=True))
    said = words.advice(*_scales(cases, rows, lrs, sigma), steps, per_epoch)
    notes = tuple(words.notes(optimizer, strangers))
    name = type(optimizer).__name__
    return Audit(name, rows, steps, per_epoch, sigma, threshold, notes, said)


def _groups(optimizer: Optimizer) -> dict[int, list[int]]:
    """id of each tensor: numbers of the groups that hold it, as often as they do."""
    found: dict[int, list[int]] = {}
    for i, group in enumerate(optimizer.param_groups):
        for p in group["params"]:
            found.setdefault(id(p), []).append(i)
    return found


class _Case(NamedTuple):
    """A tensor, the numbers of its groups, what the optimizer would do, and what it does."""

    held: Held
    groups: list[int]
    wanted: Any
    decay: Any


class _About(NamedTuple):
    """What every row needs to know."""

    optimizer: Optimizer
    rates: list[Rates]
    steps: int | None
    per_epoch: int | None
    threshold: float


def _cases(
    tensors: list[Held], groups: Mapping[int, list[int]], decay: Callable[..., Any]
) -> list[_Case]:
    found = []
    for one in tensors:
        numbers = groups.get(id(one.tensor), [])
        wanted = decay(one, numbers) if numbers else Nothing()
        skipped = not one.tensor.requires_grad and one.tensor.grad is None
        found.append(_Case(one, numbers, wanted, Nothing() if skipped else wanted))
    return found


def _decay(
    optimizer: Optimizer, reader: Reader, by_hand: Mapping[int, Any], one: Held, groups: list[int]
) -> Any:
    """What the optimizer and the training loop do to a tensor that gets a gradient."""
    if len(groups) > 1:
        return Unknown("the optimizer holds it more than once, so that a step treats it twice.")
    inside = reader(optimizer.param_groups[groups[0]], optimizer.state.get(one.tensor, {}))
    outside = by_hand.get(groups[0], Nothing())
    for what, given in (
        (f"the reader of {type(optimizer).__name__}", inside),
        ("by_hand", outside),
    ):
        if not isinstance(given, Decay):
            raise ValueError(
                f"{what} must give Nothing, Coupled, Decoupled or Momentum, not {shown(given)}."
            )
    if not strength(outside):
        return inside
    return outside if inside.rule == NONE else Unknown("it decays in the step and by hand.")


def _times(cases: list[_Case], lrs: list[Rates], sigma: float) -> list[tuple[float, float, str]]:
    """(shrink, half-life, doubt) of each case; those that decay alike are computed together."""
    alike: dict[Any, list[int]] = {}
    for k, case in enumerate(cases):
        alike.setdefault((type(case.decay), case.decay, *case.groups[:1]), []).append(k)
    found: dict[int, tuple[float, float, str]] = {}
    for (_, decay, *group), members in alike.items():
        sizes = np.array([cases[k].held.rms for k in members])
        lr = lrs[group[0]] if group else Rates(0.0, np.empty(0), 0.0)
        shrink, steps, doubt = times(decay, sizes, lr, sigma)
        for k, *numbers in zip(members, shrink.tolist(), steps.tolist(), strict=True):
            found[k] = (*numbers, doubt)
    return [found[k] for k in range(len(cases))]


def _row(case: _Case, of: tuple[float, float, str], about: _About) -> Row:
    one, (shrink, half, doubt), decay = case.held, of, case.decay
    lr = about.rates[case.groups[0]].now if case.groups else 0.0
    said = words.of_place(one, about.optimizer, case.groups)
    said += words.of_state(one.tensor, case.wanted)
    said += words.of_speed(decay, lr, half, about.steps)
    said += words.of_values(one, decay, half, doubt)
    said += words.of_scale(one.role, decay.rule)
    epochs = half / about.per_epoch if about.per_epoch else math.nan
    lost = sigma_lost(decay, lr, about.threshold)
    return Row(one.names[0], one.role, decay.rule, shrink, half, epochs, lost, tuple(said))


def _scales(
    cases: list[_Case], rows: tuple[Row, ...], lrs: list[Rates], sigma: float
) -> tuple[tuple[float, float] | None, float | None]:
    """Of the norms' scales the shortest and longest half-life; or the shortest, were decay on."""
    pairs = list(zip(cases, rows, strict=True))
    scales = [(c, r) for c, r in pairs if r.role in SCALES and not r.name.endswith("bias")]
    on = [r.half_life_steps for c, r in scales if strength(c.decay) and r.rule != UNKNOWN]
    if on:
        return (min(on), max(on)), None
    model = next((c for c, r in pairs if strength(c.decay) and r.role in WEIGHTS), None)
    off = [c.held.rms for c, _ in scales if c.groups and c.decay.rule == NONE]
    if not off or model is None:
        return None, None
    would = times(model.decay, np.array(off), lrs[model.groups[0]], sigma)
    return None, float(np.min(would.steps))
