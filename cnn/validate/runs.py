"""Train the settings of a split: what is missing only."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol

from cnn.config import Config
from cnn.sweep import Run, sweep


class Planned(Protocol):
    """A setting that is to be trained with several seeds."""

    @property
    def name(self) -> str:
        """Of its folder."""
        ...

    @property
    def config(self) -> Config:
        """Its seed does not matter."""
        ...

    @property
    def seeds(self) -> tuple[int, ...]:
        """A run for each."""
        ...


def train(
    chosen: Sequence[Planned],
    out: Path,
    *,
    executor: Executor | None = None,
    jobs: int = 1,
    say: Callable[[str], Any] = print,
) -> list[Run]:
    """Every setting with its seeds, the first seed of all before the second of any.

    Runs have the folders ``out/NAME/seed-N``; those that are finished are not done again. See
    `cnn.sweep.sweep`.
    """
    runs = []
    for rank in range(max(len(one.seeds) for one in chosen)):
        by_seed: dict[int, dict] = {}
        for one in chosen:
            if rank < len(one.seeds):
                by_seed.setdefault(one.seeds[rank], {})[one.name] = one.config
        for seed, configs in by_seed.items():
            runs += sweep(configs, out, seeds=[seed], executor=executor, jobs=jobs, say=say)
    return runs
