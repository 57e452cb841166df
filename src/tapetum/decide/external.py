"""Predictions from elsewhere: probabilities of any framework, read from CSV or ``.npy`` and written as such.

Rows are matched by id with the manifest and columns by class name; what does not match is named and refused, never guessed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tapetum.core import files, table_files
from tapetum.core.arrays import load_array
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.ids import match
from tapetum.core.labels import cells_of
from tapetum.core.prediction_csv import IDS, answer_column, check_ids, check_values, columns_in_order, numbers, read_table, status_of
from tapetum.core.progress import Log
from tapetum.core.tables import FINAL, REDUCED, Dense, Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.decide.steps import Rows, check_folds

PREFIX = "p_"  # of the columns of probabilities


def read_csv(
    path: Path | str,
    manifest: Manifest,
    target: str,
    *,
    member: str = FINAL,
    id: str | None = None,
    classes: Sequence[str] | None = None,
    partial: bool = False,
    log: Log | None = None,
) -> Predictions:
    """Read ``id, p_<class>…`` as the predictions of one target.

    Args:
        path: a CSV file. Columns other than the id, ``fold`` and those of probabilities are left alone.
        manifest: what the ids refer to; truth and folds come from it.
        target: its name. A regression has one column ``p_<target>`` or ``p``.
        member: what to call the predictions.
        id: the id column; by default ``row_id``, ``id`` or the first column.
        classes: the class order of the columns where their names are not class names (``p_0, p_1, …``).
        partial: take predictions that lack rows of a split; those are ``uncovered``.
        log: receives messages about ids that are matched by their file name.

    Raises:
        DataError: ids doubled, absent or unknown to the manifest; classes absent, unknown or doubled; values that are no
            probabilities; a fold column that is not the manifest's. The row or column is named.
    """
    kind = manifest.target(target)
    table = read_table(path)
    column = id or next((name for name in IDS if name in table.columns), table.columns[0])
    if column not in table.columns:
        raise DataError(f"{path} has no column {column!r} (it has: {listed(table.columns)}).{nearest(column, table.columns)}")
    found = [name for name in table.columns if name.startswith(PREFIX) and name != column]
    if kind.kind == "regression" and not found and "p" in table.columns:
        found = ["p"]
    ordered = columns_in_order(str(path), kind, found, PREFIX, classes)
    status = status_of(table)
    if status is not None:  # our own table: rows without an answer are left out and stand as uncovered
        table, partial = table.filter(pl.Series(status == "ok")), True
    p = numbers(str(path), table, ordered, column)
    fold = numbers(str(path), table, ["fold"], column)[:, 0] if "fold" in table.columns else None
    row_ids = table[column].to_list()
    answer = answer_column(table, kind, row_ids)
    return _predictions(_Read(str(path), row_ids, p, fold, answer), manifest, kind, member=member, partial=partial, log=log)


def read_array(
    path: Path | str,
    ids: Path | str | Sequence[str],
    manifest: Manifest,
    target: str,
    *,
    classes: Sequence[str] | None = None,
    member: str = FINAL,
    partial: bool = False,
    log: Log | None = None,
) -> Predictions:
    """Read a ``.npy`` matrix (N, K) with the ids of its rows.

    Args:
        path: the array.
        ids: a text file with one id a line, a CSV whose first column they are, or the ids themselves.
        manifest: see :func:`read_csv`.
        target: its name.
        classes: the order of the columns. An array says nothing about it, so it must be stated (not for a regression).
        member: what to call the predictions.
        partial: see :func:`read_csv`.
        log: see :func:`read_csv`.

    Raises:
        UserError: no class order was stated.
        DataError: see :func:`read_csv`; another shape than ids and classes.
    """
    kind = manifest.target(target)
    p = load_array(path)
    p = p[:, None] if p.ndim == 1 and kind.width == 1 else p
    row_ids = _read_ids(ids) if isinstance(ids, (str, Path)) else [str(name) for name in ids]
    if classes is None and kind.kind != "regression":
        raise UserError(f"{path} does not give the order of its columns", need="the class order", fix=f"--classes {','.join(kind.classes)}")
    if p.ndim != 2 or p.shape != (len(row_ids), kind.width):
        raise DataError(f"{path} has shape {p.shape}", need=f"({len(row_ids)}, {kind.width}): ids × classes of {target!r}")
    if classes is not None and kind.kind != "regression":
        order = columns_in_order(str(path), kind, list(classes), "", None)
        p = p[:, [list(classes).index(name) for name in order]]
    return _predictions(_Read(str(path), row_ids, p), manifest, kind, member=member, partial=partial, log=log)


def write_csv(path: Path | str, dense: Dense, log: Log) -> Path:
    """Write ``id, p_<class>…`` of the rows with an answer; the header carries the class order. ``log`` is told of cells like formulas.

    Where a step decided labels, the column ``answer`` holds them; several are joined by the target's separator.
    """
    ok = np.flatnonzero(dense.ok)
    names = dense.target.classes or (dense.target.name,)
    columns = {"row_id": pl.Series(dense.row_ids[ok].tolist(), dtype=pl.String)}
    columns |= {f"{PREFIX}{name}": pl.Series(dense.p[ok, c]) for c, name in enumerate(names)}
    if dense.answer is not None and dense.target.kind != "regression":
        columns["answer"] = pl.Series(cells_of(dense.target, dense.answer[ok]), dtype=pl.String)
    return table_files.write_matched(path, pl.DataFrame(columns), log)


def write_array(path: Path | str, ids: Path | str, dense: Dense) -> tuple[Path, Path]:
    """Write the rows with an answer as ``.npy`` and their ids as text, one a line; the class order is the target's."""
    ok = np.flatnonzero(dense.ok)
    broken = [name for name in dense.row_ids[ok] if {"\n", "\r"} & set(name) or name != name.strip()]
    if broken:
        raise DataError(
            f"ids hold line ends or outer blanks: {listed(broken)}",
            need="ids without line ends and outer blanks",
            fix="write a CSV instead",
        )
    array = files.write_array(path, dense.p[ok])
    return array, files.write_text(ids, "".join(f"{name}\n" for name in dense.row_ids[ok]))


@dataclasses.dataclass(frozen=True)
class _Read:
    """What a file of predictions holds.

    Args:
        path: of the file, for errors.
        row_ids: one a row.
        p: (N, K).
        fold: (N,), where the file says it.
        answer: decided labels (N, K), where it has any.
    """

    path: str
    row_ids: list[str]
    p: np.ndarray
    fold: np.ndarray | None = None
    answer: np.ndarray | None = None


def _predictions(read: _Read, manifest: Manifest, target: Target, *, member: str, partial: bool, log: Log | None) -> Predictions:
    """Match rows with the manifest and return the table: out-of-fold rows with the manifest's fold, test rows apart."""
    check_ids(read.path, read.row_ids)
    check_values(read.path, target, read.p, read.row_ids)
    where = _places(read, manifest, log)
    split = manifest.split
    lacking = np.setdiff1d(np.flatnonzero(np.isin(split, np.unique(split[where]))), where)
    if len(lacking) and not partial:
        names = [manifest.row_ids[i] for i in lacking]
        raise DataError(
            f"{read.path} lacks {len(lacking)} of {plural(len(lacking) + len(where), 'row')}: {listed(names)}",
            need="every row of a split that it predicts",
            fix="predict them, or give a .csv with the ids that there are: the others are then uncovered",
        )
    values = np.full((len(manifest), target.width), np.nan, dtype=np.float32)
    values[where] = read.p
    labels = None if read.answer is None else np.full_like(values, np.nan)
    if labels is not None:
        labels[where] = read.answer
    status = np.full(len(manifest), "uncovered", dtype=object)
    status[where] = "ok"
    folds, ids = _folds(read, manifest, where), np.array(manifest.row_ids, dtype=object)
    table = Dense(target, ids, values, manifest.truth(target.name), folds, status, labels)
    every = np.sort(np.concatenate([where, lacking]))
    oof, test = every[split[every] != "test"], every[split[every] == "test"]
    hashed = manifest.content_hash()
    parts = [Predictions.from_dense(table.where(oof), member=member, role="oof", manifest_hash=hashed)] if len(oof) else []
    parts += [Predictions.from_dense(table.where(test), member=member, role="test", manifest_hash=hashed)] if len(test) else []
    return Predictions.concat(parts)


def _places(read: _Read, manifest: Manifest, log: Log | None) -> np.ndarray:
    """Return the manifest's row of each row of a file (N,)."""
    place = {name: i for i, name in enumerate(manifest.row_ids)}
    matched = match(read.row_ids, manifest.row_ids)
    row_ids = [matched.of.get(name, name) for name in read.row_ids]
    if log is not None and matched.how:
        log(f"{read.path}: {matched.text()}")
    unknown = [name for name in row_ids if name not in place]
    if unknown:
        raise DataError(
            f"{read.path}: {plural(len(unknown), 'row is', 'rows are')} not in the manifest: "
            f"{listed(unknown)}.{nearest(unknown[0], place)}",
            need="ids of the manifest",
            fix="call the id column row_id, or remove these rows",
        )
    return np.array([place[name] for name in row_ids], dtype=np.int64)


def _folds(read: _Read, manifest: Manifest, where: np.ndarray) -> np.ndarray:
    """Return the fold that held each row of the manifest out; where none are drawn yet, the file's."""
    split = manifest.split
    folds = np.where(split == "train", manifest.fold, REDUCED).astype(np.int16)
    if read.fold is None:
        return folds
    names = [manifest.row_ids[i] for i in where]
    _check_fold(read.path, names, np.asarray(read.fold), folds[where])
    if (folds[split == "train"] < 0).all():
        folds[where] = np.where(split[where] == "train", np.nan_to_num(read.fold, nan=-1), REDUCED).astype(np.int16)
        check_folds(Rows(manifest.groups, folds))
    return folds


def _check_fold(path: str, row_ids: list[str], given: np.ndarray, drawn: np.ndarray) -> None:
    """Refuse predictions made under other folds: a model may then have seen rows that decisions hold out."""
    apart = np.flatnonzero((drawn >= 0) & (given != drawn))
    if len(apart):
        names = [row_ids[i] for i in apart]
        raise DataError(
            f"{path}: {plural(len(apart), 'row has', 'rows have')} another fold than in the manifest: {listed(names)}",
            need="predictions made under the manifest's folds, else weights and thresholds leak",
            fix="hand the folds to the split: tapetum split DATA --set data.fold=COLUMN, or predict again under these",
        )


def _read_ids(path: Path | str) -> list[str]:
    if str(path).endswith(".csv"):
        return read_table(path).to_series(0).to_list()
    return [line.strip() for line in files.read_lines(path) if line.strip()]
