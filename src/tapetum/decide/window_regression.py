"""A logistic regression over the log-probabilities of an image and of its neighbours in time."""

from __future__ import annotations

import numpy as np

from tapetum.core.logistic import Full, Problem, softmax, softmax_loss
from tapetum.decide.sequences import Sequences

_ROUNDS = 200
_CHUNK = 50_000  # rows at a time


FLOOR = 1e-2  # a regression is linear: a neighbour's 1e-4 must not count twice its 1e-2 (+1 point on real nights, and half the rounds)


def places(sequences: Sequences, n: int, reach: int) -> np.ndarray:
    """Return which rows are around each row (N, 2·reach + 1) int32, itself in the middle; −1 where no row is.

    Args:
        sequences: where the rows stand; a row in no sequence has no neighbours.
        n: rows in the table.
        reach: neighbours on either side.
    """
    out = np.full((n, 2 * reach + 1), -1, dtype=np.int32)
    out[:, reach] = np.arange(n)
    for block in sequences:
        padded = np.pad(block.index, ((0, 0), (reach, reach)), constant_values=-1)
        s, t = np.nonzero(block.filled)
        for offset in range(2 * reach + 1):
            out[block.index[s, t], offset] = padded[s, t + offset]
    return out


def around(log_p: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return log-probabilities of rows and their neighbours (n, (2·reach + 1)·K) float32.

    Args:
        log_p: (N, K); NaN where there is no answer.
        place: (n, 2·reach + 1) of :func:`places`, for the rows wanted. A neighbour that is not there, or not known, says nothing: 1/K each.
    """
    n, k = log_p.shape
    known = np.full((n + 1, k), -np.log(k), dtype=np.float32)  # the last row is that of place −1
    known[:n] = np.where(np.isnan(log_p), known[n], np.maximum(log_p, np.log(FLOOR)))
    return known[place].reshape(len(place), -1)


def fit_window_regression(x: np.ndarray, truth: np.ndarray, classes: int, strength: float, weight: np.ndarray | None = None) -> np.ndarray:
    """Fit the multinomial logistic regression; the penalty pulls towards the image's own log-probabilities.

    Args:
        x: (N, (2·reach + 1)·K) of :func:`around`.
        truth: (N,) class numbers.
        classes: K.
        strength: inverse of the penalty, as scikit-learn's C.
        weight: (N,); None: each row counts 1.

    Returns:
        ((2·reach + 1)·K + 1, K): weights, then intercepts.
    """
    n, inputs = x.shape
    weight = np.ones(n, dtype=np.float32) if weight is None else weight.astype(np.float32)
    centre = x.mean(axis=0, dtype=np.float64)
    x = np.ascontiguousarray(x - centre.astype(np.float32))
    start = np.zeros((inputs + 1, classes))
    middle = (inputs // classes // 2) * classes  # the image itself, between its neighbours
    start[middle : middle + classes] = np.eye(classes)
    hot = np.zeros((n, classes), dtype=np.float32)
    hot[np.arange(n), truth] = 1
    penalty = np.full(start.shape, 1 / strength)
    penalty[-1] = 0
    w = Problem(Full(x), hot, weight, softmax_loss, penalty, centre=start).solve(start, maxiter=_ROUNDS, gtol=1e-5, ftol=1e-5)
    w[-1] -= centre @ w[:-1]
    return w


def apply_window_regression(log_p: np.ndarray, place: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return probabilities (n, K) of the rows of ``place`` under fitted weights; arguments as for :func:`around`."""
    parts = [around(log_p, place[start : start + _CHUNK]) @ w[:-1] + w[-1] for start in range(0, len(place), _CHUNK)]
    return np.asarray(softmax(np.concatenate(parts))) if parts else np.zeros((0, w.shape[1]))
