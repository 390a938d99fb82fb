r"""What pruning took, and what it changed: measured, as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Certificate", "Difference", "Inactive", "Size"]


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
        Which: "given" or "random" (normal, as many of the same shape); of an export, "given",
        "first" (the first of them alone) and "larger" (random ones with more pixels).
    count : int
        How many.
    largest : float
        Largest absolute difference of an output.
    scale : float
        Largest absolute output before.
    flipped : int
        Inputs whose largest output along dimension 1 is another one, of a map at any position.
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
class Inactive:
    """What was taken away since a ReLU held it at 0 on given images, not since gamma is small.

    Attributes
    ----------
    images : int
        How many.
    channels : int
        Channels of ReLUs that were 0 at every position of all of them.
    margin : float or None
        How far below 0 the largest input was, in standard deviations of that channel's inputs: the
        smallest of all channels.
    """

    images: int
    channels: int
    margin: float | None


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
    inactive : Inactive or None
        If filters that are inactive on given images were asked for.
    exports : dict
        What `cnn.prune.export` wrote -> its differences from the pruned network.
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
    inactive: Inactive | None = None
    exports: dict[str, list[Difference]] = field(default_factory=dict)

    def json(self) -> str:
        """As JSON, with `relative` beside each difference."""
        entry: dict[str, Any] = dataclasses.asdict(self)
        for rows, found in [
            (entry["differences"], self.differences),
            *((entry["exports"][name], found) for name, found in self.exports.items()),
        ]:
            for row, difference in zip(rows, found, strict=True):
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
        lines += [] if self.inactive is None else [_inactive(self.inactive)]
        lines += map(_difference, self.differences)
        lines.append(f"first operation that differs by more than 1e-5: {self.first or 'none'}")
        for batch, (old, new) in self.latency.items():
            lines.append(
                f"batch {batch}: {old:.2f} -> {new:.2f} ms ({old / new:.2f} times as fast)"
            )
        for name, count in self.kept.items():
            lines.append(f"{name} reads all channels, {count} constant ones among them")
        for name, found in self.exports.items():
            lines += [f"{name}, against the pruned network: {_difference(d)}" for d in found]
        return "\n".join([*lines, *self.notes])


def _difference(d: Difference) -> str:
    inputs = f"{d.inputs} input" if d.count == 1 else f"{d.inputs} inputs"
    return (
        f"{d.count} {inputs}: outputs differ by at most {d.largest:.2e}, "
        f"{d.relative:.1e} of their scale {d.scale:.3g}; {d.flipped} predictions flipped"
    )


def _inactive(found: Inactive) -> str:
    text = f"{found.channels} more channels are 0 after their ReLU on {found.images:,} images"
    if found.margin is None:
        return text
    return (
        f"{text}; their largest inputs are {found.margin:.2g} standard deviations below 0 or more. "
        "For other images that is no proof"
    )
