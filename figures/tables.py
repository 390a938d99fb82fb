"""The paper's printed tables, its protocol and its claims, as data frames."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["load", "names"]

REFERENCE = files("figures") / "reference"


def names() -> list[str]:
    r"""Names of the tables that `load` knows.

    Returns
    -------
    list of str
        File names without ``.csv``, sorted, such as ``"claims"`` or ``"table01"``.
    """
    entries = [entry.name for entry in REFERENCE.iterdir()]
    return sorted(entry.removesuffix(".csv") for entry in entries if entry.endswith(".csv"))


def load(name: str, *, as_printed: bool = False) -> DataFrame:
    r"""One table of the paper.

    Parameters
    ----------
    name : str
        One of `names()`. What each table holds, and how it was read, is told in
        ``figures/reference/README.md``.
    as_printed : bool, default False
        Keep each cell as the string that is printed, so that ``"11.0"`` stays ``"11.0"``.

    Returns
    -------
    pandas.DataFrame
        Sparsity, pruned shares and every error are percent as numbers (70 is 70 %). A batch size
        counts images; ``features``, ``features_pruned`` and ``conv_params`` are counts. Losses and
        the strength :math:`\lambda` have no unit.

        A column that prints only numbers holds numbers (``1e-3`` is 0.001). An empty cell, which
        the paper does not give, is NaN; with `as_printed` it is ``""``.

    Raises
    ------
    ValueError
        If no table has this name.

    Notes
    -----
    Strengths differ from the print in one zero: Table 1 has ``1e-03`` where the file has ``1e-3``.

    Examples
    --------
    >>> table = load("table01")
    >>> adam = table.query("optimizer == 'adam' and regularizer == 'l2' and strength == 1e-4")
    >>> adam["sparsity_by_gamma"].tolist()
    [70, 47]
    """
    import pandas as pd

    from regdyn.checks import choose

    choose("table", name, names())
    with (REFERENCE / f"{name}.csv").open(encoding="utf-8") as file:
        if as_printed:
            return pd.read_csv(file, dtype=str, keep_default_na=False)
        # The number of a section is a name: 5.1 is no quantity, and section 2 is not 2.0.
        return pd.read_csv(file, dtype={"section": str}, keep_default_na=False, na_values=[""])
