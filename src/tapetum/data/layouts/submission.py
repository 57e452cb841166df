"""Fill a template with answers: the same ids in the same order under the same columns, or nothing is written.

Templates: a header with an id column and an answer column; a header with an id column and one column a class (probabilities); no header,
ids in the last column (answers alone are written, one a line, as the sleep challenge wants); no header and no ids (rows in a stated order).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.ids import match
from tapetum.core.tables import Dense
from tapetum.core.targets import Target, decode
from tapetum.data.images.formats import has_image_name
from tapetum.data.layouts.delimited import read_delimited, sniff, to_delimited
from tapetum.data.layouts.sheet import Say


@dataclasses.dataclass(frozen=True)
class Template:
    """A template's rows, and which column is what.

    Args:
        frame: its cells as text, in order.
        delimiter: what stands between cells.
        header: whether a header line is written back.
        ids: the id column; None where rows go by a stated order.
        answers: columns to fill.
        columns: columns to write.
    """

    frame: pl.DataFrame
    delimiter: str
    header: bool
    ids: str | None
    answers: tuple[str, ...]
    columns: tuple[str, ...]


def submit(
    dense: Dense,
    template: Path | str,
    place: Path | str,
    say: Say,
    *,
    fill: str = "none",
    prior: np.ndarray | None = None,
    threshold: float | np.ndarray = 0.5,
    written: Mapping[str, str] | None = None,
    separator: str | None = None,
    id_column: str | None = None,
    column: str | None = None,
    order: Sequence[str] | None = None,
) -> Path:
    """Write a submission.

    Args:
        dense: the answers of exactly the rows that the template asks for, in any order.
        template: a delimited text file.
        place: the file to write; its folder is made.
        say: told what was written and what was filled in.
        fill: for rows without an answer: ``none`` refuses, ``prior`` takes what is commonest, else a class (or a number).
        prior: mean truth over the training rows (K,), for ``fill = "prior"``.
        threshold: several labels: the probability from which a class counts, where ``dense`` holds no decisions.
        written: class name → how the template wants it written; others as they are.
        separator: several labels: what stands between; None: as in the data.
        id_column: of the template, where it is not the one that holds the predicted ids.
        column: to fill, where the template has several.
        order: row ids in the template's order, where it holds none.

    Returns:
        ``place``.

    Raises:
        DataError: ids missing or extra (the first are named), rows without an answer under ``fill = "none"``.
        UserError: a template that can be read in two ways, or a ``fill`` that is no class.
    """
    dense = _by_name(dense, Path(template), id_column, say)
    form = read_template(Path(template), dense, id_column=id_column, column=column, ordered=order is not None)
    ids = form.frame[form.ids].to_list() if form.ids is not None else list(order or ())
    if form.ids is None and len(ids) != len(form.frame):
        raise DataError(f"{Path(template).name} has {len(form.frame)} rows", need=f"{len(ids)}, as the stated order has")
    _same_ids(ids, dense.row_ids.tolist(), Path(template).name)
    names = {**{c: c for c in dense.target.classes}, **(written or {})}
    if len(form.answers) == 1:
        texts = _answer_cells(dense, ids, fill=fill, prior=prior, threshold=threshold, names=names, separator=separator)
        cells = [[text] for text in texts]
    else:
        cells = _probability_cells(dense, ids, fill, prior)
    filled = form.frame.with_columns(
        pl.Series(name, [row[i] for row in cells], dtype=pl.String) for i, name in enumerate(form.answers)
    ).select(form.columns)
    blank = int((dense.status != "ok").sum())
    files.write_text(place, to_delimited(filled, form.delimiter, header=form.header))
    say(f"{len(ids)} answers written to {place}" + (f", {blank} of them filled with {fill!r}" if blank else ""))
    return Path(place)


def read_template(path: Path, dense: Dense, *, id_column: str | None = None, column: str | None = None, ordered: bool = False) -> Template:
    """Find out which columns of a template hold ids and answers.

    Raises:
        UserError: more than one way to read it; the columns are listed.
        DataError: no column holds the ids.
    """
    raw, delimiter = read_delimited(path, _numbered(path))
    known = set(dense.row_ids.tolist())
    first = [cell or "" for cell in raw.row(0)]
    if ordered:
        return _by_order(raw, delimiter, first, len(dense.row_ids), path)
    if id_column is None and any(cell in known or has_image_name(cell) for cell in first):  # no header: the first line names a picture
        matches = [sum(cell in known for cell in raw[name].to_list()) for name in raw.columns]
        ids = raw.columns[int(np.argmax(matches))]
        if ids == raw.columns[-1]:  # nothing but ids: the answers stand alone
            return Template(raw.with_columns(pl.lit(None, pl.String).alias("answer")), delimiter, False, ids, ("answer",), ("answer",))
        return Template(raw, delimiter, False, ids, (raw.columns[-1],), tuple(raw.columns))
    frame = read_delimited(path)[0]
    ids = _id_column(frame, known, id_column, path)
    _refuse_id_as_header(ids, frame[ids].to_list(), path)
    return Template(frame, delimiter, True, ids, _answer_columns(frame, ids, column, dense.target, path), tuple(frame.columns))


def _by_name(dense: Dense, path: Path, id_column: str | None, say: Say) -> Dense:
    """Return the answers with the template's ids where both name the same files in other ways (``abc`` and ``images/abc.jpg``)."""
    raw = read_delimited(path, _numbered(path))[0] if id_column is None else read_delimited(path)[0]
    columns = [id_column] if id_column in raw.columns else raw.columns if id_column is None else []
    tried = [match(raw[name].to_list(), dense.row_ids.tolist()) for name in columns]
    best = max(tried, key=lambda found: len(found.of), default=None)
    if best is None or not best.how:
        return dense
    say(f"{path.name}: {best.text()}")
    own = {row_id: wanted for wanted, row_id in best.of.items()}
    return dataclasses.replace(dense, row_ids=np.array([own.get(i, i) for i in dense.row_ids.tolist()], dtype=object))


def _numbered(path: Path) -> list[str]:
    """Return names for the columns of a file that may have no header."""
    text = path.read_text(encoding="utf-8-sig", errors="replace") if path.is_file() else ""
    first = text.lstrip("\r\n").split("\n", 1)[0]
    return [f"column_{i + 1}" for i in range("".join(first.split('"')[::2]).count(sniff(text)) + 1)]


def _by_order(raw: pl.DataFrame, delimiter: str, first: list[str], rows: int, path: Path) -> Template:
    if len(raw.columns) != 1:
        raise UserError(f"{path.name} has {len(raw.columns)} columns", need="one, where rows go by a stated order")
    if len(raw) == rows + 1:  # a header above
        frame = raw[1:].rename({"column_1": first[0]})
        return Template(frame, delimiter, True, None, (first[0],), (first[0],))
    return Template(raw, delimiter, False, None, ("column_1",), ("column_1",))


def _id_column(frame: pl.DataFrame, known: set[str], declared: str | None, path: Path) -> str:
    if declared is not None:
        if declared not in frame.columns:
            raise UserError(f"{path.name} has no column {declared!r} (it has: {listed(frame.columns)}).{nearest(declared, frame.columns)}")
        return declared
    matches = {name: sum(cell in known for cell in frame[name].to_list()) for name in frame.columns}
    best = max(matches, key=lambda name: matches[name])
    if not matches[best]:
        raise DataError(
            f"no column of {path.name} ({listed(frame.columns)}) holds an id of the predictions ({listed(sorted(known), 3)})",
            need="the template of these test rows",
        )
    return best


def _refuse_id_as_header(name: str, ids: Sequence[str | None], path: Path) -> None:
    """Refuse a file whose first line may be one more id: its shape is that of the ids."""

    def shape(text: str) -> str:
        return re.sub(r"[A-Za-z]+", "a", re.sub(r"\d+", "9", text))

    if "9" in shape(name) and shape(name) in {shape(i) for i in ids[:50] if i}:
        raise UserError(
            f"{path.name} begins with {name!r}, which looks like one of its ids",
            need="a header line, or predictions for every id",
            fix="predict that row too, or name the id column",
        )


def _answer_columns(frame: pl.DataFrame, ids: str, declared: str | None, target: Target, path: Path) -> tuple[str, ...]:
    rest = [name for name in frame.columns if name != ids]
    if declared is not None:
        if declared not in rest:
            raise UserError(f"{path.name} has no column {declared!r} to fill (it has: {listed(rest)}).{nearest(declared, rest)}")
        return (declared,)
    if len(rest) == 1:
        return (rest[0],)
    if target.kind != "regression" and sorted(rest) == sorted(target.classes):
        return target.classes
    if target.name in rest:
        return (target.name,)
    raise UserError(
        f"{path.name} has {len(rest)} columns that could be filled: {listed(rest, 20)}",
        need=f"one, one called {target.name!r}, or one for each class",
        fix="name it",
    )


def _same_ids(asked: Sequence[str | None], given: Sequence[str], name: str) -> None:
    wanted, have = set(asked), set(given)
    doubled = sorted({str(i) for i in asked if asked.count(i) > 1}) if len(wanted) != len(asked) else []
    if doubled or None in wanted:
        raise DataError(f"{name} has ids that are blank or doubled: {listed(doubled or ['blank'])}", need="each id once")
    missing = [i for i in asked if i not in have]
    extra = [i for i in given if i not in wanted]
    parts = [f"{len(missing)} ids of it have no prediction: {listed(missing)}"] if missing else []
    parts += [f"{len(extra)} predicted ids are not in it: {listed(extra)}"] if extra else []
    if parts:
        what = f"{name} and the predictions differ ({'; '.join(parts)})"
        raise DataError(what, need="the same ids", fix="predict the template's pictures")


def _answer_cells(
    dense: Dense,
    ids: Sequence[str],
    *,
    fill: str,
    prior: np.ndarray | None,
    threshold: float | np.ndarray,
    names: Mapping[str, str],
    separator: str | None,
) -> list[str]:
    target = dense.target
    decided = dense.answer if dense.answer is not None else dense.p
    answers = decode(target, decided, 0.5 if dense.answer is not None else threshold)
    found = {row_id: answer for row_id, answer, ok in zip(dense.row_ids, answers, dense.ok, strict=True) if ok}
    lost = [row_id for row_id in ids if found.get(row_id) is None]
    other = _filler(target, fill, prior, lost, threshold) if lost else None
    between = target.separator if separator is None else separator

    def text(answer: Any) -> str:
        if target.kind == "multi":
            return between.join(names[label] for label in answer)
        return f"{answer:.7g}" if target.kind == "regression" else names[answer]

    return [text(found[row_id] if found.get(row_id) is not None else other) for row_id in ids]


def _probability_cells(dense: Dense, ids: Sequence[str], fill: str, prior: np.ndarray | None) -> list[list[str]]:
    found = {row_id: p for row_id, p, ok in zip(dense.row_ids, dense.p, dense.ok, strict=True) if ok}
    lost = [row_id for row_id in ids if row_id not in found]
    if lost and fill == "prior" and prior is not None:
        other: np.ndarray | None = np.asarray(prior)
    elif lost:
        label = _filler(dense.target, fill, prior, lost, 0.5)
        named = label if isinstance(label, list) else [label]
        other = np.array([float(c in named) for c in dense.target.classes])
    else:
        other = None
    return [[f"{v:.7g}" for v in np.asarray(found.get(row_id, other))] for row_id in ids]


def _filler(target: Target, fill: str, prior: np.ndarray | None, lost: Sequence[str], threshold: float | np.ndarray) -> Any:
    """Return the answer for rows that have none."""
    if fill == "none":
        raise DataError(
            f"{len(lost)} rows have no answer: {listed(lost)}", fix="mend the pictures, or fill them in: --fill prior, or --fill CLASS"
        )
    if fill == "prior":
        if prior is None or len(prior) != target.width:
            raise UserError("--fill prior needs the classes' shares in the training rows", fix="submit from the run, or use --fill CLASS")
        common = decode(target, np.asarray(prior)[None], threshold)[0]
        return common or [target.classes[int(np.argmax(prior))]] if target.kind == "multi" else common
    if target.kind == "regression":
        try:
            return float(fill)
        except ValueError:
            raise UserError(f"--fill {fill!r} is no number", need=f"none, prior or a number for {target.name!r}") from None
    if fill not in target.classes:
        raise UserError(
            f"--fill {fill!r} is none of the classes of {target.name!r} ({listed(target.classes)}).{nearest(fill, target.classes)}",
            need="none, prior or a class",
        )
    return [fill] if target.kind == "multi" else fill
