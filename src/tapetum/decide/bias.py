"""One number added to each class's log-probability so that the decisions, not the probabilities, suit macro-F1."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tapetum.core import counts
from tapetum.core.tables import Dense
from tapetum.decide.steps import Rows, fitting

FLOOR = 1e-4  # probabilities below it are taken for it: no single image may be that sure
_GRID = np.round(np.arange(-2.0, 2.01, 0.1), 10)
_SWEEPS = 3


@dataclasses.dataclass(frozen=True)
class ClassBias:
    """Decide by the largest log p + bias, the bias of each class chosen for macro-F1; probabilities stay as they are."""

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"bias": (K,)}``."""
        p, y, weight, _ = fitting(dense, rows)
        return {"bias": fit_bias(log_p(p), y.argmax(axis=1), weight).tolist()}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the same probabilities with decisions."""
        return dataclasses.replace(dense, answer=decide(dense, np.asarray(fitted["bias"])))


def log_p(p: np.ndarray) -> np.ndarray:
    """Return log max(p, ``FLOOR``) in float64; NaN stays NaN."""
    return np.log(np.maximum(np.asarray(p, dtype=np.float64), FLOOR))


def decide(dense: Dense, bias: np.ndarray) -> np.ndarray:
    """Return decisions (N, K) of 0 and 1 by the largest log p + bias; NaN rows where there is no answer."""
    return one_hot(np.nan_to_num(log_p(dense.p) + bias, nan=-np.inf).argmax(axis=1), dense)


def one_hot(labels: np.ndarray, dense: Dense) -> np.ndarray:
    """Return class numbers (N,) as decisions (N, K) float32; NaN rows where ``dense`` has no answer."""
    out = np.zeros(dense.p.shape, dtype=np.float32)
    out[np.arange(len(out)), labels] = 1
    out[~dense.ok] = np.nan
    return out


def fit_bias(scores: np.ndarray, truth: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Maximise macro-F1 of the largest score + bias by coordinate ascent on a grid from −2 to 2.

    All grid points of a class are tried in one pass: a row changes hands where the class's bias passes the row's margin, so
    sums over margins sorted into the grid give every point's counts.

    Args:
        scores: (N, K) log-probabilities.
        truth: (N,) class numbers.
        weight: (N,); None: each row counts 1.

    Returns:
        (K,); of equal points the one nearest to 0.
    """
    n, k = scores.shape
    weight = np.ones(n) if weight is None else weight
    bias = np.zeros(k)
    best = -1.0
    for _ in range(_SWEEPS):
        before = bias.copy()
        for c in range(k):
            value = _macro_f1_along(scores, bias, c, truth, weight)
            order = np.lexsort((np.abs(_GRID), -np.round(value, 12)))
            if value[order[0]] > best + 1e-12:
                best, bias[c] = value[order[0]], _GRID[order[0]]
        if (bias == before).all():
            break
    return bias


def _macro_f1_along(scores: np.ndarray, bias: np.ndarray, c: int, truth: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return macro-F1 (G,) with class ``c`` at each bias of the grid and the others at their own."""
    n, k = scores.shape
    others = scores + bias
    others[:, c] = -np.inf
    rival = others.argmax(axis=1)
    place = _first_winning(scores[:, c], others[np.arange(n), rival], c < rival)
    points = len(_GRID)

    def passed(rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return np.cumsum(_summed(place[rows] * k + classes, weight[rows], (points + 1) * k).reshape(points + 1, k), axis=0)[:points]

    every = np.arange(n)
    lost, total = passed(every, rival), _summed(rival, weight, k)
    answered = total - lost
    answered[:, c] += lost.sum(axis=1)
    right_rival = np.flatnonzero(rival == truth)
    hit = _summed(truth[right_rival], weight[right_rival], k) - passed(right_rival, truth[right_rival])
    mine = np.flatnonzero(truth == c)
    hit[:, c] = passed(mine, truth[mine])[:, c]
    support = np.broadcast_to(_summed(truth, weight, k), hit.shape)
    layout = np.concatenate([hit, support, answered, np.zeros((points, 1)), np.full((points, 1), weight.sum())], axis=1)
    return counts.macro_f1(layout, k)


def _first_winning(score: np.ndarray, rival: np.ndarray, comes_first: np.ndarray) -> np.ndarray:
    """Return the first grid point (N,) whose sum with the score is answered; as many as the grid has where none is.

    The sums are those that :func:`decide` makes, so that equal ones go to the class that comes first here too.

    Args:
        score: of the class (N,).
        rival: largest of the others (N,).
        comes_first: whether the class is before that one (N,) bool.
    """
    near = np.searchsorted(_GRID, rival - score)  # up to rounding; sums rise along the grid, so its neighbours tell
    place = np.full(len(score), len(_GRID))
    for point in (near + 1, near, near - 1):
        there = (point >= 0) & (point < len(_GRID))
        moved = score + _GRID[point.clip(0, len(_GRID) - 1)]
        place = np.where(there & ((moved > rival) | (comes_first & (moved == rival))), point, place)
    return place


def _summed(codes: np.ndarray, weight: np.ndarray, many: int) -> np.ndarray:
    """Return the weight of each code (many,); of no rows too it is a float, which ``bincount`` alone does not give."""
    return np.bincount(codes, weight, many).astype(np.float64)
