"""Delimited text (CSV and its kin) as users bring it: :mod:`tapetum.core.delimited`, and a first line of images is no header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tapetum.core import delimited
from tapetum.core.delimited import DELIMITERS, sniff, to_delimited
from tapetum.core.errors import DataError, listed
from tapetum.data.images.formats import has_image_name

__all__ = ["DELIMITERS", "read_delimited", "sniff", "to_delimited"]


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
