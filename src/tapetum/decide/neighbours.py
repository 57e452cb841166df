"""A logistic regression over the log-probabilities of a picture and of its neighbours in time."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from tapetum.decide.sequences import Sequences

_ROUNDS = 200


FLOOR = 1e-2  # a regression is linear: a neighbour's 1e-4 must not count twice its 1e-2 (+1 point on real nights, and half the rounds)


def around(log_p: np.ndarray, sequences: Sequences, reach: int, fill: np.ndarray) -> np.ndarray:
    """Return each row's and its neighbours' log-probabilities (N, (2·reach + 1)·K) float32.

    Args:
        log_p: (N, K); rows that are not known hold NaN.
        sequences: where the rows stand; rows in no sequence come back as if alone.
        reach: neighbours on either side.
        fill: (K,) what stands for a neighbour that is unknown, unobserved or past an edge.
    """
    n, k = log_p.shape
    width = 2 * reach + 1
    fill = np.maximum(fill, np.log(FLOOR))
    known = np.where(np.isnan(log_p), fill, np.maximum(log_p, np.log(FLOOR))).astype(np.float32)
    out = np.broadcast_to(fill.astype(np.float32), (n, width, k)).copy()
    out[:, reach] = known
    for block in sequences:
        slots = np.broadcast_to(fill.astype(np.float32), (*block.index.shape, k)).copy()
        slots[block.filled] = known[block.index[block.filled]]
        padded = np.broadcast_to(fill.astype(np.float32), (len(slots), slots.shape[1] + 2 * reach, k)).copy()
        padded[:, reach : reach + slots.shape[1]] = slots
        s, t = np.nonzero(block.filled)
        for offset in range(width):
            out[block.index[s, t], offset] = padded[s, t + offset]
    return out.reshape(n, width * k)


def fit_neighbours(x: np.ndarray, truth: np.ndarray, classes: int, strength: float, weight: np.ndarray | None = None) -> np.ndarray:
    """Fit the multinomial logistic regression; the penalty pulls towards the picture's own log-probabilities.

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
    own = (inputs // classes // 2) * classes
    start[own : own + classes] = np.eye(classes)
    hot = np.zeros((n, classes), dtype=np.float32)
    rows = np.arange(n)
    hot[rows, truth] = 1
    total = float(weight.sum())

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(start.shape)
        z = x @ w[:-1].astype(np.float32) + w[-1].astype(np.float32)
        logs = log_softmax(z, axis=1)
        value = -(weight * logs[rows, truth]).sum(dtype=np.float64)
        residual = weight[:, None] * (np.exp(logs) - hot)
        apart = (w[:-1] - start[:-1]) / strength
        slope = np.concatenate([x.T @ residual + apart, residual.sum(axis=0, dtype=np.float64)[None]])
        return (value + 0.5 * (apart * (w[:-1] - start[:-1])).sum()) / total, slope.ravel() / total

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _ROUNDS, "gtol": 1e-5, "ftol": 1e-5})
    w = found.x.reshape(start.shape)
    w[-1] -= centre @ w[:-1]
    return np.asarray(w)


def apply_neighbours(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return log-probabilities (N, K) of rows (N, …) of :func:`around` under weights of :func:`fit_neighbours`."""
    return np.asarray(log_softmax(x @ w[:-1] + w[-1], axis=1))
