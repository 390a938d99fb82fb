"""The project as a whole: who imports whom, what an import does, versions, docstrings, paths."""

import ast
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import regdyn

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ["regdyn", "sims", "cnn", "figures"]
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = {"numpy", "numba", "scipy", "xarray", "netCDF4", "pandas", "matplotlib", "torch"}


def module_of(path):
    """regdyn/sim.py -> regdyn.sim"""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TREES = {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def imports(module):
    """Every module and name that `module` imports, wherever in its text, in full."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def run(code, *flags, cwd=ROOT):
    """Python in a process of its own, which sees this checkout."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    words = [sys.executable, "-P", *flags, "-c", code]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120)


# Who imports whom --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("regdyn", {"torch", "torchvision", "sims", "cnn", "figures"}),
        ("figures", {"torch", "torchvision", "sims", "cnn"}),
        ("sims", {"torch", "torchvision", "cnn", "figures"}),
    ],
)
def test_what_a_package_must_not_import(package, forbidden):
    inside = [module for module in TREES if module.partition(".")[0] == package]
    assert package in inside
    for module in inside:
        assert not {name.partition(".")[0] for name in imports(module)} & forbidden, module


def test_each_layer_of_regdyn_imports_lower_ones_only():
    """The layers of pyproject.toml, highest first; modules beside each other are strangers."""
    (layers,) = [
        c["layers"] for c in PYPROJECT["tool"]["importlinter"]["contracts"] if "layers" in c
    ]
    height = {m: -i for i, layer in enumerate(layers) for m in layer.split(" | ")}
    above = {module: ".".join(module.split(".")[:2]) for module in TREES if "regdyn." in module}
    assert set(height) == set(above.values())
    for module, own in above.items():
        for name in imports(module):
            other = ".".join(name.split(".")[:2])
            if other in height and other != own:
                assert height[other] < height[own], (module, name)


# What an import does -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ("import regdyn", set()),
        ("import regdyn.rules", {"numpy"}),
        ("import figures.__main__", {"numpy"}),
        ("from regdyn import simulate", {"numpy", "numba"}),
    ],
)
def test_an_import_loads_little(words, allowed):
    done = run(f"{words}\nprint(*sys.modules)")
    loaded = set(done.stdout.split())
    assert "regdyn" in loaded or "figures" in loaded
    assert not loaded & (HEAVY - allowed)


def test_help_imports_little():
    words = [sys.executable, "-X", "importtime", "-m", "regdyn.sim", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "--opt" in done.stdout
    assert "tyro" in loaded and not loaded & HEAVY


def test_importing_every_module_has_no_side_effects(tmp_path):
    """No output, no warning, no file, no torch; NumPy's and matplotlib's settings stay."""
    modules = [module for module in TREES if not module.startswith("cnn")]
    done = run(
        f"import importlib, random, threading, matplotlib, numpy as np\n"
        f"def state():\n"
        f"    numbers = random.getstate(), str(np.random.get_state()), np.geterr()\n"
        f"    return numbers, matplotlib.rcParams.copy(), threading.active_count()\n"
        f"before = state()\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        f"assert state() == before\n"
        f"assert not {{'torch', 'cnn', 'matplotlib.pyplot'}} & set(sys.modules)\n",
        "-W", "error",
        cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_every_public_name_is_there_and_no_other():
    for name in regdyn.__all__:
        assert callable(getattr(regdyn, name))
    assert regdyn.rules.adam is regdyn.__getattr__("rules").adam
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        regdyn.simulat  # noqa: B018


# What is written in the files --------------------------------------------------------------------


@pytest.mark.parametrize("module", TREES)
def test_everything_public_has_a_docstring(module):
    """Modules, classes, functions and methods without a leading underscore."""
    todo = [("", TREES[module])]
    for name, node in todo:
        assert ast.get_docstring(node), f"{module}{name}"
        if isinstance(node, ast.Module | ast.ClassDef):
            inside = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
            todo += [(f"{name}.{n.name}", n) for n in inside if not n.name.startswith("_")]


def test_a_version_is_the_same_everywhere():
    assert PYPROJECT["project"]["version"] == regdyn.__version__
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: *\"?([^\"\s]+)", cited, re.MULTILINE)[1] == regdyn.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[?(\d[^\]\s]*)", changes, re.MULTILINE)[1] == regdyn.__version__


def test_the_base_installation_has_no_torch_and_the_tests_have_everything():
    def names(requirements):
        return {re.match(r"[\w-]+(\[.*\])?", text)[0].lower() for text in requirements}

    extras = PYPROJECT["project"]["optional-dependencies"]
    assert not {"torch", "torchvision", "dask"} & names(PYPROJECT["project"]["dependencies"])
    assert {"torch", "torchvision", "scikit-learn"} <= names(extras["cnn"])
    assert "regdyn[cnn,cluster,onnx,monitor]" in names(extras["test"])


def test_the_tested_versions_cover_what_is_asked_for():
    """constraints.txt pins every direct requirement."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line}
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    asked = [*PYPROJECT["project"]["dependencies"], *(text for extra in extras for text in extra)]
    names = {re.match(r"[\w-]+", text)[0].lower() for text in asked} - {"regdyn"}
    assert names <= pinned


def test_the_wheel_ships_the_packages_and_their_data():
    build = PYPROJECT["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"]["packages"] == PACKAGES
    assert set(PACKAGES) <= set(build["sdist"]["include"])


def tracked():
    """Text files that git knows or would add; without git, none."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        return []
    paths = [ROOT / name for name in filter(None, done.stdout.split("\0"))]
    binary = ("*.png", "*.nc", "*.pdf")
    return [p for p in paths if p.is_file() and not any(fnmatch(p.name, end) for end in binary)]


def test_no_file_names_a_folder_of_one_machine():
    if not (paths := tracked()):
        pytest.skip("not a git checkout")
    assert Path(__file__) in paths
    folders = ("/ho" + "me/", "/tm" + "p/", "/ro" + "ot/", "/Us" + "ers/", "C:" + "\\\\Users")
    machine = re.compile("|".join(rf"(?<![\w.<>*-]){folder}" for folder in folders))
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in paths
        if (match := machine.search(path.read_text(encoding="utf-8")))
    }
    assert not found
