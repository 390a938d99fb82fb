"""What happens to a parameter that sees little gradient and is regularised.

Start with `simulate` (many copies of a parameter, summarised), `replay` (recorded gradients in,
trajectories out), and the update rules themselves in `regdyn.rules`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["convert", "digest", "half_life", "load", "replay", "sample", "save", "simulate"]

if TYPE_CHECKING:
    from regdyn.engine import replay, simulate
    from regdyn.gradients import sample
    from regdyn.regularizers import convert, half_life
    from regdyn.store import digest, load, save

_HOME = {
    "simulate": "engine",
    "replay": "engine",
    "sample": "gradients",
    "convert": "regularizers",
    "half_life": "regularizers",
    "digest": "store",
    "save": "store",
    "load": "store",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import regdyn.rules` and `--help` stay quick."""
    if name in _HOME:
        return getattr(import_module(f"regdyn.{_HOME[name]}"), name)
    try:
        return import_module(f"regdyn.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"regdyn.{name}":
            raise  # a dependency is missing
        raise AttributeError(f"module 'regdyn' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
