r"""What became of a network's filters: every measure, in one place.

All of them work on any torch model with BatchNorm, on any device, and leave the model as it was.
Results per filter are NumPy arrays by layer name (``"C1"``, ...). The formulas stand in
``docs/networks.md``.

========================  =====================================================================
`by_gamma`                filters with a small :math:`|\gamma|`
`by_activation`           filters that no training image activates
`by_absorption`           filters whose :math:`\gamma` sees a gradient of exactly zero for good
`sparsity`                the share of inactive filters, per layer and in total
`sparsity_gamma`          the same by :math:`\gamma`, in one call
`agreement`               where several of these measures agree, and which filters differ
`prunable_share`          share of the convolutions' parameters that inactive filters free
`activation_maxima`       the largest activation of each filter over the images
`universality`            share of the images that activate a filter
`positive_share`          share of positions at which a filter is positive, without images
`selectivity`             100 minus one of the two above
`evaluate`                loss, error and top-5 error
`zeroed`                  a model whose inactive filters give 0, within a ``with``
========================  =====================================================================
"""

from cnn.activity import activation_maxima, positive_share, selectivity, universality
from cnn.evaluation import Evaluation, evaluate, zeroed
from cnn.inactive import (
    Agreement,
    Sparsity,
    agreement,
    by_absorption,
    by_activation,
    by_gamma,
    prunable_share,
    sparsity,
    sparsity_gamma,
)

__all__ = [
    "Agreement",
    "Evaluation",
    "Sparsity",
    "activation_maxima",
    "agreement",
    "by_absorption",
    "by_activation",
    "by_gamma",
    "evaluate",
    "positive_share",
    "prunable_share",
    "selectivity",
    "sparsity",
    "sparsity_gamma",
    "universality",
    "zeroed",
]
