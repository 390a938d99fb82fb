r"""Update rules, one next to the other, in the paper's symbols.

A rule is a pure function of the gradient, its state, its hyper-parameters and the coefficients of
the step; it returns what is to be *subtracted* from theta, and the new state::

    state = init(theta, hp)
    for t in 1, 2, 3, ...:
        delta, state = adam(grad, state, hp, coef(hp, t))
        theta = theta - delta

The same source serves Python floats, NumPy arrays and torch tensors of any shape, element by
element. Where lambda enters is not a rule's business: see `regdyn.regularizers`.

Defaults are the hyper-parameters of the paper: D. Mehta, K. I. Kim, C. Theobalt, "On Implicit
Filter Level Sparsity in Convolutional Neural Networks", arXiv 1811.12495, section 2.1. What the
paper does not give is our choice, and each docstring says so.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from regdyn.checks import choose, finite, integer, shown

# The three functions that floats, arrays and tensors do not share ----------------------------


def sqrt(x: Any) -> Any:
    """Square root: correctly rounded of floats and arrays, within an ulp of tensors."""
    if isinstance(x, float):
        return math.sqrt(x) if x >= 0 else math.nan
    return x.sqrt() if hasattr(x, "sqrt") else np.sqrt(x)


def maximum(a: Any, b: Any) -> Any:
    """Larger of `a` and `b`, element by element; NaN if either is NaN."""
    method = getattr(a, "maximum", None)
    return np.maximum(a, b) if method is None else method(b)


def sign(x: Any) -> Any:
    """-1, 0 or 1, element by element; NaN stays NaN."""
    return x.sign().where(x == x, x) if hasattr(x, "sign") else np.sign(x)


# Stochastic gradient descent -------------------------------------------------------------------


class SGD(NamedTuple):
    """Hyper-parameters of `sgd`: the paper's learning rate and momentum; Nesterov is ours."""

    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False


class SGDState(NamedTuple):
    """Momentum buffer b."""

    b: Any


class LearningRate(NamedTuple):
    """Coefficient of a step: the learning rate lr_t."""

    lr: float


def learning_rate(hp: Any, t: int, scale: float) -> LearningRate:
    """lr_t = lr * scale: all that a rule without bias correction needs."""
    return LearningRate(hp.lr * scale)


def sgd(grad: Any, state: SGDState, hp: SGD, coef: LearningRate) -> tuple[Any, SGDState]:
    r"""Stochastic gradient descent with momentum::

        b     <- momentum * b + g
        delta  = lr_t * b                       (Nesterov: lr_t * (g + momentum * b))

    Conventions: the learning rate multiplies the buffer when it is used, not when it is filled
    (torch.optim.SGD with dampening 0; optax.sgd). Sutskever et al. (2013) and Keras fill the
    buffer with lr * g: the same for a constant lr, different under a schedule. b_0 = 0.

    Source: paper, section 2.1 (lr 0.1, momentum 0.9); Polyak (1964); Sutskever et al. (2013).
    """
    b = hp.momentum * state.b + grad
    delta = coef.lr * (grad + hp.momentum * b if hp.nesterov else b)
    return delta, SGDState(b)


# Adam and AMSGrad ------------------------------------------------------------------------------


class Adam(NamedTuple):
    """Hyper-parameters of `adam`: the paper's, with its beta2 = 0.99 (torch's default is 0.999)."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8


class AdamState(NamedTuple):
    """Moving averages m of g and v of g^2."""

    m: Any
    v: Any


class AdamCoef(NamedTuple):
    """Coefficients of a step: lr_t / (1 - beta1^t) and 1 / sqrt(1 - beta2^t)."""

    step: float
    root: float


def adam_coef(hp: Any, t: int, scale: float) -> AdamCoef:
    """Bias corrections of step t (from 1)."""
    return AdamCoef(hp.lr * scale / (1 - hp.beta1**t), 1 / sqrt(1 - hp.beta2**t))


def adam(grad: Any, state: AdamState, hp: Adam, coef: AdamCoef) -> tuple[Any, AdamState]:
    r"""Adam::

        m     <- beta1 * m + (1 - beta1) * g
        v     <- beta2 * v + (1 - beta2) * g^2
        delta  = lr_t / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)

    Conventions: eps stands outside the root and after the bias correction, as in algorithm 1 of
    Kingma & Ba (2015), optax.adam, and torch.optim.Adam since mid-2019 (commit fed5ca1). Earlier
    torch, so perhaps the paper's, added eps to sqrt(v) before the correction: an eps larger by
    1 / sqrt(1 - beta2^t) at first, the same later. m_0 = v_0 = 0.

    Source: paper, section 2.1 (lr 1e-3, beta1 0.9, beta2 0.99, eps 1e-8).
    """
    m = hp.beta1 * state.m + (1 - hp.beta1) * grad
    v = hp.beta2 * state.v + (1 - hp.beta2) * (grad * grad)
    delta = coef.step * m / (sqrt(v) * coef.root + hp.eps)
    return delta, AdamState(m, v)


class AMSGrad(NamedTuple):
    """Hyper-parameters of `amsgrad`: not in the paper; ours are those of `Adam`."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8
    flavour: str = "torch"


FLAVOURS = ("torch", "optax", "original")


class AMSGradState(NamedTuple):
    """Moving averages m of g and v of g^2, and the largest v seen."""

    m: Any
    v: Any
    vmax: Any


class AMSGradCoef(NamedTuple):
    """Coefficients of a step: learning rate and corrections before (inner) and after the max."""

    step: float
    inner: float
    root: float


def amsgrad_coef(hp: AMSGrad, t: int, scale: float) -> AMSGradCoef:
    """Bias corrections of step t (from 1), put where the flavour wants them."""
    step, root = adam_coef(hp, t, scale)
    if hp.flavour == "torch":
        return AMSGradCoef(step, 1.0, root)
    if hp.flavour == "optax":
        return AMSGradCoef(step, 1 / (1 - hp.beta2**t), 1.0)
    return AMSGradCoef(hp.lr * scale, 1.0, 1.0)


def amsgrad(
    grad: Any, state: AMSGradState, hp: AMSGrad, coef: AMSGradCoef
) -> tuple[Any, AMSGradState]:
    r"""AMSGrad::

        m     <- beta1 * m + (1 - beta1) * g
        v     <- beta2 * v + (1 - beta2) * g^2

        torch:     vmax <- max(vmax, v)
                   delta = lr_t / (1 - beta1^t) * m / (sqrt(vmax / (1 - beta2^t)) + eps)
        optax:     vmax <- max(vmax, v / (1 - beta2^t))
                   delta = lr_t / (1 - beta1^t) * m / (sqrt(vmax) + eps)
        original:  vmax <- max(vmax, v)
                   delta = lr_t * m / (sqrt(vmax) + eps)

    Conventions: `torch` is torch.optim.Adam(amsgrad=True), whose documentation named the optax
    form until December 2024 (pull request 142351) while the code never did it; `optax` is
    optax.amsgrad with its defaults; `original` is algorithm 2 of Reddi et al. (2018), which has
    no bias correction (and no eps: ours stands outside the root). The three differ lastingly: a
    burst at the start is remembered by optax at its corrected, larger height.
    m_0 = v_0 = vmax_0 = 0.

    Source: Reddi, Kale, Kumar (2018); the paper expects less sparsity of it (section 4).
    """
    m = hp.beta1 * state.m + (1 - hp.beta1) * grad
    v = hp.beta2 * state.v + (1 - hp.beta2) * (grad * grad)
    vmax = maximum(state.vmax, v * coef.inner)
    delta = coef.step * m / (sqrt(vmax) * coef.root + hp.eps)
    return delta, AMSGradState(m, v, vmax)


# Adagrad, Adadelta, RMSprop -----------------------------------------------------------------------


class Adagrad(NamedTuple):
    """Hyper-parameters of `adagrad`: the paper's lr; eps is torch's, the paper gives none."""

    lr: float = 1e-2
    eps: float = 1e-10


class AdagradState(NamedTuple):
    """Sum S of all g^2 so far."""

    S: Any


def adagrad(
    grad: Any, state: AdagradState, hp: Adagrad, coef: LearningRate
) -> tuple[Any, AdagradState]:
    r"""Adagrad::

        S     <- S + g^2
        delta  = lr_t * g / (sqrt(S) + eps)

    Conventions: eps outside the root, S_0 = 0, no decay of lr: torch.optim.Adagrad with its
    defaults. optax.adagrad starts at S_0 = 0.1 and divides by sqrt(S + 1e-7).

    Source: paper, section 2.1 (lr 1e-2); Duchi, Hazan, Singer (2011).
    """
    S = state.S + grad * grad
    delta = coef.lr * grad / (sqrt(S) + hp.eps)
    return delta, AdagradState(S)


class Adadelta(NamedTuple):
    """Hyper-parameters of `adadelta`: the paper's."""

    lr: float = 1.0
    rho: float = 0.9
    eps: float = 1e-6


class AdadeltaState(NamedTuple):
    """Moving averages v of g^2 and X of the squared steps."""

    v: Any
    X: Any


def adadelta(
    grad: Any, state: AdadeltaState, hp: Adadelta, coef: LearningRate
) -> tuple[Any, AdadeltaState]:
    r"""Adadelta::

        v     <- rho * v + (1 - rho) * g^2
        dx     = sqrt((X + eps) / (v + eps)) * g
        X     <- rho * X + (1 - rho) * dx^2
        delta  = lr_t * dx

    Conventions: eps inside both roots, and X averages dx before the learning rate multiplies
    it: torch.optim.Adadelta, optax.adadelta, and, at lr = 1, algorithm 1 of Zeiler (2012).
    v_0 = X_0 = 0.

    Source: paper, section 2.1 (lr 1.0, rho 0.9, eps 1e-6).
    """
    v = hp.rho * state.v + (1 - hp.rho) * (grad * grad)
    dx = sqrt((state.X + hp.eps) / (v + hp.eps)) * grad
    X = hp.rho * state.X + (1 - hp.rho) * (dx * dx)
    return coef.lr * dx, AdadeltaState(v, X)


class RMSprop(NamedTuple):
    """Hyper-parameters of `rmsprop`: not in the paper; lr 1e-3, alpha 0.99, eps 1e-8 are ours."""

    lr: float = 1e-3
    alpha: float = 0.99
    eps: float = 1e-8


class RMSpropState(NamedTuple):
    """Moving average v of g^2."""

    v: Any


def rmsprop(
    grad: Any, state: RMSpropState, hp: RMSprop, coef: LearningRate
) -> tuple[Any, RMSpropState]:
    r"""RMSprop::

        v     <- alpha * v + (1 - alpha) * g^2
        delta  = lr_t * g / (sqrt(v) + eps)

    Conventions: eps outside the root, no bias correction, not centred, no momentum, v_0 = 0:
    torch.optim.RMSprop with its defaults (torch's lr is 1e-2). Without a bias correction the
    first steps are larger, by 1 / sqrt(1 - alpha) = 10 at alpha 0.99. optax.rmsprop stands eps
    inside the root by default.

    Source: Tieleman & Hinton (2012), lecture 6.5.
    """
    v = hp.alpha * state.v + (1 - hp.alpha) * (grad * grad)
    delta = coef.lr * grad / (sqrt(v) + hp.eps)
    return delta, RMSpropState(v)


# Lion: the worked example of CONTRIBUTING.md ---------------------------------------------------


class Lion(NamedTuple):
    """Hyper-parameters of `lion`: those of its own paper."""

    lr: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99


class LionState(NamedTuple):
    """Moving average m of g."""

    m: Any


def lion(grad: Any, state: LionState, hp: Lion, coef: LearningRate) -> tuple[Any, LionState]:
    r"""Lion::

        delta  = lr_t * sign(beta1 * m + (1 - beta1) * g)
        m     <- beta2 * m + (1 - beta2) * g

    Conventions: beta1 mixes what is stepped along, beta2 what is remembered; sign(0) = 0; m_0 = 0.
    Its own weight decay is `adamw` of `regdyn.regularizers`. Not in torch.optim.

    Source: Chen et al. (2023), algorithm 2.
    """
    delta = coef.lr * sign(hp.beta1 * state.m + (1 - hp.beta1) * grad)
    m = hp.beta2 * state.m + (1 - hp.beta2) * grad
    return delta, LionState(m)


# Registry ----------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """What the engine needs to know of a rule.

    Attributes
    ----------
    hyper : type
        NamedTuple of the hyper-parameters; its defaults are the preset `paper`.
    step : callable
        ``step(grad, state, hp, coef) -> (delta, state)``.
    state : type
        NamedTuple of the state; every entry starts at zero.
    torch : NamedTuple
        The preset `torch`: the defaults of torch.optim.
    coef : callable
        ``coef(hp, t, scale)`` -> NamedTuple of floats, once per step; `scale` is lr_t / lr.
    """

    hyper: type
    step: Callable
    state: type
    torch: Any
    coef: Callable = learning_rate


RULES = {
    "sgd": Rule(SGD, sgd, SGDState, SGD(lr=1e-3, momentum=0.0)),
    "adam": Rule(Adam, adam, AdamState, Adam(beta2=0.999), adam_coef),
    "amsgrad": Rule(AMSGrad, amsgrad, AMSGradState, AMSGrad(beta2=0.999), amsgrad_coef),
    "adagrad": Rule(Adagrad, adagrad, AdagradState, Adagrad()),
    "adadelta": Rule(Adadelta, adadelta, AdadeltaState, Adadelta()),
    "rmsprop": Rule(RMSprop, rmsprop, RMSpropState, RMSprop(lr=1e-2)),
    "lion": Rule(Lion, lion, LionState, Lion()),
}

PRESETS = ("paper", "torch")


def name_of(hp: Any) -> str:
    """Name of the rule whose hyper-parameters `hp` are.

    Raises
    ------
    ValueError
        If `hp` is not an instance of one of the hyper-parameter tuples of this module.
    """
    for name, rule in RULES.items():
        if type(hp) is rule.hyper:
            return name
    types = ", ".join(rule.hyper.__name__ for rule in RULES.values())
    raise ValueError(
        f"not a rule: {shown(hp)}. Give a name ({', '.join(RULES)}) or one of {types}."
    )


def resolve(rule: Any, preset: str = "paper") -> Any:
    """Hyper-parameters of `rule`, checked.

    Parameters
    ----------
    rule : str or NamedTuple
        A rule's name, or its hyper-parameters (then `preset` does not matter).
    preset : {'paper', 'torch'}
        Where a name takes its hyper-parameters from.

    Raises
    ------
    ValueError
        If the name or preset is unknown, or a hyper-parameter is out of range.
    """
    choose("preset", preset, PRESETS)
    if not isinstance(rule, str):
        return _checked(rule)
    known = RULES[choose("rule", rule, RULES)]
    return known.hyper() if preset == "paper" else known.torch


def _checked(hp: Any) -> Any:
    """`hp` with plain Python values, if every hyper-parameter is in its range."""
    name, values = name_of(hp), hp._asdict()
    for field, value in values.items():
        if field == "flavour":
            choose("AMSGrad flavour", value, FLAVOURS)
        elif field == "nesterov":
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"nesterov of {name} must be True or False, not {shown(value)}.")
            values[field] = bool(value)
        elif field in ("lr", "eps"):
            values[field] = finite(f"{field} of {name}", value, 0.0)
        else:
            values[field] = finite(f"{field} of {name}", value, 0.0, 1.0, open_above=True)
    return type(hp)(**values)


def init(theta: Any, hp: Any) -> Any:
    """Zero state for a parameter shaped like `theta` (a float, an array or a tensor; finite)."""
    state = RULES[name_of(hp)].state
    return state._make(0.0 * abs(theta) for _ in state._fields)


def coef(hp: Any, t: int, scale: float = 1.0) -> Any:
    """Coefficients of step `t`, computed once per step and not once per parameter.

    Parameters
    ----------
    hp : NamedTuple
        Hyper-parameters of the rule.
    t : int
        Step, from 1.
    scale : float
        lr_t / lr, the factor of the learning-rate schedule.
    """
    return RULES[name_of(hp)].coef(hp, integer("step t", t, 1), scale)
