r"""Which part of the physics acts: the regime that a regularised parameter is in.

Under an adaptive rule the regulariser's pull lambda theta is divided by the root of

    v  =  sigma^2  +  (lambda theta)^2  +  what v remembers of larger gradients,     plus eps,

and the largest of the four names the regime. Without that division theta decays at a rate that
knows no gradient. Beyond both: a step that overshoots, and the noise floor where the decay ends.
`regdyn.theory.stay` says with which probability that is below a threshold.
"""

import math
from typing import Any, NamedTuple

from regdyn import rules
from regdyn.checks import finite, integer
from regdyn.regularizers import check_strength, decay, strength
from regdyn.theory import laws
from regdyn.theory.floors import floor
from regdyn.theory.laws.law import betas, lag

__all__ = ["NAMES", "Regime", "regime"]


class Regime(NamedTuple):
    """The regime at one value of theta.

    Attributes
    ----------
    name : str
        One of `NAMES`.
    rate : float
        Share of theta that a step takes away, by the regime's leading-order law; NaN where theta
        no longer decays, or where v remembers theta's own fall: then follow it by `predict`.
    reason : str
        One or two sentences with the numbers that decided.
    """

    name: str
    rate: float
    reason: str


NAMES = {
    "no decay": "nothing pulls theta to 0",
    "linear": "exponential decay whose rate knows no gradient: weight decay, SGD",
    "sign-like": "lambda theta is largest: theta falls by about lr per step, whatever lambda",
    "noise-dominated": "sigma is largest: exponential decay at about lr lambda / sigma",
    "memory": "v still remembers larger gradients: the decay waits for it",
    "eps-limited": "eps is largest: SGD with the learning rate lr / eps",
    "oscillating": "momentum carries theta through 0: it decays, swinging",
    "edge of stability": "a step overshoots by more than it corrects, until v has grown",
    "unstable": "a step overshoots by more than it corrects: theta grows without bound",
    "floor above threshold": "noise, or a cycle, holds theta up, and above the threshold",
    "floor below threshold": "noise, or a cycle, holds theta up, but below the threshold",
}


def regime(
    rule: Any, reg: str = "l2", lam: float = 1e-4, sigma: float = 1e-5, theta: float = 1.0, *,
    past: float = 0.0, ago: int = 0, threshold: float = 1e-3,
) -> Regime:  # fmt: skip
    """Name the regime of a parameter that is at `theta`, on its way down from further above.

    Parameters
    ----------
    rule : str or NamedTuple
        A rule's name, or its hyper-parameters.
    reg, lam, sigma
        Regulariser, strength, standard deviation of the loss gradient.
    theta : float
    past, ago : float, int
        Root mean square of earlier, larger gradients, as v saw them, and the steps since. Adagrad:
        the root of its sum of squares. The first 100 steps of Figure 4 leave
        1e-3 sqrt(1 - beta2^100) behind.
    threshold : float
        With which the noise floor is compared.

    Raises
    ------
    ValueError
        For bad input, in one sentence.
    """
    hp = rules.resolve(rule)
    lam, sigma = check_strength(reg, lam, hp), finite("sigma", sigma, 0.0)
    theta, past = abs(finite("theta", theta)), finite("past", past, 0.0)
    ago, threshold = integer("ago", ago, 0), finite("threshold", threshold, 0.0, open_below=True)
    if lam == 0 or reg == "none" or (hp.lr == 0 and reg != "wd"):
        return Regime("no decay", 0.0, f"lambda = {lam:g} under {reg}, lr = {hp.lr:g}.")
    if isinstance(hp, rules.Adagrad | rules.AMSGrad):
        held = math.nan  # it depends on where theta started: ask `floor`
    else:
        held = _floor(hp, reg, lam, sigma)
    if theta <= held < math.inf:
        side = "above" if held > threshold else "below"
        reason = f"theta = {theta:.3g} is within the noise floor, {held:.3g}; the threshold is "
        return Regime(f"floor {side} threshold", math.nan, f"{reason}{threshold:g}.")
    found = _linear(hp, reg, lam) or _adaptive(hp, lam, sigma, theta, past, ago)
    if not math.isfinite(held):
        return found
    below = f"The noise floor is {held:.3g}, {'above' if held > threshold else 'below'}"
    return found._replace(reason=f"{found.reason} {below} the threshold {threshold:g}.")


def _floor(hp: Any, reg: str, lam: float, sigma: float) -> float:
    """std in the long run: the law's even if it is not valid, unless it has none."""
    if sigma == 0:
        return floor(hp, reg, lam, 0.0).std
    law = laws.late_std(hp, reg, lam, sigma)
    return law.value if math.isfinite(law.value) else floor(hp, reg, lam, sigma).std


def _linear(hp: Any, reg: str, lam: float) -> Regime | None:
    """The regime where no gradient is divided by its size; None where one is."""
    if reg != "l2":
        c = decay(strength(reg, lam), hp.lr)
        rate = 1 - c.before * c.after
        return Regime("linear", rate, f"{reg} takes the share {rate:.3g} of theta every step.")
    if isinstance(hp, rules.SGD):
        return _swinging(laws.heavy_ball(hp, lam), f"lr lambda = {hp.lr * lam:.3g}", "unstable")
    return None


def _swinging(ball: Any, numbers: str, beyond: str) -> Regime:
    """The regime of a heavy ball."""
    rate = 1 - abs(ball.roots[0])
    roots = f"{numbers}: a step multiplies theta by {abs(ball.roots[0]):.6g}"
    if not ball.stable:
        return Regime(beyond, rate, f"{roots}, so it grows.")
    if ball.oscillates:
        return Regime("oscillating", rate, f"{roots} in size, and it swings through 0.")
    return Regime("linear", rate, f"{roots}.")


def _adaptive(hp: Any, lam: float, sigma: float, theta: float, past: float, ago: int) -> Regime:
    """The regime of a rule that divides by the size of the gradient, under l2."""
    sizes = _sizes(hp, lam, sigma, theta, past, ago)
    name = max(sizes, key=lambda key: sizes[key])
    size = math.hypot(*(s for key, s in sizes.items() if key != "eps-limited"))
    rate = _rate(hp, lam, size + sizes["eps-limited"], theta, sigma)
    if name == "memory" and _own_fall(hp, lam, sigma, theta) > past:
        rate = math.nan  # v remembers theta itself: how much depends on the way that it came
    words = {"sign-like": "lambda theta", "noise-dominated": "noise", "memory": "memory"}
    words["eps-limited"] = "sqrt(eps)" if isinstance(hp, rules.Adadelta) else "eps"
    rest = [f"{words[key]} {s:.3g}" for key, s in sizes.items() if key != name and s > 0]
    what = "The sign is taken of" if isinstance(hp, rules.Lion) else "The step is divided by"
    reason = f"{what} mostly {words[name]} {sizes[name]:.3g}"
    reason += f" (beside {', '.join(rest)})." if rest else "."
    if isinstance(hp, rules.Adam | rules.RMSprop | rules.AMSGrad):
        b1, _ = betas(hp)
        k = hp.lr * (1 - b1) / (size + hp.eps)
        ball = laws.heavy_ball(rules.SGD(k, b1), lam)
        if ball.oscillates or not ball.stable:
            numbers = f"lr lambda / (sqrt(v) + eps) = {hp.lr * lam / (size + hp.eps):.3g}"
            found = _swinging(ball, numbers, "edge of stability")
            return found._replace(reason=f"{found.reason} {reason}")
    return Regime(name, rate, reason)


def _sizes(
    hp: Any, lam: float, sigma: float, theta: float, past: float, ago: int
) -> dict[str, float]:
    """What the divisor consists of: root mean squares, and eps."""
    pull = lam * theta
    kept, eps, noise = past, getattr(hp, "eps", 0.0), sigma
    if isinstance(hp, rules.Adam | rules.RMSprop):
        b2 = betas(hp)[1]
        kept = math.hypot(past * b2 ** (0.5 * ago), _own_fall(hp, lam, sigma, theta))
    elif isinstance(hp, rules.AMSGrad):
        kept, pull = max(past, pull), 0.0  # the largest v stays: it is all memory
    elif isinstance(hp, rules.Adadelta):
        kept, eps = past * hp.rho ** (0.5 * ago), math.sqrt(eps)
    elif isinstance(hp, rules.Lion):  # c = b1 m + (1 - b1) g: its noise, and what m remembers
        b2 = hp.beta2
        noise = sigma * laws.sign_std(hp)
        kept = past * hp.beta1 * math.sqrt((1 - b2) / (1 + b2)) * b2**ago
    return {"sign-like": pull, "noise-dominated": noise, "memory": kept, "eps-limited": eps}


def _own_fall(hp: Any, lam: float, sigma: float, theta: float) -> float:
    """What v holds of theta's own fall: lambda times the way of N2 steps, if it fell as now."""
    if not isinstance(hp, rules.Adam | rules.RMSprop):
        return 0.0
    size = math.hypot(sigma, lam * theta) + hp.eps
    drop = hp.lr * lam * theta / size * lag(betas(hp)[1]) if size > 0 else 0.0
    return lam * math.sqrt(2 * drop * (theta + drop))


def _rate(hp: Any, lam: float, size: float, theta: float, sigma: float) -> float:
    """Share of theta that a step takes, by leading order; NaN where there is no simple one."""
    if size == 0:
        return 0.0
    if isinstance(hp, rules.Lion):
        if theta == 0:
            return math.nan
        noise = math.sqrt(max(size**2 - (lam * theta) ** 2, 0.0))
        return hp.lr / theta * (math.erf(lam * theta / (noise * math.sqrt(2))) if noise else 1.0)
    if isinstance(hp, rules.Adadelta):
        if lam * theta > max(sigma, math.sqrt(hp.eps)):
            return math.nan  # X grows all the time
        X = laws.adadelta_X(hp, sigma).value if sigma > 0 else 0.0
        return hp.lr * lam * math.sqrt((X + hp.eps) / (sigma**2 + hp.eps))
    return hp.lr * lam / size
