"""Does training do on this device what it does on a CPU? ``python -m cnn.check --device cuda``.

Looks at the collapse of the default run, float64 losses, the paper's network and length, kill and
resume, speed in every mode, and what recording costs. Writes gpu.json after every part. Runs from
the checkout; what has passed is not done again.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from cnn.check_parts import Finding, Setting, default_run, long_run, same_losses
from cnn.check_resume import kill_and_resume
from regdyn.checks import choose, finite
from regdyn.cli import exit_code

RESULT = "gpu.json"
MODES = ("eager", "channels-last", "amp", "compile", "cuda-graphs")


@dataclass(frozen=True)
class Settings:
    """Check training on a device, part by part, and write gpu.json.

    A part that fails is reported there with its sentence, and the others go on. The same command
    again does what has not passed, and goes on with the long runs.
    """

    device: str = "cuda"
    """cuda, cuda:N or cpu."""
    out: Path = Path("results/check")
    """Folder for gpu.json and the runs."""
    parts: tuple[str, ...] = ()
    """Only these: default, float64, resume, speed-eager, speed-channels-last, speed-amp,
    speed-compile, speed-cuda-graphs, recording, long-adam, long-sgd [default: all]."""
    minutes: float = 20.0
    """Training time for each of the two long runs, in one go."""
    root: Path | None = None
    """Where Fashion-MNIST lies [default: as cnn.train finds it]."""
    quick: bool = False
    """Tiny networks and a few steps: shows that the check itself works, and nothing else."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 1 if a part failed, 2 for bad input."""
    return exit_code(
        lambda: _main(tyro.cli(Settings, prog="python -m cnn.check", args=argv)),
        "interrupted: the same command goes on from here.",
    )


def names(device: str, *, quick: bool = False) -> list[str]:
    """The parts that this device has, the long runs last; quick on a CPU leaves slow modes out."""
    modes = [mode for mode in MODES if mode != "cuda-graphs" or device.startswith("cuda")]
    if quick and not device.startswith("cuda"):
        modes = ["eager", "channels-last"]
    speed = [f"speed-{mode}" for mode in modes]
    return ["default", "float64", "resume", *speed, "recording", "long-adam", "long-sgd"]


def check(
    setting: Setting, parts: list[str] | None = None, *, isolate: bool = True, say: Any = print
) -> dict[str, Any]:
    """Do the parts, each in a process of its own, and write gpu.json.

    Parameters
    ----------
    setting : Setting
    parts : list of str, optional
        Of `names`; all by default.
    isolate : bool
        A process for each: an error of CUDA stays in that process.
    say : callable
        Gets a line for every part.

    Returns
    -------
    dict
        The content of gpu.json: where it was done, and `parts`, each with "ok" and "says".
    """
    path, place = setting.out / RESULT, _call(_place, setting, isolate=isolate)
    report: dict[str, Any] = {
        **place,
        "quick": setting.quick,
        "parts": _before(path, setting, place),
    }
    for name in names(setting.device, quick=setting.quick) if parts is None else parts:
        before = report["parts"].get(name, {})
        if before.get("ok") and before.get("finished", True):
            say(f"{name}: ok before: {before['says']}")
            continue
        try:
            found = _call(_do, setting, name, isolate=isolate)
        except Exception as error:  # whatever it is: it is said, and the others go on
            found = {"ok": False, "says": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        report["parts"][name] = found
        _write(path, report)
        say(f"{name}: {'ok' if found['ok'] else 'NOT OK'}: {found['says']}")
    return report


def _do(setting: Setting, name: str) -> Finding:
    """One part."""
    if name.startswith("speed-"):
        from cnn.check_speed import speed

        return speed(setting, name.removeprefix("speed-"))
    if name.startswith("long-"):
        return long_run(setting, f"{name.removeprefix('long-')}-l2-1e-4")
    if name == "recording":
        from cnn.check_speed import recording

        return recording(setting)
    return {"default": default_run, "float64": same_losses, "resume": kill_and_resume}[name](
        setting
    )


def _call(task: Callable, *words: Any, isolate: bool) -> Any:
    """`task(*words)`, in a new process if `isolate`."""
    if not isolate:
        return task(*words)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *words).result()


def _place(setting: Setting) -> dict[str, Any]:
    """Device and versions.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    import torch

    from cnn.config import Config
    from cnn.place import place
    from regdyn.store import provenance

    with place(Config(device=setting.device)) as here:
        found: dict[str, Any] = {"device": setting.device, "name": here.label["kind"]}
        if here.device.type == "cuda":
            properties = torch.cuda.get_device_properties(here.device)
            found["cuda"] = torch.version.cuda
            found["memory_mib"] = properties.total_memory // 2**20
            found["cudnn"] = torch.backends.cudnn.version()
    return {**found, "torch": torch.__version__, "cores": os.cpu_count(), **provenance()}


def _before(path: Path, setting: Setting, place: dict[str, Any]) -> dict[str, Any]:
    """Parts of an earlier check in this place, of the same kind."""
    if not path.is_file():
        return {}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        same = all(report[k] == place[k] for k in ("device", "name", "torch"))
        return report["parts"] if same and report["quick"] == setting.quick else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{str(path)!r} is not the result of a check: take another --out."
        ) from None


def _write(path: Path, report: dict[str, Any]) -> None:
    from regdyn.store import temporary

    with temporary(path) as name:
        text = json.dumps(report, indent=1, ensure_ascii=False)
        Path(name).write_text(text + "\n", encoding="utf-8")


def _main(settings: Settings) -> int:
    from regdyn import store

    minutes = finite("--minutes", settings.minutes, 0.0, open_below=True)
    known = names(settings.device, quick=settings.quick)
    for part in settings.parts:
        choose("part", part, known)
    setting = Setting(settings.device, settings.out, settings.quick, minutes, settings.root)
    with store.folder(settings.out):
        report = check(setting, list(settings.parts) or None)
    failed = [name for name, found in report["parts"].items() if not found["ok"]]
    print(f"{report['name']}: {len(failed)} of {len(report['parts'])} parts are not ok")
    print(f"written to {settings.out / RESULT}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
