"""What is pruned after training: figures/data/explicit.csv, done on the finished runs."""

import csv
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Pruned", "listed", "prune"]


class Pruned(NamedTuple):
    """A row of explicit.csv."""

    name: str
    run: str
    """The experiment whose finished runs are pruned."""
    like: str
    """The experiment whose shares per layer are taken; empty: none."""
    flags: str
    """Of `python -m cnn.reproduce.explicit`."""
    seeds: tuple[int, ...]

    def command(self, out: Path, seed: int) -> list[str]:
        """What does it for one seed."""
        words = ["--per-layer-of", str(_folder(out, self.like, seed))] if self.like else []
        return [
            sys.executable, "-m", "cnn.reproduce.explicit", str(_folder(out, self.run, seed)),
            "--out", str(_folder(out, self.name, seed)), "--threads", "1",
            *shlex.split(self.flags), *words,
        ]  # fmt: skip


def listed() -> list[Pruned]:
    """All of them, in the order of the file."""
    text = (files("figures") / "data" / "explicit.csv").read_text(encoding="utf-8")
    return [
        Pruned(row["name"], row["run"], row["like"], row["flags"], tuple(range(int(row["seeds"]))))
        for row in csv.DictReader(text.splitlines())
    ]


def prune(out: Path, *, jobs: int = 1, say: Callable[[str], Any] = print) -> list[str]:
    """Prune all finished runs in ``out/NAME/seed-N`` that are listed, those not yet done.

    Returns
    -------
    list of str
        What failed, and why.
    """
    waiting = list(_waiting(out))
    if waiting:
        say(f"{len(waiting)} networks to prune")
    with ThreadPoolExecutor(jobs) as pool:  # threads wait; the work is in processes
        done = pool.map(lambda task: _one(task[0], task[1], out, say), waiting)
        return [failure for failure in done if failure]


def _waiting(out: Path) -> Iterator[tuple[Pruned, int]]:
    for one in listed():
        for seed in one.seeds:
            needed = [_folder(out, name, seed) for name in (one.run, one.like) if name]
            done = _folder(out, one.name, seed) / "summary.json"
            if all((path / "summary.json").is_file() for path in needed) and not done.is_file():
                yield one, seed


def _one(one: Pruned, seed: int, out: Path, say: Callable[[str], Any]) -> str:
    ended = subprocess.run(one.command(out, seed), capture_output=True, text=True)
    said = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().split("\n")
    say(f"{one.name} seed {seed}: {said[-2 if ended.returncode == 0 else -1]}")
    return "" if ended.returncode == 0 else f"{one.name} seed {seed}: {said[-1]}"


def _folder(out: Path, name: str, seed: int) -> Path:
    return Path(out) / name / f"seed-{seed}"
