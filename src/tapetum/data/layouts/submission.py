"""Fill a template with answers: the same ids in the same order under the same columns, or nothing is written.

Templates: a header with an id column and what
:mod:`tapetum.data.layouts.submission_template` can read beside it; no header, ids in the last column (answers alone are written, one a
line, as the sleep challenge wants); no header and no ids (rows in a stated order).
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from tapetum.core import files, spreadsheets
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.ids import match
from tapetum.core.monitor import prior_decision
from tapetum.core.progress import Log
from tapetum.core.tables import Dense, decided
from tapetum.core.targets import Target, decode
from tapetum.core.words import plural, verb
from tapetum.data.images.formats import has_image_name
from tapetum.data.layouts.delimited import read_delimited, sniff, to_delimited
from tapetum.data.layouts.submission_template import Wish, Writing, finite, writing_of


class Written(NamedTuple):
    """A submission's file, how many answers it has, and how many of them were filled in."""

    place: Path
    rows: int
    filled: int


PREDICT_FIRST = "predict the template's images (tapetum predict RUN IMAGES -o predictions.csv) and submit what was written"


@dataclasses.dataclass(frozen=True)
class Template:
    """A template's rows, and which column is what.

    Args:
        frame: its cells as text, in order.
        delimiter: what is between cells.
        header: whether a header line is written back.
        ids: the id column; None where rows go by a stated order.
        row_ids: the predictions' row that each line asks for, in its order; None where there is no such row.
        writing: which columns are filled, and how.
        columns: columns to write.
        matched: how ids were matched, where not letter by letter.
    """

    frame: pl.DataFrame
    delimiter: str
    header: bool
    ids: str | None
    row_ids: tuple[str | None, ...]
    writing: Writing
    columns: tuple[str, ...]
    matched: str = ""


def submit(
    dense: Dense,
    template: Path | str,
    place: Path | str,
    log: Log,
    *,
    fill: str = "none",
    prior: np.ndarray | None = None,
    threshold: float | np.ndarray = 0.5,
    wish: Wish | None = None,
) -> Written:
    """Write a submission.

    Args:
        dense: the answers of the rows that the template asks for, in any order.
        template: a delimited text file.
        place: the file to write, Parquet where it is called so, else delimited text as the template; its folder is made.
        log: receives messages about what was written, in which way, and what was filled in.
        fill: for rows without an answer and ids without a prediction: ``none`` refuses, ``prior`` takes what training rows have most often
            (their shares where probabilities are written, the middle class of an order, a regression's median), else a class (or a number).
        prior: mean truth over the training rows (K,) (a regression: their median), for ``fill = "prior"``.
        threshold: several labels: the probability from which a class counts, where ``dense`` holds no decisions.
        wish: the user's choices for the template.

    Returns:
        ``place``, and how many answers are there.

    Raises:
        DataError: ids missing or extra (the first are named), rows without an answer under ``fill = "none"``, a template that fits no
            way of writing.
        UserError: a ``fill`` that is no class, options that do not suit the template.
    """
    form = read_template(Path(template), dense, wish or Wish())
    lost = _same_ids(form, dense, Path(template).name, fill)
    p, labels = _answers(dense, form.row_ids, threshold)
    without = np.isnan(p).any(axis=1)
    if without.any():
        names = form.frame[form.ids].to_list() if form.ids is not None else list(form.row_ids)
        p[without], labels[without] = _filler(dense.target, fill, prior, [n for n, w in zip(names, without, strict=True) if w], threshold)
    cells = _cells(dense.target, form.writing, p, labels, (wish or Wish()).written)
    columns = (pl.Series(c, cells[i], dtype=pl.String) for i, c in enumerate(form.writing.columns))
    filled = form.frame.with_columns(columns).select(form.columns)
    if Path(place).suffix == ".parquet":
        files.write_parquet(place, filled)
    else:
        files.write_text(place, to_delimited(filled, form.delimiter, header=form.header))
        spreadsheets.warn(place, filled, log)
    _report(form, dense.target, labels, fill, int(without.sum()), lost, Path(place), log)
    return Written(Path(place), len(labels), int(without.sum()))


def _report(form: Template, target: Target, labels: np.ndarray, fill: str, without: int, absent: int, place: Path, log: Log) -> None:
    n = len(labels)
    parts = [f"{plural(absent, 'id')} without a prediction"] if absent else []
    parts += [f"{plural(without - absent, 'row')} without an answer"] if without > absent else []
    log(f"{plural(n, 'answer')} written to {place}: {form.writing.why}")
    if parts:
        log(f"warning: {' and '.join(parts)} filled with {fill!r}")
    if form.matched:
        log(f"warning: {form.matched}")
    none = int((labels.sum(axis=1) == 0).sum()) if target.kind == "multi" else 0
    if none == n and n:
        log(
            f"warning: no label for any of the {plural(n, 'row')}: every answer is blank; "
            "lower thresholds give some (decide.steps = ['thresholds'])"
        )
    elif none:
        log(f"warning: {none} of {plural(n, 'row')} {verb(none, 'has', 'have')} no label")


def read_template(path: Path, dense: Dense, wish: Wish) -> Template:
    """Find out which columns of a template hold ids and answers, and how answers are written.

    Raises:
        UserError: options that do not suit it; a first line that may be one more id.
        DataError: no column holds the ids; it fits no way of writing.
    """
    raw, delimiter = read_delimited(path, _numbered(path))
    first = [cell or "" for cell in raw.row(0)]
    if wish.order is not None:
        return _by_order(raw, delimiter, first, wish.order, dense.target, wish, path)
    if wish.ids is None and (found := _without_header(raw, first, dense, path)) is not None:
        ids, row_of, matched = found
        if ids == raw.columns[-1]:  # nothing but ids: the answers are alone
            raw = raw.with_columns(pl.lit(None, pl.String).alias("answer"))
            columns: tuple[str, ...] = ("answer",)
        else:
            columns = tuple(raw.columns)
        last = raw.columns[-1]
        writing = writing_of(raw, [last], dense.target, dataclasses.replace(wish, column=None), path.name)
        return Template(raw, delimiter, False, ids, _rows(raw, ids, row_of), writing, columns, matched)
    frame = read_delimited(path)[0]
    ids, row_of, matched = _id_column(frame, dense, wish.ids, path)
    _refuse_id_as_header(ids, frame[ids].to_list(), path)
    writing = writing_of(frame, [c for c in frame.columns if c != ids], dense.target, wish, path.name)
    return Template(frame, delimiter, True, ids, _rows(frame, ids, row_of), writing, tuple(frame.columns), matched)


def _without_header(raw: pl.DataFrame, first: list[str], dense: Dense, path: Path) -> tuple[str, dict[str, str], str] | None:
    """Return the column of ids where the first line is no header: it names an image in that very column; else None.

    A class that is called as an image is (``0``, ``1``) may be in a header, above other columns.
    """
    known = set(dense.row_ids.tolist())
    if not any(cell in known or has_image_name(cell) for cell in first):
        return None
    ids, row_of, matched = _id_column(raw, dense, None, path)
    cell = first[raw.columns.index(ids)]
    return (ids, row_of, matched) if cell in row_of or has_image_name(cell) else None


def _rows(frame: pl.DataFrame, ids: str, row_of: Mapping[str, str]) -> tuple[str | None, ...]:
    return tuple(row_of.get(cell) for cell in frame[ids].to_list())


def _numbered(path: Path) -> list[str]:
    """Return names for the columns of a file that may have no header."""
    text = path.read_text(encoding="utf-8-sig", errors="replace") if path.is_file() else ""
    first = text.lstrip("\r\n").split("\n", 1)[0]
    return [f"column_{i + 1}" for i in range("".join(first.split('"')[::2]).count(sniff(text)) + 1)]


def _by_order(
    raw: pl.DataFrame, delimiter: str, first: list[str], order: Sequence[str], target: Target, wish: Wish, path: Path
) -> Template:
    if len(raw.columns) != 1:
        raise UserError(f"{path.name} has {plural(len(raw.columns), 'column')}", need="one, where rows go by a stated order")
    header = len(raw) == len(order) + 1  # a header above
    frame = raw[1:].rename({"column_1": first[0]}) if header else raw
    if len(frame) != len(order):
        raise DataError(f"{path.name} has {plural(len(frame), 'row')}", need=f"{len(order)}, as the stated order has")
    writing = writing_of(frame, frame.columns, target, wish, path.name)
    return Template(frame, delimiter, header, None, tuple(order), writing, tuple(frame.columns))


def _id_column(frame: pl.DataFrame, dense: Dense, declared: str | None, path: Path) -> tuple[str, dict[str, str], str]:
    """Return the column of ids, its text → row id, and what to log where they are matched by file name."""
    if declared is not None and declared not in frame.columns:
        raise UserError(f"{path.name} has no column {declared!r} (it has: {listed(frame.columns)}).{nearest(declared, frame.columns)}")
    found = {name: match(frame[name].to_list(), dense.row_ids.tolist()) for name in ([declared] if declared else frame.columns)}
    # A column of labels may hold the names of some ids, too: ids stand once each, or most of the lines have one.
    sure = [n for n in found if found[n].of and (frame[n].n_unique() == len(frame) or 2 * len(found[n].of) >= len(frame))]
    best = max(sure or found, key=lambda name: len(found[name].of))
    if not (found[best].of if declared else sure):
        beside = None if declared else _with_ids_beside(path, len(frame), dense)
        raise DataError(
            f"no column of {path.name} ({listed(frame.columns)}) holds an id of the predictions ({listed(sorted(dense.row_ids), 3)})",
            need="the template of these test rows",
            fix=f"{beside.name} beside it names them, line by line: --template {beside}" if beside else PREDICT_FIRST,
        )
    return best, found[best].of, f"{path.name}: {found[best].text()}" if found[best].how else ""


def _with_ids_beside(path: Path, lines: int, dense: Dense) -> Path | None:
    """Return a file beside a template of answers alone whose lines, as many as its, name the predicted rows; None where there is none."""
    ids = set(dense.row_ids.tolist())
    for other in sorted(path.parent.glob(f"*{path.suffix}")):
        if other == path or not other.is_file():
            continue
        try:
            frame, _ = read_delimited(other, _numbered(other))
        except DataError:
            continue
        if len(frame) in (lines, lines + 1) and any(ids.issuperset(frame[name].to_list()[-lines:]) for name in frame.columns):
            return other
    return None


def _refuse_id_as_header(name: str, ids: Sequence[str | None], path: Path) -> None:
    """Refuse a file whose first line may be one more id: its shape is that of the ids."""

    def shape(text: str) -> str:
        return re.sub(r"[A-Za-z]+", "a", re.sub(r"\d+", "9", text))

    if "9" in shape(name) and shape(name) in {shape(i) for i in ids[:50] if i}:
        raise UserError(
            f"{path.name} begins with {name!r}, which looks like one of its ids",
            need="a header line, or predictions for every id",
            fix="predict that row too, or name the id column with --id",
        )


def _same_ids(form: Template, dense: Dense, name: str, fill: str) -> int:
    """Refuse a template whose ids are not those of the predictions; return how many lack a prediction and are to be filled in."""
    asked = form.frame[form.ids].to_list() if form.ids is not None else list(form.row_ids)
    doubled = sorted(str(i) for i, n in Counter(asked).items() if n > 1)
    if doubled or None in asked:
        raise DataError(f"{name} has ids that are blank or doubled: {listed(doubled or ['blank'])}", need="each id once")
    given, wanted = set(dense.row_ids.tolist()), set(form.row_ids)
    missing = [text for text, row_id in zip(asked, form.row_ids, strict=True) if row_id not in given]
    extra = [row_id for row_id in dense.row_ids.tolist() if row_id not in wanted]
    parts = (
        [f"{plural(len(missing), 'id')} of it {verb(len(missing), 'has', 'have')} no prediction: {listed(missing)}"]
        if missing and fill == "none"
        else []
    )
    parts += [f"{plural(len(extra), 'predicted id is', 'predicted ids are')} not in it: {listed(extra)}"] if extra else []
    if parts:
        fixes = [PREDICT_FIRST] + (["fill them in: --fill prior, or --fill CLASS"] if missing else [])
        what = f"{name} and the predictions differ ({'; '.join(parts)})"
        raise DataError(what, need="the same ids", fix=", or ".join(fixes))
    return len(missing)


def _answers(dense: Dense, row_ids: Sequence[str | None], threshold: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and decided labels (N, K) in the template's order; NaN rows where there is no answer."""
    place = {row_id: i for i, row_id in enumerate(dense.row_ids.tolist())}
    at = np.array([place.get(row_id, -1) if row_id is not None else -1 for row_id in row_ids], dtype=np.int64)
    labels = decided(dense)
    if dense.target.kind == "multi" and dense.answer is None:
        labels = np.where(np.isnan(labels), np.nan, dense.p >= threshold)
    nothing = (at < 0) | ~dense.ok[at]
    p, labels = dense.p[at].astype(np.float64), labels[at].astype(np.float64)
    p[nothing], labels[nothing] = np.nan, np.nan
    return p, labels


def _cells(target: Target, writing: Writing, p: np.ndarray, labels: np.ndarray, written: Mapping[str, str]) -> list[list[str]]:
    """Return the texts of each column to fill."""
    if writing.way == "number":
        return [[f"{value:.7g}" for value in p[:, 0]]]
    if writing.way == "labels":
        found = decode(target, labels)
        several = target.kind == "multi"
        return [[writing.separator.join(written.get(c, c) for c in one) if several else written.get(one, one) for one in found]]
    if writing.way == "zero-one":
        return [[f"{value:.0f}" for value in labels[:, k]] for k in writing.classes]
    return [[f"{value:.7g}" for value in p[:, k]] for k in writing.classes]


def _filler(
    target: Target, fill: str, prior: np.ndarray | None, lost: Sequence[str | None], threshold: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and decided labels (K,) for rows that have none."""
    if fill == "none":
        raise DataError(
            f"{plural(len(lost), 'row has', 'rows have')} no prediction: {listed(lost)}",
            fix="repair the images, or fill them in: --fill prior, or --fill CLASS",
        )
    if fill == "prior":
        if prior is None or len(prior) != target.width or np.isnan(prior).any():
            raise UserError("--fill prior needs the classes' shares in the training rows", fix="submit from the run, or use --fill CLASS")
        p = np.asarray(prior, dtype=np.float64)
        most = np.eye(target.width)[int(p.argmax())]
        if target.kind == "multi":
            often = (p >= threshold).astype(np.float64)
            return p, often if often.any() else most
        middle = prior_decision(target, p[None])
        return p, most if middle is None else middle[0]
    if target.kind == "regression":
        value = finite(fill)
        if value is None:
            raise UserError(f"--fill {fill!r} is no finite number", need=f"none, prior or a number for {target.name!r}")
        return np.array([value]), np.ones(1)
    if fill not in target.classes:
        raise UserError(
            f"--fill {fill!r} is none of the classes of {target.name!r} ({listed(target.classes)}).{nearest(fill, target.classes)}",
            need="none, prior or a class",
        )
    one = np.eye(target.width)[target.classes.index(fill)]
    return one, one
