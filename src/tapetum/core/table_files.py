"""Tables of known columns in a file: ``.csv`` is CSV and ``.parquet`` is Parquet, in both directions.

In CSV a blank cell is null, true and false are words, and a list is JSON (``["a", "b"]``, ``[0.25, 0.75]``), or its only text as it is.
In a table that is made for people, cells that a spreadsheet would take for formulas are escaped (:mod:`tapetum.core.spreadsheets`).
What a spreadsheet makes of such a file is read too: other separators and a byte-order mark, decimal commas, TRUE and FALSE, blank lines,
rows and columns in another order, and columns left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files, spreadsheets
from tapetum.core.delimited import read_delimited, to_delimited
from tapetum.core.errors import DataError, UserError
from tapetum.core.progress import Log

ENDINGS = (".csv", ".parquet")
TEXTS = (".csv", ".tsv", ".tab", ".txt")
_WORDS = {
    **dict.fromkeys(("true", "1", "yes", "wahr", "vrai", "verdadero", "vero"), True),
    **dict.fromkeys(("false", "0", "no", "falsch", "faux", "falso"), False),
}


def ending(path: Path | str) -> str:
    """Return ``.csv`` or ``.parquet``, the kind of table that a name asks for.

    Raises:
        UserError: another ending.
    """
    found = Path(path).suffix.lower()
    if found not in ENDINGS:
        what = f"a table cannot be written to {path}: its ending is {found!r}" if found else f"a table cannot be written to {path}"
        raise UserError(what, need="a name that ends in .csv or .parquet")
    return found


def write_table(path: Path | str, frame: pl.DataFrame, meta: Mapping[str, Any] | None = None, *, for_people: bool = False) -> Path:
    """Write a table as its ending says.

    Args:
        path: ``.csv`` or ``.parquet``.
        frame: the table.
        meta: is kept by Parquet alone.
        for_people: escape cells of CSV that a spreadsheet would take for formulas; :func:`read_table` with ``escaped`` undoes it.

    Raises:
        UserError: an ending that is neither.
    """
    if ending(path) == ".parquet":
        return files.write_parquet(path, frame, meta)
    return files.write_text(path, as_csv(frame, for_people=for_people))


def as_csv(frame: pl.DataFrame, *, for_people: bool = False) -> str:
    """Return a table as the text of a CSV file; see :func:`write_table`."""
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    words = [name for name, dtype in frame.schema.items() if dtype == pl.Boolean]
    flat = frame.with_columns(
        *(pl.Series(name, [_list_cell(cell) for cell in frame[name].to_list()], dtype=pl.String) for name in lists),
        *(pl.col(name).cast(pl.String) for name in words),
    )
    return to_delimited(spreadsheets.escaped(flat) if for_people else flat)


def write_matched(path: Path | str, frame: pl.DataFrame, log: Log) -> Path:
    """Write a CSV table that other programs match by its ids: cells stay as they are, and ``log`` is told of those like formulas."""
    spreadsheets.warn(path, frame, log)
    return files.write_csv(path, frame)


def read_table(
    path: Path | str,
    schema: Mapping[str, Any],
    required: Sequence[str] = ("row_id",),
    *,
    escaped: bool = False,
    known: Collection[str] = (),
) -> pl.DataFrame:
    """Read a table that :func:`write_table` wrote, or what a spreadsheet made of it; other columns are left alone.

    Args:
        path: ``.parquet``, or delimited text.
        schema: the types of the known columns; those that are absent come back null.
        required: columns that must be there.
        escaped: the table is one for people, whose text is escaped; see :func:`write_table`.
        known: what may stand in the first required column, where it is known.

    Raises:
        DataError: a required column is absent, or a cell is not of its column's type: its row is named.
    """
    place, comma = Path(path), False
    if place.suffix.lower() in TEXTS:
        frame, delimiter = read_delimited(place)
        frame = spreadsheets.unescaped(frame, known, required[0]) if escaped else frame
        comma = delimiter != ","
    else:
        frame = files.read_parquet(place)[0]
    if absent := [name for name in required if name not in frame.columns]:
        raise DataError(f"{place} has no column {absent[0]!r}", need=", ".join(required))
    ids = frame[required[0]].to_list()
    columns = [
        _typed(frame[name], dtype, ids, place, comma) if name in frame.columns else pl.Series(name, [None] * len(frame), dtype=dtype)
        for name, dtype in schema.items()
    ]
    return frame.with_columns(columns)


def read_any(path: Path | str, *, escaped: bool = False) -> pl.DataFrame:
    """Read a whole table, ``.parquet`` or delimited text; cells of text stay text. ``escaped``: see :func:`read_table`."""
    place = Path(path)
    if place.suffix.lower() not in TEXTS:
        return files.read_parquet(place)[0]
    frame = read_delimited(place)[0]
    return spreadsheets.unescaped(frame) if escaped else frame


def number(text: str, comma: bool) -> float:
    """Return the number that a cell says; ``comma`` tells that a comma may stand for the decimal point."""
    text = text.strip()
    return float(text.replace(",", ".") if comma and "." not in text else text)


def _list_cell(cell: Sequence[Any] | None) -> str | None:
    if cell is None:
        return None
    only = cell[0] if len(cell) == 1 else None
    if isinstance(only, str) and only.strip() == only and only and not only.startswith("["):
        return only
    return files.to_json(cell)


def _typed(column: pl.Series, dtype: Any, ids: Sequence[Any], place: Path, comma: bool) -> pl.Series:
    if column.dtype == dtype:
        return column
    cells = column.to_list()
    out: list[Any] = []
    for row_id, cell in zip(ids, cells, strict=True):
        try:
            out.append(None if cell is None else _value(cell, dtype, comma))
        except (ValueError, TypeError, KeyError):
            raise DataError(
                f"{place} row {row_id!r} has {column.name} = {str(cell)[:200]!r}", need=_need(dtype), fix="correct that cell"
            ) from None
    return pl.Series(column.name, out, dtype=dtype)


def _value(cell: Any, dtype: Any, comma: bool) -> Any:
    if isinstance(dtype, pl.List):
        listed = (
            files.from_json(cell) if isinstance(cell, str) and cell.startswith("[") else [cell] if isinstance(cell, str) else list(cell)
        )
        return [_value(one, dtype.inner, comma) for one in listed]
    if dtype == pl.String:
        return str(cell)
    if dtype == pl.Boolean:
        return _WORDS[str(cell).strip().lower()]
    found = number(cell, comma) if isinstance(cell, str) else float(cell)
    if dtype.is_integer():
        if found != int(found):
            raise ValueError
        return int(found)
    return found


def _need(dtype: Any) -> str:
    if isinstance(dtype, pl.List):
        return 'one text, or a list as ["a", "b"]' if dtype.inner == pl.String else "a list as [0.25, 0.75]"
    return "true or false" if dtype == pl.Boolean else "a whole number" if dtype.is_integer() else "a number"
