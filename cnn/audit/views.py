"""An audit as a table on the screen, and as plain dictionaries for JSON."""

import io
import math
from typing import Any

from cnn.audit.result import Audit, Row

HEADS = ("tensor", "role", "rule", "shrink per step", "half-life, steps", "epochs", "lost below σ")


def number(value: float, digits: int = 3) -> str:
    """A number for a person: "6,931,472", "0.0001", "never", "?"."""
    if math.isnan(value):
        return "?"
    if math.isinf(value):
        return "never" if value > 0 else "-"
    large = 999.5 <= abs(value) < 1e12  # 999.7 to three digits would be 1e+03
    return f"{value:,.0f}" if large else f"{value:.{digits}g}"


def cells(audit: Audit, row: Row) -> list[str]:
    """The cells of a row, in the order of `HEADS`."""
    lost = "any" if math.isinf(row.sigma_lost) else number(row.sigma_lost)
    none = row.rule == "none"
    return [
        row.name,
        row.role,
        row.rule,
        "0" if none else number(row.shrink),
        number(row.half_life_steps),
        number(row.half_life_epochs) if audit.steps_per_epoch else "",
        "" if none else lost,
    ]


def footnotes(audit: Audit) -> dict[str, int]:
    """Every warning once, with its number from 1."""
    found: dict[str, int] = {}
    for row in audit.rows:
        for warning in row.warnings:
            found.setdefault(warning, len(found) + 1)
    return found


def setting(audit: Audit) -> str:
    """What the numbers rest on, in a sentence."""
    run = f"{audit.steps:,} steps" if audit.steps else "a run of unknown length"
    noise = f"a gradient of σ = {audit.sigma:g}" if audit.sigma else "no gradient"
    return (
        f"{audit.optimizer}, {run}. Half-life with {noise}; lost: below {audit.threshold:g} in the "
        "long run."
    )


def text(audit: Audit, width: int = 110) -> str:
    """The table, warnings below it by number, the notes and the advice."""
    from rich.console import Console
    from rich.table import Table

    notes = footnotes(audit)
    table = Table(box=None, pad_edge=False, header_style="bold")
    heads = [head for head in HEADS if head != "epochs" or audit.steps_per_epoch]
    for i, head in enumerate([*heads, "notes"]):
        lines = head.replace(", ", ",\n").replace(" per", "\nper").replace(" below", "\nbelow")
        justify = "left" if i < 3 else "right"
        table.add_column(lines, justify=justify, overflow="fold", vertical="bottom")
    for row in audit.rows:
        shown = [c for c, head in zip(cells(audit, row), HEADS, strict=True) if head in heads]
        table.add_row(*shown, " ".join(str(notes[w]) for w in row.warnings))
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False)
    console.print(setting(audit))
    console.print()
    console.print(table)
    lines = [f"{i}  {warning}" for warning, i in notes.items()]
    for block in (lines, list(audit.notes), [audit.advice] if audit.advice else []):
        if block:
            console.print()
            console.print("\n".join(block))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def plain(audit: Audit) -> dict[str, Any]:
    """The audit as dictionaries and lists; None for what is infinite or not known."""
    return {
        "optimizer": audit.optimizer,
        "steps": audit.steps,
        "steps_per_epoch": audit.steps_per_epoch,
        "sigma": audit.sigma,
        "threshold": audit.threshold,
        "rows": [
            {
                key: (list(value) if isinstance(value, tuple) else _finite(value))
                for key, value in row._asdict().items()
            }
            for row in audit.rows
        ],
        "notes": list(audit.notes),
        "advice": audit.advice,
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
