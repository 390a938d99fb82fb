"""The command line: ``python -m regdyn.sim --opt adam --reg l2``."""

import json
import os
import sys
import warnings
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from regdyn.cli import exit_code, hyper, process

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class Settings:
    """Simulate a parameter that sees little gradient and is regularised.

    Prints when its median |theta| passes 0.5, 0.1, 1e-2 and 1e-3, writes the result (netCDF), a
    summary (JSON) and a picture, and says where. The defaults are the paper's Figure 4.
    """

    opt: tuple[str, ...] = ("adam",)
    """Update rules: sgd, adam, amsgrad, adagrad, adadelta, rmsprop, lion; or all."""
    reg: tuple[str, ...] = ("l2",)
    """Where lambda enters: l2, wd (the paper's), adamw (torch's), none; or all."""
    lam: tuple[float, ...] = STRENGTHS
    """Strengths lambda."""
    steps: int = 30_000
    """Steps."""
    lanes: int = 1000
    """Independent copies of the parameter."""
    seed: int = 0
    """Seed of the gradients."""
    preset: str = "paper"
    """Hyper-parameters: paper (section 2.1) or torch (torch.optim's defaults)."""
    hyper: tuple[str, ...] = ()
    """Other hyper-parameters, such as lr=1e-2 beta2=0.999, for the rules that have them."""
    gradient: tuple[str, ...] = ("low",)
    """Gradient process and its fields: low, gaussian, intermittent, ar1, studentt, well; such as
    gaussian std=1e-3."""
    schedule: str = "constant"
    """Learning-rate schedule: constant, paper (x0.1 after 250/325 of the run), cosine."""
    theta0: float = 1.0
    """Start value."""
    out: Path | None = None
    """Folder for result.nc, summary.json and figure.png [default: results/OPT-REG]."""
    engine: str = "auto"
    """auto, numpy (the readable form) or compiled: the same bits."""
    threads: int | None = None
    """Threads [default: all cores]."""
    cluster: str | None = None
    """Run on the Dask scheduler at this address, such as tcp://host:8786."""
    theory: bool = False
    """Predict the same by regdyn.theory: in the table with its error, in the picture dashed."""
    plot: bool = True
    """Draw the picture."""
    json: bool = False
    """Print the summary as JSON and nothing else."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Rerun a stored result (result.nc) and check that it gives the same bits."""
    explain: bool = False
    """Print each rule with its formula and three steps with their numbers; simulate nothing."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    return exit_code(lambda: _run(argv), "interrupted: nothing was written.")


def _run(argv: list[str] | None) -> int:
    settings = tyro.cli(Settings, prog="python -m regdyn.sim", args=argv)
    if settings.explain and settings.from_ is None:
        print(_explanation(settings))
        return 0
    return _simulate(settings)


def _simulate(settings: Settings) -> int:
    """Simulate, print, write; 1 if a rerun does not give the stored bits."""
    from regdyn import store
    from regdyn.engine import simulate
    from regdyn.execution import choose_how, cold
    from regdyn.plan import make_plan

    stored = None if settings.from_ is None else _stored(settings)
    arguments = _arguments(settings) if stored is None else _stored_arguments(stored)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        plan = make_plan(**arguments)  # bad input ends here, before anything is made
        for sentence in plan.unstable():
            print(f"warning: unstable: {sentence}", file=sys.stderr)
        how = choose_how(plan, engine=settings.engine, threads=settings.threads)
        theory = _predicted(arguments, plan.record) if settings.theory else None
        with store.folder(_out(settings)) as out:
            if how.engine == "compiled" and settings.cluster is None and cold():
                print("compiling the engine: once, some ten seconds", file=sys.stderr)
            with _workers(settings) as executor:
                ds = simulate(
                    **arguments, engine=settings.engine, threads=settings.threads,
                    executor=executor,
                )  # fmt: skip
            try:
                _write(ds, theory, out, plot=settings.plot)
            except (OSError, RuntimeError) as error:
                raise ValueError(f"cannot write to {str(out)!r} ({error}): full?") from error
    for warning in caught:
        if not str(warning.message).startswith("unstable"):  # said before the run
            print(f"warning: {warning.message}", file=sys.stderr)
    _print(ds, theory, out, settings)
    if stored is None:
        return 0
    same = ds.drop_attrs().identical(stored.drop_attrs())
    versions = {k: stored.attrs.get(k) for k in store.provenance() if k.endswith("version")}
    print(
        f"the same bits as {settings.from_}"
        if same
        else f"error: other numbers than {settings.from_}, which was made with {versions}",
        file=sys.stderr,
    )
    return 0 if same else 1


def _predicted(arguments: dict[str, Any], record: "np.ndarray") -> "xr.Dataset":
    """The prediction of the same setting, at the steps that the simulation records."""
    from regdyn.theory import predict

    same = ("rule", "reg", "lam", "gradient", "steps", "schedule", "theta0", "thresholds")
    return predict(**{name: arguments[name] for name in same}, record=record)


def _arguments(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of `simulate`."""
    from regdyn import plan, regularizers, rules

    return {
        "rule": hyper(_all(settings.opt, tuple(rules.RULES)), settings.preset, settings.hyper),
        "reg": list(_all(settings.reg, regularizers.REGULARIZERS)),
        "lam": list(settings.lam),
        "gradient": process(settings.gradient),
        "steps": settings.steps,
        "lanes": settings.lanes,
        "theta0": settings.theta0,
        "seed": settings.seed,
        "record": None,
        "schedule": settings.schedule,
        "preset": settings.preset,
        "thresholds": plan.THRESHOLDS,
        "keep_lanes": False,
        "keep_passages": False,
        "statistics": "full",
    }


def _all(given: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are meant: `all` stands alone."""
    if "all" in given and len(given) > 1:
        raise ValueError(f"all stands for every name, alone, not {' '.join(given)}.")
    return names if given == ("all",) else given


def _stored(settings: Settings) -> "xr.Dataset":
    """The result to rerun; ValueError if other settings are given too."""
    from regdyn import store

    allowed = {"from_", "out", "theory", "plot", "json", "engine", "threads", "cluster"}
    for field in fields(settings):
        if field.name not in allowed and getattr(settings, field.name) != field.default:
            raise ValueError(
                f"--{field.name} cannot change a stored result: --from takes only --out, "
                "--theory, --no-plot, --json, --engine, --threads and --cluster."
            )
    assert settings.from_ is not None
    if _out(settings).resolve() == settings.from_.resolve().parent:
        raise ValueError("--out must be another folder than that of the stored result.")
    return store.load(settings.from_)


def _workers(settings: Settings) -> AbstractContextManager[Any]:
    """The cluster's executor, or none."""
    if settings.cluster is None:
        return nullcontext()
    from regdyn.distributed import dask

    return dask(settings.cluster)


def _stored_arguments(stored: "xr.Dataset") -> dict[str, Any]:
    from regdyn.plan import from_config

    return {**from_config(stored.attrs["config"]), "preset": "paper"}


def _out(settings: Settings) -> Path:
    """Where the results go."""
    if settings.out is not None:
        return settings.out
    if settings.from_ is not None:
        return Path("results") / f"rerun-{settings.from_.resolve().parent.name}"
    return Path("results") / "-".join((*settings.opt, *settings.reg))


def _write(ds: "xr.Dataset", theory: "xr.Dataset | None", out: Path, *, plot: bool) -> None:
    """result.nc, summary.json and figure.png: all of them whole, or none."""
    from regdyn import store

    with ExitStack() as files:
        result, summary = (
            files.enter_context(store.temporary(out / name))
            for name in ("result.nc", "summary.json")
        )
        ds.to_netcdf(result, engine="netcdf4")
        Path(summary).write_text(_summary(ds, theory) + "\n", encoding="utf-8")
        if not plot:
            (out / "figure.png").unlink(missing_ok=True)  # it would be of another result
        if plot:
            from regdyn.plotting import draw

            draw(ds, theory).savefig(files.enter_context(store.temporary(out / "figure.png")))


def _summary(ds: "xr.Dataset", theory: "xr.Dataset | None") -> str:
    from regdyn import report, store

    content: dict[str, Any] = {"rows": report.rows(ds)}
    if theory is not None:
        content["theory"] = report.compared(ds, theory)
    content["config"] = json.loads(ds.attrs["config"])
    return json.dumps({**content, "provenance": store.provenance()}, indent=1, allow_nan=False)


def _print(ds: "xr.Dataset", theory: "xr.Dataset | None", out: Path, settings: Settings) -> None:
    """The table, and where things are; or the JSON and nothing else."""
    if settings.json:
        print(_summary(ds, theory))
        return
    from rich.console import Console

    from regdyn import report

    table = (
        report.table(report.rows(ds))
        if theory is None
        else report.compared_table(report.rows(ds), report.compared(ds, theory))
    )
    Console(width=120).print(table)  # whole, however narrow the window
    print(
        f"median: over {ds.attrs['lanes']} lanes, '-' if fewer than half get there;\n"
        "late rms: of theta, over lanes and the last tenth of the run"
    )
    if theory is not None:
        print("predicted: for infinitely many lanes, by the moment closure of regdyn.theory")
    written = ["result.nc", "summary.json", *(["figure.png"] if settings.plot else [])]
    print(f"written to {out}{os.sep}: {', '.join(written)}")


def _explanation(settings: Settings) -> str:
    from regdyn.explain import explain
    from regdyn.plan import make_plan
    from regdyn.regularizers import REGULARIZERS

    arguments = _arguments(settings)
    make_plan(**arguments)
    regs = _all(settings.reg, REGULARIZERS)
    lams = (1e-4,) if settings.lam == STRENGTHS else settings.lam
    rest: dict[str, Any] = {
        "theta0": settings.theta0, "gradient": arguments["gradient"], "seed": settings.seed,
        "schedule": settings.schedule, "steps": settings.steps,
    }  # fmt: skip
    pages = [explain(*at, **rest) for at in product(arguments["rule"], regs, lams)]
    return "\n\n\n".join(pages)


if __name__ == "__main__":
    sys.exit(main())
