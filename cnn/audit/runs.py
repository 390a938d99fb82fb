"""Audit a run of `cnn.train`: from its checkpoint, its folder, or its settings alone."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from cnn import checkpoint, datasets, dials, models
from cnn.audit.audit import audited
from cnn.audit.decays import Coupled, Decoupled
from cnn.audit.result import Audit
from cnn.config import Config, check, from_dict
from cnn.optim import Update
from regdyn.regularizers import StepDecay, schedule_factors

SIZES = (8, 28, 32, 56, 64, 224)
"""Resolutions that are tried where only the weights of a network are at hand."""


def audit_run(path: Path, *, sigma: float = 0.0, threshold: float = 1e-3) -> Audit:
    """The audit of a run, under the schedule of what is left of it.

    Parameters
    ----------
    path : Path
        A checkpoint, a config.json, or the folder of a run (its last checkpoint, else its
        settings). Settings alone are audited with the initial weights of their seed.
    sigma, threshold
        As in `audit_decay`.

    Raises
    ------
    ValueError
        If it is none of these, or damaged.
    FileNotFoundError
        If it is not there, or its data are needed and are not there.
    """
    config, entry = _read(path)
    check(config)
    shape, per_epoch = _images(config, entry)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = models.build(config.model, **shape)
    update = Update(model, config.optim)
    done = 0
    if entry is not None:
        model.load_state_dict(entry["model"])
        update.load_state_dict(entry["update"])
        done = entry["step"]
    drops = () if config.drop is None else (config.drop,)
    left = schedule_factors(StepDecay(drops), config.steps)[done:] / update.scale
    audit = audited(
        update.optimizer, model, left, steps=len(left) or None, per_epoch=per_epoch, sigma=sigma,
        threshold=threshold, by_hand=_by_hand(update),
    )  # fmt: skip
    said = [f"The run has done {done:,} of {config.steps:,} steps."] if done else []
    if done and not len(left):
        said[0] += " The numbers are those of going on at its last learning rate."
    if config.optim.gamma_l1:
        said.append("--gamma-l1 acts on gamma besides: it is not in these numbers.")
    return dataclasses.replace(audit, notes=(*said, *audit.notes))


def _read(path: Path) -> tuple[Config, dict[str, Any] | None]:
    """Settings, and the content of the checkpoint if there is one."""
    if path.is_dir():
        entry = checkpoint.last(path)
        if entry is not None:
            return checkpoint.config_of(entry), entry
        path = path / "config.json"
        if not path.exists():
            raise FileNotFoundError(f"{str(path.parent)!r} holds no checkpoint and no config.json.")
    if not path.exists():
        raise FileNotFoundError(f"there is no {str(path)!r}.")
    if path.suffix != ".json":
        entry = checkpoint.read(path)
        return checkpoint.config_of(entry), entry
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8"))), None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} is not the settings of a run: {error}") from None


def _images(config: Config, entry: Any) -> tuple[dict[str, int], int | None]:
    """Channels, classes and size of the images, and the steps of an epoch if that is known."""
    try:
        source = datasets.find(config.data.name, config.data.root)
    except FileNotFoundError:
        if entry is None:
            raise
        return _shape(config, entry["model"]), None
    kept = dials.kept_classes(config.data.classes, source.classes)
    index, _ = dials.of_classes(source.train.y, kept)
    images = min(len(index), config.data.images or len(index))
    size = config.data.size or source.size
    shape = {"channels": source.channels, "classes": len(kept), "size": size}
    return shape, max(1, images // config.batch)


def _shape(config: Config, weights: dict[str, torch.Tensor]) -> dict[str, int]:
    """Channels, classes and a size of images from which the network has these weights."""
    matrices = [tensor for name, tensor in weights.items() if name.endswith("weight")]
    channels, classes = matrices[0].shape[1], matrices[-1].shape[0]
    for size in (config.data.size, *SIZES):
        try:
            with torch.device("meta"):
                made = models.build(
                    config.model, channels=channels, classes=classes, size=size or 0
                )
        except ValueError:
            continue
        if all(weights[name].shape == p.shape for name, p in made.state_dict().items()):
            return {"channels": channels, "classes": classes, "size": size or 0}
    raise ValueError("the checkpoint's network cannot be built without its images.")


def _by_hand(update: Update) -> dict[int, Any]:
    """The decay that `Update` does around the optimizer's step, by group."""
    found: dict[int, Any] = {}
    for i, group in enumerate(update.groups):
        if group.by_hand.wd:
            found[i] = Decoupled(group.by_hand.wd, group.lr, update.hp)
        elif group.by_hand.adamw:
            found[i] = Coupled(group.by_hand.adamw, update.hp)
    return found
