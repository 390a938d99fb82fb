"""How regdyn compiles: strict IEEE arithmetic, no GIL, cached across processes, never stale.

numba's own cache looks only at the file of the cached function, so an edit of a rule that a kernel
inlines would go unseen. Here the cache is a folder named by a hash of every source that can be
inlined; an edit makes another folder.
"""

import atexit
import hashlib
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
from numba import njit

from regdyn import rules

OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}  # no fastmath, no contraction

_SOURCES = (
    "compile.py", "kernels.py", "kernel_noise.py", "kernel_summary.py", "random.py", "rules.py",
    "statistics.py", "theory/closure.py", "theory/forms.py", "theory/gains.py",
    "theory/largest.py", "theory/moments.py", "theory/passage.py", "theory/rest.py",
)  # fmt: skip


def compiled(function: Callable) -> Any:
    """Decorator: compile on first call, and keep the result for other processes."""
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = cache_folder()  # type: ignore[attr-defined]
    try:
        return njit(cache=True, **OPTIONS)(function)
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


@lru_cache(maxsize=1)
def cache_folder() -> str:
    """Folder of code compiled from these sources: in $REGDYN_CACHE, else the user's cache."""
    here = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    inlined = {inspect.getsourcefile(rule.step) for rule in rules.RULES.values()} - {None}
    for path in [*(here / name for name in _SOURCES), *sorted(map(str, inlined))]:
        digest.update(Path(path).read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    base = os.environ.get("REGDYN_CACHE") or os.path.join(home, "regdyn")
    folder = os.path.join(base, digest.hexdigest()[:16])
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        folder = tempfile.mkdtemp(prefix="regdyn-")  # no cache: compiled anew in each process
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder
