"""At which commit the results in a file were computed, or a line of a page was written."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

__all__ = ["UNKNOWN", "of_file", "of_lines"]

KEYS = ("git_revision", "revision")
UNKNOWN, NEW = "unknown", "uncommitted"
SHORT = 8
"""Characters of a revision that are shown."""


def of_file(path: Path, root: Path) -> str:
    """The revision that recorded results name, or else the commit that last changed the file.

    Parameters
    ----------
    path : Path
        .nc (attribute), .csv (column) or .json (key ``git_revision`` or ``revision``); in any other
        file, and without these, git is asked.
    root : Path
        The checkout.

    Returns
    -------
    str
        Eight characters of it; ``2 revisions`` if rows of a file differ, ``uncommitted`` if
        git does not know the file as it is, ``unknown`` outside of a checkout.

    Raises
    ------
    ValueError
        If there is no such file or folder.
    """
    if not path.exists():
        raise ValueError(f"there is no {path.relative_to(root)}, which is named as a source.")
    said = sorted({revision[:SHORT] for revision in _own(path) if revision})
    if said:
        return said[0] if len(said) == 1 else f"{len(said)} revisions"
    changed = _git(root, "status", "--porcelain", "--", str(path))
    if changed is None:
        return UNKNOWN
    commit = _git(root, "log", "-1", "--format=%H", "--", str(path))
    return NEW if changed or not commit else commit[:SHORT]


def of_lines(page: str, root: Path) -> dict[int, str]:
    """The commit that last changed each line of a page, by number from 1; empty without git."""
    blame = _git(root, "blame", "-s", "-l", "--root", "--", page) or ""
    commits = [line.partition(" ")[0].lstrip("^") for line in blame.splitlines()]
    return {i: NEW if set(c) == {"0"} else c[:SHORT] for i, c in enumerate(commits, 1)}


def _own(path: Path) -> list[str]:
    """What the file itself says."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [row.get(key) or "" for row in csv.DictReader(file) for key in KEYS]
    if path.suffix == ".json":
        data = json.loads(path.read_text(encoding="utf-8"))
        return [str(data.get(key, "")) for key in KEYS] if isinstance(data, dict) else []
    if path.suffix == ".nc":
        import xarray as xr

        with xr.open_dataset(path) as ds:
            return [str(ds.attrs.get(key, "")) for key in KEYS]
    return []


def _git(root: Path, *words: str) -> str | None:
    """What git says, or None if there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, encoding="utf-8", check=False
        )
    except OSError:
        return None
    return done.stdout.strip("\n") if done.returncode == 0 else None
