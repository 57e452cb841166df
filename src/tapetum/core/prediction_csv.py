"""Predictions from a CSV file alone, with no manifest beside it: what `predict -o` writes, or ``id, p_<class>…`` of any framework.

The checks of cells, ids and class columns serve predictions that are matched with a manifest, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tapetum.core.delimited import read_delimited
from tapetum.core.errors import DataError, listed, nearest
from tapetum.core.labels import answer_of
from tapetum.core.schema import STATUSES, shared_texts, statuses
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.core.words import plural

IDS = ("row_id", "id")
SUM_TOLERANCE = 1e-3
PLAIN = "label"  # name of a target that the file does not name


def read_alone(path: Path | str, target: str | None = None, like: Target | None = None) -> Predictions:
    """Read the predictions of one target; its classes are the columns ``p_<class>`` in their order.

    Rows of probabilities that sum to 1 are a single label, others several; one column of numbers without ``p_`` is a regression.

    Args:
        path: a CSV file.
        target: its name; of a file with several (``<target>_p_<class>``) the one to read. None: the only one.
        like: the target where it is known: its kind and its classes in order are then taken.

    Raises:
        DataError: ids blank or doubled, no column of probabilities, values that are none.
    """
    place, table = str(path), read_table(path)
    target = target or (like.name if like else None)
    column = next((name for name in IDS if name in table.columns), table.columns[0])
    status = status_of(table)
    beside = [name for name in table.columns if name not in (column, "fold", "answer", *(["status"] if status is not None else []))]
    prefix = f"{target}_p_" if target is not None and any(name.startswith(f"{target}_p_") for name in beside) else "p_"
    found = [name for name in beside if name.startswith(prefix)]
    others = [c for c in beside if not c.startswith("p_")]
    name = target or (others[0] if (status is not None and others) or (not found and len(others) == 1) else PLAIN)
    several = sorted({c.rpartition("_p_")[0] for c in beside if "_p_" in c})
    if not found and (name not in beside or (several and target is None)):
        raise DataError(
            f"{path} has no columns p_<class> (it has: {listed(table.columns)})",
            need=f"probabilities, or the target named: --target {listed(several)}" if several else "one for each class",
            fix=nearest(target, several).strip() if target else None,
        )
    row_ids = table[column].to_list()
    check_ids(place, row_ids)
    if like is not None:
        found = columns_in_order(place, like, found or [name], prefix, None)
    ok = np.ones(len(row_ids), dtype=bool) if status is None else status == "ok"
    p = np.full((len(row_ids), max(len(found), 1)), np.nan, dtype=np.float32)
    p[ok] = numbers(place, table.filter(pl.Series(ok)), found or [name], column)
    one = bool((np.abs(p[ok].sum(axis=1, dtype=np.float64) - 1) <= SUM_TOLERANCE).all()) and len(found) > 1
    kind = Target(name, "single" if one else "multi", tuple(c.removeprefix(prefix) for c in found)) if found else Target(name, "regression")
    kind = like or kind
    check_values(place, kind, p[ok], [i for i, known in zip(row_ids, ok, strict=True) if known])
    y, fold = _truth(table, kind, row_ids, place), np.full(len(row_ids), -1, dtype=np.int16)
    answer = answer_column(table, kind, row_ids)
    stated = statuses(ok) if status is None else status
    return Predictions.from_dense(Dense(kind, np.array(row_ids, dtype=object), p, y, fold, stated, answer), role="test")


def _truth(table: pl.DataFrame, target: Target, row_ids: Sequence[str], place: str) -> np.ndarray:
    """Return the truth (N, K) of a table that ``evaluate -o`` wrote, from its column ``<target>_true``; NaN where it tells none."""
    column = f"{target.name}_true"
    y = np.full((len(row_ids), max(len(target.classes), 1)), np.nan, dtype=np.float32)
    if status_of(table) is None or column not in table.columns:
        return y
    known = np.array([bool(cell) for cell in table[column].to_list()])  # a blank cell: no label, or none of several
    some = table.filter(pl.Series(known))
    if target.kind == "regression":
        y[known] = numbers(place, some, [column], table.columns[0])
    else:
        y[known] = answer_of(target, some[column].to_list(), [row for row, is_known in zip(row_ids, known, strict=True) if is_known])
    return y


def read_table(path: Path | str) -> pl.DataFrame:
    """Return a CSV file's cells as text; a spreadsheet's separators and decimal commas are taken."""
    if not Path(path).exists():
        raise DataError(f"{path} does not exist", fix="check the path")
    table, delimiter = read_delimited(Path(path))
    if delimiter == ",":
        return table
    decimal = r"^[-+]?\d*,\d+([eE][-+]?\d+)?$"
    return table.with_columns(
        pl.when(pl.col(name).str.contains(decimal)).then(pl.col(name).str.replace(",", ".", literal=True)).otherwise(pl.col(name))
        for name in table.columns
        if name.startswith("p") or "_p_" in name
    )


def status_of(table: pl.DataFrame) -> np.ndarray | None:
    """Return the status of each row (N,) where the column is one of ours; None where it is absent, or a column of the data's own."""
    if "status" not in table.columns or not set(table["status"].to_list()) <= set(STATUSES):
        return None
    return shared_texts(table["status"])


def answer_column(table: pl.DataFrame, target: Target, row_ids: Sequence[str]) -> np.ndarray | None:
    """Return the decided labels (N, K) of a CSV: its column ``answer``, or beside our ``status`` the one that the target is called."""
    column = "answer" if "answer" in table.columns else target.name if status_of(table) is not None else None
    if target.kind == "regression" or column not in table.columns:
        return None
    return answer_of(target, table[column].to_list(), row_ids)


def check_values(path: str, target: Target, p: np.ndarray, row_ids: Sequence[str]) -> None:
    """Refuse NaN, numbers outside 0 to 1 and sums off 1; the first such row is named.

    Raises:
        DataError: with what to do about logits.
    """
    values = np.asarray(p, dtype=np.float64)
    wrong, need, fix = ~np.isfinite(values).all(axis=1), "finite numbers", "leave rows without an answer out"
    if target.kind != "regression" and not wrong.any():
        wrong, need = ((values < -1e-6) | (values > 1 + 1e-6)).any(axis=1), "probabilities from 0 to 1"
        fix = f"these look like logits: write their {'soft-max' if target.is_distribution else 'sigmoid'}"
    if target.is_distribution and not wrong.any():
        wrong, need = np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE, "probabilities that sum to 1"
        fix = "divide each row by its sum, if that is what they mean; or declare the target multi"
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        shown = listed([f"{v:.4g}" for v in values[row]])
        raise DataError(f"{path}: row {row_ids[row]!r} (and {int(wrong.sum()) - 1} more) has p = {shown}", need=need, fix=fix)


def columns_in_order(path: str, target: Target, found: list[str], prefix: str, classes: Sequence[str] | None) -> list[str]:
    """Return the columns in the target's class order."""
    if target.kind == "regression":
        if len(found) != 1:
            raise DataError(f"{path} has {plural(len(found), 'column')} {prefix}…: {listed(found)}", need=f"one, {prefix}{target.name}")
        return found
    named = [str(c) for c in classes] if classes is not None else [name.removeprefix(prefix) for name in found]
    if len(named) != len(found):
        raise DataError(
            f"{path} has {plural(len(found), 'column')} {prefix}… and {plural(len(named), 'class was', 'classes were')} stated",
            need="one name for each column",
        )
    doubled = sorted({name for name in named if named.count(name) > 1})
    unknown = [name for name in named if name not in target.classes]
    absent = [name for name in target.classes if name not in named]
    if doubled or unknown or absent:
        problems = [f"{what} {listed(names)}" for what, names in (("twice", doubled), ("unknown", unknown), ("absent", absent)) if names]
        raise DataError(
            f"{path} does not have the classes of {target.name!r}: {'; '.join(problems)}",
            need=f"{prefix}<class> for each of {listed(target.classes, 40)}",
            fix="name the columns after the classes, or state their order with --classes",
        )
    return [found[named.index(name)] for name in target.classes]


def numbers(path: str, table: pl.DataFrame, columns: list[str], id: str) -> np.ndarray:
    """Return columns of a CSV as numbers (N, columns); a cell that is none is named by its row."""
    parts = []
    for name in columns:
        try:
            parts.append(table[name].str.strip_chars().cast(pl.Float64).fill_null(float("nan")).to_numpy())
        except pl.exceptions.PolarsError:
            odd = table.filter(pl.col(name).str.strip_chars().cast(pl.Float64, strict=False).is_null() & pl.col(name).is_not_null())
            raise DataError(f"{path}: row {odd[id][0]!r} has {name} = {odd[name][0]!r}", need="a number") from None
    return np.stack(parts, axis=1)


def check_ids(path: str, row_ids: list[str]) -> None:
    """Refuse ids that are blank or doubled."""
    if not row_ids:
        raise DataError(f"{path} has no rows", need="one for each image predicted")
    if any(name is None or name == "" for name in row_ids):
        raise DataError(f"{path} has rows without an id", need="an id in every row")
    if len(set(row_ids)) < len(row_ids):
        seen: set[str] = set()
        doubled = [name for name in row_ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise DataError(f"{path} names {plural(len(doubled), 'row')} twice: {listed(doubled)}", need="each id once")
