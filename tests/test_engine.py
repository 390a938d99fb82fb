"""The engine's promises: replay agrees, same bits in any arrangement, statistics that are right."""

import math

import numpy as np
import pytest

from regdyn import engine, random, replay, rules, sample, simulate, statistics
from regdyn.gradients import AR1, Gaussian, Intermittent, LowGradient, StudentT, Tape, Well
from regdyn.plan import THRESHOLDS
from regdyn.regularizers import REGULARIZERS, Cosine, StepDecay
from regdyn.rules import SGD, Adam, AMSGrad

from . import naive

STEPS, LANES = 40, 70
RULES = [
    *rules.RULES, SGD(nesterov=True), AMSGrad(flavour="optax"), AMSGrad(flavour="original"),
]  # fmt: skip
PROCESSES = {
    "low": LowGradient(steps0=10),
    "gaussian": Gaussian(1e-4, np.linspace(0, 1, STEPS)),
    "intermittent": Intermittent(f=0.1, batch=2),
    "ar1": AR1(std=1e-2),
    "studentt": StudentT(nu=3, std=1e-2),
    "tape": Tape(np.sin(np.arange(STEPS * 200.0)).reshape(STEPS, 200)),
}
any_process = pytest.mark.parametrize("process", PROCESSES)
GRID = {"rule": list(rules.RULES), "reg": list(REGULARIZERS), "lam": [1e-3, 0.2]}
SMALL = {"gradient": PROCESSES["low"], "steps": STEPS, "lanes": LANES}
WATCHED = {"keep_lanes": True, "record": 1}


def theta(ds, **at):
    """Trajectories of one setting, (step, ..., lane)."""
    return ds.theta.isel({dim: at.get(dim, 0) for dim in ("rule", "reg", "lam")}).values


def assert_close(found, expected):
    """1e-12 of the largest."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


# The same bits -----------------------------------------------------------------------------------


@any_process
def test_replay_of_the_sample_is_simulate(process):
    """Every rule under every regulariser and strength."""
    grid = {**GRID, "rule": RULES}
    ds = simulate(**grid, **{**SMALL, "gradient": PROCESSES[process]}, seed=5, **WATCHED)
    tape = sample(PROCESSES[process], STEPS, LANES, seed=5)
    for i, rule in enumerate(grid["rule"]):
        for j, reg in enumerate(grid["reg"]):
            for k, lam in enumerate(grid["lam"]):
                found = theta(ds, rule=i, reg=j, lam=k)
                assert np.array_equal(found, replay(tape, rule, reg, lam)), (rule, reg, lam)


SCHEDULES = ["paper", StepDecay((0.2, 0.6), 0.3), Cosine(0.1), np.linspace(1, 0, STEPS)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["paper", "step", "cosine", "array"])
def test_replay_is_simulate_under_a_schedule(schedule):
    ds = simulate(**GRID, **SMALL, **WATCHED, schedule=schedule)
    tape = sample(PROCESSES["low"], STEPS, LANES)
    for i, rule in enumerate(GRID["rule"]):
        for j, reg in enumerate(GRID["reg"]):
            expected = replay(tape, rule, reg, 0.2, schedule=schedule)
            assert np.array_equal(theta(ds, rule=i, reg=j, lam=1), expected), (rule, reg)


@any_process
def test_ranges_of_lanes_are_parts_of_the_experiment(process):
    common = {**GRID, "gradient": PROCESSES[process], "steps": STEPS, "keep_passages": True}
    whole = simulate(**common, lanes=130, **WATCHED)
    for lanes in (range(50), range(50, 130)):
        part = simulate(**common, lanes=lanes, **WATCHED)
        for name in ("theta", "first_passage"):
            assert part[name].equals(whole[name].sel(lane=list(lanes)))


def test_a_setting_alone_is_the_same_as_in_a_grid():
    """All variables: statistics, passages and what is not finite."""
    whole = simulate(**GRID, **SMALL, keep_passages=True)
    for rule in GRID["rule"]:
        for reg, lam in [("l2", 0.2), ("wd", 1e-3)]:
            alone = simulate(rule, reg, lam, **SMALL, keep_passages=True)
            assert alone.equals(whole.sel(rule=[rule], reg=[reg], lam=[lam]))


def test_memory_does_not_change_the_result(monkeypatch):
    """Few recorded steps at a time."""
    whole = simulate(**GRID, **SMALL, **WATCHED)
    monkeypatch.setattr(engine, "_MEMORY", 1)
    assert simulate(**GRID, **SMALL, **WATCHED).equals(whole)


@pytest.mark.parametrize("lanes", [5000, range(2000, 4200)], ids=str)
def test_many_lanes_are_summarised_as_one_block(lanes):
    ds = simulate("adam", lanes=lanes, steps=5, gradient="gaussian", **WATCHED)
    first = lanes.start if isinstance(lanes, range) else 0
    whole = statistics.summarise(ds.theta.values, first, THRESHOLDS, levels=40)
    for name, expected in statistics.reduce(whole).items():
        dims = ("rule", "reg", "lam", "step", *{"q", "threshold"}.intersection(ds[name].dims))
        assert np.array_equal(ds[name].transpose(*dims), expected), name


# What is recorded --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "steps"),
    [
        (1, range(STEPS + 1)), (15, [0, 15, 30, 40]), (20, [0, 20, 40]), (99, [0, 40]),
        ([7], [7]), ([40, 0, 3, 3], [0, 3, 40]), (np.array([5, 6]), [5, 6]),
    ],
)  # fmt: skip
def test_recorded_steps(record, steps):
    """Fewer steps recorded are the same numbers."""
    ds, all_ = (simulate("adam", "wd", 0.1, **SMALL, record=r) for r in (record, 1))
    assert ds.step.values.tolist() == list(steps)
    counts = all_.first_passage_count.cumsum("step").sel(step=ds.step).diff("step")
    assert ds.first_passage_count.isel(step=slice(1, None)).equals(counts)
    assert ds.drop_vars("first_passage_count").equals(
        all_.drop_vars("first_passage_count").sel(step=ds.step)
    )


@pytest.mark.parametrize("steps", [1, 2, 399, 3000])
def test_default_record_holds_both_ends_and_few_between(steps):
    recorded = simulate("sgd", lanes=1, steps=steps).step.values
    assert (recorded[0], recorded[-1]) == (0, steps)
    assert len(recorded) <= 402
    assert np.all(np.diff(recorded) > 0)


@pytest.fixture(scope="module")
def watched():
    """Adam with strong decay: some lanes pass all thresholds, two of them at step 0."""
    thresholds = (2.0, 1.5, 0.5, 0.1, 1e-2, 1e-6)
    common = {**SMALL, "lanes": 401, "gradient": "gaussian", "thresholds": thresholds}
    hp = Adam(lr=0.03)
    coarse = simulate(hp, "wd", [0.01, 0.1], record=7, keep_passages=True, **common)
    return coarse, simulate(hp, "wd", [0.01, 0.1], **WATCHED, **common)


def test_first_passages_are_those_of_the_trajectories(watched):
    coarse, fine = watched
    below = np.abs(fine.theta) < fine.threshold
    expected = below.argmax("step").where(below.any("step"))
    assert coarse.first_passage.equals(expected.transpose(*coarse.first_passage.dims).astype(float))
    assert np.unique(expected.count("lane")).size > 3  # none, some and all

    # counted after the previous recorded step and not after this one
    for before, now in zip([-1, *coarse.step.values[:-1]], coarse.step.values, strict=True):
        passed = ((expected > before) & (expected <= now)).sum("lane")
        found = coarse.first_passage_count.sel(step=now, drop=True)
        assert np.array_equal(found, passed.transpose(*found.dims))

    median = expected.fillna(math.inf).median("lane")  # 401 lanes: no half
    median = median.where(np.isfinite(median)).transpose(*coarse.first_passage_median.dims)
    assert np.array_equal(coarse.first_passage_median, median, equal_nan=True)


def test_statistics_are_those_of_the_trajectories(watched):
    _, ds = watched
    for name in ("mean", "std", "min", "max"):
        assert_close(ds[name].values, getattr(ds.theta, name)("lane").values)
    assert_close(ds.rms.values, np.sqrt((ds.theta**2).mean("lane")).values)
    share = (np.abs(ds.theta) < ds.threshold).mean("lane").transpose(*ds.share_below.dims)
    assert np.array_equal(ds.share_below, share)
    for name, x in [("quantile", ds.theta), ("abs_quantile", np.abs(ds.theta))]:
        exact = np.quantile(x, ds.q, axis=-1, method="inverted_cdf")
        error = np.abs(ds[name].transpose("q", ...).values - exact)
        assert np.all(error <= np.abs(exact) / 32)


# Vectors, wells, schedules ------------------------------------------------------------------------

START = np.array([[1.0, -0.5, 0.0], [2.0, 1e-3, 7.0]])


@any_process
def test_a_vector_is_its_parameters_side_by_side(process):
    """Parameter p of lane n draws the numbers of lane n P + p."""
    lanes, size = range(3, 33), START.size
    common = {"gradient": PROCESSES[process], "steps": STEPS, "theta0": START, "lam": 0.1}
    ds = simulate("adam", **common, lanes=lanes, keep_passages=True, **WATCHED)
    tape = sample(PROCESSES[process], STEPS, range(3 * size, 33 * size))
    for p, start in enumerate(START.ravel()):
        expected = replay(tape[:, p::size], "adam", lam=0.1, theta0=start)
        assert np.array_equal(theta(ds)[:, p], expected)
        assert_close(ds["mean"].isel(rule=0, reg=0, lam=0, param=p).values, expected.mean(axis=1))
    norm = np.sqrt((theta(ds) ** 2).sum(axis=1))
    assert_close(ds.norm_mean.values.ravel(), norm.mean(axis=-1))
    assert_close(ds.norm_max.values.ravel(), norm.max(axis=-1))
    below = (norm[..., None] < ds.threshold.values).mean(axis=1)
    assert np.array_equal(ds.norm_share_below.values.reshape(below.T.shape), below.T)
    assert ds.first_passage.sizes["param"] == size
    assert not any(name.startswith("norm_first") for name in ds)


def test_replay_takes_a_start_per_lane():
    tape, start = sample("low", STEPS, 3), np.array([1.0, -2.0, 0.0])
    together = replay(tape, "adam", theta0=start)
    for lane in range(3):
        assert np.array_equal(replay(tape[:, lane], "adam", theta0=start[lane]), together[:, lane])


@pytest.mark.parametrize("rule", ["sgd", "adam", "lion"])
@pytest.mark.parametrize("reg", ["none", "l2", "wd"])
def test_well_pulls_to_its_center(rule, reg):
    """Against a loop on one lane, written from the formula and the naive rules."""
    well, hp = Well(curvature=0.1, center=3.0, std=0.5), rules.resolve(rule)
    ds = simulate(rule, reg, 0.01, gradient=well, steps=STEPS, lanes=2, **WATCHED)
    noise = random.normals(0, np.array([1]), 1, STEPS)[:, 0].tolist()
    fields = hp._asdict()
    lr = fields.pop("lr")
    step = naive.RULES[rule](**fields)
    x = [1.0]
    for z in noise:
        grad = 0.5 * z + 0.1 * (x[-1] - 3.0) + (0.01 * x[-1] if reg == "l2" else 0.0)
        x.append((x[-1] - step(grad, lr)) * (0.99 if reg == "wd" else 1.0))
    assert_close(theta(ds)[:, 1], x)


@pytest.mark.parametrize("reg", REGULARIZERS)
@pytest.mark.parametrize("rule", rules.RULES)
def test_schedule_scales_learning_rate_and_decay(rule, reg):
    factors = np.linspace(1, 0, STEPS)
    tape = sample("low", STEPS, 1)
    found = replay(tape, rule, reg, 0.05, schedule=factors)
    hp = rules.resolve(rule)._asdict()
    expected = naive.run(rule, tape[:, 0].tolist(), reg, 0.05, 1.0, schedule=factors.tolist(), **hp)
    assert_close(found[:, 0], expected)


# Trouble -----------------------------------------------------------------------------------------


def test_an_unstable_setting_warns_and_runs():
    """SGD with lr lambda >= 2 (1 + momentum) = 3.8; a little below it does not warn."""
    simulate("sgd", "l2", 37.9, **SMALL)
    with pytest.warns(RuntimeWarning, match=r"unstable: sgd with l2 38\.1: .* without bound\.$"):
        ds = simulate("sgd", "l2", [1.0, 38.1], **SMALL)
    assert ds["mean"].notnull().all()


def test_theta_that_is_not_finite_is_reported_with_step_and_setting():
    common = {"steps": 500, "gradient": "gaussian"}
    with pytest.warns(RuntimeWarning) as caught:
        ds = simulate(["sgd", "adam"], "l2", [0.01, 100.0], lanes=3, record=1, **common)
    with pytest.warns(RuntimeWarning, match=r"theta is not finite from step \d+ on\.$"):
        thetas = replay(sample("gaussian", 500, 3), "sgd", "l2", 100.0)
    step = int(np.argmin(np.isfinite(thetas).all(axis=1)))
    assert 100 < step < 500
    unstable, sentence = (str(warning.message) for warning in caught)
    assert unstable.startswith("unstable: sgd with l2 100: ")
    assert f"theta is not finite from step {step} on under sgd with l2 100: " in sentence
    assert np.array_equal(ds.nonfinite_step[:, 0], [[math.nan, step], [math.nan] * 2], True)
    for name in ("mean", "std", "rms"):
        finite = np.isfinite(ds[name][:, 0]).all("rule")
        assert not finite.sel(lam=100.0, step=slice(step, None)).any()
        assert finite.sel(lam=0.01).all()
