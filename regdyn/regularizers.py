r"""Where lambda enters, learning-rate schedules, and what one convention is worth in another.

One word for each meaning, everywhere (arguments, columns, legends)::

    none     nothing
    l2       g     <- g + lambda * theta                before the rule sees g
    wd       theta <- (1 - lambda * s_t) * theta        after the step; s_t = lr_t / lr
    adamw    theta <- (1 - lambda * lr_t) * theta       before the step

`l2` is `weight_decay` of torch's SGD, Adam, Adagrad, Adadelta, and the paper's L2. `wd` is the
paper's weight decay (section 2.1; "adjusted with the same scaling schedule as the learning rate",
Table 1). Its strength means what it means in Loshchilov & Hutter (2019), whose algorithm decays
theta before the step. `adamw` is torch.optim.AdamW and optax.adamw: there lambda is multiplied by
the learning rate, so that the paper's 1e-4 at lr 1e-3 is AdamW(weight_decay=0.1). `convert` knows.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from regdyn import rules
from regdyn.checks import choose, finite, integer, numbers, shown

REGULARIZERS = ("none", "l2", "wd", "adamw")


class Decay(NamedTuple):
    """The three coefficients through which every regulariser acts on one step::

        g     <- g + l2 * theta
        theta <- after * (before * theta - delta)

    Each is a float, or an array with one entry per strength.
    """

    l2: Any
    before: Any
    after: Any


class Strength(NamedTuple):
    """Strengths lambda by regulariser: at most one is not zero for a given parameter."""

    l2: Any = 0.0
    wd: Any = 0.0
    adamw: Any = 0.0


def strength(reg: str, lam: Any) -> Strength:
    """`lam` at the place that `reg` names, zero elsewhere."""
    choose("regulariser", reg, REGULARIZERS)
    return Strength() if reg == "none" else Strength(**{reg: lam})


def decay(lam: Strength, lr: float, scale: float = 1.0) -> Decay:
    """Coefficients of one step; `lr` is before the schedule, `scale` is s_t = lr_t / lr."""
    return Decay(l2=lam.l2, before=1 - lr * scale * lam.adamw, after=1 - lam.wd * scale)


def check_strength(reg: str, lam: Any, hp: Any, scale: float = 1.0) -> float:
    """`lam` as a float, if `reg` allows it under the rule with hyper-parameters `hp`.

    `scale` is the largest lr_t / lr of the schedule.

    Raises
    ------
    ValueError
        If it is negative or not finite, or would shrink theta by all of itself or more in a step:
        lambda >= 1 under `wd`, lr * lambda >= 1 under `adamw`.
    """
    choose("regulariser", reg, REGULARIZERS)
    lam = finite("strength lambda", lam, 0.0)
    if reg == "wd" and lam * scale >= 1:
        raise ValueError(f"strength lambda must be < 1 under wd, not {lam * scale:g}.")
    lr = hp.lr * scale
    if reg == "adamw" and lam * lr >= 1:
        raise ValueError(
            f"lr * lambda must be < 1 under adamw, not {lr:g} * {lam:g} = {lr * lam:g}."
        )
    return lam


# Learning-rate schedules: s_t = lr_t / lr ---------------------------------------------------------


class Constant(NamedTuple):
    """s_t = 1."""


class StepDecay(NamedTuple):
    """s_t = factor^k after k of the boundaries, given as fractions of the run.

    The default is the paper's: x0.1 after 250 of 325 epochs (section 2.1).
    """

    boundaries: tuple[float, ...] = (250 / 325,)
    factor: float = 0.1


class Cosine(NamedTuple):
    """s_t = final + (1 - final) (1 + cos(pi (t - 1) / steps)) / 2 (Loshchilov & Hutter, 2017)."""

    final: float = 0.0


SCHEDULES = {"constant": Constant, "paper": StepDecay, "step": StepDecay, "cosine": Cosine}


def schedule_factors(schedule: Any, steps: int) -> np.ndarray:
    """s_1 ... s_steps.

    Parameters
    ----------
    schedule : None, str, Constant, StepDecay, Cosine or array_like
        None is constant; a name takes its defaults; an array of shape (steps,) is used as it is.
    steps : int

    Returns
    -------
    ndarray, shape (steps,)

    Raises
    ------
    ValueError
        If the schedule is unknown, or an array does not fit or is negative or not finite.
    """
    steps = integer("steps", steps, 1)
    if schedule is None:
        schedule = Constant()
    if isinstance(schedule, str):
        schedule = SCHEDULES[choose("schedule", schedule, SCHEDULES)]()
    if isinstance(schedule, Constant):
        return np.ones(steps)
    if isinstance(schedule, StepDecay):
        ends = [
            round(steps * finite("boundary", b, 0.0, 1.0))
            for b in np.ravel(np.asarray(schedule.boundaries, dtype=object))
        ]
        passed = np.searchsorted(np.sort(ends), np.arange(steps), side="right")
        factor = finite("factor of a StepDecay", schedule.factor, 0.0)
        return np.array([factor**k for k in range(len(ends) + 1)])[passed]
    if isinstance(schedule, Cosine):
        wave = np.array([math.cos(math.pi * t / steps) for t in range(steps)])
        final = finite("final of a Cosine", schedule.final, 0.0)
        return final + (1 - final) * (1 + wave) / 2
    factors = numbers("schedule", schedule)
    if factors.shape != (steps,) or np.any(factors < 0):
        raise ValueError(
            f"a schedule given as an array needs shape ({steps},) and entries >= 0, "
            f"not {shown(schedule)}."
        )
    return factors


# Conversions and half-lives ----------------------------------------------------------------------


class Conversion(NamedTuple):
    """The same decay in another convention.

    Attributes
    ----------
    strength : float
        lambda in the new convention.
    lr_factor : float
        Multiply the learning rate by this.
    kind : {'exact', 'rate_only'}
        `exact`: the same theta at every step. `rate_only`: the same decay per step in the long
        run, other steps.
    """

    strength: float
    lr_factor: float
    kind: str


def convert(
    strength: float,
    from_: str,
    to: str,
    *,
    rule: Any = "adam",
    lr: float | None = None,
    schedule: Any = None,
) -> Conversion:
    r"""Express the strength of one regulariser in the convention of another.

    Parameters
    ----------
    strength : float
        lambda under `from_`.
    from_, to : {'none', 'l2', 'wd', 'adamw'}
    rule : str or NamedTuple
        The update rule; L2 converts only under `sgd`.
    lr : float, optional
        Learning rate under `from_`; the rule's own if not given.
    schedule : optional
        A learning-rate schedule that is not constant makes `wd` <-> `adamw` rate_only.

    Returns
    -------
    Conversion
        strength, lr_factor, kind.

    Raises
    ------
    ValueError
        If no conversion exists, with the reason.

    Notes
    -----
    `wd` decays what the step has already moved, `adamw` what it has not::

        (1 - lambda) (theta - delta)  =  (1 - lr' lambda') theta - (1 - lambda) delta

    so they agree exactly at lr' = (1 - lambda) lr, lambda' = lambda / lr'. Under a schedule
    lambda' = lambda / lr keeps the decay of every step, and the steps differ by 1 - lambda s_t.

    Under SGD without momentum, l2 *is* adamw. With momentum mu, l2 decays as the slow root z of

        z^2 - (1 + mu - lr lambda) z + mu = 0,        1 - z ~ lr lambda / (1 - mu):

    a rate only. Under an adaptive rule L2 is divided by the gradient's size: no constant does it.
    """
    hp = rules.resolve(rule)
    lr = finite("lr", hp.lr if lr is None else lr, 0.0, open_below=True)
    hp = hp._replace(lr=lr)
    if isinstance(schedule, str):
        schedule = SCHEDULES[choose("schedule", schedule, SCHEDULES)]()
    choose("regulariser", to, REGULARIZERS)
    lam = check_strength(from_, strength, hp)
    if from_ == to or lam == 0:
        return Conversion(lam, 1.0, "exact")
    if "none" in (from_, to):
        raise ValueError(f"{from_} with strength {lam:g} has no equivalent under {to}.")
    if "l2" in (from_, to) and not isinstance(hp, rules.SGD):
        raise ValueError(
            f"l2 under {rules.name_of(hp)} has no equivalent strength: the rule divides "
            "lambda * theta by the size of the gradient, so its decay changes with the gradient "
            "and over time. Only sgd converts."
        )
    constant = schedule is None or isinstance(schedule, Constant)
    plain = isinstance(hp, rules.SGD) and hp.momentum == 0
    rate = decay_rate(from_, lam, hp)
    if {from_, to} == {"l2", "adamw"}:  # both follow the schedule
        return Conversion(_strength_of_rate(to, rate, hp), 1.0, "exact" if plain else "rate_only")
    if not constant or not (plain or "l2" not in (from_, to)):
        return Conversion(_strength_of_rate(to, rate, hp), 1.0, "rate_only")
    factor = 1 - rate if from_ == "wd" else 1 / (1 - rate)
    return Conversion(_strength_of_rate(to, rate, hp._replace(lr=factor * lr)), factor, "exact")


def decay_rate(reg: str, lam: float, hp: Any) -> float:
    """Share of theta that decays per step in the long run, without gradient, at constant lr.

    Raises
    ------
    ValueError
        For l2 under an adaptive rule (no constant rate), and where momentum makes l2 oscillate.
    """
    lam = check_strength(reg, lam, hp)
    if reg == "none" or lam == 0:
        return 0.0
    if reg == "wd":
        return lam
    if reg == "adamw":
        return hp.lr * lam
    if not isinstance(hp, rules.SGD):
        raise ValueError(
            f"l2 under {rules.name_of(hp)} has no constant rate: it depends on the gradient's size."
        )
    k, mu = hp.lr * lam, hp.momentum
    trace = 1 + mu - k * (1 + mu if hp.nesterov else 1)
    det = mu * (1 - k) if hp.nesterov else mu
    if trace * trace < 4 * det or trace <= 0:
        raise ValueError(
            f"l2 with lr * lambda = {k:g} and momentum {mu:g} oscillates: it has no decay rate."
        )
    # 1 - z1 = k / (1 - z2), since (1 - z1) (1 - z2) = k: so small rates keep their digits
    return 2 * k / (2 - trace + math.sqrt(trace * trace - 4 * det))


def _strength_of_rate(reg: str, rate: float, hp: Any) -> float:
    """lambda under which `reg` decays by `rate` per step: the inverse of `decay_rate`."""
    if reg == "wd":
        return rate
    if reg == "adamw":
        return rate / hp.lr
    z, mu = 1 - rate, hp.momentum
    k = rate * (z - mu) / ((1 + mu) * z - mu if hp.nesterov else z)
    if k <= 0 or not math.isclose(decay_rate("l2", k / hp.lr, hp), rate, rel_tol=1e-6):
        raise ValueError(f"no l2 under momentum {mu:g} decays as fast as {rate:g} per step.")
    return k / hp.lr


def half_life(reg: str, strength: float, *, rule: Any = "adam", lr: float | None = None) -> float:
    r"""Steps in which theta halves when it sees no gradient, at a constant learning rate.

    Parameters
    ----------
    reg : {'none', 'l2', 'wd', 'adamw'}
    strength : float
    rule : str or NamedTuple
        Matters for `adamw` (its lr) and for `l2` (`sgd` only).
    lr : float, optional
        The rule's own if not given.

    Returns
    -------
    float
        ln 2 / -ln(1 - rate), in steps; infinite at strength 0. Under `wd` and `adamw` it is exact
        for any rule, and also for the mean under gradients symmetric about 0. Under `l2` with
        momentum it is that of the slow root, which theta follows after about 1 / (1 - momentum)
        steps.

    Raises
    ------
    ValueError
        For l2 under an adaptive rule, whose half-life depends on the gradient: simulate it.
    """
    hp = rules.resolve(rule)
    hp = hp if lr is None else hp._replace(lr=finite("lr", lr, 0.0))
    rate = decay_rate(reg, strength, hp)
    return math.inf if rate == 0 else math.log(2) / -math.log1p(-rate)
