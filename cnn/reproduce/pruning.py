"""What explicit pruning is asked to do: which filters go, and how what is left is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnn.config import Config, OptimConfig
from regdyn.checks import choose, finite, integer

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from cnn.inactive import PerFilter

METHODS = ("implicit", "slimming", "l1-norm")
FINE_TUNING = 0.2
"""Steps of fine-tuning, as a share of the run's."""


@dataclass(frozen=True)
class Pruning:
    """What is pruned, and what is trained afterwards."""

    method: Literal["implicit", "slimming", "l1-norm", "scratch"] = "implicit"
    """implicit: |gamma| < 1e-3; slimming: the smallest |gamma| of all layers together (Liu et al.
    2017); l1-norm: the filters of smallest L1 norm in each layer (Li et al. 2017); scratch: no
    pruning, but a network of as few filters, trained from new weights."""
    like: Literal["implicit", "slimming", "l1-norm"] = "implicit"
    """scratch: the method that says how many filters each layer has."""
    share: float | None = None
    """slimming, l1-norm: percent of the filters that go, of all together or of each layer."""
    per_layer_of: Path | None = None
    """l1-norm: of each layer the share that has |gamma| < 1e-3 in this finished run."""
    steps: int | None = None
    """Steps of training afterwards [default: 20 % of the run's; scratch: as many as the run's]."""
    lr: float | None = None
    """Learning rate [default: the run's last; scratch: the run's first, with its drop]."""
    seed: int | None = None
    """Order of the images, and scratch's weights [default: the run's]."""

    @property
    def chooser(self) -> str:
        """The method that chooses filters."""
        return self.like if self.method == "scratch" else self.method


def check(asked: Pruning) -> None:
    """Raise ValueError for a field out of range, or fields that do not go together."""
    choose("method", asked.method, (*METHODS, "scratch"))
    choose("like", asked.like, METHODS)
    if asked.method != "scratch" and asked.like != "implicit":
        raise ValueError(f"like is for scratch, not for {asked.method}.")
    given = asked.share is not None, asked.per_layer_of is not None
    if asked.chooser == "implicit" and any(given):
        raise ValueError("implicit takes neither share nor per_layer_of: |gamma| < 1e-3 decides.")
    if asked.chooser == "slimming" and given != (True, False):
        raise ValueError("slimming takes a share, in percent of all filters, and no per_layer_of.")
    if asked.chooser == "l1-norm" and sum(given) != 1:
        raise ValueError("l1-norm takes either a share, in percent, or per_layer_of.")
    if asked.share is not None:
        finite("share", asked.share, 0.0, 100.0, open_above=True)
    if asked.steps is not None:
        integer("steps", asked.steps, 1)
    if asked.lr is not None:
        finite("lr", asked.lr, 0.0)
    if asked.seed is not None:
        integer("seed", asked.seed, 0, 2**64 - 1)


def chosen(model: nn.Module, asked: Pruning) -> dict[str, np.ndarray]:
    """Masks of the filters that go.

    Raises
    ------
    ValueError
        If they cannot be chosen so, or the run of `per_layer_of` is of another network.
    FileNotFoundError
        If there is no such run.
    """
    from cnn import child
    from cnn.reproduce import masks

    if asked.chooser == "implicit":
        return masks.implicit(model)
    if asked.per_layer_of is not None:
        rows = child.summary(asked.per_layer_of)["layers"]
        return masks.l1_norm(model, {row["layer"]: row["sparsity_gamma"] for row in rows})
    assert asked.share is not None  # see check
    by = masks.slimming if asked.chooser == "slimming" else masks.l1_norm
    return by(model, asked.share)


def fine_tuning(config: Config, asked: Pruning) -> Config:
    """The run's rule at its last learning rate, without regulariser, in full precision."""
    from cnn.optim import hyperparameters
    from regdyn.regularizers import StepDecay, schedule_factors

    drops = () if config.drop is None else (config.drop,)
    last = float(schedule_factors(StepDecay(drops), config.steps)[-1])
    lr = hyperparameters(config.optim).lr * last if asked.lr is None else asked.lr
    return replace(
        config, optim=_unregularised(config.optim, lr), drop=None,
        steps=asked.steps or max(1, round(FINE_TUNING * config.steps)),
        data_seed=config.data_seed if asked.seed is None else asked.seed,
        amp=False, compile=False, cuda_graphs=False,
    )  # fmt: skip


def from_scratch(config: Config, masks: PerFilter, asked: Pruning) -> Config:
    """The run's settings without regulariser, for a network of the filters that stay."""
    widths = tuple(int((~mask).sum()) for mask in masks.values())
    lr = config.optim.lr if asked.lr is None else asked.lr
    seeds = {} if asked.seed is None else {"seed": asked.seed, "data_seed": None}
    return replace(
        config, model=replace(config.model, widths=widths), optim=_unregularised(config.optim, lr),
        steps=asked.steps or config.steps, **seeds,
    )  # fmt: skip


def _unregularised(optim: OptimConfig, lr: float | None) -> OptimConfig:
    return replace(optim, reg="none", lam=0.0, gamma_l1=0.0, lr=lr)
