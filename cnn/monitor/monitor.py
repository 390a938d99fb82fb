"""Watch a training: two lines in any loop; see docs/monitor.md. ::

with GammaMonitor(model, optimizer, "watched", steps=steps) as monitor:
    for x, y in batches:
        ...                         # zero_grad, forward, backward, optimizer.step()
        monitor.step(loss)          # gradients are still there
"""

import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from cnn.audit.schedule import factors
from cnn.labels import weights_out
from cnn.monitor.files import Files, folder_of
from cnn.monitor.forecasts import Forecast, forecast
from cnn.monitor.history import About, History
from cnn.monitor.instruments import Guarded, instruments
from cnn.monitor.quantities import FORECASTS, Spent, budget
from cnn.monitor.recorded import labelled
from cnn.monitor.setting import rate, setting
from cnn.monitor.stream import Stream
from cnn.monitor.view import View
from regdyn.checks import finite, integer, shown

FORMAT = 1
UNBOUNDED = 2**62  # steps of a run whose length is not known


class GammaMonitor:
    """Records what becomes of every filter while a network trains, and shows it.

    It reads parameters and gradients, and changes nothing: the bits of the training are the same
    with and without it. It waits for the device once per record.

    Parameters
    ----------
    model : nn.Module
        On its device. DDP and torch.compile are looked through. With several processes, make a
        monitor in one of them.
    optimizer : torch.optim.Optimizer
        The one that trains it; what it does to gamma is read from its settings.
    out : path
        Folder for record.nc, report.html and TensorBoard's files; made if need be.
    steps : int, optional
        Length of the run, in calls of `step`. Needed for a forecast, and for a record of the last
        step where `every` does not divide it.
    every : int
        Steps between records.
    show : bool, optional
        Draw in the terminal; by default only if standard error is one.
    tensorboard : bool
        Write for TensorBoard too.
    html : bool
        Write report.html.
    schedule : callable or sequence of float, optional
        lr_t / lr of every step from the first of the run: a function of the step from 0, or its
        values. By default the learning rate is taken to stay as it is.
    batch : int
        Images per step; matters to the forecast where filters are absorbed.
    threshold : float
        A filter with |gamma| below it is gone.

    Raises
    ------
    ValueError
        For bad input, in one sentence: a model without normalisation, an optimizer of another
        model, a file as `out`.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, out: str | os.PathLike, *,
        steps: int | None = None, every: int = 20, show: bool | None = None,
        tensorboard: bool = False, html: bool = True, schedule: Any = None, batch: int = 40,
        threshold: float = 1e-3,
    ) -> None:  # fmt: skip
        integer("every", every, 1)
        self._schedule = factors(schedule, steps, None)
        self._batch = integer("batch", batch, 1)
        threshold = finite("threshold", threshold, 0.0, open_below=True)
        folder = folder_of(out)
        if not isinstance(model, nn.Module):
            raise ValueError(f"model must be a torch.nn.Module, not {type(model).__name__}.")
        self._stream = Stream(model, steps=steps or UNBOUNDED, every=every, ema=0.99)
        layers = self._stream.layers
        self._gammas, self._optimizer = [layer.bn.weight for layer in layers], optimizer
        self._setting = setting(optimizer, model, self._gammas)
        self._history = _history(self._stream, folder, steps, threshold)
        self._history.append(0, self._read())
        self._files = Files(folder, self.dataset, html=html)
        self._spent = Spent()
        self._instruments = instruments(
            self._files, folder, self._spent, show=show, tensorboard=tensorboard
        )
        self._budget = budget("forecast", self._spent)
        self._forecast: Forecast | None = None
        self._why: str | None = "it has not been made yet."
        self._forecast_at = 0
        self._warnings: list[str] = []
        self._start, self._closed = time.perf_counter(), False

    def step(self, loss: Tensor | float | None = None, *, skipped: Tensor | None = None) -> None:
        """Take in a step: after ``optimizer.step()``, before the next ``zero_grad()``.

        Parameters
        ----------
        loss : Tensor or float, optional
            Of this step; one number.
        skipped : Tensor, optional
            One number, not 0 where a gradient scaler has skipped the step because a gradient
            overflowed: its gradient does not count.

        Raises
        ------
        ValueError
            If there are no gradients, or the loss is not one number.
        """
        if self._closed:
            raise ValueError("the monitor is closed: make another one to go on.")
        began = time.perf_counter()
        complete = self._stream.observe(loss, skipped)
        self._spent.seconds += time.perf_counter() - began
        if complete:
            self._history.append(self._stream.done, self._read())
            self._look()
            if self._forecast_due():
                self._make_forecast()
            for one in self._instruments:
                if one.budget.due():
                    self._use(one)

    def _read(self) -> Any:
        return self._stream.read(rate(self._optimizer, self._gammas))

    def _look(self) -> None:
        """What is wrong is said once."""
        about, now = self._history.about, [self._history[name][-1] for name in ("gamma", "beta")]
        lost = ~np.isfinite(now).all(axis=0)
        if lost.any():
            names = [about.norms[i].name for i in np.unique(about.layer[lost])]
            self._warn(
                "gamma or beta is not a number in ",
                f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}: {lost.sum()} filters "
                f"at step {self._history.step}; the run diverged there.",
            )
        zero = self._history["grad_gamma_zero"][-1]
        if len(zero) and (zero == 1).all():
            self._warn(
                "every gradient of gamma was exactly zero: ",
                "is step called before the next zero_grad()?",
            )

    # The forecast ---------------------------------------------------------------------------------

    def _forecast_due(self) -> bool:
        steps = self._history.about.steps
        if steps is None:
            return False
        return self._stream.done - self._forecast_at >= steps / FORECASTS and self._budget.due()

    def _make_forecast(self) -> None:
        self._forecast_at = self._stream.done
        with self._budget.spending():
            try:
                self._forecast = forecast(
                    self._history, self._setting, self._schedule, max(self._batch, 2)
                )
                self._why = None
            except ValueError as error:
                self._forecast, self._why = None, str(error)
            except Exception as error:  # a training does not end because of a forecast
                self._forecast, self._why = None, f"it failed ({type(error).__name__}: {error})."

    # What is shown --------------------------------------------------------------------------------

    def view(self) -> View:
        """All that is known now: see `View`."""
        return View(
            self._history, self._setting, self._forecast, self._why, seconds=self.seconds,
            warnings=tuple(self._warnings),
        )  # fmt: skip

    def document(self) -> dict[str, Any]:
        """The report's numbers, as plain dicts and lists."""
        from cnn.monitor.document import document

        return document(self.view())

    def dataset(self, view: View | None = None) -> Any:
        """The record as `xarray.Dataset`: docs/recording.md, and the last forecast."""
        return labelled(self._history.dataset(self._stream), self.view() if view is None else view)

    @property
    def seconds(self) -> float:
        """Of training, over resumed parts."""
        return time.perf_counter() - self._start

    def _use(self, one: Guarded) -> None:
        trouble = one.show(self.view())
        if trouble is not None:
            self._warn(*trouble)

    def _warn(self, what: str, details: str) -> None:
        """Once for each `what`."""
        if not any(one.startswith(what) for one in self._warnings):
            self._warnings.append(what + details)
            warnings.warn(f"monitor: {what}{details}", RuntimeWarning, stacklevel=4)

    def close(self) -> None:
        """Make a last forecast, show and write all once more; after that, `step` is an error."""
        if self._closed:
            return
        self._closed = True
        self._make_forecast()
        for one in self._instruments:
            self._use(one)
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # Checkpoints ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on with the same record, at any step: tensors, numbers."""
        return {
            "format": FORMAT,
            "stream": self._stream.state_dict(),
            "history": self._history.state_dict(),
            "setting": self._setting.json(),
            "seconds": self.seconds,
            "warnings": list(self._warnings),
        }

    def load_state_dict(self, entry: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, before the first step.

        Raises
        ------
        ValueError
            If it is that of another network or version, or recorded in another way.
        """
        if not isinstance(entry, Mapping):
            raise ValueError(
                f"the monitor's state must be what state_dict gave, not {shown(entry)}."
            )
        if entry.get("format") != FORMAT:
            raise ValueError("the monitor's state was written by another version of this program.")
        self._history.load_state_dict(entry["history"])
        self._stream.load_state_dict(entry["stream"])
        self._warnings = list(entry["warnings"])
        self._start = time.perf_counter() - entry["seconds"]
        self._forecast_at = self._history.step
        self._files.resumed = True


def _history(stream: Stream, folder: Path, steps: int | None, threshold: float) -> History:
    title = folder.resolve().name or str(folder)
    about = About(title, steps, threshold, stream.norms, stream.scales, stream.why)
    layers = [layer for layer in stream.layers for _ in range(layer.filters)]
    eps = np.array([layer.bn.eps for layer in layers], float)
    counts = np.array([weights_out(layer) for layer in layers], float)
    return History(about, stream.dtype, bn_eps=eps, weights_out=counts)
