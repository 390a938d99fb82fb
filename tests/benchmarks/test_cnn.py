"""Training a network: what recording costs.

Steps of the same network with and without it, in turns and in one process, by CPU time of one
thread. The order within a turn alternates, and a third network, also without, says how far two
equal ones differ. The images are random: they do not matter for time.
"""

import time

import pytest

from .measure import SCALE

pytestmark = pytest.mark.benchmark(timer=time.process_time)

TURNS, STEPS, EVERY = 30, 60, 20


class Training:
    """A network in training, with a recorder or without."""

    def __init__(self, width, size, *, recorded):
        import torch

        from cnn.config import ModelConfig, OptimConfig
        from cnn.models import build
        from cnn.optim import Update
        from cnn.record import Recorder

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.model = build(ModelConfig(width=width), channels=1, classes=10, size=size)
        self.update = Update(self.model, OptimConfig())
        self.recorder = Recorder(self.model, steps=10**6, every=EVERY) if recorded else None
        self.x, self.y = torch.randn(40, 1, size, size), torch.randint(10, (40,))
        self.loss, self.step, self.inside = torch.nn.functional.cross_entropy, 0, 0.0

    def run(self, steps):
        """CPU seconds of so many steps."""
        start = time.process_time()
        for _ in range(steps):
            self.step += 1
            loss = self.loss(self.model(self.x), self.y)
            self.update.optimizer.zero_grad()
            loss.backward()
            if self.recorder is not None:
                self.timed(self.recorder.observe, self.step, loss)
            self.update.step()
            if self.recorder is not None:
                self.timed(self.recorder.after, self.step)
        return time.process_time() - start

    def timed(self, work, *arguments):
        """Do it; adds to the time inside the recorder."""
        start = time.process_time()
        work(*arguments)
        self.inside += time.process_time() - start


@pytest.mark.parametrize(
    ("width", "size", "name"),
    [(0.125, 8, "digits, width 0.125"), (0.25, 14, "Fashion-MNIST at 14x14, width 0.25")],
)
def test_recording(rows, width, size, name):
    """With / without, and as a check without / without; and the time that is spent inside."""
    steps = max(EVERY, round(STEPS * SCALE / EVERY) * EVERY)
    kinds = {"with": True, "without": False, "again": False}
    nets = {kind: Training(width, size, recorded=recorded) for kind, recorded in kinds.items()}
    times = {kind: [] for kind in nets}
    inside = []
    for net in nets.values():
        net.run(EVERY)
    for turn in range(TURNS):
        nets["with"].inside = 0.0
        for kind in list(nets)[:: 1 if turn % 2 else -1]:
            times[kind].append(1000 * nets[kind].run(steps) / steps)
        inside.append(1000 * nets["with"].inside / steps)
    unit, name = "ms/step of CPU", f"{name}, batch 40: recording every {EVERY}"
    rows.compare(name, times["with"], times["without"], unit, against="without", goal="<= 1.03")
    rows.compare(name, times["again"], times["without"], unit, against="without; neither records")
    rows.compare(name, inside, times["without"], unit, against="a step; time inside the recorder")
