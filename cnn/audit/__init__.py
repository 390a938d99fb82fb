"""What decays the parameters of a live optimizer, and how fast: `audit_decay`; docs/audit.md.

>>> import torch
>>> from cnn.audit import audit_decay
>>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
>>> audit = audit_decay(torch.optim.AdamW(model.parameters(), weight_decay=1e-4), model)
>>> audit.rows[2].role, audit.rows[2].rule, round(audit.rows[2].half_life_steps)
('BN gamma', 'decay coupled to lr', 6931471)

`python -m cnn.audit CHECKPOINT_OR_CONFIG` does it for a run of `cnn.train`. `register` teaches it
an optimizer that it does not know, with one of `Coupled`, `Decoupled`, `Momentum`, `Nothing`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "Audit",
    "Coupled",
    "Decoupled",
    "Momentum",
    "Nothing",
    "Row",
    "audit_decay",
    "register",
]

if TYPE_CHECKING:
    from cnn.audit.audit import audit_decay
    from cnn.audit.decays import Coupled, Decoupled, Momentum, Nothing
    from cnn.audit.readers import register
    from cnn.audit.result import Audit, Row

_HOME = {
    **dict.fromkeys(("Coupled", "Decoupled", "Momentum", "Nothing"), "decays"),
    **dict.fromkeys(("Audit", "Row"), "result"),
    "audit_decay": "audit",
    "register": "readers",
}


def __getattr__(name: str) -> Any:
    """Import on first use: torch is slow to load."""
    if name in _HOME:
        return getattr(import_module(f"cnn.audit.{_HOME[name]}"), name)
    raise AttributeError(f"module 'cnn.audit' has no attribute {name!r}")
