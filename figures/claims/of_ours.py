"""Claims that go beyond the paper, in the same form: ours, and what tests them."""

from __future__ import annotations

from typing import NamedTuple

from figures.claims.checks import Check, at_least, at_most, comparable, more, rises, same
from figures.claims.recorded import ABSORBED, ERROR, GAMMA, difference, universality

__all__ = ["CLAIMS", "Ours"]

L2, WD, SGD = "digits/adam-l2-1e-2", "digits/adam-wd-3e-3", "digits/sgd-l2-5e-3"
WORN = difference(GAMMA, ABSORBED, "|γ| < 1e-3 less without gradient, points")
LATE = universality(5, 6, 7)
MARGIN = 8.0  # points within which a scaled recipe gives the same sparsity


class Ours(NamedTuple):
    """A claim of ours, and what tests it."""

    claim: str
    checks: tuple[Check, ...]
    note: str = ""


def _scaled(name: str, base: str, *scales: str) -> tuple[Check, ...]:
    return tuple(same(f"digits/scaled/{name}-{scale}", base, MARGIN) for scale in scales)


BASES = {"adam-l2": L2, "adam-wd": WD, "sgd-l2": SGD}

CLAIMS = {
    "b01": Ours(
        "Under weight decay BatchNorm's eps decides: the smaller it is, the more filters die",
        (rises(("digits/eps/1e-3-adam-wd-3e-3", WD, "digits/eps/1e-12-adam-wd-3e-3")),),
    ),
    "b02": Ours(
        "Under L2 in Adam eps matters little",
        (
            same("digits/eps/1e-3-adam-l2-1e-2", L2, 10),
            same("digits/eps/1e-12-adam-l2-1e-2", L2, 10),
        ),
    ),
    "b03": Ours(
        "Filters die in two ways: worn down (Adam with L2), absorbed by a dead ReLU (weight decay, "
        "SGD)",
        (at_least(L2, 5, WORN), at_most(WD, 2, WORN), at_most(SGD, 2, WORN)),
        "Absorbed: without gradient for the rest of the run.",
    ),
    "b04": Ours(
        "A leaky ReLU saves filters that would be absorbed, not those that are worn down",
        (
            more(WD, "digits/leaky/adam-wd-3e-3"),
            more(SGD, "digits/leaky/sgd-l2-5e-3"),
            same(L2, "digits/leaky/adam-l2-1e-2", 10),
        ),
    ),
    "b05": Ours(
        "A longer memory of squared gradients saves filters: beta2 0.999 against 0.99",
        (more(L2, "digits/beta2/0.999"),),
    ),
    "b06": Ours(
        "AMSGrad loses no filter on a real network",
        (at_most("digits/amsgrad-l2-1e-2", 1), at_most("pairs100/amsgrad-l2-3e-3", 1)),
    ),
    "b07": Ours(
        "Sparing BatchNorm's gamma and beta from regularisation prevents the collapse",
        (at_most("digits/spared/adam-l2-1e-2", 1), at_most("digits/spared/adam-wd-3e-3", 1)),
        "All other parameters are still regularised.",
    ),
    "b08": Ours(
        "torch's AdamW at its default strength, 1e-2, loses no filter in such a run",
        (at_most("digits/adamw/1e-2", 1), comparable("digits/adamw/1e-2", "digits/adam-none")),
        "It multiplies the strength by the learning rate: a half-life of 69,000 steps.",
    ),
    "b09": Ours(
        "At equal epochs a smaller batch loses more filters",
        (
            rises(("digits/batch/epochs-160", L2, "digits/batch/epochs-10")),
            more("pairs100/adam-l2-3e-3", "pairs100/batch/epochs-160"),
        ),
        "A smaller batch then makes more steps.",
    ),
    "b10": Ours(
        "PyTorch's old start, gamma from U(0, 1), loses more filters than gamma = 1",
        (more("digits/gamma-init/uniform", L2),),
    ),
    "b11": Ours(
        "Scaled by the product alone: the same sparsity at half and at twice the steps",
        tuple(
            check for name, base in BASES.items() for check in _scaled(name, base, "half", "double")
        ),
        "What is kept: strength x steps (weight decay, SGD); learning rate x steps, the strength, "
        "and steps x (1 - beta2) (Adam with L2). See docs/scaling.md.",
    ),
    "b12": Ours(
        "Section 3's open question: filters of the other adaptive rules are more selective than "
        "those of SGD, as Adam's are",
        tuple(
            more("pairs100/sgd-l2-1e-3", f"pairs100/{rule}", LATE)
            for rule in ("adagrad-l2-3e-3", "adadelta-l2-3e-3", "amsgrad-l2-3e-3")
        ),
    ),
    "b13": Ours(
        "Filters of Adam are selective because of the regulariser: without one they are as "
        "universal as SGD's",
        (
            same("pairs100/adam-none", "pairs100/sgd-none", 10, LATE),
            more("pairs100/adam-none", "pairs100/adam-l2-3e-3", LATE),
        ),
    ),
    "b14": Ours(
        "The collapse costs no error; pruning as many filters by L1 norm, with fine-tuning, does",
        (
            comparable(L2, "digits/adam-none"),
            more("explicit/adam-none/l1-norm", "digits/adam-none", ERROR),
            same("explicit/adam-none/l1-norm-like-l2", "digits/adam-none", 1, ERROR),
        ),
        "43 % of every layer by L1 norm; the third check takes them from the layers in which the "
        "collapse does.",
    ),
    "b15": Ours(
        "The pruned architecture trained from new weights is as good as the collapsed network",
        (same("explicit/adam-l2-1e-2/scratch", L2, 1, ERROR),),
    ),
    "b16": Ours(
        "Scaled with the noise kept, too: the same sparsity at half the steps of twice the batch",
        tuple(check for name, base in BASES.items() for check in _scaled(name, base, "batch-80")),
        "Besides, learning rate / batch is kept (SGD), or its square / batch (Adam, whose "
        "betas follow). See docs/scaling.md.",
    ),
}
