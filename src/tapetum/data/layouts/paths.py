"""From a row's cells to its image files: a column, several columns, or a template over columns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.data.layouts.listing import refuse_undecodable

_FIELD = re.compile(r"\{([^{}]*)\}")


def is_template(text: str, columns: Sequence[str]) -> bool:
    """Tell whether ``text`` is a template such as ``train/{Id}_{red,green}.png``, rather than a column."""
    return text not in columns and "{" in text


def template_columns(template: str) -> list[str]:
    """Return the columns that a template uses, in order; ``{red,green}`` lists alternatives and uses none."""
    return [field for field in _FIELD.findall(template) if "," not in field]


def fill_template(template: str, cells: Mapping[str, Any]) -> list[str]:
    """Return the paths of one row: ``{Name}`` is a cell, ``{a,b,c}`` gives one path each (several lists: every combination).

    Args:
        template: with ``/`` between folders; ``images.zip!/{Id}.png`` reads inside an archive.
        cells: column → value of this row.
    """
    parts = _FIELD.split(template)
    options = [
        [part] if i % 2 == 0 else [p.strip() for p in part.split(",")] if "," in part else [str(cells[part])]
        for i, part in enumerate(parts)
    ]
    return ["".join(combination) for combination in itertools.product(*options)]


def row_paths(frame: pl.DataFrame, how: str | Sequence[str], name: str, split: str = "train") -> list[list[str]]:
    """Return the image files of every row, as text relative to the table.

    Args:
        frame: the table.
        how: a column, a template, or several of either; a column may hold lists.
        name: the table's name, for errors.
        split: what ``{split}`` stands for where the table has no such column.

    Raises:
        UserError: a column that does not exist; the nearest is offered.
        DataError: a row without a path.
    """
    out: list[list[str]] = [[] for _ in range(len(frame))]
    for item in [how] if isinstance(how, str) else how:
        if is_template(item, frame.columns):
            _add_template(out, frame, item, name, split)
        elif item in frame.columns:
            for row, cell in enumerate(frame[item].to_list()):
                if cell is None or cell == []:
                    raise DataError(f"{name} row {row + 1} has no image in column {item!r}", fix="fill it in or remove the row")
                out[row].extend([plain_path(str(one)) for one in (cell if isinstance(cell, list) else [cell])])
        else:
            raise unknown_column(item, frame.columns, name, "--path")
    return out


def plain_path(path: str) -> str:
    """Return a path without ``./`` and doubled ``/``, so that one file has one name; an address stays as it is."""
    if ("./" not in path and "//" not in path) or "://" in path:
        return path
    first, *rest = path.split("/")
    kept = [part for part in rest if part not in ("", ".")]
    return "/".join(kept if first == "." else [first, *kept])


def list_column(name: str, rows: Sequence[Sequence[str]]) -> pl.Series:
    """Return a column of lists of text; built flat where every row has as many.

    Raises:
        DataError: a path whose bytes are not UTF-8.
    """
    refuse_undecodable(itertools.chain.from_iterable(rows), "the data")
    counts = {len(row) for row in rows}
    if len(counts) != 1 or counts == {0}:
        return pl.Series(name, rows, dtype=pl.List(pl.String))
    flat = pl.Series(name, list(itertools.chain.from_iterable(rows)), dtype=pl.String)
    return flat.reshape((len(rows), counts.pop())).arr.to_list()


def unknown_column(column: str, columns: Sequence[str], name: str, flag: str, rest: str = "", *, fix: str | None = None) -> UserError:
    """Return the error for a column that a table does not have, with what it has and the nearest name.

    Args:
        column: what was asked for.
        columns: what there is.
        name: the table.
        flag: how it was asked for, for the hint (``--target``).
        rest: what comes after the name in the flag (``:multi``).
        fix: what else helps.
    """
    close = nearest(column, columns).removeprefix(" Did you mean '").removesuffix("'?")
    hint = f" Did you mean {flag}{'' if flag.endswith('=') else ' '}{close}{rest}?" if close else ""
    return UserError(f"{name} has no column {column!r} (it has: {listed(columns, 20)}).{hint}", fix=fix)


def _add_template(out: list[list[str]], frame: pl.DataFrame, template: str, name: str, split: str) -> None:
    used = template_columns(template)
    if not used:
        raise UserError(f"path template {template!r} names no column", need="one in braces, such as 'train/{Id}.png'")
    fixed = {"split": split} if "split" in used and "split" not in frame.columns else {}
    for column in used:
        if column not in frame.columns and column not in fixed:
            raise unknown_column(column, frame.columns, name, "--path with")
    columns = [c for c in used if c not in fixed]
    rows = frame.select(columns).iter_rows() if columns else [()] * len(frame)
    for row, cells in enumerate(rows):
        if any(cell is None for cell in cells):
            blank = columns[cells.index(None)]
            raise DataError(
                f"{name} row {row + 1} has a blank {blank!r}, which the path template needs", fix="fill it in or remove the row"
            )
        filled = fill_template(template, {**fixed, **dict(zip(columns, cells, strict=True))})
        out[row].extend(map(plain_path, filled))
