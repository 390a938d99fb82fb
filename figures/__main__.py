"""Figures and tables of the paper: ``python -m figures fig4 table01``, or ``all``."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from figures import features, fig1, fig2, fig3, fig4, fig5, provenance, table_pictures
from figures.claims.written import files as claims
from figures.table_layouts import LAYOUTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Entry(NamedTuple):
    """A figure: its committed data, what computes them again, what draws them.

    A figure of recorded runs computes nothing. A table has a name instead of data and computes
    nothing; it is written as text, too. What has `files` is neither: that makes texts and figures
    by name, computed again or not.
    """

    data: str
    compute: "Callable[[], Any] | None"
    draw: "Callable[[Any], Figure] | None"
    about: str
    files: "Callable[[bool], dict[str, str | Figure]] | None" = None


NOT_DATA = "provenance"
"""Reads the pages of a checkout, not data: `all` leaves it out."""
FIGURES = {
    "fig1": Entry(fig1.DATA, fig1.compute, fig1.draw, "BasicNet, layer by layer"),
    "fig2": Entry(fig2.DATA, None, fig2.draw, "gamma and beta of C6 over training"),
    "fig2-pairs10": Entry(fig2.DATA, None, fig2.draw_pairs10, "the same with 10 labels"),
    "fig3": Entry(fig3.DATA, None, fig3.draw, "universality of the filters, Adam and SGD"),
    "fig3-pairs10": Entry(fig3.DATA, None, fig3.draw_pairs10, "the same with 10 labels"),
    "fig4": Entry(fig4.DATA, fig4.compute, fig4.draw, "low gradients: SGD and Adam, L2 and WD"),
    "fig4-supplement": Entry(
        fig4.DATA, fig4.compute, fig4.draw_supplement, "the same for five other rules"
    ),
    "fig5": Entry(fig5.DATA, None, fig5.draw, "universality of late filters, by batch size"),
    **{
        name: Entry(name, None, table_pictures.DRAW.get(name), layout.title)
        for name, layout in LAYOUTS.items()
    },
    "claims": Entry("", None, None, "every claim of the paper against runs of ours", claims),
    NOT_DATA: Entry(
        "", None, None, "the run behind every number of README and docs", provenance.written
    ),
}


@dataclass(frozen=True)
class Settings:
    """Draw figures and write tables of the paper from the data that are kept with the code.

    A table is written as .txt, .csv and .tex; Tables 1, 2 and 7 are drawn, too.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Which figures and tables, or all (but not provenance); none lists them."""
    out: Path = Path("results/figures")
    """Folder for the files."""
    format: str = "png"
    """png, pdf or svg."""
    refresh: bool = False
    """Compute the data of figures again, and keep them in the folder beside the pictures."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    settings = tyro.cli(Settings, prog="python -m figures", args=argv)
    if not settings.names:
        for name, entry in FIGURES.items():
            print(f"{name:<18}{entry.about}")
        return 0
    try:
        return _draw_all(settings)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130


def _draw_all(settings: Settings) -> int:
    from regdyn import store
    from regdyn.checks import choose

    choose("format", settings.format, ("png", "pdf", "svg"))
    every = tuple(name for name in FIGURES if name != NOT_DATA)
    names = every if settings.names == ("all",) else settings.names
    entries = {name: FIGURES[choose("figure", name, FIGURES)] for name in names}
    with store.folder(settings.out):
        return _draw(entries, settings)


def _draw(entries: dict[str, Entry], settings: Settings) -> int:
    fresh: dict[str, Any] = {}
    for name, entry in entries.items():
        if entry.files is not None:
            _write_all(entry.files(settings.refresh), settings)
            continue
        data = _table(entry, settings) if name in LAYOUTS else _data(entry, settings, fresh)
        if entry.draw is not None:
            _write(settings.out / f"{name}.{settings.format}", entry.draw(data).savefig)
    return 0


def _write_all(made: "dict[str, str | Figure]", settings: Settings) -> None:
    """Texts as they are, figures in the format that is asked for."""
    for name, content in made.items():
        if isinstance(content, str):
            text = content.encode()
            _write(settings.out / name, lambda file, t=text: Path(file).write_bytes(t))
        else:
            _write(settings.out / f"{name}.{settings.format}", content.savefig)


def _data(entry: Entry, settings: Settings, fresh: dict[str, Any]) -> Any:
    """What a figure draws: kept with the code, or computed again, once for all that draw it."""
    if not settings.refresh or entry.compute is None:
        return stored(entry.data)
    if entry.data not in fresh:
        fresh[entry.data] = entry.compute()
        _keep(fresh[entry.data], settings.out / entry.data)
    return fresh[entry.data]


def _keep(data: Any, path: Path) -> None:
    """A result as netCDF, anything else as JSON."""
    from regdyn import store

    if path.suffix == ".nc":
        print(f"{store.save(data, path)}")
    else:
        text = json.dumps(data, indent=1) + "\n"
        _write(path, lambda name: Path(name).write_text(text, encoding="utf-8"))


def _table(entry: Entry, settings: Settings) -> Any:
    """A table, after writing it in every form."""
    from figures import table_rows, table_text

    table = table_rows.build(entry.data)
    for ending, form in table_text.FORMATS.items():
        text = form(table).encode()
        _write(
            settings.out / f"{table.name}.{ending}", lambda name, t=text: Path(name).write_bytes(t)
        )
    return table


def _write(path: Path, write: "Callable[[str], Any]") -> None:
    """The whole file or none, and its name on the screen."""
    from regdyn import store

    with store.temporary(path) as temporary:
        write(temporary)
    print(path)


def stored(name: str) -> Any:
    """The data that are kept with the code, from the checkout or the installed package."""
    from regdyn import store

    with as_file(files("figures") / "data" / name) as path:
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        if name in (features.FILTERS, features.COURSE):
            return features.load(path)
        return store.load(path)


if __name__ == "__main__":
    sys.exit(main())
