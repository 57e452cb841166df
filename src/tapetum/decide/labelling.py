"""Which images without a label are worth one most: those of which a model is unsure, and which are unlike those chosen before."""

from __future__ import annotations

import numpy as np

from tapetum.core.vectors import unit

COUNT = 500  # images that are chosen with regard to one another; the others follow by uncertainty alone


def uncertainty(p: np.ndarray, kind: str) -> np.ndarray:
    """Return how unsure probabilities (N, K) are (N,), 0…1: the margin of the two most probable classes, taken from 1 (Scheffer 2001).

    Of several labels, the least sure one counts. Rows of NaN stay NaN.

    Args:
        p: probabilities in class order.
        kind: of the target: ``single``, ``ordinal`` or ``multi``.
    """
    if kind == "multi":
        return np.asarray(1 - np.abs(2 * p - 1).min(axis=1))
    if p.shape[1] < 2:
        return np.where(np.isnan(p).any(axis=1), np.nan, 0.0)
    top = np.sort(p, axis=1)
    return np.asarray(1 - (top[:, -1] - top[:, -2]))


def confidence(p: np.ndarray, kind: str) -> np.ndarray:
    """Return the probability of the predicted class (N,); of several labels that of the least sure one. Rows of NaN stay NaN.

    Args:
        p: probabilities (N, K).
        kind: of the target, as for :func:`uncertainty`.
    """
    return np.asarray(np.maximum(p, 1 - p).min(axis=1) if kind == "multi" else p.max(axis=1))


def worth_labelling(unsure: np.ndarray, vectors: np.ndarray, count: int = COUNT, known: np.ndarray | None = None) -> np.ndarray:
    """Return row numbers (N,), those first whose label helps most.

    Each next row has the largest product of its uncertainty and its distance from the rows chosen before: the farthest point of the core
    set method (Sener & Savarese 2018), weighted. Uncertainty alone would choose many images that show the same.

    Args:
        unsure: (N,) uncertainty; NaN comes last.
        vectors: (N, D) features; rows of NaN are at distance 1 from all others.
        count: rows that are chosen so; the others follow by uncertainty.
        known: (M, D) features of images that have a label; they count as chosen.
    """
    unsure = np.where(np.isnan(unsure), -1.0, unsure)
    directions = unit(vectors).astype(np.float32)
    far = np.full(len(directions), 2.0)
    for one in unit(known).astype(np.float32) if known is not None else ():
        far = np.minimum(far, _distance(directions, one))
    chosen: list[int] = []
    left = unsure >= 0
    while len(chosen) < count and left.any():
        row = int(np.argmax(np.where(left, (unsure + 1e-6) * far, -1.0)))
        chosen.append(row)
        left[row] = False
        far = np.minimum(far, _distance(directions, directions[row]))
    rest = np.setdiff1d(np.arange(len(unsure)), chosen)
    return np.concatenate([np.array(chosen, dtype=np.int64), rest[np.argsort(-unsure[rest], kind="stable")]])


def _distance(directions: np.ndarray, one: np.ndarray) -> np.ndarray:
    found = np.sqrt(np.maximum(2 - 2 * (directions @ one), 0))
    return np.where(np.isnan(found), 1.0, found)
