"""What is written down of every filter while a network trains; see docs/recording.md.

The steps of training count from 1, as in regdyn: step t leads to the state after t updates. ::

    recorder = Recorder(model, steps=steps)
    for step in range(1, steps + 1):
        ...                                 # forward, backward
        recorder.observe(step, loss)        # gradients as they are now
        update.step()
        recorder.after(step)                # the state it led to
    ds = recorder.dataset()

In a step, one `torch.cat` copies the gradients of all gamma and beta, and the loss, into a row of a
buffer. All else happens once per window, from the buffer. Nothing waits for the device, nothing
branches on values, nothing is written that the training reads: its bits do not change.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cnn.layers import Layer, layers
from regdyn.checks import finite, integer

STATE = ("gamma", "beta", "norm_in", "norm_out", "var")  # at recorded steps
GRADIENT = ("mean", "std", "ema2", "zero")  # over windows, of gamma and of beta
WINDOW = tuple(f"grad_{of}_{what}" for of in ("gamma", "beta") for what in GRADIENT)
PACKED = (*STATE, *WINDOW, "grad_out2")  # rows of a record


class Recorder:
    r"""Records gamma and beta of every convolution's BatchNorm, and the gradients they see.

    Parameters
    ----------
    model : nn.Module
        On its device, in its initial state, which is recorded as step 0. `torch.fx` must be able
        to trace it. Where no single convolution or linear layer reads a filter's output (before a
        sum, say), what is recorded of the outgoing weights is NaN.
    steps : int
        Steps of the run: the state after the last one is recorded whatever `every` is.
    every : int
        Steps between records, and length of a window.
    ema : float
        Decay per step of the exponential mean of squared gradients, in [0, 1).
    tape : bool
        Keep the gradient of gamma of every step.

    Attributes
    ----------
    layers : list of Layer
        The recorded convolutions, from `cnn.layers.layers`.

    Raises
    ------
    ValueError
        If the model has no convolution with BatchNorm, a BatchNorm keeps no running variance, or
        an argument is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int,
        every: int = 20,
        ema: float = 0.99,
        tape: bool = False,
    ) -> None:
        self.steps, self.every = integer("steps", steps, 1), integer("record-every", every, 1)
        self.ema = finite("record-ema", ema, 0.0, 1.0, open_above=True)
        self.layers = layers(model, chain=False)
        for layer in self.layers:
            if layer.bn.running_var is None:
                raise ValueError(f"BatchNorm after {layer.path} keeps no running variance.")
        gammas = [layer.bn.weight for layer in self.layers]
        self._params = gammas + [layer.bn.bias for layer in self.layers]
        readers = [layer.following for layer in self.layers if layer.following is not None]
        self._modules: set[Any] = {*readers, *(layer.conv for layer in self.layers)}
        self.filters = sum(layer.filters for layer in self.layers)
        device, dtype = gammas[0].device, torch.promote_types(gammas[0].dtype, torch.float32)
        like: dict[str, Any] = {"dtype": dtype, "device": device}
        # a row per step of the window: gradients of gamma, of beta; loss; whether it was skipped
        self._rows = torch.zeros(min(self.every, self.steps), 2 * self.filters + 2, **like)
        self._views = self._rows.unbind()
        self._not_skipped = torch.zeros(1, **like)
        self._square = torch.zeros(2 * self.filters, dtype=torch.float64, device=device)
        self._last = torch.zeros(self.filters, dtype=torch.int64, device=device)
        self._record = torch.zeros(len(PACKED), self.filters, **like)
        self._records = _Table(len(PACKED), self.filters, **like)
        self._windows = _Table(3, **like)  # mean loss, steps made, steps skipped
        self._tape = _Table(self.filters, rows=64 * self.every, **like) if tape else None
        self.recorded = [0]  # steps
        self._done, self._in_window, self._ends = 0, 0, False
        self._state()

    def observe(self, step: int, loss: Tensor, *, skipped: Tensor | None = None) -> None:
        """Take in the gradients of `step`: after backward, and all-reduced and unscaled if need be.

        Parameters
        ----------
        step : int
            From 1, without gaps.
        loss : Tensor
            One number, on the model's device.
        skipped : Tensor, optional
            What `Update.unscale` gave: not 0 where the gradient is not finite and the scaler will
            skip the step. Its gradient does not count.

        Raises
        ------
        ValueError
            If a step is left out, `after` was not called, or a BatchNorm has no gradient.
        """
        if step != self._done + 1 or self._in_window == len(self._rows):
            raise ValueError(
                f"after step {self._done} come after({self._done}) and observe({self._done + 1}), "
                f"not observe({step})."
            )
        last = self._not_skipped if skipped is None else skipped.reshape(1)
        parts: list[Any] = [p.grad for p in self._params]  # None before backward
        try:  # detached, it needs no torch.no_grad, which would double the cost of a step
            torch.cat([*parts, loss.detach().reshape(1), last], out=self._views[self._in_window])
        except TypeError:
            raise ValueError("BatchNorm has no gradient: call observe after backward.") from None
        self._done, self._in_window = step, self._in_window + 1
        self._ends = self._is_end(step)
        if self._ends:
            self._window()

    def _is_end(self, step: int) -> bool:
        """Whether a window ends with this step."""
        return step % self.every == 0 or step == self.steps

    def after(self, step: int) -> None:
        """Take in the state after `step`, if it is to be recorded."""
        if step != self._done:
            raise ValueError(f"after observe({self._done}) comes after({self._done}), not {step}.")
        if self._ends and self._in_window:
            self._in_window = 0
            self.recorded.append(step)
            self._state()

    @torch.no_grad()
    def _state(self) -> None:
        """Complete the record with gamma, beta, norms of weights and variance, and file it."""
        squares = {module: module.weight.square() for module in self._modules}
        parts: list[Any] = [*self._params]
        parts += [squares[layer.conv].flatten(1).sum(1) for layer in self.layers]
        parts += [_by_filter(layer, squares.get(layer.following)) for layer in self.layers]
        parts += [layer.bn.running_var for layer in self.layers]
        torch.cat(parts, out=self._record[: len(STATE)].view(-1))
        self._record[2:4].sqrt_()  # squared norms so far
        self._records.append(self._record)

    @torch.no_grad()
    def _window(self) -> None:
        """Statistics of the window that ends here, in float64, from the rows of its steps."""
        n, rows = self.filters, self._rows[: self._in_window]
        made = rows[:, -1:] == 0
        kept = made.double()
        grads = torch.where(made, rows[:, :-2], 0.0).double()
        count = kept.sum()
        mean = grads.sum(0) / count
        std = (kept * (grads - mean).square()).sum(0).div(count).sqrt()
        later = (
            made.sum() - made.cumsum(0)
        ).double()  # steps made after each, exact on every device
        fresh = (1 - self.ema) * (self.ema**later * grads.square()).sum(0)
        self._square = self.ema**count * self._square + fresh
        seen = grads != 0
        zero = 1 - seen.sum(0) / count
        numbers = torch.arange(1, self._in_window + 1, device=rows.device)[:, None]
        last = torch.where(seen[:, :n], numbers + (self._done - self._in_window), 0).amax(0)
        self._last = torch.maximum(self._last, last)

        at = self._record[len(STATE) :]
        stacked = torch.stack([mean, std, self._square, zero])  # (4, 2n)
        at[: len(WINDOW)].view(2, len(GRADIENT), n).copy_(stacked.view(4, 2, n).transpose(0, 1))
        squares = [_by_filter(layer, _squared_gradient(layer)) for layer in self.layers]
        at[-1].copy_(torch.where(made[-1], torch.cat(squares), torch.nan))
        loss = torch.where(made, rows[:, -2:-1], 0.0).double().sum() / count
        self._windows.append(torch.stack([loss, count, (1 - kept).sum()]))
        if self._tape is not None:
            self._tape.extend(torch.where(made, rows[:, :n], torch.nan))

    def state_dict(self) -> dict[str, Any]:
        """All that was recorded so far, on the CPU; at any step, also within a window."""
        tensors = {"rows": self._rows[: self._in_window], "square": self._square,
                   "last": self._last, "record": self._record}  # fmt: skip
        tables = {"records": self._records, "windows": self._windows, "tape": self._tape}
        return {
            "every": self.every, "ema": self.ema, "done": self._done,
            "recorded": list(self.recorded),
            **{name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()},
            **{name: table.get() for name, table in tables.items() if table is not None},
        }  # fmt: skip

    def load_state_dict(self, entry: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises
        ------
        ValueError
            If it is that of another network, or recorded in another way.
        """
        here = {"record-every": self.every, "record-ema": self.ema,
                "filters": self.filters, "tape": self._tape is not None}  # fmt: skip
        there = {"record-every": entry["every"], "record-ema": entry["ema"],
                 "filters": len(entry["last"]), "tape": "tape" in entry}  # fmt: skip
        for what, ours in here.items():
            if there[what] != ours:
                raise ValueError(f"the record has {what} {there[what]}, this run has {ours}.")
        self._done, self._in_window = entry["done"], len(entry["rows"])
        self._ends = self._is_end(self._done)
        self.recorded = list(entry["recorded"])
        self._rows[: self._in_window].copy_(entry["rows"])
        self._square.copy_(entry["square"])
        self._last.copy_(entry["last"])
        self._record.copy_(entry["record"])
        self._records.set(entry["records"])
        self._windows.set(entry["windows"])
        if self._tape is not None:
            self._tape.set(entry["tape"])

    def dataset(self) -> Any:
        """The record as an `xarray.Dataset`, up to the last recorded step: docs/recording.md."""
        from cnn.labels import dataset

        return dataset(self)


def _squared_gradient(layer: Layer) -> Tensor | None:
    """Of the weights that read the filters of `layer`."""
    reader: Any = layer.following
    if reader is None:
        return None
    if reader.weight.grad is None:
        raise ValueError(f"the weights that read {layer.path} have no gradient.")
    return reader.weight.grad.square()


def _by_filter(layer: Layer, squares: Tensor | None) -> Tensor:
    """Sum of `squares`, shaped like the weights that read `layer`, over those that read a filter.

    These are (outputs, filters, height, width), or (outputs, filters * positions) of a linear
    layer after flattening.
    """
    if squares is None:  # no single layer reads it
        return torch.full_like(layer.bn.weight, torch.nan)
    groups = getattr(layer.following, "groups", 1)  # a grouped convolution splits its inputs too
    split = squares.reshape(groups, len(squares) // groups, layer.filters // groups, -1)
    return split.sum(1).sum(-1).flatten()


class _Table:
    """Rows on the device, kept in chunks, so that growing copies nothing."""

    def __init__(self, *shape: int, rows: int = 64, **like: Any) -> None:
        self.shape, self.rows, self.like = shape, rows, like
        self.chunks: list[Tensor] = []
        self.used = 0  # rows of the last chunk

    def append(self, row: Tensor) -> None:
        """One row."""
        self.extend(row[None])

    def extend(self, rows: Tensor) -> None:
        """Several rows."""
        while len(rows):
            if not self.chunks or self.used == len(self.chunks[-1]):
                self.chunks.append(torch.empty(self.rows, *self.shape, **self.like))
                self.used = 0
            fit = rows[: len(self.chunks[-1]) - self.used]
            self.chunks[-1][self.used : self.used + len(fit)].copy_(fit)
            self.used, rows = self.used + len(fit), rows[len(fit) :]

    def get(self) -> Tensor:
        """All rows, as one tensor on the CPU."""
        if not self.chunks:
            return torch.empty(0, *self.shape, dtype=self.like["dtype"])
        *full, last = self.chunks
        return torch.cat([*(c.cpu() for c in full), last[: self.used].cpu()])

    def set(self, rows: Tensor) -> None:
        """Hold these rows and no others."""
        self.chunks = [rows.to(**self.like, copy=True)] if len(rows) else []
        self.used = len(rows)
