"""Watch a training: what becomes of its filters; docs/monitor.md.

>>> import torch
>>> from cnn.monitor import GammaMonitor
>>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
>>> optimizer = torch.optim.Adam(model.parameters(), weight_decay=1e-2)
>>> monitor = GammaMonitor(model, optimizer, "watched", steps=4000)  # before the loop
>>> # monitor.step(loss) after each optimizer.step(), monitor.close() after the loop

It records every filter, says which are collapsed, doomed, selective or alive, and writes a report.
``python -m cnn.monitor FOLDER`` shows a recorded folder again. Callbacks:
`cnn.monitor.lightning.GammaCallback`, `cnn.monitor.transformers.GammaCallback`.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["GammaMonitor"]

if TYPE_CHECKING:
    from cnn.monitor.monitor import GammaMonitor


def __getattr__(name: str) -> Any:
    """Import on first use: torch is slow to load."""
    if name == "GammaMonitor":
        from cnn.monitor.monitor import GammaMonitor

        return GammaMonitor
    raise AttributeError(f"module 'cnn.monitor' has no attribute {name!r}")
