"""How good answers are to labels that a program holds: one number a target, as scikit-learn's ``score`` gives it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from tapetum.core import metrics
from tapetum.core.errors import DataError, KindError, UserError, listed, nearest
from tapetum.core.labels import labels_of
from tapetum.core.tables import Dense
from tapetum.core.targets import Target, encode
from tapetum.core.words import plural, verb

DEFAULT = {"single": "accuracy", "ordinal": "accuracy", "multi": "macro_f1", "regression": "r2"}  # the greater the better, all of them


def score_of(answered: Mapping[str, Dense], labels: Any, metric: str | None = None) -> Any:
    """Return the score of answers.

    Args:
        answered: target → answers.
        labels: the truth of each row in their order, as :func:`truth_of` takes it; of several targets a dict of target → labels.
        metric: of :data:`tapetum.core.metrics.METRICS`; None: :data:`DEFAULT`.

    Returns:
        The score, or a dict of scores where ``labels`` is one; None where it is not defined.

    Raises:
        UserError: another number of labels than rows, or an unknown target or metric.
        DataError: a class that the target does not have, or a row without an answer: leaving it out would flatter the score.
    """
    if not isinstance(labels, Mapping):
        if len(answered) > 1:
            raise UserError(f"one list of labels was given for the targets {listed(answered)}", need="a dict of target → labels")
        return score_of(answered, dict.fromkeys(answered, labels), metric)[next(iter(answered))]
    scores = {}
    for name, truth in labels.items():
        if name not in answered:
            raise UserError(f"there is no target {name!r} (there are: {listed(answered)}).{nearest(name, answered)}")
        dense = answered[name]
        y = truth_of(dense.target, truth)
        if len(y) != len(dense.row_ids):
            raise UserError(
                f"{plural(len(y), 'label')} of {name!r} {verb(len(y), 'was', 'were')} given for {plural(len(dense.row_ids), 'image')}",
                need="one for each",
            )
        if not dense.ok.all():
            lost = np.flatnonzero(~dense.ok).tolist()
            raise DataError(
                f"{len(lost)} of {plural(len(y), 'image')} cannot be read: numbers {listed(lost)}", fix="leave them out of both lists"
            )
        scores[name] = metrics.score(metric or DEFAULT[dense.target.kind], dense.target, dense.p, y, answer=dense.answer)
    return scores


def truth_of(target: Target, labels: Any) -> np.ndarray:
    """Return the truth (N, K) float32 of labels as a program holds them; NaN rows where a label is unknown.

    Args:
        target: with its classes.
        labels: one for each row: a name or a number, a list of names where there may be several; or an array or a frame (N, K) of 0 and 1,
            columns in the order of the classes.

    Raises:
        KindError: something without an order, or no list at all.
        UserError: an array of another shape, or a list that names a label twice (0 and 1 by class, most likely).
        DataError: a class that the target does not have, or no finite number.
    """
    if isinstance(labels, (Set, Mapping)) or not isinstance(labels, Iterable):
        raise KindError(
            f"labels of {target.name!r} are a {type(labels).__name__}", need="a list, an array or a column, in the order of the images"
        )
    if getattr(labels, "ndim", 1) == 2 or len(getattr(labels, "shape", ())) == 2:
        matrix = np.asarray(labels)
        if matrix.shape[1] != 1 or (target.kind == "multi" and target.width == 1):
            return _by_class(target, matrix)
        labels = matrix[:, 0]
    cells = [_cell(cell, target, row) for row, cell in enumerate(_listed(labels))]
    if target.kind == "regression":
        odd = [row for row, cell in enumerate(cells) if cell is not None and not (isinstance(cell, float) and math.isfinite(cell))]
        if odd:
            raise DataError(f"row {odd[0]} has {target.name} = {cells[odd[0]]!r}", need="a finite number, or None where it is unknown")
    for row, cell in enumerate(cells if target.kind == "multi" else ()):
        if cell is not None and len(set(cell)) < len(cell):
            raise UserError(
                f"row {row} names a label of {target.name!r} twice: {listed(cell)}",
                need=f"a list of labels, each once, or an array (N, {target.width}) of 0 and 1 in the order of the classes",
            )
    return encode(target, cells)


def _by_class(target: Target, matrix: np.ndarray) -> np.ndarray:
    """Return truth that is given as 0 and 1 for each class; rows of NaN are unknown."""
    need = f"(N, {target.width}) of 0 and 1, columns in the order of the classes ({listed(target.classes)})"
    if target.kind == "regression" or matrix.shape[1] != target.width or matrix.dtype.kind not in "biuf":
        shape = "x".join(map(str, matrix.shape))
        need = "one number a row" if target.kind == "regression" else f"one label a row, or {need}"
        raise UserError(f"labels of {target.name!r} are an array of {matrix.dtype} of shape {shape}", need=need)
    y = matrix.astype(np.float32)
    known = ~np.isnan(y).all(axis=1)
    odd = ~np.isin(y, (0, 1)).all(axis=1) if target.kind == "multi" else ~(np.isin(y, (0, 1)).all(axis=1) & (y.sum(axis=1) == 1))
    if (odd & known).any():
        row = int(np.flatnonzero(odd & known)[0])
        raise UserError(f"row {row} has {target.name} = {y[row].tolist()}", need=need + ("" if target.kind == "multi" else ", one 1 a row"))
    return y


def _listed(truth: Any) -> list[Any]:
    """Return labels as a list of Python values: of a list, an array, a polars or a pandas column."""
    if isinstance(truth, str):
        return [truth]
    for method in ("to_list", "tolist"):
        if hasattr(truth, method):
            found = getattr(truth, method)()
            return list(found) if isinstance(found, list) else [found]
    return list(truth)


def _cell(cell: Any, target: Target, row: int) -> Any:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)) or type(cell).__name__ in ("NAType", "NaTType"):
        return None
    if target.kind == "regression":
        try:
            return float(cell)
        except (TypeError, ValueError):
            return cell
    if target.kind == "multi":
        if isinstance(cell, str):
            return labels_of(target, cell, row)
        return [_named(one, target) for one in (cell if isinstance(cell, Iterable) else [cell])]
    return _named(cell, target)


def _named(cell: Any, target: Target) -> str:
    """Return the name of a class; a float that is a whole number may be the class of that number, as pandas gives it beside blanks."""
    text = str(cell)
    return str(int(cell)) if text not in target.classes and isinstance(cell, float) and cell.is_integer() else text
