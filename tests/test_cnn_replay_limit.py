"""The replay limit: agreement of runs with a known overlap, and branches of a tiny training run."""

import json
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from cnn import child
from cnn.config import Config, DataConfig, ModelConfig, OptimConfig, RecordConfig
from cnn.validate import replay_limit as command
from cnn.validate.__main__ import main
from regdyn import store
from regdyn.replay_limit import Ends, auc_from, ends, extrapolated, limit
from regdyn.scores import auc

TWO = np.repeat([0, 1], 10)  # two layers of ten filters


def runs(gamma, collapse=None, *, layer=TWO, at=100):
    gamma = np.array(gamma, dtype=float)
    late = np.where(gamma < 1e-3, 500.0, np.inf)
    return Ends(gamma, late if collapse is None else np.array(collapse), layer, at)


def luck(count, n=400, layers=4, noise=1.0, seed=0):
    """Runs in which filters have a common fate and luck of their own."""
    rng = np.random.default_rng(seed)
    common = rng.normal(-7, 2, n)
    gamma = np.exp(common + noise * rng.normal(size=(count, n)))
    collapse = np.where(gamma < 1e-3, 500 * np.exp(0.1 * rng.normal(size=gamma.shape)), np.inf)
    return runs(gamma, collapse, layer=np.arange(n) % layers)


# Agreement ---------------------------------------------------------------------------------------


def test_runs_that_agree():
    gamma = np.where(np.arange(20) % 3 == 0, 1e-4, 0.5)
    found = limit(runs([gamma] * 4))
    assert found.jaccard == 1 and found.mixed == found.differ == 0
    assert found.auc.tolist() == [1, 1, 1] and found.auc_limit == pytest.approx(1)
    assert found.auc_error == pytest.approx(0, abs=1e-12)
    assert found.layer_error == found.total_error == 0
    assert found.within == found.within_remaining_rest == found.within_both == 100


def test_counts_of_two_runs_by_hand():
    """Layer 0: dead 0-3 and 2-5; layer 1: dead 10-12 in both."""
    gamma = np.full((2, 20), 0.1)
    gamma[0, [0, 1, 2, 3, 10, 11, 12]] = 1e-4
    gamma[1, [2, 3, 4, 5, 10, 11, 12]] = 1e-4
    found = limit(runs(gamma))
    assert found.jaccard == pytest.approx(5 / 9)
    assert found.mixed == found.differ == pytest.approx(100 * 4 / 20)
    assert found.layer_error == found.total_error == 0  # as many, though not the same
    first = (2 * 4 + 0.5 * (2 * 2 + 2 * 4) + 0) / (4 * 6)  # pairs won and half of those tied
    assert found.auc.tolist() == [pytest.approx((first + 1) / 2)]
    assert math.isnan(found.auc_limit) and math.isnan(found.auc_error)


def test_how_many_differ():
    gamma = np.full((3, 20), 0.1)
    gamma[0, :4] = gamma[1, :5] = gamma[2, :7] = 1e-4  # 40, 50, 70 % of layer 0; 20, 25, 35 %
    found = limit(runs(gamma))
    assert found.layer_error == pytest.approx((10 + 20 + 30) / 3 / 2)
    assert found.total_error == pytest.approx((5 + 10 + 15) / 3)
    assert found.mixed == pytest.approx(100 * 3 / 20)
    assert found.differ == pytest.approx(100 * (1 + 2 + 3) / 3 / 20)


def test_times():
    """One filter in four collapses at 400, 440, 600 or never; they part at 300."""
    gamma = np.full((2, 20), 0.1)
    gamma[:, :3] = 1e-4
    collapse = np.full((2, 20), np.inf)
    collapse[0, :3] = 400, 400, 400
    collapse[1, :3] = 440, 600, 410
    found = limit(runs(gamma, collapse, at=300))
    assert found.within == found.within_rest == found.within_both == pytest.approx(100 * 2 / 3)
    assert found.within_remaining == pytest.approx(100 / 3)  # 100 -> 140, 300, 110
    gamma[1, 0], collapse[1, 0] = 0.1, np.inf
    found = limit(runs(gamma, collapse, at=300))
    assert found.within == pytest.approx(100 * (1 / 3 + 1 / 2) / 2)  # a death that the other lacks
    assert found.within_both == pytest.approx(50)
    gamma[:] = 0.1
    found = limit(runs(gamma, np.full_like(gamma, np.inf)))
    assert found.jaccard == 1 and math.isnan(found.within) and math.isnan(found.auc[0])


@pytest.mark.parametrize("others", [1, 2, 3])
def test_the_auc_is_a_mean_of_mann_whitney_tests(others):
    """Against scipy, layer by layer, target by target, set by set."""
    found = luck(4, n=60, layers=2)
    score = -np.log(np.maximum(found.gamma, 1e-3))
    expected = []
    for target in range(4):
        rest = [k for k in range(4) if k != target]
        for some in combinations(rest, others):
            mean, by_layer = score[list(some)].mean(axis=0), []
            for number in range(2):
                here = found.layer == number
                gone, alive = here & found.dead[target], here & ~found.dead[target]
                u = mannwhitneyu(mean[gone], mean[alive]).statistic
                by_layer.append(u / (gone.sum() * alive.sum()))
            expected.append(np.mean(by_layer))
    assert auc_from(found, others) == pytest.approx(np.mean(expected), abs=1e-12)


def test_more_runs_foretell_better_and_the_limit_is_that_of_the_common_fate():
    """What is common is known here: its own AUC is what no number of runs can beat."""
    common, found = [], []
    for seed in range(6):
        some = luck(6, seed=seed)
        fate = -np.random.default_rng(seed).normal(-7, 2, 400)
        common.append(np.mean([auc(fate, dead, some.layer) for dead in some.dead]))
        found.append(limit(some))
    for one in found:
        assert (np.diff(one.auc) > 0).all() and one.auc_limit > one.auc[-1]
        assert 0 < one.auc_error < 0.05
    assert np.mean([one.auc_limit for one in found]) == pytest.approx(np.mean(common), abs=0.02)


@given(st.floats(0.5, 1.0), st.floats(0.0, 0.3), st.integers(2, 9), st.sets(st.integers(0, 8)))
def test_the_fit_finds_its_own_curve(a, b, count, unknown):
    curve = a - b / np.arange(1, count + 1)
    assert extrapolated(curve) == pytest.approx(a, abs=1e-9)
    curve[[k for k in unknown if k < count]] = np.nan
    if np.isfinite(curve).sum() >= 2:
        assert extrapolated(curve) == pytest.approx(a, abs=1e-9)
    else:
        assert math.isnan(extrapolated(curve))


def test_the_error_is_that_of_other_runs_or_larger():
    """Twelve limits, of four runs each: their spread, by the jackknife 1.5 times as large."""
    many = luck(48, n=200)
    parts = [slice(i, i + 4) for i in range(0, 48, 4)]
    found = [
        limit(many._replace(gamma=many.gamma[part], collapse=many.collapse[part])) for part in parts
    ]
    spread = np.std([one.auc_limit for one in found], ddof=1)
    error = np.sqrt(np.mean([one.auc_error**2 for one in found]))
    assert 1.2 < error / spread < 2.5


def test_the_fit_stays_within_what_an_auc_can_be():
    assert extrapolated([0.5, 0.9, 0.99]) == 1.0
    assert math.isnan(extrapolated([0.9]))
    for bad in ([], [[0.9, 0.8]], 0.9):
        with pytest.raises(ValueError, match="aucs must be numbers, for K = 1, 2"):
            extrapolated(bad)


@settings(max_examples=10)
@given(st.permutations(range(4)), st.integers(0, 5))
def test_the_order_of_runs_does_not_matter(order, seed):
    one = luck(4, n=40, layers=2, seed=seed)
    other = one._replace(gamma=one.gamma[order], collapse=one.collapse[order])
    for x, y in zip(limit(one), limit(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


# Branches of a run -------------------------------------------------------------------------------

STEPS = 40
TINY = Config(
    model=ModelConfig(widths=(3, 4, 8)), data=DataConfig(images=100),
    optim=OptimConfig(lam=0.3, lr=0.05), record=RecordConfig(every=5), batch=20, steps=STEPS,
    threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def stem(tmp_path_factory):
    """A finished run of cnn.train."""
    from cnn.train import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "tiny" / "seed-0"
    train(TINY, folder, plot=False)
    torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="module")
def done(stem, tmp_path_factory):
    """The command, once; branches are trained in this process, which is quicker."""
    from cnn.train import train

    def run(config, folder):
        return train(config, folder, resume=True, plot=False, progress=False)

    out = tmp_path_factory.mktemp("out")
    words = ["replay-limit", str(stem), "--at", "0.1", "--branches", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "run", run)
        assert main([*words, "--out", str(out)]) == 0
    return out


def test_what_is_written(stem, done):
    found = json.loads((done / "tiny" / "seed-0" / "at-0.1" / "limit.json").read_text())
    assert found["setting"] == "tiny" and found["seed"] == 0 and found["at"] == 0.1
    assert found["step"] == 4 and found["runs"] == 3 and len(found["auc"]) == 2
    assert len(found["dead"]) == 3 and [row["layer"] for row in found["layers"]] == [
        "C1",
        "C2",
        "C3",
    ]
    assert found["git_revision"] and str(stem.parents[1]) not in json.dumps(found)
    rows = json.loads((done / "limits.json").read_text())["rows"]
    assert [(row["setting"], row["at"], row["auc_limit"]) for row in rows] == [
        ("tiny", 0.1, found["auc_limit"])
    ]
    assert command.limits(done / "limits.json") == {("tiny", 0.1): found["auc_limit"]}


def test_branches_share_the_beginning_and_nothing_else(stem, done):
    folders = [stem, *sorted(done.glob("tiny/seed-0/at-0.1/branch-*/seed-0"))]
    assert len(folders) == 3
    tapes = [store.load(folder / "run.nc") for folder in folders]
    for one, other in combinations(tapes, 2):
        same = (one["gamma"].values == other["gamma"].values).all(axis=1)
        assert same[0] and not same[1:].any()  # recorded at 0, 5, ...; they part at 4
    for branch in tapes[1:]:
        (origin,) = json.loads(branch.attrs["branches"])
        assert origin["after"] == 4 and origin["data_seed"] in (1001, 1002)
        config = json.loads(branch.attrs["config"])
        assert config["seed"] == 0 and config["data_seed"] == origin["data_seed"]


def test_the_branch_is_that_of_cnn_train(stem, done, tmp_path):
    from cnn.checkpoint import name_of
    from cnn.train import train

    torch.set_num_threads(1)
    config = replace(TINY, data_seed=1001)
    train(config, tmp_path / "twin", branch=stem / name_of(4), plot=False)
    one = store.load(tmp_path / "twin" / "run.nc")
    other = store.load(done / "tiny" / "seed-0" / "at-0.1" / "branch-1" / "seed-0" / "run.nc")
    assert one["gamma"].values.tobytes() == other["gamma"].values.tobytes()
    assert one.attrs["branches"] == other.attrs["branches"]


def test_what_is_done_is_not_done_again(stem, done, monkeypatch, capsys):
    monkeypatch.setattr(child, "COMMAND", ("false",))
    before = {path: path.stat().st_mtime_ns for path in done.rglob("run.nc")}
    words = ["replay-limit", str(stem), "--branches", "2", "--out", str(done)]
    assert main(words) == 0
    assert before == {path: path.stat().st_mtime_ns for path in done.rglob("run.nc")}
    assert len(json.loads((done / "limits.json").read_text())["rows"]) == 1
    assert "replay limit" in capsys.readouterr().out
    assert main([*words[:2], "--branches", "3", "--out", str(done)]) == 2  # one more: it fails
    assert "branch-3" in capsys.readouterr().err
    assert len(list(done.rglob("run.nc"))) == 2


def test_other_branches_in_the_folder_are_not_mixed_up(stem, done, tmp_path, capsys):
    """Branches of another stem under the same name."""
    from cnn.train import train

    torch.set_num_threads(1)
    other = tmp_path / "tiny" / "seed-0"
    train(replace(TINY, batch=25), other, plot=False)
    assert main(["replay-limit", str(other), "--branches", "2", "--out", str(done)]) == 2
    assert "holds another run: its batch is 20, not 25" in capsys.readouterr().err
    train(TINY, other, plot=False, overwrite=True)  # the same settings, another file
    assert main(["replay-limit", str(other), "--branches", "2", "--out", str(done)]) == 2
    assert "did not begin at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", "0.3"], "at must be 0.05, 0.1 or 0.2"),
        (["--at"], "at must be 0.05, 0.1 or 0.2"),
        (["--branches", "0"], "branches must be a whole number >= 1"),
        (["--jobs", "0"], "jobs must be a whole number >= 1"),
    ],
)
def test_bad_input(words, said, stem, tmp_path, capsys):
    assert main(["replay-limit", str(stem), *words, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_without_its_checkpoint(stem, tmp_path, capsys):
    import shutil

    shutil.copytree(stem, tmp_path / "tiny", ignore=shutil.ignore_patterns("checkpoint-*"))
    assert main(["replay-limit", str(tmp_path / "tiny"), "--out", str(tmp_path / "out")]) == 2
    assert "checkpoint-4.pt" in capsys.readouterr().err
    assert main(["replay-limit", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no run.nc" in capsys.readouterr().err


def test_runs_that_do_not_belong_together(stem):
    from cnn.validate import folders

    record = folders.load(stem)[0].record
    assert ends([record, record], 4).gamma.shape == (2, 15)
    with pytest.raises(ValueError, match="at least 2 runs"):
        ends([record], 4)
    with pytest.raises(ValueError, match="same layers and the same number of steps"):
        ends([record, record.until(20)], 4)
    with pytest.raises(ValueError, match="at must be a finite number >= 0 and < 40"):
        ends([record, record], STEPS)


def test_all_names_settings_that_exist():
    from cnn.validate.settings import settings as rows

    known = {one.name: one for one in rows("development")}
    assert len(command.MEASURED) == 6 and set(command.MEASURED) <= set(known)
    assert sum(name.startswith("digits/") for name in command.MEASURED) == 4


def test_all_needs_the_runs(tmp_path, capsys):
    assert main(["replay-limit", str(tmp_path), "--all", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert command.MEASURED[0] in said and "holds no run.nc" in said


@pytest.mark.slow
def test_branches_in_processes_of_their_own(stem, done, tmp_path):
    words = ["replay-limit", str(stem), "--branches", "2", "--jobs", "2"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    for one in done.rglob("run.nc"):
        other = store.load(tmp_path / one.relative_to(done))
        assert other["gamma"].values.tobytes() == store.load(one)["gamma"].values.tobytes()
