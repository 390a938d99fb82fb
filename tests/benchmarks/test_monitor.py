"""What watching a training costs: the same network with and without, in turns, in one process."""

import time

import pytest

from .test_cnn import CONFIGS, Unrecorded, in_turns, loaded, settings

pytestmark = pytest.mark.benchmark(timer=time.process_time)

STEPS = 4000  # of a run that the forecasts are made for


class Clock:
    """CPU seconds of the watched net's turns: what the monitor may spend is a share of these."""

    def __init__(self):
        self.before, self.began = 0.0, None

    def perf_counter(self):
        """Stands still in the turns of the others."""
        now = 0.0 if self.began is None else time.process_time() - self.began
        return self.before + now

    def __enter__(self):
        self.began = time.process_time()

    def __exit__(self, *_):
        self.before, self.began = self.perf_counter(), None


class Watched(Unrecorded):
    """The bare step, and a monitor with record, page and forecasts."""

    def __init__(self, config, images, out, clock):
        from cnn.monitor import GammaMonitor

        super().__init__(config, images)
        self.clock = clock
        optimizer = self.update.optimizer
        self.monitor = GammaMonitor(self.model, optimizer, out, steps=STEPS, show=False)

    def run(self, steps):
        """So many steps."""
        with self.clock:
            for _ in range(steps):
                self.done += 1
                loss = self.gradients(self.x, self.y)
                self.update.step()
                self.timed(self.monitor.step, loss)
                self.timed(self.after, self.done)  # as many looks at the clock as without

    @property
    def rare(self):
        """CPU milliseconds per step that forecasts and instruments took."""
        budgets = [self.monitor._budget, *(one.budget for one in self.monitor._instruments)]
        return 1000 * sum(one.spent for one in budgets) / self.done


@pytest.mark.parametrize("name", CONFIGS)
def test_watching(rows, name, tmp_path, monkeypatch):
    """With / without, and as a check without / without; and the time that is spent inside."""
    config = settings(**CONFIGS[name])
    images = loaded(config)
    clock = Clock()
    monkeypatch.setattr("cnn.monitor.quantities.time", clock)
    nets = {"watched": Watched(config, images, tmp_path, clock)}
    nets |= {kind: Unrecorded(config, images) for kind in ("bare", "again")}
    found = in_turns(nets, time.process_time)
    inside, looks = (1000 * nets[kind].inside / nets[kind].done for kind in ("watched", "bare"))
    unit, name = "ms/step of CPU", f"monitor every 20, {name}, batch 40"
    rows.compare(name, found["watched"], found["bare"], unit, against="without", goal="<= 1.03")
    rows.compare(name, found["again"], found["bare"], unit, against="without: neither watches")
    parts = {"all that the monitor does": inside - looks, "forecasts, files": nets["watched"].rare}
    for what, spent in parts.items():
        against = f"step; time of {what}"
        rows.compare(name, [spent] * len(found["bare"]), found["bare"], unit, against=against)
