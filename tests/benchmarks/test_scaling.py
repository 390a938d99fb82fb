"""Cost grows linearly in lanes x steps, and is flat in the number of thresholds."""

import time

import numpy as np
import pytest

from .measure import RATE, SCALE, run, scaled, seconds, warm_up

pytestmark = pytest.mark.benchmark(timer=time.process_time)

FULL = {"statistics": "full", "record": None}
SIZES = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9]


@pytest.mark.parametrize("more", ["lanes", "steps"])
def test_cost_is_linear(more, benchmark, rows):
    """From 1e6 to 1e9 lane-steps: more lanes of 10,000 steps, or more steps of 1000 lanes."""
    warm_up(**FULL)
    times = {n: [] for n in SIZES if n <= 1e9 * SCALE or n == SIZES[0]}

    def work():
        for n, found in times.items():
            lanes, steps = (round(n / 1e4), 10_000) if more == "lanes" else (1000, round(n / 1e3))
            found.append(
                seconds(lambda job=(lanes, steps): run(lanes=job[0], steps=job[1], **FULL))
            )

    benchmark.pedantic(work, rounds=3 if SCALE >= 1 else 1)
    for n, found in times.items():
        rows.add(f"cost: {n:.0e} lane-steps, more {more}", found, "s of CPU", curve=more, x=n)


@pytest.mark.parametrize("several", range(2, 9))
def test_cost_is_flat_in_thresholds(several, pairs):
    """Against one threshold."""
    lanes, steps = scaled(6400), 20_000

    def work(thresholds):
        bars = np.geomspace(0.5, 1e-3, thresholds) if thresholds > 1 else [0.5]
        run(lanes=lanes, steps=steps, thresholds=list(bars), statistics="full")

    warm_up(statistics="full")
    amount = lanes * steps
    others = {"1 threshold": lambda: amount / seconds(lambda: work(1))}
    pairs(f"{several} thresholds", lambda: work(several), amount, RATE, others, goal="1")
