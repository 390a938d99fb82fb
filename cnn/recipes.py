r"""Named settings: every row of the paper's tables that the paper ran, and what a CPU can do.

``python -m cnn.recipes 'table1/*'`` lists them, ``python -m cnn.train --recipe NAME`` runs one.
"""

import difflib
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated

import tyro

from cnn import recipes_paper, recipes_small
from cnn.config import Config
from regdyn.checks import shown
from regdyn.cli import exit_code

__all__ = ["Recipe", "get", "names"]


@dataclass(frozen=True)
class Recipe:
    r"""A setting by name.

    Parameters
    ----------
    name : str
    config : Config
        Seed 0, on the CPU: both are the caller's to change.
    source : str
        Where it is from: a table or section of the paper, or ``"ours"``.
    note : str
        What the source gives and what it does not, in a line.
    sparsity : float, optional
        Percent of convolution filters with :math:`|\gamma| < 10^{-3}` that the source reports.
    error : float, optional
        Percent of wrong test images (top 1) that the source reports.
    """

    name: str
    config: Config
    source: str
    note: str
    sparsity: float | None = None
    error: float | None = None


def get(name: str) -> Recipe:
    """The recipe of this name.

    Raises
    ------
    ValueError
        If there is none; the nearest names are suggested.
    """
    known = _recipes()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown recipe {shown(name)}: {hint}python -m cnn.recipes lists all.")


def names(pattern: str | None = None) -> list[str]:
    """Names of the recipes that match: those of the paper, then ours.

    Parameters
    ----------
    pattern : str, optional
        With ``*``, ``?`` or ``[``: a shell pattern of the whole name (``*`` matches slashes, too).
        Else a part of the name.
    """
    known = list(_recipes())
    if pattern is None:
        return known
    if any(sign in pattern for sign in "*?["):
        return [name for name in known if fnmatchcase(name, pattern)]
    return [name for name in known if pattern in name]


@lru_cache(maxsize=1)
def _recipes() -> dict[str, Recipe]:
    rows = [*recipes_paper.rows(), *recipes_small.rows()]
    return {row.name: Recipe(*row) for row in rows}


@dataclass(frozen=True)
class Settings:
    """List the recipes: steps, what the source reports (percent of filters and of test images)."""

    pattern: Annotated[str | None, tyro.conf.Positional] = None
    """Part of a name, or a pattern such as 'table1/*' [default: all]."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    return exit_code(lambda: _list(tyro.cli(Settings, prog="python -m cnn.recipes", args=argv)))


def _list(settings: Settings) -> int:
    found = [get(name) for name in names(settings.pattern)]
    if not found:
        raise ValueError(f"no recipe matches {shown(settings.pattern)}: give a part of a name.")
    width = max(len(recipe.name) for recipe in found)
    print(f"{'':{width}}    steps  sparsity   error  source: note")
    for recipe in found:
        sparsity, error = _percent(recipe.sparsity), _percent(recipe.error)
        print(
            f"{recipe.name:{width}}  {recipe.config.steps:>7,}  {sparsity:>8}  {error:>6}  "
            f"{recipe.source}: {recipe.note}"
        )
    return 0


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
