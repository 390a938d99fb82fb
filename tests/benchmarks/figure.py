"""The curve of cost of a benchmark run: ``python -m tests.benchmarks.figure FILE PICTURE``."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(found: dict[str, Any]) -> Any:
    """Seconds over lane-steps, for more lanes and for more steps, and a line of slope 1."""
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in found["rows"]:
        if "curve" in row:
            curves.setdefault(row["curve"], []).append((row["x"], row["ours"]))
    for more, points in curves.items():
        axes.loglog(*zip(*points, strict=True), "o-", label=f"more {more}")
    size, time = max(max(points) for points in curves.values())
    least = min(min(points)[0] for points in curves.values())
    axes.loglog([least, size], [time * least / size, time], "k:", label="in proportion")
    axes.set(xlabel="lanes x steps", ylabel="CPU seconds, one thread", title="Cost of simulate")
    axes.legend()
    return figure


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())).savefig(sys.argv[2], dpi=150)
