"""The monitor as a callback of PyTorch Lightning."""

import os
from pathlib import Path
from typing import Any

from cnn.monitor.monitor import GammaMonitor

try:
    from lightning.pytorch import Callback  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError("cnn.monitor.lightning needs lightning: pip install lightning.") from error


class GammaCallback(Callback):
    """Watches the module that a Lightning Trainer fits, under its first optimizer.

    What the monitor knows is saved in the Trainer's checkpoints, and a fit that goes on from one
    (`ckpt_path`) goes on with the same record. With several processes, the first watches.

    Parameters
    ----------
    out : path, optional
        Default: ``monitor`` in the Trainer's ``default_root_dir``.
    **how
        As for `GammaMonitor`; `steps` is the Trainer's number of steps unless given, and nothing
        is drawn in the terminal unless asked for, as Lightning draws there.
    """

    def __init__(self, out: str | os.PathLike | None = None, **how: Any) -> None:
        self.out, self.how = out, {"show": False, **how}
        self.monitor: GammaMonitor | None = None
        self._kept: dict[str, Any] | None = None
        self._done = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch."""
        self._done = trainer.global_step
        if not trainer.is_global_zero:
            return
        how, planned = dict(self.how), trainer.estimated_stepping_batches
        if "steps" not in how and planned < float("inf"):
            how["steps"] = int(planned)
        out = Path(trainer.default_root_dir) / "monitor" if self.out is None else self.out
        self.monitor = GammaMonitor(pl_module, trainer.optimizers[0], out, **how)
        if self._kept is not None:
            self.monitor.load_state_dict(self._kept)
            self._kept = None

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the step, if this batch ended one (gradients may be accumulated)."""
        if self.monitor is None or trainer.global_step == self._done:
            return
        self._done = trainer.global_step
        self.monitor.step(outputs["loss"] if isinstance(outputs, dict) else outputs)

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoint."""
        return {} if self.monitor is None else self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From Lightning's checkpoint, before the training starts."""
        self._kept = state_dict or None

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Show and write all once more, also after an error."""
        if self.monitor is not None:
            self.monitor.close()
