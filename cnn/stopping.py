"""One process per folder, and an end that leaves a checkpoint: ctrl-C, SIGTERM."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cnn.place import Place

AGREE = 20  # steps between two times that several ranks ask each other whether to stop


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; there is a checkpoint."""

    def __init__(self, number: int, step: int, folder: Path) -> None:
        super().__init__(
            f"stopped after step {step}: go on with python -m cnn.train --out {folder} --resume"
        )
        self.code = 128 + number


class Asked:
    """Whether a signal has asked the run to stop."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler; the second signal stops at once."""
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number

    def to_stop(self, step: int, place: Place) -> bool:
        """Whether to stop after `step`; all ranks after the same."""
        if place.world > 1 and step % AGREE:
            return False
        stop = place.any(self.signal > 0)
        if stop and not self.signal:
            self.signal = signal.SIGTERM
        return stop


@contextmanager
def signals() -> Iterator[Asked]:
    """Within it, SIGINT and SIGTERM only ask; in a thread, which gets none, nothing changes."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold `folder` against other runs.

    Raises
    ------
    ValueError
        If another process trains there.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process trains in {str(folder)!r} now.") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)
