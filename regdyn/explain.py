"""A rule on one page: its formula, its conventions, and three steps with their numbers."""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from regdyn import gradients, regularizers, rules
from regdyn.checks import finite

REGULARIZER = {
    "none": "none:   no regulariser",
    "l2": "l2:     g <- grad + lambda * theta, before the rule sees g",
    "wd": "wd:     theta <- (1 - lambda * lr_t / lr) * theta, after the step",
    "adamw": "adamw:  theta <- (1 - lambda * lr_t) * theta, before the step",
}


def explain(
    rule: Any,
    reg: str = "l2",
    lam: float = 1e-4,
    *,
    theta0: float = 1.0,
    gradient: Any = "low",
    seed: int = 0,
    schedule: Any = None,
    steps: int = 30_000,
) -> str:
    """Text: formula and conventions of a rule, then steps 1 to 3 of lane 0, number by number.

    The arguments are those of `regdyn.simulate`; `steps` matters to the schedule only.

    Raises
    ------
    ValueError
        For bad input; for `Well`, whose gradient cannot be drawn beforehand.
    """
    hp = rules.resolve(rule)
    name = rules.name_of(hp)
    strength = regularizers.strength(reg, regularizers.check_strength(reg, lam, hp))
    process = gradients.resolve(gradient)
    grads = gradients.sample(process, 3, 1, seed)[:, 0].tolist()
    scales = regularizers.schedule_factors(schedule, max(steps, 3))[:3].tolist()
    theta0 = finite("theta0", theta0)
    with np.errstate(all="ignore"):
        columns = list(_numbers(hp, strength, np.float64(theta0), grads, scales))
    values = ", ".join(f"{k} = {v}" for k, v in hp._asdict().items())
    lines = [
        f"{name}: {values}",
        "",
        inspect.getdoc(rules.RULES[name].step) or "",
        "",
        f"Regulariser {REGULARIZER[reg]}; lambda = {lam:g}",
        "",
        f"Three steps of lane 0 from theta_0 = {theta0:g} (gradients: {process}, seed {seed}):",
        "",
    ]
    for label in columns[0]:
        lines.append(f"    {label:<12}" + "".join(f"{c[label]:>24.15g}" for c in columns))
    return "\n".join(lines)


def _numbers(
    hp: Any, lam: regularizers.Strength, theta: float, grads: list[float], scales: list[float]
) -> Iterator[dict[str, float]]:
    """Every number of each step, by name, in the order in which it is computed."""
    rule = rules.RULES[rules.name_of(hp)]
    state = rules.init(theta, hp)
    for t, (grad, scale) in enumerate(zip(grads, scales, strict=True), start=1):
        c = regularizers.decay(lam, hp.lr, scale)
        coef = rules.coef(hp, t, scale)
        g = grad + c.l2 * theta
        delta, state = rule.step(g, state, hp, coef)
        theta = c.after * (c.before * theta - delta)
        numbers = {"t": float(t), "grad": grad, "g": g}
        numbers |= {f"coef.{k}": v for k, v in coef._asdict().items()}
        numbers |= {k: float(v) for k, v in state._asdict().items()}
        yield numbers | {"delta": float(delta), "theta": float(theta)}
