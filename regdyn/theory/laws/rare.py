r"""Gradients with a mean: where theta stops when the loss pushes it against the decay.

The gradient is -push with probability p (all of the time, or when a rare feature fires), beside
noise of standard deviation sigma. theta moves little while m and v average, so it stops where the
mean step balances the decay. The mean step of Adam for any independent gradients,

    E[m / (sqrt(v) + eps)] =
        int ds rho(s) sum_k h_k E[g exp(-s w_k g^2)] prod_(j != k) E[exp(-s w_j g^2)]

is exact (`gaussian` has rho, h, w); for Gaussians of mean u and variance 1 the factors are
d^(-1/2) exp(-s w u^2 / d) and u d^(-3/2) exp(-s w u^2 / d), d = 1 + 2 s w.
"""

import math
from typing import Any

import numpy as np

from regdyn import rules
from regdyn.theory.laws.gaussian import _mixture, _weights
from regdyn.theory.laws.law import Law, betas, invalid, judged
from regdyn.theory.laws.signs import sign_std


def mean_step(
    means: np.ndarray, shares: np.ndarray, sigma: float, *, b1: float, b2: float, eps: float
) -> float:
    """E[m / (sqrt(v) + eps)] of gradients N(means[i], sigma^2), each with probability shares[i]."""
    scale = float(np.max(np.abs(means))) + sigma
    if scale == 0:
        return 0.0
    u, noise = np.asarray(means, float) / scale, (sigma / scale) ** 2
    s, weight = _mixture(eps / scale, 1)
    w = _weights(b2, 1e-13)
    h = (1 - b1) * b1 ** np.arange(len(w)) if b1 else np.eye(1, len(w))[0]
    log, first = np.zeros_like(s), np.zeros_like(s)
    for k in np.array_split(np.arange(len(w)), max(1, len(w) // 64)):
        x = np.multiply.outer(s, w[k])
        d = 1 + 2 * noise * x
        parts = [q * np.exp(-x * v * v / d) / np.sqrt(d) for q, v in zip(shares, u, strict=True)]
        whole = sum(parts)
        signed = sum(v * part for v, part in zip(u, parts, strict=True)) / d
        log += np.log(np.maximum(whole, 1e-300)).sum(axis=1)
        first += (signed / np.maximum(whole, 1e-300) * h[k]).sum(axis=1)
    first += float(np.dot(shares, u)) * (1 - h.sum())  # older than v remembers
    return float(np.sum(weight * np.exp(log) * first))


def rare_wd(
    hp: Any, lam: float, push: float, *, p: float = 1.0, sigma: float = 0.0, reg: str = "wd"
) -> Law:
    r"""Mean of theta under weight decay, pushed up by `push` with probability `p` per step.

    Formula: theta* = (1 - lambda) / lambda * E step (`adamw`: E step / (lr lambda)), where E step
    is lr p push / (1 - mu) for SGD, lr E[m / (sqrt(v) + eps)] for Adam and RMSprop. Limits of
    sigma = 0, eps = 0:

        p >> 1 - b2    lr sqrt(p)
        p << 1 - b2    lr p (1 - b1) / ((1 - b1 / sqrt(b2)) sqrt(1 - b2)), whatever the push

    and lr push / sigma for p = 1, sigma >> push. Exact for any lambda: the gradient does not know
    theta. Lion: p = 1 only, lr erf(push / (sqrt(2) std(c))).
    Source: derived in docs/laws/rare.md.
    """
    decay, after = (hp.lr * lam, 1.0) if reg == "adamw" else (lam, 1 - lam)
    if decay == 0:
        return invalid(math.inf, "Without decay theta is pushed for ever.")
    if isinstance(hp, rules.SGD):
        step = hp.lr * p * push / (1 - hp.momentum)
    elif isinstance(hp, rules.Adam | rules.RMSprop):
        step = hp.lr * _step(hp, push, p, sigma)
    elif isinstance(hp, rules.Lion) and p == 1:
        std = math.sqrt(2) * sigma * sign_std(hp)
        step = hp.lr * (math.erf(push / std) if std else 1.0)
    else:
        return invalid(math.nan, f"No closed form for {rules.name_of(hp)} at p = {p:g}.")
    return judged(after / decay * step, {})


def rare_l2(hp: Any, lam: float, push: float, *, p: float = 1.0, sigma: float = 0.0) -> Law:
    r"""Where theta stops under L2, pushed up by `push` with probability `p` per step.

    Formula: the theta at which the mean step of the gradients lambda theta (probability 1 - p) and
    lambda theta - push (probability p) is 0. For p = 1 it is push / lambda, whatever the rule:
    exact by symmetry. For SGD it is p push / lambda. Under Adam and RMSprop it falls below that as
    p falls below 1 - b2: between events v forgets them, and the decay is divided by a small v.
    Assumption: theta moves little within the memory of v: neglected is half of what the
    1 + p / (1 - b2) events in it move, relative to theta. Range: so not where events are so rare
    that theta is made by the last one.
    Source: derived in docs/laws/rare.md.
    """
    if lam == 0:
        return invalid(math.inf, "Without decay theta is pushed for ever.")
    dense = p * push / lam
    if p == 1 or isinstance(hp, rules.SGD):
        return judged(dense, {})
    if not isinstance(hp, rules.Adam | rules.RMSprop):
        return invalid(dense, f"No closed form for {rules.name_of(hp)} at p = {p:g}.")
    from scipy.optimize import root_scalar

    def up(theta: float) -> float:
        return _step(hp, push, p, sigma, lam * theta)

    theta = root_scalar(up, bracket=(0.0, push / lam), xtol=1e-15, rtol=1e-5).root
    b1, b2 = betas(hp)
    single = (1 - b1) / ((1 - b1 / math.sqrt(b2)) * math.sqrt(1 - b2)) if b2 > b1**2 else math.inf
    jump = hp.lr * min(single, p**-0.5)
    moved = jump * math.sqrt(1 + p / (1 - b2))  # by the events within the memory of v
    return judged(theta, {"theta's motion within the memory of v": 0.5 * moved / theta})


def _step(hp: Any, push: float, p: float, sigma: float, pull: float = 0.0) -> float:
    """-E[m / (sqrt(v) + eps)]: positive is up."""
    b1, b2 = betas(hp)
    means, shares = np.array([pull - push, pull]), np.array([p, 1 - p])
    return -mean_step(means, shares, sigma, b1=b1, b2=b2, eps=hp.eps)
