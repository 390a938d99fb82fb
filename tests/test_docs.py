"""README and docs: their examples run, their links lead somewhere, their commands are accepted."""

import doctest
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tyro

from figures import __main__ as figures
from regdyn import report, sim
from regdyn.regularizers import REGULARIZERS
from regdyn.rules import RULES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOUND = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("figures/**/*.md")]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(FOUND)}
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
# a link, a picture, the definition of a link, a picture in HTML
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)|src=\"([^\"]+)\"", re.MULTILINE)


def links():
    """(page, target) of every link that stays in the repository."""
    for page, text in PAGES.items():
        for found in LINK.finditer(CODE.sub("", text)):
            target = "".join(filter(None, found.groups()))
            if not re.match(r"https?:|mailto:", target):
                yield page, target


def anchors(text):
    """What headings are called in a link: lower case, hyphens for blanks, no punctuation."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands():
    """(page, module, the rest of the line) of every ``python -m MODULE ...`` in a page's code."""
    for page, text in PAGES.items():
        for code in CODE.findall(text):
            for module, rest in re.findall(r"python3? -m ([\w.]+) *([^`\n&|]*)", code):
                yield page, module, rest


def readme_block(name):
    """What `.ci/run` runs under this name."""
    words = [sys.executable, str(ROOT / ".ci" / "readme.py"), name]
    return subprocess.run(words, capture_output=True, text=True, timeout=30)


class Accepted(Exception):
    """The arguments passed every check: the simulation would begin now."""


def check_simulation(words, monkeypatch):
    """The arguments of `regdyn.sim` are fine, up to the file of a `--from`."""

    def accept(*_, **__):
        raise Accepted

    monkeypatch.setattr("regdyn.engine.simulate", accept)
    if "--help" in words:
        return
    if "--cluster" in words:  # its address names no machine
        at = words.index("--cluster")
        words = words[:at] + words[at + 2 :]
    if "--from" in words:
        assert tyro.cli(sim.Settings, args=words).from_
        return
    try:
        assert sim.main(words) == 0 and "--explain" in words
    except Accepted:
        pass


# Examples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if ">>>" in text])
def test_examples_print_what_the_page_says(page):
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    example = doctest.DocTestParser().get_doctest(PAGES[page], {}, page, page, 0)
    runner.run(example, out=said.append)
    assert runner.summarize(verbose=False).attempted > 0
    assert not said, "".join(said)


@pytest.mark.parametrize("page", PAGES)
def test_python_without_prompts_is_python(page):
    for block in re.findall(r"^```python\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE):
        if ">>>" not in block:
            compile(block, page, "exec")


# Links -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_a_link_leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    end = (ROOT / page).parent / path if path else ROOT / page
    assert end.exists()
    if anchor:
        assert anchor in anchors(end.read_text(encoding="utf-8"))


def test_the_contents_list_every_page():
    """docs/README.md, or the README of a folder below, links every page of docs."""
    contents = [page for page in PAGES if page.startswith("docs/") and page.endswith("README.md")]
    linked = {
        (ROOT / page).parent.joinpath(target.partition("#")[0]).resolve()
        for page, target in links()
        if page in contents
    }
    pages = {(ROOT / page).resolve() for page in PAGES if page.startswith("docs/")}
    assert pages - linked == {(ROOT / "docs/README.md").resolve()}


# Commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "extra", "command"),
    [
        ("main job", "-e .", "-m regdyn.sim --opt adam --reg l2"),
        ("tests", "[test]", "-m pytest -n 2"),
    ],
)
def test_the_two_commands_of_the_readme(name, extra, command):
    done = readme_block(name)
    assert (done.returncode, done.stderr) == (0, "")
    venv, install, run = done.stdout.strip().split(" && ")
    assert venv == "python3 -m venv .venv"
    assert install.startswith(".venv/bin/pip install -q -c constraints.txt") and extra in install
    assert run == f".venv/bin/python {command}"
    assert f"$(readme '{name}')" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_a_block_that_the_readme_lacks_is_an_error():
    done = readme_block("lunch")
    assert (done.returncode, done.stdout) == (1, "") and "'lunch'" in done.stderr


@pytest.mark.parametrize(("page", "module", "rest"), list(commands()))
def test_a_command_is_accepted(page, module, rest, monkeypatch, tmp_path):
    words = shlex.split(rest, comments=True)
    monkeypatch.chdir(tmp_path)
    assert find_spec(module)
    if module == "regdyn.sim":
        check_simulation(words, monkeypatch)
    if module == "figures":
        names = tyro.cli(figures.Settings, args=words).names
        assert {*names} <= {*figures.FIGURES, "all"}


@pytest.mark.parametrize("flags", re.findall(r"`(--[^`]+)`", README))
def test_flags_that_the_readme_offers(flags, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check_simulation(shlex.split(flags), monkeypatch)


# What the README says of the code ----------------------------------------------------------------


def test_the_printed_table_is_that_of_the_committed_data():
    """The README's run and Figure 4's Adam under l2 are the same lanes."""
    ds = figures.stored("fig4.nc").sel(rule="adam", reg="l2")
    printed = dict(re.findall(r"^  adam   l2 +(\S+) +(.*)$", README, re.MULTILINE))
    assert [float(lam) for lam in printed] == ds["lam"].values.tolist()
    late = report.late_rms(ds)
    for lam, cells in printed.items():
        *times, rms = cells.split()
        medians = ds["first_passage_median"].sel(lam=float(lam)).values
        assert times == ["-" if np.isnan(t) else f"{t:,.0f}" for t in medians]
        # other recorded steps: 4 standard errors of an rms over 1000 lanes are 4 / sqrt(2000)
        assert float(rms) == pytest.approx(float(late.sel(lam=float(lam))), rel=0.09)


def test_the_table_of_rules_holds_their_hyperparameters():
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \| .* \|$", README, re.MULTILINE)
    assert [name for name, _ in rows] == [*RULES]
    for name, setting in rows:
        values = [v for v in RULES[name].hyper()._asdict().values() if type(v) is float]
        said = [float(number) for number in re.findall(r"\d[\d.]*(?:e-\d+)?", setting)]
        assert said == values or (name, setting) == ("amsgrad", "as adam (ours)")


def test_the_table_of_regularisers_holds_every_word():
    words = re.findall(r"^\| `(\w+)` \|(?:[^|]*\|){2}$", README, re.MULTILINE)
    assert sorted(words) == sorted(REGULARIZERS)
