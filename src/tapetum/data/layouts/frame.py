"""Layout ``frame``: a polars or pandas table at hand; paths start from the working folder, or are absolute."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.targets import read_target
from tapetum.core.words import plural
from tapetum.data.images import formats
from tapetum.data.layouts.cells import as_text
from tapetum.data.layouts.roles import ID_NAMES
from tapetum.data.layouts.several import MARKS
from tapetum.data.layouts.sheet import Sheet
from tapetum.data.layouts.table import flat_paths

_CELLS = (type(None), str, bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if isinstance(source, (pl.DataFrame, pl.LazyFrame)):
        return "it is a polars table"
    return "it is a pandas table" if _is_pandas(source) else None


def is_frame(source: Any) -> bool:
    """Tell whether ``source`` is a polars or pandas table."""
    return recognise(source) is not None


def read(source: Any, data: Data, log: Log) -> Sheet:
    """Read a polars or pandas table; a named pandas index is a column, and the id column where each of its values occurs once."""
    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    roles: dict[str, Any] = {}
    if isinstance(source, pl.DataFrame):
        frame = source
    else:
        source, index = _with_index(source, log)
        frame = from_pandas(source, data, log)
        if index is not None and data.id is None and index not in _spoken_for(data) and _names_rows(frame, index):
            roles["id"] = index
            log(f"the table's index {index!r} is read as the id column")
    log(f"the table: {plural(len(frame), 'row')}, {plural(len(frame.columns), 'column')}")
    return Sheet(frame, Path.cwd(), "the table", roles)


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Write the frame of :func:`to_frame` as Parquet."""
    return files.write_parquet(place, to_frame(manifest, place.parent))


def to_frame(manifest: Manifest, root: Path | None = None) -> pl.DataFrame:
    """Return a manifest as a table that :func:`read` reads again: paths as seen from ``root`` (the working folder)."""
    return flat_paths(manifest, root or Path.cwd())


def from_pandas(source: Any, data: Data, log: Log) -> pl.DataFrame:
    """Return a pandas table in polars, without pyarrow; pandas' missing values become null, the index is left out.

    Raises:
        DataError: two columns of one name, or a column that is used and holds what no table can.
    """
    names = [str(name) for name in source.columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(f"the table has two columns called {listed(doubled)}", need="each name once", fix="rename one of them")
    columns = {name: source.iloc[:, i] for i, name in enumerate(names)}
    values = {name: _short_floats(column) if _is_short(column) else column.tolist() for name, column in columns.items()}
    return _with_columns_left(_of_values(values, data, log), names)


def plain_columns(frame: pl.DataFrame, data: Data, log: Log) -> pl.DataFrame:
    """Return a table whose cells are text, numbers, booleans, times or lists of them: categories become text, objects what they hold."""
    text = [pl.col(c.name).cast(pl.String) for c in frame.get_columns() if c.dtype in (pl.Categorical, pl.Enum)]
    short = [pl.col(c.name).cast(pl.String).cast(pl.Float64) for c in frame.get_columns() if c.dtype == pl.Float32]  # 1.1, not 1.10000002
    frame = frame.with_columns(*text, *short)
    odd = [c for c in frame.get_columns() if c.dtype in (pl.Object, pl.Binary, pl.Struct) or isinstance(c.dtype, (pl.List, pl.Array))]
    if not odd:
        return frame
    plain = _of_values({column.name: column.to_list() for column in odd}, data, log)
    left = frame.drop([c.name for c in odd if c.name not in plain.columns]).with_columns(plain.get_columns())
    return _with_columns_left(left, frame.columns)


def _with_columns_left(frame: pl.DataFrame, given: Sequence[str]) -> pl.DataFrame:
    """Return a table as it is.

    Raises:
        DataError: none of the columns that were given is left, as of a table of the images themselves.
    """
    if given and not frame.columns:
        raise DataError(
            f"the table holds neither text nor numbers (columns: {listed(given)})",
            need="the paths of images",
            fix=f"images at hand are predicted as a list: tapetum.load(PIPELINE).predict(table[{given[0]!r}].to_list())",
        )
    return frame


def _of_values(columns: Mapping[str, Sequence[Any]], data: Data, log: Log) -> pl.DataFrame:
    """Return columns of Python values as a table; a column that no table can hold and nobody asked for is left out and logged.

    Raises:
        DataError: such a column that has a meaning; the cell is named.
    """
    out = []
    for name, values in columns.items():
        cells = [_plain(value) for value in values]
        odd = next(
            ((row, one) for row, c in enumerate(cells) for one in (c if isinstance(c, list) else [c]) if not isinstance(one, _CELLS)), None
        )
        if odd is None:
            out.append(_series(name, cells))
            continue
        what = f"row {odd[0] + 1} has a {type(odd[1]).__name__} in column {name!r}"
        if name in _spoken_for(data):
            raise DataError(f"the table's {what}", need="text, a number, a path or a list of them", fix="write what it means as text")
        log(f"the table's {what}: the column is left out")
    return pl.DataFrame(out)


def _is_short(column: Any) -> bool:
    return getattr(column.dtype, "kind", "") == "f" and getattr(column.dtype, "itemsize", 8) < 8


def _short_floats(column: Any) -> list[float | None]:
    """Return 32- and 16-bit numbers of pandas as they are written: 1.1, not 1.10000002."""
    return [None if math.isnan(value) else float(str(value)) for value in column.to_numpy()]


def _series(name: str, cells: list[Any]) -> pl.Series:
    """Return cells as a column; those of several types become text."""
    lists = any(isinstance(cell, list) for cell in cells)
    kinds = {type(one) for cell in cells for one in (cell if isinstance(cell, list) else [cell]) if one is not None}
    texts = [cell for cell in cells if isinstance(cell, str)]
    if lists and any(mark in text for text in texts for mark in MARKS):  # a|b beside ["a", "b"]: whoever reads the labels says so
        return pl.Series(
            name, [files.to_json(list(map(as_text, c))) if isinstance(c, list) else as_text(c) for c in cells], dtype=pl.String
        )
    if lists and (len(kinds) != 1 or any(cell is not None and not isinstance(cell, list) for cell in cells)):
        cells = [
            None if c is None else [as_text(one) for one in c if one is not None] if isinstance(c, list) else [as_text(c)] for c in cells
        ]
        return pl.Series(name, cells, dtype=pl.List(pl.String))
    if len(kinds) > 1 and kinds != {int, float}:
        return pl.Series(name, [as_text(cell) for cell in cells], dtype=pl.String)
    try:
        return pl.Series(name, [float(c) if c is not None else c for c in cells] if kinds == {int, float} else cells)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(one) for one in value if _plain(one) is not None), key=str)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _plain(value.item())
    if isinstance(value, (list, tuple, np.ndarray, pl.Series)):
        return [_plain(one) for one in value]
    if value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, np.generic):
        return _plain(value.item())
    return str(value) if isinstance(value, str) else value


def _with_index(source: Any, log: Log) -> tuple[Any, str | None]:
    """Return a pandas table with the named levels of its index as first columns, and the index's name where there is one level.

    Raises:
        DataError: a column has the index's name and other values.
    """
    levels = [name for name in source.index.names if name is not None]
    if not levels:
        if source.index.dtype.kind not in "iu" and len(source):
            log("the table's index has no name and is left out: name it (table.index.name = 'id') to keep it as the id column")
        return source, None
    for name in levels:
        if name in list(source.columns):
            if list(source.index.get_level_values(name)) != list(source[name]):
                raise DataError(
                    f"the table's index and one of its columns are both called {name!r}", need="each name once", fix="rename one of them"
                )
            source = source.drop(columns=[name])
    unnamed = [i for i, name in enumerate(source.index.names) if name is None]
    source = (source.reset_index(level=unnamed, drop=True) if unnamed else source).reset_index()
    return source, str(levels[0]) if len(levels) == 1 and not unnamed else None


def _names_rows(frame: pl.DataFrame, index: str) -> bool:
    """Tell whether an index has a value of its own for every row, and no column is called as ids are."""
    column = frame[index]
    has_id = any(name.lower() in ID_NAMES for name in frame.columns if name != index)
    files_ = column.dtype == pl.String and len(column) and all(formats.has_image_name(cell or "") for cell in column.to_list())
    return not has_id and not files_ and not column.null_count() and column.n_unique() == len(column)


def _spoken_for(data: Data) -> set[str]:
    """Return the columns that the user has given a meaning."""
    roles = [getattr(data, role) for role in ("id", "group", "sequence", "position", "split", "fold", "weight")]
    paths = [data.path] if isinstance(data.path, str) else list(data.path or ())
    return {*(role for role in roles if role), *paths, *data.side, *(read_target(spec).name for spec in data.targets)}


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame"
