"""What the audit says in words: warnings of a tensor, notes on the optimizer, the advice."""

import math
from typing import Any

import numpy as np

from cnn.audit import decays
from cnn.audit.decays import Adaptive, Coupled, Momentum, Unknown, strength
from cnn.audit.roles import Held

LONG = 1_000_000
"""Steps that count as a long run where the length of the run is not given."""
NEVER = 5
"""A half-life of so many runs counts as never: theta loses less than 13 %."""
AT_ONCE = 100
"""A half-life of fewer steps counts as at once."""


def count(steps: float) -> str:
    """6931471.8 as "6,931,472 steps"; "never" and "unknown" where it is no number."""
    if math.isnan(steps):
        return "unknown"
    return f"{steps:,.0f} steps" if steps < 1e15 else "never"


def of_speed(decay: Any, lr: float, half: float, steps: int | None) -> list[str]:
    """Warnings of a strength that never acts, acts at once, swings or grows."""
    found = []
    if isinstance(decay, Unknown):
        return [f"How this tensor decays is unknown: {decay.reason}"]
    if isinstance(decay, Momentum) and decay.swings(lr):
        found.append(
            f"lr * weight_decay = {lr * decay.weight_decay:.3g} is large for momentum "
            f"{decay.momentum:g}: theta swings through 0; the half-life is that of its envelope."
        )
    if not strength(decay):
        return found
    if not isinstance(decay, Adaptive) and _share(decay, lr) < 0:
        return [*found, "A step overshoots by more than it corrects: theta grows without gradient."]
    if half > (steps or LONG):
        found.append(_never(decay, lr, half, steps))
    elif half < AT_ONCE:
        how = (
            "L2 inside an adaptive rule moves a parameter without gradient by about lr per step, "
            "whatever the strength (until eps is the larger): it acts at once"
            if isinstance(decay, Adaptive)
            else "The strength acts at once"
        )
        found.append(f"{how} (half-life below {AT_ONCE} steps).")
    return found


def _share(decay: Any, lr: float) -> float:
    return float(decay.share(np.array([lr]), np.array([1]))[0])


def _never(decay: Any, lr: float, half: float, steps: int | None) -> str:
    run = steps or LONG
    length = f"the run of {run:,} steps" if steps else f"{run:,} steps"
    if half <= NEVER * run:
        return f"The strength {strength(decay):g} acts slowly: the half-life is beyond {length}."
    text = f"The strength {strength(decay):g} never acts: the half-life is far beyond {length}."
    if not isinstance(decay, Coupled) or lr == 0:
        return text
    if steps:
        wanted = math.log(2) / (steps / 10 * lr)
        return (
            f"{text} It is multiplied by lr: a half-life of a tenth of the run takes "
            f"weight_decay={wanted:.2g}."
        )
    part = min(decay.weight_decay, 0.999)
    return (
        f"{text} It is multiplied by lr: for {part:g} of theta per step (half-life "
        f"{count(math.log(2) / -math.log1p(-part))}) give weight_decay={part / lr:g}."
    )


def of_place(one: Held, optimizer: Any, groups: list[int]) -> list[str]:
    """Warnings of a tensor in no group, in two, or in several modules."""
    found = []
    if len(one.names) > 1:
        found.append(f"Shared: {', '.join(one.names)} are one tensor, which a step treats once.")
    if not groups and one.tensor.requires_grad:
        found.append(f"In no group of {type(optimizer).__name__}: it is not trained, nor decayed.")
    if len(groups) > 1:
        found.append(f"In the optimizer {len(groups)} times, in groups {groups}: one is enough.")
    return found


def of_state(tensor: Any, wanted: Any) -> list[str]:
    """Warnings of decay on a frozen tensor, and of AMSGrad's flavour."""
    found = []
    if not tensor.requires_grad and strength(wanted):
        found.append(
            "Frozen (requires_grad is False), and the optimizer skips it, with its decay; but a "
            "gradient of zeros in .grad would let the decay act."
            if tensor.grad is None
            else "Frozen (requires_grad is False), but there is a .grad: the decay acts on it."
        )
    if isinstance(wanted, Adaptive) and wanted.kind == "amsgrad":
        found.append(
            "AMSGrad in torch's flavour: it keeps the largest v before the bias is corrected "
            "(optax: after). After a burst of gradients v does not come down, and L2 stays slow."
        )
    return found


def of_values(one: Held, decay: Any, half: float, doubt: str) -> list[str]:
    """Warnings of values that are not finite or all 0, and of a law outside its range."""
    found = []
    if math.isnan(one.rms) and not one.tensor.is_meta:
        found.append("Its values are not finite numbers: training has diverged.")
    if not strength(decay):
        return found
    if doubt and one.rms > 0:
        how = "unknown" if math.isnan(half) else "a rough one"
        found.append(f"The half-life is {how}: {doubt[0].lower()}{doubt[1:]}")
    if one.rms == 0 and isinstance(decay, Adaptive):
        found.append("All its values are 0: there is nothing to decay yet.")
    return found


def of_scale(role: str, rule: str) -> list[str]:
    """What it means that gamma is decayed, or is not."""
    if role != "BN gamma" or rule == decays.UNKNOWN:
        return []
    if rule == decays.NONE:
        return ["gamma is not decayed: no filter is lost to decay of its scale."]
    return ["gamma is decayed: a filter whose gamma sees little gradient loses its scale."]


def advice(
    on: tuple[float, float] | None, off: float | None, steps: int | None, per_epoch: int | None
) -> str:
    """Decay on or off for the normalisations.

    Parameters
    ----------
    on : (float, float) or None
        Shortest and longest half-life of the scales that are decayed; None if none is.
    off : float or None
        The half-life that those that are not would have with the decay of the other weights.
    steps, per_epoch : int or None
        Length of the run, and of an epoch.
    """

    def time(half: float) -> str:
        epochs = f" ({half / per_epoch:,.1f} epochs)" if per_epoch and math.isfinite(half) else ""
        return f"{count(half)}{epochs}"

    if on is None and off is None:
        return ""
    if on is None and off is not None:
        return (
            "Decay is off for your norms: none of their scales is lost to it. Switched on as for "
            f"the other weights, their half-life without gradient would be {time(off)}."
        )
    assert on is not None
    short, long = on
    head = f"Decay is on for your norms, with a half-life without gradient of {time(short)}"
    if long > 1.01 * short:
        head += f" to {time(long)}, tensor by tensor"
    if math.isnan(short):
        return f"{head}: measure before you rely on it."
    if short > (steps or LONG):
        return f"{head}: beyond the run, so that on or off makes little difference here."
    run = f", and the run has {steps:,} steps" if steps else ""
    return (
        f"{head}{run}. Leave it on if filters that see little gradient may go (they can be pruned "
        "then); switch it off (a group with weight_decay=0) if they must stay."
    )


def notes(optimizer: Any, strangers: int) -> list[str]:
    """Of the optimizer as a whole: tensors of others, hooks."""
    found = []
    if strangers:
        found.append(f"{strangers} tensors of the optimizer are not parameters of this model.")
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    if any(getattr(optimizer, name, None) for name in hooks):
        found.append("The optimizer has hooks on its step: what they do is not in these numbers.")
    return found
