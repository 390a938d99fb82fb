"""Recipes: all rows of the paper, as printed; names; what a wheel needs."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from cnn import recipes, recipes_paper
from cnn.config import Config, DataConfig, ModelConfig, OptimConfig, from_dict, to_dict
from figures import tables
from regdyn.rules import RULES

ROOT = Path(__file__).parents[1]
ALL = [recipes.get(name) for name in recipes.names()]

# rows that a table prints, rows of them that are quoted from other papers
ROWS = {
    1: (70, 0), 2: (8, 0), 3: (14, 0), 4: (4, 0), 5: (2, 0), 6: (6, 0),
    7: (7, 1), 8: (3, 0), 9: (3, 1), 10: (6, 2),
}  # fmt: skip


@pytest.mark.parametrize("table", ROWS)
def test_every_row_that_the_paper_ran_is_a_recipe(table):
    """Row by row against the printed cells: rule, lambda, batch, network, sparsity, error."""
    frame = tables.load(recipes_paper.TABLES[table].file)
    printed, quoted = ROWS[table]
    if "method" in frame:
        frame = frame[frame["method"] == "implicit"]
    found = [recipe for recipe in ALL if recipe.name.startswith(f"table{table}/")]
    assert len(found) == len(frame) == printed - quoted
    assert len(tables.load(recipes_paper.TABLES[table].file)) == printed
    for recipe, row in zip(found, frame.to_dict("records"), strict=True):
        config, optim = recipe.config, recipe.config.optim
        assert recipe.source == f"Table {table}"
        assert config.data.name == row["dataset"] == recipe.name.split("/")[1]
        assert optim.opt == row["optimizer"]
        if table != 4 or optim.opt != "sgd":  # its regulariser is not printed
            assert optim.lam == float(row["strength"])
            assert optim.reg == (row["regularizer"] if optim.lam else "none")
        assert config.batch == row.get("batch_size", 40)
        assert config.model.name == row.get("network", "BasicNet").lower().replace("-", "")
        assert (config.steps, config.drop) == (50_000 // 40 * (250 + 75), 250 / 325)
        error = [row[c] for c in recipes_paper.ERROR if c in row]
        assert recipe.error == error[0]


def test_sparsity_is_what_the_tables_print():
    """One row of each table, typed from the paper by hand."""
    printed = {
        "table1/cifar10/adam-l2-1e-4": (70, 10.5),
        "table1/cifar100/adagrad-l2-5e-3": (25, 35.9),
        "table1/cifar10/sgd-wd-5e-4": (8, 15.8),
        "table1/cifar10/adam-none": (0, 11.0),
        "table2/cifar100/adam-wd-2e-4": (16, 37.3),
        "table3/cifar100/adam-l2-1e-4-batch-160": (29, 44.3),
        "table4/tinyimagenet/sgd-l2-1e-4-batch-40": (0, 45.0),
        "table4/tinyimagenet/adam-l2-1e-4-batch-20": (63, 47.7),
        "table5/imagenet/batch-64": (0.2, 38.0),
        "table6/cifar100/64-0.5x": (10, 39.8),
        "table7/cifar100/batch-160": (69, 27.8),
        "table8/tinyimagenet/batch-20": (71, 45.1),
        "table8/imagenet/batch-40": (pytest.approx(100 * 292 / 4224, abs=0.05), 29.93),
        "table9/imagenet/batch-60": (pytest.approx(100 * 140 / 2752, abs=0.05), 31.76),
        "table10/cifar10/batch-512": (81, 6.9),
    }
    assert {name.partition("/")[0] for name in printed} == {f"table{n}" for n in ROWS}
    for name, said in printed.items():
        assert (recipes.get(name).sparsity, recipes.get(name).error) == said, name


def test_a_whole_setting_by_hand():
    assert recipes.get("table3/cifar10/adam-l2-1e-3-batch-20").config == Config(
        model=ModelConfig(name="basicnet", width="64-1x", head="cifar", pools=(1, 2)),
        data=DataConfig(name="cifar10"), optim=OptimConfig(opt="adam", reg="l2", lam=1e-3),
        batch=20, steps=406_250, drop=250 / 325, seed=0, device="cpu",
    )  # fmt: skip
    assert recipes.get("table6/cifar100/32-0.25x").config.model.width == "32-0.25x"
    assert recipes.get("table9/imagenet/batch-90").config.model == ModelConfig(
        name="vgg11", width=1.0, head="imagenet"
    )
    assert recipes.get("table5/imagenet/batch-64").config.model == ModelConfig(
        width="64-1x", head="imagenet", pools=(1, 2, 4, 6)
    )
    leaky = recipes.get("section6/cifar100/leaky-relu").config
    plain = replace(leaky, model=replace(leaky.model, negative_slope=0.0))
    assert plain == recipes.get("table1/cifar100/adam-l2-1e-4").config
    assert leaky.model.negative_slope == 0.01


def test_equal_rows_of_different_tables_are_the_same_setting():
    """Table 1's Adam with L2 1e-4 is also in Tables 2, 3 and 6."""
    same = [
        "table1/cifar100/adam-l2-1e-4", "table2/cifar100/adam-l2-1e-4",
        "table3/cifar100/adam-l2-1e-4-batch-40", "table6/cifar100/64-1x",
    ]  # fmt: skip
    assert len({recipes.get(name).config for name in same}) == 1


def test_batch_sizes_of_one_experiment_take_the_same_number_of_steps():
    for pattern in ("table3/*", "table4/*", "table7/*", "table10/*"):
        found = [recipes.get(name).config for name in recipes.names(pattern)]
        assert len({config.batch for config in found}) > 1
        assert len({config.steps for config in found}) == 1


# Ours --------------------------------------------------------------------------------------------


def test_the_default_run_is_a_recipe():
    assert recipes.get("digits/adam-l2-1e-2").config == Config()


def test_the_fashion_run():
    config = recipes.get("fashion/adam-l2-1e-3").config
    assert (config.data.images, config.data.size, config.model.width) == (10_000, 14, 0.25)
    assert (config.optim.lam, config.steps, config.drop) == (1e-3, 13_000, 0.77)


def test_names_say_what_the_setting_is():
    """The words of a name that a setting has: rule, place and strength of lambda, batch, width."""
    seen = 0
    for recipe in ALL:
        config, last = recipe.config, recipe.name.rpartition("/")[2]
        if rule := re.match(rf"({'|'.join(RULES)})-(l2|wd)-([0-9]e-[0-9])", last):
            optim = config.optim
            assert (optim.opt, optim.reg, optim.lam) == (rule[1], rule[2], float(rule[3]))
            seen += 1
        if last.startswith("adam-none") or "quick-none" in last:
            assert (config.optim.reg, config.optim.lam) == ("none", 0)
        if batch := re.search(r"batch-(\d+)", last):
            assert config.batch == int(batch[1])
        if width := re.search(r"width-([\d.]+)", last):
            assert config.model.width == float(width[1])
        assert recipe.name.startswith("digits/no-drop/") <= (config.drop is None)
    assert seen > 100


def test_a_recipe_is_a_valid_setting():
    """It survives JSON, its words are known, its note is a line, its numbers are percent."""
    for recipe in ALL:
        assert from_dict(to_dict(recipe.config)) == recipe.config, recipe.name
        assert recipe.config.optim.opt in RULES, recipe.name
        assert recipe.note and "\n" not in recipe.note, recipe.name
        for share in (recipe.sparsity, recipe.error):
            assert share is None or 0 <= share <= 100, recipe.name


# Names and the command line ----------------------------------------------------------------------


def test_patterns():
    assert recipes.names("table5") == ["table5/imagenet/batch-64", "table5/imagenet/batch-256"]
    assert recipes.names("*/cifar10/*wd-1e-2") == [
        "table1/cifar10/sgd-wd-1e-2", "table1/cifar10/adam-wd-1e-2",
    ]  # fmt: skip
    assert recipes.names("nothing") == []
    assert recipes.names() == [recipe.name for recipe in ALL]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="mean 'table1/cifar10/adam-l2-1e-4'") as caught:
        recipes.get("table1/cifar10/adam-12-1e-4")
    assert len(str(caught.value)) < 250
    with pytest.raises(ValueError, match=r"unknown recipe 'x': python -m cnn\.recipes lists all"):
        recipes.get("x")


def test_the_command_line_lists(capsys):
    assert recipes.main(["table9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == recipes.names("table9")
    assert "5.1 %" in lines[2] and "31.8 %" in lines[2] and "given: rule" in lines[2]
    assert recipes.main(["nothing"]) == 2
    assert "no recipe matches 'nothing'" in capsys.readouterr().err


def test_recipes_need_no_torch_and_only_what_the_wheel_ships():
    words = ["import sys, cnn.recipes as r; r.names(); print('torch' in sys.modules)"]
    done = subprocess.run(
        [sys.executable, "-c", *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["False"]
    shipped = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"cnn", "figures"]' in shipped
    for table in recipes_paper.TABLES.values():
        assert (files("figures") / "reference" / f"{table.file}.csv").is_file()
