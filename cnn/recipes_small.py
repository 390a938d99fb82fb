"""Counterparts of the paper's experiments that a CPU can do: digits, and Fashion-MNIST at 14x14.

The numbers are those of a prototype of this package: other random numbers, mostly one seed.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cnn.config import Config, DataConfig, ModelConfig, OptimConfig
from cnn.recipes_paper import DROP, STEPS, Row, rule

TWO = "prototype: 2 seeds"

# percent of filters, percent of test images
DIGITS = {
    "adam-l2-1e-2": (43.5, 0.8, "prototype: 3 seeds, sd 1.3"),
    "adam-none": (0,),
    "amsgrad-l2-1e-2": (0, 1.4),
    "adam-wd-3e-3": (19.4, 0.6),
    "adam-wd-1e-3": (0, 0.8),
    "sgd-l2-5e-3": (13.8, 1.1),
    "sgd-l2-3e-3": (1.3, 1.1),
    "sgd-l2-1e-3": (0, 0.3),
}
NO_DROP = {
    "adam-none": (0, 1.1), "adam-l2-1e-4": (0, 1.7), "adam-l2-1e-3": (7.8, 1.7),
    "adam-l2-1e-2": (35.8, 1.9), "adam-wd-1e-3": (1.7, 1.9), "adam-wd-3e-3": (24.1, 9.2),
    "adam-wd-1e-2": (13.8, 3.1), "sgd-l2-1e-3": (0, 4.7), "sgd-l2-3e-3": (1.3, 16.7),
    "sgd-l2-1e-2": (60.3, 25.6), "sgd-wd-1e-3": (0, 3.6), "sgd-wd-1e-2": (50.4, 19.4),
    "amsgrad-l2-1e-3": (0, 1.9), "amsgrad-l2-1e-2": (0, 1.7), "adagrad-l2-1e-3": (0, 1.7),
    "adagrad-l2-1e-2": (0, 2.8), "adadelta-l2-1e-3": (0, 1.4), "adadelta-l2-1e-2": (61.2, 2.8),
}  # fmt: skip


def rows() -> Iterator[Row]:
    """All of them."""
    yield from _digits()
    yield from _digits_factors()
    yield from _fashion()


def _ours(
    name: str, config: Config, sparsity: Any = None, error: Any = None, note: str = ""
) -> Row:
    note = note or ("not tried before" if sparsity is None else "prototype: 1 seed")
    return Row(name, config, "ours", note, sparsity, error)


def _digits() -> Iterator[Row]:
    """The default run (digits, width 0.125, 4000 steps), and others beside it."""
    base, quick = Config(), OptimConfig(lr=5e-3, lam=3e-3)
    for words, said in DIGITS.items():
        yield _ours(f"digits/{words}", replace(base, optim=rule(words)), *said)
    wide = replace(base, model=ModelConfig(width=0.25))
    yield _ours("digits/adam-l2-1e-2-width-0.25", wide, 63.8, 0.6)
    long = replace(base, optim=rule("adam-l2-1e-4"), steps=48_480, drop=None)
    yield _ours("digits/adam-l2-1e-4-long", long, 38.4, 1.9)
    short = replace(base, optim=quick, steps=1500)
    yield _ours("digits/quick", short, 31.5, 1.0, f"{TWO}, 29.7 and 33.2 %")
    none = replace(short, optim=replace(quick, reg="none", lam=0.0))
    yield _ours("digits/quick-none", none, 0)
    steady = replace(base, drop=None)
    for words, said in NO_DROP.items():
        yield _ours(f"digits/no-drop/{words}", replace(steady, optim=rule(words)), *said)


def _digits_factors() -> Iterator[Row]:
    """One thing changed at a time: digits, Adam at lr 3e-3, L2 1e-3, 2500 steps, no drop."""
    optim = OptimConfig(lr=3e-3, lam=1e-3)
    base = Config(optim=optim, steps=2500, drop=None)
    changes = [
        ("base", {}, 21.0, f"{TWO}, 20.3 and 21.6 %"),
        ("width-0.0625", {"model": ModelConfig(width=0.0625)}, 3.5, TWO),
        ("width-0.25", {"model": ModelConfig(width=0.25)}, 39.9, ""),
        ("l2-1e-4", {"optim": replace(optim, lam=1e-4)}, 0, ""),
        ("l2-1e-2", {"optim": replace(optim, lam=1e-2)}, 40.9, ""),
        ("amsgrad", {"optim": replace(optim, opt="amsgrad")}, 0, TWO),
        ("gamma-lr-0.1", {"optim": replace(optim, gamma_lr=0.1)}, 0, ""),
        ("classes-2", {"data": DataConfig(classes=(2,))}, 45.7, "prototype: 1 seed; fewer images"),
        ("noise", {"data": DataConfig(noise=1.0)}, 11.2, "prototype: 1 seed, error 27 %"),
        ("random-labels", {"data": DataConfig(random_labels=1.0)}, 7.3, ""),
        ("leaky-relu", {"model": ModelConfig(negative_slope=0.01)}, 20.3, TWO),
        ("gamma-uniform", {"model": ModelConfig(gamma_init="uniform")}, 19.8, ""),
        ("batch-10", {"batch": 10}, 3.7, TWO),
        ("batch-160", {"batch": 160}, 27.2, ""),
        ("batch-10-long", {"batch": 10, "steps": 10_000}, 25.9, ""),
        ("batch-40-long", {"steps": 10_000}, 42.7, ""),
        ("batch-120-long", {"batch": 120, "steps": 7000}, 44.4, "prototype: 1 seed; 7000 steps"),
    ]
    for name, change, sparsity, note in changes:
        yield _ours(f"digits/factor/{name}", replace(base, **change), sparsity, note=note)


def _fashion() -> Iterator[Row]:
    """Fashion-MNIST at 14x14 with 10,000 images; and whole, with the paper's network."""
    data = DataConfig(name="fashion-mnist", images=10_000, size=14)
    optim = OptimConfig(lam=1e-3)
    base = Config(model=ModelConfig(width=0.25), data=data, optim=optim, steps=13_000, drop=0.77)
    yield _ours("fashion/adam-l2-1e-3", base, 46.8, 13.7)
    for words in ("adam-l2-1e-4", "adam-wd-1e-3", "sgd-l2-1e-3", "amsgrad-l2-1e-3", "adam-none"):
        yield _ours(f"fashion/{words}", replace(base, optim=rule(words)))
    difficulty = {
        "classes-2": replace(data, classes=(2,)), "noise": replace(data, noise=1.0),
        "clutter": replace(data, clutter=1.0), "random-labels": replace(data, random_labels=1.0),
    }  # fmt: skip
    for name, changed in difficulty.items():
        yield _ours(f"fashion/{name}", replace(base, data=changed))
    narrow = replace(base, model=ModelConfig(), optim=replace(optim, lr=2e-3), steps=6000)
    for batch, sparsity in {10: 13.8, 40: 30.2, 160: 26.7}.items():
        yield _ours(f"fashion/width-0.125-batch-{batch}", replace(narrow, batch=batch), sparsity)
    whole = Config(
        model=ModelConfig(width="64-1x"), data=DataConfig(name="fashion-mnist"),
        steps=STEPS, drop=DROP,
    )  # fmt: skip
    note = "Table 1 on 28x28 images, for a GPU; not tried before"
    for words in ("adam-l2-1e-4", "sgd-l2-1e-4"):
        yield _ours(f"fashion/64-1x/{words}", replace(whole, optim=rule(words)), note=note)
