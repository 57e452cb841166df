"""The columns of a Predictions table and what they may hold; list columns to matrices and back.

``answer`` holds decided labels: what thresholds, a vote or context made of ``p``. It is null where no step decided, and in tables that were
written before the column was; the largest p, or p ≥ ½ for several labels, then decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tapetum.core.errors import DataError, listed
from tapetum.core.targets import Target
from tapetum.core.words import plural

ROLES = ("oof", "test")
STATUSES = ("ok", "missing", "uncovered")
SOURCES = ("head", "product", "decoded", "blend")
KEY = ("row_id", "target", "member", "source", "checkpoint", "draw", "fold")
_CHECKED = 1 << 18  # rows whose values are checked at a time

PREDICTIONS_SCHEMA: dict[str, Any] = {
    "row_id": pl.String,
    "target": pl.String,
    "member": pl.String,
    "source": pl.String,
    "checkpoint": pl.String,
    "draw": pl.Int16,
    "fold": pl.Int16,
    "p": pl.List(pl.Float32),
    "y": pl.List(pl.Float32),
    "answer": pl.List(pl.Float32),
    "role": pl.String,
    "status": pl.String,
}


def check_predictions(frame: pl.DataFrame, targets: Sequence[Target]) -> None:
    """Refuse a table that breaks the format: nulls or doubles in the key, wrong widths, NaN, sums off, p against status.

    Raises:
        DataError: names the first row that is wrong.
    """
    nulls = [name for name in (*KEY, "role", "status") if frame[name].null_count()]
    if nulls:
        raise DataError(f"predictions have nulls in {listed(nulls)}", need="a value in every row")
    differing = [name for name in KEY if name == "row_id" or (len(frame) and frame[name].n_unique() > 1)]
    if frame.select(differing).n_unique() < len(frame):
        doubled = frame.select(KEY).is_duplicated()
        row = frame.filter(doubled).row(0, named=True)
        raise DataError(f"row {row['row_id']!r} of target {row['target']!r}, member {row['member']!r} occurs twice", need="each key once")
    for name, allowed in (("role", ROLES), ("status", STATUSES), ("source", SOURCES)):
        odd = frame.filter(~pl.col(name).is_in(allowed))
        if len(odd):
            raise DataError(f"row {odd['row_id'][0]!r} has {name} = {odd[name][0]!r}", need=f"one of {listed(allowed)}")
    wrong = frame.filter((pl.col("status") == "ok") == pl.col("p").is_null())
    if len(wrong):
        raise DataError(
            f"row {wrong['row_id'][0]!r} has status {wrong['status'][0]!r} and p {'null' if wrong['p'][0] is None else 'set'}",
            need="p exactly where status is ok",
        )
    if frame["answer"].null_count() < len(frame):
        early = frame.filter(pl.col("answer").is_not_null() & (pl.col("status") != "ok"))
        if len(early):
            raise DataError(
                f"row {early['row_id'][0]!r} has status {early['status'][0]!r} and an answer", need="an answer only where status is ok"
            )
    known = {t.name: t for t in targets}
    names = frame["target"].unique().to_list()
    for name in names:
        if name not in known:
            raise DataError(f"predictions name target {name!r}, whose classes are not stated (stated: {listed(known)})")
    for name in names:
        part = frame if len(names) == 1 else frame.filter(pl.col("target") == name)
        for start in range(0, len(part), _CHECKED):
            _check_values(part.slice(start, _CHECKED), known[name])


def with_answer(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with the column ``answer``; null where the table was written before the column was."""
    return frame if "answer" in frame.columns else frame.with_columns(pl.lit(None, PREDICTIONS_SCHEMA["answer"]).alias("answer"))


def _check_values(frame: pl.DataFrame, target: Target) -> None:
    for column in ("p", "y", "answer"):
        lacking = frame[column].null_count()
        if lacking == len(frame):
            continue
        part = frame.filter(pl.col(column).is_not_null()) if lacking else frame
        bad = part.filter(pl.col(column).list.len() != target.width)
        if len(bad):
            raise DataError(
                f"row {bad['row_id'][0]!r} has {plural(len(bad[column][0]), 'value')} in {column} for target {target.name!r}",
                need=f"{target.width}",
            )
        values = matrix(part[column], target.width)
        if column == "answer":
            _check_answers(values, part["row_id"], target)
            continue
        if _sound(values, target):
            continue
        wrong = ~np.isfinite(values).all(axis=1)
        need = "finite numbers"
        if target.kind != "regression" and not wrong.any():
            wrong, need = ((values < -1e-6) | (values > 1 + 1e-6)).any(axis=1), "numbers from 0 to 1"
        if target.is_distribution and not wrong.any():
            wrong, need = np.abs(values.sum(axis=1, dtype=np.float64) - 1) > 1e-3, "numbers that sum to 1"
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(f"row {part['row_id'][row]!r} of target {target.name!r} has {column} = {values[row].tolist()}", need=need)


def _check_answers(values: np.ndarray, row_ids: pl.Series, target: Target) -> None:
    """Refuse decided labels (n, K) that are no decision: other numbers than 0 and 1, one label that is none or two, a regression's."""
    if target.kind == "regression":
        raise DataError(f"row {row_ids[0]!r} of target {target.name!r}, a regression, has an answer", need="p alone, which is the number")
    right, need = ((values == 0) | (values == 1)).all(axis=1), "0 or 1 for each class"
    if target.is_distribution and right.all():
        right, need = values.sum(axis=1) == 1, "1 for one class, 0 for the others"
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        raise DataError(f"row {row_ids[row]!r} of target {target.name!r} has answer = {values[row].tolist()}", need=need)


def _sound(values: np.ndarray, target: Target) -> bool:
    """Return whether all values are as they must be; the quick test before the row that is wrong is looked for."""
    if not values.size:
        return True
    low, high = float(values.min()), float(values.max())
    if target.kind == "regression":
        return bool(np.isfinite(low) and np.isfinite(high))
    within = low >= -1e-6 and high <= 1 + 1e-6  # NaN is not
    return within and (not target.is_distribution or bool((np.abs(values.sum(axis=1) - 1) <= 9e-4).all()))


def matrix(lists: pl.Series, width: int) -> np.ndarray:
    """Return (N, width) float32 of a list column; NaN rows for nulls."""
    if not lists.null_count() and len(lists):
        return np.array(lists.explode().to_numpy(), dtype=np.float32).reshape(-1, width)
    out = np.full((len(lists), width), np.nan, dtype=np.float32)
    known = lists.is_not_null().to_numpy()
    if known.any():
        out[known] = lists.drop_nulls().explode().to_numpy().reshape(-1, width)
    return out


def lists(matrix: np.ndarray, shown: np.ndarray) -> pl.Series:
    """Return a list column of a matrix; null where ``shown`` is False."""
    width = matrix.shape[1]
    column = pl.Series(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1)).reshape((len(matrix), width)).arr.to_list()
    return pl.select(pl.when(pl.Series(np.asarray(shown, dtype=bool))).then(column)).to_series()


def shared_texts(column: pl.Series) -> np.ndarray:
    """Return texts (N,) as Python has them, those that are alike as one object: of millions of rows each would be 60 bytes."""
    known = column.drop_nulls().unique()
    if 2 * len(known) > len(column):
        return np.array(column.to_list(), dtype=object)
    names = np.array([*known.to_list(), None], dtype=object)
    return np.asarray(names[column.cast(pl.Enum(known)).to_physical().fill_null(len(known)).to_numpy()])


def statuses(ok: np.ndarray | np.bool, missing: np.ndarray | bool = True) -> np.ndarray:
    """Return the status of each row (N,), alike ones as one object: ``ok``, else ``missing`` where that holds, else ``uncovered``."""
    found = np.where(ok, 0, np.where(missing, 1, 2))
    return np.asarray(np.array(STATUSES, dtype=object)[found])
