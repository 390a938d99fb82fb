r"""L2 inside an adaptive rule, without gradient: the rule's own recursion, run on numbers.

With no gradient of the loss the rule sees g = weight_decay * theta and divides it by its own size:
theta falls by about lr per step, whatever the strength, until eps stops it. There is no constant
rate, so the half-life depends on where theta is. The recursion starts with an empty state.
Formulas are those of torch.optim; what `regdyn.rules` has is taken from there.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cnn.audit.decays import Adaptive
from regdyn import rules
from regdyn.theory import laws

LONGEST = 6_000
"""Steps after which the rest of the way is extrapolated."""
Step = Callable[[np.ndarray, float], np.ndarray]


def half_lives(decay: Adaptive, theta: np.ndarray, lrs: np.ndarray, after: float) -> np.ndarray:
    """Steps in which each theta halves without gradient.

    By recursion up to `LONGEST`, beyond it as theta falls at its end: right to 4 % under AMSGrad,
    to 1 % under the others. NaN where that cannot be told: Adagrad slows down for ever (it has a
    law for a constant learning rate), Adadelta may still be getting faster.

    Parameters
    ----------
    decay : Adaptive
    theta : ndarray (n,)
        Where they start; NaN and 0 give NaN.
    lrs : ndarray (steps,)
        Learning rates of the next steps; may be empty.
    after : float
        The learning rate of all later steps.
    """
    known = np.isfinite(theta) & (theta > 0)
    start = theta[known]
    found, x, way = np.full(len(start), math.inf), start, 0.0
    path = []  # the end of the way, should it be too long to go: (sum of lr, theta)
    step = RULES[decay.kind](**dict(decay.options))
    rates = itertools.chain(lrs.tolist(), itertools.repeat(after))
    for t, lr in enumerate(itertools.islice(rates, LONGEST)):
        if not np.isinf(found).any():
            break
        before, x, way = x, x - step(decay.weight_decay * x, lr), way + lr
        now = np.isinf(found) & (x <= start / 2)
        found[now] = t + ((before - start / 2)[now] / (before - x)[now])
        if (t + 1) % (LONGEST // 10) == 0:
            path.append((way, x))
    late = np.isinf(found)
    if late.any() and decay.kind == "adagrad":
        found[late] = [_adagrad_law(decay, float(x), lrs, after) for x in start[late]]
    elif late.any():
        more = _beyond(path[-3:], start / 2)[late] - way
        more = LONGEST + step_at(more, lrs[LONGEST:], after)
        found[late] = np.where(_settled(decay, start[late]), more, math.nan)
    result = np.full(len(theta), math.nan)
    result[known] = found
    return result


def _beyond(path: list[tuple[float, np.ndarray]], level: np.ndarray) -> np.ndarray:
    """Sum of lr at which theta is at `level`, if it falls on as c theta^p, as along the path."""
    (t0, x0), (t1, x1), (t2, x2) = path
    with np.errstate(all="ignore"):
        fast, slow = (x0 - x1) / (t1 - t0), (x1 - x2) / (t2 - t1)
        p = np.log(fast / slow) / np.log((x0 + x1) / (x1 + x2))
        p = np.clip(np.where(np.isfinite(p), p, 0.0), 0.0, 0.999)
        speed = slow * (2 * x2 / (x1 + x2)) ** p
        rest = x2**p * (x2 ** (1 - p) - level ** (1 - p)) / ((1 - p) * speed)
    return np.where(speed > 0, t2 + rest, math.inf)


def _settled(decay: Adaptive, theta: np.ndarray) -> np.ndarray:
    """Whether Adadelta's X has followed: it does at the rate (1 - rho) eps / v per step."""
    if decay.kind != "adadelta":
        return np.full(len(theta), True)
    options = dict(decay.options)
    speed = (1 - options["rho"]) * options["eps"]
    return (decay.weight_decay * theta) ** 2 < speed * LONGEST / 5


def _adagrad_law(decay: Adaptive, theta: float, lrs: np.ndarray, after: float) -> float:
    if after > 0 and np.any(lrs != after):
        return math.nan
    law = noisy_half_life(decay, theta, after, 0.0)
    return law.value if law.valid or after == 0 else math.nan


def step_at(total: np.ndarray, lrs: np.ndarray, after: float) -> np.ndarray:
    """Steps after which the learning rates have added up to `total`."""
    sums = np.concatenate([[0.0], np.cumsum(lrs)])
    within = np.interp(total, sums, np.arange(len(sums)))
    with np.errstate(all="ignore"):
        later = len(lrs) + (total - sums[-1]) / after
    return np.where(total <= sums[-1], within, later)


def noisy_half_life(decay: Adaptive, theta: float, lr: float, sigma: float) -> laws.Law:
    """Steps in which the mean of theta halves under gradients N(0, sigma^2), by `regdyn.theory`."""
    hp = decay.hp(lr)
    if hp is None or not (0 < theta < math.inf) or lr == 0:
        value = math.inf if lr == 0 else math.nan
        return laws.Law(value, False, "There is no law for this rule or this tensor.")
    return laws.time_to(hp, "l2", decay.weight_decay, sigma, theta0=theta, theta1=theta / 2)


# The recursions: a factory takes the options, a step takes (g, lr) and says what it subtracts ----


def _of_regdyn(name: str) -> Callable[..., Step]:
    """The rule `name` of `regdyn.rules`, with a learning rate that is given step by step."""

    def factory(**options: float) -> Step:
        rule, state, t = rules.RULES[name], None, 0
        hp = rule.hyper(lr=1.0, **options)

        def step(g: np.ndarray, lr: float) -> np.ndarray:
            nonlocal state, t
            t, state = t + 1, rules.init(g, hp) if state is None else state
            delta, state = rule.step(g, state, hp, rules.coef(hp, t, lr))
            return delta

        return step

    return factory


def _rmsprop(alpha: float, eps: float, momentum: float = 0.0, centered: float = 0.0) -> Step:
    v: Any = 0.0
    m: Any = 0.0
    b: Any = 0.0

    def step(g: np.ndarray, lr: float) -> np.ndarray:
        nonlocal v, m, b
        v, m = alpha * v + (1 - alpha) * g * g, alpha * m + (1 - alpha) * g
        size = np.sqrt(np.maximum(v - m * m, 0.0) if centered else v)
        b = momentum * b + g / (size + eps)
        return lr * b

    return step


def _adagrad(eps: float, lr_decay: float = 0.0, initial: float = 0.0) -> Step:
    S, t = initial, 0

    def step(g: np.ndarray, lr: float) -> np.ndarray:
        nonlocal S, t
        S, t = S + g * g, t + 1
        return lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(S) + eps)

    return step


def _adamax(beta1: float, beta2: float, eps: float) -> Step:
    m: Any = 0.0
    u: Any = 0.0
    t = 0

    def step(g: np.ndarray, lr: float) -> np.ndarray:
        nonlocal m, u, t
        m, u, t = beta1 * m + (1 - beta1) * g, np.maximum(beta2 * u, np.abs(g) + eps), t + 1
        return lr / (1 - beta1**t) * m / u

    return step


def _nadam(beta1: float, beta2: float, eps: float, momentum_decay: float) -> Step:
    """Dozat (2016) as torch has it: the momentum grows with t, and looks a step ahead."""
    m: Any = 0.0
    v: Any = 0.0
    t, product = 0, 1.0

    def mu(t: int) -> float:
        return beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    def step(g: np.ndarray, lr: float) -> np.ndarray:
        nonlocal m, v, t, product
        m, v, t = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g, t + 1
        product *= mu(t)
        size = np.sqrt(v / (1 - beta2**t)) + eps
        ahead = mu(t + 1) * m / (1 - product * mu(t + 1))
        return lr * ((1 - mu(t)) * g / (1 - product) + ahead) / size

    return step


def _radam(beta1: float, beta2: float, eps: float) -> Step:
    """Liu et al. (2020) as torch has it: plain momentum until v is certain, then rectified."""
    m: Any = 0.0
    v: Any = 0.0
    t, most = 0, 2 / (1 - beta2) - 1

    def step(g: np.ndarray, lr: float) -> np.ndarray:
        nonlocal m, v, t
        m, v, t = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g, t + 1
        rest = 1 - beta2**t
        length = most - 2 * t * beta2**t / rest
        delta = lr * m / (1 - beta1**t)
        if length <= 5:
            return delta
        rectified = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
        return delta * math.sqrt(rectified) * math.sqrt(rest) / (np.sqrt(v) + eps)

    return step


RULES: dict[str, Callable[..., Step]] = {
    "adam": _of_regdyn("adam"),
    "amsgrad": _of_regdyn("amsgrad"),
    "adadelta": _of_regdyn("adadelta"),
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
    "adamax": _adamax,
    "nadam": _nadam,
    "radam": _radam,
}
