"""What the paper's ten tables show, column by column, and which of our measures goes with which."""

from dataclasses import dataclass, field

__all__ = ["HEADS", "LAYOUTS", "Layout"]


@dataclass(frozen=True)
class Layout:
    r"""The columns of one table.

    Attributes
    ----------
    title : str
    source : str
        File in ``figures/reference``, without ``.csv``.
    keys : tuple of str
        Columns that say which setting a row is.
    values : tuple of str
        Columns that hold what the paper measured.
    ours : dict
        Column of the paper to the column of our runs that measures the same.
    note : str
        What the print says beside the rows.
    """

    title: str
    source: str
    keys: tuple[str, ...]
    values: tuple[str, ...]
    ours: dict[str, str]
    note: str = ""

    layers: tuple[str, ...] = field(init=False)
    """Those of `values` that are layers."""

    def __post_init__(self) -> None:
        found = tuple(name for name in self.values if name[0] == "C" and name[1:].isdigit())
        object.__setattr__(self, "layers", found)


HEADS = {
    "optimizer": "optimizer",
    "regularizer": "reg.",
    "strength": "strength",
    "dataset": "data",
    "network": "network",
    "net_config": "width",
    "method": "method",
    "batch_size": "batch",
    "sparsity_by_activation": "by activation, %",
    "sparsity_by_gamma": "by γ, %",
    "test_error": "test error, %",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "val_loss": "val. loss",
    "top1_val_error": "top 1 error, %",
    "top5_val_error": "top 5 error, %",
    "total": "total, %",
    "params_pruned_percent": "param. pruned, %",
    "pruned_test_error": "error pruned, %",
    "features_pruned": "features pruned",
    "features_pruned_percent": "features pruned, %",
    "top1_val_error_before": "top 1 before, %",
    "top5_val_error_before": "top 5 before, %",
    "top1_val_error_after": "top 1 after, %",
    "top5_val_error_after": "top 5 after, %",
    "finetuned_after_pruning": "fine-tuned",
    "test_error_after_pruning": "error after, %",
}
"""How a column is called in text and LaTeX; layers keep their names."""

RULE = ("optimizer", "regularizer", "strength")
LOSSES = ("train_loss", "test_loss")
VALIDATION = ("train_loss", "val_loss", "top1_val_error", "top5_val_error", "sparsity_by_gamma")
BOTH = {"train_loss": "train_loss", "test_loss": "test_loss"}
ONE_CROP = {"sparsity_by_gamma": "sparsity_gamma", "top1_val_error": "test_error"}
CIFAR = {"sparsity_by_gamma": "sparsity_gamma", "test_error": "test_error"}
BASICNET = tuple(f"C{i}" for i in range(1, 8))
VGG16 = tuple(f"C{i}" for i in range(1, 14))
PRUNED = (
    "features_pruned", "features_pruned_percent", "top1_val_error_before", "top5_val_error_before",
    "top1_val_error_after", "top5_val_error_after",
)  # fmt: skip
SHARE = {"features_pruned_percent": "sparsity_gamma"}

LAYOUTS = {
    "table01": Layout(
        "BasicNet: sparsity and test error by optimizer, regulariser and strength",
        "table01", (*RULE, "dataset"),
        ("sparsity_by_activation", "sparsity_by_gamma", "test_error"),
        {"sparsity_by_activation": "sparsity_act", **CIFAR},
    ),
    "table02": Layout(
        "BasicNet on CIFAR100: sparsity by γ of each layer, in percent",
        "table02_layers", (*RULE, "dataset"),
        (*LOSSES, "test_error", *BASICNET, "total", "params_pruned_percent", "pruned_test_error"),
        {**BOTH, "test_error": "test_error", **{name: name for name in BASICNET},
         "total": "sparsity_gamma", "params_pruned_percent": "prunable",
         "pruned_test_error": "test_error_zeroed"},
        "Features: 64, 128, 128, 256, 256, 512, 512; 1856 in all, with 4,649,664 parameters in "
        "the convolutions.",
    ),
    "table03": Layout(
        "BasicNet on CIFAR10 and CIFAR100: batch size",
        "table03", (*RULE, "dataset", "batch_size"),
        (*LOSSES, "test_error", "sparsity_by_gamma"), {**BOTH, **CIFAR},
    ),
    "table04": Layout(
        "BasicNet on TinyImageNet: batch size",
        "table04", (*RULE, "dataset", "batch_size"), VALIDATION, ONE_CROP,
    ),
    "table05": Layout(
        "BasicNet on ImageNet: batch size",
        "table05", (*RULE, "dataset", "batch_size"), VALIDATION, ONE_CROP,
    ),
    "table06": Layout(
        "BasicNet on CIFAR10 and CIFAR100: width of the network",
        "table06", ("net_config", *RULE, "dataset", "batch_size"),
        (*LOSSES, "test_error", "sparsity_by_gamma"), {**BOTH, **CIFAR},
    ),
    "table07": Layout(
        "VGG-16 on CIFAR10 and CIFAR100: sparsity by γ of each layer, in percent",
        "table07_layers", ("method", *RULE, "dataset", "batch_size"),
        (*VGG16, "features_pruned_percent", "test_error"),
        {**{name: name for name in VGG16}, **SHARE, "test_error": "test_error"},
        "Features: 64, 64, 128, 128, 256, 256, 256, then 512 in each of C8 to C13. li_13: "
        "Li et al. [13], a structure made by hand.",
    ),
    "table08": Layout(
        "VGG-16 on TinyImageNet and ImageNet: features pruned, errors before and after",
        "table08", ("method", *RULE, "dataset", "batch_size"), PRUNED,
        {**SHARE, "top1_val_error_before": "test_error"},
    ),
    "table09": Layout(
        "VGG-11 on ImageNet: features pruned, errors before and after",
        "table09", ("method", *RULE, "dataset", "batch_size"),
        (*PRUNED, "finetuned_after_pruning"), {**SHARE, "top1_val_error_before": "test_error"},
        "liu_14_from_15: Liu et al. [14], as reported in [15].",
    ),
    "table10": Layout(
        "VGG-19 on CIFAR10 and CIFAR100: features pruned, error after pruning",
        "table10", ("method", *RULE, "dataset", "batch_size"),
        ("features_pruned_percent", "test_error_after_pruning"),
        {**SHARE, "test_error_after_pruning": "test_error_zeroed"},
        "liu_14: Liu et al. [14].",
    ),
}  # fmt: skip
