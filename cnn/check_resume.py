"""A part of `cnn.check`: a run that is killed and resumed ends with the same bits."""

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnn import child
from cnn.check_parts import Finding, Setting
from cnn.config import Config

KILL_AT = (0.05, 0.2)  # shares of the steps, whose checkpoints stay


def kill_and_resume(setting: Setting) -> Finding:
    """A run killed twice (SIGKILL) and resumed, against one that was not: the same bits."""
    steps = 200 if setting.quick else 1000
    config = replace(setting.config, steps=steps, deterministic=True, threads=1)
    folder = setting.runs / "kill"
    shutil.rmtree(folder, ignore_errors=True)
    child.run(config, folder / "whole")
    for share in KILL_AT:
        _killed(config, folder / "killed", f"checkpoint-{round(share * steps)}.pt")
    child.run(config, folder / "killed")
    differ = differences(folder / "whole", folder / "killed")
    return {
        "ok": not differ,
        "says": f"killed {len(KILL_AT)} times in {steps} steps and resumed: "
        + (f"other bits in {', '.join(differ[:3])}" if differ else "the same bits"),
        "steps": steps, "differences": differ,
    }  # fmt: skip


def _killed(config: Config, folder: Path, checkpoint: str) -> None:
    """Train until this checkpoint is there; then SIGKILL.

    Raises
    ------
    ValueError
        If the run ends by itself.
    """
    ended: list[Exception | None] = []

    def run() -> None:
        try:
            child.run(config, folder)
            ended.append(None)
        except child.Failed as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and not (folder / checkpoint).is_file():
        time.sleep(0.01)
    child.stop(signal.SIGKILL)
    thread.join()
    if not ended or "SIGKILL" not in str(ended[0]):
        raise ValueError(f"the run ended before it could be killed: {ended}.")


def differences(folder: Path, other: Path) -> list[str]:
    """Where two finished runs do not have the same bits: in checkpoint.pt and run.nc."""
    from cnn import checkpoint
    from regdyn.store import digest

    first, second = (checkpoint.read(path / checkpoint.LAST) for path in (folder, other))
    names = ("step", "model", "update", "recorder", "scaler")
    found = [place for name in names for place in _unequal(name, first[name], second[name])]
    records = [digest(_record(path)) for path in (folder, other)]
    return found + (["run.nc"] if records[0] != records[1] else [])


def _record(folder: Path) -> Any:
    import xarray as xr

    return xr.load_dataset(folder / "run.nc", engine="netcdf4")


def _unequal(name: str, a: Any, b: Any) -> Iterator[str]:
    """Names of the parts of a and b whose bits differ."""
    import torch

    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and _bits(a) == _bits(b)
        yield from [] if same else [name]
    elif isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in a:
            yield from _unequal(f"{name}.{key}", a[key], b[key])
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _unequal(f"{name}.{i}", x, y)
    elif a != b:
        yield name


def _bits(tensor: Any) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
