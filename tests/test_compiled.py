"""The compiled engine: the same bits as the NumPy form, in any arrangement."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import regdyn
from regdyn import gradients as G
from regdyn import rules
from regdyn.plan import make_plan
from regdyn.statistics import reduce

LARGEST = np.finfo(float).max
RULES = [*rules.RULES, rules.SGD(nesterov=True), rules.AMSGrad(flavour="optax")]
REGS = ["none", "l2", "wd", "adamw"]
PROCESSES = {
    "low": G.LowGradient(steps0=20),
    "gaussian": G.Gaussian(mean=1e-4, std=np.linspace(1e-3, 0, 43)),
    "intermittent": G.Intermittent(f=0.01),
    "ar1": G.AR1(phi=-0.7, std=1e-3),
    "studentt": G.StudentT(nu=3, std=1e-3),
    "well": G.Well(curvature=0.3, center=0.5, std=1e-3),
    "tape": G.Tape(np.random.default_rng(0).standard_normal((43, 2 * 150))),
}
SMALL = dict(steps=43, lanes=range(20, 150), record=6, thresholds=(0.99, 0.9, 0.5), seed=2**40 + 7)

PLAN = dict(
    rule="sgd", reg="l2", lam=0.0, preset="paper", gradient="low", theta0=1.0, schedule=None,
    keep_lanes=False, keep_passages=False, statistics="full",
) | SMALL  # fmt: skip


def digest(rule, reg, gradient, engine, **changes):
    arguments = SMALL | {"schedule": "paper", "keep_passages": True} | changes
    ds = regdyn.simulate(rule, reg, [1e-1, 1e-3], gradient=gradient, engine=engine, **arguments)
    return regdyn.digest(ds)


def pairwise():
    """Every rule with every process once, the regularisers and shapes of theta in turn."""
    for i, (rule, name) in enumerate(product(RULES, PROCESSES)):
        yield rule, REGS[i % 4], name, [1.0, [0.5, -2.0]][i % 3 == 0]


@pytest.mark.parametrize(("rule", "reg", "name", "theta0"), list(pairwise()))
def test_compiled_gives_the_bits_of_numpy(rule, reg, name, theta0):
    numpy, compiled = (
        digest(rule, reg, PROCESSES[name], engine, theta0=theta0)
        for engine in ("numpy", "compiled")
    )
    assert numpy == compiled


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "reg", "name"), list(product(RULES, REGS, PROCESSES)))
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("theta0", [1.0, [0.5, -2.0]])
def test_full_matrix(rule, reg, name, schedule, theta0):
    numpy, compiled = (
        digest(rule, reg, PROCESSES[name], engine, theta0=theta0, schedule=schedule)
        for engine in ("numpy", "compiled")
    )
    assert numpy == compiled


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("reg", REGS)
def test_compiled_replay_gives_the_bits_of_numpy(rule, reg):
    tape, start = PROCESSES["tape"].values, np.linspace(-1, 1, 300)
    forms = (
        regdyn.replay(tape, rule, reg, 1e-2, start, schedule="cosine", engine=engine)
        for engine in ("numpy", "compiled")
    )
    assert np.array_equal(*forms)


@pytest.mark.parametrize("name", list(PROCESSES))
def test_shared_noise_of_several_rules_is_that_of_one(name):
    grid = [digest(list(rules.RULES), REGS, PROCESSES[name], e) for e in ("numpy", "compiled")]
    assert grid[0] == grid[1]


ARRANGEMENTS = [
    dict(engine="numpy", block=64),
    dict(engine="numpy"),
    dict(engine="compiled", threads=1),
    dict(engine="compiled", threads=2, block=64),
    dict(engine="compiled", threads=3, block=128),
    dict(engine="compiled", threads=2, block=4096),
]
LONGER = dict(steps=300, lanes=range(70, 1000), record=7)


def test_bits_do_not_depend_on_threads_blocks_or_segments(monkeypatch):
    arguments = ("adam", ["l2", "wd"], G.AR1(std=1e-3))
    seen = {digest(*arguments, **how, **LONGER) for how in ARRANGEMENTS}
    monkeypatch.setattr("regdyn.engine._MEMORY", 2**20)  # many segments
    seen |= {digest(*arguments, **how, **LONGER) for how in ARRANGEMENTS}
    assert len(seen) == 1
    assert digest(*arguments, engine="compiled", **(LONGER | {"seed": 1})) not in seen


def test_bits_do_not_depend_on_processes():
    arguments = (["adam", "sgd"], "l2", G.LowGradient())
    here = digest(*arguments, engine="compiled", **LONGER)
    with ProcessPoolExecutor(2) as pool:
        assert digest(*arguments, engine="compiled", executor=pool, block=64, **LONGER) == here


@pytest.mark.parametrize("statistics", ["full", "moments"])
def test_parts_of_vectors_join_to_the_same_bits(statistics):
    arguments = LONGER | dict(keep_passages=statistics == "full", statistics=statistics)
    arguments |= dict(keep_lanes=True, theta0=[1.0, -0.5], record=20, engine="compiled")
    here = digest("adam", "l2", "low", **arguments)
    with ThreadPoolExecutor(2) as pool:
        assert digest("adam", "l2", "low", executor=pool, block=64, **arguments) == here


def test_what_is_no_executor_is_refused():
    with pytest.raises(ValueError, match="executor must be"):
        regdyn.simulate("sgd", executor=4, **SMALL)
    with ThreadPoolExecutor(1) as pool:
        pass
    with pytest.raises(RuntimeError, match=r"the workers failed: .* after shutdown"):
        regdyn.simulate("sgd", executor=pool, **SMALL)


def test_counts_of_more_lanes_than_small_integers_hold():
    """All lanes in one bin: 2^16 - 1 of them are counted in 16 bits, one more is not."""
    arguments = dict(steps=4, theta0=1.5, thresholds=1.0, record=[0, 4])
    with ThreadPoolExecutor(2) as pool:
        for lanes, how in product((2**16 - 1, 2**16), ({}, {"executor": pool})):
            found, expected = (
                regdyn.simulate("sgd", lanes=lanes, engine=engine, **arguments, **more)
                for engine, more in (("compiled", how), ("numpy", {}))
            )
            assert regdyn.digest(found) == regdyn.digest(expected)


wide = st.floats() | st.floats(-1e-2, 1e-2) | st.sampled_from([0.0, -0.0, 2.0**-40, -256.0, 1e300])


@given(rows=st.lists(st.lists(wide, min_size=130, max_size=130), min_size=1, max_size=4))
def test_statistics_of_any_floats_are_those_of_numpy(rows):
    """NaN, infinities, zeros of both signs, both end bins."""
    from regdyn import kernel_block
    from regdyn.result import NumpyCollector

    x = np.array(rows).reshape(1, len(rows), 1, 130)
    plan = make_plan(**PLAN)
    with np.errstate(all="ignore"):
        numpy, compiled = (
            collected(collector(plan, 3), x)
            for collector in (NumpyCollector, kernel_block.CompiledCollector)
        )
    for name, values in numpy.items():
        assert np.array_equal(values, compiled[name], equal_nan=True), name


def collected(collector, x, first_lane=30):
    collector.add(x, first_lane)
    return reduce(collector.summary(), quantile=collector.quantile)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_coefficients_are_those_of_every_step(rule):
    """Bit for bit, although they are computed for all steps at once."""
    from regdyn import kernels

    hp, scales = rules.resolve(rule), np.linspace(1, 0.1, 3000)
    each = [rules.coef(hp, t, s) for t, s in enumerate(scales.tolist(), start=1)]
    assert np.array_equal(kernels.coefficients(hp, scales), each)


def test_moments_are_those_of_full_statistics():
    full = regdyn.simulate("adam", lam=1e-3, engine="compiled", **SMALL)
    for engine in ("numpy", "compiled"):
        less = regdyn.simulate("adam", lam=1e-3, engine=engine, statistics="moments", **SMALL)
        assert set(less) == {"mean", "std", "rms", "min", "max", "nonfinite_step"}
        assert regdyn.digest(less) == regdyn.digest(full[list(less)])


def test_rows_of_a_digest_are_told_apart():
    ds = regdyn.simulate("sgd", **SMALL)
    renamed = ds.rename(mean="rms", rms="mean")
    changed = ds.assign(mean=ds["mean"] * (1 + 2**-52))
    assert len({regdyn.digest(x) for x in (ds, renamed, changed)}) == 3
    assert regdyn.digest(ds.assign_attrs(seed="9")) == regdyn.digest(ds)


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_not_finite_is_reported_at_its_step(engine):
    arguments = dict(lanes=10, steps=3000, record=[0, 3000], engine=engine)
    with pytest.warns(RuntimeWarning, match=r"unstable|not finite from step \d+ on under sgd"):
        ds = regdyn.simulate("sgd", "l2", [1e-3, 100.0], **arguments)
    fine, bad = ds["nonfinite_step"].values.ravel()
    growth = np.abs(np.roots([1, 0.1 * 100 - 1.9, 0.9])).max()  # heavy ball, lr 0.1, momentum 0.9
    assert np.isnan(fine) and bad == pytest.approx(np.log(LARGEST) / np.log(growth), abs=2)


PROGRAM = """
import regdyn
a, b = (regdyn.simulate("sgd", steps=8, lanes=64, engine=e) for e in ("numpy", "compiled"))
print(regdyn.digest(a) == regdyn.digest(b), float(b["mean"][0, 0, 0, -1]))
"""


@pytest.mark.slow
def test_compiled_code_is_never_stale(tmp_path):
    """An edit of a rule shows in the compiled engine, although its own file is unchanged."""
    shutil.copytree(Path(regdyn.__file__).parent, tmp_path / "regdyn")
    env = os.environ | {"PYTHONPATH": str(tmp_path), "REGDYN_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", PROGRAM]

    def run():
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        same, mean = done.stdout.split()
        assert same == "True"
        return float(mean)

    before = run()
    source = tmp_path / "regdyn" / "rules.py"
    text = source.read_text()
    edited = text.replace("delta = coef.lr * (grad", "delta = 2 * coef.lr * (grad")
    assert edited != text
    source.write_text(edited)
    after = run()
    assert 1 - after == pytest.approx(2 * (1 - before), rel=0.1)


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("engine", "numpyy", "did you mean 'numpy'"),
        ("threads", 0, "threads must be"),
        ("block", 100, "64 times a power of 2"),
        ("block", 32, "block must be"),
        ("statistics", "moment", "did you mean 'moments'"),
    ],
)
def test_bad_arrangements(argument, value, said):
    with pytest.raises(ValueError, match=said):
        regdyn.simulate("sgd", **(SMALL | {argument: value}))
