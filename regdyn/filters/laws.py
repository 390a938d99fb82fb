r"""The layer law: C = |sigma| |gamma| and D = |G| |W| of every layer, over a run.

Norms are over the filters of a layer; sigma is the size of gamma's gradient as the rule sees it
(`preconditioner.size`), G that of the gradient of the weights that read a filter. Neither product
changes when the layer is scaled, so both are slow, and nearly the same for other seeds, strengths
and rules: a finished run says how they go in a run of the same network and data.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from regdyn.filters import preconditioner as gains
from regdyn.filters.record import Record


class Layers:
    """Sums over the filters of each layer, given back to every filter.

    Parameters
    ----------
    layer : ndarray of int, shape (n,)
    """

    def __init__(self, layer: np.ndarray) -> None:
        self.layer, self.number = layer, int(layer.max()) + 1
        self.count = np.bincount(layer)[layer]
        order = np.argsort(layer, kind="stable")
        self.order = None if np.array_equal(order, np.arange(len(layer))) else order
        self.first = np.searchsorted(layer[order], np.arange(self.number))

    def total(self, x: np.ndarray) -> np.ndarray:
        """Sum over each layer; shape (layers,)."""
        return np.add.reduceat(x if self.order is None else x[self.order], self.first)

    def norm(self, x: np.ndarray) -> np.ndarray:
        """Euclidean norm of the filter's layer; shape (n,), never 0."""
        return np.sqrt(self.total(x * x) + 1e-24)[self.layer]

    def rms(self, x: np.ndarray) -> np.ndarray:
        """Root mean square of the filter's layer; shape (n,)."""
        return self.norm(x) / np.sqrt(self.count)

    def standard(self, x: np.ndarray) -> np.ndarray:
        """Within the filter's layer: minus its mean, over its standard deviation; shape (n,)."""
        left = x - (self.total(x) / self.total(np.ones_like(x)))[self.layer]
        return left / (self.rms(left) + 1e-9)

    def mean(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Weighted mean of the filter's layer; shape (n,)."""
        return ((self.total(weight * x)) / (self.total(weight) + 1e-30))[self.layer]


class Early(NamedTuple):
    """Filters at the start of a forecast; arrays of shape (n,) where nothing else is said.

    Attributes
    ----------
    step : int
    layers : Layers
    gamma, beta, out : ndarray
        |gamma|, beta times gamma's sign, norm of the outgoing weights.
    radius : ndarray
        Norm of the layer's gamma before the first step.
    sigma, sigma_beta, G : ndarray
        Sizes of their gradients, as the rule sees them.
    quiet, into : ndarray
        ln of the root mean square of gamma's gradient over the second half of the record, and of
        the norm of the filter's own weights.
    burst : float
        Root mean square of gamma's gradient over sigma.
    rho : ndarray or None
        Mean over standard deviation of gamma's gradient, over `seen` steps; None: not used.
    weights_out : ndarray
    square, square_beta, square_out : ndarray, shape (W, n)
        Mean squares of the gradients in every window so far.
    window : ndarray, shape (W,)
        Steps of each window.
    output : ndarray
        Size of the filter's output, up to a factor; `model.evolve` sets it.
    """

    step: int
    layers: Layers
    gamma: np.ndarray
    beta: np.ndarray
    out: np.ndarray
    radius: np.ndarray
    sigma: np.ndarray
    sigma_beta: np.ndarray
    G: np.ndarray
    quiet: np.ndarray
    into: np.ndarray
    burst: float
    rho: Any
    seen: float
    weights_out: np.ndarray
    square: np.ndarray
    square_beta: np.ndarray
    square_out: np.ndarray
    window: np.ndarray
    output: Any = 1.0

    def products(self) -> tuple[np.ndarray, np.ndarray]:
        """C and D of every layer, shape (layers,)."""
        total = self.layers.total
        C = np.sqrt(total(self.sigma**2) * total(self.gamma**2))
        return C, np.sqrt(total(self.G**2) * total(self.out**2))


class Course(NamedTuple):
    """C and D of every layer, and the bursts, in windows that end at `step`."""

    step: np.ndarray
    C: np.ndarray
    D: np.ndarray
    burst: np.ndarray

    def at(self, t: float, layers: Layers) -> tuple[np.ndarray, np.ndarray, float]:
        """C, D (shape (n,)) and the burst factor after step t."""
        i = min(int(np.searchsorted(self.step, t, side="right")), len(self.step) - 1)
        return self.C[i][layers.layer], self.D[i][layers.layer], float(self.burst[i])


def early(record: Record, t: int, hp: Any, *, look: float) -> Early:
    """The filters at step t, from what `record` says up to there.

    Parameters
    ----------
    record : Record
    t : int
    hp : NamedTuple
        The rule whose view of the gradient's size is taken.
    look : float
        Steps before t over which gradients are averaged.
    """
    past = record.until(t)
    k, now = len(past.step) - 1, past.step[-1]
    first = min(max(int(np.searchsorted(past.step, now - look)), 0), k - 1)
    part, half = slice(first, k), slice(k // 2, k)
    sign = np.sign(past.gamma[-1])
    square, square_b = mean_square(past, "gamma"), mean_square(past, "beta")
    square_out = np.nan_to_num(past.grad_out2)
    sigma = gains.size(hp, square, past.window, part)
    mean = (past.grad_gamma_mean[half] * sign).mean(axis=0)
    std = np.sqrt(np.maximum(square[half].mean(axis=0) - mean**2, 0))
    burst = np.median(np.sqrt(square[part].mean(axis=0)) / np.maximum(sigma, 1e-30))
    layers = Layers(record.layer)
    out = np.nan_to_num(past.norm_out[-3:].mean(axis=0), nan=1.0)  # read by no single layer
    return Early(
        int(now), layers, np.maximum(np.abs(past.gamma[-3:]).mean(axis=0), 1e-7),
        (past.beta[-3:] * sign).mean(axis=0), np.maximum(out, 1e-3 * layers.norm(out)),
        layers.norm(record.gamma[0]),
        np.maximum(sigma, 1e-12), gains.size(hp, square_b, past.window, part),
        np.maximum(gains.size(hp, square_out, past.window, part), 1e-12),
        0.5 * np.log(square[half].mean(axis=0) + 1e-30), np.log(past.norm_in[-1] + 1e-30),
        float(burst),
        mean / (std + 1e-12), float(now - past.step[half.start]),
        np.nan_to_num(record.weights_out, nan=1.0),
        square, square_b, square_out, past.window,
    )  # fmt: skip


def course(record: Record, hp: Any, parts: int = 40) -> Course:
    """C, D and bursts of a finished run in equal parts, as the rule `hp` would see them."""
    windows = len(record.window)
    edges = np.unique(np.linspace(0, windows, min(parts, windows) + 1).astype(int))
    found = [_products(record, hp, slice(a, e)) for a, e in pairwise(edges)]
    C, D, bursts = (np.array(column) for column in zip(*found, strict=True))
    return Course(record.step[edges[1:]], C, D, _filled(bursts))


def _products(record: Record, hp: Any, part: slice) -> tuple[np.ndarray, np.ndarray, float]:
    """C, D, and the burst factor of filters that are not weak, over some windows."""
    layers, square = Layers(record.layer), mean_square(record, "gamma")
    sigma = gains.size(hp, square, record.window, part)
    G = gains.size(hp, np.nan_to_num(record.grad_out2), record.window, part)
    g, w = np.abs(record.gamma[part]).mean(axis=0), record.norm_out[part].mean(axis=0)
    strong = g > 0.05
    ratio = np.sqrt(square[part].mean(axis=0)) / np.maximum(sigma, 1e-30)
    burst = float(np.median(ratio[strong])) if strong.any() else np.nan
    C = np.sqrt(layers.total(sigma**2) * layers.total(g**2))
    return C, np.sqrt(layers.total(G**2) * layers.total(np.nan_to_num(w) ** 2)), burst


def _filled(bursts: np.ndarray) -> np.ndarray:
    """Where no filter is strong, the last burst factor known."""
    for k in range(len(bursts)):
        if np.isnan(bursts[k]):
            bursts[k] = bursts[k - 1] if k else 1.0
    return bursts


def following(pilot: Course, start: Early) -> Course:
    """The course of a finished run, from where `start` is: only its ratios are taken over."""
    C, D = start.products()
    now = max(int(np.searchsorted(pilot.step, start.step, side="right")) - 1, 0)
    return pilot._replace(
        C=C * pilot.C / np.maximum(pilot.C[now], 1e-30),
        D=D * pilot.D / np.maximum(pilot.D[now], 1e-30),
    )


def power_law(record: Record, start: Early, hp: Any, steps: int, parts: int = 40) -> Course:
    r"""The course where no run tells it: C, D ~ t^-e, with e as in the second half of the record.

    The exponents lie within 0 and 1: it is the loss's fall that drives them.
    """
    k = len(record.until(start.step).window)
    before, after = slice(k // 4, max(k // 2, k // 4 + 1)), slice(k // 2, max(k, k // 2 + 1))
    between = np.log(1.5 * k / (0.75 * k))  # of the middles of the two parts
    step = start.step + (steps - start.step) * np.arange(1, parts + 1) / parts
    found = []
    for name, now in zip(("C", "D"), start.products(), strict=True):
        i = ("C", "D").index(name)
        a, b = _products(record, hp, before)[i], _products(record, hp, after)[i]
        e = np.clip(np.log(np.maximum(a, 1e-30) / np.maximum(b, 1e-30)) / between, 0, 1)
        found.append(now * (step[:, None] / start.step) ** -e)
    return Course(step, found[0], found[1], np.full(parts, start.burst))


def mean_square(record: Record, of: str) -> np.ndarray:
    """Mean square of the gradient over every window."""
    return getattr(record, f"grad_{of}_mean") ** 2 + getattr(record, f"grad_{of}_std") ** 2
