"""Which decay an optimizer applies: one reader for each class, which reads flags, never names.

A reader takes a parameter group and the state of one tensor, and returns a decay of
`cnn.audit.decays`. It is used for subclasses too, as long as they have not replaced `step`.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from cnn.audit.decays import Adaptive, Averaged, Coupled, Decay, Momentum, Nothing, Unknown
from regdyn import rules
from regdyn.checks import shown

Reader = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
READERS: dict[type, Reader] = {}


def register(kind: type, reader: Reader) -> None:
    """Teach the audit an optimizer: `reader(group, state)` returns how its tensors decay.

    Parameters
    ----------
    kind : type
        A subclass of torch.optim.Optimizer.
    reader : callable
        Takes a parameter group (a dict) and the state of one tensor (a dict, empty before the
        first step); returns `Nothing`, `Coupled`, `Decoupled` or `Momentum`.

    Raises
    ------
    ValueError
        If `kind` is no optimizer class, or `reader` is not callable.
    """
    if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
        raise ValueError(f"kind must be a subclass of torch.optim.Optimizer, not {shown(kind)}.")
    if not callable(reader):
        raise ValueError(f"reader must be a function of (group, state), not {shown(reader)}.")
    READERS[kind] = reader


def reader_of(optimizer: Optimizer) -> Reader:
    """The reader of the nearest known class; one that says `Unknown` if `step` is another one."""
    kind = type(optimizer)
    step = inspect.unwrap(kind.step)  # torch wraps the function when the first instance is made
    for parent in kind.__mro__:
        if parent in READERS:
            if inspect.unwrap(parent.step) is step:  # pyright: ignore
                return READERS[parent]
            why = f"{kind.__name__} replaces the step of {parent.__name__}"
            break
    else:
        why = f"{kind.__name__} is not known"
    return lambda group, state: Unknown(f"{why}: register a reader for it.")


def number(group: Mapping[str, Any], name: str) -> float:
    """The entry `name` of a group, a float or a tensor, as a float.

    Raises
    ------
    ValueError
        If it is missing or not finite.
    """
    try:
        value = float(group[name])
    except KeyError:
        raise ValueError(f"a parameter group has no {name!r}.") from None
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} of a group must be a number, not {shown(group[name])}.") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} of a group must be finite, not {value}.")
    return value


# torch.optim -------------------------------------------------------------------------------------


def _sgd(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    wd, mu, dampening = (number(group, k) for k in ("weight_decay", "momentum", "dampening"))
    return Momentum(wd, mu, dampening, bool(group["nesterov"])) if wd else Nothing()


def _adam(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    """Adam and AdamW: `amsgrad` does not change what decoupled decay takes."""
    wd, options = number(group, "weight_decay"), _betas(group)
    if not wd:
        return Nothing()
    if group.get("decoupled_weight_decay", False):
        hp = None if group["amsgrad"] else rules.Adam(number(group, "lr"), **options)
        return Coupled(wd, hp)
    return _adaptive("amsgrad" if group["amsgrad"] else "adam", wd, options)


def _nadam(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    options = {**_betas(group), "momentum_decay": number(group, "momentum_decay")}
    return _flagged("nadam", group, options)


def _radam(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    return _flagged("radam", group, _betas(group))


def _flagged(kind: str, group: Mapping[str, Any], options: dict[str, float]) -> Decay:
    """L2, or the decay of AdamW where the group's flag says so."""
    wd = number(group, "weight_decay")
    if wd and group.get("decoupled_weight_decay", False):
        return Coupled(wd)
    return _adaptive(kind, wd, options)


def _adamax(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    return _adaptive("adamax", number(group, "weight_decay"), _betas(group))


def _rmsprop(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    names = ("alpha", "eps", "momentum", "centered")
    options = {name: number(group, name) for name in names}
    return _adaptive("rmsprop", number(group, "weight_decay"), options)


def _adagrad(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    options = {name: number(group, name) for name in ("eps", "lr_decay")}
    options["initial"] = number(group, "initial_accumulator_value")
    return _adaptive("adagrad", number(group, "weight_decay"), options)


def _adadelta(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    options = {name: number(group, name) for name in ("rho", "eps")}
    return _adaptive("adadelta", number(group, "weight_decay"), options)


def _asgd(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    """It decays by `lambd`, whose default is 1e-4, even where weight_decay is 0."""
    lambd, wd, alpha = (number(group, name) for name in ("lambd", "weight_decay", "alpha"))
    done, eta = state.get("step", 0.0), state.get("eta", group["lr"])
    return Averaged(lambd, wd, alpha, int(done), float(eta)) if lambd or wd else Nothing()


def _coupled(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    """Adafactor (by lr, not by its relative step) and Muon (by lr, not by the adjusted one)."""
    wd = number(group, "weight_decay")
    return Coupled(wd) if wd else Nothing()


def _nothing(group: Mapping[str, Any], state: Mapping[str, Any]) -> Decay:
    return Nothing()


def _betas(group: Mapping[str, Any]) -> dict[str, float]:
    beta1, beta2 = (float(beta) for beta in group["betas"])
    return {"beta1": beta1, "beta2": beta2, "eps": number(group, "eps")}


def _adaptive(kind: str, wd: float, options: dict[str, float]) -> Decay:
    return Adaptive(kind, wd, tuple(options.items())) if wd else Nothing()


for _name, _reader in {
    "SGD": _sgd, "Adam": _adam, "NAdam": _nadam, "RAdam": _radam, "Adamax": _adamax,
    "RMSprop": _rmsprop, "Adagrad": _adagrad, "Adadelta": _adadelta, "ASGD": _asgd,
    "Adafactor": _coupled, "Muon": _coupled,
    "Rprop": _nothing, "LBFGS": _nothing, "SparseAdam": _nothing,
}.items():  # fmt: skip
    if hasattr(torch.optim, _name):  # Muon came late
        READERS[getattr(torch.optim, _name)] = _reader
