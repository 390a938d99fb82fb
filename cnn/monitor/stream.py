"""The records of `cnn.record`, from the device to the host with one wait for each."""

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cnn.layers import Layer, unwrapped
from cnn.monitor.norms import Norm, Scale, Shells, batchnorms, described, scales, undisturbed
from cnn.record import PACKED, Recorder


class Row(NamedTuple):
    """One record, on the host.

    Attributes
    ----------
    record : ndarray (len(PACKED), filters)
    window : ndarray (3,)
        Mean loss, steps made, steps skipped.
    last : ndarray of int (filters,)
        Step with the last gradient of gamma that is not zero.
    scales : tuple of ndarray
        Values of every scale.
    lr : float
    """

    record: np.ndarray
    window: np.ndarray
    last: np.ndarray
    scales: tuple[np.ndarray, ...]
    lr: float


class Stream:
    """Watches the norms of `model`: of filters with a `Recorder`, of other scales their values.

    Where torch.fx traces the model, the filters after convolutions are recorded as `cnn.train`
    records them; all others by a second recorder, without the weights around them.

    Attributes
    ----------
    norms : tuple of Norm
    scales : tuple of Scale
    layers : list of Layer
        One for each of `norms`.
    why : str or None
        Why the weights around filters are not known.
    done : int
        Steps so far.

    Raises
    ------
    ValueError
        If there is nothing to watch, or it lies on several devices.
    """

    def __init__(self, model: nn.Module, *, steps: int, every: int, ema: float) -> None:
        self.steps, self.every, self.ema = steps, every, ema
        found, others = batchnorms(model), scales(model)
        self.scales = tuple(Scale(path, k, w.numel()) for path, (k, w) in others.items())
        self._weights = [w for _, w in others.values()]
        tensors = [*(bn.weight for bn in found.values()), *self._weights]
        self.device = _device(model, tensors)
        self._recorders, self.why = self._made(model, found)
        self.norms, self.layers = _named(self._recorders, found, traced=self.why is None)
        self._gammas = [layer.bn.weight for layer in self.layers]
        self._needed = _needed(self._recorders)
        self._losses: list[Tensor] = []  # where there is no recorder
        self._nan = torch.full((1,), torch.nan, device=self.device)
        self.done = 0

    def _made(
        self, model: nn.Module, found: Mapping[str, nn.Module]
    ) -> tuple[list[Recorder], str | None]:
        how: dict[str, Any] = {"steps": self.steps, "every": self.every, "ema": self.ema}
        made, why = [], None
        with undisturbed(self.device):
            try:
                made.append(_traced(unwrapped(model), how))
            except Exception as error:  # tracing runs the model's own code
                why = f"the weights around its filters are not known ({_clause(error)})."
            known = {id(layer.bn) for one in made for layer in one.layers}
            rest = [bn for bn in found.values() if id(bn) not in known]
            if rest:
                made.append(Recorder(Shells(rest), **how))
        return made, why

    @property
    def filters(self) -> int:
        """Number of filters."""
        return sum(norm.filters for norm in self.norms)

    def observe(self, loss: Tensor | float | None, skipped: Tensor | None) -> bool:
        """Take in a step, its gradients and what it led to; whether a record is complete.

        Raises
        ------
        ValueError
            If there are no gradients, or the loss is not one number.
        """
        step, value = self.done + 1, self._number(loss)
        ends = step % self.every == 0 or step == self.steps
        # looking for absent gradients costs more than finding them present, but when a window
        # ends a recorder must not stop half-way
        missing = self._missing() if ends else []
        try:
            self._take(step, value, skipped, missing)
        except ValueError:
            if ends:
                raise
            self._take(step, value, skipped, self._missing())
        self.done = step
        return ends

    def _take(
        self, step: int, loss: Tensor, skipped: Tensor | None, missing: list[nn.Parameter]
    ) -> None:
        for p in missing:  # an unused or frozen parameter: what it sees is zero
            p.grad = torch.zeros_like(p)
        try:
            for recorder in self._recorders:
                if recorder._done < step:  # not so where the second found a gradient missing
                    recorder.observe(step, loss, skipped=skipped)
                    recorder.after(step)
        finally:
            for p in missing:
                p.grad = None
        if not self._recorders:
            self._losses.append(loss)

    def _missing(self) -> list[nn.Parameter]:
        """Parameters without gradient; if all have none, step was called at a wrong time."""
        trained = [p for p in self._gammas if p.requires_grad]
        if trained and all(p.grad is None for p in trained):
            raise ValueError(
                "no BatchNorm of the model has a gradient: call step after loss.backward() and "
                "optimizer.step(), and before the next zero_grad()."
            )
        return [p for p in self._needed if p.grad is None]

    def _number(self, loss: Any) -> Tensor:
        """The loss as a tensor of the device; no wait."""
        if loss is None:
            return self._nan
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise ValueError(f"loss must be one number, not a tensor of {tuple(loss.shape)}.")
            return loss.detach().to(self.device)
        try:
            return torch.full((1,), float(loss), device=self.device)
        except (TypeError, ValueError):
            raise ValueError(f"loss must be a number, not {type(loss).__name__}.") from None

    @torch.no_grad()
    def read(self, lr: Tensor | float) -> Row:
        """The last record: the one wait for the device."""
        n, m = self.filters, len(PACKED)
        if self._recorders:
            records = [one._record.double() for one in self._recorders]
            parts = [torch.cat(records, 1).flatten(), self._window()]
            parts += [one._last.double() for one in self._recorders]
        else:
            parts = [self._window()]
        parts += [w.detach().flatten().double() for w in self._weights]
        values = torch.cat([*parts, self._rate(lr)]).cpu().numpy()
        self._forget()
        sizes = [m * n, 3, n, *(one.size for one in self.scales), 1]
        record, window, last, *rest, rate = np.split(values, np.cumsum(sizes)[:-1])
        record = record.reshape(m, n).astype(self.dtype)
        return Row(record, window.astype(self.dtype), last.astype(np.int64), tuple(rest), rate[0])

    def _rate(self, lr: Tensor | float) -> Tensor:
        """On the device; to copy a number there would be another wait."""
        if isinstance(lr, Tensor) and lr.device == self.device:
            return lr.reshape(1).double()
        return torch.full((1,), float(lr), dtype=torch.float64, device=self.device)

    @property
    def dtype(self) -> np.dtype:
        """Of a record: float32 unless gammas have more."""
        wide = any(one._record.dtype == torch.float64 for one in self._recorders)
        return np.dtype(np.float64 if wide else np.float32)

    def _window(self) -> Tensor:
        """Mean loss, steps made and skipped of the last window; NaN, 0, 0 before the first."""
        if self._recorders:
            table = self._recorders[0]._windows
            if table.used:
                return table.chunks[-1][table.used - 1].double()
        elif self._losses:
            losses = torch.cat([one.reshape(1) for one in self._losses]).double()
            made = torch.full_like(losses[:1], len(losses))
            return torch.cat([losses.mean()[None], made, torch.zeros_like(made)])
        return torch.tensor([torch.nan, 0.0, 0.0], dtype=torch.float64).to(self.device)

    def _forget(self) -> None:
        """The host has the record: the device need not keep it."""
        self._losses.clear()
        for one in self._recorders:
            one._records.used = one._windows.used = 0
            one.recorded.clear()

    # What a checkpoint needs ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What was taken in since the last record, and what goes on over records."""
        losses = [float(loss) for loss in self._losses]
        kept = [one.state_dict() for one in self._recorders]
        return {"done": self.done, "losses": losses, "recorders": kept}

    def load_state_dict(self, entry: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises
        ------
        ValueError
            If it is that of another network, or recorded in another way.
        """
        if len(entry["recorders"]) != len(self._recorders):
            raise ValueError("the state is that of a monitor of another network.")
        for one, kept in zip(self._recorders, entry["recorders"], strict=True):
            one.load_state_dict(kept)
        self._losses = [torch.full((1,), loss, device=self.device) for loss in entry["losses"]]
        self.done = entry["done"]


def _traced(model: nn.Module, how: dict[str, Any]) -> Recorder:
    """A recorder of `model`, or of the one part that holds all its BatchNorms.

    A LightningModule, say, holds a network and has no forward of its own.
    """
    try:
        return Recorder(model, **how)
    except Exception:
        parts = [part for part in model.children() if batchnorms(part)]
        if len(parts) != 1 or len(batchnorms(parts[0])) < len(batchnorms(model)):
            raise
        with suppress(Exception):  # what is wrong with the whole is what the user wants to know
            return _traced(parts[0], how)
        raise


def _device(model: nn.Module, tensors: list[Any]) -> torch.device:
    if not tensors:
        raise ValueError(
            f"model must have a normalisation with a scale, and {type(model).__name__} has none."
        )
    places = {tensor.device for tensor in tensors}
    if len(places) > 1:
        names = ", ".join(sorted(map(str, places)))
        raise ValueError(f"the norms of the model must lie on one device, not on {names}.")
    return places.pop()


def _named(
    recorders: list[Recorder], found: Mapping[str, Any], *, traced: bool
) -> tuple[tuple[Norm, ...], list[Layer]]:
    """The watched norms, and their layers with the same names."""
    paths = {id(bn.weight): path for path, bn in found.items()}
    norms, layers = [], []
    for i, recorder in enumerate(recorders):
        known = traced and i == 0
        for k, layer in enumerate(recorder.layers, 1):
            path = paths[id(layer.bn.weight)]
            name, kind = f"{'C' if known else 'N'}{k}", type(found[path]).__name__
            norms.append(described(layer, path, name, kind=kind, traced=known))
            layers.append(dataclasses.replace(layer, name=name))
    return tuple(norms), layers


def _needed(recorders: list[Recorder]) -> list[Any]:
    """Parameters of which a recorder reads the gradient."""
    needed = {id(p): p for one in recorders for p in one._params}
    readers = [layer.following for one in recorders for layer in one.layers]
    return [*needed.values(), *(r.weight for r in dict.fromkeys(readers) if r is not None)]


def _clause(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200]
