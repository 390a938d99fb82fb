"""Training a network: the whole loop against its bare step, and against what one would write.

In turns, in one process, on one thread. The bare step is forward, backward and the optimizer on one
batch that never changes. The other loop has a DataLoader with workers, torchvision's transforms
and `.item()` in every step; its workers run beside, so there the clock is the wall's. Ours records
and writes its checkpoints, but for those after 5, 10 and 20 %: three in a run of any length.
"""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from .measure import SCALE

pytestmark = pytest.mark.benchmark(timer=time.process_time)

TURNS = 7
SETS = {"digits": (8, 0.125, 600), "fashion-mnist": (28, 0.125, 150)}  # size, width, steps


def config(name, batch):
    """The default run on a set; four times the batch takes about four times as long."""
    from cnn.config import Config, DataConfig, ModelConfig

    _, width, steps = SETS[name]
    steps = max(20, round(steps * SCALE * 40 / batch))
    model = ModelConfig(width=width)
    return Config(model, DataConfig(name), batch=batch, steps=steps, threads=1)


class Bare:
    """Forward, backward, optimizer."""

    def __init__(self, name, batch):
        import torch

        from cnn.models import build
        from cnn.optim import Update

        torch.manual_seed(0)
        settings, size = config(name, batch), SETS[name][0]
        self.steps = settings.steps
        self.model = build(settings.model, channels=1, classes=10, size=size)
        self.optimizer = Update(self.model, settings.optim).optimizer
        self.x, self.y = torch.randn(batch, 1, size, size), torch.randint(10, (batch,))
        self.loss = torch.nn.functional.cross_entropy

    def step(self, x, y):
        loss = self.loss(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, clock):
        """Seconds of the steps."""
        start = clock()
        for _ in range(self.steps):
            self.step(self.x, self.y)
        return clock() - start


class Usual(Bare):
    """The same network, fed by a DataLoader."""

    def __init__(self, name, batch):
        import numpy as np
        from PIL import Image
        from torch.utils.data import DataLoader, Dataset
        from torchvision import transforms

        from cnn.datasets import find

        super().__init__(name, batch)
        source = find(name)
        images = source.train.x[:, 0].astype(np.uint8) * (1 if name != "digits" else 15)
        flip = [transforms.RandomHorizontalFlip()] if source.flip else []
        change = transforms.Compose(
            [
                *flip,
                transforms.ToTensor(),
                transforms.Normalize(images.mean() / 255, images.std() / 255),
            ]
        )

        class Images(Dataset):
            def __len__(self):
                return len(images)

            def __getitem__(self, i):
                return change(Image.fromarray(images[i])), int(source.train.y[i])

        self.loader = DataLoader(
            Images(), batch, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
        )
        self.found = self.endless()
        next(self.found)  # the workers have started

    def endless(self):
        while True:
            yield from self.loader

    def run(self, clock):
        start, total = clock(), 0.0
        for _ in range(self.steps):
            total += self.step(*next(self.found)).item()
        return clock() - start


def whole(settings, folder, clock, monkeypatch):
    """Seconds of the loop of `cnn.train`, with recording and checkpoints, by this clock."""
    from cnn import checkpoint
    from cnn.train import train

    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(checkpoint, "KEPT", ())
    return train(settings, folder, plot=False, overwrite=True)["seconds"]


@pytest.mark.parametrize("batch", [40, 160])
@pytest.mark.parametrize("name", SETS)
def test_loop(rows, name, batch, tmp_path, monkeypatch):
    """Ours / bare by CPU time; ours / usual by the clock on the wall."""
    import torch

    torch.set_num_threads(1)
    settings, bare, usual = config(name, batch), Bare(name, batch), Usual(name, batch)
    times = {key: [] for key in ("ours", "bare", "again", "ours, wall", "usual")}
    again = Bare(name, batch)
    for turn in range(TURNS + 1):  # the first warms up
        order = [("bare", bare), ("again", again)][:: 1 if turn % 2 else -1]
        found = {key: loop.run(time.process_time) for key, loop in order}
        here = replace(settings, seed=turn)
        found["ours"] = whole(here, tmp_path / "run", time.process_time, monkeypatch)
        found["ours, wall"] = whole(here, tmp_path / "run", time.perf_counter, monkeypatch)
        found["usual"] = usual.run(time.perf_counter)
        for key, seconds in found.items() if turn else ():
            times[key].append(1000 * seconds / settings.steps)
    label = f"{name}, width {SETS[name][1]}, batch {batch}"
    cpu, wall = "ms/step of CPU", "ms/step"
    rows.compare(f"{label}: the loop", times["ours"], times["bare"], cpu, against="bare step",
                 goal="<= 1.1")  # fmt: skip
    rows.compare(f"{label}: the loop", times["again"], times["bare"], cpu,
                 against="bare step; also bare")  # fmt: skip
    rows.compare(f"{label}: the loop", times["ours, wall"], times["usual"], wall,
                 against="DataLoader, transforms, .item()", goal="< 1")  # fmt: skip
