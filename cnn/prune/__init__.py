r"""Remove the dead filters of a network, exactly, with a certificate.

`prune` is the start: ``prune(model, images).model`` is narrower and computes the same. Any network
that torch.fx can trace is taken; `CannotPrune` names the operation that stands in the way.
``python -m cnn.prune CHECKPOINT`` prunes a run of `cnn.train`. How it is done: ``docs/prune.md``.
"""

from cnn.prune.certificate import Certificate
from cnn.prune.graph import CannotPrune
from cnn.prune.pruning import Pruned, prune

__all__ = ["CannotPrune", "Certificate", "Pruned", "prune"]
