r"""Weight decay, `wd` and `adamw`: the gradient does not know theta, so theta is a filtered noise.

theta_t = after (before theta_{t-1} - delta_t), with q = after * before. The mean decays by q per
step whatever the rule, as long as the steps delta are symmetric about 0. The variance adds up the
steps' autocovariances R_k:

    V = after^2 / (1 - q^2) * (R_0 + 2 sum_k q^k R_k)

What differs between rules is the bracket, `noise` below.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from regdyn import rules
from regdyn.regularizers import decay, strength
from regdyn.theory.laws.gaussian import noise_gain
from regdyn.theory.laws.law import Law, betas, invalid, judged
from regdyn.theory.laws.signs import sign_noise

Noise = tuple[float, dict[str, float]]


def _factors(reg: str, lam: float, hp: Any) -> tuple[float, float]:
    """(q, after): the share of theta, and of the step, that one step leaves."""
    coefficients = decay(strength(reg, lam), hp.lr)
    return coefficients.before * coefficients.after, coefficients.after


def wd_mean(hp: Any, lam: float, theta0: float, t: float, *, reg: str = "wd") -> Law:
    r"""Mean of theta after `t` steps under weight decay, for every rule.

    Formula: (1 - lambda)^t theta_0; `adamw`: (1 - lr lambda)^t theta_0.
    Assumption: gradients symmetric about 0 and independent of theta; every rule is odd in them.
    Range: all. Exact. Source: Loshchilov & Hutter (2019), section 2, for what it decays.
    """
    q, _ = _factors(reg, lam, hp)
    return judged(theta0 * q**t, {})


def wd_time(hp: Any, lam: float, theta0: float, theta1: float, *, reg: str = "wd") -> Law:
    r"""Steps until the mean of theta falls from `theta0` to `theta1` under weight decay.

    Formula: ln(theta_0 / theta_1) / -ln(1 - lambda); `adamw`: with lr lambda. Exact, see `wd_mean`.
    """
    q, _ = _factors(reg, lam, hp)
    return judged(math.log(theta0 / theta1) / -math.log(q) if q < 1 else math.inf, {})


def wd_std(hp: Any, lam: float, sigma: float, *, reg: str = "wd", steps: float = math.inf) -> Law:
    r"""Standard deviation of theta after `steps` steps of weight decay (default: stationary).

    Formula: sqrt of V above, times sqrt(1 - q^(2 steps)) for the start. Leading orders::

        sgd                     lr sigma / ((1 - mu) sqrt(2 lambda))
        adam, rmsprop, lion     lr / sqrt(2 lambda) * (1; 1; a factor of the betas): no sigma
        amsgrad                 lr sigma / sqrt(2 lambda v_max)
        adagrad                 lr / sqrt(2 lambda steps)
        adadelta                lr sqrt(E X / (2 lambda))

    Assumption: independent Gaussian gradients, constant sigma. Range: sgd and lion exact; adam and
    rmsprop all eps, to first order in 1 / nu; the others: see their modules.
    Source: derived in docs/laws/weight-decay.md.
    """
    q, after = _factors(reg, lam, hp)
    if q >= 1 or sigma == 0:
        return invalid(0.0 if sigma == 0 else math.inf, "Without decay or noise none is reached.")
    answer = NOISE[rules.name_of(hp)](hp, sigma, q, steps)
    if isinstance(answer, str):
        return invalid(math.nan, answer)
    power, neglected = answer
    left = q ** (2 * steps) if math.isfinite(steps) else 0.0
    if neglected or left > 1e-3:
        neglected = neglected | {"the memory of momentum at the start": left}
    return judged(after * math.sqrt(power * (1 - left) / (1 - q * q)), neglected)


# R_0 + 2 sum q^k R_k of each rule's steps ------------------------------------------------------


def _sgd(hp: rules.SGD, sigma: float, q: float, steps: float) -> Noise:
    """Steps are an AR(1); with Nesterov momentum h_0 = 1 + mu, h_k = mu^(k+1)."""
    mu = hp.momentum
    if hp.nesterov:
        zero = (1 + mu) ** 2 + mu**4 / (1 - mu * mu)
        one = mu * mu * (1 + mu + mu**3 / (1 - mu * mu))  # R_1; R_k = R_1 mu^(k-1)
    else:
        zero, one = 1 / (1 - mu * mu), mu / (1 - mu * mu)
    return (hp.lr * sigma) ** 2 * (zero + 2 * q * one / (1 - q * mu)), {}


def _adam(hp: Any, sigma: float, q: float, steps: float) -> Noise:
    """Momentum filters g / (sqrt(v) + eps), and v fluctuates with g: `noise_gain`."""
    b1, b2 = betas(hp)
    eps = hp.eps / sigma
    gain, neglected = noise_gain(b1, b2, eps, q)
    memory = (1 - b1) / (1 + b1) * (1 + q * b1) / (1 - q * b1)
    return (hp.lr / (1 + eps)) ** 2 * memory * gain, {"of second order in 1 / nu": neglected / 2}


def _lion(hp: rules.Lion, sigma: float, q: float, steps: float) -> Noise:
    """Signs of a Gaussian: the arcsine law, `sign_noise`."""
    return hp.lr**2 * sign_noise(hp, q), {}


def _adagrad(hp: rules.Adagrad, sigma: float, q: float, steps: float) -> Noise | str:
    """E[g_t^2 / S_t] = 1 / t by exchangeability; the sum over the last steps, not a limit."""
    if not math.isfinite(steps):
        return "Adagrad's steps shrink as 1 / sqrt(t): give the number of steps."
    age = np.arange(min(int(steps), math.ceil(-20 / math.log(q))))
    t = steps - age
    ratio = 1 / (1 + hp.eps / (sigma * np.sqrt(t)))
    total = float(np.sum(q ** (2.0 * age) / t * ratio**2))
    spread = float(np.sum(q ** (2.0 * age) / t**2 * ratio * (1 - ratio))) / total
    whole = (1 - q ** (2 * steps)) / (1 - q * q)
    return hp.lr**2 * total / whole, {"eps with the fluctuation of S": spread}


def _amsgrad(hp: rules.AMSGrad, sigma: float, q: float, steps: float) -> Noise | str:
    from regdyn.theory.laws.amsgrad import step_noise

    return step_noise(hp, sigma, q, steps)


def _adadelta(hp: rules.Adadelta, sigma: float, q: float, steps: float) -> Noise | str:
    from regdyn.theory.laws.adadelta import step_noise

    return step_noise(hp, sigma, steps)


NOISE: dict[str, Callable[..., Noise | str]] = {
    "sgd": _sgd,
    "adam": _adam,
    "rmsprop": _adam,
    "lion": _lion,
    "adagrad": _adagrad,
    "amsgrad": _amsgrad,
    "adadelta": _adadelta,
}
