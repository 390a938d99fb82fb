r"""How a parameter without gradient decays: one small class for each way, and the half-life.

Each class says by `share(lr, t)` which share of theta a step takes, given its learning rate and
how many steps from now it is. L2 inside an adaptive rule has no such share: see `cnn.audit.quiet`.
No torch here.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from regdyn import rules

L2 = "L2 inside the update"
COUPLED = "decay coupled to lr"
DECOUPLED = "fully decoupled"
NONE = "none"
UNKNOWN = "unknown"
RULES = (L2, COUPLED, DECOUPLED, NONE, UNKNOWN)


class Nothing(NamedTuple):
    """Nothing decays theta."""

    rule = NONE

    def share(self, lr: np.ndarray, t: np.ndarray) -> np.ndarray:
        """0 at every step."""
        return np.zeros_like(lr)


class Unknown(NamedTuple):
    """What the optimizer does is not known, and why."""

    reason: str
    rule = UNKNOWN


class Coupled(NamedTuple):
    """theta <- (1 - lr_t * weight_decay) * theta, as torch.optim.AdamW.

    Attributes
    ----------
    weight_decay : float
    hp : NamedTuple, optional
        Hyper-parameters of `regdyn.rules` of the step beside the decay, for the noise floor.
    """

    weight_decay: float
    hp: Any = None
    rule = COUPLED

    def share(self, lr: np.ndarray, t: np.ndarray) -> np.ndarray:
        """lr_t * weight_decay."""
        return lr * self.weight_decay


class Decoupled(NamedTuple):
    """theta <- (1 - strength * lr_t / lr0) * theta: the paper's; only a schedule changes it.

    Attributes
    ----------
    strength : float
    lr0 : float
        The learning rate before any schedule.
    hp : NamedTuple, optional
        As that of `Coupled`.
    """

    strength: float
    lr0: float
    hp: Any = None
    rule = DECOUPLED

    def share(self, lr: np.ndarray, t: np.ndarray) -> np.ndarray:
        """strength * lr_t / lr0; without a learning rate before the schedule, the strength."""
        return self.strength * (lr / self.lr0 if self.lr0 else np.ones_like(lr))


class Momentum(NamedTuple):
    r"""L2 in SGD: g + weight_decay * theta goes through the momentum buffer.

    Formula: without gradient (theta, b) obeys, with k = lr * weight_decay and d = dampening::

        b     <- mu b + (1 - d) weight_decay theta
        theta <- theta - lr b        (Nesterov: theta - lr (weight_decay theta + mu b))

    whose roots are those of z^2 - trace z + det, trace = 1 + mu - (1 - d) k, det = mu (Nesterov:
    1 + mu - (1 + (1 - d) mu) k and (1 - k) mu). theta follows the slow root after about
    1 / (1 - mu) steps. Complex roots: theta swings within an envelope sqrt(det)^t.
    Source: docs/regularizers.md, the slow root; dampening by the same substitution.
    """

    weight_decay: float
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    rule = L2

    def roots(self, lr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1 - slow root, fast root), complex: digits are kept where the slow root is near 1."""
        k, mu, kept = np.asarray(lr, float) * self.weight_decay, self.momentum, 1 - self.dampening
        pull = k * (1 + mu * kept) if self.nesterov and mu else k * (kept if mu else 1.0)
        det = mu * (1 - k) if self.nesterov else mu
        both = pull + det - mu  # (1 - z1) (1 - z2)
        away = 1 - mu + pull  # (1 - z1) + (1 - z2)
        gap = np.sqrt(away * away - 4 * both + 0j)
        return 2 * both / np.where(away + gap == 0, 1, away + gap), 1 - (away + gap) / 2

    def share(self, lr: np.ndarray, t: np.ndarray) -> np.ndarray:
        """1 - the size of the larger root; negative where theta grows."""
        lost, fast = self.roots(lr)
        # 1 - |slow root|, keeping digits where that root is real and positive
        slow = np.where(
            (np.imag(lost) == 0) & (np.real(lost) < 1), np.real(lost), 1 - np.abs(1 - lost)
        )
        return np.minimum(slow, 1 - np.abs(fast))

    def swings(self, lr: float) -> bool:
        """Whether theta swings through 0 on its way."""
        lost, _ = self.roots(np.array([lr]))
        return bool(np.imag(lost)[0] != 0)


class Averaged(NamedTuple):
    r"""ASGD: theta <- (1 - (lambd + weight_decay) eta_t) theta.

    eta_t is the one that the step before has set: lr / (1 + lambd lr t)^alpha after t steps, so a
    schedule acts a step late.

    Attributes
    ----------
    lambd, weight_decay, alpha : float
    done : int
        Steps that the optimizer has done.
    eta : float
        Step size of its next step.
    """

    lambd: float
    weight_decay: float
    alpha: float
    done: int
    eta: float
    rule = COUPLED

    def share(self, lr: np.ndarray, t: np.ndarray) -> np.ndarray:
        """(lambd + weight_decay) eta_t."""
        before = np.concatenate([lr[:1], lr[:-1]])
        eta = before / (1 + self.lambd * before * (self.done + t)) ** self.alpha
        return (self.lambd + self.weight_decay) * np.where(t == 0, self.eta, eta)


class Adaptive(NamedTuple):
    """L2 inside a rule that divides by the size of the gradient: no share without that size.

    Attributes
    ----------
    kind : str
        A key of `cnn.audit.quiet.RULES`.
    weight_decay : float
    options : tuple of (str, float)
        The rule's hyper-parameters but the learning rate.
    """

    kind: str
    weight_decay: float
    options: tuple[tuple[str, float], ...]
    rule = L2

    def hp(self, lr: float) -> Any:
        """The rule as `regdyn.rules` has it; None if it has none with these options."""
        known = dict(self.options)
        if self.kind not in rules.RULES or any(known.pop(k, 0) for k in _OURS):
            return None
        return rules.RULES[self.kind].hyper(lr=lr, **known)


_OURS = ("centered", "momentum", "lr_decay", "initial")  # options that regdyn's rules lack
Decay = Nothing | Unknown | Coupled | Decoupled | Momentum | Averaged | Adaptive


def strength(decay: Decay) -> float:
    """The number that the user gave as strength, 0 where there is none; ASGD: of both."""
    if isinstance(decay, Averaged):
        return decay.lambd + decay.weight_decay
    if isinstance(decay, Decoupled):
        return decay.strength
    return getattr(decay, "weight_decay", 0.0)


# Half-lives --------------------------------------------------------------------------------------

_GRID = np.concatenate([np.arange(1000.0), np.geomspace(1000, 1e15, 6000)])


def half_life(decay: Any, lrs: np.ndarray, after: float) -> float:
    """Steps in which theta halves without gradient; infinite if it does not.

    Parameters
    ----------
    decay
        With a `share`: not `Unknown`, not `Adaptive`.
    lrs : ndarray (steps,)
        Learning rates of the next steps; may be empty.
    after : float
        The learning rate of all later steps.
    """
    n, left = len(lrs), math.log(2)
    if n:
        done = np.cumsum(_rate(decay.share(lrs, np.arange(n))))
        i = int(np.argmax(done >= left))
        if done[i] >= left:
            before = done[i - 1] if i else 0.0
            return i + float((left - before) / (done[i] - before))
        left -= float(done[-1])
    # the rest is one rate, or one that changes slowly: an integral over steps
    rate = _rate(decay.share(np.full(len(_GRID), after), n + _GRID))
    if rate[1] == rate[-1]:
        return n + left / float(rate[1]) if rate[1] > 0 else math.inf
    ends = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(_GRID))])
    ends += rate[0] / 2 - rate / 2  # of the sum over whole steps, not of the integral
    return n + float(np.interp(left, ends, _GRID)) if ends[-1] >= left else math.inf


def _rate(share: np.ndarray) -> np.ndarray:
    """-ln|1 - share|: what a step takes from ln theta; infinite where it takes all."""
    with np.errstate(divide="ignore"):
        return np.where(share < 1, -np.log1p(-np.minimum(share, 1)), -np.log(np.abs(1 - share)))
