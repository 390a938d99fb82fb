"""One step of training: forward, loss, backward, recording, update. Nothing waits for the device.

The same as a CUDA graph: `GraphedStep`.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnn.optim import Update
from cnn.place import Place
from cnn.record import Recorder


class Step:
    """A step of training.

    Parameters
    ----------
    net : nn.Module
        The network, or what wraps it for compilation or several ranks.
    update : Update
    recorder : Recorder
    place : Place
    scaler : GradScaler, optional
        Of the loss, for float16: gradients are unscaled before they are recorded.
    autocast : dtype, optional
        Of mixed precision; None is full precision.
    """

    def __init__(
        self,
        net: nn.Module,
        update: Update,
        recorder: Recorder,
        place: Place,
        *,
        scaler: torch.amp.GradScaler | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.net, self.update, self.recorder, self.place = net, update, recorder, place
        self.scaler, self.autocast = scaler, autocast

    def __call__(self, step: int, x: Tensor, y: Tensor) -> None:
        """Do step number `step`, from 1, on the images x with labels y."""
        loss = self._gradients(x, y)
        skipped = self.update.unscale(self.scaler)
        self.recorder.observe(step, self.place.mean(loss), skipped=skipped)
        self.update.step(self.scaler)
        if self.scaler is not None:
            self.scaler.update()
        self.recorder.after(step)

    def _gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss; its gradients are in `.grad`."""
        self.update.optimizer.zero_grad(set_to_none=True)
        full = self.autocast is None
        with nullcontext() if full else torch.autocast(x.device.type, self.autocast):
            loss = F.cross_entropy(self.net(x), y)
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        return loss.detach()


class GraphedStep(Step):
    """The same step, captured as a CUDA graph, optimizer and all, and replayed.

    The first steps run as they are, on a stream of their own, as PyTorch asks: they make the
    optimizer's state, and libraries choose their algorithms. They are steps of the training. The
    optimizer leaves `.grad` as it is, so that it can be recorded after the graph has run.
    """

    WARM_UP = 3

    def __init__(self, net: nn.Module, update: Update, recorder: Recorder, place: Place) -> None:
        super().__init__(net, update, recorder, place)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.warm = 0

    def __call__(self, step: int, x: Tensor, y: Tensor) -> None:
        """Do step number `step`, from 1, on the images x with labels y."""
        if self.warm < self.WARM_UP:
            self.warm += 1
            self._aside(step, x, y)
            return
        if self.graph is None:
            self._capture(x, y)
        assert self.graph is not None
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()
        self.recorder.observe(step, self.loss)
        self.recorder.after(step)

    def _aside(self, step: int, x: Tensor, y: Tensor) -> None:
        """The step as it is, on another stream."""
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(here)
        with torch.cuda.stream(side):
            super().__call__(step, x, y)
        here.wait_stream(side)

    def _capture(self, x: Tensor, y: Tensor) -> None:
        """Record the operations of a step on inputs that stay where they are; run none."""
        self.x, self.y = x.clone(), y.clone()
        self.update.optimizer.zero_grad(set_to_none=True)  # gradients in the graph's own memory
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._captured()

    def _captured(self) -> None:
        self.loss = self._gradients(self.x, self.y)
        self.update.step()
