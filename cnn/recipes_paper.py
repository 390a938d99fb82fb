"""The paper's rows as settings, read from `figures/reference`: Tables 1 to 10, and section 6."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from typing import NamedTuple

from cnn.config import Config, DataConfig, ModelConfig, OptimConfig

STEPS = 406_250  # 50,000 images in batches of 40 for 250 + 75 epochs (section 2.1)
DROP = 250 / 325
FEATURES = {"vgg11": 2752, "vgg16": 4224}  # where a table prints a count and no share


class Row(NamedTuple):
    """A recipe's fields; see `cnn.recipes.Recipe`."""

    name: str
    config: Config
    source: str
    note: str
    sparsity: float | None = None
    error: float | None = None


class Table(NamedTuple):
    """How a table is read: its file, the columns that name a row, what the paper leaves open."""

    file: str
    named_by: tuple[str, ...]
    epochs_given: bool = True
    missing: str = ""


TABLES = {
    1: Table("table01", ("rule",)),
    2: Table("table02_layers", ("rule",)),
    3: Table("table03", ("rule", "batch"), missing="which batch sets the steps (ours: 40)"),
    4: Table("table04", ("rule", "batch"), epochs_given=False),
    5: Table("table05", ("batch",), epochs_given=False),
    6: Table("table06", ("net_config",)),
    7: Table("table07_layers", ("batch",), epochs_given=False),
    8: Table("table08", ("batch",), epochs_given=False),
    9: Table("table09", ("batch",), epochs_given=False),
    10: Table("table10", ("batch",), epochs_given=False),
}
SPARSITY = ("sparsity_by_gamma", "total", "features_pruned_percent")
ERROR = ("test_error", "top1_val_error", "top1_val_error_before", "test_error_after_pruning")


def rows() -> Iterator[Row]:
    """Every row of Tables 1 to 10 that is not quoted from another paper; section 6."""
    for number in TABLES:
        yield from (_row(number, cells) for cells in printed(number))
    base = Config(
        model=_model("basicnet", "cifar100", "64-1x"), data=DataConfig(name="cifar100"),
        optim=rule("adam-l2-1e-4"), steps=STEPS, drop=DROP,
    )  # fmt: skip
    leaky = replace(base, model=replace(base.model, negative_slope=0.01))
    slow = replace(base, optim=replace(base.optim, gamma_lr=0.1))
    note = _note("basicnet", "the factor on gamma's learning rate (ours: 0.1)")
    yield Row("section6/cifar100/leaky-relu", leaky, "Section 6", _note("basicnet"), 41)
    yield Row("section6/cifar100/gamma-lr-0.1", slow, "Section 6", note, 33)


def printed(number: int) -> list[dict[str, str]]:
    """The cells of a table's rows that the paper ran itself."""
    path = files("figures") / "reference" / f"{TABLES[number].file}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [row for row in csv.DictReader(lines) if row.get("method", "implicit") == "implicit"]


def rule(words: str) -> OptimConfig:
    """``adam-l2-1e-4``: optimizer, place and strength of lambda; ``adam-none``: without."""
    opt, reg, *lam = words.split("-", 2)
    return OptimConfig(opt=opt, reg=reg, lam=float(lam[0]) if lam else 0.0)


def _row(number: int, cells: dict[str, str]) -> Row:
    """The recipe of a printed row; a cell that the paper leaves out is empty."""
    table = TABLES[number]
    opt, reg, lam = cells["optimizer"], cells["regularizer"], cells["strength"]
    missing = table.missing
    if not reg:  # Table 4's SGD
        reg, lam, missing = "l2", "1e-4", "SGD's regulariser (ours: L2 1e-4)"
    words = f"{opt}-none" if lam == "0" else f"{opt}-{reg}-{lam}"
    batch = cells.get("batch_size") or "40"
    named = {"rule": words, "batch": f"batch-{batch}", **cells}
    network = cells.get("network", "BasicNet").lower().replace("-", "")
    return Row(
        name=f"table{number}/{cells['dataset']}/" + "-".join(named[c] for c in table.named_by),
        config=Config(
            model=_model(network, cells["dataset"], cells.get("net_config", "64-1x")),
            data=DataConfig(name=cells["dataset"]), optim=rule(words),
            batch=int(batch), steps=STEPS, drop=DROP,
        ),
        source=f"Table {number}", note=_note(network, missing, epochs_given=table.epochs_given),
        sparsity=_share(cells, network), error=_first(cells, ERROR),
    )  # fmt: skip


def _model(network: str, dataset: str, width: str) -> ModelConfig:
    """The paper's network: BasicNet has three widths, and the head depends on the data set."""
    head = dataset if dataset in ("tinyimagenet", "imagenet") else "cifar"
    if network != "basicnet":
        return ModelConfig(name=network, width=1.0, head=head)
    pools = (1, 2, 4, 6) if head == "imagenet" else (1, 2)  # 224 to 14, 64 to 16, 32 to 8
    return ModelConfig(width=width, head=head, pools=pools)


def _note(network: str, missing: str = "", *, epochs_given: bool = True) -> str:
    """What the paper gives, and what it does not."""
    left_open = [
        "" if epochs_given else "epochs (ours: the steps of CIFAR at batch 40)",
        missing,
        "pool positions" if network == "basicnet" else "",
        "BatchNorm's eps and first gamma",
        "what is regularised",
    ]
    given = "rule, lambda, batch" + (", epochs" if epochs_given else "")
    return f"given: {given}; not: {', '.join(filter(None, left_open))}"


def _share(cells: dict[str, str], network: str) -> float | None:
    """Percent of filters that are inactive."""
    share = _first(cells, SPARSITY)
    if share is None:  # Tables 8 and 9 print how many
        return round(100 * int(cells["features_pruned"]) / FEATURES[network], 1)
    return share


def _first(cells: dict[str, str], columns: tuple[str, ...]) -> float | None:
    """The first of these columns that the row has."""
    found = [cells[name] for name in columns if cells.get(name)]
    return float(found[0]) if found else None
