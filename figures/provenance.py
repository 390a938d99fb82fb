"""Which recorded results stand behind the numbers of README and docs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from figures import provenance_read, provenance_revision
from figures.provenance_read import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "LINES",
    "REST",
    "ROOT",
    "SECTIONS",
    "WORDS",
    "Entry",
    "Row",
    "collect",
    "rows",
    "written",
]

ROOT = Path(__file__).parents[1]
DATA = "provenance.csv"
LINES, SECTIONS = "provenance-lines.csv", "provenance.txt"
"""What is written: a row for each line of a page, and what is printed."""
REST = "*"
"""The section of a row that stands for all of a page that no other row names."""
WORDS = {
    "paper": "as printed there: figures/reference",
    "executed": "an example or a test computes it again",
    "definition": "a formula, a default, a size; follows on the page",
    "note": "measured once and not kept as data; the revision is that of the line",
}
"""What a source can be that is not a file."""
REFERENCE = "figures/reference"
NONE = "-"
"""The revision of what hangs on no run."""


class Row(NamedTuple):
    """A row of ``figures/data/provenance.csv``."""

    page: str
    section: str
    """A heading, with all headings below it that have no row, or ``*`` for the rest of the page."""
    source: str
    """Files from the root of the repository and words of `WORDS`, with blanks between."""
    command: str
    """What computes the numbers again, or nothing."""


class Entry(NamedTuple):
    """A line of a page with its numbers and what stands behind them."""

    page: str
    line: int
    numbers: str
    section: str
    source: str
    revision: str
    """One for each source, with semicolons between: what the file says of itself, else the commit
    that last changed it; for a note the commit of the line; ``-`` for what hangs on no run."""
    command: str


def rows() -> list[Row]:
    """The table that is kept with the code.

    Raises
    ------
    ValueError
        If it has other columns, or two rows for one section.
    """
    text = (files("figures") / "data" / DATA).read_text(encoding="utf-8")
    head, *body = csv.reader(io.StringIO(text))
    if tuple(head) != Row._fields:
        raise ValueError(f"{DATA} has the columns {head}; it needs {list(Row._fields)}.")
    found = [Row(*cells) for cells in body]
    keys = [row[:2] for row in found]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"{DATA} has more than one row for {sorted(twice)}.")
    return found


def _row_of(line: Line, here: dict[str, Row]) -> Row | None:
    """The row of the nearest heading that has one, or else that of the rest of the page."""
    return next((here[name] for name in (*line.headings, REST) if name in here), None)


def collect(root: Path = ROOT, known: Iterable[Row] | None = None) -> list[Entry]:
    """Every line of README.md and docs that has numbers, with what stands behind them.

    Which numbers count is said at `provenance_read.numbers`.

    Parameters
    ----------
    root : Path
        A checkout of the repository.
    known : iterable of Row, optional
        By default `rows`.

    Returns
    -------
    list of Entry
        In the order of the pages. Source, revision and command are empty where no row covers the
        line.

    Raises
    ------
    ValueError
        If the pages are not there.
    """
    of_page: dict[str, dict[str, Row]] = {}
    for row in rows() if known is None else known:
        of_page.setdefault(row.page, {})[row.section] = row
    found = []
    revision = _revisions(root)
    for page in provenance_read.pages(root):
        for line in provenance_read.read((root / page).read_text(encoding="utf-8")):
            row = _row_of(line, of_page.get(page, {}))
            row = row or Row(page, next(iter(line.headings), ""), "", "")
            behind = "; ".join(revision(source, page, line) for source in row.source.split())
            numbers = " ".join(line.numbers)
            found.append(Entry(page, line.number, numbers, *row[1:3], behind, row.command))
    return found


def _revisions(root: Path) -> Callable[[str, str, Line], str]:
    """Asks for the revision of a source, once for each file and page."""
    of_file = cache(lambda source: provenance_revision.of_file(root / source, root))
    of_lines = cache(lambda page: provenance_revision.of_lines(page, root))

    def revision(source: str, page: str, line: Line) -> str:
        if source == "note":
            return of_lines(page).get(line.number, provenance_revision.UNKNOWN)
        if source == "paper":
            return of_file(REFERENCE)
        return NONE if source in WORDS else of_file(source)

    return revision


def written(refresh: bool) -> dict[str, str | Figure]:
    """What ``python -m figures provenance`` writes, by name of file; the summary is printed, too.

    Parameters
    ----------
    refresh : bool
        Changes nothing: pages and revisions are read anew every time.
    """
    entries = collect()
    said = summary(entries)
    print(said)
    return {LINES: table(entries), SECTIONS: said + "\n"}


def table(entries: Iterable[Entry]) -> str:
    """provenance-lines.csv: a row for each line of a page."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Entry._fields)
    writer.writerows(entries)
    return text.getvalue()


def summary(entries: Iterable[Entry]) -> str:
    """For the screen: page by page its sections, and last the lines that have no source."""
    text, page, bare = [], "", []
    for key, group in groupby(entries, lambda entry: (entry.page, entry.section, entry.source)):
        lines = [*group]
        if key[0] != page:
            page = key[0]
            text += ["", page]
        section = "(elsewhere)" if key[1] == REST else key[1]
        text.append(f"  {_span(lines):>9}  {section}: {_behind(lines) or 'NO SOURCE'}")
        bare += [f"{entry.page}:{entry.line}" for entry in lines if not entry.source]
    if bare:
        text += ["", f"without a row in figures/data/{DATA}: {', '.join(bare)}"]
    return "\n".join(text[1:])


def _span(lines: list[Entry]) -> str:
    first, last = lines[0].line, lines[-1].line
    return f"{first}" if first == last else f"{first}-{last}"


def _behind(lines: list[Entry]) -> str:
    """The sources of some lines that have the same, each with its revision or revisions."""
    of_sources = zip(*(entry.revision.split("; ") for entry in lines), strict=True)
    said = []
    for source, revisions in zip(lines[0].source.split(), of_sources, strict=False):
        which = sorted({*revisions})
        one = which[0] if len(which) == 1 else f"{len(which)} commits"
        said.append(source if one == NONE else f"{source} ({one})")
    return ", ".join(said)
