"""Delimited text (CSV and its kin) as users bring it: :mod:`tapetum.core.delimited`, and a first line of images is no header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from tapetum.core import delimited
from tapetum.core.delimited import DELIMITERS, sniff, to_delimited
from tapetum.core.errors import DataError, listed
from tapetum.data.images.formats import has_image_name

HEAD = 1 << 16  # characters in which a header line ends

__all__ = ["DELIMITERS", "header_of", "most_cells", "read_delimited", "sniff", "to_delimited"]


def read_delimited(path: Path, header: Sequence[str] | None = None) -> tuple[pl.DataFrame, str]:
    """Read a delimited text file; see :func:`tapetum.core.delimited.read_delimited`.

    Raises:
        DataError: the first line names images, and no columns.
    """

    def check(names: Sequence[str]) -> None:
        if any(has_image_name(name) for name in names):
            raise DataError(
                f"{path.name} has no header: its first line is {listed(names)}", fix="add a line with the columns' names on top"
            )

    return delimited.read_delimited(path, header, check)


def header_of(path: Path) -> list[str]:
    """Return the columns in a text table's header line, however it is quoted and separated; empty where there is none to read."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            head = [line for line in file.read(HEAD).splitlines(keepends=True) if line.strip()][:2]  # the first may state the separator
    except OSError:
        return []
    for count in (1, 2):
        try:
            return delimited.parse_delimited("".join(head[:count]), path.name)[0].columns
        except DataError:
            continue
    return []


def most_cells(path: Path, column: str, fits: Callable[[str], bool]) -> bool:
    """Tell whether at least half of a column's cells that are not blank fit a layout: a few others are wrong cells, which reading names.

    A table that cannot be read fits, too: reading says what is wrong with it.
    """
    try:
        cells = read_delimited(path)[0][column].drop_nulls().to_list()
    except DataError:
        return True
    return 2 * sum(map(fits, cells)) >= len(cells)
