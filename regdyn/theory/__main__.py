"""One question at a time: ``python -m regdyn.theory half-life --opt adam --reg l2 --lam 1e-4``."""

import math
import sys
from dataclasses import dataclass, replace
from typing import Annotated, Any

import tyro

from regdyn.cli import exit_code, hyper, process

LONGEST = 2_000_000  # steps for which the closure is followed


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
    """Gradient process instead of --sigma, as for regdyn.sim; such as low. No closed form then."""
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
    import json
    import warnings

    asked: Any = tyro.cli(Question, prog="python -m regdyn.theory", args=argv)  # type: ignore[arg-type]
    (hp,) = hyper([asked.opt], asked.preset, asked.hyper)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # unstable: the answer says so
        answer = ANSWERS[type(asked)](hp, asked)
    content = {"question": NAMES[type(asked)], **_setting(hp, asked), **answer}
    print(json.dumps(_plain(content), indent=1, allow_nan=False) if asked.json else answer["text"])
    return 0


def _setting(hp: Any, asked: Any) -> dict[str, Any]:
    return {
        "rule": asked.opt, "hyper": hp._asdict(), "reg": asked.reg, "lam": asked.lam,
        "gradient": list(getattr(asked, "gradient", ())) or {"sigma": asked.sigma},
        "theta0": asked.theta0, "threshold": asked.threshold,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """As JSON has it: NamedTuples as objects, no infinities."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# The answers: a dictionary with `text` for a person ---------------------------------------------


def _half_life(hp: Any, asked: HalfLife) -> dict[str, Any]:
    level = 0.5 * abs(asked.theta0)
    law = _time_law(hp, asked, level)
    followed = _follow(hp, asked, level, law)
    times = {"mean": _mean_time(followed, level), "first_passage": _passage(followed, level)}
    lines = [
        f"half-life of {_named(asked)}: steps until the mean of theta is {level:g}",
        _law_line(law, "steps"),
        f"  closure      {_steps(times['mean'], followed)}; "
        f"median lane {_steps(times['first_passage'], followed)}",
    ]
    return {"law": _law(law), "closure": times, "unit": "step", "text": "\n".join(lines)}


def _collapse(hp: Any, asked: Collapse) -> dict[str, Any]:
    from regdyn.theory.laws.law import Law

    b = asked.threshold
    law, stay = _time_law(hp, asked, b), None
    sigma = _late_sigma(asked)
    if sigma is not None and asked.schedule == "constant":
        stay = _stay(hp, replace(asked, sigma=sigma))
        if law and law[1].valid and not stay.floor.std < 0.2 * b:
            why = (
                f"This is the mean's time; noise ({stay.floor.std:.3g}) takes lanes below earlier."
            )
            law = law[0], Law(law[1].value, False, why)
    followed = _follow(hp, asked, b, law)
    time = _passage(followed, b)
    lines = [
        f"collapse of {_named(asked)}: median first step with |theta| below {b:g}",
        _law_line(law, "steps"),
        f"  closure      {_steps(time, followed)}",
    ]
    lines += ["  and then     " + line for line in (_stay_lines(stay, asked) if stay else [])[:1]]
    return {
        "law": _law(law), "closure": {"first_passage": time}, "stay": stay, "unit": "step",
        "text": "\n".join(lines),
    }  # fmt: skip


def _late_sigma(asked: Timed) -> float | None:
    """sigma of the gradients late in the run, if they are independent and of mean 0."""
    from regdyn.gradients import LowGradient

    gradient = process(asked.gradient) if asked.gradient else None
    if gradient is None:
        return asked.sigma
    return gradient.std if isinstance(gradient, LowGradient) else None


def _floor(hp: Any, asked: Floor) -> dict[str, Any]:
    stay = _stay(hp, asked, window=asked.window, steps=asked.steps)
    end, family = stay.floor, "adam" if asked.opt == "rmsprop" else asked.opt
    named = f"{family}_l2_std" if asked.reg == "l2" else "wd_std", end.law
    when = "in the long run" if end.steps is None else f"after {end.steps:,} steps"
    lines = [
        f"floor of {_named(asked)}: standard deviation of theta {when}",
        _law_line(named, ""),
        f"  closure      {end.closure:.4g}",
        *("  below        " + line for line in _stay_lines(stay, asked)),
    ]
    return {
        "law": _law(named), "closure": {"std": end.closure}, "stay": stay, "window": asked.window,
        "unit": "theta", "text": "\n".join(lines),
    }  # fmt: skip


def _regime(hp: Any, asked: Regime) -> dict[str, Any]:
    from regdyn.theory.regimes import NAMES as KNOWN
    from regdyn.theory.regimes import regime

    found = regime(
        hp, asked.reg, asked.lam, asked.sigma, asked.theta0,
        past=asked.past, ago=asked.ago, threshold=asked.threshold,
    )  # fmt: skip
    rate = "" if math.isnan(found.rate) else f"\n  rate         {found.rate:.3g} of theta per step"
    text = (
        f"{found.name}: {KNOWN[found.name]}\n  setting      {_named(asked)}, theta {asked.theta0:g}"
        f"{rate}\n  because      {found.reason}"
    )
    return {"regime": found, "unit": "1 per step", "text": text}


def _stay(hp: Any, asked: Any, **more: Any) -> Any:
    from regdyn.theory.regimes import stay_below

    return stay_below(
        hp, asked.reg, asked.lam, asked.sigma,
        threshold=asked.threshold, theta0=asked.theta0, **more,
    )  # fmt: skip


def _stay_lines(stay: Any, asked: Any) -> list[str]:
    """Whether theta stays below, in words."""
    if math.isnan(stay.share):
        return [f"unknown: {stay.reason}"]
    lines = [f"|theta| < {asked.threshold:g} at {stay.share:.1%} of all steps. {stay.reason}"]
    if not stay.valid:
        lines[0] = f"perhaps {lines[0]}"
    if getattr(asked, "window", 1) > 1 and not math.isnan(stay.window):
        lines.append(
            f"at each of {asked.window:,} consecutive steps: probability {stay.window:.2g}"
        )
    if not math.isnan(stay.bound):
        lines.append(f"the leading-order floor is at the threshold at sigma = {stay.bound:.3g}")
    return lines


# Times ------------------------------------------------------------------------------------------


def _time_law(hp: Any, asked: Any, level: float) -> Any:
    """(name, law) of the closed form, if there is one for this gradient and schedule."""
    from regdyn.checks import finite
    from regdyn.regularizers import check_strength, schedule_factors
    from regdyn.theory import laws
    from regdyn.theory.laws.choose import TIMES

    check_strength(asked.reg, asked.lam, hp)
    finite("sigma", asked.sigma, 0.0)
    start = abs(finite("theta0", asked.theta0))
    if not 0 < level < start:
        raise ValueError(f"the time needs 0 < threshold < |theta0|, not {level:g} and {start:g}.")
    schedule_factors(asked.schedule, asked.steps or 1)
    if asked.schedule != "constant":
        return None
    if asked.gradient:
        return _burst_law(hp, asked, start, level)
    if asked.reg not in ("l2", "none") and asked.lam > 0:
        return "wd_time", laws.wd_time(hp, asked.lam, start, level, reg=asked.reg)
    if asked.reg == "none" or asked.lam == 0:
        return "none", laws.time_to(hp, asked.reg, asked.lam, asked.sigma)
    if asked.opt == "sgd":
        return "sgd_l2_time", laws.sgd_l2_time(hp, asked.lam, start, level)
    for law in TIMES[asked.opt]:
        name, answer = law.__name__, law(hp, asked.lam, asked.sigma, start, level)
        if answer.valid:
            break
    return name, answer


def _burst_law(hp: Any, asked: Any, start: float, level: float) -> Any:
    """The law for Figure 4's gradients, where there is one."""
    from regdyn.gradients import LowGradient
    from regdyn.rules import Adam, RMSprop
    from regdyn.theory.laws.burst import burst_time

    low = process(asked.gradient)
    if asked.reg != "l2" or not isinstance(low, LowGradient) or not isinstance(hp, Adam | RMSprop):
        return None
    if low.steps0 == 0:
        return None
    burst = {"sigma0": low.std0, "steps0": low.steps0}
    return "burst_time", burst_time(hp, asked.lam, low.std, start, level, **burst)


def _follow(hp: Any, asked: Any, level: float, law: Any) -> Any:
    """The closure's prediction, as long as the event takes."""
    from regdyn.gradients import Gaussian
    from regdyn.theory import predict

    gradient = process(asked.gradient) if asked.gradient else Gaussian(std=asked.sigma)
    if asked.steps is None and asked.schedule != "constant":
        raise ValueError("a schedule needs --steps, the length of the run.")
    guess = law[1].value if law and math.isfinite(law[1].value) else 10_000
    n = asked.steps or min(max(round(1.3 * guess) + 100, 1000), LONGEST)
    while True:
        ds = predict(
            hp, reg=asked.reg, lam=asked.lam, gradient=gradient, steps=n, schedule=asked.schedule,
            theta0=asked.theta0, thresholds=level, record=_dense(n, guess),
        )  # fmt: skip
        late = math.isinf(_mean_time(ds, level)) and math.isinf(_passage(ds, level))
        if asked.steps or n >= LONGEST or not late:
            return ds
        n = min(10 * n, LONGEST)


def _dense(n: int, guess: float) -> Any:
    """Steps to record: some thousand, and every one close to where the event is expected."""
    import numpy as np

    near = np.arange(max(0, round(0.98 * guess) - 5), min(n, round(1.02 * guess) + 5, n) + 1)
    grids = np.geomspace(1, n, 4000), np.linspace(0, n, 2000), near[:20_000]
    return np.unique(np.clip(np.round(np.concatenate(grids)), 0, n))


def _mean_time(ds: Any, level: float) -> float:
    """Step at which the mean's size is first below the level, between recorded steps a line."""
    import numpy as np

    t, mean = ds["step"].values, np.abs(ds["mean"].values.ravel())
    below = np.flatnonzero(mean < level)
    if len(below) == 0:
        return math.inf
    i = below[0]
    if i == 0:
        return 0.0
    part = (mean[i - 1] - level) / (mean[i - 1] - mean[i])
    return float(math.ceil(t[i - 1] + part * (t[i] - t[i - 1])))


def _passage(ds: Any, level: float) -> float:
    """Median first passage; infinite if it is later."""
    time = float(ds["first_passage_median"].values.ravel()[0])
    return math.inf if math.isnan(time) else time


def _steps(time: float, ds: Any) -> str:
    last = int(ds["step"][-1])
    return f"{time:,.0f} steps" if math.isfinite(time) else f"later than {last:,} steps"


# Words ------------------------------------------------------------------------------------------


def _named(asked: Any) -> str:
    """The setting in short."""
    words = f" ({' '.join(asked.hyper)})" if asked.hyper else ""
    gradient = getattr(asked, "gradient", ())
    noise = f"gradient {' '.join(gradient)}" if gradient else f"sigma {asked.sigma:g}"
    return f"{asked.opt}{words}, {asked.reg} {asked.lam:g}, {noise}"


def _law(named: Any) -> Any:
    """A law for JSON; null if there is none."""
    return None if named is None else {"name": named[0], **named[1]._asdict()}


def _law_line(named: Any, unit: str) -> str:
    if named is None:
        return "  closed form  none for this gradient or schedule"
    name, law = named
    value = f"{law.value:,.0f}" if unit and math.isfinite(law.value) else f"{law.value:.4g}"
    valid = "valid" if law.valid else "NOT valid"
    return f"  closed form  {value}{' ' if unit else ''}{unit} ({name}, {valid}: {law.reason})"


ANSWERS: dict[type, Any] = {
    HalfLife: _half_life, Collapse: _collapse, Floor: _floor, Regime: _regime
}  # fmt: skip
NAMES = {HalfLife: "half-life", Collapse: "collapse", Floor: "floor", Regime: "regime"}


if __name__ == "__main__":
    sys.exit(main())
