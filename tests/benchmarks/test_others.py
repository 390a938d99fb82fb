"""The engine against what one would otherwise use: NumPy, torch.optim, optax.

All of them run Adam with L2 on the paper's low gradient, and draw their own normals. Those that
know no lanes of 20,000 steps in a second run fewer steps: rates are per lane-step.
"""

import time
from functools import partial

import numpy as np
import pytest

from regdyn import gradients

from .measure import LANES, RATE, SCALE, STEPS, run, scaled, seconds, warm_up

pytestmark = pytest.mark.benchmark(timer=time.process_time)

WIDE = 7000
LR, BETA1, BETA2, EPS, LAM = 1e-3, 0.9, 0.99, 1e-8, 1e-4


def stds(steps: int) -> list[float]:
    """Standard deviation of the gradient in each step."""
    return gradients.tables(gradients.LowGradient(), steps)[0].tolist()


def numpy_form(lanes: int, steps: int) -> None:
    """regdyn's own readable form."""
    run(engine="numpy", lanes=lanes, steps=steps)


def numpy_vectorised(lanes: int, steps: int) -> None:
    """Adam on an array, as one writes it in a notebook, with NumPy's fastest generator."""
    rng = np.random.Generator(np.random.SFC64(0))
    theta, m, v = np.ones(lanes), np.zeros(lanes), np.zeros(lanes)
    for t, std in enumerate(stds(steps), start=1):
        g = std * rng.standard_normal(lanes) + LAM * theta
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g * g
        theta -= LR * (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPS)


def torch_optim(lanes: int, steps: int, dtype: str = "float64", **options: bool) -> None:
    """torch.optim.Adam on one parameter with so many elements."""
    import torch

    theta = torch.nn.Parameter(torch.ones(lanes, dtype=getattr(torch, dtype)))
    betas = (BETA1, BETA2)
    optimizer = torch.optim.Adam([theta], lr=LR, betas=betas, weight_decay=LAM, **options)
    for std in stds(steps):
        theta.grad = torch.randn(lanes, dtype=theta.dtype) * std
        optimizer.step()


def optax_scan(lanes: int, steps: int):
    """optax.adam in one compiled lax.scan; returns what runs it."""
    import jax
    import jax.numpy as jnp
    import optax

    rule = optax.chain(optax.add_decayed_weights(LAM), optax.adam(LR, BETA1, BETA2, EPS))
    std, key = jnp.array(stds(steps)), jax.random.key(0)

    def step(carry, t):
        theta, state = carry
        grad = std[t] * jax.random.normal(jax.random.fold_in(key, t), (lanes,), std.dtype)
        update, state = rule.update(grad, state, theta)
        return (optax.apply_updates(theta, update), state), None

    @jax.jit
    def scan(theta):
        return jax.lax.scan(step, (theta, rule.init(theta)), jnp.arange(steps))[0][0]

    start = jnp.ones(lanes, std.dtype)
    assert start.dtype == np.float64
    scan(start).block_until_ready()  # compiles
    return lambda: scan(start).block_until_ready()


def compare(pairs, name, other, lanes, steps, goal):
    """In pairs with ours at full size."""
    warm_up()
    others = {name: lambda: lanes * steps / seconds(other)}
    amount = scaled(LANES) * STEPS
    pairs("adam, fresh noise", run, amount, RATE, others, goal=f">= {goal:,}x")


@pytest.mark.parametrize(
    ("form", "steps"), [(numpy_form, 8000), (numpy_vectorised, 20_000)], ids=["form", "vectorised"]
)
def test_against_numpy(form, steps, pairs):
    steps = max(100, round(steps * SCALE))
    name = "NumPy form (engine='numpy')" if form is numpy_form else "NumPy vectorised, SFC64"
    compare(pairs, f"{name}, {WIDE} lanes", partial(form, WIDE, steps), WIDE, steps, 5)


@pytest.fixture
def torch():
    """torch on one thread."""
    found = pytest.importorskip("torch")
    before = found.get_num_threads()
    found.set_num_threads(1)
    yield found
    found.set_num_threads(before)


@pytest.mark.parametrize(
    "options", [{"fused": True}, {"foreach": True}], ids=lambda o: next(iter(o))
)
def test_against_torch_vectorised(options, torch, pairs):
    steps = max(100, round(6000 * SCALE))
    name = f"torch.optim.Adam, {next(iter(options))}, {WIDE} lanes, float64"
    compare(pairs, name, partial(torch_optim, WIDE, steps, **options), WIDE, steps, 6)


def test_against_torch_scalar_loop(torch, pairs):
    """One parameter with one element, as the paper's authors would have written it."""
    steps = max(100, round(5000 * SCALE))
    other = partial(torch_optim, 1, steps, "float32", foreach=False)
    name = f"torch.optim.Adam, one element, float32, from {steps:,} steps"
    compare(pairs, name, other, 1, steps, 30_000)


def test_against_optax_scan(pairs, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # read on first use
    jax, _ = pytest.importorskip("jax"), pytest.importorskip("optax")
    steps = max(100, round(6000 * SCALE))
    with jax.enable_x64(True):
        other = optax_scan(WIDE, steps)
        name = f"optax.adam in jit(lax.scan), {WIDE} lanes, float64"
        compare(pairs, name, other, WIDE, steps, 10)
