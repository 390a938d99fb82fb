"""The table of a benchmark run, as Markdown: ``python -m tests.benchmarks.table FILE``."""

import json
import sys
from pathlib import Path
from typing import Any

HEADER = ("what", "ours", "against", "theirs", "ours / theirs (quartiles)", "goal", "n")


def table(found: dict[str, Any]) -> str:
    """Machine, note and rows; the curves of cost are left to the figure."""
    machine = ", ".join(f"{k} {v}" for k, v in found["machine"].items() if v is not None)
    lines = [" | ".join(HEADER), "|".join(["---"] * len(HEADER))]
    lines += [" | ".join(_cells(row)) for row in found["rows"] if "curve" not in row]
    text = "\n".join(f"| {line} |" for line in lines)
    return f"{text}\n\n{found['note']}\n\nMeasured on: {machine}.\n"


def _cells(row: dict[str, Any]) -> list[str]:
    """One row as text."""
    unit, low, high = row["unit"], *row["spread"]
    ours, against = _amount(row["ours"], unit), row.get("against", "")
    theirs = "" if row["limit"] is None else _amount(row["limit"], unit)
    if row["ratio"] is None:
        spread = "" if row["n"] == 1 else f"({_amount(low, unit)} – {_amount(high, unit)})"
    else:
        spread = f"**{_number(row['ratio'])}** ({_number(low)} – {_number(high)})"
    return [row["name"], ours, against, theirs, spread, row.get("goal", ""), str(row["n"])]


def _amount(value: float, unit: str) -> str:
    """A number with its unit; rates in millions."""
    if not unit.startswith("lane-steps/s"):
        return f"{_number(value)} {unit}"
    return f"{_number(value / 1e6)} M/s{unit.removeprefix('lane-steps/s')}"


def _number(value: float) -> str:
    """Three significant digits, without exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())), end="")
