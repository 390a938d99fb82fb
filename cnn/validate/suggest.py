"""``python -m cnn.validate suggest RUN --share 50``: the strength that gives a wanted sparsity."""

import json
from dataclasses import dataclass, replace

import tyro

from cnn.validate import what_if


@dataclass(frozen=True)
class Settings(what_if.Settings):
    """Find the strength lambda that gives a wanted share of dead filters, from one finished run.

    Other settings may be given as for what-if; --train trains the suggestion and compares.
    """

    share: float = 50.0
    """Percent of all filters that are to be gone at the end."""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    settings = tyro.cli(Settings, prog="python -m cnn.validate suggest", args=argv)
    if settings.lam is not None:
        raise ValueError("--lam is what suggest looks for: leave it out, or ask what-if.")
    from cnn.validate import folders
    from regdyn import what_if as law

    pilot, config = folders.for_forecast(settings.run)
    target = what_if.target_of(config, settings)
    others = what_if.arguments(config, target)
    others.pop("lam")
    lam, found = law.suggest(pilot, settings.share, **others)
    out = settings.out or settings.run.with_name(f"{settings.run.name}-suggestion")
    wanted = replace(target, optim=replace(target.optim, lam=lam))
    true = what_if.trained(wanted, out) if settings.train else None
    if settings.as_json:
        from cnn.validate.predict import summary

        print(json.dumps({"lam": lam, **summary(law.dataset(found, pilot), true)}))
        return 0
    print(f"lambda = {lam:.3g} for {settings.share:g} % of all filters")
    what_if.tell(law.dataset(found, pilot), true, as_json=False)
    return 0
