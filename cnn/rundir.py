"""The folder of a run: what it holds, what may be written over, and results that appear whole."""

import json
import os
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn import checkpoint
from cnn.checkpoint import LAST, PREVIOUS, Keeper, Run, whole
from cnn.config import ELSEWHERE, Config, difference, from_dict, to_dict

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PICTURES = ("filters.png", "sparsity.png")


def refuse(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise ValueError rather than write over a run that nobody asked to end."""
    if resume and overwrite:
        raise ValueError("--resume goes on and --overwrite begins anew: give one of them.")
    if not (resume or overwrite):
        for name in ("summary.json", LAST, PREVIOUS):
            if (folder / name).exists():
                raise ValueError(
                    f"{str(folder)!r} holds a run: --resume goes on with it, --overwrite begins "
                    "anew, another --out leaves it."
                )


def begun(
    config: Config, folder: Path, *, resume: bool, branch: str | os.PathLike | None
) -> dict[str, Any] | None:
    """The checkpoint from which to go on: that in `folder`, else that of the branch, else none."""
    if resume:
        entry = checkpoint.last(folder)
        stored = stored_config(folder) if entry is None else checkpoint.config_of(entry)
        if stored is not None and (what := difference(stored, config)):
            raise ValueError(
                f"the run in {str(folder)!r} has other settings: {what}. Resume it with its own, "
                "or take another --out."
            )
        if entry is not None:
            if branch is not None and not _is_of(entry, Path(branch)):
                raise ValueError(f"the run in {str(folder)!r} did not begin at {str(branch)!r}.")
            return entry
    if branch is None:
        return None
    entry = checkpoint.read(Path(branch))
    what = difference(checkpoint.config_of(entry), config, {*ELSEWHERE, "data_seed"})
    if what:
        raise ValueError(
            f"{str(branch)!r} is of a run with other settings: {what}. A branch may change "
            "data_seed only."
        )
    origin = {"after": entry["step"], "data_seed": config.data_seed}
    origin["checkpoint"] = checkpoint.digest(Path(branch))
    return {**entry, "branches": [*entry["branches"], origin]}


def _is_of(entry: dict[str, Any], branch: Path) -> bool:
    origins = [origin["checkpoint"] for origin in entry["branches"]]
    return checkpoint.digest(branch) in origins[-1:]


def stored_config(folder: Path) -> Config | None:
    """The settings of the run that began in `folder`, if one did.

    Raises
    ------
    ValueError
        If config.json is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} is not the settings of a run: {error}") from None


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary, which is written last, if it is there."""
    try:
        return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def prepare(folder: Path, config: Config, keeper: Keeper, *, resumed: bool) -> None:
    """Clear away the run that is written over; write the settings, and where a branch begins."""
    if not resumed:
        for name in ("summary.json", "run.nc", *PICTURES):
            (folder / name).unlink(missing_ok=True)
        for path in folder.glob("checkpoint*.pt"):
            path.unlink()
    if keeper.run.step:
        keeper.write()
    with whole(folder / "config.json") as name:
        Path(name).write_text(json.dumps(to_dict(config), indent=1) + "\n", encoding="utf-8")


# What is written at the end ----------------------------------------------------------------------


def dataset(run: Run) -> "xr.Dataset":
    """The record, with what made it."""
    ds = run.recorder.dataset()
    ds.attrs |= {
        "config": json.dumps(to_dict(run.config)),
        "seed": str(run.config.seed),
        "places": json.dumps(run.places),
        "branches": json.dumps(run.branches),
    }
    if not bool((abs(ds["loss"]) < float("inf")).all()):
        warnings.warn("the loss is not finite: this run diverged.", RuntimeWarning, stacklevel=3)
    return ds


def write(folder: Path, ds: "xr.Dataset", summary: dict[str, Any], *, plot: bool) -> None:
    """run.nc, the pictures, and summary.json after all others: whole, or none."""
    try:
        with ExitStack() as files:  # renamed in reverse order
            name = files.enter_context(whole(folder / "summary.json"))
            text = json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False)
            Path(name).write_text(text + "\n", encoding="utf-8")
            if plot:
                for path, figure in _pictures(folder, ds, summary).items():
                    figure.savefig(files.enter_context(whole(path)))
            ds.to_netcdf(files.enter_context(whole(folder / "run.nc")), engine="netcdf4")
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"cannot write the results to {str(folder)!r} ({error}): full? The last checkpoint is "
            "there; --resume makes them from it."
        ) from error


def _pictures(folder: Path, ds: "xr.Dataset", summary: dict[str, Any]) -> dict[Path, "Figure"]:
    from cnn.pictures import draw_filters, draw_sparsity

    title = _title(from_dict(summary["config"]))
    figures = draw_filters(ds, title), draw_sparsity(ds, summary["layers"], title)
    return {folder / name: figure for name, figure in zip(PICTURES, figures, strict=True)}


def _title(config: Config) -> str:
    """What tells a run from others, in a line."""
    model, optim = config.model, config.optim
    width = "" if model.name != "basicnet" else f" {model.widths or model.width}"
    rule = optim.opt if optim.reg == "none" else f"{optim.opt}, {optim.reg} {optim.lam:g}"
    return f"{config.data.name}, {model.name}{width}, {rule}, seed {config.seed}"
