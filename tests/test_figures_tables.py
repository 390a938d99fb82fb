"""The paper's tables with ours beside them: cells, pairs, and what is written."""

import csv
import io
import re
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn import recipes
from cnn.reproduce.experiments import experiments
from figures import __main__ as program
from figures import table_rows
from figures.table_layouts import HEADS, LAYOUTS
from figures.table_rows import build
from figures.table_text import _escaped as escaped
from figures.table_text import latex, plain, separated
from figures.tables import load

each_table = pytest.mark.parametrize("name", LAYOUTS)
COUNTERPARTS = list(
    csv.DictReader((table_rows.DATA / "counterparts.csv").read_text(encoding="utf-8").splitlines())
)
each_pair = pytest.mark.parametrize(
    "pair", COUNTERPARTS, ids=lambda p: f"{p['table']}-{p['recipe']}"
)
STEPS = 406_250  # the paper's
EXPERIMENTS = {one.name: one for one in experiments()}


def config_of(pair):
    """Of a recipe, which says its setting, or of an experiment of the ledger."""
    if pair["setting"]:
        return recipes.get(pair["recipe"]).config
    return EXPERIMENTS[pair["recipe"]].config


def as_csv(name):
    """The written CSV, read again as strings."""
    return pd.read_csv(io.StringIO(separated(build(name))), dtype=str, keep_default_na=False)


def pairs_of(name):
    return [pair for pair in COUNTERPARTS if pair["table"] == name]


def columns_of(line):
    return re.split(r"\s{2,}", line.strip())


# The paper's side --------------------------------------------------------------------------------


@each_table
def test_the_papers_cells_are_as_printed(name):
    """Every cell of the reference file, in its order, and no row that is not in it."""
    layout, written = LAYOUTS[name], as_csv(name)
    printed = load(layout.source, as_printed=True)
    theirs = written[written.iloc[:, : len(printed.columns)].ne("-").sum(axis=1) > 3]
    assert len(written) - len(theirs) == sum(not pair["strength"] for pair in pairs_of(name))
    assert len(theirs) == len(printed)
    for column in printed.columns:
        called = f"paper_{column}" if column in layout.values else column
        assert theirs[called].tolist() == printed[column].replace("", "-").tolist()


@each_table
def test_every_column_of_the_reference_is_shown(name):
    layout = LAYOUTS[name]
    printed = load(layout.source, as_printed=True)
    rest = {name for name in printed if printed[name].any()} - {*layout.keys, *layout.values}
    assert rest <= {"network", "from_default"}
    assert {*layout.ours} <= {*layout.values}
    heads = {*HEADS, *layout.layers}
    assert {*layout.keys, *layout.values} <= heads


def test_features_in_the_notes_are_those_of_the_reference():
    table = load("table02_features", as_printed=True).set_index("layer")
    *features, total = table["features"]
    parameters = f"{int(table.loc['total', 'conv_params']):,}"
    note = LAYOUTS["table02"].note
    assert f"{', '.join(features)}; {total} in all, with {parameters} parameters" in note
    features = load("table07_features")["features"].tolist()
    assert features[:7] == [64, 64, 128, 128, 256, 256, 256] and features[7:] == [512] * 6
    assert "64, 64, 128, 128, 256, 256, 256, then 512 in each of C8" in LAYOUTS["table07"].note


# Ours --------------------------------------------------------------------------------------------


@each_pair
def test_a_counterpart_is_of_the_same_kind(pair):
    """Rule, regulariser, batch; a row's strength x steps where it stands beside a row."""
    config = config_of(pair)
    optim = config.optim
    assert optim.opt == pair["optimizer"] and optim.gamma_lr == 1.0 and not optim.gamma_l1
    assert optim.reg == (pair["regularizer"] if pair["strength"] != "0" else "none")
    assert pair["batch_size"] in ("", str(config.batch))
    if pair["strength"]:
        product = float(pair["strength"]) * STEPS
        assert optim.lam * config.steps == pytest.approx(product, rel=0.02)
        assert config.batch == 40 and optim.lr is None and optim.hyper == ()


@pytest.mark.parametrize("pair", [pair for pair in COUNTERPARTS if pair["setting"]])
def test_the_words_of_a_setting_are_those_of_the_recipe(pair):
    config = config_of(pair)
    data = config.data.name
    if config.data.images is not None:
        data += f", {config.data.images} images at {config.data.size}x{config.data.size}"
    rule = pair["recipe"].split("/")[1]
    said = f"{data}, width {config.model.width}, {rule}, batch 40, {config.steps} steps"
    assert pair["setting"] == said


@each_pair
def test_numbers_of_ours_are_those_of_the_committed_runs(pair):
    """Against the runs as pandas sums them up."""
    name = "cnn-fashion-runs.csv" if pair["setting"] else "reproduce-runs.csv"
    with (table_rows.DATA / name).open(encoding="utf-8") as file:
        runs = pd.read_csv(file)
    runs = runs[runs["recipe" if pair["setting"] else "name"] == pair["recipe"]]
    if not pair["setting"]:
        shares = runs["layers"].str.split(expand=True).astype(float)
        runs = runs.assign(**{f"C{i + 1}": shares[i] for i in shares})
    (ours,) = [o for o in build(pair["table"]).runs if o.recipe == pair["recipe"]]
    listed = 3 if pair["setting"] else len(EXPERIMENTS[pair["recipe"]].seeds)
    assert ours.n == len(runs) == listed >= 3
    for theirs, column in LAYOUTS[pair["table"]].ours.items():
        if column in runs:
            assert ours.mean[theirs] == pytest.approx(runs[column].mean(), rel=1e-3)
            assert ours.sd[theirs] == pytest.approx(runs[column].std(ddof=1), rel=5e-3, abs=1e-3)


def test_strengths_of_no_row_are_told_right():
    """ "no row has its strength x steps of N": N is it, and none has, to 25 %."""
    told = [pair for pair in pairs_of("table01") if "no row has" in pair["why"]]
    assert told
    for pair in told:
        config = config_of(pair)
        product = config.optim.lam * config.steps
        assert pair["why"].endswith(f" {product:g}")
        table = load("table01").query(f"optimizer == '{pair['optimizer']}'")
        table = table[table["regularizer"] == pair["regularizer"]]
        assert not (abs(table["strength"] * STEPS / product - 1) < 0.25).any()


@each_table
def test_only_counterparts_have_numbers_of_ours(name):
    written = as_csv(name)
    ours = written.filter(like="ours_")
    filled = written["ours_recipe"].ne("-")
    assert filled.sum() == len(pairs_of(name))
    assert ours[~filled].eq("-").all(axis=None)
    alone = [pair["recipe"] for pair in pairs_of(name) if not pair["strength"]]
    paper = written.filter(like="paper_")
    assert sorted(written[filled & paper.eq("-").all(axis=1)]["ours_recipe"]) == sorted(alone)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"recipe": "digits/never"}, "'digits/never' has no run"),
        ({"strength": "3e-4"}, "must fit one row"),
        ({"strength": "", "optimizer": "lion"}, "no row has its rule"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(change, complaint, monkeypatch):
    pair = pairs_of("table01")[0] | change
    monkeypatch.setattr(table_rows, "_counterparts", lambda _: [pair])
    with pytest.raises(ValueError, match=complaint):
        build("table01")


def test_two_for_one_row_are_refused(monkeypatch):
    pair = pairs_of("table01")[0]
    monkeypatch.setattr(table_rows, "_counterparts", lambda _: [pair, pair])
    with pytest.raises(ValueError, match="2 counterparts"):
        build("table01")


def test_a_failed_run_does_not_count_and_one_run_has_no_spread(monkeypatch):
    runs = [dict(run) for run in table_rows._runs() if run["recipe"] == "digits/adam-l2-1e-2"]
    for run in runs[1:]:
        run["failure"] = "diverged"
    monkeypatch.setattr(table_rows, "_runs", lambda: runs)
    pair = next(pair for pair in pairs_of("table03") if pair["recipe"] == runs[0]["recipe"])
    monkeypatch.setattr(table_rows, "_counterparts", lambda _: [pair])
    table = build("table03")
    (ours,) = table.runs
    value = float(runs[0]["sparsity_gamma"])
    assert (ours.n, ours.sd) == (1, {}) and ours.mean["sparsity_by_gamma"] == value
    assert re.search(rf" 70 .* {value:.1f} +1 +a$", plain(table), re.MULTILINE)


# Text and LaTeX ----------------------------------------------------------------------------------


@each_table
def test_text_and_latex_have_the_same_cells(name):
    table = build(name)
    main = plain(table).split("\n\n")[1]
    lines = main.split("─\n")[1].splitlines()
    assert len(lines) == len(table.rows)
    body = re.search(r"\\endhead\n(.*?)\\bottomrule", latex(table), re.DOTALL).group(1)
    for line, row in zip(lines, body.splitlines(), strict=True):
        cells = row.removesuffix(r" \\").replace("--", "–").replace(r"$\pm$", "±")
        assert columns_of(line) == cells.replace(r"\_", "_").split(" & ")


@each_table
def test_latex_is_well_formed(name):
    """Balanced braces and environments, no bare special sign, as many cells as columns."""
    text = latex(build(name))
    first, *lines = text.splitlines()
    assert first.startswith("% needs")
    bare = re.sub(r"\\.", "", "\n".join(lines))
    assert bare.count("{") == bare.count("}") and not {*"%#_^~"} & {*bare}
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") > 0
    assert text.isascii()
    for part in text.split(r"\begin{longtable}")[1:]:
        columns = len(re.match(r"\{([lr]+)\}", part).group(1))
        rows = re.search(r"\\endhead\n(.*?)\\bottomrule", part, re.DOTALL).group(1)
        assert {row.replace(r"\&", "").count("&") + 1 for row in rows.splitlines()} == {columns}


@each_table
def test_the_notes_say_whose_numbers_they_are(name):
    table = build(name)
    said = plain(table)
    assert "arXiv 1811.12495" in said and "as printed" in said and "revision" in said
    assert ("no counterpart has been run yet" in said) == (not pairs_of(name))
    for pair in pairs_of(name):
        setting = pair["setting"] or f"cnn.train {EXPERIMENTS[pair['recipe']].flags}"
        n = 3 if pair["setting"] else len(EXPERIMENTS[pair["recipe"]].seeds)
        assert f"({setting}; n = {n}): {pair['why']}." in said
    head = said.split("\n\n")[1].split("─")[0]
    assert head.count("paper") == len(table.layout.values)


def test_defaults_of_section_5_have_a_star():
    said = plain(build("table04"))
    assert said.count("l2*    1e-4*") == 3 and "* Not in the printed table" in said
    assert "*" not in plain(build("table01"))


def test_layers_of_ours_are_below_table_2():
    table = build("table02")
    below = plain(table).split("Ours, layer by layer")[1]
    first = table.runs[0]
    cells = [f"{first.mean[layer]:.1f} ± {first.sd[layer]:.1f}" for layer in ("C4", "C5", "C6")]
    assert re.search(" +".join(map(re.escape, cells)), below)
    assert "layer by layer" not in plain(build("table01"))


# The command line --------------------------------------------------------------------------------


def test_it_writes_the_three_forms(tmp_path, capsys):
    assert program.main(["table01", "table10", "--out", str(tmp_path)]) == 0
    names = {f"{name}.{end}" for name in ("table01", "table10") for end in ("csv", "tex", "txt")}
    texts = {path.name for path in tmp_path.iterdir()} - {"table01.png"}
    assert texts == names
    table = build("table01")
    for form, end in ((plain, "txt"), (separated, "csv"), (latex, "tex")):
        assert (tmp_path / f"table01.{end}").read_text(encoding="utf-8") == form(table)
    assert str(tmp_path / "table10.tex") in capsys.readouterr().out


def test_unknown_tables_are_refused():
    with pytest.raises(ValueError, match="unknown table 'table11': did you mean 'table1"):
        build("table11")


def test_figures_load_neither_torch_nor_cnn():
    code = (
        "import sys; from figures.__main__ import main; from figures.table_rows import build\n"
        "from figures.table_text import plain; plain(build('table01'))\n"
        "sys.exit(bool({'torch', 'cnn', 'sims', 'matplotlib.pyplot'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_layout_knows_its_layers():
    assert LAYOUTS["table02"].layers == tuple(f"C{i}" for i in range(1, 8))
    assert LAYOUTS["table01"].layers == ()
    assert replace(LAYOUTS["table02"], values=("C1", "total")).layers == ("C1",)


def test_each_measure_of_ours_is_under_its_head():
    """A line of Table 1, from docs/recipes.md: by activation, by gamma, test error."""
    said = plain(build("table01"))
    line = r"^ adam +l2 +– +– +– +– +– +44.0 ± 2.5 +46.0 ± 2.1 +13.1 ± 0.4 +3 +[a-z]$"
    assert re.search(line, said, re.MULTILINE)


@given(st.text(alphabet="\\{}&%$#_^~±–γaλ ", max_size=30))
def test_any_words_can_stand_in_latex(words):
    """No bare special sign, and braces and dollars in pairs."""
    text = escaped(words)
    bare = re.sub(r"\\(?:textbackslash|textasciitilde|textasciicircum|gamma|pm|.)", "", text)
    assert not {*"&%#_^~"} & {*bare} and bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
