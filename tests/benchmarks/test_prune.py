"""What removing dead filters saves: one call of the pruned network against one of the unpruned.

torchvision's networks with planted dead filters, 64x64 pixels, one thread; traced, both of them, so
that neither is faster for its Python code alone. "plain" is the network against a copy of itself.
"""

import copy
import time

import pytest

from .measure import SCALE

pytestmark = pytest.mark.benchmark(timer=time.perf_counter)

ROUNDS = 21
NETWORKS = ("resnet18", "mobilenet_v2", "densenet121")
WAYS = {"plain": None, "pruned": {}, "pruned and fused": {"fuse": True}}


def planted(name):
    """gamma of 40 % of each BatchNorm's filters 0, beta of either sign; evaluation mode."""
    import torch
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    with torch.no_grad():
        for bn in model.modules():
            if isinstance(bn, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(bn.bias, std=0.5)
                bn.weight[torch.rand(bn.num_features) < 0.4] = 0
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved(name, rows):
    """Images per second at batch 1 and 64, ratio to the unpruned network in the same round."""
    import torch

    from cnn.prune import prune
    from cnn.prune.compare import UNPRUNED, latencies

    torch.set_num_threads(1)
    model, example = planted(name), torch.randn(64, 3, 64, 64)
    networks = {UNPRUNED: model}
    for way, how in WAYS.items():
        given = prune(model, example[:2], latency=False, **how).model if how is not None else None
        networks[way] = copy.deepcopy(model) if given is None else given
    with torch.no_grad():
        found = latencies(networks, example, max(2, round(ROUNDS * min(1, SCALE))))
    for way in WAYS:
        for batch, milliseconds in found[way].items():
            ours, before = (
                [1000 * int(batch) / t for t in times]
                for times in (milliseconds, found[UNPRUNED][batch])
            )
            case = f"{name}, batch {batch}, {way}"
            rows.compare(case, ours, before, "images/s", against="unpruned")
