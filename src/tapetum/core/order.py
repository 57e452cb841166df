"""The order of rows in time."""

from __future__ import annotations

import numpy as np

ALIKE = 1.1  # distances within this factor count as one
SHARE = 1 / 3  # of the most frequent distance: rarer ones are no step


def usual_step(distances: np.ndarray) -> float:
    """Return the distance between neighbours of a sequence: the smallest of the frequent distances.

    Missing rows make larger distances and irregular ones may make smaller; neither moves it while it is among the frequent ones.

    Args:
        distances: from each row to the next of its sequence, above 0; of none of them the step is 1.
    """
    if not len(distances):
        return 1.0
    ordered = np.sort(distances)
    alike = np.searchsorted(ordered, ordered * ALIKE, side="right") - np.arange(len(ordered))
    first = int(np.argmax(alike > SHARE * alike.max()))
    return float(np.median(ordered[first : first + int(alike[first])]))


def slots(first: np.ndarray, distance: np.ndarray, step: float, furthest: float = np.inf) -> np.ndarray:
    """Return each row's slot (N,) int64 in its sequence, counted from 0; rows in order, one sequence after the other.

    Rows closer than a step have slots of their own, so that an irregular sequence keeps its order and its gaps.

    Args:
        first: (N,) bool, which rows begin a sequence.
        distance: (N,) from the row before, in units of the position; rows at one position share a slot.
        step: between neighbours.
        furthest: slots that a gap counts at most.
    """
    ahead = np.where(first | (distance <= 0), 0, np.clip(np.rint(distance / step), 1, furthest)).astype(np.int64)
    total = np.cumsum(ahead)
    return np.asarray(total - np.maximum.accumulate(np.where(first, total, 0)))
