"""Prune the network of a run: ``python -m cnn.prune CHECKPOINT --out DIR``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tyro.conf import Positional

from regdyn.cli import exit_code

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cnn.data import Data
    from cnn.prune.pruning import Pruned

IMAGES = 1000  # on which the outputs are compared


@dataclass(frozen=True)
class Settings:
    """Remove the dead filters of a network that cnn.train trained, exactly, and certify it.

    Writes the narrower network (OUT/pruned.pt), what else is asked for, and the certificate
    (OUT/certificate.txt and .json).
    """

    checkpoint: Positional[Path]
    """A checkpoint, or the folder of a run; it is only read."""
    out: Path | None = None
    """Folder for the results."""
    threshold: float = 1e-3
    """A filter is dead if its BatchNorm's |gamma| is below."""
    inactive: bool = False
    """Remove also what a ReLU holds at 0 on all training images, whatever its gamma."""
    fuse: bool = False
    """Put BatchNorms into the convolutions before them: a network for evaluation only."""
    onnx: bool = False
    """Write OUT/pruned.onnx, too, and compare it in onnxruntime."""
    pt2: bool = False
    """Write OUT/pruned.pt2, too, for torch.export.load, and compare it."""
    any_size: bool = False
    """Leave height and width open in these two; otherwise only the batch is."""
    dry_run: bool = False
    """Only say what would go."""
    threads: int = 1
    """CPU threads, which the latency depends on."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    return exit_code(lambda: _main(tyro.cli(Settings, prog="python -m cnn.prune", args=argv)))


def _main(settings: Settings) -> int:
    import torch

    from cnn.prune.export import installed
    from cnn.prune.finished import first, network
    from cnn.prune.plan import plan
    from regdyn.checks import finite, integer

    if settings.out is None and not settings.dry_run:
        raise ValueError("give --out DIR for the results, or --dry-run.")
    if settings.out is not None and (settings.out / "certificate.json").exists():
        raise ValueError(f"{str(settings.out)!r} holds results: take another --out.")
    finite("--threshold", settings.threshold, 0.0)
    if settings.onnx:
        installed()
    torch.set_num_threads(integer("--threads", settings.threads, 1))
    model, images, _ = network(settings.checkpoint)
    given = first(model, images.test, IMAGES)
    if settings.dry_run:
        inactive_on = images.train if settings.inactive else None
        _show(plan(model, given, settings.threshold, inactive_on).layers)
        return 0
    pruned = _pruned(model, images, given, settings)
    _show(pruned.certificate.layers)
    written = _write(pruned, given, settings)
    print(pruned.certificate)
    print(f"written to {settings.out}{os.sep}: {', '.join(written)}")
    return 0


def _pruned(model: nn.Module, images: Data, given: Tensor, settings: Settings) -> Pruned:
    """Prune, and put the test error before and after into the certificate."""
    from cnn.measure import evaluate
    from cnn.prune import prune

    pruned = prune(
        model, given, settings.threshold, fuse=settings.fuse,
        inactive_on=images.train if settings.inactive else None,
    )  # fmt: skip
    before, after = (evaluate(net, images.test) for net in (model, pruned.model))
    pruned.certificate.notes.append(
        f"test error on {before.images:,} images: {before.error:.2f} % -> {after.error:.2f} %"
    )
    return pruned


def _show(layers: list[tuple[str, int, int]]) -> None:
    for path, before, after in layers:
        print(f"{path:>24}: {before - after} of {before} filters go")
    filters, kept = sum(before for _, before, _ in layers), sum(after for *_, after in layers)
    print(f"{'together':>24}: {filters - kept} of {filters}")


def _write(pruned: Pruned, given: Tensor, settings: Settings) -> list[str]:
    """Files, each whole or not at all; the certificate last. Returns their names."""
    import torch

    from cnn.checkpoint import whole
    from cnn.prune.export import export
    from regdyn import store

    exports = [f"pruned.{kind}" for kind in ("onnx", "pt2") if getattr(settings, kind)]
    with store.folder(settings.out) as folder:  # type: ignore[arg-type]
        with whole(folder / "pruned.pt") as name:
            torch.save(pruned.model, name)
        for file in exports:
            export(pruned, folder / file, given, sizes=settings.any_size)
        texts = {
            "certificate.txt": str(pruned.certificate),
            "certificate.json": pruned.certificate.json(),
        }
        for file, text in texts.items():
            with whole(folder / file) as name:
                Path(name).write_text(text + "\n", encoding="utf-8")
    return ["pruned.pt", *exports, *texts]


if __name__ == "__main__":
    sys.exit(main())
