"""A progress bar for long work: on a terminal only, on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 2.0  # seconds before a bar appears


@contextmanager
def bar(what: str, total: float, *, show: bool | None = None) -> Iterator[Callable[[float], None]]:
    """Yield `advance(amount)`; draw a bar once the work has taken longer than two seconds.

    Parameters
    ----------
    what : str
        What is being done, in a few words.
    total : float
        Amount at which the work is done.
    show : bool, optional
        By default only if standard error is a terminal.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import Progress

    start = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, visible=False)

        def advance(amount: float) -> None:
            late = time.monotonic() - start > PATIENCE
            progress.update(task, advance=amount, visible=late)

        yield advance
