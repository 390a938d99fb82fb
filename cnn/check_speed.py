"""How fast training is, and what recording costs: for `cnn.check`.

What is compared takes turns, block by block, so that a machine that gets slower slows both.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, cast

import torch
from torch.nn import functional as F

from cnn import checkpoint, data, models, optim, place, record
from cnn.check_parts import Finding, Setting, ended
from cnn.config import Config, DataConfig, ModelConfig
from cnn.step import Step
from cnn.train import _step

MODES: dict[str, dict[str, Any]] = {
    "eager": {},
    "channels-last": {"channels_last": True},
    "amp": {"amp": True},
    "compile": {"compile": True},
    "cuda-graphs": {"cuda_graphs": True},
}
LIMIT = 1.10  # the loop against the bare step, at most
COST = 0.03  # of recording, at most
ROUNDS, BLOCK = 15, 0.25  # turns, and seconds of each
BATCHES = (40, 160)
Train = Callable[[int], None]  # does so many steps of training


def speed(setting: Setting, mode: str) -> Finding:
    """Milliseconds per step of a mode against the bare step, and whether it ends as eager does."""
    timings = [_timed(config, MODES[mode], setting) for config in _networks(setting)]
    here, plain = _ends(setting, mode)
    distance, spread = abs(statistics.mean(here) - statistics.mean(plain)), _spread(here, plain)
    slow = mode == "eager" and any(timing["ratio"] > LIMIT for timing in timings)
    wanted = f"within 3 sd = {3 * spread:.1f} points" + (
        f"; {LIMIT:g} or less of the bare step" if mode == "eager" else ""
    )
    return {
        "ok": setting.quick or (distance <= 3 * spread and not slow),
        "says": f"{_listed(timings)}; {statistics.mean(here):.1f} % of filters inactive, eager "
        f"{statistics.mean(plain):.1f} %; {setting.wanted(wanted)}",
        "timings": timings, "sparsity_gamma": here, "eager": plain,
    }  # fmt: skip


def recording(setting: Setting) -> Finding:
    """What recording adds to a step: with and without it, in turns."""
    found = []
    for config in _networks(setting):
        with _built(config) as (recorded, _), _built(config, record=False) as (silent, _):
            rounds = _turns(recorded, silent, setting)
        cost = statistics.median(a / b for a, b in rounds) - 1
        found.append({"network": _name(config), "cost": cost, "rounds": rounds})
    costs = [f"{100 * entry['cost']:.1f} % ({entry['network']})" for entry in found]
    return {
        "ok": setting.quick or max(entry["cost"] for entry in found) < COST,
        "says": f"recording adds {', '.join(costs)}; "
        + setting.wanted(f"less than {100 * COST:g} %"),
        "costs": found,
    }  # fmt: skip


def _networks(setting: Setting) -> list[Config]:
    """The default run's, and the paper's on 28x28 images, at two batch sizes."""
    if setting.quick:
        return [replace(setting.config, steps=1_000_000)]
    small = replace(setting.config, steps=1_000_000)
    large = replace(small, model=ModelConfig(width="64-1x"), data=DataConfig(size=28))
    return [replace(config, batch=batch) for config in (small, large) for batch in BATCHES]


def _name(config: Config) -> str:
    return f"{config.model.width}, {config.data.size or 8}x{config.data.size or 8}, {config.batch}"


def _timed(config: Config, mode: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """The training loop in this mode, in turns with the bare eager step of the same network."""
    cuda = setting.device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats(setting.device)
    with _built(replace(config, **mode)) as (train, _):
        train(10)  # compiles, captures, chooses algorithms
        peak = torch.cuda.max_memory_allocated(setting.device) / 2**20 if cuda else None
        with _built(config) as (_, bare):
            rounds = _turns(train, bare, setting)
    loop, step = (statistics.median(times) for times in zip(*rounds, strict=True))
    return {
        "network": _name(config), "ms_per_step": loop, "bare_ms": step,
        "ratio": statistics.median(a / b for a, b in rounds),
        "images_per_second": 1000 * config.batch / loop, "peak_mib": peak, "rounds": len(rounds),
    }  # fmt: skip


@contextmanager
def _built(config: Config, *, record: bool = True) -> Iterator[tuple[Train, Train]]:
    """Training as `cnn.train` does it, and its bare step: the same images again and again."""
    with place.place(config) as here:
        images = data.load(config.data)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        batches = data.Batches(
            images.train, batch=config.batch, seed=0, device=here.device, flip=images.flip,
            memory_format=layout,
        )  # fmt: skip
        run = _run(config, here, images, layout)
        step = (
            _step(run, here) if record else Step(run.model, run.update, cast(Any, Silent()), here)
        )
        numbered = enumerate(batches.start(0), 1)

        def train(steps: int) -> None:
            for _, (number, (x, y)) in zip(range(steps), numbered, strict=False):
                run.update.set_scale(1.0)
                step(number, x, y)

        fixed_x, fixed_y = next(iter(batches.start(0)))

        def bare(steps: int) -> None:
            for _ in range(steps):
                run.update.optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(run.model(fixed_x), fixed_y).backward()
                run.update.step()

        yield train, bare


class Silent:
    """In the place of a recorder."""

    def observe(self, step: int, loss: Any, *, skipped: Any = None) -> None:
        """Do nothing."""

    def after(self, step: int) -> None:
        """Do nothing."""


def _run(config: Config, here: place.Place, images: data.Data, layout: Any) -> checkpoint.Run:
    """Network, optimizer and recorder on the device."""
    torch.manual_seed(config.seed)
    model = models.build(
        config.model, channels=images.channels, classes=images.classes, size=images.size
    ).to(here.device, memory_format=layout)  # type: ignore[call-overload]
    update = optim.Update(model, config.optim, capturable=config.cuda_graphs)
    recorder = record.Recorder(model, steps=config.steps, **asdict(config.record))
    scaler = torch.amp.GradScaler("cuda") if config.amp and here.device.type == "cuda" else None
    return checkpoint.Run(config, model, update, recorder, scaler)


def _turns(first: Train, second: Train, setting: Setting) -> list[tuple[float, float]]:
    """Milliseconds per step of the two, block after block."""
    first(10)
    second(10)
    once = _milliseconds(second, 3, setting.device)
    steps = 2 if setting.quick else max(2, round(1000 * BLOCK / once))
    return [
        (_milliseconds(first, steps, setting.device), _milliseconds(second, steps, setting.device))
        for _ in range(3 if setting.quick else ROUNDS)
    ]


def _milliseconds(train: Train, steps: int, device: str) -> float:
    """Time per step, until the device has done all of them."""
    _wait(device)
    start = time.perf_counter()
    train(steps)
    _wait(device)
    return 1000 * (time.perf_counter() - start) / steps


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _ends(setting: Setting, mode: str) -> tuple[list[float], list[float]]:
    """Percent of filters that the default run loses in this mode, and in the plain one."""
    plain = ended(setting, "default", setting.config)["sparsity_gamma"]
    if not MODES[mode]:
        return plain, plain
    config = replace(setting.config, **MODES[mode])
    return ended(setting, mode, config)["sparsity_gamma"], plain


def _spread(here: list[float], plain: list[float]) -> float:
    """Standard deviation of a single run, from both."""
    return statistics.mean(statistics.variance(runs) for runs in (here, plain)) ** 0.5


def _listed(timings: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{timing['network']}: {timing['ms_per_step']:.2f} ms, {timing['ratio']:.2f} of the bare "
        "eager step" for timing in timings
    )  # fmt: skip
