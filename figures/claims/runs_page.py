"""All runs of the ledger for readers: ``docs/runs.md``."""

# ruff: noqa: E501 -- the page is wrapped as other pages are, not as code is

from __future__ import annotations

import csv
from itertools import groupby

import numpy as np

from figures.claims.recorded import DATA, Recorded

__all__ = ["markdown"]

HEAD = """# The runs behind the ledger

Every experiment of [claims.md](claims.md): mean ± standard deviation (divisor n − 1) over n seeds, in percent. Written by
`python -m figures claims` from [reproduce-runs.csv](../figures/data/reproduce-runs.csv), which has every run with its git revision; do
not edit by hand. `python -m cnn.reproduce --list` shows the command of each; all defaults are those of `python -m cnn.train`
(digits, width 0.125, batch 40, 4,000 steps, Adam with L2 1e-2).

* **|γ| < 1e-3**, **never active** (at most 1e-12 on all training images) and **no gradient** (until the end): three measures of dead filters.
* **Gap**: test error less training error.
* **Layers**: C1, C2, ...: filters with |γ| < 1e-3.
* Training took {hours:.1f} core hours, those of the core tier {core:.1f}, on {machines}; two cores halve the wait.
"""
TITLES = {
    "digits": "Digits",
    "pairs100": "Pairs of garments, 100 labels",
    "pairs10": "The same pairs, 10 labels",
    "pairs2": "The same pairs, 2 labels",
    "objects": "Renderings of 30 objects",
    "fashion": "Fashion-MNIST",
    "vgg": "VGG",
}
VARIANTS = {
    "digits/adam-l2-1e-2": ("digits/leaky/adam-l2-1e-2", "digits/gamma-lr/0.3", "digits/gamma-lr/0.1"),
    "digits/adam-wd-3e-3": (
        "digits/leaky/adam-wd-3e-3", "digits/gamma-lr/0.3-adam-wd-3e-3", "digits/gamma-lr/0.1-adam-wd-3e-3",
    ),
    "digits/sgd-l2-5e-3": ("digits/leaky/sgd-l2-5e-3", "", ""),
    "pairs100/adam-l2-3e-3": ("pairs100/leaky/adam-l2-3e-3", "pairs100/gamma-lr/0.3", "pairs100/gamma-lr/0.1"),
    "pairs100/adam-wd-3e-3": ("pairs100/leaky/adam-wd-3e-3", "", ""),
    "pairs100/sgd-l2-5e-3": ("pairs100/leaky/sgd-l2-5e-3", "", ""),
}  # fmt: skip
"""Setting: the same with a leaky ReLU, and with a slower gamma (0.3, 0.1); as in the paper's supplement."""
GROUPS = ("digits", "pairs100", "pairs10", "pairs2", "objects", "fashion", "vgg")
COLUMNS = (
    ("|γ| < 1e-3", "sparsity_gamma"),
    ("never active", "sparsity_act"),
    ("no gradient", "sparsity_absorbed"),
    ("test error", "test_error"),
)


def markdown(runs: Recorded) -> str:
    """The page."""
    every = [row for rows in runs.rows.values() for row in rows if "sparsity_gamma" in row]
    listed = _listed()
    core = [row for row in every if listed[row["name"]]["tier"] == "core"]
    hours, in_core = (sum(float(row["seconds"]) for row in rows) / 3600 for rows in (every, core))
    machines = sorted({f"{row['machine']} with torch {row['torch']}" for row in every})
    parts = [HEAD.format(hours=hours, core=in_core, machines="; ".join(machines))]
    for group, names in groupby(_ordered(runs), key=_group):
        parts.append(f"## {TITLES[group]}\n\n{_table(runs, list(names), listed)}")
    parts.append(f"## Leaky ReLU, and a slower γ\n\n{_variants(runs)}")
    if pruned := [name for name in runs.rows if name.startswith("explicit/")]:
        parts.append(f"## Pruned after training\n\n{_pruned(runs, pruned)}")
    return "\n".join(parts)


def _ordered(runs: Recorded) -> list[str]:
    names = [name for name in runs.rows if not name.startswith("explicit/")]
    return sorted(names, key=lambda name: GROUPS.index(_group(name)))  # stable: as listed


def _group(name: str) -> str:
    return next(group for group in GROUPS[::-1] if name.startswith(group))


def _table(runs: Recorded, names: list[str], listed: dict[str, dict[str, str]]) -> str:
    heads = ["experiment", "n", *(head for head, _ in COLUMNS), "gap", "layers", "`cnn.train` with"]
    lines = [f"| {' | '.join(_cell(head) for head in heads)} |", "|---" * len(heads) + "|"]
    for name in names:
        rows = runs.rows[name]
        cells = [_spread(rows, column) for _, column in COLUMNS]
        gap = np.array([float(row["test_error"]) - float(row["train_error"]) for row in rows])
        shares = np.mean([[float(x) for x in row["layers"].split()] for row in rows], axis=0)
        layers = " ".join(f"{share:.0f}" for share in shares)
        words = [
            name,
            str(len(rows)),
            *cells,
            f"{gap.mean():.1f}",
            layers,
            f"`{listed[name]['flags']}`",
        ]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def _variants(runs: Recorded) -> str:
    lines = [
        "The paper's supplement has tables of these, which we do not have; its text names 47 % with ReLU, 41 % with leaky",
        "ReLU (slope 0.01) and 33 % with a lower learning rate of γ (Adam, L2 1e-4, CIFAR100). Ours: |γ| < 1e-3, and the test",
        "error in brackets.\n",
        "| setting | ReLU | leaky, slope 0.01 | γ's rate x 0.3 | γ's rate x 0.1 |",
        "|---|---|---|---|---|",
    ]
    for name, others in VARIANTS.items():
        found = [runs.rows.get(one, []) for one in (name, *others)]
        cells = [
            f"{_spread(rows, 'sparsity_gamma')} ({_spread(rows, 'test_error')})" if rows else "–"
            for rows in found
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _pruned(runs: Recorded, names: list[str]) -> str:
    heads = {
        "filters pruned": "pruned_percent", "parameters pruned": "prunable",
        "error before": "test_error_before", "pruned": "test_error_pruned", "at the end": "test_error",
    }  # fmt: skip
    lines = [f"| experiment | n | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    for name in names:
        rows = runs.rows[name]
        cells = [_spread(rows, column) for column in heads.values()]
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nHow: [explicit.md](explicit.md).\n"


def _spread(rows: list[dict[str, str]], column: str) -> str:
    values = np.array([float(row[column]) for row in rows if row[column]])
    if len(values) == 0:
        return "–"
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


def _listed() -> dict[str, dict[str, str]]:
    with (DATA / "experiments.csv").open(encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
