"""The gradient below which a decayed parameter is lost: its noise floor at the threshold."""

import math
from typing import Any

from cnn.audit.decays import Adaptive, Averaged, Coupled, Decay, Decoupled, Momentum, Nothing
from regdyn import rules
from regdyn.theory import laws


def sigma_lost(decay: Decay, lr: float, threshold: float) -> float:
    r"""Standard deviation of the gradient below which noise does not hold theta above `threshold`.

    Formula: where the noise floor s(sigma) equals the threshold b. SGD and Adadelta, whose floor
    grows in proportion to sigma: sigma = b sigma' / s(sigma') (exact for SGD). Adam and RMSprop,
    to leading order: 2 lambda b^2 / lr under L2; eps b / (F - b), F = lr / sqrt(2 (1 - f)), under
    decay by a factor f per step, where the floor hardly depends on sigma above eps.
    Source: docs/laws/stay-below.md (`regdyn.theory.stay_below` has the same numbers as `bound`).

    Returns
    -------
    float
        0 where nothing decays: then no gradient is small enough. Infinite where no gradient is
        large enough. NaN where there is no law.
    """
    if isinstance(decay, Nothing) or lr == 0:
        return 0.0
    hp, reg, lam = _words(decay, lr)
    if hp is None:
        return math.nan
    if isinstance(hp, rules.SGD | rules.Adadelta):
        small = 1e-9
        floor = laws.late_std(hp, reg, lam, small)
        sigma = threshold * small / floor.value if floor.value > 0 else math.nan
        law = laws.late_std(hp, reg, lam, sigma) if 0 < sigma < math.inf else floor
        return sigma if law.valid else math.nan
    if not isinstance(hp, rules.Adam | rules.RMSprop):
        return math.nan
    if reg == "l2":
        return 2 * lam * threshold**2 / lr
    free = lr / math.sqrt(2 * (lr * lam if reg == "adamw" else lam))
    return math.inf if free <= threshold else hp.eps * threshold / (free - threshold)


def _words(decay: Decay, lr: float) -> tuple[Any, str, float]:
    """Hyper-parameters, regulariser and strength, as `regdyn` has them; None where it has not."""
    if isinstance(decay, Momentum) and not decay.dampening:
        mu = decay.momentum
        return rules.SGD(lr, mu, decay.nesterov and mu > 0), "l2", decay.weight_decay
    if isinstance(decay, Averaged) and decay.lambd == 0:
        return rules.SGD(lr, 0.0), "l2", decay.weight_decay
    if isinstance(decay, Adaptive):
        return decay.hp(lr), "l2", decay.weight_decay
    if isinstance(decay, Coupled) and decay.hp is not None:
        return decay.hp._replace(lr=lr), "adamw", decay.weight_decay
    if isinstance(decay, Decoupled) and decay.hp is not None and decay.lr0:
        return decay.hp._replace(lr=lr), "wd", decay.strength * lr / decay.lr0
    return None, "", 0.0
