"""Run simulation studies: ``python -m sims``, ``python -m sims crossover``."""

import os
import pkgutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    import xarray as xr

QUICK = 60  # seconds: what `all` runs
SHOWN = 40  # rows of a table that are printed


@dataclass(frozen=True)
class Settings:
    """Run a simulation study: print its table and its answer, and write them with a picture.

    Without a name, list the studies.
    """

    name: Annotated[str | None, tyro.conf.Positional] = None
    """Which study; or all: every study that takes a minute or less."""
    lanes: int | None = None
    """Independent copies of the parameter [default: the study's own number]."""
    seed: int = 0
    """Seed of the gradients."""
    out: Path | None = None
    """Folder for result.nc, table.csv, figure.png and answer.txt [default: results/sims/NAME]; of
    all, the folder above those."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    settings = tyro.cli(Settings, prog="python -m sims", args=argv)
    try:
        return _main(settings)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: of this study nothing was written.", file=sys.stderr)
        return 130


def studies() -> dict[str, Any]:
    """Every study by its name: the modules of this package that have a question."""
    from importlib.util import find_spec

    spec = find_spec("sims")
    folders = spec.submodule_search_locations if spec else None
    found = {}
    for entry in pkgutil.iter_modules(folders):
        if entry.name != "__main__":
            module = import_module(f"sims.{entry.name}")
            if hasattr(module, "QUESTION"):
                found[entry.name.replace("_", "-")] = module
    return found


def _main(settings: Settings) -> int:
    """List, or run one study, or all that are quick."""
    from regdyn import random
    from regdyn.checks import choose
    from sims.common import lanes_or

    known = studies()
    if settings.name is None:
        width = max(map(len, known), default=0) + 2
        for name, study in known.items():
            print(f"{name:<{width}}{study.QUESTION}")
        return 0
    random.check_seed(settings.seed)
    lanes_or(settings.lanes, 1)
    if settings.name != "all":
        name = settings.name.replace("_", "-")
        choose("study", name, [*known, "all"])
        _run(name, known[name], settings, settings.out or Path("results") / "sims" / name)
        return 0
    for name, study in known.items():
        if getattr(study, "SECONDS", QUICK + 1) <= QUICK:
            print(f"\n{name}: {study.QUESTION}\n")
            _run(name, study, settings, (settings.out or Path("results") / "sims") / name)
        else:
            print(f"\n{name}: left out, it takes longer. Run it by its name.")
    return 0


def _run(name: str, study: Any, settings: Settings, out: Path) -> None:
    """Compute, write, print."""
    from regdyn import store

    with store.folder(out):
        data = study.run(lanes=settings.lanes, seed=settings.seed)
        _write(study, data, out)
    _print(study.table(data))
    print(_answer(study, data))
    print(f"written to {out}{os.sep}: result.nc, table.csv, figure.png, answer.txt")


def _write(study: Any, data: "xr.Dataset", out: Path) -> None:
    """All four files whole, or none."""
    from regdyn import store
    from sims.common import save

    with ExitStack() as files:
        result, table, figure, answer = (
            files.enter_context(store.temporary(out / name))
            for name in ("result.nc", "table.csv", "figure.png", "answer.txt")
        )
        data.to_netcdf(result, engine="netcdf4")
        study.table(data).to_csv(table, index=False, lineterminator="\n")
        save(study.draw(data), figure)
        Path(answer).write_text(_answer(study, data), encoding="utf-8")


def _answer(study: Any, data: "xr.Dataset") -> str:
    """The paragraph in lines of 100 characters."""
    from textwrap import fill

    return fill(study.answer(data), 100, break_on_hyphens=False) + "\n"


def _print(table: Any) -> None:
    """The table for a terminal: its first rows, if it is long."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    from sims.common import shown

    grid = Table(box=box.SIMPLE_HEAD)
    for column in table.columns:
        words = table[column].dtype.kind not in "iuf"
        grid.add_column(str(column), justify="left" if words else "right", no_wrap=True)
    for row in table.head(SHOWN).itertuples(index=False):
        grid.add_row(*map(shown, row))
    console = Console(width=1000)
    width = Measurement.get(console, console.options, grid).maximum
    Console(width=width).print(grid)  # whole, however narrow the window
    if len(table) > SHOWN:
        print(f"  ... and {len(table) - SHOWN} more rows in table.csv\n")


if __name__ == "__main__":
    sys.exit(main())
