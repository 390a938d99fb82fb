"""The paper's tables: their shape, their ranges, and the facts that tie them to one another."""

import csv
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from figures.tables import load, names

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "figures" / "reference"

SETTING = "optimizer regularizer strength dataset"
RUN = "dataset optimizer regularizer strength batch_size"
TEST = "train_loss test_loss test_error"
VAL = "train_loss val_loss top1_val_error top5_val_error"
TOP = "top1_val_error_before top5_val_error_before top1_val_error_after top5_val_error_after"
DERIVED = "in_channels_derived kernel_derived conv_params_derived"

# name -> columns, number of rows
SCHEMA = {
    "claims": ("id section kind claim quantities where note", 51),
    "derived_checks": ("check row printed recomputed_or_other_table low high agrees note", 75),
    "protocol": ("name value where note", 111),
    "table01": (f"{SETTING} sparsity_by_activation sparsity_by_gamma test_error", 70),
    "table02_features": (f"layer features conv_params {DERIVED}", 8),
    "table02_layers": (
        f"{SETTING} {TEST} C1 C2 C3 C4 C5 C6 C7 total params_pruned_percent pruned_test_error",
        8,
    ),
    "table03": (f"network {RUN} {TEST} sparsity_by_gamma", 14),
    "table04": (f"network {RUN} {VAL} sparsity_by_gamma from_default", 4),
    "table05": (f"network {RUN} {VAL} sparsity_by_gamma from_default", 2),
    "table06": (f"network net_config {RUN} {TEST} sparsity_by_gamma from_default", 6),
    "table07_features": ("layer features", 13),
    "table07_layers": (
        f"network method {RUN} C1 C2 C3 C4 C5 C6 C7 C8 C9 C10 C11 C12 C13 "
        "features_pruned_percent test_error",
        7,
    ),
    "table08": (
        f"network method {RUN} features_pruned features_pruned_percent {TOP} "
        "finetuned_after_pruning from_default",
        3,
    ),
    "table09": (
        f"network method {RUN} features_pruned features_pruned_percent {TOP} "
        "finetuned_after_pruning",
        3,
    ),
    "table10": (f"network method {RUN} features_pruned_percent test_error_after_pruning", 6),
}

# The columns in which some cell is empty. Everywhere else every cell is filled.
WITH_EMPTY_CELLS = {
    "claims": "quantities note",
    "derived_checks": "printed low high agrees note",
    "protocol": "value where note",
    "table02_features": "conv_params in_channels_derived kernel_derived",
    "table04": "regularizer strength from_default",
    "table07_layers": "optimizer regularizer strength batch_size",
    "table08": "features_pruned_percent finetuned_after_pruning",
    "table09": "optimizer regularizer strength batch_size features_pruned_percent "
    "top5_val_error_before top5_val_error_after",
    "table10": "optimizer regularizer strength batch_size",
}

PERCENT = r"sparsity|error|percent|^total$|^C\d+$"
COUNT = r"^batch_size$|^features$|^features_pruned$|^conv_params"
LOSS = r"_loss$"

BASICNET = [f"C{n}" for n in range(1, 8)]
VGG16 = [f"C{n}" for n in range(1, 14)]
KERNELS = [5, 3, 3, 3, 3, 3, 3]

every_table = pytest.mark.parametrize("name", SCHEMA)
every_run_table = pytest.mark.parametrize(
    "name", [name for name, (columns, _) in SCHEMA.items() if "optimizer" in columns]
)


def test_the_tables_are_those_of_the_schema():
    assert names() == sorted(SCHEMA)


@every_table
def test_columns_and_rows(name):
    columns, rows = SCHEMA[name]
    table = load(name)
    assert list(table.columns) == columns.split()
    assert len(table) == rows


@every_table
def test_cells_are_empty_only_where_the_paper_is_silent(name):
    empty = load(name).isna().any()
    assert list(empty.index[empty]) == WITH_EMPTY_CELLS.get(name, "").split()


@every_table
def test_as_printed_keeps_every_cell(name):
    with (REFERENCE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        _, *cells = csv.reader(file)
    assert load(name, as_printed=True).to_numpy().tolist() == cells


def test_strings_as_printed_and_numbers_by_default():
    printed, numbers = load("table06", as_printed=True), load("table06")
    assert (printed["test_error"][2], numbers["test_error"][2]) == ("11.0", 11.0)
    assert (printed["strength"][2], numbers["strength"][2]) == ("1e-4", 0.0001)
    assert load("claims")["section"][1] == "2.2"


@every_table
def test_a_number_is_the_float_nearest_to_the_print(name):
    printed = load(name, as_printed=True)
    numbers = load(name).select_dtypes("number")
    for column in numbers:
        filled = numbers[column].notna()
        assert list(numbers[column][filled]) == list(map(float, printed[column][filled]))


@every_table
def test_ranges(name):
    table = load(name)
    percent, count, loss = (table.filter(regex=regex) for regex in (PERCENT, COUNT, LOSS))
    assert (percent.isna() | ((percent >= 0) & (percent <= 100))).all(axis=None)
    assert (count.isna() | ((count > 0) & (count % 1 == 0))).all(axis=None)
    assert (loss > 0).all(axis=None)


@every_run_table
def test_vocabulary(name):
    table = load(name, as_printed=True)
    others = {""} if "method" in table else set()
    assert set(table["optimizer"]) <= {"sgd", "adam", "adadelta", "adagrad"} | others
    assert set(table["regularizer"]) <= {"l2", "wd", ""}
    strengths = [float(strength) for strength in table["strength"] if strength]
    assert all(0 <= strength < 1 for strength in strengths)


@pytest.mark.parametrize("name", ["table07_layers", "table09", "table10"])
def test_only_the_work_of_others_has_no_setting(name):
    table = load(name)
    by_others = table["method"] != "implicit"
    for column in ["optimizer", "regularizer", "strength", "batch_size"]:
        assert (table[column].isna() == by_others).all()


@every_run_table
def test_no_setting_is_listed_twice(name):
    keys = f"{SETTING} network net_config method batch_size".split()
    table = load(name)
    assert not table.duplicated([key for key in keys if key in table]).any()


def test_claims_are_numbered_and_protocol_entries_unique():
    claims = load("claims")
    assert list(claims["id"]) == [f"c{n:02d}" for n in range(1, 52)]
    assert set(claims["kind"]) == {"numeric", "qualitative", "hypothesis", "prediction"}
    assert load("protocol")["name"].is_unique


def test_table02_repeats_table01():
    table01, table02 = (load(name, as_printed=True) for name in ("table01", "table02_layers"))
    both = table02.merge(table01, on=SETTING.split(), suffixes=("", "_table01"))
    assert len(both) == len(table02)
    assert list(both["total"]) == list(both["sparsity_by_gamma"])
    assert list(both["test_error"]) == list(both["test_error_table01"])


def test_basicnet_parameters():
    table = load("table02_features").set_index("layer")
    features = table.loc[BASICNET, "features"].tolist()
    channels = [3, *features[:-1]]
    params = [i * o * k * k for i, o, k in zip(channels, features, KERNELS, strict=True)]
    assert sum(params) == 4_649_664 == table.loc["total", "conv_params"]
    assert sum(features) == 1856 == table.loc["total", "features"]
    assert table.loc[BASICNET, "in_channels_derived"].tolist() == channels
    assert table.loc[BASICNET, "kernel_derived"].tolist() == KERNELS
    assert table["conv_params_derived"].tolist() == [*params, sum(params)]


def test_vgg16_features():
    features = load("table07_features").set_index("layer")["features"]
    assert list(features.index) == VGG16
    assert features.sum() == 4224
    tinyimagenet = load("table08").query("dataset == 'tinyimagenet'")
    share = 100 * tinyimagenet["features_pruned"] / features.sum()
    assert list(share.round()) == list(tinyimagenet["features_pruned_percent"])


def params_pruned_percent(layers: pd.DataFrame) -> pd.Series:
    """Share of parameters that fall with a filter or with its channel in the next layer."""
    params = load("table02_features").set_index("layer")["conv_params_derived"][BASICNET]
    kept = 1 - layers[BASICNET] / 100
    kept_before = kept.shift(1, axis=1, fill_value=1)
    return 100 - 100 * (kept * kept_before) @ params / params.sum()


def test_table02_pruned_parameters_follow_from_its_layers():
    table = load("table02_layers")
    printed = table["params_pruned_percent"]
    low = params_pruned_percent((table[BASICNET] - 0.5).clip(0, 100))
    high = params_pruned_percent((table[BASICNET] + 0.5).clip(0, 100))
    recomputed = params_pruned_percent(table)
    assert printed.between(low, high).all()

    needs_the_rounding_of_its_layers = (table["regularizer"] == "wd") & (printed == 4)
    assert list(recomputed.round() != printed) == list(needs_the_rounding_of_its_layers)

    listed = load("derived_checks").query("check == 'table02_params_pruned'")
    listed = listed[["recomputed_or_other_table", "low", "high"]].to_numpy()
    assert pd.concat([recomputed, low, high], axis=1).to_numpy() == pytest.approx(listed, abs=0.006)


def mean_over_features(layers: pd.DataFrame, features: pd.DataFrame) -> pd.Series:
    """Mean of the columns of `layers`, each weighted by the features of its layer."""
    weights = features.set_index("layer")["features"][layers.columns]
    return layers @ weights / weights.sum()


def test_table02_total_is_the_mean_over_features_save_one_row():
    table = load("table02_layers")
    mean = mean_over_features(table[BASICNET], load("table02_features"))
    off = mean.round() != table["total"]
    (row,) = table[off].index
    assert table.loc[row, SETTING.split()].tolist() == ["adam", "l2", 1e-4, "cifar100"]
    assert mean[row] == pytest.approx(46.31, abs=0.005)
    assert table.loc[row, "total"] == 47


def test_table07_total_is_the_mean_over_features():
    table = load("table07_layers")
    mean = mean_over_features(table[VGG16], load("table07_features"))
    assert list(mean.round()) == list(table["features_pruned_percent"])


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"'tabel01'.*'table01'.*claims, .*, table10"):
        load("tabel01")


def test_importing_the_loader_is_light():
    code = "import sys, figures.tables; sys.exit('pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
