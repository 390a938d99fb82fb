"""The step of training: torch.optim's optimizer, and lambda where its regulariser wants it.

Words and formulas are those of `regdyn.rules` and `regdyn.regularizers`, and so are the presets
(the paper's, section 2.1). `Update` does to every parameter of a network what `regdyn.replay` does
to one: the tests hold the two against each other.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cnn import slimming
from cnn.config import OptimConfig
from regdyn import regularizers, rules
from regdyn.checks import choose, finite, shown

OPTIMIZERS = ("sgd", "adam", "amsgrad", "adagrad", "adadelta", "rmsprop")
_FUSED = ("sgd", "adam", "amsgrad", "adagrad")  # torch has these as one kernel, on CPU and CUDA


class Update:
    r"""One step of training, from the gradients in `.grad` to the new parameters.

    In the words of `regdyn.regularizers`, with s = lr_t / lr::

        l2       g     <- g + lambda * theta                before the rule (torch's weight_decay)
        wd       theta <- (1 - lambda * s) * theta          after the step (the paper's)
        adamw    theta <- (1 - lambda * lr_t) * theta       before the step (torch.optim.AdamW)

    The factor `gamma_lr` multiplies the learning rate of BatchNorm's gamma, hence also its decay
    under `adamw`, which follows the learning rate, but not under `wd`, which does not.

    `gamma_l1` is the strength of an L1 penalty on every gamma besides: `cnn.slimming`. A step
    leaves `.grad` as it is: what is recorded is the gradient of the loss alone.

    Parameters
    ----------
    model : nn.Module
        Its parameters that want a gradient are trained. May be wrapped in DDP or torch.compile.
    config : OptimConfig
    capturable : bool
        Learning rate and decay live on the device, so that a captured CUDA graph sees what
        `set_scale` sets. Needs a CUDA device.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
        Fused where torch has that for the rule and the device, else foreach.
    hp : NamedTuple
        Hyper-parameters, as `regdyn.rules` takes them.
    groups : list
        One for each of `optimizer.param_groups`: its tensors, learning rate, and the decay that is
        done by hand around the optimizer's step.

    Raises
    ------
    ValueError
        If a setting is unknown or out of range, or `capturable` is asked for without CUDA.
    """

    def __init__(self, model: nn.Module, config: OptimConfig, *, capturable: bool = False) -> None:
        self.config, self.hp, self.scale = config, hyperparameters(config), 1.0
        self.groups = _groups(model, config, self.hp)
        gammas = slimming.gammas(model) if config.gamma_l1 else []
        self._penalised = [gamma for gamma in gammas if gamma.requires_grad]
        device = self.groups[0].params[0].device
        if capturable and device.type != "cuda":
            raise ValueError(f"capturable needs a CUDA device, not {device}.")
        self.optimizer = _optimizer(self.groups, config, self.hp, capturable=capturable)
        # per group: learning rate and the factors before and after the step, as floats, or as
        # tensors of the device that a CUDA graph reads
        zeros = [torch.zeros(3, device=device) for _ in self.groups] if capturable else None
        self._tensors = [tuple(three) for three in zeros] if zeros else None
        self._set()

    def set_scale(self, scale: float) -> None:
        """Set the schedule's factor lr_t / lr of the next steps."""
        if scale != self.scale:
            self.scale = finite("the schedule's factor", scale, 0.0)
            self._set()

    def _set(self) -> None:
        """Learning rates and decay of all groups, from the schedule's factor."""
        self._factors = []
        for i, part in enumerate(self.groups):
            decay = regularizers.decay(part.by_hand, part.lr, self.scale)
            values: Any = part.lr * self.scale, decay.before, decay.after
            if self._tensors is not None:
                for tensor, value in zip(self._tensors[i], values, strict=True):
                    tensor.fill_(value)
                values = self._tensors[i]
            self.optimizer.param_groups[i]["lr"] = values[0]
            self._factors.append(values[1:])

    def unscale(self, scaler: torch.amp.GradScaler | None) -> Tensor | None:
        """Divide the gradients by the scaler's scale, once per step and before they are recorded.

        Returns
        -------
        Tensor or None
            1.0 if a gradient is not finite, so that the step will be skipped, else 0.0; it stays
            on the device. None without an enabled scaler.
        """
        if scaler is None or not scaler.is_enabled():
            return None
        if not scaler._found_inf_per_device(self.optimizer):
            scaler.unscale_(self.optimizer)
        (found,) = scaler._found_inf_per_device(self.optimizer).values()
        return found

    @torch.no_grad()
    def step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """The optimizer's step and the decay; neither if the scaler skips the step."""
        skipped = self.unscale(scaler)
        self._decay(0, skipped)
        with slimming.penalty(self._penalised, self.config.gamma_l1):
            if scaler is None:
                self.optimizer.step()
            else:
                scaler.step(self.optimizer)
        self._decay(1, skipped)

    def _decay(self, when: int, skipped: Tensor | None) -> None:
        """Multiply what decays before (0) or after (1) the step."""
        for part, factors in zip(self.groups, self._factors, strict=True):
            if (part.by_hand.adamw, part.by_hand.wd)[when]:
                factor = factors[when]
                if skipped is not None:
                    factor = torch.where(skipped > 0, 1.0, factor).to(part.params[0].dtype)
                torch._foreach_mul_(part.params, factor)  # pyright: ignore[reportPrivateImportUsage]

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the schedule's factor; hyper-parameters are the config's."""
        entry = self.optimizer.state_dict()
        groups = [group["params"] for group in entry["param_groups"]]
        return {
            "opt": self.config.opt, "groups": groups, "state": entry["state"], "scale": self.scale
        }  # fmt: skip

    def load_state_dict(self, entry: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, before a CUDA graph is captured.

        Raises
        ------
        ValueError
            If it is that of another optimizer or of other parameters.
        """
        if entry["opt"] != self.config.opt:
            raise ValueError(f"the state is that of {entry['opt']}, not of {self.config.opt}.")
        own = self.optimizer.state_dict()
        params = [p for part in self.groups for p in part.params]
        same = entry["groups"] == [group["params"] for group in own["param_groups"]] and all(
            value.shape in ((), params[i].shape)
            for i, state in entry["state"].items()
            for value in state.values()
            if isinstance(value, Tensor)
        )
        if not same:
            raise ValueError("the optimizer's state is that of other parameters.")
        self.optimizer.load_state_dict({**own, "state": entry["state"]})
        self.scale = entry["scale"]
        self._set()


def hyperparameters(config: OptimConfig) -> Any:
    """Hyper-parameters of the optimizer: the paper's, with those that the config sets.

    Returns
    -------
    NamedTuple
        One of `regdyn.rules`; `regdyn.replay` takes it. Its lr is that of all parameters but
        gamma, whose learning rate is `gamma_lr` times as much.

    Raises
    ------
    ValueError
        If a setting is unknown or out of range.
    """
    if config.opt == "adamw":
        raise ValueError(
            "AdamW is Adam with another place for lambda: give opt='adam', reg='adamw'."
        )
    hp = rules.RULES[choose("optimizer", config.opt, OPTIMIZERS)].hyper()
    names = [name for name in hp._fields if name not in ("lr", "flavour")]
    for text in config.hyper:
        name, equals, value = (part.strip() for part in str(text).partition("="))
        if not equals:
            raise ValueError(f"hyper takes NAME=NUMBER, such as {names[0]}=..., not {shown(text)}.")
        choose(f"hyper-parameter of {config.opt}", name, names)
        hp = hp._replace(**{name: _value(value)})
    hp = rules.resolve(hp if config.lr is None else hp._replace(lr=config.lr))
    factor = finite("gamma_lr", config.gamma_lr, 0.0)
    finite("gamma_l1", config.gamma_l1, 0.0)
    choose("regularize", config.regularize, ("all", "no-batchnorm"))
    regularizers.check_strength(config.reg, config.lam, hp._replace(lr=hp.lr * max(1.0, factor)))
    return hp


def _value(text: str) -> Any:
    """A number or a truth value; else the text as it is, which `rules.resolve` refuses."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


class _Group(NamedTuple):
    """Parameters that share learning rate and strength.

    lambda is split: `inside` is done by the optimizer (as its weight_decay), `by_hand` around it.
    """

    params: list[Tensor]
    lr: float
    inside: float
    by_hand: regularizers.Strength


def _groups(model: nn.Module, config: OptimConfig, hp: Any) -> list[_Group]:
    """Parameters by (factor on the learning rate, lambda): as few groups as there can be."""
    norms = [module for module in model.modules() if isinstance(module, slimming.BATCHNORM)]
    gammas = {id(module.weight) for module in norms}
    spared = gammas | {id(module.bias) for module in norms}
    if config.regularize == "all":
        spared = set()
    found: dict[tuple[float, float], list[Tensor]] = {}
    for p in model.parameters():
        if p.requires_grad:
            factor = config.gamma_lr if id(p) in gammas else 1.0
            found.setdefault((factor, 0.0 if id(p) in spared else config.lam), []).append(p)
    if not found:
        raise ValueError("the model has no parameters to train.")
    inside = config.reg == "l2" or (config.reg == "adamw" and config.opt in ("adam", "amsgrad"))
    return [
        _Group(
            params,
            hp.lr * factor,
            inside=lam if inside else 0.0,
            by_hand=regularizers.strength("none" if inside else config.reg, lam),
        )
        for (factor, lam), params in found.items()
    ]


def _optimizer(
    groups: list[_Group], config: OptimConfig, hp: Any, *, capturable: bool
) -> torch.optim.Optimizer:
    """torch's optimizer with the hyper-parameters `hp`."""
    device = groups[0].params[0].device
    fused = config.opt in _FUSED and device.type in ("cpu", "cuda")
    how: dict[str, Any] = {"fused": True} if fused else {"foreach": True}
    if config.opt not in ("sgd", "adagrad"):  # these two have no such flag and need none
        how["capturable"] = capturable
    given = [{"params": g.params, "lr": g.lr, "weight_decay": g.inside} for g in groups]
    if config.opt in ("adam", "amsgrad"):
        kind = torch.optim.AdamW if config.reg == "adamw" else torch.optim.Adam
        how |= {"betas": (hp.beta1, hp.beta2), "amsgrad": config.opt == "amsgrad"}
        return kind(given, eps=hp.eps, **how)
    if config.opt == "sgd":
        made = torch.optim.SGD(given, momentum=hp.momentum, nesterov=hp.nesterov, **how)
        if hp.momentum:  # fused SGD leaves the buffer uninitialised if a scaler skips step 1
            for p in (p for group in groups for p in group.params):
                made.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return made
    kind = {
        "adagrad": torch.optim.Adagrad,
        "adadelta": torch.optim.Adadelta,
        "rmsprop": torch.optim.RMSprop,
    }[config.opt]
    return kind(given, **hp._replace(lr=groups[0].lr)._asdict(), **how)
