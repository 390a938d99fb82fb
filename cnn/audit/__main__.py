"""``python -m cnn.audit CHECKPOINT_OR_CONFIG``: what decays the parameters of a run, how fast."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from regdyn.cli import exit_code


@dataclass(frozen=True)
class Settings:
    """Say of every parameter tensor of a run which rule decays it, and how fast.

    Prints a table with the half-life without gradient under the schedule of what is left of the
    run, and warnings in words.
    """

    run: tyro.conf.Positional[Path]
    """A checkpoint or a config.json of cnn.train, or the folder of a run."""
    json: bool = False
    """Print JSON and nothing else."""
    html: Path | None = None
    """Write a page to this file too."""
    sigma: float = 0.0
    """Standard deviation of the gradient that L2 inside an adaptive rule is divided by; 0: none."""
    threshold: float = 1e-3
    """A parameter below it counts as lost."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    return exit_code(lambda: _main(tyro.cli(Settings, prog="python -m cnn.audit", args=argv)))


def _main(settings: Settings) -> int:
    from shutil import get_terminal_size

    from cnn.audit.runs import audit_run
    from regdyn import store

    audit = audit_run(settings.run, sigma=settings.sigma, threshold=settings.threshold)
    if settings.html is not None:
        with store.temporary(settings.html) as name:
            Path(name).write_text(audit.html(), encoding="utf-8")
    print(audit.json() if settings.json else audit.text(max(80, get_terminal_size((110, 24))[0])))
    if settings.html is not None and not settings.json:
        print(f"\n{settings.html}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
