"""Which machine, compiler and libraries a benchmark ran on; no names of hosts."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("regdyn", "numpy", "numba", "llvmlite", "torch", "jax", "optax", "dask")


def cpu(field: str) -> str:
    """A field of /proc/cpuinfo, such as 'model name' or 'flags'; empty if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def machine() -> dict[str, Any]:
    """Processor, cores, what the engine is compiled for, compiler and versions."""
    import llvmlite.binding
    from numba import config

    # NUMBA_CPU_NAME alone leaves the features of this processor switched on
    features = config.CPU_FEATURES or llvmlite.binding.get_host_cpu_features().flatten()
    return {
        "cpu": cpu("model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "avx512": "+avx512f" in features.split(","),
        "compiled for": config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "cc": _compiler(),
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def _compiler() -> str | None:
    if shutil.which("cc") is None:
        return None
    found = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True)
    return found.stdout.splitlines()[0]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
