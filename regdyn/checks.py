"""Bad input gets one clear sentence, before any work starts."""

import difflib
import math
import operator
from collections.abc import Iterable

import numpy as np

__all__ = ["choose", "finite", "integer", "numbers", "shown"]


def shown(value: object) -> str:
    """`value` as a message quotes it: on one line, not longer than 80 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def numbers(what: str, given: object) -> np.ndarray:
    """`given` as an array of floats, all finite, else raise ValueError."""
    try:
        values = np.array(given, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what} must be numbers, not {shown(given)}.") from None
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError(f"{what} must be finite and not empty, not {shown(given)}.")
    return values


def choose(what: str, given: object, allowed: Iterable[str]) -> str:
    """Return `given` if it is allowed, else raise ValueError naming the nearest allowed word."""
    allowed = list(allowed)
    if isinstance(given, str) and given in allowed:
        return given
    near = difflib.get_close_matches(str(given).lower(), allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown {what} {shown(given)}: {hint}Allowed: {', '.join(allowed)}.")


def integer(what: str, given: object, low: int, high: int | None = None) -> int:
    """Return `given` as an int in [low, high], else raise ValueError."""
    span = f">= {low}" if high is None else f"from {low} to {high}"
    message = f"{what} must be a whole number {span}, not {shown(given)}."
    if isinstance(given, bool):
        raise ValueError(message)
    try:
        value = operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(message) from None
    if value < low or (high is not None and value > high):
        raise ValueError(message)
    return value


def finite(
    what: str,
    given: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_below: bool = False,
    open_above: bool = False,
) -> float:
    """Return `given` as a finite float in the interval, else raise ValueError."""
    try:
        value = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    above = value > low if open_below else value >= low
    below = value < high if open_above else value <= high
    if math.isfinite(value) and above and below and not isinstance(given, bool | str):
        return value
    bounds = []
    if low > -math.inf:
        bounds.append(f"{'>' if open_below else '>='} {low:g}")
    if high < math.inf:
        bounds.append(f"{'<' if open_above else '<='} {high:g}")
    span = "a finite number" + (" " + " and ".join(bounds) if bounds else "")
    raise ValueError(f"{what} must be {span}, not {shown(given)}.")
