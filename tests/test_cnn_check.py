"""The check of a device: quick on the CPU here, whole on a GPU where there is one."""

import json
import shutil
from dataclasses import replace

import pytest

from cnn import check, check_parts, check_resume, checkpoint
from cnn.check import names
from cnn.check_parts import Setting

torch = pytest.importorskip("torch")
FAST = ["default", "float64", "speed-channels-last", "recording", "long-adam"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A quick check in this process: the setting, what it said, gpu.json."""
    said = []
    setting = Setting("cpu", tmp_path_factory.mktemp("check"), quick=True)
    check.check(setting, FAST, isolate=False, say=said.append)
    return setting, said, json.loads((setting.out / "gpu.json").read_text())


# The whole ---------------------------------------------------------------------------------------


def test_a_quick_check_of_the_cpu(done):
    _, said, report = done
    assert [line.split(": ")[:2] for line in said] == [[part, "ok"] for part in FAST]
    assert list(report["parts"]) == FAST and all(
        p["ok"] and p["says"] for p in report["parts"].values()
    )
    assert report["device"] == "cpu" and report["quick"] and report["torch"] == torch.__version__
    default, long = report["parts"]["default"], report["parts"]["long-adam"]
    assert len(default["sparsity_gamma"]) == 3 and long["steps"] == 40 and long["finished"]
    (timing,) = report["parts"]["speed-channels-last"]["timings"]
    assert timing["ms_per_step"] > 0 and timing["images_per_second"] == pytest.approx(
        40_000 / timing["ms_per_step"]
    )


def test_what_has_passed_is_not_done_again(done, monkeypatch):
    setting, _, report = done
    monkeypatch.setattr(check, "_do", None)
    said = []
    again = check.check(setting, FAST, isolate=False, say=said.append)
    assert all("ok before" in line for line in said) and len(said) == len(FAST)
    assert again["parts"] == report["parts"]


def test_a_part_that_fails_is_reported_and_the_others_go_on(monkeypatch, tmp_path):
    def broken(setting):
        raise RuntimeError("CUDA error:\nan illegal memory access")

    monkeypatch.setattr(check, "default_run", broken)
    monkeypatch.setattr(check, "same_losses", lambda setting: {"ok": True, "says": "same"})
    said = []
    setting = Setting("cpu", tmp_path, quick=True)
    for _ in range(2):  # what failed is done again
        check.check(setting, ["default", "float64"], isolate=False, say=said.append)
    assert said == [
        "default: NOT OK: RuntimeError: CUDA error: an illegal memory access",
        "float64: ok: same",
        "default: NOT OK: RuntimeError: CUDA error: an illegal memory access",
        "float64: ok before: same",
    ]
    assert not json.loads((tmp_path / "gpu.json").read_text())["parts"]["default"]["ok"]


def test_an_unfinished_part_goes_on(monkeypatch, tmp_path):
    found = iter([{"ok": True, "says": "half", "finished": False}, {"ok": True, "says": "all"}])
    monkeypatch.setattr(check, "long_run", lambda *_: next(found))
    setting = Setting("cpu", tmp_path, quick=True)
    for _ in range(3):
        report = check.check(setting, ["long-sgd"], isolate=False, say=lambda _: None)
    assert report["parts"]["long-sgd"]["says"] == "all"


def test_a_check_of_another_kind_is_done_anew(done, monkeypatch, tmp_path):
    setting, *_ = done
    shutil.copy(setting.out / "gpu.json", tmp_path)
    monkeypatch.setattr(check, "_do", lambda *_: {"ok": True, "says": "anew"})
    other = replace(setting, out=tmp_path, quick=False)
    report = check.check(other, ["float64"], isolate=False, say=lambda _: None)
    assert report["parts"] == {"float64": {"ok": True, "says": "anew"}}


def test_names():
    assert "speed-cuda-graphs" in names("cuda:1") and "speed-cuda-graphs" not in names("cpu")
    assert names("cuda", quick=True) == names("cuda") and names("cuda")[-1] == "long-sgd"
    assert "speed-compile" in names("cpu") and "speed-compile" not in names("cpu", quick=True)


@pytest.mark.parametrize(("words", "match"), [
    (["--device", "cpu", "--parts", "defualt"], "did you mean 'default'"),
    (["--device", "cpu", "--minutes", "0"], "--minutes must be"),
    (["--device", "cpu", "--parts", "speed-cuda-graphs"], "unknown part 'speed-cuda-graphs'"),
])  # fmt: skip
def test_bad_input(words, match, tmp_path, capsys):
    assert check.main([*words, "--out", str(tmp_path / "new")]) == 2
    assert match in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_a_device_that_is_not_there(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="'cuda' is not there: torch sees 0 CUDA devices"):
        check.check(Setting("cuda", tmp_path), isolate=False)


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "gpu.json").write_text("{")
    with pytest.raises(ValueError, match=r"gpu\.json' is not the result of a check"):
        check.check(Setting("cpu", tmp_path), isolate=False)


# What a part decides -----------------------------------------------------------------------------


@pytest.mark.parametrize(("sparsity", "error", "ok"), [
    ([44, 43, 45], [1, 1, 2.0], True), ([39, 40, 40], [1, 1, 1], False),
    ([47, 49, 49], [1, 1, 1], False), ([44, 43, 45], [1, 1, 2.1], False),
])  # fmt: skip
def test_how_much_must_collapse(monkeypatch, tmp_path, sparsity, error, ok):
    ended = {"sparsity_gamma": sparsity, "test_error": error}
    monkeypatch.setattr(check_parts, "ended", lambda *_: ended)
    assert check_parts.default_run(Setting("cpu", tmp_path))["ok"] is ok


@pytest.mark.parametrize(("off", "ok"), [(0.9e-9, True), (1.1e-9, False)])
def test_how_equal_losses_must_be(monkeypatch, tmp_path, off, ok):
    def losses(device, dtype):
        if dtype == torch.float32:
            return [2.0, 1.0 + 1e-7]
        return [2.0, 1.0] if device == "cpu" else [2.0, 1.0 + off]

    monkeypatch.setattr(check_parts, "losses", losses)
    found = check_parts.same_losses(Setting("cuda", tmp_path))
    assert found["ok"] is ok and found["worst"] == pytest.approx(off)


@pytest.mark.parametrize(("here", "ok"), [([41, 43, 45], True), ([50, 52, 54], False)])
def test_how_equal_the_ends_must_be(monkeypatch, tmp_path, here, ok):
    """Within three standard deviations of a run: here 6 points, with means 43 and 43, or 52."""
    from cnn import check_speed

    monkeypatch.setattr(check_speed, "_networks", lambda setting: [])
    monkeypatch.setattr(check_speed, "_ends", lambda *_: (here, [41, 43, 45]))
    assert check_speed.speed(Setting("cpu", tmp_path), "amp")["ok"] is ok


@pytest.mark.parametrize(("ratio", "ok"), [(1.09, True), (1.11, False)])
def test_how_fast_the_loop_must_be(monkeypatch, tmp_path, ratio, ok):
    from cnn import check_speed

    timing = {"network": "n", "ms_per_step": 1.0, "ratio": ratio}
    monkeypatch.setattr(check_speed, "_networks", lambda setting: [None])
    monkeypatch.setattr(check_speed, "_timed", lambda *_: timing)
    monkeypatch.setattr(check_speed, "_ends", lambda *_: ([43, 44], [43, 44]))
    setting = Setting("cpu", tmp_path)
    assert check_speed.speed(setting, "eager")["ok"] is ok
    assert check_speed.speed(setting, "amp")["ok"]  # its ratio is reported, not judged


@pytest.mark.parametrize(("rounds", "ok"), [
    ([(1.02, 1.0), (3.0, 1.0), (2.04, 2.0)], True), ([(1.04, 1.0)] * 3, False),
])  # fmt: skip
def test_how_cheap_recording_must_be(monkeypatch, tmp_path, rounds, ok):
    """The median over turns: one that the machine disturbed does not count."""
    from cnn import check_speed

    monkeypatch.setattr(check_speed, "_turns", lambda *_: rounds)
    setting = Setting("cpu", tmp_path)
    small = check_speed._networks(replace(setting, quick=True))
    monkeypatch.setattr(check_speed, "_networks", lambda _: small)
    found = check_speed.recording(setting)
    assert found["ok"] is ok
    assert found["costs"][0]["cost"] == pytest.approx(sorted(a / b for a, b in rounds)[1] - 1)


def test_a_long_run_stops_in_time_and_goes_on(done, tmp_path):
    """Stopped at once: after the first steps. Then to the end, as one that was never stopped."""
    setting = Setting("cpu", tmp_path, quick=True, minutes=0.0)
    first = check_parts.long_run(setting, "adam-l2-1e-4")
    assert not first["finished"] and 0 < first["steps"] < 40
    assert 0 <= first["test_error"] <= 100 and first["layers"][6]["layer"] == "C7"
    second = check_parts.long_run(replace(setting, minutes=10.0), "adam-l2-1e-4")
    assert second["finished"] and second["steps"] == 40
    _, _, report = done
    assert second["train_loss"] == report["parts"]["long-adam"]["train_loss"]


def test_one_bit_is_found(done, tmp_path):
    setting, *_ = done
    run = setting.runs / "default" / "seed-0"
    other = tmp_path / "other"
    shutil.copytree(run, other)
    assert check_resume.differences(run, other) == []
    entry = checkpoint.read(other / "checkpoint.pt")
    beta = entry["model"]["features.C3.bn.bias"]
    assert (beta == 0).sum() < len(beta)
    beta[0] = torch.nextafter(beta[0], torch.tensor(9.0))
    checkpoint.write(entry, other / "checkpoint.pt")
    assert check_resume.differences(run, other) == ["model.features.C3.bn.bias"]


def test_another_record_is_found(done, tmp_path):
    setting, *_ = done
    first, second = (setting.runs / "default" / f"seed-{seed}" for seed in (0, 1))
    other = tmp_path / "other"
    shutil.copytree(first, other)
    shutil.copy(second / "run.nc", other)
    assert check_resume.differences(first, other) == ["run.nc"]


# Long --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys):
    """All of a quick check, each part in a process of its own; twice killed and resumed."""
    assert check.main(["--device", "cpu", "--quick", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert list(report["parts"]) == names("cpu", quick=True)
    assert (
        report["parts"]["resume"]["says"]
        == "killed 2 times in 200 steps and resumed: the same bits"
    )
    assert "0 of 8 parts are not ok" in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.parametrize("part", names("cuda", quick=True))
def test_on_a_gpu(part, tmp_path):
    """Quick: that every part runs there. What they find is for `python -m cnn.check`."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    report = check.check(Setting("cuda", tmp_path, quick=True), [part])
    assert report["parts"][part]["ok"], report["parts"][part]["says"]
