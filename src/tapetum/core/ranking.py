"""Scores of an order: average precision and the area under the ROC curve, of one class against the rest, for many weightings at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tapetum.core.counts import ScoredRows, ratio

Ranked = Callable[[np.ndarray], np.ndarray]  # weights (…, N) → value (…), NaN where undefined


def ranker(name: str, p: np.ndarray, truth: np.ndarray) -> Ranked:
    """Sort one class once and return the score as a function of row weights.

    Rows with the same p share a threshold, as in scikit-learn.

    Args:
        name: ``average_precision`` or ``roc_auc``.
        p: (N,).
        truth: (N,) bool.
    """
    order = np.argsort(-p, kind="stable")
    positive = truth[order]
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1) if len(p) else np.zeros(0, dtype=np.int64)
    if not len(p) or not positive.any():
        return lambda weight: np.full(weight.shape[:-1], np.nan)
    if name == "average_precision":
        return _average_precision(order, positive, ends)

    def value(weight: np.ndarray) -> np.ndarray:
        ordered = weight[..., order]
        right = np.cumsum(ordered * positive, axis=-1)[..., ends]
        wrong = np.cumsum(ordered * ~positive, axis=-1)[..., ends]
        return _roc_auc(right, wrong)

    return value


def rankers(name: str, kept: ScoredRows) -> list[Ranked]:
    """Return a :func:`ranker` for each class; classes of one answer a row are taken one against the rest."""
    truth = kept.truth if kept.target.kind == "multi" else kept.truth[:, None] == np.arange(kept.target.width)
    return [ranker(name, kept.p[:, c], truth[:, c]) for c in range(kept.target.width)]


def macro(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean over the classes where the score is defined; NaN where there is none."""
    stacked = np.stack(list(values))
    defined = ~np.isnan(stacked)
    return ratio(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0))


def _average_precision(order: np.ndarray, positive: np.ndarray, ends: np.ndarray) -> Ranked:
    """Return the mean precision over steps of recall as a function of row weights.

    Recall steps only where a positive row is, so weights are summed between those thresholds and nothing is kept of the others.

    Args:
        order: rows by falling p (N,).
        positive: of the ordered rows (N,) bool, one or more.
        ends: last place of each threshold in the order (T,).
    """
    of_positive = np.searchsorted(ends, np.flatnonzero(positive))  # threshold of each positive row
    stepping, first = np.unique(of_positive, return_index=True)
    last = ends[stepping]
    rows, until = order[positive], order[: last[-1] + 1]
    starts = np.concatenate([[0], last[:-1] + 1])

    def value(weight: np.ndarray) -> np.ndarray:
        steps = np.add.reduceat(weight[..., rows], first, axis=-1)
        above = np.cumsum(np.add.reduceat(weight[..., until], starts, axis=-1), axis=-1)
        right = np.cumsum(steps, axis=-1)
        return ratio((np.nan_to_num(ratio(right, above)) * steps).sum(axis=-1), right[..., -1])

    return value


def _roc_auc(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return the trapezoid area under right against wrong (…, T), undefined where either is absent."""
    height = right - np.diff(right, axis=-1, prepend=0.0) / 2
    area = (height * np.diff(wrong, axis=-1, prepend=0.0)).sum(axis=-1)
    return ratio(area, right[..., -1] * wrong[..., -1])
