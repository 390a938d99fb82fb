"""What a training run wrote down of its filters, as arrays; and the run that it was.

Variables are those of `cnn.record` (docs/recording.md), but any code can write them.
"""

from typing import Any, NamedTuple

import numpy as np

from regdyn.checks import finite, integer, shown

STATE = ("gamma", "beta", "norm_in", "norm_out", "var")
GRADIENT = (
    "grad_gamma_mean", "grad_gamma_std", "grad_gamma_zero",
    "grad_beta_mean", "grad_beta_std", "grad_out2",
)  # fmt: skip
FIXED = ("bn_eps", "weights_out")
DEAD = 1e-3  # |gamma| of a filter that is gone
COLLAPSED = 1e-2  # its running mean over `SMOOTH` steps dates the collapse
SMOOTH = 50


class Record(NamedTuple):
    """A record of n filters at K steps; entry k of a window's arrays is of steps k-1 to k.

    Attributes
    ----------
    step : ndarray of int, shape (K,)
        Updates made before each state; from 0.
    gamma, beta, norm_in, norm_out, var : ndarray, shape (K, n)
        BatchNorm's scale and shift, norms of the filter's own weights and of those that read it,
        BatchNorm's running variance.
    grad_gamma_mean, grad_gamma_std, grad_gamma_zero : ndarray, shape (K - 1, n)
        Of the loss's gradient over a window: mean, standard deviation, share that is exactly 0.
    grad_beta_mean, grad_beta_std : ndarray, shape (K - 1, n)
    grad_out2 : ndarray, shape (K - 1, n)
        Squared norm of the gradient of the weights that read the filter, at the window's last step.
    layer : ndarray of int, shape (n,)
        Number of the filter's layer, from 0.
    names : tuple of str
        Of the layers.
    bn_eps, weights_out : ndarray, shape (n,)
        BatchNorm's eps; number of weights that read the filter.
    """

    step: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    norm_in: np.ndarray
    norm_out: np.ndarray
    var: np.ndarray
    grad_gamma_mean: np.ndarray
    grad_gamma_std: np.ndarray
    grad_gamma_zero: np.ndarray
    grad_beta_mean: np.ndarray
    grad_beta_std: np.ndarray
    grad_out2: np.ndarray
    layer: np.ndarray
    names: tuple[str, ...]
    bn_eps: np.ndarray
    weights_out: np.ndarray

    @property
    def filters(self) -> int:
        """Their number n."""
        return len(self.layer)

    @property
    def window(self) -> np.ndarray:
        """Number of steps of each window."""
        return np.diff(self.step)

    def until(self, step: int) -> "Record":
        """The part that was known after `step`."""
        k = int(np.searchsorted(self.step, step, side="right"))
        cut = {name: getattr(self, name)[:k] for name in ("step", *STATE)}
        return self._replace(**cut, **{name: getattr(self, name)[: k - 1] for name in GRADIENT})


class Run(NamedTuple):
    """A record, and the settings of the training that wrote it.

    Attributes
    ----------
    record : Record
        May end before the run does.
    rule : NamedTuple
        Hyper-parameters of `regdyn.rules`.
    reg : {'none', 'l2', 'wd', 'adamw'}
    lam : float
        Strength lambda.
    scale : ndarray, shape (steps,)
        The schedule: lr_t / lr of every step of the whole run, `regularizers.schedule_factors`.
    batch : int
        Images per step.
    """

    record: Record
    rule: Any
    reg: str
    lam: float
    scale: np.ndarray
    batch: int = 40

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return len(self.scale)


def read(ds: Any) -> Record:
    """The record in an `xarray.Dataset`, such as run.nc holds.

    Raises
    ------
    ValueError
        If a variable is missing or not finite, steps do not ascend from 0, or there is no window.
    """
    missing = [n for n in (*STATE, *GRADIENT, *FIXED, "step", "layer") if n not in ds]
    if missing:
        raise ValueError(
            f"the record has no {', '.join(missing)}: a record is what cnn.train writes to run.nc."
        )
    labels = [str(name) for name in ds["layer"].values]
    names = tuple(dict.fromkeys(labels))
    step = np.asarray(ds["step"].values, dtype=np.int64)
    if len(step) < 2 or step[0] != 0 or np.any(np.diff(step) <= 0):
        raise ValueError(f"the record's steps must ascend from 0, not {shown(step[:4].tolist())}.")
    arrays = {name: _array(ds, name) for name in (*STATE, *GRADIENT)}
    layer = np.array([names.index(label) for label in labels])
    fixed = {name: np.asarray(ds[name].values, dtype=float) for name in FIXED}
    return Record(step=step, layer=layer, names=names, **arrays, **fixed)


def _array(ds: Any, name: str) -> np.ndarray:
    along = "step" if name in STATE else "window"
    if set(ds[name].dims) != {along, "filter"}:
        raise ValueError(f"{name} of the record must have the dimensions ({along}, filter).")
    values = np.asarray(ds[name].transpose(along, "filter").values, dtype=float)
    if len(values) != len(ds["step"]) - (along == "window"):
        raise ValueError(f"{name} of the record must have an entry per {along}.")
    # NaN: no single layer reads the filter, or the last step of the window was skipped
    if name not in ("norm_out", "grad_out2") and not np.all(np.isfinite(values)):
        raise ValueError(f"{name} of the record is not finite: the run diverged.")
    return values


# What became of the filters ----------------------------------------------------------------------


def dead(record: Record, threshold: float = DEAD) -> np.ndarray:
    """Which filters have |gamma| below `threshold` at the end; shape (n,)."""
    return np.abs(record.gamma[-1]) < finite("threshold", threshold, 0.0, open_below=True)


def smoothed(record: Record, steps: int = SMOOTH) -> np.ndarray:
    """Mean of |gamma| over about `steps` steps before each record; shape (K, n)."""
    back = integer("steps", steps, 1)
    total = np.cumsum(np.vstack([np.zeros(record.filters), np.abs(record.gamma)]), axis=0)
    first = np.searchsorted(record.step, record.step - back, side="right")
    last = np.arange(1, len(record.step) + 1)
    first = np.minimum(first, last - 1)
    return (total[last] - total[first]) / (last - first)[:, None]


def collapse_step(record: Record, threshold: float = COLLAPSED) -> np.ndarray:
    """First recorded step at which the mean of |gamma| is below `threshold`; inf if none.

    Shape (n,). The mean is over the records of the last 50 steps.
    """
    below = smoothed(record) < finite("threshold", threshold, 0.0, open_below=True)
    first = record.step[np.argmax(below, axis=0)].astype(float)
    return np.where(below.any(axis=0), first, np.inf)
