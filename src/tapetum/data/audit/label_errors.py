"""Which labels are probably wrong: confident learning on out-of-fold probabilities, and the labels of the nearest neighbours.

About half of what is flagged is wrong indeed, so rows are ranked and shown, never changed (Northcutt et al. 2021, arXiv 1911.00068).
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense
from tapetum.core.targets import decode
from tapetum.core.words import plural
from tapetum.data.audit.neighbours import nearest

FILTER = "prune_by_class"  # of cleanlab: finds more of few than its default does
NEIGHBOURS = 10  # and no more than a class of usual size has beside the row itself
FEWEST = 3
WEIGHT = 0.25  # of the neighbours beside the probabilities; at a half the ranking of planted errors became worse (bench/audit.py)
DISAGREE = 0.9  # share of neighbours with another label from which a row is flagged, where the model does not believe its label either


@dataclasses.dataclass(frozen=True)
class Suspects:
    """What speaks against each label; rows without an out-of-fold answer or a truth have NaN and no flag.

    Args:
        flagged: (N,) bool.
        suspicion: (N,) 0…1: one less the probability of the label (several labels: of the worst one), with a quarter of ``disagreement``.
        disagreement: (N,) share of the nearest rows that have another label; NaN without vectors.
        suggested: (N,) lists of class names that the model would answer; empty: none of several classes, None: it was not asked.
    """

    flagged: np.ndarray
    suspicion: np.ndarray
    disagreement: np.ndarray
    suggested: list[list[str] | None]


def find_suspects(dense: Dense, *, vectors: np.ndarray | None = None, neighbours: int = NEIGHBOURS) -> Suspects:
    """Return what speaks against the labels of a target.

    Args:
        dense: out-of-fold probabilities and truth; predictions of rows that the model trained on find nothing.
        vectors: (N, D) features in the rows' order; rows of NaN have none.
        neighbours: how many nearest rows are asked, by cosine.

    Raises:
        UserError: a regression target.
        DataError: no row with both an answer and a truth, or vectors of another length.
    """
    if dense.target.kind == "regression":
        raise UserError(f"target {dense.target.name!r} is a number", need="a target with classes to find wrong labels")
    rows = np.flatnonzero(dense.scorable)
    if not len(rows):
        raise DataError(
            f"no row has both an out-of-fold prediction and a label of {dense.target.name!r}", fix="train first, then audit the run"
        )
    if vectors is not None and len(vectors) != len(dense.row_ids):
        raise DataError(f"{plural(len(vectors), 'vector')} for {plural(len(dense.row_ids), 'row')}", need="one a row, in their order")
    part = dense.where(rows)
    p, y = part.p.astype(np.float64), part.y > 0.5
    multi = dense.target.kind == "multi"
    flagged = np.zeros(len(dense.row_ids), dtype=bool)
    suspicion, disagreement = np.full((2, len(dense.row_ids)), np.nan)
    flagged[rows] = _confident_learning(p, y, multi)
    suspicion[rows] = 1 - (np.where(y, p, 1 - p).min(axis=1) if multi else p[y])
    suggested: list[list[str] | None] = [None] * len(dense.row_ids)
    for row, answer in zip(rows.tolist(), decode(part.target, part.p), strict=True):
        suggested[row] = [str(name) for name in answer] if isinstance(answer, (list, tuple)) else [str(answer)]
    if vectors is not None:
        usual = int(np.median(y.sum(axis=0)[y.any(axis=0)])) - 1
        disagreement[rows] = _disagreement(vectors[rows], y, min(neighbours, max(usual, FEWEST)))
        known = ~np.isnan(disagreement)
        differs = np.zeros(len(suspicion), dtype=bool)
        differs[rows] = ((p >= 0.5) != y).any(axis=1) if multi else ~y[np.arange(len(y)), p.argmax(axis=1)]
        flagged |= known & differs & (np.nan_to_num(disagreement) >= DISAGREE)
        suspicion[known] = (1 - WEIGHT) * suspicion[known] + WEIGHT * disagreement[known]
    return Suspects(flagged, suspicion, disagreement, suggested)


def _confident_learning(p: np.ndarray, y: np.ndarray, multi: bool) -> np.ndarray:
    """Return which rows (N,) are flagged; classes that no row has are left out of the matter."""
    from cleanlab.filter import find_label_issues

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if multi:
            used = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0))
            labels = [np.flatnonzero(row).tolist() for row in y[:, used]]
            return np.asarray(
                find_label_issues(labels, np.clip(p[:, used], 1e-6, 1 - 1e-6), multi_label=True, filter_by=FILTER, n_jobs=1), dtype=bool
            )
        used = np.flatnonzero(y.any(axis=0))
        if len(used) < 2:
            return np.zeros(len(y), dtype=bool)
        seen = np.clip(p[:, used], 1e-6, None)
        return np.asarray(
            find_label_issues(y[:, used].argmax(axis=1), seen / seen.sum(axis=1, keepdims=True), filter_by=FILTER, n_jobs=1), dtype=bool
        )


def _disagreement(vectors: np.ndarray, y: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the share (N,) of each row's nearest rows whose labels differ; NaN for rows without a vector."""
    out = np.full(len(vectors), np.nan)
    known, others, _ = nearest(vectors, neighbours)
    if others.size:
        out[known] = (y[others] != y[known][:, None]).any(axis=2).mean(axis=1)
    return out
