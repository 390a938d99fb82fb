"""The engine against the hand-written limit, limit.c: lane-steps per CPU second of one thread."""

import time

import pytest

from regdyn import rules

from .measure import LANES, RATE, STEPS, STRENGTHS, run, scaled, warm_up

pytestmark = pytest.mark.benchmark(timer=time.process_time)

SAME = 1e-6  # of the mean of theta: FMA moves a normal by a rounding error of float32
CASES = {
    "adam, fresh noise": ("adam", "moments", 0.80),
    "adam, fresh noise, full statistics": ("adam", "full", 0.65),
    "adam, noise shared by 7 strengths": ("shared_adam", "moments", 0.90),
    "adam, noise shared by 7 strengths, full statistics": ("shared_adam", "full", 0.70),
    **{f"{rule}, fresh noise": (rule, "moments", 0.75) for rule in rules.RULES if rule != "adam"},
}
TWINS = ("adam, fresh noise", "adam, noise shared by 7 strengths")


@pytest.mark.parametrize("name", CASES)
def test_against_the_limit(name, pairs, limit):
    """In pairs; and both compute the same."""
    kernel, statistics, goal = CASES[name]
    shared = kernel.startswith("shared_")
    rule, lam = kernel.removeprefix("shared_"), STRENGTHS if shared else 1e-4
    lanes = scaled(LANES // 7 if shared else LANES)
    builds = {"C": "limit"} | ({"C without FMA": "limit-without-fma"} if name in TWINS else {})
    means = {}

    def ours():
        ds = run(rule, lam, lanes=lanes, statistics=statistics)
        means["ours"] = float(ds["mean"].isel(step=-1).mean())

    def other(build):
        found = limit(build, kernel, lanes, STEPS)
        means[build] = found["mean_theta"]
        return found["lane_steps_per_s"]

    warm_up(rule, lam, statistics=statistics)
    others = {against: lambda build=build: other(build) for against, build in builds.items()}
    amount = lanes * STEPS * (len(STRENGTHS) if shared else 1)
    pairs(name, ours, amount, RATE, others, goal=f">= {goal:.2f}")
    assert max(means.values()) - min(means.values()) < SAME, means
