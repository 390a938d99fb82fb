"""The strength above which L2 inside an adaptive rule is slower than weight decay."""

import math
from typing import Any

from regdyn import rules
from regdyn.theory.laws.choose import time_to
from regdyn.theory.laws.law import Law, invalid


def crossover(
    hp: Any, sigma: float, *, theta0: float = 1.0, theta1: float = 0.5, rival: Any = None
) -> Law:
    r"""lambda at which L2 under `hp` takes as long as weight decay, from `theta0` to `theta1`.

    Weight decay is as fast under every rule; with `rival`, hyper-parameters of another rule, it is
    L2 under that rule that `hp` is compared with. Below the crossover `hp` is faster.

    Formula: the root of time_to(l2, lambda) = time_to(wd, lambda). While lambda theta_1 >> sigma,
    theta falls by lr per step, whatever lambda, so with little memory

        lambda = lr ln(theta_0 / theta_1) / (theta_0 - theta_1);

    while lambda theta_0 << sigma the rates lr lambda / sigma and lambda never cross: below
    sigma = lr Adam is faster, above it slower, at all strengths.
    Assumption and range: those of the two times there. Source: docs/laws/crossover.md.
    """
    hp = rules.resolve(hp)

    def log_ratio(lam: float) -> float:
        mine = time_to(hp, "l2", lam, sigma, theta0=theta0, theta1=theta1).value
        other = time_to(rival or hp, "l2" if rival else "wd", lam, sigma, theta0=theta0,
                        theta1=theta1).value  # fmt: skip
        return math.log(mine / other) if mine > 0 and other > 0 else math.nan

    low, high = math.log(1e-7), math.log(0.5)
    if not log_ratio(math.exp(low)) < 0 < log_ratio(math.exp(high)):
        return invalid(math.nan, "The two times do not cross between lambda = 1e-7 and 0.5.")
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if log_ratio(math.exp(middle)) > 0 else (middle, high)
    lam = math.exp(middle)
    law = time_to(hp, "l2", lam, sigma, theta0=theta0, theta1=theta1)
    return Law(lam, law.valid, f"There the time under l2: {law.reason}")
