"""Where the images of a table lie when its cells alone do not lead to them: in a folder below, without their ending, or both."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import polars as pl

from tapetum.data.images.formats import IMAGE_SUFFIXES

FOLDERS, ROWS = 50, 20  # how many folders and rows are looked at


def path_beside(frame: pl.DataFrame, root: Path) -> str | None:
    """Return ``--path`` with the template under which a table's images are found, or None where it leads to none.

    Args:
        frame: the table.
        root: the folder that its paths start from; it and the folders right below it are looked into.
    """
    texts = [column for column in frame.get_columns() if column.dtype == pl.String or column.dtype.is_integer()]
    for folder in _folders(root):
        for column in texts:
            cells = [str(cell) for cell in column.drop_nulls().head(ROWS).to_list()]
            ending = _ending(root / folder, cells)
            if cells and ending is not None and (folder or ending):  # else the cells lead there by themselves
                return f"--path {shlex.quote(f'{folder}{{{column.name}}}{ending}')}"
    return None


def _folders(root: Path) -> list[str]:
    try:
        below = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
    return ["", *(f"{name}/" for name in below[:FOLDERS])]


def _ending(place: Path, cells: list[str]) -> str | None:
    """Return what makes every cell the name of a file in a folder: nothing or a suffix; None where nothing does."""
    for ending in ("", *IMAGE_SUFFIXES):
        if all((place / f"{cell}{ending}").is_file() for cell in cells):
            return ending
    return None
