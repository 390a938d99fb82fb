"""Train a network and record what becomes of its filters: ``python -m cnn.train --out DIR``.

`train` is the whole of it, from top to bottom: settings in, numbers out. Each part has a file:
data.py, models.py, optim.py, record.py, step.py, checkpoint.py, summary.py, pictures.py.
"""

import argparse
import os
import sys
import warnings
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from tyro.conf import OmitArgPrefixes

from cnn.config import Config, check
from regdyn.cli import exit_code

if TYPE_CHECKING:
    from cnn.checkpoint import Run
    from cnn.place import Place
    from cnn.step import Step


def train(
    config: Config,
    out: str | os.PathLike,
    *,
    resume: bool = False,
    branch: str | os.PathLike | None = None,
    overwrite: bool = False,
    checkpoint_seconds: float = 15.0,
    plot: bool = True,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train, record, measure, and write it all down.

    Parameters
    ----------
    config : Config
    out : path
        Folder for config.json, run.nc, summary.json, the pictures and the checkpoints.
    resume : bool
        Go on from the last checkpoint in `out`; from the beginning if there is none. A run that is
        finished is not done again.
    branch : path, optional
        Begin at this checkpoint of a run with the same settings, or another `data_seed`.
    overwrite : bool
        Begin anew in a folder that holds a run.
    checkpoint_seconds : float
        Between two checkpoints, or longer, so that they take 2 % of the time at most; 0: after
        every step.
    plot : bool
        Draw the pictures.
    progress : bool, optional
        Show a progress bar. By default only if standard error is a terminal.

    Returns
    -------
    dict
        The content of summary.json. Of several ranks only rank 0 writes and gets it.

    Raises
    ------
    ValueError
        For bad settings, or settings other than those of the checkpoint.
    OSError
        If a file cannot be read or written; the last checkpoint stays.
    Interrupted
        After SIGINT (ctrl-C) or SIGTERM, when a checkpoint has been written.
    """
    import torch

    from cnn import checkpoint, data, models, optim, place, record, rundir, stopping, summary
    from regdyn import store
    from regdyn.checks import finite
    from regdyn.progress import bar
    from regdyn.regularizers import StepDecay, schedule_factors

    check(config)
    finite("checkpoint_seconds", checkpoint_seconds, 0.0)
    with place.place(config) as here, store.folder(Path(out)) as folder, ExitStack() as held:
        # What the folder holds
        if here.writes:
            held.enter_context(stopping.alone_in(folder))
            rundir.refuse(folder, resume=resume, overwrite=overwrite)
        begun = rundir.begun(config, folder, resume=resume, branch=branch)
        if resume and (done := rundir.finished(folder)):
            return done

        # Images, network, optimizer, recorder: the same on every rank
        images = data.load(config.data)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        batches = data.Batches(
            images.train, batch=config.batch, flip=images.flip, memory_format=layout,
            seed=config.seed if config.data_seed is None else config.data_seed,
            device=here.device, rank=here.rank, world=here.world,
        )  # fmt: skip
        torch.manual_seed(config.seed)
        model = models.build(
            config.model, channels=images.channels, classes=images.classes, size=images.size
        )
        model = model.to(here.device, memory_format=layout)  # type: ignore[call-overload]
        update = optim.Update(model, config.optim, capturable=config.cuda_graphs)
        recorder = record.Recorder(model, steps=config.steps, **asdict(config.record))
        scaled = config.amp and here.device.type == "cuda"
        scaler = torch.amp.GradScaler("cuda") if scaled else None
        run = checkpoint.Run(config, model, update, recorder, scaler)
        if begun is not None:
            run.load_state_dict(begun)
        _note_place(run, here)

        # Training
        one_step = _step(run, here)
        drops = () if config.drop is None else (config.drop,)
        scale = schedule_factors(StepDecay(drops), config.steps)
        keeper = checkpoint.Keeper(run, folder, checkpoint_seconds, writes=here.writes)
        if here.writes:
            rundir.prepare(folder, config, keeper, resumed=resume)
        show = progress if here.writes else False
        with bar("training", config.steps, show=show) as advance, stopping.signals() as asked:
            advance(run.step)
            remaining = range(run.step + 1, config.steps + 1)
            for step, (x, y) in zip(remaining, batches.start(run.step), strict=False):
                update.set_scale(float(scale[step - 1]))
                one_step(step, x, y)
                keeper.after(step)
                advance(1)
                if asked.to_stop(step, here):
                    keeper.write()
                    raise stopping.Interrupted(asked.signal, step, folder)
        here.settle(model)
        keeper.write()

        # Measures, record and pictures: a function of the last checkpoint
        if not here.writes:
            return {}
        ds = rundir.dataset(run)
        found = summary.of(run, here, ds, images)
        rundir.write(folder, ds, found, plot=plot)
        return found


# Parts of a run ----------------------------------------------------------------------------------


def _note_place(run: "Run", here: "Place") -> None:
    """Note where the run is computed; warn if that is not where it was."""
    before = run.places[-1] if run.places else None
    changed = [k for k, v in here.label.items() if before is not None and before.get(k) != v]
    if before is None or changed:
        run.places.append({"after": run.step, **here.label})
    if before is not None and changed and here.writes:
        changes = ", ".join(f"{name} {before.get(name)} -> {here.label[name]}" for name in changed)
        warnings.warn(
            f"this run goes on elsewhere ({changes}): its bits may not be those of a run that was "
            "never interrupted; the record says so.",
            RuntimeWarning,
            stacklevel=3,
        )


def _step(run: "Run", here: "Place") -> "Step":
    """A step of training, in the form that the settings ask for."""
    import torch

    from cnn.step import GraphedStep, Step

    config = run.config
    net: Any = here.shared(run.model)
    if config.compile:
        net = torch.compile(net)
    if config.cuda_graphs:
        return GraphedStep(net, run.update, run.recorder, here)
    half = torch.float16 if here.device.type == "cuda" else torch.bfloat16
    return Step(
        net, run.update, run.recorder, here,
        scaler=run.scaler, autocast=half if config.amp else None,
    )  # fmt: skip


# The command line --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Train a convolutional network and record what becomes of BatchNorm's gamma.

    Prints a table of inactive filters per layer, and writes the record (run.nc), a summary
    (summary.json), the settings (config.json), pictures and checkpoints. The defaults show the
    collapse on scikit-learn's digits in under a minute on one core.
    """

    config: OmitArgPrefixes[Config] = field(default_factory=Config)
    out: Path | None = None
    """Folder for all that is written [default: results/cnn/DATA-OPT-REG-LAM-seed-N]."""
    recipe: str | None = None
    """Settings by name, which other flags change; python -m cnn.recipes lists them."""
    resume: bool = False
    """Go on with the run in --out; its settings are those in its config.json."""
    branch: Path | None = None
    """Begin at this checkpoint of a run, with its settings; --data-seed changes the order of the
    images from there on."""
    overwrite: bool = False
    """Begin anew in a folder that holds a run."""
    checkpoint_seconds: float = 15.0
    """Between two checkpoints, or longer, so that they take 2 % of the time at most; 0: after every
    step."""
    plot: bool = True
    """Draw the pictures."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input, 130 after ctrl-C)."""
    return exit_code(lambda: _run(argv), "interrupted: --resume goes on from the last checkpoint.")


def _run(argv: list[str] | None) -> int:
    base = _base(argv)
    settings = tyro.cli(Settings, prog="python -m cnn.train", args=argv, default=Settings(base))
    out = settings.out or _out(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda said, *_: print(f"warning: {said}", file=sys.stderr)
        try:
            found = train(
                settings.config, out, resume=settings.resume, branch=settings.branch,
                overwrite=settings.overwrite, checkpoint_seconds=settings.checkpoint_seconds,
                plot=settings.plot,
            )  # fmt: skip
        except KeyboardInterrupt as stop:
            if (code := getattr(stop, "code", 0)) == 0:
                raise
            if os.environ.get("RANK", "0") == "0":
                print(stop, file=sys.stderr)
            return code
    if found:
        _print(found, out)
    return 0


def _base(argv: list[str] | None) -> Config:
    """The settings that flags change: the recipe's, the branch's, those of the run to resume."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in ("--recipe", "--branch", "--out"):
        first.add_argument(flag)
    first.add_argument("--resume", action="store_true")
    try:
        given, _ = first.parse_known_args(argv)
    except argparse.ArgumentError:  # the real parser will say what is wrong
        return Config()
    if given.recipe is not None:
        from cnn.recipes import get

        return get(given.recipe).config
    if given.resume and given.out and (stored := _stored(Path(given.out))):
        return stored
    if given.branch is not None:
        from cnn.checkpoint import config_of, read

        return config_of(read(Path(given.branch)))
    return Config()


def _stored(folder: Path) -> Config | None:
    from cnn.rundir import stored_config

    return stored_config(folder)


def _out(settings: Settings) -> Path:
    """Where the results go by default."""
    config = settings.config
    words = [config.data.name, config.optim.opt, config.optim.reg, f"{config.optim.lam:g}"]
    if settings.recipe is not None:
        words = settings.recipe.split("/")
    return Path("results") / "cnn" / "-".join([*words, f"seed-{config.seed}"])


def _print(found: dict[str, Any], out: Path) -> None:
    """The table, and where things are."""
    from rich.console import Console

    from cnn import rundir, summary

    Console(width=100).print(summary.table(found))  # whole, however narrow the window
    print(summary.sentences(found))
    names = [name for name in ("run.nc", "summary.json", *rundir.PICTURES) if (out / name).exists()]
    print(f"written to {out}{os.sep}: {', '.join(names)}; settings and checkpoints beside them")


if __name__ == "__main__":
    sys.exit(main())
