"""How the monitor shows what it measures: instruments, and what is done when one fails."""

import sys
from pathlib import Path
from typing import NamedTuple, Protocol

from cnn.monitor.files import Files
from cnn.monitor.quantities import Budget, Spent, budget
from cnn.monitor.view import View


class Instrument(Protocol):
    """Shows views, one after the other."""

    def show(self, view: View) -> None:
        """This one, now."""
        ...

    def close(self) -> None:
        """No more will come."""
        ...


class Trouble(NamedTuple):
    """A warning: what it is about, by which it is told from others, and the details."""

    what: str
    details: str


class Guarded:
    """An instrument whose failure does not end the training.

    One that cannot write tries again the next time; one that fails otherwise is left out.
    """

    def __init__(self, name: str, instrument: Instrument, budget: Budget) -> None:
        self.name, self.instrument, self.budget = name, instrument, budget
        self.works = True

    def show(self, view: View) -> Trouble | None:
        """What went wrong, if anything did."""
        if not self.works:
            return None
        with self.budget.spending():
            return self._try(lambda: self.instrument.show(view))

    def close(self) -> None:
        """Whatever happens."""
        self._try(self.instrument.close)

    def _try(self, work) -> Trouble | None:
        try:
            work()
        except (OSError, RuntimeError) as error:  # netCDF says RuntimeError where a disk is full
            why = getattr(error, "strerror", None) or str(error).split("\n")[0]
            return Trouble(
                "cannot write: ", f"{self.name} ({why}); the training goes on, and it tries again."
            )
        except Exception as error:
            self.works = False
            why = f"{type(error).__name__}: {error}"
            return Trouble(f"no more {self.name}: ", f"it failed ({why}); the training goes on.")
        return None


def instruments(
    files: Files, folder: Path, spent: Spent, *, show: bool | None, tensorboard: bool
) -> list[Guarded]:
    """Those that are asked for."""
    found = [Guarded("files", files, budget("files", spent, apart=10.0))]
    if tensorboard:
        from cnn.monitor.board import Board

        board = Board(folder / "tensorboard")
        found.append(Guarded("tensorboard", board, budget("tensorboard", spent)))
    if sys.stderr.isatty() if show is None else show:
        from cnn.monitor.terminal import Terminal

        found.append(Guarded("terminal", Terminal(), budget("terminal", spent, apart=0.5)))
    return found
