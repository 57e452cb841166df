"""Predictions whose calibration and best blend are known, because they are drawn from stated probabilities."""

import numpy as np
from scipy.special import expit, softmax

from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide.steps import Rows


def names(k):
    return tuple(f"c{i}" for i in range(k))


def dense_of(target, p, y, fold=None, prefix="r"):
    n = len(p)
    ids = np.array([f"{prefix}{i}" for i in range(n)], dtype=object)
    fold = np.zeros(n, dtype=np.int16) if fold is None else fold.astype(np.int16)
    return Dense(target, ids, np.asarray(p, np.float32), np.asarray(y, np.float32), fold, np.full(n, "ok", dtype=object))


def rows_of(n, groups=None, folds=5):
    group = np.arange(n) if groups is None else np.arange(n) % groups
    return Rows(np.array([f"g{g}" for g in group], dtype=object), (group % folds).astype(np.int16))


def single(n=4000, k=4, temperature=1.0, spread=2.0, seed=0, shift=None):
    """A target whose truth is drawn from softmax(z/temperature), while the predictions say softmax(z)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, spread, (n, k)) + (0 if shift is None else np.asarray(shift))
    true = softmax(z / temperature, axis=1)
    y = np.eye(k)[(true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, k - 1)]
    rows = rows_of(n, n // 4)
    return dense_of(Target("stage", "single", names(k)), softmax(z, axis=1), y, rows.fold), rows


def multi(n=3000, rates=(0.3, 0.05, 0.01), sharpness=2.0, seed=0, temperature=1.0):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, sharpness, (n, len(rates))) + np.log(np.asarray(rates)) - sharpness
    y = rng.random(z.shape) < expit(z / temperature)
    rows = rows_of(n)
    return dense_of(Target("labels", "multi", names(len(rates))), expit(z), y, rows.fold), rows
