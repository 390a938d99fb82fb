r"""How gamma, beta and the outgoing weights of a layer's filters go, as a mean recursion.

Three laws hold it together (docs/filters.md derives them):

* A layer's loss does not see the scale of (gamma, beta), nor of the weights that read it. So its
  gradients grow as it shrinks: C = |sigma| |gamma| and D = |G| |W|, sums over the layer, are slow
  (`regdyn.filters.laws`), and the loss cannot move the layer's scale, only shift weight between
  filters: sum gamma_j mu_j = 0.
* Within a layer gamma_j's gradient goes with the outgoing weights, sigma_j ~ w_j^p, and that of the
  outgoing weights with the filter's output. So a filter that falls behind sees less gradient.
* The loss pushes what is weak further down: mu_j / sigma_j grows with the weakness
  d_j = layer's mean of ln gamma - ln gamma_j.

Per filter j in layer l, with P the rule's gain (`regdyn.filters.preconditioner`)::

    sigma_j = C_l / |gamma|_l  w_j^p / |w^p|_l
    G_j     = D_l / |w|_l      a_j / |a|_l             a_j = std of relu(gamma_j x + beta_j)
    mu_j    = rho_j sigma_j,    rho_j = push(d_j) + what the filter showed early,  less the mean
    d gamma = -lr P (lambda gamma + mu) dt
    d w^2   = -2 lr P_w (lambda w^2 + s gamma mu) dt + f lr^2 P_w^2 G^2 dt

The identity gamma dL/dgamma + beta dL/dbeta = w . dL/dw, exact per filter, ties the two norms.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from regdyn.filters import preconditioner as gains
from regdyn.filters.laws import Course, Early

TINY = 1e-7  # |gamma| is not followed further down


class Constants(NamedTuple):
    """What is fitted, on development runs only; docs/filters.md lists which, and how well.

    Attributes
    ----------
    push : float
        mu / sigma of a filter that is e times weaker than its layer, at the start of training.
    power, lift : float
        The push grows as d^power for weak filters, and is lift * d for strong ones.
    follow : float
        p: how sigma_j goes with the norm of the outgoing weights.
    shown : float
        Standard deviation over filters of mu / sigma that is a filter's own.
    decay, share, spread : float
        Factors of the outgoing weights' regularisation, of the loss's pull on them (s), and of
        their random walk (f).
    beta : float
        mu / sigma of beta.
    most : float
        Largest mu / sigma.
    fade : float
        The push fades with this power of the layer's norm, relative to its start.
    crowd : float
        How fast the push fades as fewer filters share a layer's work.
    deaf : float
        What a running mean of g^2 with decay b takes from the push: 1 - deaf sqrt(1 - b). Bursts of
        the gradient sit in the v that they are divided by.
    wander : float
        Diffusion of gamma in units of free noise, lr^2 P^2 sigma^2 per step.
    """

    push: float = 0.1635
    power: float = 1.79
    lift: float = 0.75
    follow: float = 1.11
    shown: float = 0.051
    decay: float = 0.45
    share: float = 0.256
    spread: float = 0.163
    beta: float = 0.047
    most: float = 0.4
    fade: float = 1.0
    crowd: float = 0.53
    deaf: float = 1.25
    wander: float = 0.034


DEFAULT = Constants()


class Settings(NamedTuple):
    """A training's settings as the model needs them.

    Attributes
    ----------
    rule : NamedTuple
        Hyper-parameters of `regdyn.rules`.
    reg, lam
        See `regdyn.regularizers`.
    scale : ndarray, shape (steps,)
        The schedule, lr_t / lr.
    batch : float
        Images per step, over those of the run that `Early` and `Course` were taken from.
    """

    rule: Any
    reg: str
    lam: float
    scale: np.ndarray
    batch: float = 1.0


class Path(NamedTuple):
    """Where the filters go.

    Attributes
    ----------
    step : ndarray, shape (m,)
        From that of the start.
    gamma : ndarray, shape (m, n)
        |gamma|.
    push : ndarray, shape (m, n)
        -mu / (lambda gamma + |mu|): how much of what acts on gamma is the loss holding it (> 0) or
        pushing it down (< 0).
    """

    step: np.ndarray
    gamma: np.ndarray
    push: np.ndarray


class State(NamedTuple):
    """gamma > 0, beta, norm of the outgoing weights; the rule's memory for each of the three."""

    gamma: np.ndarray
    beta: np.ndarray
    out: np.ndarray
    memory: list[gains.Memory] | None


class Gradient(NamedTuple):
    """Sizes of the gradients of gamma, beta and the outgoing weights; gamma's mean."""

    sigma: np.ndarray
    sigma_beta: np.ndarray
    G: np.ndarray
    mu: np.ndarray


def grid(start: int, steps: int, *, beyond: float = 0.0, parts: int = 100) -> np.ndarray:
    """Steps at which the recursion is evaluated: equal parts up to `steps`, and as long beyond.

    Beyond they are no shorter than 0.2 % of the run, so that a late start does not cost more.
    """
    at = np.linspace(start, max(steps, start + 1), parts + 1)
    part = max(at[1] - at[0], 0.002 * steps)
    return np.concatenate(
        [at, at[-1] + part * np.arange(1, int(np.ceil(beyond * steps / part)) + 1)]
    )


def evolve(
    early: Early, course: Course, settings: Settings, *,
    at: np.ndarray, constants: Constants = DEFAULT, own: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> Path:  # fmt: skip
    """Follow the filters from `early`.

    Parameters
    ----------
    early : Early
        State and gradients at the start.
    course : Course
        C, D of every layer over time.
    settings : Settings
        Of the training that is predicted; may differ from that of `early`. Beyond the end of its
        schedule the learning rate is the first one's.
    at : ndarray
        Steps, from `early.step`; see `grid`.
    constants : Constants
    own : ndarray, shape (n,), optional
        mu / sigma that is a filter's own at the start. Default: what the filters showed early,
        beyond the law, as far as it is significant.
    rng : Generator, optional
        Adds gamma's own noise.

    Returns
    -------
    Path
    """
    output = relu_std(early.gamma, early.beta)
    early = early._replace(output=np.maximum(output, 0.02 * early.layers.rms(output)))
    clock = np.concatenate([[0.0], np.cumsum(settings.scale)])
    passed = np.interp(at, np.arange(len(clock)), clock) + np.maximum(at - len(settings.scale), 0)
    state = State(early.gamma, early.beta, early.out, None)
    gammas, pushes = [state.gamma], []
    for (t, t_next), scaled in zip(pairwise(at), np.diff(passed), strict=True):
        rho = law_of_push(state, early, settings, constants)
        if own is None:
            own = shown(early, rho, constants)
        seen = gradient(state, early, course, rho + own * early.step / t, t, settings, constants)
        state = step(state, seen, early, settings, float(t_next - t), float(scaled), constants)
        if rng is not None:
            assert state.memory is not None
            one = settings.rule.lr * gains.gain(settings.rule, state.memory[0]) * seen.sigma
            wander = one * scaled * np.sqrt(constants.wander / (t_next - t))
            noise = wander * rng.standard_normal(len(own))
            state = state._replace(gamma=np.maximum(np.abs(state.gamma + noise), TINY))
        gammas.append(state.gamma)
        pushes.append(-seen.mu / (settings.lam * gammas[-2] + np.abs(seen.mu) + 1e-30))
    return Path(at, np.array(gammas), np.array([pushes[0], *pushes]))


def law_of_push(state: State, early: Early, settings: Settings, c: Constants) -> np.ndarray:
    """mu / sigma by a filter's weakness, before the layer's mean is taken off."""
    layers, g = early.layers, state.gamma
    weight = g * (state.out / early.out) ** c.follow * early.sigma
    x = np.log(g / layers.rms(g))
    d = layers.mean(x, weight) - x
    slope = np.where(d > 0, np.abs(d) ** c.power, c.lift * d)
    # fewer and fewer share the layer's work: then the loss lets go of none
    spread = layers.mean(g, np.ones_like(g)) / layers.rms(g)
    shrunk = (layers.norm(g) / early.radius) ** c.fade
    return c.push * slope * spread**c.crowd * shrunk * np.sqrt(settings.batch)


def shown(early: Early, rho: np.ndarray, c: Constants) -> np.ndarray:
    """What a filter showed beyond the law, drawn towards 0 as far as it may be chance."""
    if early.rho is None:
        return np.zeros_like(rho)
    return (early.rho - rho) * c.shown**2 / (c.shown**2 + 1 / early.seen)


def gradient(
    state: State, early: Early, course: Course, rho: np.ndarray, t: float, settings: Settings,
    c: Constants,
) -> Gradient:  # fmt: skip
    """Sizes by the layer law, shared out within the layer; the mean by `rho`."""
    layers, (g, b, w, _) = early.layers, state
    C, D, burst = course.at(t, layers)
    quieter = 1 / np.sqrt(settings.batch)
    sigma = early.sigma * (w / early.out) ** c.follow
    sigma = sigma / layers.norm(sigma) * C / layers.norm(g) * quieter
    G = early.G * relu_std(g, b) / early.output
    G = G / layers.norm(G) * D / layers.norm(w) * quieter
    rho = np.clip(rho, -c.most, c.most)
    heard = 1 - c.deaf * np.sqrt(1 - (gains.decay_of_v(settings.rule) or 1.0))
    # less its mean: no layer as a whole is moved
    mu = (rho - layers.mean(rho, g * sigma)) * sigma * burst * heard / (1 - 0.1 * c.deaf)
    return Gradient(sigma, early.sigma_beta * sigma / early.sigma, G, mu)


def step(
    state: State, seen: Gradient, early: Early, settings: Settings, dt: float, scaled: float,
    c: Constants,
) -> State:  # fmt: skip
    """The rule, over `dt` steps that make up `scaled` steps of the first learning rate."""
    hp, (g, b, w, memory), n = settings.rule, state, early.weights_out
    l2 = settings.lam if settings.reg == "l2" else 0.0
    lr, root = hp.lr * scaled, np.sqrt(n)
    squares = [
        seen.sigma**2 + (l2 * g) ** 2,
        seen.sigma_beta**2 + (l2 * b) ** 2,
        (seen.G / root) ** 2 + (l2 * w / root) ** 2,
    ]
    if memory is None:
        past = early.square, early.square_beta, early.square_out / n
        memory = [
            gains.begin(hp, before, early.window, now)
            for before, now in zip(past, squares, strict=True)
        ]
    else:
        memory = [gains.advance(hp, m, s, dt) for m, s in zip(memory, squares, strict=True)]
    means = l2 * g + seen.mu, l2 * b + c.beta * seen.sigma_beta, l2 * w / root
    P, P_beta, P_out = (gains.gain(hp, *pair) for pair in zip(memory, means, strict=True))
    down = 2 * lr * P_out * (c.decay * l2 * w**2 + c.share * g * seen.mu)
    walk = c.spread * lr * hp.lr * scaled / dt * (P_out * seen.G) ** 2
    w = np.sqrt(np.maximum(w**2 + np.maximum(walk - down, -0.5 * w**2), 1e-14))
    b = np.where(g < 1e-5, 0.5 * b, b - lr * P_beta * (l2 * b + c.beta * seen.sigma_beta))
    g = np.maximum(g - lr * P * (l2 * g + seen.mu), TINY)
    left = {"wd": np.exp(-settings.lam * scaled), "adamw": np.exp(-settings.lam * lr)}
    kept = left.get(settings.reg, 1.0)
    return State(np.maximum(g * kept, TINY), np.clip(b * kept, -3 * g, 3 * g), w * kept, memory)


def relu_std(gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Standard deviation of relu(gamma x + beta), x standard normal: size of a filter's output."""
    g = np.maximum(np.abs(gamma), 1e-12)
    z = beta / g
    P, f = ndtr(z), np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    m = beta * P + g * f
    return np.sqrt(np.maximum((beta**2 + g**2) * P + beta * g * f - m * m, 1e-30))
