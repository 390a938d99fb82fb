r"""Rules and gradient processes in the form that the closure takes."""

import math
from typing import Any, NamedTuple

import numpy as np

from regdyn import gradients, rules
from regdyn.checks import shown
from regdyn.compile import compiled
from regdyn.theory.mixture import SQUARE, Memory, effective_square, largest_square, sign_scale

LOOK = 1000  # steps after which Adagrad's v is looked at
SGD, ADAM, AMSGRAD, ADAGRAD, ADADELTA, LION = range(6)


class Form(NamedTuple):
    r"""A rule's coefficients: with g = gradient and L2's part,

    d  = cm m + cg g            the direction of the step
    m <- bm m + km g
    v <- bv v + kv g^2          (not SGD, not Lion)
    """

    kind: int
    cm: float
    cg: float
    bm: float
    km: float
    bv: float = 0.0
    kv: float = 0.0
    eps: float = 0.0


class Steps(NamedTuple):
    """What changes from step to step; arrays (steps,)."""

    size: np.ndarray  # the step is size * d / (sqrt(v) * root + eps), or size * d
    root: np.ndarray
    inner: np.ndarray  # of AMSGrad: what is maximised is v * inner
    future: np.ndarray  # sum over later steps of size * bm^lag: what m is still to move
    settle: np.ndarray  # of the excess noise from v's fluctuations, the share that m keeps
    scale: np.ndarray  # lr_t / lr


class Noise(NamedTuple):
    """The gradient apart from lambda: push_t + curvature theta + sigma_t x_t, x of variance 1."""

    sigma: np.ndarray
    push: np.ndarray
    curvature: float
    phi: float  # correlation of x between two steps
    square: float  # variance of x^2


def form(hp: Any) -> Form:
    """The form of the rule with hyper-parameters `hp`; ValueError for a rule without a theory."""
    if isinstance(hp, rules.SGD):
        mu = hp.momentum
        cm, cg = (mu * mu, 1 + mu) if hp.nesterov else (mu, 1.0)
        return Form(SGD, cm, cg, mu, 1.0)
    if isinstance(hp, rules.Adam | rules.AMSGrad):
        kind = ADAM if isinstance(hp, rules.Adam) else AMSGRAD
        b1, b2 = hp.beta1, hp.beta2
        return Form(kind, b1, 1 - b1, b1, 1 - b1, b2, 1 - b2, hp.eps)
    if isinstance(hp, rules.RMSprop):
        return Form(ADAM, 0.0, 1.0, 0.0, 1.0, hp.alpha, 1 - hp.alpha, hp.eps)
    if isinstance(hp, rules.Adagrad):
        return Form(ADAGRAD, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, hp.eps)
    if isinstance(hp, rules.Adadelta):
        return Form(ADADELTA, 0.0, 1.0, 0.0, 1.0, hp.rho, 1 - hp.rho, max(hp.eps, 1e-150))
    if isinstance(hp, rules.Lion):
        return Form(LION, hp.beta1, 1 - hp.beta1, hp.beta2, 1 - hp.beta2)
    raise ValueError(f"there is no theory for the rule {shown(rules.name_of(hp))}.")


def steps(hp: Any, scale: np.ndarray) -> Steps:
    """Bias corrections and schedule; `scale` is lr_t / lr."""
    n = len(scale)
    size, root, inner, settle = hp.lr * scale, np.ones(n), np.ones(n), np.ones(n)
    if isinstance(hp, rules.Adam | rules.AMSGrad):
        flavour = getattr(hp, "flavour", "torch")
        left = _powers(hp.beta2, n)
        if flavour != "original":
            size = size / (1 - _powers(hp.beta1, n))
        if flavour == "optax":
            inner = 1 / (1 - left)
        elif flavour == "torch":
            root = 1 / np.sqrt(1 - left)
        # Var(v) / E[v]^2 is proportional to (1 + beta2^t) / (1 - beta2^t): what is left of it
        # when m has forgotten, and how far 1/sqrt(v) is then still the same
        later = left * hp.beta2 ** (1 / (1 - hp.beta1))
        settle = (1 + later) * (1 - left) / ((1 - later) * (1 + left))
        settle *= (1 - hp.beta1) / (1 - hp.beta1 * hp.beta2)
    f = form(hp)
    return Steps(size, root, inner, _future(size, f.bm), settle, scale)


def _powers(beta: float, n: int) -> np.ndarray:
    """beta^t for t = 1 .. n; 0 where 1 - beta^t is 1."""
    out = np.zeros(n)
    few = min(n, math.ceil(-46 / math.log(beta))) if beta > 0 else 0
    out[:few] = beta ** np.arange(1.0, few + 1)
    return out


@compiled
def _future(size, bm):
    """sum_{j >= 1} bm^j size_{t+j}; after the last step the size stays."""
    out = np.empty_like(size)
    last = size[-1] * bm / (1.0 - bm)
    for t in range(size.shape[0] - 1, -1, -1):
        out[t] = last
        last = bm * (size[t] + last)
    return out


def noise(gradient: Any, n: int, hp: Any) -> Noise:
    r"""The process in `n` steps, as the rule with hyper-parameters `hp` sees it.

    Student-t and intermittent noise enter by their variance and by the variance of x^2; not by the
    true ones (for nu <= 4 that of x^2 is infinite), but by those that make a step of this rule
    right (`regdyn.theory.mixture`).

    Raises
    ------
    ValueError
        For a tape, which has no law.
    """
    if isinstance(gradient, gradients.Tape):
        raise ValueError("recorded gradients have no theory: replay them.")
    sigma, mean = gradients.tables(gradient, n)
    push = np.zeros(n) if mean is None else mean
    curvature, phi, square = 0.0, 0.0, 2.0
    if isinstance(gradient, gradients.Well):
        curvature = float(gradient.curvature)
        push = push - curvature * gradient.center
    elif isinstance(gradient, gradients.AR1):
        phi = float(gradient.phi)
    elif isinstance(gradient, gradients.StudentT):
        sigma = sigma * np.sqrt(gradient.nu / (gradient.nu - 2))
    elif isinstance(gradient, gradients.Intermittent):
        sigma = sigma * np.sqrt(gradients.fires_below(gradient) / 2**32)
    if isinstance(gradient, gradients.StudentT | gradients.Intermittent) and sigma.any():
        f = form(hp)
        if f.kind == LION:
            sigma = sigma * sign_scale(gradient, f.cg, f.cm * f.km, f.bm)
        elif f.kind != SGD:
            square = _square(gradient, f, n, float(np.mean(sigma**2)))
    return Noise(sigma, push, curvature, phi, square)


def _square(process: Any, form: Form, n: int, variance: float) -> float:
    """Variance of x^2 that stands for a heavy-tailed process."""
    if form.kind == AMSGRAD:
        return largest_square(process, form.bv, n)
    if form.kind == ADADELTA:
        eps = 1 / max(variance / form.eps, 1e-4)  # beyond, noise does not matter to 1 / (v + eps)
        return effective_square(process, Memory(form.bm, form.bv, eps), SQUARE)
    bv = form.bv if form.kind != ADAGRAD else 1 - 2 / LOOK
    return effective_square(process, Memory(form.bm, bv), SQUARE)
