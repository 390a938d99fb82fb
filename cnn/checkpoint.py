"""Checkpoints: what a run needs to go on with the same bits, written so that a kill loses nothing.

A file is written under a temporary name, flushed to the disk, and renamed; the one before it is
kept as checkpoint-previous.pt. Those after 5, 10 and 20 % of the steps stay: runs can branch there.
"""

import hashlib
import json
import os
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnn.config import Config, from_dict, to_dict
from cnn.optim import Update
from cnn.record import Recorder
from regdyn import store

LAST, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"
KEPT = (0.05, 0.1, 0.2)
FORMAT = 1
SHARE = 0.02  # of the time that checkpoints may take


@dataclass
class Run:
    """All that changes while a network trains. The networks here draw no random numbers then."""

    config: Config
    model: nn.Module
    update: Update
    recorder: Recorder
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Time they took."""
    places: list[dict[str, Any]] = field(default_factory=list)
    """Where it was computed (`Place.label`), each with the step "after" which it began."""
    branches: list[dict[str, Any]] = field(default_factory=list)
    """Where the order of the images changed: "after" which step, "data_seed", "checkpoint"."""

    def state_dict(self) -> dict[str, Any]:
        """The content of a checkpoint: tensors, numbers, words, lists and dictionaries only."""
        return {
            "format": FORMAT,
            "config": json.dumps(to_dict(self.config)),
            "step": self.step,
            "seconds": self.seconds,
            "places": self.places,
            "branches": self.branches,
            "model": self.model.state_dict(),
            "update": self.update.state_dict(),
            "recorder": self.recorder.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
        }

    def load_state_dict(self, entry: dict[str, Any]) -> None:
        """Go on from the content of a checkpoint of the same settings."""
        self.model.load_state_dict(entry["model"])
        self.update.load_state_dict(entry["update"])
        self.recorder.load_state_dict(entry["recorder"])
        if self.scaler is not None:
            self.scaler.load_state_dict(entry["scaler"])
        self.step, self.seconds = entry["step"], entry["seconds"]
        self.places, self.branches = list(entry["places"]), list(entry["branches"])


class whole(store.temporary):
    """Context manager: a file that appears whole or not at all.

    The temporary name is always the same: what a killed process left is written over.
    """

    def __enter__(self) -> str:
        self.name = str(self.path.with_name(f".part-{self.path.name}"))
        with store.naming(self.path):
            open(self.name, "wb").close()
        return self.name


class Keeper:
    """Writes the checkpoints of a run into its folder: now and then, at 5, 10, 20 %, at the end.

    Parameters
    ----------
    run : Run
    folder : Path
    seconds : float
        Between two checkpoints, and longer where writing one takes more than 2 % of that; 0: after
        every step.
    writes : bool
        Whether this process is the one that writes.
    """

    def __init__(self, run: Run, folder: Path, seconds: float, *, writes: bool = True) -> None:
        self.run, self.folder, self.seconds, self.writes = run, folder, seconds, writes
        self.kept = kept_steps(run.config.steps)
        self._written, self._seconds = run.step, run.seconds  # of the last checkpoint
        self._start = self._last = time.perf_counter()
        self._cost = 0.0

    def after(self, step: int) -> None:
        """Write what is due after `step`."""
        self.run.step = step
        now = time.perf_counter()
        wait = max(self.seconds, self._cost / SHARE) if self.seconds else 0.0
        if step in self.kept or now - self._last >= wait:
            self.write()

    def write(self) -> None:
        """Write the state as it is now, if it has not been written.

        Raises
        ------
        OSError
            If the disk is full, say. The checkpoint before is still there.
        """
        run, began = self.run, time.perf_counter()
        if not self.writes or (self._written == run.step and (self.folder / LAST).exists()):
            return
        run.seconds = self._seconds + began - self._start
        entry = run.state_dict()
        try:
            if run.step in self.kept:
                write(entry, self.folder / name_of(run.step))
            write(entry, self.folder / LAST, keep=self.folder / PREVIOUS)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"cannot write a checkpoint to {str(self.folder)!r} ({_reason(error)}): full? That "
                f"of step {self._written} is as it was; --resume goes on from there."
            ) from error
        self._written, self._last = run.step, time.perf_counter()
        self._cost = self._last - began


def _reason(error: BaseException) -> str:
    """Why a file could not be written: torch's error hides that of the system."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error).split("\n")[0]


def kept_steps(steps: int) -> set[int]:
    """The steps after which a checkpoint stays: 5, 10 and 20 % of the run."""
    return {max(1, round(share * steps)) for share in KEPT}


def name_of(step: int) -> str:
    """checkpoint-200.pt: the state after 200 steps."""
    return f"checkpoint-{step}.pt"


def write(entry: dict[str, Any], path: Path, keep: Path | None = None) -> None:
    """Write `entry` whole or not at all; what was there before gets the name `keep`."""
    with whole(path) as name:
        with open(name, "wb") as file:
            torch.save(entry, file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            _rename_copy(path, keep)


def _rename_copy(path: Path, keep: Path) -> None:
    """`keep` becomes another name of the file `path`, in one instant."""
    link = keep.with_name(f".{keep.name}")
    with suppress(FileNotFoundError):
        link.unlink()
    try:
        os.link(path, link)
    except OSError:  # a file system without links
        os.replace(path, keep)
    else:
        os.replace(link, keep)


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged or truncated, or not a checkpoint of a training run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}.")
    try:
        with zipfile.ZipFile(path) as parts:
            whole = parts.testzip() is None  # torch does not look at the check sums
    except (zipfile.BadZipFile, EOFError, OSError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"{str(path)!r} is damaged or truncated.")
    try:
        entry = torch.load(path, map_location="cpu", weights_only=True)
        known = entry["format"] == FORMAT
    except Exception as error:  # torch raises what the unpickler or the reader come upon
        raise ValueError(f"{str(path)!r} is not a checkpoint of a training run.") from error
    if not known:
        raise ValueError(f"{str(path)!r} was written by another version of this program.")
    return entry


def last(folder: Path) -> dict[str, Any] | None:
    """The checkpoint from which the run in `folder` goes on, if there is one.

    Raises
    ------
    ValueError
        If it is damaged; the message says what to do.
    """
    path, previous = folder / LAST, folder / PREVIOUS
    if not path.exists():
        return read(previous) if previous.exists() else None
    try:
        return read(path)
    except ValueError as error:
        try:
            step = read(previous)["step"]
        except (ValueError, OSError):
            raise error from None
        raise ValueError(
            f"{str(error).removesuffix('.')}; {str(previous)!r}, of step {step}, is whole: move it "
            "there to go on."
        ) from error


def config_of(entry: dict[str, Any]) -> Config:
    """The settings of the run that wrote a checkpoint."""
    return from_dict(json.loads(entry["config"]))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
