"""The settings that forecasts are developed on and tested on: figures/data/splits.csv.

The file was committed before the first test run was looked at. Test runs have seeds of their own.
"""

import csv
from importlib.resources import files
from typing import NamedTuple

from cnn.config import Config, DataConfig, ModelConfig, OptimConfig
from regdyn.checks import choose

SPLITS = ("development", "test")
DATA = {
    "digits": (DataConfig(name="digits"), 0.8),
    "fashion": (DataConfig(name="fashion-mnist", images=10_000, size=14), 0.77),
}  # and the share of the steps after which the learning rate drops


class Setting(NamedTuple):
    """A row of splits.csv."""

    name: str
    split: str
    config: Config
    seeds: tuple[int, ...]


def settings(split: str | None = None) -> list[Setting]:
    """All settings, or those of one split.

    Raises
    ------
    ValueError
        If there is no such split.
    """
    if split is not None:
        choose("split", split, SPLITS)
    text = (files("figures") / "data" / "splits.csv").read_text(encoding="utf-8")
    found = [_setting(row) for row in csv.DictReader(text.splitlines())]
    return [one for one in found if split in (None, one.split)]


def _setting(row: dict[str, str]) -> Setting:
    data, drop = DATA[row["data"]]
    optim = OptimConfig(
        opt=row["opt"], reg=row["reg"], lam=float(row["lam"]),
        lr=float(row["lr"]) if row["lr"] else None,
        hyper=(f"beta2={row['beta2']}",) if row["beta2"] else (),
    )  # fmt: skip
    config = Config(
        model=ModelConfig(width=float(row["width"])), data=data, optim=optim,
        batch=int(row["batch"]), steps=int(row["steps"]), drop=drop, threads=1,
        channels_last=True,
    )  # fmt: skip
    return Setting(row["setting"], row["split"], config, tuple(map(int, row["seeds"].split())))
