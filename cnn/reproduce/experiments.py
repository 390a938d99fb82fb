"""The experiments: figures/data/experiments.csv, as settings of training runs."""

import contextlib
import csv
import io
import shlex
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import tyro

from cnn.config import Config
from regdyn.checks import shown

__all__ = ["TIERS", "Experiment", "chosen", "experiments"]

TIERS = ("core", "long")
COMMON = ("--threads", "1", "--channels-last")
"""Flags of every run: how it is computed. The sums of one thread are the same everywhere."""


class Experiment(NamedTuple):
    """A row of experiments.csv."""

    name: str
    tier: str
    flags: str
    """Of `python -m cnn.train`: what differs from its defaults."""
    seeds: tuple[int, ...]
    config: Config


@cache
def experiments() -> tuple[Experiment, ...]:
    """All of them, in the order of the file.

    Raises
    ------
    ValueError
        If the flags of a row are none of `python -m cnn.train`; the row is named.
    """
    text = (files("figures") / "data" / "experiments.csv").read_text(encoding="utf-8")
    return tuple(_experiment(row) for row in csv.DictReader(text.splitlines()))


def chosen(patterns: tuple[str, ...], tier: str | None = None) -> list[Experiment]:
    """Those whose name matches a pattern (``*`` matches slashes, too) and that are of the tier.

    Raises
    ------
    ValueError
        If a pattern matches none.
    """
    every = [one for one in experiments() if tier in (None, one.tier)]
    for pattern in patterns:
        if not any(fnmatchcase(one.name, pattern) for one in every):
            among = "" if tier is None else f" of the {tier} tier"
            raise ValueError(f"no experiment{among} matches {shown(pattern)}: --list shows all.")
    kept = patterns or ("*",)
    return [one for one in every if any(fnmatchcase(one.name, pattern) for pattern in kept)]


def _experiment(row: dict[str, str]) -> Experiment:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            config = tyro.cli(Config, args=[*shlex.split(row["flags"]), *COMMON])
    except SystemExit:
        raise ValueError(
            f"experiment {row['name']!r}: python -m cnn.train knows no flags {shown(row['flags'])}."
        ) from None
    seeds = tuple(range(int(row["seeds"])))
    return Experiment(row["name"], row["tier"], row["flags"], seeds, replace(config, seed=0))
