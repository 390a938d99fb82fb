"""Numbers of README and docs, and the runs behind them: no page without, no row for nothing."""

import csv
import io
import json
import re
import shutil
import subprocess
from importlib.util import find_spec

import pytest
import xarray as xr

from figures import __main__ as program
from figures import provenance, provenance_read, provenance_revision
from figures.provenance import REST, ROOT, SECTIONS, WORDS, Row

ROWS = provenance.rows()
PAGES = provenance_read.pages(ROOT)
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
PAGE = """# Title

Nothing to ask about here: 7 filters, `0.5`, $0.5$, [one](0.5.md), Table 0.5, 1811.12495v2.

```text
error 4.2 %
```

## One

The error is 4.2 %, the share 43.0 ± 1.1 %.

### Below

| setting 9 | 12 |
|---|---|
| λ 1e-3 | 0.98 (−3) |

## Two

It took 3 to 5 minutes.
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with PAGE as README.md, and an empty docs."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def commit(folder, *words):
    """A commit of all that is there; its revision."""
    me = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "-A"], [*me, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)
    words = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout[:8]


# The table that is kept --------------------------------------------------------------------------


def test_every_line_with_numbers_has_a_source(monkeypatch):
    monkeypatch.setattr(provenance_revision, "of_file", lambda *_: "a")
    monkeypatch.setattr(provenance_revision, "of_lines", lambda *_: {})
    bare = [f"{e.page}:{e.line}: {e.numbers}" for e in provenance.collect() if not e.source]
    assert not bare, "figures/data/provenance.csv needs a row for:\n" + "\n".join(bare)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.page}#{row.section}")
def test_what_a_row_names_exists(row):
    assert row.page in PAGES
    assert row.section == REST or row.section in provenance_read.headings(TEXTS[row.page])
    assert row.source.split() and all(
        source in WORDS or (ROOT / source).is_file() for source in row.source.split()
    )
    for module in re.findall(r"python -m ([\w.]+)", row.command):
        assert find_spec(module)
    for test in re.findall(r"tests/\S+", row.command):
        assert (ROOT / test).exists()


def test_no_row_is_for_nothing():
    """A row whose section has no numbers any more is to be taken out."""
    used = {(entry.page, entry.section) for entry in provenance.collect() if entry.source}
    assert [row[:2] for row in ROWS if row[:2] not in used] == []


def test_recorded_results_that_a_page_links_stand_in_its_rows():
    """Data that a page leads its readers to are a source of the page."""
    for page, text in TEXTS.items():
        named = " ".join(row.source for row in ROWS if row.page == page)
        for target in re.findall(
            r"\]\((?:\.\./)*((?:figures|sims)/data/[\w.-]+\.(?:csv|nc))\)", text
        ):
            assert target in named or target.endswith(provenance.DATA), (page, target)


# Which numbers are seen --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("an error of 4.2 % and 1,915 steps", ("4.2", "1,915")),
        ("43.0 ± 1.1 % of the filters", ("43.0 ± 1.1",)),
        ("208 of 210 settings, within 1 to 3 %", ("208 of 210", "1", "3")),
        ("an AUC of .854, off by −.049", (".854", "−.049")),
        ("in 2.1 s or 92 ms; 246 MiB", ("2.1", "92", "246")),
        ("7 rules, seed 11, at 14×14, λ = 1e-3", ()),
        ("`0.5`, $0.5$, ![0.5 %](0.5.png), [x](../0.5), arXiv 1811.12495, Python 3.11", ()),
        ("| λ 1e-3, 7 | **0.98** | 12 | \\|γ\\| < 1e-2 |", ("0.98", "12", "1e-2")),
        ("|---|---:|", ()),
    ],
)
def test_numbers_of_a_line(line, found):
    assert provenance_read.numbers(line) == found


def test_lines_of_a_page():
    lines = provenance_read.read(PAGE)
    assert [(line.headings, line.numbers) for line in lines] == [
        (("One",), ("4.2", "43.0 ± 1.1")),
        (("Below", "One"), ("12",)),
        (("Below", "One"), ("0.98", "−3")),
        (("Two",), ("3", "5")),
    ]
    assert all(line.numbers[0] in PAGE.splitlines()[line.number - 1] for line in lines)


def test_a_number_that_no_row_covers_is_found(checkout):
    """The negative control: of PAGE only one section has a row, and the one below inherits it."""
    entries = provenance.collect(checkout, [Row("README.md", "One", "definition", "")])
    assert [e.section for e in entries if not e.source] == ["Two"]
    assert "NO SOURCE" in (text := provenance.summary(entries))
    assert text.endswith(f"provenance.csv: README.md:{entries[-1].line}")


def test_the_nearest_heading_decides_and_the_rest_comes_last(checkout):
    table = [Row("README.md", section, "definition", section) for section in ("Below", REST, "One")]
    commands = [entry.command for entry in provenance.collect(checkout, table)]
    assert commands == ["One", "Below", "Below", REST]


# Revisions ---------------------------------------------------------------------------------------


def test_results_say_themselves_where_they_come_from(tmp_path):
    files = {name: tmp_path / name for name in ("a.nc", "a.json", "a.csv", "b.csv")}
    xr.Dataset(attrs={"git_revision": "0123456789ab"}).to_netcdf(files["a.nc"])
    files["a.json"].write_text(json.dumps({"revision": "123456789abc"}))
    files["a.csv"].write_text("x,git_revision\n1,23456789abcd\n2,23456789abcd\n3,\n")
    files["b.csv"].write_text("x,revision\n1,a\n2,b\n")
    said = [provenance_revision.of_file(path, tmp_path) for path in files.values()]
    assert said == ["01234567", "12345678", "23456789", "2 revisions"]


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_else_the_commit_that_changed_the_file_or_the_line(checkout):
    (checkout / "data.csv").write_text("x\n1\n")
    table = [Row("README.md", REST, "data.csv note definition", "")]

    def first():
        return provenance.collect(checkout, table)[0].revision

    assert first() == "unknown; unknown; -"
    one = commit(checkout)
    assert first() == f"{one}; {one}; -"
    (checkout / "data.csv").write_text("x\n2\n")
    (checkout / "README.md").write_text(PAGE.replace("4.2 %,", "4.3 %,"), encoding="utf-8")
    assert first() == "uncommitted; uncommitted; -"
    two = commit(checkout)
    assert first() == f"{two}; {two}; -"
    assert provenance.collect(checkout, table)[-1].revision == f"{two}; {one}; -"


def test_a_source_that_is_not_there_is_an_error(checkout):
    with pytest.raises(ValueError, match=r"there is no figures/no\.csv"):
        provenance.collect(checkout, [Row("README.md", REST, "figures/no.csv", "")])


# What is written ---------------------------------------------------------------------------------


def test_the_written_table_reads_back(checkout):
    entries = provenance.collect(checkout, [Row("README.md", REST, "definition", "a, b")])
    back = [*csv.DictReader(io.StringIO(provenance.table(entries)))]
    assert [row["numbers"] for row in back] == ["4.2 43.0 ± 1.1", "12", "0.98 −3", "3 5"]
    assert {row["command"] for row in back} == {"a, b"}


@pytest.fixture
def command(monkeypatch, tmp_path):
    """``python -m figures NAME --out ...`` as of another checkout; exit code and folder."""

    def run(name, root):
        monkeypatch.setattr(provenance.collect, "__defaults__", (root, None))
        return program.main([name, "--out", str(tmp_path / "out")]), tmp_path / "out"

    return run


def test_the_command_writes_every_line_and_prints_the_sections(command, checkout, capsys):
    code, out = command("provenance", checkout)
    said = capsys.readouterr().out
    assert code == 0 and {path.name for path in out.iterdir()} == {provenance.LINES, SECTIONS}
    text = (out / SECTIONS).read_text(encoding="utf-8")
    assert said.startswith(text) and "One: NO SOURCE" not in text and "README.md" in text
    assert len((out / provenance.LINES).read_text(encoding="utf-8").splitlines()) == 5


def test_an_installed_package_has_no_pages_and_says_so(command, tmp_path, capsys):
    code, out = command("provenance", tmp_path)
    assert code == 2 and not out.exists()
    assert capsys.readouterr().err.startswith("error: provenance reads README.md and docs/, which")


def test_all_figures_do_not_mean_the_pages(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(program, "_draw", lambda entries, _: drawn.extend(entries) or 0)
    assert program.main(["all", "--out", str(tmp_path)]) == 0
    assert [*program.FIGURES] == [*drawn, "provenance"]
