"""Layout ``frame``: a polars or pandas table at hand; paths start from the working folder, or are absolute."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.tables import Manifest
from tapetum.data.layouts.sheet import Say, Sheet
from tapetum.data.layouts.table import flat_paths


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if isinstance(source, (pl.DataFrame, pl.LazyFrame)):
        return "it is a polars table"
    return "it is a pandas table" if _is_pandas(source) else None


def read(source: Any, data: Data, say: Say) -> Sheet:
    """Read a polars or pandas table."""
    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    frame = source if isinstance(source, pl.DataFrame) else from_pandas(source)
    say(f"the table: {len(frame)} rows, {len(frame.columns)} columns")
    return Sheet(frame, Path.cwd(), "the table")


def write(manifest: Manifest, place: Path, say: Say) -> Path:
    """Write the frame of :func:`to_frame` as Parquet."""
    return files.write_parquet(place, to_frame(manifest, place.parent))


def to_frame(manifest: Manifest, root: Path | None = None) -> pl.DataFrame:
    """Return a manifest as a table that :func:`read` reads again: paths as seen from ``root`` (the working folder)."""
    return flat_paths(manifest, root or Path.cwd())


def from_pandas(source: Any) -> pl.DataFrame:
    """Return a pandas table in polars, without pyarrow; pandas' missing values become null, the index is left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, (list, tuple, np.ndarray)):
            return [plain(v) for v in value]
        if value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
            return None
        return value.item() if isinstance(value, np.generic) else value

    return pl.DataFrame(
        {str(name): pl.Series(str(name), [plain(v) for v in source[name].tolist()], strict=False) for name in source.columns}
    )


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame"
