r"""Adadelta: X follows v only as far as eps lets it.

A step is sqrt(R) g, R = (X + eps) / (v + eps) with the X of before, and by the rule itself

    R' = R (1 - k d - rho d^2 - k eps / w') + k eps / w'

with w = v + eps, d = (w' - w) / w', k = 1 - rho,

so R grows to 1 while v is steady, and loses E[d^2] ~ 2 k^2 sigma^4 / w^2 per step as v fluctuates:

    sigma << sqrt(eps)     R = 1: SGD without momentum, of learning rate lr
    sigma >> sqrt(eps)     R = eps / (2 k sigma^2) (leading order in k): X saturates at eps / (2 k)

`markov.growth` has the averages exactly, for all k and sigma.
"""

import math

from regdyn.rules import SGD, Adadelta
from regdyn.theory.laws.heavy_ball import sgd_l2_std, sgd_l2_time
from regdyn.theory.laws.law import Law, invalid, judged
from regdyn.theory.laws.markov import growth


def adadelta_X(hp: Adadelta, sigma: float) -> Law:
    r"""Stationary mean of X under constant noise.

    Formula: the integral equation of `markov.growth`; leading order in k = 1 - rho:
    eps / (2 k) for sigma >> sqrt(eps), sigma^2 for sigma << sqrt(eps).
    Assumption: independent Gaussian gradients, stationary: after 1 / `relaxation` steps. Exact.
    Source: derived in docs/laws/adadelta.md.
    """
    if hp.eps == 0 or sigma == 0:
        return invalid(0.0, "Without eps or gradient X stays 0.")
    whole, _, _ = growth(hp.rho, hp.eps / sigma**2)
    return judged(hp.eps * (whole - 1), {})


def relaxation(hp: Adadelta, sigma: float) -> float:
    """Rate per step at which X forgets its start: k eps / w + 2 k^2 sigma^4 / w^2."""
    k, w = 1 - hp.rho, sigma**2 + hp.eps
    return k * hp.eps / w + 2 * k * k * (sigma**2 / w) ** 2


def _start(hp: Adadelta, sigma: float) -> float:
    """How far R starts from where it ends, of 1: its first steps are as wide as that."""
    return 1 - growth(hp.rho, hp.eps / sigma**2)[1]


def step_noise(hp: Adadelta, sigma: float, steps: float) -> tuple[float, dict[str, float]] | str:
    """R_0 of Adadelta's steps (E delta^2 = lr^2 E X, exactly; no correlation)."""
    if hp.eps == 0:
        return "Without eps Adadelta does not move."
    whole, _, _ = growth(hp.rho, hp.eps / sigma**2)
    early = _start(hp, sigma) * math.exp(-relaxation(hp, sigma) * steps)
    return hp.lr**2 * hp.eps * (whole - 1), {"the start of X": early}


def adadelta_l2_time(hp: Adadelta, lam: float, sigma: float, theta0: float, theta1: float) -> Law:
    r"""Steps until the mean of theta falls from `theta0` to `theta1` under Adadelta and L2.

    Formula: that of SGD without momentum, with the learning rate lr times the drift of
    `markov.growth`, E sqrt(R) to leading order: the rate is lr lambda for sigma << sqrt(eps), and
    lr lambda sqrt(eps / (2 k)) / sigma for sigma >> sqrt(eps).
    Assumption: independent Gaussian gradients; X stationary for most of the time; p =
    lambda^2 theta_0^2 / (sigma^2 + eps) small. Neglected: p / 2 as far as R is not 1, the dip of
    R as v rises, p^2 (1 + p) / 2 steps, and the start of R.
    Source: derived in docs/laws/adadelta.md.
    """
    if sigma == 0 or hp.eps == 0 or lam == 0 or hp.lr == 0:
        return invalid(math.inf, "Without noise, eps, decay or learning rate: use the recursion.")
    _, _, drift = growth(hp.rho, hp.eps / sigma**2)
    time = sgd_l2_time(SGD(hp.lr * drift, 0.0), lam, theta0, theta1).value
    push = (lam * theta0) ** 2 / (sigma**2 + hp.eps)
    start = _start(hp, sigma)
    neglected = {
        "lambda theta in v": 0.5 * push * start + push * push * (1 + push) / (2 * time),
        "the start of X": start / (relaxation(hp, sigma) * time),
    }
    return judged(time, neglected)


def adadelta_l2_std(hp: Adadelta, lam: float, sigma: float, *, steps: float = math.inf) -> Law:
    r"""Stationary standard deviation of theta under Adadelta and L2.

    Formula: V = lr E X / (2 lambda drift), with the heavy ball's correction for a large rate; that
    of SGD, lr sigma^2 / (2 lambda), for sigma << sqrt(eps), and lr sigma sqrt(eps / (2 k)) /
    (2 lambda) for sigma >> sqrt(eps).
    Assumption: independent Gaussian gradients, X stationary. Neglected: theta in v, a quarter of
    the rate as far as R is not 1; the start of X.
    Source: derived in docs/laws/adadelta.md.
    """
    if sigma == 0 or hp.eps == 0 or lam == 0 or hp.lr == 0:
        return invalid(math.nan, "Without noise, eps, decay or learning rate there is none.")
    whole, _, drift = growth(hp.rho, hp.eps / sigma**2)
    noise = hp.eps * (whole - 1) / (drift * sigma) ** 2  # E X against the square of the drift
    V = sgd_l2_std(SGD(hp.lr * drift, 0.0), lam, sigma).value ** 2 * noise
    start = _start(hp, sigma)
    neglected = {
        "theta in v": 0.25 * hp.lr * drift * lam * start,
        "the start of X": start * math.exp(-relaxation(hp, sigma) * steps),
    }
    return judged(math.sqrt(V), neglected)
