"""Labelled images for a finished pipeline: rows as ``predict`` reads them, and the truth of its targets beside them."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.expressions import expression_names
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target, read_target
from tapetum.core.words import plural, verb
from tapetum.data.layouts.available import is_class_folders
from tapetum.data.layouts.cells import parse_column, settle_derived
from tapetum.data.layouts.reading import open_sheet
from tapetum.data.layouts.sheet import Sheet
from tapetum.data.layouts.splits import SPLIT_WORDS
from tapetum.data.layouts.unlabelled import loose

Columns = Mapping[str, str]  # target → column of its truth


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is evaluated.

    Args:
        targets: all of the pipeline, derived ones too.
        columns: target → column, where the user names one; empty: every target that the data have.
        split: the part of the data to take, as ``test``; None takes all rows.
        skip_unknown: a class that the pipeline does not know makes an unlabelled row instead of an error.
        declared: how the images are read, as :func:`tapetum.data.layouts.unlabelled.loose` takes it.
    """

    targets: tuple[Target, ...]
    columns: Columns = dataclasses.field(default_factory=dict)
    split: str | None = None
    skip_unknown: bool = False
    declared: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_truth(source: Any, data: Data, wanted: Wanted, log: Log) -> Manifest:
    """Read labelled images.

    Args:
        source: a folder, a table, an archive, or a polars or pandas frame.
        data: the ``[data]`` that the pipeline was trained by.
        wanted: what is evaluated.
        log: receives messages about how the source is read, which column holds which truth, and what is left out.

    Returns:
        The manifest with the targets whose truth the source has; classes and their order are the pipeline's.

    Raises:
        UserError: no column holds a truth, or there is no such split.
        DataError: a class that the pipeline does not know: it is named, with the number of its rows.
    """
    rows = loose([source], data, log, targets=[t.name for t in wanted.targets], declared=wanted.declared)
    sheet = open_sheet(source, Data(layout=wanted.declared.get("layout") or "auto"), lambda _: None)
    labels = _aligned(sheet, rows)
    if wanted.split is not None:
        part = _in_split(sheet, labels, wanted.split)
        rows, labels = rows.where(part.to_numpy()), labels.filter(part)
        log(f"{sheet.name}: {len(labels)} of {plural(len(part), 'row')} {verb(len(labels), 'is', 'are')} of split {wanted.split!r}")
    found = _columns(sheet, wanted)
    name_of = {t.name: t for t in wanted.targets}
    kept = rows.frame.drop([name for name in name_of if name in rows.frame.columns])
    for name, column in found.items():
        log(f"{sheet.name}: the labels of {name!r} are in column {column!r}")
        kept = kept.with_columns(parse_column(name_of[name], labels[column].alias(name), rows.row_ids, sheet.name))
    kept = _known_classes(kept, [name_of[name] for name in found], sheet.name, wanted.skip_unknown, log)
    targets = tuple(t for t in wanted.targets if t.name in found or _composed(t, found))
    if all(part in found for t in targets if t.expression for part in expression_names(t.expression)):
        kept = settle_derived(targets, kept)
    absent = [t.name for t in wanted.targets if t.scored and t not in targets]
    if absent and not wanted.columns:
        log(f"{sheet.name} has no labels of {listed(absent)}: not evaluated")
    return Manifest(kept, targets, rows.root, rows.side, rows.layout)


def read_columns(texts: Sequence[str], targets: Sequence[Target]) -> dict[str, str]:
    """Read ``TARGET=COLUMN``, ``TARGET``, or, of a pipeline with one target, ``COLUMN``.

    Raises:
        UserError: another target than the pipeline's.
    """
    names = [t.name for t in targets if t.scored]
    found: dict[str, str] = {}
    for text in texts:
        before, sign, after = text.partition("=")
        if text in names:
            found[text] = text
        elif sign and before in names and after:
            found[before] = after
        elif len(names) == 1:
            found[names[0]] = text
        else:
            raise UserError(
                f"--target {text!r} names no target of the pipeline (it has: {listed(names)}).{nearest(before, names)}",
                need="TARGET, or TARGET=COLUMN where the column is called otherwise",
            )
    return found


def _aligned(sheet: Sheet, rows: Manifest) -> pl.DataFrame:
    """Return the sheet's columns, one line for each of the rows, in their order."""
    if not is_class_folders(sheet.layout):
        if len(sheet.frame) != len(rows):
            raise DataError(
                f"{sheet.name} has {plural(len(sheet.frame), 'row')} and {plural(len(rows), 'sample')}", need="one sample a row"
            )
        return sheet.frame
    place = {os.path.abspath(sheet.root / path): i for i, path in enumerate(sheet.frame[sheet.roles["path"]].to_list())}
    wanted = [os.path.abspath(rows.root / paths[0]) for paths in rows.frame["path"].to_list()]
    lost = [path for path in wanted if path not in place]
    if lost:
        raise DataError(f"{sheet.name} gives no label to {plural(len(lost), 'image')}: {listed(lost, 3)}", need="a class folder above each")
    return sheet.frame[[place[path] for path in wanted]]


def _in_split(sheet: Sheet, labels: pl.DataFrame, wanted: str) -> pl.Series:
    """Return which rows are of a split; ``val``, ``valid`` and ``validation`` are one word."""
    column = sheet.roles.get("split", "split")
    if column not in labels.columns:
        what = "no folders that are splits" if sheet.layout == "folder" else f"no column 'split' (it has: {listed(labels.columns, 20)})"
        raise UserError(f"{sheet.name} has {what}", need=f"rows of split {wanted!r}", fix="leave out --split, and all rows are evaluated")
    words = [None if word is None else _word(str(word)) for word in labels[column].to_list()]
    part = pl.Series([word == _word(wanted) for word in words], dtype=pl.Boolean)
    if not part.any():
        there = sorted({str(word) for word in labels[column].drop_nulls().to_list()})
        raise UserError(f"{sheet.name} has no row of split {wanted!r} (it has: {listed(there)}).{nearest(wanted, there)}")
    return part


def _word(text: str) -> str:
    return SPLIT_WORDS.get(text.strip().lower(), text.strip())


def _columns(sheet: Sheet, wanted: Wanted) -> dict[str, str]:
    """Return target → column of its truth, for the targets that the sheet has.

    Raises:
        UserError: a named column that is not there, or no truth at all.
    """
    columns = sheet.frame.columns
    scored = [t for t in wanted.targets if t.scored]
    composed = {t.name for t in scored if t.expression and all(part in columns for part in expression_names(t.expression))}
    for name, column in wanted.columns.items():
        if column not in columns and not (column == name and name in composed):
            raise UserError(
                f"{sheet.name} has no column {column!r} for the target {name!r} (it has: {listed(columns, 20)}).{nearest(column, columns)}",
                fix=f"name it: --target {name}=COLUMN",
            )
    names = list(wanted.columns) or [t.name for t in scored]
    parts = {part for t in scored if t.name in names and t.expression for part in expression_names(t.expression)}
    found = {t.name: wanted.columns.get(t.name, t.name) for t in wanted.targets if t.name in {*names, *parts}}
    found = {name: column for name, column in found.items() if column in columns}
    brought = [read_target(spec).name for spec in sheet.targets]
    if not found and len(scored) == 1 and len(brought) == 1 and brought[0] in columns and not wanted.columns:
        found = {scored[0].name: brought[0]}  # the one label that the layout itself has: class folders
    if not found:
        known = ", ".join(repr(t.name) for t in scored)
        close = next((hint for t in scored if (hint := nearest(t.name, columns))), "")
        example = f"--target {scored[0].name}=COLUMN"
        raise UserError(
            f"{sheet.name} has no column for the target {known} of the pipeline (it has: {listed(columns, 20)}).{close}",
            fix=f"name the column of the labels: {example}",
        )
    return found


def _composed(target: Target, found: Columns) -> bool:
    return target.expression is not None and all(part in found for part in expression_names(target.expression))


def _known_classes(frame: pl.DataFrame, targets: Sequence[Target], name: str, skip: bool, log: Log) -> pl.DataFrame:
    """Refuse classes that the pipeline does not know, or make them unlabelled rows.

    Raises:
        DataError: names each such class with the number of its rows.
    """
    for target in targets:
        if target.kind == "regression":
            continue
        known = set(target.classes)
        cells = frame[target.name].to_list()
        odd = [[c for c in (cell if target.kind == "multi" else [cell]) if c not in known] if cell is not None else [] for cell in cells]
        counts = Counter(one for row in odd for one in dict.fromkeys(row))
        if not counts:
            continue
        named = listed(f"{one!r} ({plural(n, 'row')})" for one, n in counts.most_common())
        rows = sum(bool(row) for row in odd)
        what = (
            f"{name}: {rows} of {plural(len(cells), 'row')} {verb(rows, 'has', 'have')} a "
            f"{target.name!r} that the pipeline does not know: {named}"
        )
        if not skip:
            close = nearest(next(iter(counts)), target.classes)
            raise DataError(
                f"{what}.{close}",
                need=f"one of its {plural(len(target.classes), 'class', 'classes')} ({listed(target.classes, 20)})",
                fix="correct the labels, or count such rows as unlabelled: --on-bad skip",
            )
        log(f"warning: {what}; they count as unlabelled")
        kept = [None if bad else cell for cell, bad in zip(cells, odd, strict=True)]
        frame = frame.with_columns(pl.Series(target.name, kept, dtype=frame.schema[target.name]))
    return frame


def place_of(source: Any) -> str:
    """Return how a source is called in reports."""
    return Path(source).name or str(source) if isinstance(source, (str, Path)) else "the table"
