"""What a training run found: the numbers of summary.json, and the table on the screen."""

import math
from typing import TYPE_CHECKING, Any

from torch import nn

from cnn import measure
from cnn.checkpoint import Run
from cnn.config import to_dict
from cnn.data import Data
from cnn.place import Place
from regdyn.store import provenance

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

MEASURES = {
    "sparsity_gamma": "|γ| < 1e-3",
    "sparsity_gamma_1e-2": "|γ| < 1e-2",
    "sparsity_act": "act ≤ 1e-12",
    "sparsity_act_1e-4": "act ≤ 1e-4",
    "sparsity_absorbed": "no gradient",
}
"""Percent of filters that each measure calls inactive, and how the table names it."""


def of(run: Run, here: Place, ds: "xr.Dataset", images: Data) -> dict[str, Any]:
    """The content of summary.json."""
    config = run.config
    found = {
        **measured(run.model, images, ds),
        "steps": run.step,
        "seconds": run.seconds,
        "ms_per_step": 1000 * run.seconds / run.step,
        "skipped_steps": int(ds["steps_skipped"].sum()),
        "batch": {
            "global": config.batch, "per_rank": config.batch // here.world, "ranks": here.world
        },
        "images": {"train": len(images.train), "test": len(images.test)},
        "place": here.label,
        "places": run.places,
        "branches": run.branches,
        "config": to_dict(config),
        "provenance": provenance(),
    }  # fmt: skip
    return finite(found)


def measured(model: nn.Module, data: Data, record: "xr.Dataset") -> dict[str, Any]:
    """Every measure of the trained network; all shares and errors in percent.

    Activations are those of all training images, as they are, without augmentation.
    """
    maxima = measure.activation_maxima(model, data.train)
    inactive = {
        "sparsity_gamma": measure.by_gamma(model, 1e-3),
        "sparsity_gamma_1e-2": measure.by_gamma(model, 1e-2),
        "sparsity_act": measure.by_activation(maxima, 1e-12),
        "sparsity_act_1e-4": measure.by_activation(maxima, 1e-4),
        "sparsity_absorbed": measure.by_absorption(record),
    }
    shares = {name: measure.sparsity(mask) for name, mask in inactive.items()}
    by_gamma = inactive["sparsity_gamma"]
    train, test = (measure.evaluate(model, part) for part in (data.train, data.test))
    with measure.zeroed(model, by_gamma):
        zeroed = measure.evaluate(model, data.test)
    same = measure.agreement(
        {
            "gamma": by_gamma,
            "activation": inactive["sparsity_act_1e-4"],
            "absorption": inactive["sparsity_absorbed"],
        }
    )
    return {
        **{name: share.total for name, share in shares.items()},
        "test_error": test.error,
        "test_error_zeroed": zeroed.error,
        "test_error_top5": test.top5,
        "test_loss": test.loss,
        "train_error": train.error,
        "train_loss": train.loss,
        "prunable": measure.prunable_share(model, {name: ~mask for name, mask in by_gamma.items()}),
        "agreement": same.percent,
        "differing": same.differing,
        "layers": [
            {
                "layer": name,
                "filters": len(mask),
                **{what: share.layers[name] for what, share in shares.items()},
            }
            for name, mask in by_gamma.items()
        ],
    }


def table(found: dict[str, Any]) -> "Table":
    """Percent of inactive filters per layer, for a terminal."""
    from rich import box
    from rich.table import Table

    shown = Table(title="inactive filters, %", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("layer", "filters", *MEASURES.values()):
        shown.add_column(name, justify="left" if name == "layer" else "right", no_wrap=True)
    for row in found["layers"]:
        cells = [f"{row[what]:.0f}" for what in MEASURES]
        shown.add_row(row["layer"], str(row["filters"]), *cells)
    shown.add_section()
    filters = sum(row["filters"] for row in found["layers"])
    shown.add_row("all", str(filters), *(f"{found[what]:.1f}" for what in MEASURES))
    return shown


def sentences(found: dict[str, Any]) -> str:
    """What the table does not say, in a few lines."""

    def percent(name: str) -> str:
        return "-" if found[name] is None else f"{found[name]:.2f} %"

    return (
        f"test error {percent('test_error')}, with the filters of |γ| < 1e-3 at zero "
        f"{percent('test_error_zeroed')}; training error {percent('train_error')}\n"
        f"parameters of convolutions that can be pruned: {found['prunable']:.1f} %\n"
        f"{found['steps']:,} steps in {found['seconds']:.1f} s, "
        f"{found['ms_per_step']:.2f} ms each, on {found['place']['kind']}"
    )


def finite(value: Any) -> Any:
    """`value` for JSON: None for numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return value
