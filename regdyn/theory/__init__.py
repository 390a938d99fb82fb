"""Predict what the simulator does, without Monte Carlo, and say how far to trust it.

predict       the moments of theta, as a Dataset of `regdyn.simulate`'s shape, for any grid
laws          closed forms, each with the range in which it holds
regime        which part of the physics acts on a parameter, by name
floor         how large noise keeps theta in the long run
stay_below    the probability that theta is, and stays, below a threshold

``python -m regdyn.theory`` asks one question at a time; docs/theory.md shows all of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["floor", "laws", "predict", "regime", "stay_below"]

if TYPE_CHECKING:
    from regdyn.theory import laws
    from regdyn.theory.floors import floor
    from regdyn.theory.prediction import predict
    from regdyn.theory.regimes import regime
    from regdyn.theory.stay import stay_below

_HOME = {"predict": "prediction", "regime": "regimes", "floor": "floors", "stay_below": "stay"}


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name == "laws":
        return import_module("regdyn.theory.laws")
    if name in _HOME:
        return getattr(import_module(f"regdyn.theory.{_HOME[name]}"), name)
    raise AttributeError(f"module 'regdyn.theory' has no attribute {name!r}")
