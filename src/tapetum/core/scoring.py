"""How good answers are to labels that a program holds: one number a target, as scikit-learn's ``score`` gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tapetum.core import metrics
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.tables import Dense
from tapetum.core.targets import encode

DEFAULT = {"single": "accuracy", "ordinal": "accuracy", "multi": "macro_f1", "regression": "r2"}  # the greater the better, all of them


def score_of(answered: Mapping[str, Dense], labels: Any, metric: str | None = None) -> Any:
    """Return the score of answers.

    Args:
        answered: target → answers.
        labels: the truth of each row in their order; of several targets a dict of target → labels.
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
        cells = [_cell(cell, dense.target.kind) for cell in _listed(truth)]
        if len(cells) != len(dense.row_ids):
            raise UserError(f"{len(cells)} labels of {name!r} were given for {len(dense.row_ids)} images", need="one for each")
        if not dense.ok.all():
            lost = np.flatnonzero(~dense.ok).tolist()
            raise DataError(
                f"{len(lost)} of {len(cells)} images cannot be read: numbers {listed(lost)}", fix="leave them out of both lists"
            )
        y = encode(dense.target, cells)
        scores[name] = metrics.score(metric or DEFAULT[dense.target.kind], dense.target, dense.p, y, answer=dense.answer)
    return scores


def _listed(truth: Iterable[Any]) -> list[Any]:
    """Return labels as a list of Python values: of a list, an array, a polars or a pandas column."""
    for method in ("to_list", "tolist"):
        if hasattr(truth, method):
            return list(getattr(truth, method)())
    return list(truth)


def _cell(cell: Any, kind: str) -> Any:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return None
    if kind == "regression":
        return float(cell)
    if kind == "multi":
        return [str(one) for one in ([cell] if isinstance(cell, str) else cell)]
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
