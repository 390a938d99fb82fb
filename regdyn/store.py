"""Results: labelled, self-explaining, on disk as netCDF."""

import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from regdyn.plan import Plan
from regdyn.statistics import QUANTILES

LONG_NAMES = {
    "mean": "mean of theta over lanes",
    "std": "standard deviation of theta over lanes (divisor n)",
    "rms": "root mean square of theta over lanes",
    "min": "smallest theta",
    "max": "largest theta",
    "quantile": "quantile of theta over lanes",
    "abs_quantile": "quantile of |theta| over lanes",
    "share_below": "share of lanes with |theta| below the threshold",
    "first_passage_count": "lanes first below the threshold since the previous recorded step",
    "first_passage_median": "median over lanes of the first step with |theta| below the threshold",
    "first_passage": "first step with |theta| below the threshold",
    "nonfinite_step": "first step at which a lane is not finite",
    "theta": "theta of each lane",
}
UNITS = {
    "share_below": "1",
    "first_passage_count": "lanes",
    "first_passage_median": "step",
    "first_passage": "step",
    "nonfinite_step": "step",
}  # all others are in the unit of theta
_EXTRA = {  # dimensions after (rule, step, config, param)
    "quantile": ("q",),
    "abs_quantile": ("q",),
    "share_below": ("threshold",),
    "theta": ("lane",),
}
_NO_STEP = {
    "first_passage_count": ("rule", "config", "param", "threshold", "step"),
    "first_passage_median": ("rule", "config", "param", "threshold"),
    "first_passage": ("rule", "config", "param", "threshold", "lane"),
    "nonfinite_step": ("rule", "config"),
}
_ORDER = ("rule", "reg", "lam", "threshold", "q", "step", "param", "lane")


def dataset(plan: Plan, results: list[dict[str, np.ndarray]]) -> xr.Dataset:
    """Label the arrays of every rule of the plan; see `regdyn.simulate` for the variables."""
    coords: dict[str, Any] = {
        "rule": plan.labels,
        "reg": list(plan.reg),
        "lam": ("lam", list(plan.lam), {"long_name": "strength lambda"}),
        "step": ("step", plan.record, {"long_name": "step", "units": "step"}),
    }
    if plan.full:
        coords["threshold"] = ("threshold", list(plan.thresholds), {"units": "theta"})
        coords["q"] = ("q", list(QUANTILES), {"long_name": "probability"})
    if plan.theta0.ndim:
        coords["param"] = np.arange(plan.params)
    if plan.keep_lanes or plan.keep_passages:
        coords["lane"] = np.asarray(plan.lanes)
    variables: dict[str, tuple] = {}
    for name in results[0]:
        values = np.stack([result[name] for result in results])
        dims = _NO_STEP.get(name, ("rule", "step", "config", "param", *_EXTRA.get(name, ())))
        for label, part, left in _by_param(plan, name, *_split_config(plan, values, dims)):
            long_name = LONG_NAMES[name].replace("theta", "the norm" if label != name else "theta")
            attrs = {"long_name": long_name, "units": UNITS.get(name, "theta")}
            order = [d for d in _ORDER if d in left]
            variables[label] = (order, part.transpose([left.index(d) for d in order]), attrs)
    return xr.Dataset(variables, coords, _attributes(plan))


def _split_config(plan: Plan, values: np.ndarray, dims: tuple) -> tuple[np.ndarray, tuple]:
    """Dimension `config` as (reg, lam)."""
    at = dims.index("config")
    shape = (*values.shape[:at], len(plan.reg), len(plan.lam), *values.shape[at + 1 :])
    return values.reshape(shape), (*dims[:at], "reg", "lam", *dims[at + 1 :])


def _by_param(plan: Plan, name: str, values: np.ndarray, dims: tuple) -> list[tuple]:
    """The variable without the dimension `param` for a scalar; else the parameters and the norm."""
    if "param" not in dims:
        return [(name, values, dims)]
    at = dims.index("param")
    if not plan.theta0.ndim:
        return [(name, values.take(0, at), (*dims[:at], *dims[at + 1 :]))]
    each, norm = np.split(values, [plan.params], at)
    parts = [(name, each, dims)]
    if norm.size:
        parts.append((f"norm_{name}", norm.take(0, at), (*dims[:at], *dims[at + 1 :])))
    return parts


def _attributes(plan: Plan) -> dict[str, Any]:
    """What made this result."""
    return {
        "title": "regdyn simulation of a regularised parameter",
        "config": plan.config(),
        "seed": str(plan.seed),  # 64 bits do not fit a netCDF attribute of signed integers
        "lanes": len(plan.lanes),
        "theta0_shape": str(plan.theta0.shape),
        **provenance(),
    }


@lru_cache(maxsize=1)
def provenance() -> dict[str, str]:
    """Versions of what computed, the kind of machine, and the git revision of the source."""
    return {
        "regdyn_version": _version("regdyn"),
        "numpy_version": np.__version__,
        "numba_version": _version("numba"),
        "xarray_version": xr.__version__,
        "python_version": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "git_revision": _git_revision(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_revision() -> str:
    """Commit of the checkout that this file belongs to, with '-dirty' if it differs."""
    here = Path(__file__).resolve().parent
    command = [
        "git",
        "-C",
        str(here),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        tracked = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True, timeout=10,
        )  # fmt: skip
        described = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    inside = tracked.returncode == 0 and described.returncode == 0
    return described.stdout.strip() if inside else "not a checkout"


def digest(ds: xr.Dataset) -> str:
    """SHA-256 of names, shapes and bits of all variables and coordinates.

    Attributes do not count, nor does the sign of a zero, nor which NaN it is.
    """
    total = hashlib.sha256()
    for name in sorted(map(str, ds.variables)):
        values = ds[name].values
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.nan, values) + 0.0
        elif values.dtype.kind not in "iub":
            values = np.char.encode(values.astype(str), "utf-8")
        total.update(f"{name} {ds[name].dims} {values.shape}\n".encode())
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def save(ds: xr.Dataset, path: str | os.PathLike) -> Path:
    """Write a result as netCDF: to a temporary name in the same folder, then renamed.

    Raises
    ------
    OSError
        If the folder cannot be written. Nothing half-written is left.
    """
    path = Path(path)
    with temporary(path) as name:
        ds.to_netcdf(name, engine="netcdf4")
    return path


def load(path: str | os.PathLike) -> xr.Dataset:
    """Read a result into memory.

    Raises
    ------
    ValueError
        If the file is not a result of regdyn.
    FileNotFoundError
        If there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}.")
    try:
        ds = xr.load_dataset(path, engine="netcdf4")
    except (OSError, ValueError, RuntimeError):
        raise ValueError(f"{str(path)!r} is not a netCDF file, or is damaged.") from None
    if "config" not in ds.attrs:
        raise ValueError(f"{str(path)!r} is a netCDF file, but not a result of regdyn.")
    return ds


class temporary:
    """Context manager: a temporary file name beside `path`, renamed to it if all went well."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def __enter__(self) -> str:
        with naming(self.path):
            handle, self.name = tempfile.mkstemp(
                dir=self.path.parent, prefix=".", suffix=self.path.suffix
            )
        os.close(handle)
        return self.name

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            os.unlink(self.name)
            return
        os.chmod(self.name, 0o666 & ~_umask())
        try:
            with naming(self.path):
                os.replace(self.name, self.path)
        except OSError:
            os.unlink(self.name)
            raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError says the name of the file that was wanted, not a temporary one."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


class folder:
    """Context manager: a writable folder, removed again if it was made here and stays empty."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self.made = [p for p in (self.path, *self.path.parents) if not p.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        probe = temporary(self.path / "probe")
        probe.__enter__()
        probe.__exit__(OSError)  # it can be written: take the file away again
        return self.path

    def __exit__(self, kind: Any, *_: Any) -> None:
        for path in self.made if kind is not None else ():
            if path.is_dir() and not os.listdir(path):
                path.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
