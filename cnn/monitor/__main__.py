"""``python -m cnn.monitor FOLDER``: a recorded training, shown again."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from regdyn.cli import exit_code


@dataclass(frozen=True)
class Settings:
    """Show what became of the filters of a network: a folder of the monitor, or of cnn.train.

    Prints a table of layers: verdicts, the share that is expected to be gone at the end, and the
    next collapse.
    """

    folder: tyro.conf.Positional[Path]
    """Folder with a record.nc (GammaMonitor) or a run.nc (cnn.train); or such a file."""
    html: Path | None = None
    """Write the report to this file too."""
    json: bool = False
    """Print the report's numbers as JSON and nothing else."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    return exit_code(lambda: _main(tyro.cli(Settings, prog="python -m cnn.monitor", args=argv)))


def _main(settings: Settings) -> int:
    import json

    from cnn.monitor.document import document
    from cnn.monitor.files import write_page
    from cnn.monitor.recorded import read

    view = read(settings.folder)
    if settings.html is not None:
        write_page(view, settings.html)
    if settings.json:
        print(json.dumps(document(view), allow_nan=False))
        return 0
    from rich.console import Console

    from cnn.monitor.terminal import drawing

    console = Console()
    console.print(drawing(view), highlight=False)
    if settings.html is not None:
        print(f"\n{settings.html}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
