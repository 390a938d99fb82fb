"""The monitor as a callback of the Trainer of Hugging Face's transformers."""

import os
from pathlib import Path
from typing import Any

import torch

from cnn.monitor.monitor import GammaMonitor

try:
    from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError(
        "cnn.monitor.transformers needs transformers: pip install 'transformers[torch]'."
    ) from error

STATE = "gamma_monitor.pt"


class GammaCallback(TrainerCallback):  # pyright: ignore[reportGeneralTypeIssues]
    """Watches the model that a Trainer trains.

    What the monitor knows is saved beside the Trainer's checkpoints, and a training that is
    resumed from one goes on with the same record. The loss that is shown is the last that the
    Trainer logged: a callback is not given that of the step. With several processes, the first
    watches.

    Parameters
    ----------
    out : path, optional
        Default: ``monitor`` in the Trainer's ``output_dir``.
    **how
        As for `GammaMonitor`; `steps` and `schedule` are the Trainer's unless given, and nothing
        is drawn in the terminal unless asked for, as the Trainer draws there.
    """

    def __init__(self, out: str | os.PathLike | None = None, **how: Any) -> None:
        self.out, self.how = out, {"show": False, **how}
        self.monitor: GammaMonitor | None = None
        self._loss: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to watch; go on from the state beside the checkpoint that was resumed."""
        if not state.is_world_process_zero:
            return
        optimizer = kwargs["optimizer"]
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        out = Path(args.output_dir) / "monitor" if self.out is None else self.out
        schedule = _schedule(kwargs.get("lr_scheduler"), args, state.max_steps)
        how = {"steps": state.max_steps, "schedule": schedule, **self.how}
        self.monitor = GammaMonitor(kwargs["model"], optimizer, out, **how)
        kept = _checkpoint(args, state) / STATE
        if state.global_step and kept.is_file():
            entry = torch.load(kept, map_location="cpu", weights_only=True)
            self.monitor.load_state_dict(entry["monitor"])
            self._loss = entry["loss"]

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take in the step: gradients are still there."""
        if self.monitor is not None:
            self.monitor.step(self._loss)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember the loss."""
        self._loss = (kwargs.get("logs") or {}).get("loss", self._loss)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save what the monitor knows beside the checkpoint."""
        folder = _checkpoint(args, state)
        if self.monitor is not None and folder.is_dir():
            entry = {"monitor": self.monitor.state_dict(), "loss": self._loss}
            torch.save(entry, folder / STATE)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show and write all once more."""
        if self.monitor is not None:
            self.monitor.close()


def _schedule(scheduler: Any, args: Any, steps: int) -> list[float] | None:
    """Factors of a scheduler that is a function of the step, as the Trainer's own are."""
    scheduler = getattr(scheduler, "scheduler", scheduler)  # accelerate wraps it
    functions = getattr(scheduler, "lr_lambdas", None)
    if not functions or args.world_size > 1:
        return None
    return [float(functions[0](step)) for step in range(steps)]


def _checkpoint(args: Any, state: Any) -> Path:
    """Folder of the Trainer's checkpoint of this step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
