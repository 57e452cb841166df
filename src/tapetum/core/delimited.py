"""Delimited text (CSV and its kin) as a frame of text cells, and back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from tapetum.core import files, places
from tapetum.core.errors import DataError, listed
from tapetum.core.words import plural

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_STATED = re.compile(r"(\"?)sep=(.)\1[,;\t|]*\s*?(?:\r\n|\r|\n)", re.IGNORECASE)
csv.field_size_limit(2**27)  # a cell may hold a long list of labels


def read_delimited(
    path: Path, header: Sequence[str] | None = None, check: Callable[[Sequence[str]], None] | None = None
) -> tuple[pl.DataFrame, str]:
    """Read a delimited text file; every cell is text, stripped, and blank cells are null.

    Args:
        path: UTF-8, with or without a byte-order mark; separated by comma, semicolon, tab or bar, or by what a first line ``sep=`` states.
        header: column names, where the file has no header line.
        check: called with the names in the header line, which it may refuse.

    Returns:
        The frame and the delimiter.

    Raises:
        UserError: no such file.
        DataError: not UTF-8, no header, a doubled column, or a line with another number of cells: the line is named.
    """
    return parse_delimited(_text(path), path.name, header, check)


def parse_delimited(
    text: str, file: str, header: Sequence[str] | None = None, check: Callable[[Sequence[str]], None] | None = None
) -> tuple[pl.DataFrame, str]:
    """Read delimited text that is at hand, as :func:`read_delimited` does; ``file`` is its name, for errors."""
    stated = _STATED.match(text)  # a spreadsheet's own first line, as sep=;
    text, delimiter = (text, sniff(text)) if stated is None else (text[stated.end() :], stated[2])
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            if cells:  # a blank line has none
                rows.append([cell.strip() for cell in cells])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{file} cannot be read near line {reader.line_num} ({error})", fix="correct the quotes there") from None
    if not rows:
        raise DataError(f"{file} is empty", need="a header line and one line an image")
    names = list(header) if header is not None else rows.pop(0)
    if header is None:
        lines.pop(0)
        names, rows, lines = _without_blanks(names, rows, lines)
        if check is not None:
            check(names)
        _check_header(names, file)
    for cells, line in zip(rows, lines, strict=True):
        if len(cells) != len(names):
            raise DataError(
                f"{file} line {line} has {plural(len(cells), 'cell')}",
                need=f"{len(names)} ({listed(names)})",
                fix="correct or quote that line",
            )
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    series = [pl.Series(name, [cell or None for cell in cells], dtype=pl.String) for name, cells in zip(names, columns, strict=True)]
    return pl.DataFrame(series), delimiter


def sniff(text: str) -> str:
    """Return the delimiter that occurs most often, outside quotes, in the first line; comma where none does."""
    first = text.lstrip("\r\n").split("\n", 1)[0]
    plain = "".join(first.split('"')[::2])
    best = max(DELIMITERS, key=plain.count)
    return best if plain.count(best) else ","


def to_delimited(frame: pl.DataFrame, delimiter: str = ",", *, header: bool = True) -> str:
    """Return a frame of text and numbers as delimited text; nulls are blank."""
    out: list[str] = []
    writer = csv.writer(_Lines(out), delimiter=delimiter, lineterminator="\r\n")  # quotes cells that hold one of the two
    if header:
        writer.writerow(frame.columns)
    for row in frame.iter_rows():
        writer.writerow(["" if cell is None else cell for cell in row])
    return "".join(out)


class _Lines:
    """Takes the lines of a csv writer, each by one call, and ends them with a line feed alone."""

    def __init__(self, out: list[str]) -> None:
        self._out = out

    def write(self, line: str) -> None:
        self._out.append(line.removesuffix("\r\n") + "\n")


def _text(path: Path) -> str:
    places.refuse_nowhere(path)
    return files.read_text(path)


def _without_blanks(names: list[str], rows: list[list[str]], lines: list[int]) -> tuple[list[str], list[list[str]], list[int]]:
    """Leave out what a spreadsheet adds: lines of blank cells, and columns at the end without a name or a cell."""
    if len(names) > 1:
        kept = [i for i, cells in enumerate(rows) if any(cells)]
        rows, lines = [rows[i] for i in kept], [lines[i] for i in kept]
    end = len(names)
    while end > 1 and not names[end - 1] and not any(cells[end - 1] for cells in rows if len(cells) == len(names)):
        end -= 1
    return names[:end], [cells[:end] if len(cells) == len(names) else cells for cells in rows], lines


def _check_header(names: Sequence[str], file: str) -> None:
    blank = [i + 1 for i, name in enumerate(names) if not name]
    doubled = sorted({name for name in names if names.count(name) > 1 and name})
    if blank:
        index = " (pandas wrote its index there: write without it, index=False)" if blank == [1] else ""
        raise DataError(f"{file} has no name for column {listed(blank)}", fix=f"name it in the header line{index}")
    if doubled:
        raise DataError(f"{file} has two columns called {listed(doubled)}", need="each name once", fix="rename one in the header line")
