"""Ways to prune, side by side on finished runs: ``python -m cnn.prune.compare RUN... --out FILE``.

As many filters go by each; nothing is fine-tuned. Sizes, errors, flipped predictions, latency.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from tyro.conf import Positional

from regdyn.cli import exit_code

if TYPE_CHECKING:
    from torch import Tensor, nn

UNPRUNED = "unpruned"
BATCHES = (1, 64)
SECONDS = 0.02  # that one timing takes at least


@dataclass(frozen=True)
class Settings:
    """Prune finished runs of cnn.train in several ways, and compare what is left, untuned.

    Each way takes as many filters as cnn.prune. Prints a table for the runs that differ only in
    their seed, and writes FILE.
    """

    runs: Positional[tuple[Path, ...]]
    """Checkpoints, or folders of runs; they are only read."""
    out: Path
    """A JSON file for the results."""
    threshold: float = 1e-3
    """A filter is dead if its BatchNorm's |gamma| is below."""
    rounds: int = 21
    """In each, every network is timed once; 0 leaves latency out."""
    threads: int = 1
    """CPU threads, which the latency depends on."""


def compare(settings: Settings) -> dict[str, Any]:
    """All runs by all methods: the content of the JSON file."""
    import torch

    from cnn.prune.rivals import METHODS, installed
    from regdyn import store
    from regdyn.checks import finite, integer

    installed()
    finite("--threshold", settings.threshold, 0.0)
    integer("--rounds", settings.rounds, 0)
    if not settings.runs:
        raise ValueError("give at least one run.")
    torch.set_num_threads(integer("--threads", settings.threads, 1))
    found = [_run(path, settings, METHODS) for path in settings.runs]
    versions = {"torch": torch.__version__, "torch-pruning": version("torch-pruning")}
    return {
        "threshold": settings.threshold, "rounds": settings.rounds, "threads": settings.threads,
        "load": os.getloadavg()[0], "provenance": {**store.provenance(), **versions}, "runs": found,
    }  # fmt: skip


def _run(path: Path, settings: Settings, methods: dict[str, Any]) -> dict[str, Any]:
    """One run: a row for the network as it is and one for each method."""
    import torch

    from cnn import checkpoint
    from cnn.config import to_dict
    from cnn.measure import evaluate
    from cnn.prune import measure
    from cnn.prune.finished import first, network
    from cnn.reproduce.masks import implicit

    model, images, config = network(path)
    dead = implicit(model, settings.threshold)
    if not any(mask.any() for mask in dead.values()):
        raise ValueError(f"{str(path)!r} has no |gamma| below {settings.threshold:g} to remove.")
    example = first(model, images.test, max(BATCHES))
    networks = {UNPRUNED: model}
    networks |= {name: by(model, example, settings.threshold) for name, by in methods.items()}
    before, rows = _predictions(model, images), []
    for name, pruned in networks.items():
        pruned.eval()
        flipped = int((_predictions(pruned, images) != before).sum())
        error = evaluate(pruned, images.test).error
        size = asdict(measure.size(pruned, example))
        rows.append({"method": name, **size, "test_error": error, "flipped": flipped})
    if settings.rounds:
        with torch.no_grad():
            times = latencies(networks, example, settings.rounds)
        for row in rows:
            row["milliseconds"] = times[row["method"]]
    file = path / checkpoint.LAST if path.is_dir() else path
    return {
        "checkpoint": checkpoint.digest(file), "config": to_dict(config), "images": len(before),
        "largest_constant": _largest_constant(model, dead), "rows": rows,
    }  # fmt: skip


def _largest_constant(model: nn.Module, dead: dict[str, Any]) -> float:
    """Of the filters that go, the largest act(beta)."""
    import torch

    from cnn.layers import layers

    found = [0.0]
    for layer in layers(model, chain=False):
        beta = layer.bn.bias.detach()[torch.as_tensor(dead[layer.name])]
        given = beta if layer.activation is None else layer.activation(beta.clone())
        found += given.abs().tolist()
    return max(found)


def _predictions(model: nn.Module, images: Any) -> Tensor:
    """Of each test image the largest output."""
    import torch

    from cnn.evaluation import batches, evaluating

    with evaluating(model):
        return torch.cat([model(x).argmax(1) for x, _ in batches(model, images.test, 500)])


# Latency ------------------------------------------------------------------------------------------


def latencies(
    networks: dict[str, nn.Module], example: Tensor, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds per call: method -> batch -> one number per round.

    In a round every network is timed once, in an order that alternates. All of them are traced, so
    that none is faster for its Python code alone.
    """
    from cnn.prune.graph import trace

    traced = {name: trace(network, example) for name, network in networks.items()}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in traced}
    for batch in BATCHES:
        x = example[:1].expand(batch, *example.shape[1:]).contiguous()
        calls = max(1, round(SECONDS / min(_seconds(traced[UNPRUNED], x, 3) for _ in range(3))))
        for name, network in traced.items():
            _seconds(network, x, calls)  # warms up
            found[name][str(batch)] = []
        for turn in range(rounds):
            for name in list(traced)[:: 1 if turn % 2 else -1]:
                milliseconds = 1000 * _seconds(traced[name], x, calls)
                found[name][str(batch)].append(milliseconds)
    return found


def _seconds(network: nn.Module, x: Tensor, calls: int) -> float:
    """Of one call, the mean of some."""
    import time

    start = time.perf_counter()
    for _ in range(calls):
        network(x)
    return (time.perf_counter() - start) / calls


# The table ----------------------------------------------------------------------------------------


def table(found: dict[str, Any]) -> str:
    """As Markdown: one table for the runs that differ only in their seed; medians over them.

    Errors are those of each run. Latency is the ratio to the unpruned network in the same round:
    median and quartiles over the rounds of all runs.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in found["runs"]:
        config = {k: v for k, v in run["config"].items() if k != "seed"}
        groups.setdefault(json.dumps(config, sort_keys=True), []).append(run)
    return "\n\n".join(_group(runs) for runs in groups.values())


def _group(runs: list[dict[str, Any]]) -> str:
    optim, seeds = runs[0]["config"]["optim"], [str(run["config"]["seed"]) for run in runs]
    words = ", ".join(
        f"{k} {v}" for k, v in optim.items() if k in ("opt", "reg", "lam", "gamma_l1")
    )
    titles = ["method", "filters", "parameters", "MACs", "test error, %", "flipped"]
    timed = "milliseconds" in runs[0]["rows"][0]
    titles += [f"time, batch {batch}" for batch in BATCHES if timed]
    lines = [titles, ["---"] * len(titles)]
    for rows in zip(*(run["rows"] for run in runs), strict=True):
        sizes = [
            statistics.median(r[key] for r in rows) for key in ("filters", "parameters", "macs")
        ]
        errors = ", ".join(f"{r['test_error']:.2f}" for r in rows)
        flipped = f"{sum(r['flipped'] for r in rows)} of {sum(run['images'] for run in runs)}"
        cells = [rows[0]["method"], *(f"{n:,.0f}" for n in sizes), errors, flipped]
        lines.append(cells + [_ratio(runs, rows, str(batch)) for batch in BATCHES if timed])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    constants = ", ".join(f"{run['largest_constant']:.2g}" for run in runs)
    head = f"{words}; seeds {', '.join(seeds)}; largest constant of a filter that goes: {constants}"
    return f"{head}\n\n{text}"


def _ratio(runs: list[dict[str, Any]], rows: tuple[dict[str, Any], ...], batch: str) -> str:
    ratios = []
    for run, row in zip(runs, rows, strict=True):
        whole = run["rows"][0]["milliseconds"][batch]
        ratios += [a / b for a, b in zip(row["milliseconds"][batch], whole, strict=True)]
    if len(ratios) < 2:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} – {high:.2f})"


# The command line ---------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    prog = "python -m cnn.prune.compare"
    return exit_code(lambda: _main(tyro.cli(Settings, prog=prog, args=argv)))


def _main(settings: Settings) -> int:
    from cnn.checkpoint import whole

    if settings.out.exists():
        raise ValueError(f"{str(settings.out)!r} is there: take another --out.")
    if not settings.out.parent.is_dir():
        raise ValueError(f"--out must be in a folder that exists, not {str(settings.out)!r}.")
    found = compare(settings)
    with whole(settings.out) as name:
        Path(name).write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(table(found))
    print(f"written to {settings.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
