r"""How far can the theory be trusted? Its predictions against Monte Carlo.

378 settings: the 210 of the paper's hyper-parameters, and 2 x 84 random ones, of which half
(`test`) were not looked at while the theory was built. Ranges and seeds were committed before any
theory existed (`sims._theory_design`). Measured is what `sims._theory_reference` says, and what
passes is defined in `sims._theory_compare`. The naive mean field, which replaces every function of
random variables by the function of their means, goes through the same table: a negative control.

`python -m sims theory-check` does it all (more than an hour of one core, mostly Monte Carlo) and
writes a result like every study. `python -m sims.theory_check` keeps the Monte Carlo that is
committed in `sims/data`, computes the theory anew (two minutes), and writes `sims/data` and the
page `docs/theory-accuracy.md`; with `--monte-carlo` it simulates again.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sims import _theory_design as design
from sims._theory_compare import ORDERS, TOLERANCE, compare
from sims._theory_page import hyper
from sims._theory_picture import picture
from sims.common import config_of, frame, labelled, lanes_or

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

QUESTION = "How far can the theory be trusted, setting by setting?"
SECONDS = 4500

DATA = Path(__file__).parent / "data"
FILES = {"theory_matrix.csv": ("matrix",), "theory_random.csv": ("dev", "test")}
NAMES = {"t50": "mean 0.5", "t10": "mean 0.1", "p1e-3": "passage 1e-3", "late": "late rms"}


def sets() -> dict[str, tuple[list[design.Cell], int]]:
    """The cells of each set, and what is added to the seed of its Monte Carlo."""
    return {
        "matrix": (design.matrix(), 0),
        "dev": (design.random_sets(design.DEV_SEED), 100),
        "test": (design.random_sets(design.TEST_SEED), 200),
    }


def run(*, lanes: int | None = None, seed: int = 0, steps: int = design.STEPS) -> "xr.Dataset":
    """Monte Carlo of every cell, and the theory: one entry per cell in every variable."""
    lanes = lanes_or(lanes, design.LANES)
    cells = check(measure(sets(), lanes=lanes, seed=seed, steps=steps), steps=steps)
    data = cells.rename_axis("cell").to_xarray()
    return labelled(data, "theory against Monte Carlo", lanes=lanes, seed=seed, steps=steps)


def measure(
    which: dict[str, tuple[list[design.Cell], int]], *, lanes: int, seed: int, steps: int
) -> "pd.DataFrame":
    """The Monte Carlo columns of these sets, one row per cell, column `set` first."""
    import pandas as pd

    from sims import _theory_reference as reference

    parts = []
    for name, (cells, offset) in which.items():
        part = reference.measure(cells, lanes=lanes, steps=steps, seed=seed + offset)
        part.insert(0, "set", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def check(measured: Any, *, steps: int = design.STEPS, predict: Any = None) -> "pd.DataFrame":
    """Add the theory's columns to those of the Monte Carlo."""
    import pandas as pd

    cells = sets()
    parts = [
        compare(part.reset_index(drop=True), cells[str(name)][0], steps=steps, predict=predict)
        for name, part in measured.groupby("set", sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


def table(data: "xr.Dataset") -> "pd.DataFrame":
    """Worst first: settings, what was measured, and the errors in percent.

    `score` is the largest error in units of its tolerance: up to 1 all criteria are met.
    """
    cells = _frame(data).sort_values("theory_score", ascending=False, kind="stable")
    rows = []
    for _, cell in cells.iterrows():
        row: dict[str, Any] = {k: cell[k] for k in ("set", "rule", "reg", "lam", "std", "std0")}
        row["settings"] = hyper(cell)
        for name in TOLERANCE:
            row |= {name: cell[name], f"{name} %": 100 * cell[f"theory_{name}_error"]}
        rows.append(row | {"score": cell["theory_score"], "naive score": cell["naive_score"]})
    return frame(rows)


def answer(data: "xr.Dataset") -> str:
    """What was asked, what came out."""
    cells: Any = _frame(data)
    said = []
    for name, title in (("matrix", "the paper's settings"), ("test", "random settings never seen")):
        some = cells[cells["set"] == name]
        if len(some):
            counts = ", ".join(
                f"{label} {int(some[f'theory_{k}_pass'].sum())}" for k, label in NAMES.items()
            )
            said.append(
                f"Of {len(some)} {title} the closure meets every criterion in "
                f"{int(some['theory_pass'].sum())} ({counts}), the naive mean field in "
                f"{int(some['naive_pass'].sum())}."
            )
    hardest = max(TOLERANCE, key=lambda k: float((~cells[f"theory_{k}_pass"]).sum()))
    return (
        "Asked: does the theory, which takes a fraction of a second, say the same as simulating "
        f"{data.attrs['lanes']:,} copies for {config_of(data)['steps']:,} steps? Times of the mean "
        "within 1 % (or 1 step, or 3 standard errors), median passages below 1e-3 within 3 %, late "
        f"rms within 2 %. {' '.join(said)} What fails most often: {NAMES[hardest]}. Where a row "
        "passes, what the paper claims of that rule and strength can be read off the theory; where "
        "it fails, simulate."
    )


def _frame(data: "xr.Dataset") -> "pd.DataFrame":
    """The cells as rows."""
    return data.to_dataframe().reset_index(drop=True)


def draw(data: "xr.Dataset") -> "Figure":
    """Predicted against measured."""
    return picture(_frame(data), int(data.attrs["lanes"]))


# The committed table and its page ---------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Compute the theory against the committed Monte Carlo; write sims/data and the docs page."""

    monte_carlo: bool = False
    """Simulate again (more than an hour) instead of keeping the committed simulation."""
    only: tuple[Literal["matrix", "dev", "test"], ...] = ("matrix", "dev", "test")
    """With --monte-carlo, the sets that are simulated again."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    import tyro

    settings = tyro.cli(Settings, prog="python -m sims.theory_check", args=argv)
    if not settings.monte_carlo and settings.only != Settings.only:
        print("--only says what is simulated again: it needs --monte-carlo.", file=sys.stderr)
        return 2
    measured = stored()
    if settings.monte_carlo:
        again = {name: entry for name, entry in sets().items() if name in settings.only}
        measured = _replace(
            measured, measure(again, lanes=design.LANES, seed=0, steps=design.STEPS)
        )
    write(check(measured))
    return 0


def committed() -> "pd.DataFrame":
    """The committed rows."""
    import pandas as pd

    return pd.concat([pd.read_csv(DATA / name) for name in FILES], ignore_index=True)


def stored() -> "pd.DataFrame":
    """The committed rows, Monte Carlo columns only."""
    cells = committed()
    theory = [name for name in cells if name.split("_")[0] in ORDERS]
    return cells.drop(columns=theory)


def _replace(old: Any, new: Any) -> "pd.DataFrame":
    """The rows of `old`, but those of the sets in `new` from there; sets in their order."""
    import pandas as pd

    kept = old[~old["set"].isin(new["set"])]
    both: Any = pd.concat([part for part in (kept, new) if len(part)])
    return pd.concat([both[both["set"] == name] for name in sets()], ignore_index=True)


def write(cells: Any) -> None:
    """sims/data, the picture, and the table in the page."""
    from sims import _theory_page as page

    DATA.mkdir(exist_ok=True)
    for name, which in FILES.items():
        some = cells[cells["set"].isin(which)]
        some.to_csv(DATA / name, index=False, float_format="%.6g", lineterminator="\n")
    cells = committed()  # as rounded, so that the page follows from the files
    page.write(cells, picture(cells, int(cells["lanes"].max())))


if __name__ == "__main__":
    raise SystemExit(main())
