r"""The norm of a layer whose loss does not see the scale of theta = (gamma, beta).

In a conv-BN-ReLU stack L(c theta) = L(theta) for every c > 0 (docs/laws/scale-invariance.md says
when). Hence the gradient is orthogonal to theta and grows as theta shrinks::

    <theta, grad L(theta)> = 0            grad L(c theta) = grad L(theta) / c

The model of such a gradient is noise and a constant pull, projected and divided by the norm r::

    g = (I - u u^T) (s * z - d) / r       u = theta / r,  z standard normal, fresh at each step

`s` is the size of a coordinate's noise at r = 1, `d` its pull. Here are the norm at which a layer
settles in closed form (`equilibrium`), and how it gets there from second moments (`path`).
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from regdyn import regularizers, rules
from regdyn.checks import integer, numbers, shown

CLOSED = ("sgd", "adam", "rmsprop", "lion")  # rules that `equilibrium` knows
DESCRIBED = ("sgd", "adam", "adagrad", "rmsprop", "lion")  # rules that `path` knows
_ROUNDS = 30  # of the fixed point for what the projection takes; 20 settle it to the last bit


class Layer(NamedTuple):
    """Coordinates of a layer in classes of equals; each field has an entry per class, or one.

    Attributes
    ----------
    count : array_like of int
        Coordinates in the class.
    size : array_like of float
        Standard deviation s of the gradient's noise where the layer's norm is 1.
    pull : array_like of float
        Mean -d of the gradient there, before the projection: d > 0 pulls theta up.
    theta0 : array_like of float
        Start.
    """

    count: Any
    size: Any
    pull: Any = 0.0
    theta0: Any = 1.0


class Equilibrium(NamedTuple):
    """Where a layer settles.

    Attributes
    ----------
    norm : float
        Norm of theta.
    rms : ndarray
        Root mean square of a coordinate, for each class.
    valid : bool
        Whether the formula's assumptions hold well enough for 2 % of the norm.
    reason : str
        Which one holds or fails.
    """

    norm: float
    rms: np.ndarray
    valid: bool
    reason: str


class Path(NamedTuple):
    """How a layer gets there.

    Attributes
    ----------
    step : ndarray of int, shape (n,)
    norm : ndarray, shape (n,)
        Root of the mean square of the norm.
    mean, rms : ndarray, shape (n, classes)
        Of a coordinate.
    """

    step: np.ndarray
    norm: np.ndarray
    mean: np.ndarray
    rms: np.ndarray


def check_layer(layer: Layer) -> Layer:
    """The layer with arrays of one length, if they are possible.

    Raises
    ------
    ValueError
        If a count is not a whole number of at least 1, a size is negative, or lengths differ.
    """
    fields = {name: numbers(name, value) for name, value in layer._asdict().items()}
    try:
        arrays = np.broadcast_arrays(*(np.atleast_1d(values) for values in fields.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in fields.items())
        raise ValueError(f"the fields of a layer must fit each other, not {shapes}.") from None
    checked = Layer(*arrays)
    if checked.count.ndim != 1 or np.any(checked.count < 1) or np.any(checked.count % 1):
        raise ValueError(f"count must be whole numbers >= 1, not {shown(layer.count)}.")
    if np.any(checked.size < 0) or not np.any(checked.size > 0):
        raise ValueError(f"size must be >= 0 and not all 0, not {shown(layer.size)}.")
    return checked


# Closed forms ------------------------------------------------------------------------------------


def equilibrium(rule: Any, reg: str, lam: float, *, layer: Layer) -> Equilibrium:
    r"""Norm at which noise and regularisation balance.

    With r the norm, x the mean square of a coordinate of size s, sums over the N coordinates::

        sgd                   r^4 = V sum(s^2)                    x = V s^2 / r^2
        adam, rmsprop, lion   r^2 = V N           (wd, adamw)     x = V
                              r^3 = W sum(s) / lambda      (l2)   x = W s / (lambda r)

    V is the variance that noise of standard deviation 1 leaves in a coordinate. To have one, the
    rule is made a linear filter: Adam's v is held at its mean, and Lion's sign replaced by its best
    linear fit. For small lambda V = lr / (2 lambda (1 - momentum)) for sgd under l2, and
    lr^2 / (2 lambda) for adam under wd. W is lr / 2 for adam; 6.8 times that for lion's defaults.

    Parameters
    ----------
    rule : str or NamedTuple
        sgd, adam, rmsprop or lion.
    reg : {'l2', 'wd', 'adamw'}
    lam : float
        Strength > 0.
    layer : Layer
        Counts and sizes. The start does not matter, a pull only for `valid`.

    Returns
    -------
    Equilibrium

    Raises
    ------
    ValueError
        For bad input, or where no closed form is known.

    References
    ----------
    van Laarhoven, arXiv 1706.05350 (r^4); Kosson et al., arXiv 2305.17212 (r^2 under AdamW). The
    r^3 law is derived in docs/laws/scale-invariance.md.
    """
    hp = rules.resolve(rule)
    name = rules.name_of(hp)
    if name not in CLOSED:
        raise ValueError(f"no closed form for {name}, only for {', '.join(CLOSED)}.")
    lam = regularizers.check_strength(reg, lam, hp)
    if reg == "none" or lam == 0:
        raise ValueError("without regularisation the norm grows for ever: nothing to settle at.")
    layer = check_layer(layer)
    count, s = layer.count, layer.size
    decay = regularizers.decay(regularizers.strength(reg, lam), hp.lr)
    lin = _frozen(hp)
    if name == "sgd" or reg != "l2":
        variance = _stationary(lin, decay)
    else:
        gain = (lin.now + lin.past * lin.feed / (1 - lin.keep)).item()  # sum of the response to g
        width = (gain**2 + lin.jitter.item()) / (2 * gain)
    square = np.zeros(len(s))
    for _ in range(_ROUNDS):  # the projection takes its share of s
        share = square / max((count * square).sum(), 1e-300)
        size = _projected(count, s, share)
        if name == "sgd":
            square = size**2 * math.sqrt(variance / (count * size**2).sum())
        elif reg != "l2":
            square = np.full(len(s), variance)
        else:
            square = size * (width**2 / (lam**2 * (count * size).sum())) ** (1 / 3)
    valid, reason = _validity(hp, reg, lam, layer, square)
    return Equilibrium(math.sqrt((count * square).sum()), np.sqrt(square), valid, reason)


def _stationary(lin: "_Linear", decay: regularizers.Decay) -> float:
    """Variance of theta under unit white noise: the fixed point of S <- M S M^T + Q."""
    M, Q = _transition(lin, np.array([[decay.l2, 0.0, 0.0]]), np.ones(1), decay)
    M, Q = M[0, :2, :2], Q[0, :2, :2]
    if np.abs(np.linalg.eigvals(M)).max() >= 1:
        return math.nan
    return np.linalg.solve(np.eye(4) - np.kron(M, M), Q.ravel())[0]


def _validity(hp: Any, reg: str, lam: float, layer: Layer, square: np.ndarray) -> tuple[bool, str]:
    """Whether the formula's assumptions hold, and the first that does not."""
    count, s = layer.count, layer.size
    if not np.all(np.isfinite(square)):
        return False, "this setting is unstable: theta grows without bound"
    norm2 = (count * square).sum()
    share = square / norm2
    size = _projected(count, s, share)
    if share.max() > (0.15 if isinstance(hp, rules.SGD) else 0.08):
        return False, f"one coordinate holds {share.max():.0%} of the squared norm: too few of them"
    if isinstance(hp, rules.SGD):
        return True, "exact in second moments, for the norm; a pull changes who shares in it"
    if np.any(layer.pull != 0):
        return False, "a pull, preconditioned, is not orthogonal to theta"
    if np.any(np.abs(size**2 - s**2) > 0.2 * s**2):
        return False, "the projection changes the noise of the coordinates with the least of it"
    noise = size / math.sqrt(norm2)
    if isinstance(hp, rules.Lion):
        rate = {"l2": 20 * hp.lr * lam / noise.min(), "wd": lam, "adamw": hp.lr * lam}[reg]
        if rate > 2 * (1 - hp.beta2):
            return False, "theta decays within the rule's memory"
    elif 1 - getattr(hp, "beta2", getattr(hp, "alpha", 0.0)) > 0.021:
        return False, "v averages over less than 50 steps: it fluctuates with the gradient"
    if np.any(getattr(hp, "eps", 0.0) > 0.02 * noise):
        return False, "eps is not small against the gradient"
    if reg == "l2" and np.any(lam**2 * square > 0.05 * noise**2):
        return False, "lambda * theta is not small against the gradient's noise"
    return True, "the gradient's noise dominates, and the rule's v averages over many steps"


# Second moments over time ------------------------------------------------------------------------


def path(
    rule: Any,
    reg: Any,
    lam: Any,
    *,
    layer: Layer,
    steps: int,
    record: Any = None,
    schedule: Any = None,
) -> Path:
    r"""Norm, mean and rms over time, from second moments.

    For each class S = E x x^T, x = (theta, b, 1), follows S <- M S M^T + Q, with b the momentum
    (SGD's b, Adam's m). M and Q are the rule's linear response, taken from the rule itself, at

        E g^2 = (s^2 (1 - 2 w) + w sum(w s^2)) / r^2 + square of the mean,   w = E theta^2 / r^2.

    Exact in second moments for sgd, but that functions of r are taken at its root mean square. The
    others' v and S are those that they have if g^2 is its mean: their fluctuation is left out, and
    so are the rules that live on it (amsgrad's maximum, adadelta's short memory).

    Parameters
    ----------
    rule : str or NamedTuple
        sgd, adam, adagrad, rmsprop or lion.
    reg : str or list of str
    lam : float or list of float
    layer : Layer
    steps : int
    record : array of int, optional
        Steps to return; default: 0 and about 200, dense at first.
    schedule : optional
        Learning-rate schedule of `regdyn.regularizers`.

    Returns
    -------
    Path
        A list of regularisers or strengths is an axis after that of the steps, in this order.

    Raises
    ------
    ValueError
        For bad input, or a rule that second moments do not describe.
    """
    hp = rules.resolve(rule)
    if rules.name_of(hp) not in DESCRIBED:
        raise ValueError(
            f"second moments do not describe {rules.name_of(hp)}, only {', '.join(DESCRIBED)}."
        )
    layer = check_layer(layer)
    steps = integer("steps", steps, 1)
    scales = regularizers.schedule_factors(schedule, steps)
    strengths = _strengths(reg, lam, hp, float(scales.max()))
    if record is None:
        record = np.append(0, np.round(np.geomspace(1, steps, 200)))
    record = np.unique(numbers("record", record).astype(int))
    if record[0] < 0 or record[-1] > steps:
        raise ValueError(
            f"record must be steps from 0 to {steps}, not {record[0]} to {record[-1]}."
        )
    count, s, pull, start = layer
    S = np.zeros((*np.shape(strengths.l2)[:-1], len(s), 3, 3))
    S[..., 0, 0], S[..., 0, 2], S[..., 2, 0], S[..., 2, 2] = start**2, start, start, 1.0
    state = rules.init(S[..., 0, 0], hp)
    row = np.zeros(S.shape[:-1])  # the mean of g + l2 theta is row @ (theta, b, 1)
    kept, wanted = [S] if record[0] == 0 else [], set(record.tolist())
    with np.errstate(all="ignore"):
        for t, scale in enumerate(scales.tolist(), start=1):
            norm2 = (S[..., 0, 0] @ count)[..., None]
            noise = _projected(count, s, S[..., 0, 0] / norm2) / np.sqrt(norm2)
            along = (S[..., 0, 2] @ (count * pull))[..., None]  # <theta, d>
            decay = regularizers.decay(strengths, hp.lr, scale)
            row[..., 0] = decay.l2 + along / norm2**1.5
            row[..., 2] = -pull / np.sqrt(norm2)
            lin, state = _linearise(hp, rules.coef(hp, t, scale), state, S, row, noise)
            M, Q = _transition(lin, row, noise, decay)
            S = M @ S @ M.swapaxes(-1, -2) + Q
            if t in wanted:
                kept.append(S)
    S = np.array(kept)
    norm = np.sqrt(S[..., 0, 0] @ count)
    return Path(record, norm, S[..., 0, 2], np.sqrt(S[..., 0, 0]))


def _strengths(reg: Any, lam: Any, hp: Any, scale: float) -> regularizers.Strength:
    """Strengths at their places; axes: reg and lam where they are lists, and one of length 1."""
    regs, lams = np.asarray(reg, dtype=object), numbers("lam", lam)
    if regs.ndim > 1 or lams.ndim > 1:
        raise ValueError("reg and lam must be one value or a list.")
    for name in regs.ravel():
        for value in lams.ravel():
            regularizers.check_strength(name, value.item(), hp, scale)
    places = (
        np.multiply.outer(regs == name, lams)[..., None] for name in regularizers.Strength._fields
    )
    return regularizers.Strength(*places)


def _projected(count: np.ndarray, s: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Standard deviation of (I - u u^T)(s * z) where coordinates hold shares w of the norm^2."""
    return np.sqrt(s**2 * (1 - 2 * w) + w * (w @ (count * s**2))[..., None])


class _Linear(NamedTuple):
    """delta = now * g + past * b + jitter, then b <- feed * g + keep * b; an entry per class.

    `jitter` is the variance of white noise that does not come from this step's g.
    """

    now: np.ndarray
    past: np.ndarray
    feed: np.ndarray
    keep: np.ndarray
    jitter: np.ndarray


def _linearise(
    hp: Any, coef: Any, state: Any, S: np.ndarray, row: np.ndarray, noise: np.ndarray
) -> tuple[_Linear, Any]:
    """The rule's response to g and to its momentum, at a root mean square of g; its next state.

    The rule is asked twice, with momentum 0 and 1: at a given |g| it is linear in what is left.
    """
    root = np.sqrt(np.maximum(_square(S, row) + noise**2, 1e-200))
    step = rules.RULES[rules.name_of(hp)].step
    zero = 0 * root
    if isinstance(hp, rules.Lion):
        return _linearised_lion(hp, coef, S, row, noise), state
    if state._fields[0] not in ("b", "m"):
        delta, state = step(root, state, hp, coef)
        return _Linear(delta / root, zero, zero, zero, zero), state
    delta, after = step(root, state._replace(**{state._fields[0]: zero}), hp, coef)
    moved, pushed = step(root, state._replace(**{state._fields[0]: zero + 1}), hp, coef)
    lin = _Linear(delta / root, moved - delta, after[0] / root, pushed[0] - after[0], zero)
    return lin, after


def _linearised_lion(
    hp: rules.Lion, coef: Any, S: np.ndarray, row: np.ndarray, noise: np.ndarray
) -> _Linear:
    """sign(c) = E|c| / E c^2 * c + rest: the best linear fit for a normal c; the rest is small."""
    mix = (1 - hp.beta1) * row + np.array([0.0, hp.beta1, 0.0])  # c = beta1 m + (1 - beta1) g
    square = np.maximum(_square(S, mix) + ((1 - hp.beta1) * noise) ** 2, 1e-200)
    mean = (mix * S[..., 2]).sum(-1)
    std = np.sqrt(np.maximum(square - mean**2, 1e-12 * square))
    z = mean / std
    erf = np.vectorize(math.erf)(z / math.sqrt(2))
    size = std * math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2) + mean * erf
    slope, one = coef.lr * size / square, np.ones_like(size)
    return _Linear(
        (1 - hp.beta1) * slope, hp.beta1 * slope, (1 - hp.beta2) * one, hp.beta2 * one,
        coef.lr**2 * np.maximum(1 - size**2 / square, 0.0) * _lion_rest(hp.beta1, hp.beta2),
    )  # fmt: skip


@cache
def _lion_rest(beta1: float, beta2: float) -> float:
    """Sum of the correlations over time of what the linear fit of Lion's sign leaves.

    The correlation of the signs of two normals is 2 / pi arcsin(rho), that of the fit 2 / pi rho.
    """
    fresh, old = 1 - beta1, beta1 * (1 - beta2)
    tail = old**2 / (1 - beta2**2)
    first = (fresh * old + beta2 * tail) / (fresh**2 + tail)
    rho = first * beta2 ** np.arange(4000)
    return 1 + 2 * (2 / math.pi) * float(np.sum(np.arcsin(rho) - rho)) / (1 - 2 / math.pi)


def _frozen(hp: Any) -> _Linear:
    """The response in the long run to unit white noise: v = 1, eps = 0."""
    hp = hp._replace(eps=0.0) if hasattr(hp, "eps") else hp
    S = np.zeros((1, 3, 3))
    S[:, 1, 1] = (1 - getattr(hp, "beta2", 0.0)) / (1 + getattr(hp, "beta2", 0.0))  # Lion's m
    state = rules.init(np.ones(1), hp)
    state = state._make(entry + 1.0 for entry in state)
    return _linearise(hp, rules.coef(hp, 2**40), state, S, np.zeros((1, 3)), np.ones(1))[0]


def _transition(
    lin: _Linear, row: np.ndarray, noise: np.ndarray, decay: regularizers.Decay
) -> tuple[np.ndarray, np.ndarray]:
    """M and Q of one step x <- M x + (noise of covariance Q), x = (theta, b, 1)."""
    now = -decay.after * lin.now
    M = np.zeros((*row.shape, 3))
    M[..., 0, :] = now[..., None] * row
    M[..., 0, 0] += decay.after * decay.before
    M[..., 0, 1] -= decay.after * lin.past
    M[..., 1, :] = lin.feed[..., None] * row
    M[..., 1, 1] += lin.keep
    M[..., 2, 2] = 1.0
    kick = np.stack([now, lin.feed, 0 * now], axis=-1) * noise[..., None]
    Q = kick[..., :, None] * kick[..., None, :]
    Q[..., 0, 0] += decay.after**2 * lin.jitter
    return M, Q


def _square(S: np.ndarray, row: np.ndarray) -> np.ndarray:
    """E (row x)^2 for each class."""
    return ((row[..., None, :] @ S)[..., 0, :] * row).sum(-1)
