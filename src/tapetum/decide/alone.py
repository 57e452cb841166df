"""Predictions from a CSV file alone, with no manifest beside it: what `predict -o` writes, or ``id, p_<class>…`` of any framework."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from tapetum.core.errors import DataError, listed, nearest
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.decide.elsewhere import (
    IDS,
    SUM_TOLERANCE,
    answer_column,
    check_ids,
    check_values,
    columns_in_order,
    numbers,
    read_table,
    status_of,
)

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
    y, fold = np.full_like(p, np.nan), np.full(len(row_ids), -1, dtype=np.int16)
    answer = answer_column(table, kind, row_ids)
    stated = np.where(ok, "ok", "missing").astype(object) if status is None else status
    return Predictions.from_dense(Dense(kind, np.array(row_ids, dtype=object), p, y, fold, stated, answer), role="test")
