"""Predict what the simulator does, without Monte Carlo, and say how far to trust it.

`predict` follows the moments of theta and returns a Dataset of `regdyn.simulate`'s shape; `laws`
has the closed forms; `regimes` says which of them acts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["predict"]

if TYPE_CHECKING:
    from regdyn.theory.prediction import predict

_HOME = {"predict": "prediction"}


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name in _HOME:
        return getattr(import_module(f"regdyn.theory.{_HOME[name]}"), name)
    raise AttributeError(f"module 'regdyn.theory' has no attribute {name!r}")
