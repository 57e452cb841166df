"""Cells of text that a spreadsheet takes for a formula: escaped in tables for people, counted in tables for machines.

A spreadsheet evaluates a cell of a CSV file that begins with ``=``, ``+``, ``-`` or ``@``; a tab or a line end may hide one. In a table
that is made for people such a cell gets an apostrophe in front. A cell that has apostrophes there already gets one more, so that
:func:`unescape` gives every cell back. Plain numbers stay as they are (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import polars as pl

from tapetum.core.progress import Log
from tapetum.core.words import plural

_OPENS = r"(?:\s*[=+\-@＝＋－＠]|[\t\r\n]\s*\S)"
_ESCAPED = re.compile(rf"'+{_OPENS}")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?")
_FORMULA = re.compile(_OPENS)


def is_formula(cell: str) -> bool:
    """Tell whether a spreadsheet may take a cell for a formula; a plain number is none."""
    return _FORMULA.match(cell) is not None and _NUMBER.fullmatch(cell) is None


def escape(cell: str) -> str:
    """Return a cell as it stands in a table for people; :func:`unescape` undoes it."""
    return f"'{cell}" if is_formula(cell) or _ESCAPED.match(cell) else cell


def unescape(cell: str, known: Collection[str] = ()) -> str:
    """Return what a cell of a table for people stands for.

    Args:
        cell: as it was read. One that was never escaped, or lost its apostrophe in a spreadsheet, is taken as it is.
        known: what it may be, as the ids of the data: a cell that is one of them only with its apostrophe was never escaped.
    """
    if _ESCAPED.match(cell) is None:
        return cell
    return cell if cell in known and cell[1:] not in known else cell[1:]


def escaped(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table whose cells of text are escaped."""
    return _mapped(frame, {name: [None if cell is None else escape(cell) for cell in frame[name]] for name in _texts(frame)})


def unescaped(frame: pl.DataFrame, known: Collection[str] = (), column: str = "") -> pl.DataFrame:
    """Return a table as it was before :func:`escaped`; ``known`` are the possible cells of one column."""
    known = set(known)
    of = {name: known if name == column else () for name in _texts(frame)}
    return _mapped(frame, {name: [None if cell is None else unescape(cell, of[name]) for cell in frame[name]] for name in of})


def warn(path: Path | str, frame: pl.DataFrame, log: Log) -> None:
    """Log how many cells of a table for machines, which is written as it is, a spreadsheet may take for formulas.

    Args:
        path: of the table; only delimited text can hold a formula.
        frame: the table.
        log: told once, where there are any.
    """
    for _ in watched(path, [frame], log):
        pass


def watched(path: Path | str, frames: Iterable[pl.DataFrame], log: Log) -> Iterator[pl.DataFrame]:
    """Yield the parts of a table, so that they are read once, and warn as :func:`warn` does when the last one is taken."""
    count = 0
    for number, frame in enumerate(frames):
        count += formulas(frame, header=number == 0)
        yield frame
    if count and Path(path).suffix.lower() != ".parquet":
        cells = plural(count, "cell")
        log(f"warning: {Path(path).name}: a spreadsheet may take {cells} for formulas; import the file there as text")


def formulas(frame: pl.DataFrame, *, header: bool = True) -> int:
    """Return how many cells of text, names of columns among them where there is a header, a spreadsheet may take for formulas."""
    begins = rf"^{_OPENS}"
    found = [one for name in _texts(frame) for one in frame[name].filter(frame[name].str.contains(begins))]
    return sum(map(is_formula, [*(frame.columns if header else ()), *found]))


def _texts(frame: pl.DataFrame) -> list[str]:
    return [name for name, dtype in frame.schema.items() if dtype == pl.String]


def _mapped(frame: pl.DataFrame, cells: dict[str, list[str | None]]) -> pl.DataFrame:
    return frame.with_columns(pl.Series(name, column, dtype=pl.String) for name, column in cells.items())
