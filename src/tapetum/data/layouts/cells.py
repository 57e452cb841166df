"""From cells to truth: text, numbers and lists become the manifest's target columns; blanks are counted, classes are read."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.expressions import compose, derive_target, expression_names
from tapetum.core.progress import Log
from tapetum.core.targets import Target, answer_classes, decode, encode, same_text, with_classes
from tapetum.core.words import plural, verb
from tapetum.data.layouts.several import LISTS, split_cell

DTYPES: dict[str, Any] = {"single": pl.String, "ordinal": pl.String, "multi": pl.List(pl.String), "regression": pl.Float64}


def parse_column(target: Target, column: pl.Series, row_ids: Sequence[str], name: str) -> pl.Series:
    """Return a column of the manifest: class names, lists of class names or numbers; null where blank.

    Args:
        target: its kind and, for multi, its separator.
        column: text, numbers, booleans or lists.
        row_ids: for errors.
        name: the table, for errors.

    Raises:
        DataError: a cell that is no number under a regression, a list under a target of one answer, a label doubled in one cell.
    """
    if target.kind == "regression":
        _refuse_odd_numbers(target, column, row_ids, name)
    cells = [_parse(target, cell, row_id, name) for cell, row_id in zip(column.to_list(), row_ids, strict=True)]
    return pl.Series(target.name, cells, dtype=DTYPES[target.kind])


def as_text(cell: Any) -> str | None:
    """Return a cell as a class name: whole numbers without a decimal point, blank text as None."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, float) and cell.is_integer():  # pandas turns whole numbers with blanks into floats
        return str(int(cell))
    return same_text(str(cell).strip()) or None


def text_column(column: pl.Series) -> pl.Series:
    """Return a column of ids or groups as text; numbers that are whole lose their decimal point.

    Raises:
        DataError: a column of lists.
    """
    if column.dtype.is_nested() or column.dtype == pl.Object:
        raise DataError(f"column {column.name!r} holds lists", need="one text or number a row", fix="name another column")
    if column.dtype.is_float():
        return pl.Series(column.name, [as_text(cell) for cell in column.to_list()], dtype=pl.String)
    return column.cast(pl.String)


def decimal_point(cell: Any) -> str:
    """Return what to add to "a number" in an error, where a comma is in place of the decimal point."""
    return " with a decimal point" if re.fullmatch(r"\s*-?\d+,\d+\s*", str(cell)) else ""


def settle_targets(targets: Sequence[Target], frame: pl.DataFrame, derive: Mapping[str, str]) -> tuple[Target, ...]:
    """Return the targets with their classes, read from training rows alone, and the derived ones behind them.

    Args:
        targets: as declared.
        frame: the manifest's columns, targets parsed.
        derive: new target → arithmetic over class numbers.

    Raises:
        DataError: one class only, or a label that is not among the classes: its row is named.
        UserError: a derived expression that uses an unknown target, or a name used twice.
    """
    trains = _training(frame)
    settled: list[Target] = []
    for declared in targets:
        cells = frame[declared.name].filter(trains).to_list()
        target = with_classes(declared, frame[declared.name].to_list() if declared.is_identity else cells)  # those of test rows may be new
        encode(target, frame[target.name].to_list(), frame["row_id"].to_list())  # a label outside the classes is named here
        if target.kind in ("single", "ordinal"):
            seen = {cell for cell in cells if cell is not None}
            if len(seen) < 2:
                have = f"only class {seen.pop()!r}" if seen else "no labels at all"
                raise DataError(
                    f"target {target.name!r} has {have} among the training rows", need="two classes or more", fix="check the label column"
                )
        settled.append(target)
    doubled = sorted({t.name for t in settled if [u.name for u in settled].count(t.name) > 1} | {t.name for t in settled} & set(derive))
    if doubled:
        raise UserError(f"two targets are called {listed(doubled)}", need="a name of its own for each")
    parts = {t.name: t for t in settled}
    return (*settled, *(derive_target(name, expression, parts) for name, expression in derive.items()))


def settle_derived(targets: Sequence[Target], frame: pl.DataFrame) -> pl.DataFrame:
    """Fill a derived target's own column, where the table has one, from its parts; drop it where it adds nothing.

    Raises:
        DataError: a row whose own answer differs from what its parts give.
    """
    parts = {t.name: t for t in targets if t.expression is None and t.kind != "multi"}
    for target in targets:
        if target.expression is None or target.name not in frame.columns:
            continue
        truths = {name: encode(part, frame[name].to_list()) for name, part in parts.items()}
        composed = decode(target, compose(target, parts, truths))
        columns = [as_text(cell) for cell in frame[target.name].to_list()]
        both = [(r, s, g) for r, s, g in zip(frame["row_id"].to_list(), columns, composed, strict=True) if s is not None and g is not None]
        if odd := [one for one in both if one[1] != one[2]]:
            raise _other_code(target, parts, odd, len(both))
        filled = [given if given is not None else stated for stated, given in zip(columns, composed, strict=True)]
        frame = frame.with_columns(pl.Series(target.name, filled, dtype=pl.String))
        encode(target, filled, frame["row_id"].to_list())
    return frame


def _other_code(target: Target, parts: Mapping[str, Target], odd: Sequence[tuple[str, str, str]], rows: int) -> DataError:
    """Return the error for rows (row id, own answer, composed answer) that differ: another order of classes may be the reason."""
    used = [parts[name] for name in expression_names(str(target.expression))]
    orders = "; ".join(f"{part.name} = {listed(answer_classes(part), 12)}" for part in used)
    first = next((part for part in used if part.kind == "single"), None)
    mend = (
        f", or state the order of classes where it is another one, as --target '{first.name}:single={','.join(first.classes)}'"
        if first
        else ""
    )
    row_id, stated, given = odd[0]
    return DataError(
        f"row {row_id!r} has {target.name} = {stated!r}, "
        f"but its parts give {given!r} ({len(odd)} of {plural(rows, 'row')} {verb(len(odd), 'differs', 'differ')}). "
        f"Their classes are counted from 0 in the order {orders}",
        fix=f"correct one of them{mend}",
    )


def count_blanks(targets: Sequence[Target], frame: pl.DataFrame, data: Data, log: Log) -> None:
    """Say how many cells of each target are blank, and refuse training rows without any target unless they are kept as context.

    Raises:
        DataError: names the first rows that have no target at all.
    """
    trains = _training(frame)
    total = int(trains.sum())
    columns = [t for t in targets if t.name in frame.columns]
    if not total:
        raise DataError("the data have no training rows", need="rows whose split is train, or no split", fix="check the split column")
    for target in columns:
        blank = int(frame[target.name].filter(trains).null_count())
        if blank:
            log(f"warning: target {target.name!r} is blank in {blank} of {plural(total, 'training row')}: they neither train nor score it")
    unlabelled = frame.select(pl.all_horizontal(pl.col(t.name).is_null() for t in columns)).to_series()
    if "split" in frame.columns:
        extra = frame["split"] == "extra"
        if idle := int((extra & unlabelled).sum()):
            log(f"warning: {idle} of {plural(int(extra.sum()), 'extra row')} have no label and train nothing")
    empty = trains & unlabelled
    bare = frame["row_id"].filter(empty).to_list()
    if bare and data.blank == "refuse":
        none = " ([] where an image has none of several labels)" if any(t.kind == "multi" for t in columns) else ""
        raise DataError(
            f"{len(bare)} of {plural(total, 'training row')} {verb(len(bare), 'has', 'have')} no label: {listed(bare)}",
            fix=f"fill them in{none}, or keep them as context of their sequences: --set data.blank=context",
        )
    if bare:
        log(f"{len(bare)} of {plural(total, 'training row')} {verb(len(bare), 'has', 'have')} no label at all, kept as context")


def _parse(target: Target, cell: Any, row_id: str, name: str) -> Any:
    if target.kind == "multi":
        return _parse_labels(target, cell, row_id, name)
    if isinstance(cell, LISTS):
        raise DataError(
            f"{name} row {row_id!r} has a list in {target.name!r}",
            need="one answer a row",
            fix=f"declare it: --target {shlex.quote(f'{target.name}:multi')}",
        )
    text = as_text(cell)
    if target.kind != "regression" or text is None:
        return text
    return _number(text)


def _refuse_odd_numbers(target: Target, column: pl.Series, row_ids: Sequence[str], name: str) -> None:
    """Refuse cells that are no finite numbers; the first is named, and how many there are."""
    texts = [as_text(cell) if not isinstance(cell, LISTS) else str(cell) for cell in column.to_list()]
    odd = [i for i, text in enumerate(texts) if text is not None and not math.isfinite(_number(text))]
    if odd:
        raise DataError(
            f"{name} row {row_ids[odd[0]]!r} has {target.name} = {texts[odd[0]]!r} ({len(odd)} of "
            f"{plural(len(texts), 'cell')} {verb(len(odd), 'is no number', 'are no numbers')})",
            need=f"a finite number{decimal_point(texts[odd[0]])}",
            fix="correct it or leave it blank",
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _parse_labels(target: Target, cell: Any, row_id: str, name: str) -> list[str] | None:
    if cell is None:
        return None
    if isinstance(cell, LISTS):
        labels = [text for text in map(as_text, cell) if text is not None]
    else:
        text = as_text(cell)
        if text is None:
            return None
        labels = split_cell(text, target)
    if len(set(labels)) != len(labels):
        raise DataError(f"{name} row {row_id!r} names a label twice in {target.name} = {cell!r}", need="each label once")
    return labels


def _training(frame: pl.DataFrame) -> pl.Series:
    if "split" not in frame.columns:
        return pl.Series([True] * len(frame), dtype=pl.Boolean)
    return frame["split"].fill_null("train") == "train"
