"""How well probabilities are calibrated: reliability data and the expected calibration error with its interval.

Bins hold equal shares of the rows (equal mass), so that none is empty and none rests on three rows. The error is a sum of absolute
values, which noise makes larger: the interval's low end is the fair thing to compare with 0.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from tapetum.core import intervals, jackknife
from tapetum.core.errors import DataError
from tapetum.core.intervals import Interval
from tapetum.core.tables import Dense
from tapetum.decide.steps import Rows, counting


@dataclasses.dataclass(frozen=True)
class Reliability:
    """What a reliability diagram draws.

    Args:
        of: ``"top"`` (the largest p of each row) or the name of a class.
        bins: dicts of low, high, n, confidence (mean p), frequency (share that was right), in rising p.
        error: expected calibration error, with an interval clustered by group.
    """

    of: str
    bins: list[dict[str, float]]
    error: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"of": self.of, "bins": self.bins, "error": self.error.to_dict()}


def reliability(dense: Dense, rows: Rows, *, of: str | None = None, bins: int = 15) -> Reliability:
    """Return reliability data of a single, ordinal or multi target.

    Args:
        dense: predictions with truth; rows without either take no part.
        rows: their groups and weights.
        of: a class; None means the largest p of each row (multi: every label of every row, pooled).
        bins: how many, at most.

    Raises:
        DataError: no row to look at, or a class that the target does not have.

    Source: Nixon et al. 2019, arXiv 1904.01685 (equal mass).
    """
    take = np.flatnonzero(counting(dense, rows))
    if not len(take):
        raise DataError(f"no row of {dense.target.name!r} has both a prediction and a label", need="labelled rows")
    p, hit, item = _confidence(dense.p[take], dense.y[take], dense, of)
    names, group = np.unique(rows.groups[take].astype(str), return_inverse=True)
    weight = np.ones(len(take)) if rows.weight is None else rows.weight[take].astype(np.float64)
    which, edges = equal_mass(p, bins)
    many = len(edges) - 1
    sums = np.zeros((len(names) * many, 3))  # per group and bin: weight, weight·p, weight·hit
    slot, w = group[item] * many + which, weight[item]
    for column, value in enumerate((w, w * p, w * hit)):
        sums[:, column] = np.bincount(slot, value, minlength=len(sums))
    by_group = sums.reshape(len(names), many, 3)
    whole = by_group.sum(axis=0)
    table = [
        {
            "low": float(edges[b]),
            "high": float(edges[b + 1]),
            "n": int((which == b).sum()),
            "confidence": float(whole[b, 1] / whole[b, 0]),
            "frequency": float(whole[b, 2] / whole[b, 0]),
        }
        for b in range(many)
        if whole[b, 0] > 0
    ]
    return Reliability(of or "top", table, _with_interval(by_group, len(take)))


def equal_mass(p: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bin of each value (N,) and the edges (bins+1,); equal values share a bin, so there may be fewer bins than asked."""
    edges = np.unique(np.quantile(p, np.linspace(0, 1, min(bins, len(p)) + 1)))
    if len(edges) == 1:
        return np.zeros(len(p), dtype=np.int64), np.array([edges[0], edges[0]])
    return np.clip(np.searchsorted(edges, p, side="right") - 1, 0, len(edges) - 2), edges


def _confidence(p: np.ndarray, y: np.ndarray, dense: Dense, of: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predicted probabilities, whether they were correct, and the row of each."""
    every = np.arange(len(p))
    if of is not None:
        if of not in dense.target.classes:
            raise DataError(f"target {dense.target.name!r} has no class {of!r}", need="one of its classes")
        c = dense.target.classes.index(of)
        return p[:, c].astype(np.float64), y[:, c].astype(np.float64), every
    if dense.target.kind == "multi":
        return p.ravel().astype(np.float64), y.ravel().astype(np.float64), np.repeat(every, p.shape[1])
    top = p.argmax(axis=1)
    return p[every, top].astype(np.float64), y[every, top].astype(np.float64), every


def _error(sums: np.ndarray) -> np.ndarray:
    """Return Σ_b |mean p − frequency| · share of bin b, for sums (R, bins, 3)."""
    return np.abs(sums[..., 1] - sums[..., 2]).sum(axis=-1) / sums[..., 0].sum(axis=-1)


def _with_interval(by_group: np.ndarray, n: int) -> Interval:
    """Return the error of sums (groups, bins, 3) with its interval, each group left out once."""
    whole, groups = by_group.sum(axis=0), len(by_group)
    value = float(_error(whole[None])[0])
    sizes = by_group[..., 0].sum(axis=1)
    found = jackknife.spread(_error(whole - by_group), np.ones(groups), sizes, value) if groups > 1 else None
    got = intervals.bounded(value, found, (-math.inf, math.inf), n, groups)
    return got if got.low is None else dataclasses.replace(got, low=max(got.low, 0.0))
