"""How the optimizer treats gamma, in the words of `regdyn`: read, never guessed."""

import json
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from cnn.audit.decays import Adaptive, Coupled, Decoupled, Momentum, Nothing, Unknown, strength
from cnn.audit.readers import number, reader_of
from regdyn import rules
from regdyn.checks import shown


class Setting(NamedTuple):
    """Rule and regulariser of gamma.

    Attributes
    ----------
    optimizer : str
        Its class.
    rule : NamedTuple or None
        Hyper-parameters of `regdyn.rules`; None where it is not known.
    reg : str or None
        A word of `regdyn.regularizers`: none, l2, wd or adamw.
    lam : float or None
        Its strength.
    lr : float
        Before any schedule.
    decays : bool
        Whether something decays gamma.
    why : str or None
        Why rule or regulariser are not known.
    note : str or None
        What else there is to say.
    """

    optimizer: str
    rule: Any
    reg: str | None
    lam: float | None
    lr: float
    decays: bool
    why: str | None = None
    note: str | None = None

    def json(self) -> str:
        """As text."""
        name = None if self.rule is None else rules.name_of(self.rule)
        hyper = None if self.rule is None else self.rule._asdict()
        return json.dumps({**self._asdict(), "rule": name, "hyper": hyper})


def from_json(text: str) -> Setting:
    """What `Setting.json` wrote."""
    entry = json.loads(text)
    name, hyper = entry.pop("rule"), entry.pop("hyper")
    rule = None if name is None else rules.RULES[name].hyper(**hyper)
    return Setting(rule=rule, **entry)


def setting(optimizer: Optimizer, model: nn.Module, gammas: list[nn.Parameter]) -> Setting:
    """What `optimizer` does to `gammas`, BatchNorm's scales in `model`.

    Raises
    ------
    ValueError
        If it is no optimizer, or one of another model.
    """
    groups = _groups(optimizer, model)
    name = type(optimizer).__name__
    trained = [gamma for gamma in gammas if gamma.requires_grad]
    held = [groups[id(gamma)] for gamma in trained if id(gamma) in groups]
    lr = _lr(held[0] if held else optimizer.param_groups[0])
    unknown = Setting(name, None, None, None, lr, decays=False)
    if not gammas:
        return unknown._replace(why="there is no BatchNorm, and only its filters are forecast.")
    if len(held) < len(gammas):
        absent = len(gammas) - len(held)
        return unknown._replace(why=f"{absent} of {len(gammas)} BatchNorms are not trained.")
    found = {id(group): _of_group(optimizer, group) for group in held}
    first, *others = found.values()
    if any(other[:3] != first[:3] for other in others):
        return unknown._replace(
            decays=all(one[3] for one in found.values()),
            why="the BatchNorms are in parameter groups of different settings.",
        )
    rule, reg, lam, decays, why = first
    note = _note(optimizer, groups, lam)
    return Setting(name, rule, reg, lam, lr, decays, why, note)


def rate(optimizer: Optimizer, gammas: list[nn.Parameter]) -> Tensor | float:
    """The present learning rate of gamma; it may live on the device."""
    for group in optimizer.param_groups:
        if gammas and any(p is gammas[0] for p in group["params"]):
            return group["lr"]
    return optimizer.param_groups[0]["lr"]


def _groups(optimizer: Any, model: nn.Module) -> dict[int, dict[str, Any]]:
    """Group of each tensor that the optimizer trains."""
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"optimizer must be a torch.optim.Optimizer, not {shown(optimizer)}.")
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in groups for p in model.parameters()):
        raise ValueError("the optimizer holds no parameter of this model: is it another model's?")
    return groups


def _lr(group: dict[str, Any]) -> float:
    return number(group, "initial_lr" if "initial_lr" in group else "lr")


def _of_group(optimizer: Optimizer, group: dict[str, Any]) -> tuple[Any, ...]:
    """(rule, reg, lam, whether it decays, why it is not known)."""
    lr, read = _lr(group), reader_of(optimizer)
    try:
        decay = read(group, {})
        # without a decay, a reader does not say which rule it is
        rule_of = read({**group, "weight_decay": 1.0}, {}) if isinstance(decay, Nothing) else decay
    except (ValueError, KeyError, TypeError) as error:
        return None, None, None, False, f"the optimizer cannot be read: {error}"
    if isinstance(decay, Unknown):
        return None, None, None, False, decay.reason
    rule, reg = _rule(rule_of, lr)
    lam, decays = strength(decay), bool(strength(decay))
    if group.get("maximize", False):
        return None, None, lam, decays, "the optimizer maximizes."
    if rule is None:
        name = type(optimizer).__name__
        return None, None, lam, decays, f"regdyn has no rule for {name} with these options."
    return rule, "none" if isinstance(decay, Nothing) else reg, lam, decays, None


def _rule(decay: Any, lr: float) -> tuple[Any, str | None]:
    """Rule and regulariser of `regdyn`, (None, None) where it has none."""
    rule, reg = None, None
    if isinstance(decay, Adaptive):
        rule, reg = decay.hp(lr), "l2"
    elif isinstance(decay, Momentum) and not decay.dampening:
        rule, reg = rules.SGD(lr, decay.momentum, decay.nesterov), "l2"
    elif isinstance(decay, Coupled | Decoupled) and decay.hp is not None:
        rule, reg = decay.hp._replace(lr=lr), "wd" if isinstance(decay, Decoupled) else "adamw"
    return (None, None) if rule is None else (rule, reg)


def _note(optimizer: Optimizer, groups: dict[int, dict[str, Any]], lam: float | None) -> str | None:
    """The forecast was fitted where all parameters are regularised alike."""
    read, others = reader_of(optimizer), {id(group): group for group in groups.values()}
    try:
        strengths = {strength(read(group, {})) for group in others.values()}
    except (ValueError, KeyError, TypeError):
        return None
    if strengths != {lam}:
        return "not all parameters are decayed as gamma is; the forecast was fitted where they are."
    return None


def factors(schedule: np.ndarray, history_step: np.ndarray, history_lr: np.ndarray, *,
            steps: int, lr: float) -> np.ndarray:  # fmt: skip
    """lr_t / lr of every step of the run, (steps,): the schedule, else what was seen.

    Without a schedule the learning rates of the records stand for the steps before each, and the
    last for what is to come.
    """
    if len(schedule):
        return schedule[:steps]
    seen = np.repeat(history_lr[1:], np.diff(history_step))[:steps]
    last = seen[-1] if len(seen) else lr
    return np.concatenate([seen, np.full(steps - len(seen), last)]) / lr
