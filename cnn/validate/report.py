"""What came of the comparison: rows, their summary, a table, and every filter's forecast."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn.validate import targets as what_if
from cnn.validate.methods import Forecast
from cnn.validate.predictions import dataset
from cnn.validate.targets import Target
from regdyn import scoring, store
from regdyn.filters.absorption import applies

GROUPS = ("all", "worn", "absorbed")
"""All settings; those whose filters are worn down (adaptive rules under l2); and absorbed."""
FEW = 2  # settings with so few dead filters (percent) are those in which nothing dies
SCORES = tuple(scoring.STATISTICS)
FILES = ("validate.json", "validate.csv", "targets.csv")


def rows(
    found: Sequence[Forecast], limits: dict[tuple[str, float], float | None]
) -> list[dict[str, Any]]:
    """A row for every forecast of a run: what it is, its scores, the code that it came from.

    Parameters
    ----------
    found : sequence of Forecast
    limits : dict
        (setting, at): AUC that no forecast beats (`replay_limit.limits`).
    """
    revision = store.provenance()["git_revision"]
    listed = []
    for one in found:
        listed.append(
            {"method": one.method, "setting": one.of.setting.name, "split": one.of.setting.split,
             "seed": one.of.seed, "group": group_of(one), "at": one.at, "pilot": one.pilot,
             "auc_limit": limits.get((one.of.setting.name, one.at)), **scoring.row(one.case),
             "refused": one.refused, "run_revision": one.of.revision, "revision": revision}
        )  # fmt: skip
    return listed


def group_of(one: Forecast) -> str:
    """ "worn" or "absorbed"."""
    run = one.of.run
    return "absorbed" if applies(run.rule, run.reg) else "worn"


def summary(
    found: Sequence[Forecast], limits: dict[tuple[str, float], float | None], *, draws: int = 100
) -> list[dict[str, Any]]:
    """Every method's scores over all runs, and over each group, with bootstrap intervals.

    Keys: group, at, method, pilot (whether it had one), runs, refused; every score, with _lo and
    _hi of its 80 % interval; auc_above_limit and auc_above_abs_gamma, mean differences over the
    runs that have both; false_deaths is of the settings in which nothing dies.
    """
    listed = []
    for group, key in [(group, key) for group in GROUPS for key in _methods(found)]:
        some = [one for one in found if _key(one) == key and group in ("all", group_of(one))]
        said = [one for one in some if not one.refused]
        if not said:
            continue
        method, pilot, at = key
        row = {"group": group, "at": at, "method": method, "pilot": pilot, "runs": len(said)}
        row["refused"] = len(some) - len(said)
        cases, rng = [one.case for one in said], np.random.default_rng(0)
        scored = scoring.bootstrap(cases, rng, draws=draws)
        calm = [case for case in cases if case.true.total < FEW]
        del scored["false_deaths"]
        if calm:
            scored |= scoring.bootstrap(calm, rng, names=["false_deaths"], draws=draws)
        for name, (value, lo, hi) in scored.items():
            row |= {name: value, f"{name}_lo": lo, f"{name}_hi": hi}
        listed.append(row | _against(said, found, limits))
    return listed


def _key(one: Forecast) -> tuple[str, bool, float]:
    return one.method, one.pilot is not None, one.at


def _methods(found: Sequence[Forecast]) -> list[tuple[str, bool, float]]:
    """Methods with and without pilot and steps, in the order of the step."""
    keys = dict.fromkeys(_key(one) for one in found if not one.refused)
    return sorted(keys, key=lambda key: key[2])


def _against(
    said: Sequence[Forecast], found: Sequence[Forecast], limits: dict[tuple[str, float], Any]
) -> dict[str, float | None]:
    """How far the AUC lies above the replay limit and above that of |gamma|."""
    plain = {(one.of.name, one.at): _auc(one) for one in found if one.method == "abs_gamma"}
    above: dict[str, list[float]] = {"auc_above_limit": [], "auc_above_abs_gamma": []}
    for one in said:
        auc = _auc(one)
        others = limits.get((one.of.setting.name, one.at)), plain.get((one.of.name, one.at))
        for name, other in zip(above, others, strict=True):
            if auc is not None and other is not None:
                above[name].append(auc - other)
    return {name: float(np.mean(all_)) if all_ else None for name, all_ in above.items()}


def _auc(one: Forecast) -> float | None:
    value = scoring.STATISTICS["auc"].of([one.case])
    return None if math.isnan(value) else value


# Files ------------------------------------------------------------------------------------------


def write(
    found: Sequence[Forecast], aims: Sequence[Target], limits: dict, out: Path, *,
    split: str, draws: int = 100,
) -> dict[str, Any]:  # fmt: skip
    """validate.json, validate.csv, targets.csv, predictions-SPLIT.nc; returns the first's content.

    What validate.json holds of other splits stays.
    """
    import pandas as pd

    content = {
        "rows": rows(found, limits),
        "summary": [{"split": split, **row} for row in summary(found, limits, draws=draws)],
        "targets": [what_if.row(one) for one in aims],
        "target_summary": [{"split": split, **row} for row in what_if.summary(aims)],
        "provenance": {split: store.provenance()},
    }
    path = out / FILES[0]
    content = _joined(content, path, split)
    with store.temporary(path) as name:
        text = json.dumps(_plain(content), indent=1, allow_nan=False, ensure_ascii=False)
        Path(name).write_text(f"{text}\n", encoding="utf-8")
    for file, part in zip(FILES[1:], ("rows", "targets"), strict=True):
        with store.temporary(out / file) as name:
            frame = pd.DataFrame(content[part])
            frame.to_csv(name, index=False, float_format="%.6g", lineterminator="\n")
    store.save(dataset(found), out / f"predictions-{split}.nc")
    return content


def _joined(content: dict[str, Any], path: Path, split: str) -> dict[str, Any]:
    """With what the file has of other splits."""
    if not path.is_file():
        return content
    before = json.loads(path.read_text(encoding="utf-8"))
    joined: dict[str, Any] = {"provenance": before.get("provenance", {}) | content["provenance"]}
    for part in ("rows", "summary", "targets", "target_summary"):
        others = [row for row in before.get(part, []) if row["split"] != split]
        joined[part] = [*others, *content[part]]
    return joined


def _plain(value: Any) -> Any:
    """For JSON: None for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
