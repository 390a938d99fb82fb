"""Finished runs of the settings in splits.csv, and which of them is whose pilot."""

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from cnn import child
from cnn.config import Config
from cnn.validate import folders
from cnn.validate.settings import Setting
from regdyn.filters.record import Run
from regdyn.fitted import kin


class Trained:
    """A finished run of a setting; its record is read when it is first asked for.

    Attributes
    ----------
    setting : Setting
    seed : int
    folder : Path
    name : str
        SETTING/seed-N.
    revision : str
        Git revision of the code that trained it.
    run : Run
    config : Config
    """

    def __init__(self, setting: Setting, seed: int, folder: Path) -> None:
        self.setting, self.seed, self.folder = setting, seed, Path(folder)
        self.name = f"{setting.name}/seed-{seed}"

    @cached_property
    def _loaded(self) -> tuple[Run, Config]:
        return folders.load(self.folder)

    @property
    def run(self) -> Run:
        """Record and settings, as the forecast reads them."""
        return self._loaded[0]

    @property
    def config(self) -> Config:
        """Settings as they were given."""
        return self._loaded[1]

    @cached_property
    def revision(self) -> str:
        """Empty if it is not known."""
        return str(child.summary(self.folder).get("provenance", {}).get("git_revision", ""))


def finished(chosen: Iterable[Setting], out: Path) -> list[Trained]:
    """The runs of these settings that are finished in ``out/NAME/seed-N``."""
    found = []
    for one in chosen:
        for seed in one.seeds:
            folder = Path(out) / one.name / f"seed-{seed}"
            if (folder / "summary.json").is_file() and (folder / "run.nc").is_file():
                found.append(Trained(one, seed, folder))
    return found


def pilot_for(one: Trained, runs: Iterable[Trained]) -> Trained | None:
    """The run that is most like `one`, as its pilot: of the same network and images.

    Another seed of the same setting, if there is one, of its own split first; else the setting
    whose strength, rate and batch are the nearest, under the same rule if possible. None if all
    others are of another network or other images, or their filters die in another way.
    """
    others = [other for other in runs if other.name != one.name and _alike(one, other)]
    return min(others, key=_distance(one), default=None)


def _alike(one: Trained, other: Trained) -> bool:
    a, b = one.setting.config, other.setting.config
    same = (a.model, a.data, a.steps) == (b.model, b.data, b.steps)
    return same and bool(kin(one.run, [other.run]))


def _distance(one: Trained) -> Callable[[Trained], tuple[Any, ...]]:
    def of(other: Trained) -> tuple[Any, ...]:
        a, b = one.setting.config, other.setting.config
        rule = (a.optim.opt, a.optim.reg) != (b.optim.opt, b.optim.reg)
        ratios = [_strength(one) / _strength(other), a.batch / b.batch]
        if a.optim.opt == b.optim.opt:  # rates of different rules have nothing in common
            ratios.append(one.run.rule.lr / other.run.rule.lr)
        apart = sum(abs(math.log(ratio)) for ratio in ratios)
        elsewhere = one.setting.split != other.setting.split
        hyper = a.optim.hyper != b.optim.hyper
        return (rule, hyper, apart, elsewhere, (other.seed - one.seed) % 1000, other.name)

    return of


def _strength(one: Trained) -> float:
    return max(one.run.lam, 1e-12)
