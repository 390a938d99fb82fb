r"""What pruning took, and what it changed: measured, as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Certificate", "Difference", "Size"]


@dataclass(frozen=True)
class Size:
    """Of a network.

    Attributes
    ----------
    filters : int
        Outputs of all convolutions.
    parameters : int
        Without buffers.
    macs : int
        Multiplications of convolutions and linear layers for one input of the example's size,
        those of `cnn.prune.modules.Border` included.
    """

    filters: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Difference:
    """Between the outputs before and after, in evaluation mode.

    Attributes
    ----------
    inputs : str
        Which: "given" or "random" (normal, as many of the same shape).
    count : int
        How many.
    largest : float
        Largest absolute difference of an output.
    scale : float
        Largest absolute output before.
    flipped : int
        Inputs whose largest output is another one.
    """

    inputs: str
    count: int
    largest: float
    scale: float
    flipped: int

    @property
    def relative(self) -> float:
        """`largest` over `scale`."""
        return self.largest / self.scale if self.scale else self.largest


@dataclass(frozen=True)
class Certificate:
    r"""What pruning took, and what it changed.

    Attributes
    ----------
    threshold : float
        A filter is dead where :math:`|\gamma|` is below.
    before, after : Size
    layers : list of (path, filters before, filters after)
        Of the convolutions that can be made narrower.
    differences : list of Difference
    first : str or None
        The first operation whose kept channels differ by more than 1e-5 of their scale.
    kept : dict
        Operations that keep constant channels, since they read every channel, and how many.
    latency : dict
        Batch -> median milliseconds before and after; empty where it was not measured.
    notes : list of str
        What else there is to know.
    """

    threshold: float
    before: Size
    after: Size
    layers: list[tuple[str, int, int]]
    differences: list[Difference]
    first: str | None
    kept: dict[str, int]
    latency: dict[int, tuple[float, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def json(self) -> str:
        """As JSON, with `relative` beside each difference."""
        entry: dict[str, Any] = dataclasses.asdict(self)
        for row, difference in zip(entry["differences"], self.differences, strict=True):
            row["relative"] = difference.relative
        return json.dumps(entry, indent=1, allow_nan=False)

    def __str__(self) -> str:
        """As text."""
        lines = [f"filters with |gamma| < {self.threshold:g} removed"]
        for name in ("filters", "parameters", "macs"):
            old, new = getattr(self.before, name), getattr(self.after, name)
            share = 100 * (1 - new / old) if old else 0.0
            title = "MACs" if name == "macs" else name
            lines.append(f"{title:>12}: {old:,} -> {new:,} (-{share:.1f} %)")
        for d in self.differences:
            lines.append(
                f"{d.count} {d.inputs} inputs: outputs differ by at most {d.largest:.2e}, "
                f"{d.relative:.1e} of their scale {d.scale:.3g}; {d.flipped} predictions flipped"
            )
        lines.append(f"first operation that differs by more than 1e-5: {self.first or 'none'}")
        for batch, (old, new) in self.latency.items():
            lines.append(
                f"batch {batch}: {old:.2f} -> {new:.2f} ms ({old / new:.2f} times as fast)"
            )
        for name, count in self.kept.items():
            lines.append(f"{name} reads all channels, {count} constant ones among them")
        return "\n".join([*lines, *self.notes])
