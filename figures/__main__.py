"""Draw figures of the paper: ``python -m figures fig4``, ``python -m figures all``."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import tyro

from figures import fig4

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


class Entry(NamedTuple):
    """A figure: its committed data, what computes them again, what draws them."""

    data: str
    compute: "Callable[[], xr.Dataset]"
    draw: "Callable[[xr.Dataset], Figure]"
    about: str


FIGURES = {
    "fig4": Entry(fig4.DATA, fig4.compute, fig4.draw, "low gradients: SGD and Adam, L2 and WD"),
    "fig4-supplement": Entry(
        fig4.DATA, fig4.compute, fig4.draw_supplement, "the same for five other rules"
    ),
}


@dataclass(frozen=True)
class Settings:
    """Draw figures of the paper from the data that are kept with the code."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Which figures, or all; none lists them."""
    out: Path = Path("results/figures")
    """Folder for the pictures."""
    format: str = "png"
    """png, pdf or svg."""
    refresh: bool = False
    """Compute the data again, and keep them in the folder beside the pictures."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    settings = tyro.cli(Settings, prog="python -m figures", args=argv)
    if not settings.names:
        for name, entry in FIGURES.items():
            print(f"{name:<18}{entry.about}")
        return 0
    try:
        return _draw_all(settings)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130


def _draw_all(settings: Settings) -> int:
    from regdyn import store
    from regdyn.checks import choose

    choose("format", settings.format, ("png", "pdf", "svg"))
    names = tuple(FIGURES) if settings.names == ("all",) else settings.names
    entries = {name: FIGURES[choose("figure", name, FIGURES)] for name in names}
    with store.folder(settings.out):
        return _draw(entries, settings)


def _draw(entries: dict[str, Entry], settings: Settings) -> int:
    from regdyn import store

    fresh: dict[str, xr.Dataset] = {}
    for name, entry in entries.items():
        if settings.refresh and entry.data not in fresh:
            fresh[entry.data] = entry.compute()
            print(f"{store.save(fresh[entry.data], settings.out / entry.data)}")
        data = fresh[entry.data] if settings.refresh else stored(entry.data)
        path = settings.out / f"{name}.{settings.format}"
        with store.temporary(path) as temporary:
            entry.draw(data).savefig(temporary)
        print(path)
    return 0


def stored(name: str) -> "xr.Dataset":
    """The data that are kept with the code, from the checkout or the installed package."""
    from regdyn import store

    with as_file(files("figures") / "data" / name) as path:
        return store.load(path)


if __name__ == "__main__":
    sys.exit(main())
