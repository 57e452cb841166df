"""Whatever is given to predict → rows, and what each row is composed of."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core.tables import Manifest
from tapetum.data import layouts
from tapetum.data.images import given
from tapetum.data.images.given import Source

_LOOSE: dict[str, Any] = {"row_id": pl.String, "path": pl.List(pl.String)}


def rows_of(
    images: Any, value_range: tuple[float, float] | None, read: Callable[[Any], Manifest]
) -> tuple[Manifest, Sequence[Sequence[Source]] | None]:
    """Return one row an image, and the sources of each row where those are not the files that the rows name.

    Args:
        images: what :meth:`Pipeline.predict_proba` takes.
        value_range: (black, white) of arrays and tensors of floats.
        read: makes the rows of a table, a folder or an archive.
    """
    if isinstance(images, (str, os.PathLike)) and (place := os.fsdecode(images)) and layouts.holds_rows(Path(place)):
        return read(Path(place)), None
    if isinstance(images, pl.LazyFrame):
        images = images.collect()
    if layouts.is_frame(images) and len(images):
        return read(images), None
    rows = [] if layouts.is_frame(images) else given.rows_of(images, value_range)
    paths = [[str(one) if isinstance(one, (str, Path)) else f"file {i + 1}" for i, one in enumerate(row)] for row in rows]
    table = pl.DataFrame({"row_id": [str(i) for i in range(len(rows))], "path": paths}, schema=_LOOSE)
    return Manifest(table, (), Path()), rows
