"""``python -m cnn.validate``: forecasts against training. See `COMMANDS`."""

import sys
from importlib import import_module

from regdyn.checks import choose
from regdyn.cli import exit_code

COMMANDS = {
    "run": ("compare", "train the settings of a split, forecast, compare: tables and pictures"),
    "forecast": ("predict", "which filters of a run will be gone, when, and how many per layer"),
    "what-if": ("what_if", "the sparsity under other settings, from one finished run"),
    "suggest": ("suggest", "the strength that gives a wanted sparsity, from one finished run"),
    "replay-limit": ("replay_limit", "how far the same start with another order of images agrees"),
    "ledger": ("ledger", "when each filter fired last, fell below thresholds, came back"),
    "decompose": ("decompose", "what of a run's sparsity is due to what, by counterfactual replay"),
}
"""Name of a command: its module of this package, and what it does."""


def main(argv: list[str] | None = None) -> int:
    """Run a command (`run` if none is named); returns the exit code (2 for bad input)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["-h"], ["--help"]):
        print("usage: python -m cnn.validate [COMMAND] [--help]\n")
        for name, (_, about) in COMMANDS.items():
            print(f"  {name:13} {about}")
        return 0
    name = words.pop(0) if words and not words[0].startswith("-") else "run"
    return exit_code(lambda: _command(name).main(words), "interrupted.")


def _command(name: str):
    module, _ = COMMANDS[choose("command", name, COMMANDS)]
    return import_module(f"cnn.validate.{module}")


if __name__ == "__main__":
    sys.exit(main())
