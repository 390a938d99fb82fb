"""Explicit pruning of a finished run: ``python -m cnn.reproduce.explicit RUN --method implicit``.

Choose filters, hold them at zero, fine-tune; or train the thinner network from new weights. The
paper's Tables 7, 9 and 10 set implicit sparsity beside what others pruned so: docs/explicit.md.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from cnn.config import Config, to_dict
from cnn.reproduce.pruning import Pruning, check, chosen, fine_tuning, from_scratch
from regdyn.cli import exit_code

if TYPE_CHECKING:
    from torch import nn

    from cnn.checkpoint import Run
    from cnn.data import Data
    from cnn.inactive import PerFilter
    from cnn.place import Place
    from cnn.reproduce.masks import Held

ERRORS = ("test_error", "test_loss", "train_error", "train_loss")


def explicit(
    run: Path, out: Path, asked: Pruning, *, device: str | None = None, threads: int | None = None
) -> dict[str, Any]:
    """Prune the network of a finished run and train what is left, without a regulariser.

    Parameters
    ----------
    run : Path
        Folder of the finished run; it is only read.
    out : Path
        Folder for network.pt, in the form of a checkpoint, and summary.json, which is written last;
        of scratch, also for its training run (``out/run``). What is finished is not done again.
    asked : Pruning
    device : str, optional
    threads : int, optional
        Where to compute, if not as the run did.

    Returns
    -------
    dict
        The content of summary.json; shares and errors are percent.

    Raises
    ------
    ValueError
        For bad settings, a run that is not finished, or a folder that holds other results.
    OSError
        If a file cannot be read or written.
    """
    from cnn import checkpoint, data, place, rundir, stopping
    from cnn.reproduce.masks import Held
    from regdyn import store

    check(asked)
    entry, words = _finished(Path(run)), _words(Path(run), asked)
    config = checkpoint.config_of(entry)
    config = replace(config, device=device or config.device, threads=threads or config.threads)
    with place.place(config) as here, store.folder(Path(out)) as folder, stopping.alone_in(folder):
        if here.world > 1:
            raise ValueError("explicit pruning is for one process, not for several ranks.")
        if (done := rundir.finished(folder)) is not None:
            if {name: done.get(name) for name in words} != words:
                raise ValueError(f"{str(folder)!r} holds other results: take another --out.")
            return done
        images = data.load(config.data)
        model = _network(entry, config, images, here)
        before = _errors(model, images)["test_error"]
        masks = chosen(model, asked)
        found = {**words, **_counts(model, masks), "test_error_before": before}
        if asked.method == "scratch":
            found |= _scratch(from_scratch(config, masks, asked), folder)
        else:
            held = Held(model, masks)
            pruned = _errors(model, images)["test_error"]
            tuned = _tune(model, held, fine_tuning(config, asked), images, here, config.steps)
            checkpoint.write(tuned.state_dict(), folder / "network.pt")
            found |= {"test_error_pruned": pruned, **_errors(model, images), **_ran(tuned)}
        found |= {"run_config": to_dict(config), "provenance": store.provenance()}
        return _written(found, folder)


# Before -------------------------------------------------------------------------------------------


def _finished(run: Path) -> dict[str, Any]:
    """The last checkpoint of a finished run."""
    from cnn import checkpoint

    if not ((run / "summary.json").is_file() and (run / checkpoint.LAST).is_file()):
        raise ValueError(
            f"{str(run)!r} holds no finished run: give a folder with summary.json and "
            f"{checkpoint.LAST}."
        )
    return checkpoint.read(run / checkpoint.LAST)


def _words(run: Path, asked: Pruning) -> dict[str, Any]:
    """What was asked for, and of which network: results of the same words are the same."""
    from cnn import checkpoint

    pruning = json.loads(json.dumps(asdict(asked), default=str))
    return {"pruning": pruning, "checkpoint": checkpoint.digest(run / checkpoint.LAST)}


def _network(entry: dict[str, Any], config: Config, images: "Data", here: "Place") -> "nn.Module":
    from cnn import models

    model = models.trained(config.model, images, entry["model"])
    return model.to(here.device, memory_format=_layout(config))  # type: ignore[call-overload]


def _layout(config: Config) -> Any:
    import torch

    return torch.channels_last if config.channels_last else torch.contiguous_format


def _errors(model: "nn.Module", images: "Data") -> dict[str, float]:
    from cnn.measure import evaluate

    test, train = evaluate(model, images.test), evaluate(model, images.train)
    return dict(zip(ERRORS, (test.error, test.loss, train.error, train.loss), strict=True))


def _counts(model: "nn.Module", masks: "PerFilter") -> dict[str, Any]:
    """How much goes: percent of the filters, of the convolutions' parameters, layer by layer."""
    from cnn.measure import prunable_share, sparsity

    share = sparsity(masks)
    rows = [
        {
            "layer": name, "filters": len(mask), "pruned": int(mask.sum()),
            "pruned_percent": share.layers[name],
        }
        for name, mask in masks.items()
    ]  # fmt: skip
    alive = {name: ~mask for name, mask in masks.items()}
    return {
        "pruned_percent": share.total, "prunable": prunable_share(model, alive), "layers": rows
    }  # fmt: skip


# Training -----------------------------------------------------------------------------------------


def _tune(
    model: "nn.Module", held: "Held", config: Config, images: "Data", here: "Place", begun: int
) -> "Run":
    """Train the network with its pruned filters at zero, on the images that follow the run's.

    The optimizer begins anew.
    """
    from cnn import checkpoint, data, optim, record
    from cnn.step import Step
    from regdyn.progress import bar

    batches = data.Batches(
        images.train, batch=config.batch, flip=images.flip, memory_format=_layout(config),
        seed=config.seed if config.data_seed is None else config.data_seed, device=here.device,
    )  # fmt: skip
    update = optim.Update(model, config.optim)
    recorder = record.Recorder(model, steps=config.steps, **asdict(config.record))
    run = checkpoint.Run(config, model, update, recorder, places=[{"after": 0, **here.label}])
    one_step, start = Step(model, update, recorder, here), time.perf_counter()
    with bar("fine-tuning", config.steps) as advance:
        for run.step, (x, y) in zip(range(1, config.steps + 1), batches.start(begun), strict=False):
            one_step(run.step, x, y)
            held()
            advance(1)
    run.seconds = time.perf_counter() - start
    return run


def _ran(run: "Run") -> dict[str, Any]:
    return {
        "steps": run.step, "seconds": run.seconds, "seed": run.config.seed, "places": run.places,
        "config": to_dict(run.config),
    }  # fmt: skip


def _scratch(config: Config, folder: Path) -> dict[str, Any]:
    """A training run as any other, in a folder of its own: it is resumed if it was interrupted."""
    from cnn.train import train

    found = train(config, folder / "run", resume=True, plot=False)
    kept = (*ERRORS, "steps", "seconds", "places", "config")
    return {"test_error_pruned": None, "seed": config.seed, **{name: found[name] for name in kept}}


def _written(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """summary.json: whole, or none."""
    from cnn import checkpoint, summary

    found = summary.finite(found)
    with checkpoint.whole(folder / "summary.json") as name:
        text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False)
        Path(name).write_text(text + "\n", encoding="utf-8")
    return found


# The command line ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Prune the network of a finished run by a rule, and fine-tune it; or train it anew, thinner.

    Prints and writes the test error before, after pruning and at the end (OUT/summary.json).
    """

    run: Positional[Path]
    """Folder of a finished run of cnn.train; it is only read."""
    out: Path
    """Folder for the results."""
    pruning: OmitArgPrefixes[Pruning] = field(default_factory=Pruning)
    device: str | None = None
    """cpu, cuda or cuda:N [default: the run's]."""
    threads: int | None = None
    """CPU threads [default: the run's]."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input, 130 after ctrl-C)."""
    again = "interrupted: the same command fine-tunes anew, and goes on with a run from scratch."
    prog = "python -m cnn.reproduce.explicit"
    return exit_code(lambda: _main(tyro.cli(Settings, prog=prog, args=argv)), again)


def _main(settings: Settings) -> int:
    found = explicit(
        settings.run, settings.out, settings.pruning, device=settings.device,
        threads=settings.threads,
    )  # fmt: skip
    for row in found["layers"]:
        print(f"{row['layer']:>4}: {row['pruned']} of {row['filters']} filters pruned")
    print(
        f"{found['pruned_percent']:.1f} % of the filters, {found['prunable']:.1f} % of the "
        f"parameters of convolutions"
    )
    errors = [found[f"test_error{when}"] for when in ("_before", "_pruned", "")]
    shown = ["-" if error is None else f"{error:.2f} %" for error in errors]
    print("test error: {} before, {} pruned, {} after {:,} steps".format(*shown, found["steps"]))
    print(f"written to {settings.out}{os.sep}: summary.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
