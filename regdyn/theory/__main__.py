"""One question at a time: ``python -m regdyn.theory half-life --opt adam --reg l2 --lam 1e-4``."""

import math
import sys
from dataclasses import dataclass, replace
from typing import Annotated, Any

import tyro

from regdyn.cli import exit_code, hyper, process


@dataclass(frozen=True)
class Setting:
    """The parameter, its rule and its regulariser; gradients are independent, of mean 0."""

    opt: str = "adam"
    """Update rule: sgd, adam, amsgrad, adagrad, adadelta, rmsprop, lion."""
    reg: str = "l2"
    """Where lambda enters: l2, wd (the paper's), adamw (torch's), none."""
    lam: float = 1e-4
    """Strength lambda."""
    sigma: float = 1e-5
    """Standard deviation of the loss gradient."""
    hyper: tuple[str, ...] = ()
    """Other hyper-parameters, such as lr=1e-2 beta2=0.999."""
    preset: str = "paper"
    """Hyper-parameters: paper (section 2.1) or torch (torch.optim's defaults)."""
    theta0: float = 1.0
    """Start value."""
    threshold: float = 1e-3
    """|theta| below it counts as collapsed."""
    json: bool = False
    """Print JSON and nothing else."""


@dataclass(frozen=True)
class Timed(Setting):
    """What a question of time needs beyond that."""

    gradient: tuple[str, ...] = ()
    """Gradient process instead of --sigma, as for regdyn.sim; such as low."""
    schedule: str = "constant"
    """Learning-rate schedule: constant, paper, cosine; over --steps."""
    steps: int | None = None
    """Length of the run [default: as long as it takes, at most 2,000,000]."""


@dataclass(frozen=True)
class HalfLife(Timed):
    """How many steps until the mean of theta is half of its start."""


@dataclass(frozen=True)
class Collapse(Timed):
    """How many steps until half of all lanes have been below the threshold, and do they stay."""


@dataclass(frozen=True)
class Floor(Setting):
    """What noise leaves of theta in the long run, and how often that is below the threshold."""

    steps: int | None = None
    """After so many steps [default: the stationary state; adagrad and amsgrad: 406,250]."""
    window: int = 1000
    """Also the probability of being below at so many consecutive steps."""


@dataclass(frozen=True)
class Regime(Setting):
    """Which part of the physics acts when theta is at --theta0, and why."""

    past: float = 0.0
    """Root mean square of earlier, larger gradients, as the rule remembers them."""
    ago: int = 0
    """Steps since these."""


Question = (
    Annotated[HalfLife, tyro.conf.subcommand("half-life")]
    | Annotated[Collapse, tyro.conf.subcommand("collapse")]
    | Annotated[Floor, tyro.conf.subcommand("floor")]
    | Annotated[Regime, tyro.conf.subcommand("regime")]
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    return exit_code(lambda: _run(argv))


def _run(argv: list[str] | None) -> int:
    asked: Any = tyro.cli(Question, prog="python -m regdyn.theory", args=argv)  # type: ignore[arg-type]
    import json
    import warnings

    from regdyn.checks import finite  # loads NumPy: not for --help

    (hp,) = hyper([asked.opt], asked.preset, asked.hyper)
    finite("theta0", asked.theta0)
    name, answer = ANSWERS[type(asked)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # unstable: the answer says so
        lines, content = answer(hp, asked)
    text = "\n".join([f"{name} of {_named(asked)}: {lines[0]}", *lines[1:]])
    setting = {
        "question": name, "rule": asked.opt, "hyper": hp, "reg": asked.reg, "lam": asked.lam,
        "gradient": list(getattr(asked, "gradient", ())) or {"sigma": asked.sigma},
        "theta0": asked.theta0, "threshold": asked.threshold,
    }  # fmt: skip
    whole = _plain({**setting, **content, "text": text})
    print(json.dumps(whole, indent=1, allow_nan=False) if asked.json else text)
    return 0


def _plain(value: Any) -> Any:
    """As JSON has it: NamedTuples as objects, null for what is not finite."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# The answers: lines for a person, the first a heading, and their content for JSON ----------------

Answer = tuple[list[str], dict[str, Any]]


def _half_life(hp: Any, asked: HalfLife) -> Answer:
    level = 0.5 * abs(asked.theta0)
    law, times = _times(hp, asked, level)
    lines = [
        f"steps until the mean of theta is {level:g}",
        _law_line(law, " steps"),
        f"  closure      {_steps(times.mean, times)}; median lane {_steps(times.median, times)}",
    ]
    closure = {"mean": times.mean, "first_passage": times.median}
    return lines, {"law": law, "closure": closure, "unit": "step"}


def _collapse(hp: Any, asked: Collapse) -> Answer:
    from regdyn.gradients import Gaussian, LowGradient

    b, stay, gradient = asked.threshold, None, _gradient(asked)
    law, times = _times(hp, asked, b)
    white = isinstance(gradient, LowGradient) or (
        isinstance(gradient, Gaussian) and gradient.mean == 0
    )
    if white and asked.schedule == "constant":
        stay = _stay(hp, replace(asked, sigma=gradient.std))
        if law and law["valid"] and not stay.floor.std < 0.2 * b:
            why = f"It is the mean's time; noise ({stay.floor.std:.3g}) takes lanes below earlier."
            law |= {"valid": False, "reason": why}
    lines = [
        f"median first step with |theta| below {b:g}",
        _law_line(law, " steps"),
        f"  closure      {_steps(times.median, times)}",
    ]
    lines += [f"  and then     {_below(stay, b)}"] if stay else []
    closure = {"first_passage": times.median}
    return lines, {"law": law, "closure": closure, "stay": stay, "unit": "step"}


def _floor(hp: Any, asked: Floor) -> Answer:
    stay = _stay(hp, asked, window=asked.window, steps=asked.steps)
    end, family = stay.floor, "adam" if asked.opt == "rmsprop" else asked.opt
    law = {"name": f"{family}_l2_std" if asked.reg == "l2" else "wd_std", **end.law._asdict()}
    when = "in the long run" if end.steps is None else f"after {end.steps:,} steps"
    lines = [f"standard deviation of theta {when}", _law_line(law, "")]
    lines += [f"  closure      {end.closure:.4g}"] if not math.isnan(end.closure) else []
    lines += [f"  below        {_below(stay, asked.threshold)}"]
    if asked.window > 1 and not math.isnan(stay.window):
        chance = f"{stay.window:.2g}" if stay.window >= 1e-6 else "below 1e-6"
        lines += [
            f"  stays        at each of {asked.window:,} steps in a row: probability {chance}"
        ]
    if math.isfinite(stay.bound):
        lines += [
            f"  bound        leading-order floor = threshold at sigma = {stay.bound:.3g} "
            f"(68.3% below); in fact {stay.bound_share:.1%} are below there"
        ]
    content = {"closure": {"std": end.closure}, "stay": stay, "window": asked.window}
    return lines, {"law": law, **content, "unit": "theta"}


def _regime(hp: Any, asked: Regime) -> Answer:
    from regdyn.theory.regimes import NAMES, regime

    found = regime(
        hp, asked.reg, asked.lam, asked.sigma, asked.theta0,
        past=asked.past, ago=asked.ago, threshold=asked.threshold,
    )  # fmt: skip
    lines = [f"theta at {asked.theta0:g}", f"  {found.name}: {NAMES[found.name]}"]
    if not math.isnan(found.rate):
        lines.append(f"  rate         {found.rate:.3g} of theta per step")
    lines.append(f"  because      {found.reason}")
    return lines, {"regime": found, "unit": "1 per step"}


def _times(hp: Any, asked: Any, level: float) -> tuple[Any, Any]:
    """The closed form by name, or None, and both."""
    from regdyn.theory.times import times_to

    times = times_to(
        hp, asked.reg, asked.lam, _gradient(asked), level=level, theta0=asked.theta0,
        schedule=asked.schedule, steps=asked.steps,
    )  # fmt: skip
    return (None if times.law is None else {"name": times.name, **times.law._asdict()}), times


def _stay(hp: Any, asked: Any, **more: Any) -> Any:
    from regdyn.theory.stay import stay_below

    setting = {"threshold": asked.threshold, "theta0": asked.theta0}
    return stay_below(hp, asked.reg, asked.lam, asked.sigma, **setting, **more)


def _gradient(asked: Any) -> Any:
    """The gradient process."""
    from regdyn.checks import finite
    from regdyn.gradients import Gaussian

    if asked.gradient:
        return process(asked.gradient)
    return Gaussian(std=finite("sigma", asked.sigma, 0.0))


# Words ------------------------------------------------------------------------------------------


def _steps(time: float, times: Any) -> str:
    return f"{time:,.0f} steps" if math.isfinite(time) else f"later than {times.steps:,} steps"


def _named(asked: Any) -> str:
    """The setting in short."""
    words = f" ({' '.join(asked.hyper)})" if asked.hyper else ""
    gradient = getattr(asked, "gradient", ())
    noise = f"gradient {' '.join(gradient)}" if gradient else f"sigma {asked.sigma:g}"
    return f"{asked.opt}{words}, {asked.reg} {asked.lam:g}, {noise}"


def _law_line(law: Any, unit: str) -> str:
    if law is None:
        return "  closed form  none for this gradient or schedule"
    value = f"{law['value']:,.0f}{unit}" if unit else f"{law['value']:.4g}"
    value = value if math.isfinite(law["value"]) else "none"
    valid = "valid" if law["valid"] else "NOT valid"
    return f"  closed form  {value} ({law['name']}, {valid}: {law['reason']})"


def _below(stay: Any, threshold: float) -> str:
    """How often theta is below the threshold."""
    if math.isnan(stay.share):
        return f"unknown: {stay.reason}"
    perhaps = "" if stay.valid else "perhaps "
    return f"{perhaps}|theta| < {threshold:g} at {stay.share:.1%} of all steps. {stay.reason}"


ANSWERS: dict[type, tuple[str, Any]] = {
    HalfLife: ("half-life", _half_life), Collapse: ("collapse", _collapse),
    Floor: ("floor", _floor), Regime: ("regime", _regime),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
