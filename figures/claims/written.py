"""What `python -m figures claims` writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from figures.claims import ledger, page, runs_page
from figures.claims.recorded import Recorded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["files"]

OUT = Path("results") / "reproduce"


def files(refresh: bool) -> dict[str, str | Figure]:
    """The ledger, by name of file: two tables, two pages of the docs, the picture.

    Parameters
    ----------
    refresh : bool
        Train what is missing in `OUT` (hours; another process, which needs torch), and judge those
        runs instead of those that are kept with the code.
    """
    runs = Recorded(_reproduced() if refresh else None)
    claims, beyond = ledger.of_claims(runs), ledger.beyond(runs)
    return {
        "claims.csv": page.table(claims),
        "beyond.csv": page.table(beyond),
        "claims.md": page.markdown(claims, beyond, runs),
        "runs.md": runs_page.markdown(runs),
        "claims": page.draw(claims + beyond),
    }


def _reproduced() -> Path:
    words = ["-m", "cnn.reproduce", "--out", str(OUT), "--jobs", str(os.cpu_count() or 1)]
    code = subprocess.call([sys.executable, *words])
    if code:
        raise RuntimeError(f"python -m cnn.reproduce ended with exit code {code}: see above.")
    return OUT
