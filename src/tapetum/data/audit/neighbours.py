"""Nearest rows by their feature vectors, and rows that have none near."""

from __future__ import annotations

import numpy as np

from tapetum.core.vectors import unit

NEAREST = 5  # neighbours whose similarity tells how alone a row is
ALONE = 6.0  # robust standard deviations above the median from which a row is an outlier
_BLOCK = 1000


def nearest(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest rows of each row by cosine.

    Args:
        vectors: (N, D); rows of NaN have no neighbours and are none.
        count: how many.

    Returns:
        The rows (M,) that have vectors, their nearest rows (M, count) as row numbers, and the cosines (M, count); fewer columns where
        there are fewer rows.
    """
    known = np.flatnonzero(~np.isnan(vectors).any(axis=1))
    directions = unit(vectors[known])
    count = max(min(count, len(known) - 1), 0)
    rows, cosines = np.empty((len(known), count), dtype=np.int64), np.empty((len(known), count))
    for start in range(0, len(known) if count else 0, _BLOCK):
        part = np.arange(start, min(start + _BLOCK, len(known)))
        alike = directions[part] @ directions.T
        alike[np.arange(len(part)), part] = -np.inf
        best = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        rows[part], cosines[part] = known[best], np.take_along_axis(alike, best, axis=1)
    return known, rows, cosines


def loneliness(vectors: np.ndarray) -> np.ndarray:
    """Return how far each row (N,) is from its nearest rows, in robust standard deviations above the median; NaN without a vector."""
    out = np.full(len(vectors), np.nan)
    known, _, cosines = nearest(vectors, NEAREST)
    if not cosines.size:
        return out
    apart = 1 - cosines.mean(axis=1)
    middle = np.median(apart)
    out[known] = (apart - middle) / max(1.4826 * float(np.median(np.abs(apart - middle))), 1e-6)
    return out
