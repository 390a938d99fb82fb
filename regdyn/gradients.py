r"""Gradient processes: what a parameter sees of the main objective.

Each process is a NamedTuple whose fields all have defaults. In the formulas z, z', ... are
independent standard normals, one for each lane and step t (from 1), from `regdyn.random`: the same
seed gives every rule, regulariser and strength the same numbers (common random numbers), so that
differences between curves are differences between rules.

`std` (and `mean`) may be a number or an array with one entry per step.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from regdyn import random
from regdyn.checks import choose, finite, integer, numbers, shown


class LowGradient(NamedTuple):
    r"""g_t = std0 z for the first steps0 steps, then std z.

    The paper's Figure 4: "drawn from a mean=0, std=1e-5 normal distribution. The gradients for the
    first 100 iterations are drawn from a mean=0, std=1e-3 normal distribution".
    """

    std0: float = 1e-3
    std: float = 1e-5
    steps0: int = 100


class Gaussian(NamedTuple):
    r"""g_t = mean_t + std_t z: a constant or scheduled signal in noise."""

    mean: Any = 0.0
    std: Any = 1e-5


class Intermittent(NamedTuple):
    r"""A selective feature in a mini-batch::

        g_t = (std_t / batch) z   with probability p = 1 - (1 - f)^batch, else 0

    The feature fires for a share f of the samples; the batch mean divides what a firing sample
    contributes by the batch size. (That several samples may fire at once is left out: at
    f * batch << 1 it is rare.) The paper has no such process: f and std are our choice, batch 40
    is its batch size. Random: p is rounded to a multiple of 2^-32.
    """

    f: float = 1e-3
    batch: int = 40
    std: Any = 1e-3


class AR1(NamedTuple):
    r"""Stationary autoregression::

    g_t = std_t x_t,    x_1 = z,    x_t = phi x_{t-1} + sqrt(1 - phi^2) z
    """

    phi: float = 0.9
    std: Any = 1e-5


class StudentT(NamedTuple):
    r"""Heavy tails, with standard deviation std_t::

        g_t = std_t sqrt((nu - 2) / nu) z / sqrt((z_1^2 + ... + z_nu^2) / nu)

    nu is a whole number, at least 3 (below, there is no standard deviation).
    """

    nu: int = 4
    std: Any = 1e-5


class Well(NamedTuple):
    r"""A quadratic well: g_t = std_t z + curvature (theta - center)."""

    curvature: float = 1e-3
    center: float = 0.0
    std: Any = 1e-5


class Tape(NamedTuple):
    r"""Recorded gradients: values of shape (steps, lanes), or (steps,) for the same in every lane.

    Column n is lane n; with a vector of P parameters column n P + p is parameter p of lane n.
    """

    values: Any = ()


GRADIENTS = {
    "low": LowGradient,
    "gaussian": Gaussian,
    "intermittent": Intermittent,
    "ar1": AR1,
    "studentt": StudentT,
    "well": Well,
    "tape": Tape,
}


def resolve(gradient: Any) -> Any:
    """The process `gradient`: a tuple of this module, or a name for its defaults; checked.

    Raises
    ------
    ValueError
        If it is unknown or one of its parameters is out of range.
    """
    if isinstance(gradient, str):
        gradient = GRADIENTS[choose("gradient process", gradient, GRADIENTS)]()
    if type(gradient) not in GRADIENTS.values():
        types = ", ".join(kind.__name__ for kind in GRADIENTS.values())
        raise ValueError(
            f"not a gradient process: {shown(gradient)}. Give a name ({', '.join(GRADIENTS)}) "
            f"or one of {types}."
        )
    for field, value in gradient._asdict().items():
        what = f"{field} of {type(gradient).__name__}"
        if field == "steps0":
            integer(what, value, 0)
        elif field == "batch":
            if integer(what, value, 1) > 2**53:
                raise ValueError(f"{what} must be at most 2^53, not {shown(value)}.")
        elif field == "nu":
            integer(what, value, 3, 1000)
        elif field == "f":
            finite(what, value, 0.0, 1.0)
        elif field == "phi":
            finite(what, value, -1.0, 1.0, open_below=True, open_above=True)
        elif field in ("curvature", "center"):
            finite(what, value)
        elif field == "std0":
            finite(what, value, 0.0)
        elif field == "values":
            gradient = Tape(_tape(value))
        else:  # std, mean
            _per_step(what, value, None, signed=field == "mean")
    return gradient


def check_fit(gradient: Any, steps: int, slots: int) -> None:
    """Raise ValueError unless arrays in `gradient` fit `steps` steps and `slots` lanes."""
    for field in ("mean", "std"):
        if hasattr(gradient, field):
            what = f"{field} of {type(gradient).__name__}"
            _per_step(what, getattr(gradient, field), steps, signed=field == "mean")
    if isinstance(gradient, Tape):
        shape = gradient.values.shape
        if shape[0] < steps or (len(shape) == 2 and shape[1] < slots):
            raise ValueError(
                f"the tape has shape {shape}, too small for {steps} steps and {slots} lanes."
            )


def sample(gradient: Any, steps: int, lanes: int | range, seed: int = 0) -> np.ndarray:
    """The gradients that `regdyn.simulate` uses.

    Parameters
    ----------
    gradient : str or NamedTuple
        A process of this module.
    steps : int
    lanes : int or range
        So many lanes from 0, or those lanes.
    seed : int

    Returns
    -------
    ndarray, shape (steps, lanes)

    Raises
    ------
    ValueError
        For `Well`, whose gradient depends on theta; for bad input.
    """
    gradient = resolve(gradient)
    if isinstance(gradient, Well):
        raise ValueError("Well cannot be sampled: its gradient depends on theta. Use simulate.")
    steps = integer("steps", steps, 1, random.MAX_STEPS)
    lanes = lane_range(lanes)
    check_fit(gradient, steps, lanes.stop)
    source = Source(gradient, steps, np.arange(lanes.start, lanes.stop), random.check_seed(seed))
    return np.concatenate([block for block in source.blocks(1, steps)])


def lane_range(lanes: int | range) -> range:
    """`lanes` as a range; ValueError unless a count >= 1 or a range of step 1 from 0 or above."""
    if not isinstance(lanes, range):
        lanes = range(integer("lanes", lanes, 1))
    bad = lanes.start < 0 or lanes.stop <= lanes.start or lanes.stop > random.MAX_LANES
    if lanes.step != 1 or bad:
        raise ValueError(f"lanes must be a range of step 1 from 0 or above, not {shown(lanes)}.")
    if len(lanes) > random.MAX_AT_ONCE:
        raise ValueError(
            f"{len(lanes):,} lanes are too many for one call: at most {random.MAX_AT_ONCE:,}; "
            "give ranges in several."
        )
    return lanes


class Source:
    """Draws the gradients of some lanes, block by block; holds what an AR(1) process carries.

    Of a `Well` it draws the noise only; `pull` is the rest.
    """

    def __init__(self, gradient: Any, steps: int, lanes: np.ndarray, seed: int) -> None:
        self.gradient, self.lanes, self.seed = gradient, lanes, seed
        self.std, self.mean = tables(gradient, steps)
        self.carry: np.ndarray | None = None
        # about 64k normals at a time: large enough for NumPy, small enough for the cache
        self.size = max(4, 4 * (2**16 // (4 * len(lanes))))

    def blocks(self, first: int, last: int) -> Iterator[np.ndarray]:
        """Gradients of steps first ... last, as arrays (some steps, lanes), in order."""
        for t in range(first, last + 1, self.size):
            yield self._block(t, min(self.size, last + 1 - t))

    def _block(self, first: int, n: int) -> np.ndarray:
        now = slice(first - 1, first - 1 + n)
        if isinstance(self.gradient, Tape):
            return tape_rows(self.gradient, self.lanes, now)
        x = self._noise(first, n) * self.std[now, None]
        return x if self.mean is None else x + self.mean[now, None]

    def _noise(self, first: int, n: int) -> np.ndarray:
        """Noise of unit standard deviation (of the amplitude, where intermittent)."""
        z = random.normals(self.seed, self.lanes, first, n)
        process = self.gradient
        if isinstance(process, Intermittent):
            coin = random.words(self.seed, self.lanes, first, n, stream=1).astype(np.uint64)
            return np.where(coin < np.uint64(fires_below(process)), z, 0.0)
        elif isinstance(process, StudentT):
            total = np.zeros_like(z)
            for i in range(process.nu):
                total += random.normals(self.seed, self.lanes, first, n, stream=1 + i) ** 2
            z /= np.sqrt(total / process.nu)
        elif isinstance(process, AR1):
            for i in range(n):
                if self.carry is not None:
                    z[i] = process.phi * self.carry + kick(process) * z[i]
                self.carry = z[i]
        return z


def pull(gradient: Any, theta: Any) -> Any:
    """The part of the gradient that depends on theta: curvature (theta - center) of a `Well`."""
    return gradient.curvature * (theta - gradient.center)


def fires_below(process: Intermittent) -> int:
    """A feature fires where a random 32-bit word is below this: p 2^32, rounded."""
    p = 1.0 if process.f == 1 else -math.expm1(process.batch * math.log1p(-process.f))
    return round(p * 2**32)


def kick(process: AR1) -> float:
    """Factor on the fresh normal: the process is stationary with standard deviation 1."""
    return math.sqrt(1 - process.phi * process.phi)


def tape_rows(tape: Tape, lanes: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
    """These rows of a tape for these lanes, shape (rows, lanes)."""
    values = tape.values[rows]
    if values.ndim == 1:
        return np.repeat(values[:, None], len(lanes), axis=1)
    return values[:, lanes]


def tables(gradient: Any, steps: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Per step: the factor on unit noise, and the mean (None where there is none)."""
    if isinstance(gradient, Tape):
        return np.ones(0), None
    std = np.zeros(steps) + np.asarray(gradient.std, dtype=float)
    if isinstance(gradient, LowGradient):
        std[: gradient.steps0] = gradient.std0
    elif isinstance(gradient, Intermittent):
        std = std / gradient.batch
    elif isinstance(gradient, StudentT):
        std = std * math.sqrt((gradient.nu - 2) / gradient.nu)
    mean = np.zeros(steps) + np.asarray(getattr(gradient, "mean", 0.0), dtype=float)
    return std, mean if mean.any() else None


def _tape(values: Any) -> np.ndarray:
    """`values` as a float64 array (steps, lanes) or (steps,); ValueError if empty or not finite."""
    try:
        tape = np.array(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"a tape must be an array of numbers, not {shown(values)}.") from None
    if tape.ndim not in (1, 2) or tape.size == 0:
        raise ValueError(f"a tape needs shape (steps, lanes) or (steps,), not {tape.shape}.")
    bad = np.argwhere(~np.isfinite(tape))
    if len(bad):
        at = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), bad[0], strict=False))
        raise ValueError(f"the tape holds {len(bad)} entries that are not finite, first at {at}.")
    return tape


def _per_step(what: str, value: Any, steps: int | None, *, signed: bool) -> None:
    """ValueError unless `value` is a number or has one entry per step, >= 0 if not signed."""
    if isinstance(value, str | bool | float | int):
        finite(what, value, -math.inf if signed else 0.0)
        return
    given = numbers(what, value)
    if given.ndim > 1 or (given.ndim == 1 and steps is not None and len(given) != steps):
        raise ValueError(
            f"{what} must be a number or have one entry per step, not shape {given.shape}."
        )
    if not signed and np.any(given < 0):
        raise ValueError(f"{what} must be >= 0, not {shown(value)}.")
