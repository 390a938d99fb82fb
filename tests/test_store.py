"""Results: what they are labelled with, and that they survive the disk or are refused."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import regdyn
from regdyn import load, save, simulate, store
from regdyn.gradients import Gaussian

GRID = {"rule": ["adam", "sgd", "lion"], "reg": ["l2", "wd"], "lam": [1e-4, 1e-3]}
KEEP = {"keep_lanes": True, "keep_passages": True}
STEPS, LANES, PARAMS = 20, 10, 6
THETA0 = np.arange(1.0, PARAMS + 1).reshape(2, 3)


def run(**options):
    return simulate(**{**GRID, "steps": STEPS, "lanes": LANES, "record": [0, 5, 20], **options})


@pytest.fixture
def ds():
    return run(**KEEP)


# Labels ------------------------------------------------------------------------------------------

PLAIN = ("rule", "reg", "lam", "step")
DIMS = {
    **dict.fromkeys(["mean", "std", "rms", "min", "max"], PLAIN),
    **dict.fromkeys(["quantile", "abs_quantile"], ("rule", "reg", "lam", "q", "step")),
    "share_below": ("rule", "reg", "lam", "threshold", "step"),
    "first_passage_count": ("rule", "reg", "lam", "threshold", "step"),
    "first_passage_median": ("rule", "reg", "lam", "threshold"),
    "nonfinite_step": ("rule", "reg", "lam"),
    "theta": (*PLAIN, "lane"),
    "first_passage": ("rule", "reg", "lam", "threshold", "lane"),
}
KEPT = {"theta", "first_passage"}


def with_param(dims):
    return (*(d for d in dims if d != "lane"), "param", *(d for d in dims if d == "lane"))


def test_dimensions_of_a_scalar(ds):
    assert {name: ds[name].dims for name in ds} == DIMS
    assert set(run()) == set(DIMS) - KEPT


def test_dimensions_of_a_vector():
    """Each parameter, and the norm over them; a lane that is not finite belongs to the setting."""
    per_param = {k: with_param(v) if k != "nonfinite_step" else v for k, v in DIMS.items()}
    norms = {f"norm_{k}": v for k, v in DIMS.items() if "step" in v and k != "theta"}
    del norms["norm_first_passage_count"]
    ds = run(**KEEP, theta0=THETA0)
    assert {name: ds[name].dims for name in ds} == {**per_param, **norms}
    assert ds.param.values.tolist() == list(range(PARAMS))
    assert ds.attrs["theta0_shape"] == "(2, 3)"


def test_coordinates(ds):
    assert ds.rule.values.tolist() == GRID["rule"]
    assert ds.reg.values.tolist() == GRID["reg"]
    assert ds.lam.values.tolist() == GRID["lam"]
    assert ds.step.values.tolist() == [0, 5, 20]
    assert ds.threshold.values.tolist() == [0.5, 0.1, 1e-2, 1e-3]
    assert ds.q.values.tolist() == [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]
    assert ds.lane.values.tolist() == list(range(LANES))
    assert run(lanes=range(7, 9), **KEEP).lane.values.tolist() == [7, 8]


def test_rules_of_one_kind_are_told_apart_by_what_differs():
    adam = regdyn.rules.Adam
    labels = run(rule=["sgd", adam(), adam(beta2=0.999)]).rule.values.tolist()
    assert labels == ["sgd", "adam(beta2=0.99)", "adam(beta2=0.999)"]


@pytest.mark.parametrize("theta0", [1.0, THETA0], ids=["scalar", "vector"])
def test_every_variable_says_what_it_is(theta0):
    ds = run(**KEEP, theta0=theta0)
    for name in ds:
        assert ds[name].attrs["long_name"]
        assert ds[name].attrs["units"] in {"theta", "step", "lanes", "1"}
        assert ("norm" in ds[name].attrs["long_name"]) == name.startswith("norm_")


def test_attributes_say_what_made_it():
    ds = run(seed=2**64 - 1, gradient=Gaussian(std=0.5))
    config = json.loads(ds.attrs["config"])
    assert [rule["name"] for rule in config["rule"]] == GRID["rule"]
    assert config["rule"][0] == {"name": "adam", **regdyn.rules.Adam()._asdict()}
    assert config["gradient"] == {"name": "gaussian", "mean": 0.0, "std": 0.5}
    assert (config["steps"], config["lanes"], config["theta0"]) == (STEPS, [0, LANES], 1.0)
    assert ds.attrs["seed"] == str(config["seed"]) == str(2**64 - 1)
    assert ds.attrs["lanes"] == LANES
    assert ds.attrs["numpy_version"] == np.__version__
    assert ds.attrs["python_version"] == sys.version.split()[0]
    assert {"regdyn_version", "xarray_version", "machine", "git_revision"} <= set(ds.attrs)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_git_revision_is_that_of_the_source(tmp_path, monkeypatch):
    """The commit, whatever its tags; that there are changes; nothing for untracked files."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # set within a git hook: they name another checkout
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    source = tmp_path / "store.py"

    def git(*args):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def revision():
        return store.provenance.__wrapped__()["git_revision"]

    monkeypatch.setattr(store, "__file__", str(source))
    source.write_text("one")
    assert revision() == "not a checkout"
    git("init")
    assert revision() == "not a checkout"
    git("add", ".")
    git("commit", "-m", "one")
    git("tag", "-a", "v1", "-m", "one")
    assert revision() == git("rev-parse", "HEAD")
    source.write_text("two")
    assert revision() == git("rev-parse", "HEAD") + "-dirty"


# Digest ------------------------------------------------------------------------------------------


def test_digest_sees_values_and_labels_but_not_attributes(ds):
    same = ds.copy(deep=True).assign_attrs(title="other")
    same["mean"].values[0, 0, 0, 0] += 0.0
    assert regdyn.digest(same) == regdyn.digest(ds)
    for other in (
        ds.assign(mean=ds["mean"] * (1 + 2.0**-52)),
        ds.rename(mean="average"),
        ds.assign_coords(rule=["adam", "sgd", "lio"]),
        ds.assign_coords(step=[0, 5, 21]),
        ds.drop_vars("theta"),
        ds.transpose("step", ...),
    ):
        assert regdyn.digest(other) != regdyn.digest(ds)


def test_digest_does_not_see_the_sign_of_zero_or_the_kind_of_nan():
    values = [0.0, np.nan], [-0.0, -np.nan]
    one, other = (regdyn.digest(xr.Dataset({"a": ("x", v)})) for v in values)
    assert one == other


def test_digest_sees_which_dimension_is_which():
    square = np.arange(4.0).reshape(2, 2)
    one, other = (regdyn.digest(xr.Dataset({"a": (list(dims), square)})) for dims in ("xy", "yx"))
    assert one != other


# Disk --------------------------------------------------------------------------------------------

CASES = {
    "plain": {},
    "kept": KEEP,
    "vector": {**KEEP, "theta0": THETA0},
    "far seed": {"seed": 2**64 - 1, "lanes": range(5, 15)},
    "one": {"rule": "adam", "reg": "l2", "lam": 1e-4, "record": [20]},
}


@pytest.mark.parametrize("case", CASES)
def test_load_gives_back_what_was_saved(case, tmp_path):
    ds, path = run(**CASES[case]), tmp_path / "result.nc"
    assert save(ds, str(path)) == path
    loaded = load(path)
    xr.testing.assert_identical(loaded, ds)
    assert regdyn.digest(loaded) == regdyn.digest(ds)
    assert {k: v.dtype.kind for k, v in loaded.items()} == {k: v.dtype.kind for k, v in ds.items()}
    assert os.listdir(tmp_path) == ["result.nc"]


def test_saved_file_has_the_usual_permissions(ds, tmp_path):
    (tmp_path / "plain").touch()
    save(ds, tmp_path / "result.nc")
    assert os.stat(tmp_path / "result.nc").st_mode == os.stat(tmp_path / "plain").st_mode


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_a_failing_write_leaves_the_old_file(error, ds, tmp_path, monkeypatch):
    path = save(ds, tmp_path / "result.nc")
    before = path.read_bytes()

    def half(self, name, **_):
        with open(name, "wb") as file:
            file.write(before[:100])
        raise error

    monkeypatch.setattr(xr.Dataset, "to_netcdf", half)
    with pytest.raises(type(error)):
        save(ds, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["result.nc"]


@pytest.mark.parametrize("where", ["missing/result.nc", "folder.nc"])
def test_an_error_names_the_file_that_was_wanted(where, ds, tmp_path):
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(OSError) as error:
        save(ds, tmp_path / where)
    assert error.value.filename == str(tmp_path / where) and error.value.filename2 is None
    assert [path.name for path in tmp_path.iterdir()] == ["folder.nc"]


def test_save_needs_a_folder(ds, tmp_path):
    with pytest.raises(OSError):
        save(ds, tmp_path / "nowhere" / "result.nc")
    assert os.listdir(tmp_path) == []


def broken(kind, path, ds):
    """Write a file that is no result."""
    if kind == "another netCDF":
        xr.Dataset({"a": ("x", [1.0])}).to_netcdf(path)
        return
    save(ds, path)
    content = path.read_bytes()
    parts = {"empty": b"", "text": b"rule,reg\nadam,l2\n", "half": content[: len(content) // 2]}
    path.write_bytes(parts.get(kind, content[:-100]))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("empty", "is not a netCDF file, or is damaged."),
        ("text", "is not a netCDF file, or is damaged."),
        ("half", "is not a netCDF file, or is damaged."),
        ("short by 100 bytes", "is not a netCDF file, or is damaged."),
        ("another netCDF", "is a netCDF file, but not a result of regdyn."),
    ],
)
def test_load_refuses_in_one_sentence(kind, sentence, ds, tmp_path):
    path = tmp_path / "result.nc"
    broken(kind, path, ds)
    with pytest.raises(ValueError) as caught:
        load(path)
    assert str(caught.value) == f"{str(path)!r} {sentence}"


@pytest.mark.parametrize("name", ["nothing.nc", "."])
def test_load_of_no_file(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no file '.*'\.$"):
        load(tmp_path / name)
