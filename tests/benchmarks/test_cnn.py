"""Training a network: what recording costs, and the whole loop against its bare step and others.

What is compared takes turns in one process, block by block, on one thread, and the order within a
turn alternates. Where two are the same but for a detail, a third that equals one of them says how
far two equal ones differ.
"""

import time

import pytest

from .measure import SCALE

pytestmark = pytest.mark.benchmark(timer=time.process_time)

TURNS, SECONDS = 30, 0.5  # turns, and length of a block
CONFIGS = {  # network and images
    "digits, width 0.125": {},
    "Fashion-MNIST at 14x14, width 0.25": {"width": 0.25, "name": "fashion-mnist", "size": 14},
}


def settings(batch=40, width=0.125, **images):
    """A run's settings, long enough for any number of turns."""
    from cnn.config import Config, DataConfig, ModelConfig

    model, data = ModelConfig(width=width), DataConfig(**images)
    return Config(model=model, data=data, batch=batch, steps=10**6, threads=1)


class Bare:
    """Forward, loss, backward and update, on the same images again and again."""

    def __init__(self, config, images):
        import torch

        from cnn.models import build
        from cnn.optim import Update

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.config, self.images, self.done, self.inside = config, images, 0, 0.0
        channels, size, n = images.channels, images.size, config.batch
        self.model = build(config.model, channels=channels, classes=images.classes, size=size)
        self.update = Update(self.model, config.optim)
        self.x, self.y = images.train.x[:n].clone(), images.train.y[:n].clone()
        self.loss = torch.nn.functional.cross_entropy

    def run(self, steps):
        """So many steps."""
        for _ in range(steps):
            self.gradients(self.x, self.y)
            self.update.step()

    def gradients(self, x, y):
        """Forward and backward; the loss."""
        loss = self.loss(self.model(x), y)
        self.update.optimizer.zero_grad()
        loss.backward()
        return loss


class Unrecorded(Bare):
    """The bare step, and two looks at the clock around nothing, as `Recorded` has around itself."""

    def run(self, steps):
        """So many steps."""
        for _ in range(steps):
            self.done += 1
            loss = self.gradients(self.x, self.y)
            self.timed(self.observe, self.done, loss)
            self.update.step()
            self.timed(self.after, self.done)

    def timed(self, work, *arguments):
        """Do it; adds to the CPU seconds inside."""
        start = time.process_time()
        work(*arguments)
        self.inside += time.process_time() - start

    def observe(self, step, loss):
        """Nothing."""

    def after(self, step):
        """Nothing."""


class Recorded(Unrecorded):
    """The bare step and a recorder."""

    def __init__(self, config, images):
        from cnn.record import Recorder

        super().__init__(config, images)
        self.recorder = Recorder(self.model, steps=config.steps, every=config.record.every)
        self.observe, self.after = self.recorder.observe, self.recorder.after


class Loop(Recorded):
    """What `cnn.train` does from step to step: batches, schedule, step, record."""

    def __init__(self, config, images, here):
        from cnn.data import Batches
        from cnn.step import Step

        super().__init__(config, images)
        batches = Batches(images.train, batch=config.batch, seed=0, flip=images.flip)
        self.batches = enumerate(batches.start(0), 1)
        self.step = Step(self.model, self.update, self.recorder, here)

    def run(self, steps):
        """So many steps."""
        for _, (number, (x, y)) in zip(range(steps), self.batches, strict=False):
            self.update.set_scale(1.0)
            self.step(number, x, y)


class Pictures:
    """A data set as users have it: an image and its label, transformed one by one."""

    def __init__(self, source, images):
        from torchvision.transforms import v2

        transforms = [v2.RandomHorizontalFlip()] if images.flip else []
        if images.size != source.size:
            transforms.append(v2.Resize(images.size))
        transforms += [v2.PILToTensor(), v2.Lambda(lambda x: x / source.peak)]
        self.transform = v2.Compose([*transforms, v2.Normalize(images.mean, images.std)])
        self.x, self.y = source.train.x[:, 0], source.train.y.tolist()

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        from PIL import Image

        return self.transform(Image.fromarray(self.x[i])), self.y[i]


class Users(Bare):
    """The loop that one would write: DataLoader with workers, transforms, `.item()` in each step.

    The workers stay from epoch to epoch. Nothing is recorded.
    """

    def __init__(self, config, images):
        import torch

        from cnn.datasets import find

        super().__init__(config, images)
        self.loader = torch.utils.data.DataLoader(
            Pictures(find(images.name), images), config.batch, shuffle=True, drop_last=True,
            num_workers=2, persistent_workers=True,
        )  # fmt: skip
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), 1e-3, (0.9, 0.99), weight_decay=config.optim.lam
        )
        self.batches, self.total = self.endless(), 0.0

    def endless(self):
        """Epoch after epoch."""
        while True:
            yield from self.loader

    def run(self, steps):
        """So many steps."""
        for _, (x, y) in zip(range(steps), self.batches, strict=False):
            loss = self.loss(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.total += loss.item()


def in_turns(nets, clock):
    """Milliseconds per step of each, turn by turn: {name: (turns,)}."""
    for net in nets.values():
        net.run(20)
    start = time.process_time()
    nets["bare"].run(10)
    once = (time.process_time() - start) / 10
    steps, turns = max(2, round(SCALE * SECONDS / once)), max(2, round(TURNS * min(1, SCALE)))
    found = {name: [] for name in nets}
    for turn in range(turns):
        for name in list(nets)[:: 1 if turn % 2 else -1]:
            start = clock()
            nets[name].run(steps)
            found[name].append(1000 * (clock() - start) / steps)
    return found


def loaded(config):
    """The images, or a reason to skip."""
    from cnn.data import load

    try:
        return load(config.data)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", CONFIGS)
def test_recording(rows, name):
    """With / without, and as a check without / without; and the time that is spent inside."""
    config = settings(**CONFIGS[name])
    images = loaded(config)
    kinds = {"recorded": Recorded, "bare": Unrecorded, "again": Unrecorded}
    nets = {kind: make(config, images) for kind, make in kinds.items()}
    found = in_turns(nets, time.process_time)
    inside, clock = (1000 * nets[kind].inside / nets[kind].done for kind in ("recorded", "bare"))
    unit, name = "ms/step of CPU", f"recording every 20, {name}, batch 40"
    rows.compare(name, found["recorded"], found["bare"], unit, against="without", goal="<= 1.03")
    rows.compare(name, found["again"], found["bare"], unit, against="without: neither records")
    inside = [inside - clock] * len(found["bare"])  # a mean over the run: the spread is the step's
    rows.compare(name, inside, found["bare"], unit, against="step; time inside the recorder")


@pytest.mark.parametrize("batch", [40, 160])
@pytest.mark.parametrize("name", CONFIGS)
def test_loop(rows, name, batch):
    """Against its own bare step, by CPU time."""
    from cnn.place import place

    config = settings(batch, **CONFIGS[name])
    images = loaded(config)
    with place(config) as here:
        nets = {"loop": Loop(config, images, here), "bare": Bare(config, images)}
        found = in_turns(nets, time.process_time)
    name = f"training loop, {name}, batch {batch}"
    rows.compare(
        name, found["loop"], found["bare"], "ms/step of CPU", against="bare step", goal="<= 1.1"
    )


@pytest.mark.parametrize("batch", [40, 160])
@pytest.mark.parametrize("name", CONFIGS)
def test_loop_against_that_of_a_user(rows, name, batch):
    """By wall time, since a user's workers are processes of their own."""
    from cnn.place import place

    config = settings(batch, **CONFIGS[name])
    images = loaded(config)
    with place(config) as here:
        nets = {"loop": Loop(config, images, here), "user": Users(config, images)}
        found = in_turns(nets | {"bare": Bare(config, images)}, time.perf_counter)
    name = f"training loop, {name}, batch {batch}"
    against = "DataLoader with 2 workers, transforms, .item() in each step"
    rows.compare(name, found["loop"], found["user"], "ms/step", against=against, goal="< 1")
