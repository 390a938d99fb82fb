"""``python -m cnn.validate what-if RUN --lam 3e-3``: what other settings would have given."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from cnn.config import Config, OptimConfig


@dataclass(frozen=True)
class Settings:
    """Predict the sparsity under other settings, from one finished run of the same network.

    What is not given is the run's. --train trains the settings with another seed and compares.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a finished run of cnn.train: the pilot."""
    lam: float | None = None
    """Strength lambda."""
    opt: str | None = None
    """sgd, adam, amsgrad, adagrad, adadelta or rmsprop; with it go the paper's hyper-parameters."""
    reg: str | None = None
    """none, l2, wd or adamw."""
    lr: float | None = None
    """Learning rate."""
    beta2: float | None = None
    """Adam's and AMSGrad's."""
    hyper: tuple[str, ...] = ()
    """Other hyper-parameters, such as beta1=0.8."""
    batch: int | None = None
    """Images per step."""
    width: float | None = None
    """Width multiplier of the network; only under weight decay and SGD."""
    train: bool = False
    """Train the settings, too, into --out, and compare."""
    out: Path | None = None
    """Folder for the run of --train [default: beside RUN]."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON in place of the table."""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    settings = tyro.cli(Settings, prog="python -m cnn.validate what-if", args=argv)
    from cnn.validate import folders
    from regdyn import what_if

    pilot, config = folders.for_forecast(settings.run)
    target = target_of(config, settings)
    found = what_if.what_if(pilot, **arguments(config, target))
    out = settings.out or settings.run.with_name(f"{settings.run.name}-what-if")
    true = trained(target, out) if settings.train else None
    tell(what_if.dataset(found, pilot), true, as_json=settings.as_json)
    return 0


def target_of(config: Config, asked: Any) -> Config:
    """The run's settings with those that were asked for in their place."""
    optim = config.optim
    if asked.opt is not None and asked.opt != optim.opt:
        optim = OptimConfig(opt=asked.opt, reg=optim.reg, lam=optim.lam)
    hyper = [*asked.hyper, *([] if asked.beta2 is None else [f"beta2={asked.beta2!r}"])]
    given = {word.partition("=")[0] for word in hyper}
    kept = [word for word in optim.hyper if word.partition("=")[0] not in given]
    changes = {name: getattr(asked, name) for name in ("reg", "lam", "lr")}
    changes = {name: value for name, value in changes.items() if value is not None}
    optim = replace(optim, **changes, hyper=(*kept, *hyper))
    model = config.model if asked.width is None else replace(config.model, width=asked.width)
    batch = config.batch if asked.batch is None else asked.batch
    return replace(config, optim=optim, model=model, batch=batch)


def arguments(pilot: Config, target: Config) -> dict[str, Any]:
    """Of `regdyn.what_if.what_if`."""
    from cnn.optim import hyperparameters

    wide = 1.0
    if target.model.width != pilot.model.width:
        widths = pilot.model.width, target.model.width
        if not all(isinstance(width, (int, float)) for width in widths):
            raise ValueError(f"--width must be a number, as the pilot's, not {widths[1]!r}.")
        wide = float(target.model.width) / float(pilot.model.width)
    optim = target.optim
    return {"rule": hyperparameters(optim), "reg": optim.reg, "lam": optim.lam,
            "batch": target.batch, "width": wide}  # fmt: skip


def trained(target: Config, out: Path) -> Any:
    """Shares of a run with these settings and the next seed; a finished one is not done again."""
    from cnn.child import run
    from cnn.validate import folders
    from regdyn import forecast

    config = replace(target, seed=target.seed + 1)
    print(f"training into {out} ...", file=sys.stderr)
    run(config, out)
    return forecast.measured(folders.load(out)[0])


def tell(ds: Any, true: Any, *, as_json: bool) -> None:
    """JSON or a table."""
    from cnn.validate.predict import show, summary

    if as_json:
        print(json.dumps(summary(ds, true)))
    else:
        show(ds, true)
