r"""A logistic regression on what is seen early, fitted to finished runs: the baseline that learns.

    P(dead) = 1 / (1 + exp(-(w . x + b)))

with x the features of `features`, standardised by their mean and spread over the runs it was fitted
to. It knows no law beyond what the features hold; its shares are the means of its probabilities.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from regdyn import baselines
from regdyn.checks import finite
from regdyn.filters.laws import mean_square
from regdyn.filters.record import Run, dead
from regdyn.rules import SGD
from regdyn.scores import Prediction, of_probabilities

SMALL = 1e-8  # what is smaller is taken as this before a logarithm
FEATURES = (
    "log |gamma|", "log |w_in|", "log |w_out|", "log sigma", "log variance share", "drift", "rho",
    "beta / |gamma|", "zero share", "rank |gamma|", "rank |w_out|", "rank sigma", "rank drift",
    "depth", "log (lambda |gamma| / sigma)", "log (1 + e-folds left)",
)  # fmt: skip


def features(early: Run) -> np.ndarray:
    r"""What is known of every filter at the end of the record, shape (n, features).

    In the order of `FEATURES`: the last quarter of the windows for sigma and the share of zero
    gradients; the last half for drift = ln(|gamma| now / then) and
    rho = mean / std of sign(gamma) dL/dgamma; variance share = var / (var + eps). Ranks are from 0
    to 1 within the layer. E-folds left are those of the scalar law (`baselines.law_path`). What a
    record does not know (|w_out| before a sum of branches) is NaN.
    """
    record = early.record
    now, late = baselines.size_now(record), baselines.recent(record)
    noise = baselines.sigma(early)
    half = int(np.searchsorted(record.step, record.step[-1] / 2))
    half = min(half, len(record.step) - 2)
    drift = _log(now) - _log(np.abs(record.gamma[half]))
    sign = np.sign(record.gamma[-1])
    mean, square = record.grad_gamma_mean[half:], mean_square(record, "gamma")[half:]
    first = sign * mean.mean(axis=0)
    spread = np.sqrt(np.maximum(square.mean(axis=0) - first**2, 0.0))
    variance = record.var[-1] / (record.var[-1] + record.bn_eps)
    path, _ = baselines.law_path(early, lambda step: np.ones(record.filters))
    known = np.stack(
        [
            _log(now), _log(record.norm_in[-1]), _log(record.norm_out[-1]), _log(noise),
            _log(variance), np.clip(drift, -5, 5), first / np.maximum(spread, SMALL),
            np.clip(record.beta[-1] / np.maximum(now, SMALL), -5, 5),
            record.grad_gamma_zero[late].mean(axis=0),
            *(_ranks(x, record.layer) for x in (now, record.norm_out[-1], noise, drift)),
            record.layer / max(record.layer.max(), 1),
            _log(early.lam * now / np.maximum(noise, SMALL)), np.log1p(path[0] - path[-1]),
        ]
    )  # fmt: skip
    return known.T


class Logistic(NamedTuple):
    """A fitted regression: a baseline, `model(early, pilot)`.

    Attributes
    ----------
    centre, spread : ndarray, shape (features,)
        Mean and standard deviation of the features over the runs it was fitted to.
    weights : ndarray, shape (features,)
    bias : float
    """

    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    bias: float

    def __call__(self, early: Run, pilot: Run | None = None) -> Prediction:
        """Probabilities and shares; no times."""
        x = _standard(features(early), self.centre, self.spread)
        logit = x @ self.weights + self.bias
        return of_probabilities(expit(logit), early.record.layer, score=logit)


def fit(runs: Sequence[Run], share: float, *, penalty: float = 1.0) -> Logistic:
    """The regression for forecasts made after this share of a run.

    Parameters
    ----------
    runs : sequence of Run
        Finished; none of the setting that is to be forecast.
    share : float
        From 0 to 1, as 0.1.
    penalty : float
        Of the squared weights: half of it times their sum joins the summed log loss.

    Raises
    ------
    ValueError
        If there is no run, or all filters had one fate.
    """
    share = finite("share", share, 0.0, 1.0, open_below=True, open_above=True)
    penalty = finite("penalty", penalty, 0.0)
    if not runs:
        raise ValueError("a regression needs at least one finished run to be fitted to.")
    x = np.vstack([features(baselines.cut(run, round(share * run.steps))) for run in runs])
    y = np.concatenate([dead(run.record) for run in runs]).astype(float)
    if y.min() == y.max():
        raise ValueError("a regression needs runs in which some filters die and some live.")
    known, count = ~np.isnan(x), np.maximum((~np.isnan(x)).sum(axis=0), 1)
    centre = np.where(known, x, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, x - centre, 0.0) ** 2).sum(axis=0) / count)
    x = _standard(x, centre, spread)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ w[:-1] + w[-1]
        value = float(np.sum(np.logaddexp(0.0, z) - y * z)) + 0.5 * penalty * float(w[:-1] @ w[:-1])
        off = expit(z) - y
        return value, np.append(x.T @ off + penalty * w[:-1], off.sum())

    start = np.zeros(x.shape[1] + 1)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return Logistic(centre, spread, best[:-1], float(best[-1]))


def kin(run: Run, runs: Iterable[Run]) -> list[Run]:
    """Of `runs` those whose filters die in the same way as those of `run`.

    Worn down under `l2` by a rule that divides by the gradient's size; or absorbed by a dead ReLU
    under `wd` and `adamw`, or by one under SGD.
    """

    def way(one: Run) -> str:
        if isinstance(one.rule, SGD):
            return "sgd"
        return "worn" if one.reg == "l2" else "absorbed"

    return [one for one in runs if way(one) == way(run)]


def _standard(x: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Standardised; what is not known, or was the same in all runs, counts as the mean."""
    constant = spread < SMALL
    z = (x - centre) / np.where(constant, 1.0, spread)
    return np.where(np.isnan(z) | constant, 0.0, z)


def _log(x: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(x, SMALL))


def _ranks(values: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Rank within the layer, from 0 to 1."""
    found = np.empty(len(values))
    for number in np.unique(layer):
        here = layer == number
        found[here] = (rankdata(values[here]) - 0.5) / here.sum()
    return found
