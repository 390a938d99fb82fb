"""A rule on one page: its formula, its conventions, and three steps with their numbers."""

import inspect
from typing import Any

from regdyn import gradients, regularizers, rules

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
) -> str:
    """Text: formula and conventions of a rule, then steps 1 to 3 of lane 0, number by number.

    Raises
    ------
    ValueError
        For bad input; for `Well`, whose gradient cannot be drawn beforehand.
    """
    hp = rules.resolve(rule)
    name = rules.name_of(hp)
    regularizers.check_strength(reg, lam, hp)
    values = ", ".join(f"{k} = {v}" for k, v in hp._asdict().items())
    lines = [f"{name}: {values}", "", inspect.getdoc(rules.RULES[name].step) or ""]
    lines += ["", f"Regulariser {REGULARIZER[reg]}; lambda = {lam:g}", ""]
    lines += [
        f"Three steps of lane 0 from theta_0 = {theta0:g} (gradients: {gradient}, seed {seed}):",
        "",
    ]
    columns = _steps(hp, reg, lam, theta0, gradients.sample(gradient, 3, 1, seed)[:, 0].tolist())
    for label in columns[0]:
        lines.append(f"    {label:<12}" + "".join(f"{c[label]:>24.15g}" for c in columns))
    return "\n".join(lines)


def _steps(
    hp: Any, reg: str, lam: float, theta: float, grads: list[float]
) -> list[dict[str, float]]:
    """Every number of each step, by name, in the order in which it is computed."""
    rule = rules.RULES[rules.name_of(hp)]
    state = rules.init(theta, hp)
    c = regularizers.decay(regularizers.strength(reg, lam), hp.lr)
    steps = []
    for t, grad in enumerate(grads, start=1):
        coef = rules.coef(hp, t)
        g = grad + c.l2 * theta
        delta, state = rule.step(g, state, hp, coef)
        theta = c.after * (c.before * theta - delta)
        numbers = {"t": float(t), "grad": grad, "g": g}
        numbers |= {f"coef.{k}": v for k, v in coef._asdict().items()}
        numbers |= {k: float(v) for k, v in state._asdict().items()}
        steps.append(numbers | {"delta": float(delta), "theta": float(theta)})
    return steps
