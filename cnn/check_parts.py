"""Parts of `cnn.check`: the collapse of the default run, float64 losses, the paper's length.

A part takes a Setting and returns a finding: "ok", a sentence "says", and numbers.
"""

import os
import signal
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnn import child
from cnn.config import Config, ModelConfig, OptimConfig

SEEDS = (0, 1, 2)
SHARE = (40, 48)  # percent of filters that the default run loses
ERROR = 2.0  # percent, at most, of test images
LOSS_STEPS, LOSS_TOLERANCE = 20, 1e-9

Finding = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """How a check is done."""

    device: str
    out: Path
    quick: bool = False
    """Tiny networks and a few steps: shows that the check itself works, nothing else."""
    minutes: float = 20.0
    """Of training for each of the two long runs, in one go."""
    root: Path | None = None
    """Where Fashion-MNIST lies."""

    @property
    def runs(self) -> Path:
        """Where the runs lie: those of another device, or of a quick check, are others."""
        return self.out / (self.device.replace(":", "-") + ("-quick" if self.quick else ""))

    @property
    def config(self) -> Config:
        """The default run; a tiny one if it is to be quick."""
        config = Config(device=self.device)
        if self.quick:
            config = replace(config, model=ModelConfig(width=0.0625), steps=40, threads=1)
        return config

    def wanted(self, what: str) -> str:
        """The end of a finding's sentence."""
        return "too quick to judge" if self.quick else f"wanted: {what}"


# (a) The default run, and the same losses as on a CPU ---------------------------------------------


def default_run(setting: Setting) -> Finding:
    """The default run with three seeds: percent of filters, test error."""
    found = ended(setting, "default", setting.config)
    mean, worst = statistics.mean(found["sparsity_gamma"]), max(found["test_error"])
    return {
        "ok": setting.quick or (SHARE[0] <= mean <= SHARE[1] and worst <= ERROR),
        "says": f"{mean:.1f} % of filters inactive, test error at most {worst:.1f} %; "
        + setting.wanted(f"{SHARE[0]} to {SHARE[1]}, and {ERROR:g} or less"),
        **found,
    }


def ended(setting: Setting, name: str, config: Config) -> dict[str, list[float]]:
    """How runs with three seeds end; those that are finished are not done again."""
    from cnn.train import train

    folders = [setting.runs / name / f"seed-{seed}" for seed in SEEDS]
    runs = [
        train(replace(config, seed=seed), folder, resume=True, plot=False)
        for seed, folder in zip(SEEDS, folders, strict=True)
    ]
    keys = ("sparsity_gamma", "sparsity_act", "test_error", "ms_per_step")
    return {key: [run[key] for run in runs] for key in keys}


def same_losses(setting: Setting) -> Finding:
    """float64 losses of 20 steps of training: this device against the CPU, relative."""
    import torch

    there = losses(setting.device, torch.float64)
    here = losses("cpu", torch.float64)
    single = losses("cpu", torch.float32)
    worst, control = (max(map(_relative, here, other)) for other in (there, single))
    return {
        "ok": worst <= LOSS_TOLERANCE < control,
        "says": f"losses of {LOSS_STEPS} steps in float64 differ from the CPU's by {worst:.1e} at "
        f"most, wanted {LOSS_TOLERANCE:g}; in float32 they would differ by {control:.1e}",
        "worst": worst, "float32": control, "losses": there,
    }  # fmt: skip


def losses(device: str, dtype: Any) -> list[float]:
    """Losses of the first steps of the default run, in `dtype` on `device`."""
    import torch
    from torch.nn.functional import cross_entropy

    from cnn import data, models, optim, place

    config = Config(device=device, threads=1)
    with place.place(config) as here:
        images = data.load(config.data)
        batches = data.Batches(images.train, batch=config.batch, seed=0, device=here.device)
        torch.manual_seed(config.seed)
        model = models.build(
            config.model, channels=images.channels, classes=images.classes, size=images.size
        ).to(here.device, dtype)
        update = optim.Update(model, config.optim)
        found = []
        for _, (x, y) in zip(range(LOSS_STEPS), batches.start(0), strict=False):
            update.optimizer.zero_grad()
            loss = cross_entropy(model(x.to(dtype)), y)
            loss.backward()
            update.step()
            found.append(loss.item())
    return found


def _relative(a: float, b: float) -> float:
    return abs(a - b) / abs(a)


# (b) The paper's length ---------------------------------------------------------------------------


def long_run(setting: Setting, rule: str) -> Finding:
    """BasicNet 64-1x on Fashion-MNIST: as many of the paper's steps as the time allows."""
    from cnn.recipes import get

    name = f"fashion/64-1x/{rule}"
    config = replace(get(name).config, device=setting.device)
    config = replace(config, data=replace(config.data, root=setting.root))
    if setting.quick:
        optim = OptimConfig(opt=config.optim.opt, lam=config.optim.lam)
        config = replace(setting.config, optim=optim, drop=config.drop)
    folder = setting.runs / name
    finished = _train_for(config, folder, 60 * setting.minutes)
    found = child.summary(folder) if finished else _so_far(config, folder)
    keys = ("sparsity_gamma", "sparsity_act", "test_error", "train_loss", "ms_per_step", "layers")
    return {
        "ok": True, "finished": finished,
        "says": f"{found['steps']:,} of {config.steps:,} steps: {found['sparsity_gamma']:.1f} % of "
        f"filters inactive, test error {found['test_error']:.2f} %"
        + ("" if finished else "; the same command goes on"),
        "steps": found["steps"], **{key: found[key] for key in keys if key in found},
    }  # fmt: skip


def _train_for(config: Config, folder: Path, seconds: float) -> bool:
    """Train until it is finished (True), or a checkpoint after about so many seconds (False)."""
    from cnn.stopping import Interrupted
    from cnn.train import train

    try:
        with _alarm(seconds):
            train(config, folder, resume=True)
    except Interrupted:
        return False
    return True


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """SIGTERM once so many seconds have passed and training listens: it ends with a checkpoint."""
    over = threading.Event()

    def deaf(*_: Any) -> None:
        """The handler while nothing trains."""

    def ring() -> None:
        wait = seconds
        while not over.wait(wait):
            if signal.getsignal(signal.SIGTERM) is not deaf:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            wait = 0.05

    before = signal.signal(signal.SIGTERM, deaf)
    bell = threading.Thread(target=ring, daemon=True)
    bell.start()
    try:
        yield
    finally:
        over.set()
        bell.join()
        signal.signal(signal.SIGTERM, before)


def _so_far(config: Config, folder: Path) -> dict[str, Any]:
    """Measures of the last checkpoint."""
    from cnn import checkpoint, data, measure, models

    entry = checkpoint.last(folder)
    if entry is None:
        raise ValueError("not one step of training fits into the time: give more --minutes.")
    images = data.load(config.data)
    model = models.trained(config.model, images, entry["model"]).to(config.device)
    share = measure.sparsity(measure.by_gamma(model, 1e-3))
    return {
        "steps": entry["step"], "ms_per_step": 1000 * entry["seconds"] / entry["step"],
        "sparsity_gamma": share.total, "test_error": measure.evaluate(model, images.test).error,
        "train_loss": measure.evaluate(model, images.train).loss,
        "layers": [{"layer": k, "sparsity_gamma": v} for k, v in share.layers.items()],
    }  # fmt: skip
