r"""Which settings the theory is held against, fixed before the theory was written.

Two groups of cells, each cell a rule with its hyper-parameters, a regulariser, a strength and a
gradient process. All start at theta = 1 and run for 10^6 steps; an event later than that is
censored.

* `matrix()`: the paper's settings of all rules, both regularisers, strengths 1e-6 ... 1e-2, under
  the paper's low gradient (Figure 4) and under constant noise of std 1e-5 and 1e-3.
* `random_sets(seed)`: 84 settings drawn from the ranges below, six for every rule and regulariser:
  four under constant noise and two under a schedule like that of Figure 4.

The ranges, `DEV_SEED` and `TEST_SEED` were committed before any theory existed. The sets of
`DEV_SEED` may be looked at while the theory is built. Those of `TEST_SEED` are for the end: what
they show is published as it is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from regdyn import gradients, rules

STEPS = 1_000_000
LANES = 4096
THETA0 = 1.0

REGS = ("l2", "wd")
STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
NOISES = (
    gradients.LowGradient(),
    gradients.Gaussian(std=1e-5),
    gradients.Gaussian(std=1e-3),
)

DEV_SEED = 1
TEST_SEED = 20261124

EACH = 6  # random sets for every rule and regulariser
SCHEDULED = 2  # of these under a schedule like that of Figure 4: the last ones
BURST, BURST_STEPS = 100, 100  # std0 = min(100 sigma, 1) for 100 steps, then sigma

# All drawn log-uniformly; of what lies in [0, 1) the distance to 1 is drawn.
LR = (1e-4, 1e-1)
EPS = (1e-12, 1e-4)
LAM = (1e-6, 1e-1)
SIGMA = (1e-7, 1.0)
ONE_MINUS = {
    "momentum": (0.01, 1.0),
    "beta1": (0.01, 1.0),
    "beta2": (1e-4, 0.2),
    "rho": (1e-4, 0.2),
    "alpha": (1e-4, 0.2),
}


class Cell(NamedTuple):
    """One setting: `rule` are hyper-parameters, `gradient` is a process."""

    rule: Any
    reg: str
    lam: float
    gradient: Any


def matrix() -> list[Cell]:
    """The 210 cells of the paper's settings."""
    return [
        Cell(rules.resolve(name), reg, lam, gradient)
        for gradient in NOISES
        for name in rules.RULES
        for reg in REGS
        for lam in STRENGTHS
    ]


def random_sets(seed: int) -> list[Cell]:
    """84 cells with random hyper-parameters: every rule x {l2, wd} x 6.

    None of SGD, a linear rule, grows without bound: lr * lambda <= 0.01 < 2 (1 + momentum).
    """
    rng = np.random.default_rng(seed)

    def draw(bounds: tuple[float, float]) -> float:
        return float(np.exp(rng.uniform(*np.log(bounds))))

    cells = []
    for name in rules.RULES:
        for reg in REGS:
            for k in range(EACH):
                cells.append(_draw_cell(name, reg, draw, scheduled=k >= EACH - SCHEDULED))
    return cells


def _draw_cell(
    name: str, reg: str, draw: Callable[[tuple[float, float]], float], *, scheduled: bool
) -> Cell:
    """One cell: hyper-parameters in the order of their fields, then lambda, then sigma."""
    values: dict[str, Any] = {}
    for field in rules.RULES[name].hyper._fields:
        if field in ONE_MINUS:
            values[field] = 1 - draw(ONE_MINUS[field])
        elif field in ("lr", "eps"):
            values[field] = draw(LR if field == "lr" else EPS)
    rule = rules.resolve(rules.RULES[name].hyper(**values))
    lam, sigma = draw(LAM), draw(SIGMA)
    gradient: Any = gradients.Gaussian(std=sigma)
    if scheduled:
        gradient = gradients.LowGradient(min(BURST * sigma, 1.0), sigma, BURST_STEPS)
    return Cell(rule, reg, lam, gradient)
