"""One training run in a Python process of its own: what kills it kills nothing else.

`run` is what a sweep hands to its executor. The process ends when its caller does, whatever ended
that, so that no two processes ever write into one folder.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cnn.config import Config, difference, from_dict, to_dict

COMMAND = (sys.executable, "-m", "cnn.child")
PATIENCE = 60.0  # seconds to stop in
_running: set[subprocess.Popen] = set()


class Failed(RuntimeError):
    """A run ended without a result; the message is its last sentence."""


def state(config: Config, folder: Path) -> Literal["new", "unfinished", "finished"]:
    """What lies in `folder`. Where and how a run is computed does not tell settings apart.

    Raises
    ------
    ValueError
        If it is a run of other settings.
    """
    stored = _stored(folder)
    if stored is None:
        return "new"
    if differs := difference(stored, config):
        raise ValueError(f"{str(folder)!r} holds another run: its {differs}.")
    return "finished" if (folder / "summary.json").is_file() else "unfinished"


def summary(folder: Path) -> dict[str, Any]:
    """What a finished run found."""
    path = folder / "summary.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{str(path)!r} is damaged: remove it, and the run ends anew.") from None


def run(config: Config, folder: Path) -> dict[str, Any]:
    """Train in a process of its own, from the checkpoint if there is one; return the summary.

    What it prints goes to a file beside `folder` that ends in ``.log``.

    Raises
    ------
    Failed
        If it ends without a result.
    """
    if state(config, folder) == "finished":
        return summary(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    words = json.dumps({"config": to_dict(config), "out": str(folder.resolve())})
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": _path()},
        )  # fmt: skip
    _running.add(process)
    try:
        assert process.stdin is not None
        process.stdin.write(f"{words}\n")
        process.stdin.flush()  # and stays open: when we end, the child sees its end
        code = process.wait()
    except BrokenPipeError:
        code = process.wait()
    finally:
        process.kill()
        process.communicate()
        _running.discard(process)
    if code or state(config, folder) != "finished":
        raise Failed(_last_words(code, log))
    return summary(folder)


def stop(number: int = signal.SIGTERM) -> None:
    """End the processes that `run` started in this one; what they have reached can be resumed."""
    for process in list(_running):
        process.send_signal(number)


def main() -> int:
    """The process: settings as a line of JSON on standard input, exit code as of cnn.train."""
    from regdyn.cli import exit_code

    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_caller, daemon=True).start()
    stopped = "stopped: the same sweep goes on from the last checkpoint."
    return exit_code(lambda: _train(from_dict(task["config"]), Path(task["out"])), stopped)


def _train(config: Config, folder: Path) -> int:
    from cnn.train import train

    stored = _stored(folder)
    if stored is not None:  # goes on with the threads it began with: other sums, other bits
        config = replace(config, threads=stored.threads)
    train(config, folder, resume=True)
    return 0


def _end_with_caller() -> None:
    """Once standard input ends, so has the caller: stop, with a checkpoint if there is training."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def _stored(folder: Path) -> Config | None:
    """The settings of the run in `folder`, if one has begun there."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is not the settings of a run ({error}).") from None


def _path() -> str:
    """PYTHONPATH with which the process finds this package, installed or not."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), given]))


def _last_words(code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip().removeprefix("error: ") for line in lines if line.strip()]
    if code < 0:
        return f"killed by {signal.Signals(-code).name}; its last words are in {str(log)!r}."
    return said[-1] if said else f"ended with exit code {code} and no word."


if __name__ == "__main__":
    sys.exit(main())
