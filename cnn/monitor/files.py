"""The instrument that writes: record.nc and report.html, each whole or not at all."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.checkpoint import whole
from cnn.monitor.document import document
from cnn.monitor.view import View
from regdyn.checks import shown

if TYPE_CHECKING:
    import xarray as xr

Labelled = Callable[[View], "xr.Dataset"]
RECORD, BEFORE, REPORT = "record.nc", "record-previous.nc", "report.html"


def folder_of(out: Any) -> Path:
    """`out` as a path, if it is a folder or can become one.

    Raises
    ------
    ValueError
        If it is a file or below one.
    """
    try:
        path = Path(out)
    except TypeError:
        raise ValueError(f"out must be a folder, not {shown(out)}.") from None
    for one in (path, *path.parents):
        if one.exists() and not one.is_dir():
            raise ValueError(f"out must be a folder, and {str(one)!r} is a file.")
    return path


class Files:
    """Writes into a folder, now and then and at the end.

    Parameters
    ----------
    folder : Path
    dataset : callable
        The record of a view, as `xarray.Dataset`.
    html : bool
        Whether to write the page.
    """

    def __init__(self, folder: Path, dataset: "Labelled", *, html: bool) -> None:
        self.folder, self.html, self.resumed = folder, html, False
        self._dataset = dataset

    def show(self, view: View) -> None:
        """Write all files.

        Raises
        ------
        OSError
            If a file cannot be written; what was there before is as it was.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.resumed:  # what an earlier run left here is kept, once
            with suppress(FileNotFoundError):
                os.replace(self.folder / RECORD, self.folder / BEFORE)
            self.resumed = True
        ds = self._dataset(view)
        with whole(self.folder / RECORD) as name:
            ds.to_netcdf(name, engine="netcdf4")
        if self.html:
            write_page(view, self.folder / REPORT)

    def close(self) -> None:
        """Nothing is open."""


def write_page(view: View, path: Path) -> None:
    """The report as one HTML file."""
    from cnn.monitor.page import page

    with whole(path) as name:
        Path(name).write_text(page(document(view)), encoding="utf-8")


def write_json(view: View, path: Path) -> None:
    """The report's numbers."""
    with whole(path) as name:
        Path(name).write_text(json.dumps(document(view), allow_nan=False), encoding="utf-8")
