"""Train the settings of a split: what is missing only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn.sweep import Run, sweep
from cnn.validate.settings import Setting


def train(
    chosen: list[Setting], out: Path, *, jobs: int = 1, say: Callable[[str], Any] = print
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
            runs += sweep(configs, out, seeds=[seed], jobs=jobs, say=say)
    return runs
