"""Which lines of a page in Markdown carry numbers that somebody could ask about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Line", "headings", "numbers", "pages", "read"]

# not within a word, a version, a power or a fraction
START, END = r"(?<![\w.^/])[-−+]?", r"(?:e[-+]?\d+)?(?![\w.]*\w)"
POINTED = r"(?:\d+(?:,\d{3})*)?\.\d+"
NUMBER = rf"{START}(?:{POINTED}|\d+(?:,\d{{3}})*){END}"
UNIT = r"%|points?|times|steps?|epochs?|[nmµ]?s|seconds?|min(?:utes?)?|hours?|[kMG]i?B"
# in running text: with a spread, so many of so many, before a unit (or "2 to 3 %"), with a point
SAID = re.compile(
    rf"{NUMBER} ± {NUMBER}|{NUMBER} of {NUMBER}"
    rf"|{NUMBER}(?= ?(?:(?:to|and|or|by|–|±) {NUMBER} ?)?(?:{UNIT})(?!\w))|{START}{POINTED}{END}"
)
ANY = re.compile(NUMBER)
# code, formulas, pictures, targets of links, HTML, and numbers that are names
SKIPPED = re.compile(
    r"`[^`]*`|\$[^$]*\$|!\[[^\]]*\]\([^)]*\)|(?<=\])\([^)]*\)|<[^<>]*>|https?:\S+"
    r"|\b(?:[Ss]ections?|arXiv:?|Python|Tables?|Figures?|lecture) \d[\d.]*(?: and \d[\d.]*)?"
)
FENCE = re.compile(r"\s*(```|~~~)")
HEADING = re.compile(r"(#+) +(.+?)\s*$")


class Line(NamedTuple):
    """A line of a page with its numbers."""

    number: int
    """Counted from 1."""
    headings: tuple[str, ...]
    """The heading that it stands under, then those above that but the page's title."""
    numbers: tuple[str, ...]


def numbers(line: str) -> tuple[str, ...]:
    """The numbers of a line that a reader may take for a result, as they are written.

    In a row of a table: all beyond its first column, which names what the row is about. In running
    text: with a spread (43.0 ± 1.1), counts (208 of 210), before a unit (%, points, times, steps,
    seconds, bytes), and all with digits after the point. Code, formulas in dollars, pictures,
    targets of links and HTML are left out, so a whole number without a unit is, too.

    Parameters
    ----------
    line : str
        A line of a page outside of fenced code.

    Returns
    -------
    tuple of str
    """
    text = SKIPPED.sub(" ", line).replace("\\|", " ")
    if not text.lstrip().startswith("|"):
        return tuple(found.group() for found in SAID.finditer(text))
    _, *cells = text.strip().strip("|").split("|")
    return tuple(found for cell in cells for found in ANY.findall(cell))


def read(text: str) -> list[Line]:
    """Every line of a page with numbers; headings and fenced code are passed over."""
    found = []
    for number, above, line in _outside_code(text):
        if not HEADING.match(line) and (here := numbers(line)):
            found.append(Line(number, above, here))
    return found


def headings(text: str) -> list[str]:
    """The headings of a page, as they are written."""
    lines = (HEADING.match(line) for _, _, line in _outside_code(text))
    return [match[2] for match in lines if match]


def pages(root: Path) -> list[str]:
    """README.md and every page of docs, as paths from the root of the checkout.

    Raises
    ------
    ValueError
        If there are none, as beside an installed package.
    """
    if not (root / "README.md").is_file() or not (root / "docs").is_dir():
        raise ValueError(
            "provenance reads README.md and docs/, which an installed package does not have; "
            "run it in a checkout of the repository."
        )
    return ["README.md", *sorted(p.relative_to(root).as_posix() for p in root.glob("docs/**/*.md"))]


def _outside_code(text: str) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """(number, headings, line) of every line that is not fenced code or a displayed formula."""
    above: dict[int, str] = {}
    code = formula = False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            code = not code
        elif not code and line.count("$$") == 1:
            formula = not formula
        elif not code and not formula:
            if match := HEADING.match(line):
                depth = len(match[1])
                above = {d: h for d, h in above.items() if d < depth} | {depth: match[2]}
            deep = [d for d in sorted(above, reverse=True) if d > 1 or len(above) == 1]
            yield number, tuple(above[d] for d in deep), line
