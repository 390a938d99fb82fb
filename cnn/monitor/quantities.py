"""What the monitor measures: each quantity with its schedule and what it may cost.

How they are shown is elsewhere: the instruments in terminal.py, board.py and files.py.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Quantity(NamedTuple):
    """Something measured.

    Attributes
    ----------
    name, what : str
    when : str
        Its schedule.
    cost : {'device', 'record', 'rare'}
        `device`: a copy on the device, no wait. `record`: in the one transfer of a record. `rare`:
        on the host, as long as the budget lets it.
    """

    name: str
    what: str
    when: str
    cost: str


QUANTITIES = (
    Quantity("gradients", "gradients of gamma and beta, and the loss", "every step", "device"),
    Quantity("windows", "their mean, spread and share of exact zeros", "every record", "device"),
    Quantity("state", "gamma, beta, norms of weights, running variance", "every record", "record"),
    Quantity("scales", "mean, least and number below the threshold", "every record", "record"),
    Quantity("verdicts", "alive, selective, doomed, collapsed", "when shown", "rare"),
    Quantity("forecast", "chance and time of collapse", "every 5 % of the run", "rare"),
)
FORECASTS = 20  # of a run, and one more on close
SHARES = {"forecast": 0.01, "terminal": 0.003, "tensorboard": 0.004, "files": 0.006}
"""Share of the run's time that what is rare may take, as long as `TOTAL` is kept."""
TOTAL = 0.029
"""Share of the time that all may take, with recording; where that alone takes more, what is rare
gets a fifth of its share."""
GUESSES = {"forecast": 0.2, "terminal": 0.01, "tensorboard": 0.05, "files": 0.3}
"""Seconds that each is thought to take before it was done once."""


class Spent:
    """Seconds that the monitor took, but for waiting for the device."""

    seconds = 0.0


class Budget:
    """Lets something be done as long as it takes no more than a share of the time.

    Parameters
    ----------
    share : float
        Of the seconds since the budget was made.
    guess : float
        Seconds that doing it once is thought to take, until it was done.
    all : Spent
        By all that the monitor does.
    apart : float
        Least seconds between two times.
    """

    def __init__(self, share: float, guess: float, all: Spent, apart: float = 0.0) -> None:
        self.share, self.cost, self.all, self.apart = share, guess, all, apart
        self.spent, self._start = 0.0, time.perf_counter()
        self._last = self._start

    def due(self) -> bool:
        """Whether it may be done now."""
        now = time.perf_counter()
        kept = self.all.seconds + self.cost <= TOTAL * (now - self._start)
        share = self.share if kept else self.share / 5
        affordable = self.spent + self.cost <= share * (now - self._start)
        return affordable and now - self._last >= self.apart

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Around doing it."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._last = time.perf_counter()
            self.cost = self._last - began
            self.spent += self.cost
            self.all.seconds += self.cost


def budget(what: str, all: Spent, apart: float = 0.0) -> Budget:
    """The budget of one of `SHARES`."""
    return Budget(SHARES[what], GUESSES[what], all, apart)
