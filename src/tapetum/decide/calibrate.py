"""Calibration: probabilities that mean what they say, by one number, two per class, or a curve per class.

All work on what a network or anybody else gave as probabilities: log p stands for the logits (they differ by a constant a row, which a
soft-max forgets), and log p/(1−p) for the logit of one label. After mixing and label smoothing a temperature below 1 is common.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tapetum.core.errors import UserError
from tapetum.core.logistic import PerClass, Problem, sigmoid_loss, softmax, softmax_loss
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide.steps import SMOOTH_ROWS, Rows, fitting

TINY = 1e-7  # probabilities are kept this far from 0 and 1 before a logit: float32 knows nothing nearer to 1
LEAST = 1e-12  # and this far from 0 before a logarithm: less would let one certain mistake decide everything
CHUNK = 65_536  # rows worked on at a time


@dataclasses.dataclass(frozen=True)
class NoCalibration:
    """Leave probabilities as they are."""

    @property
    def learns(self) -> bool:
        """Whether fitting reads the labels."""
        return False

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Learn nothing."""
        return {}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return ``dense``."""
        return dense


@dataclasses.dataclass(frozen=True)
class Temperature:
    """Divide all log-probabilities by one number T, the one with the least log-loss.

    The log-loss is convex in 1/T, so 1/T is the root of its rising derivative.

    Args:
        low: smallest T.
        high: largest T.

    Source: Guo et al. 2017, arXiv 1706.04599.
    """

    low: float = 0.05
    high: float = 20.0

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"temperature": T, "n": rows}``."""
        needs_classes(dense.target, "temperature")
        p, y, weight, _ = fitting(dense, rows, SMOOTH_ROWS)
        z = scores(dense.target, p).astype(np.float64)
        inverse = _inverse_temperature(dense.target, z, y, weight, 1 / self.high, 1 / self.low)
        return {"temperature": 1 / inverse, "n": len(p)}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return probabilities at the temperature; decisions by the largest are unchanged."""
        return _mapped(dense, lambda p: likely(dense.target, scores(dense.target, p) / fitted["temperature"]))


@dataclasses.dataclass(frozen=True)
class Vector:
    """A factor and an offset for the log-probability of each class, fitted together on the log-loss.

    Args:
        shrink: pull towards factor 1 and offset 0, in pseudo-rows per class, so that rare classes move little.

    Source: Guo et al. 2017, arXiv 1706.04599.
    """

    shrink: float = 1.0

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"scale": (K,), "bias": (K,), "n": rows}``."""
        target = needs_classes(dense.target, "vector scaling")
        p, y, weight, _ = fitting(dense, rows, SMOOTH_ROWS)
        start = np.stack([np.ones(target.width), np.zeros(target.width)])
        design, loss = PerClass(scores(target, p)[:, None]), softmax_loss if target.is_distribution else sigmoid_loss
        scale, bias = Problem(design, y, weight, loss, self.shrink, centre=start).solve(start, maxiter=200)
        return {"scale": scale.tolist(), "bias": bias.tolist(), "n": len(p)}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the scaled probabilities."""
        scale, bias = np.asarray(fitted["scale"]), np.asarray(fitted["bias"])
        return _mapped(dense, lambda p: likely(dense.target, scores(dense.target, p) * scale + bias))


@dataclasses.dataclass(frozen=True)
class Platt:
    """A sigmoid of each class's logit, one class against the rest; single-label rows are brought back to sum 1.

    Source: Platt 1999, with his smoothed targets (n₊+1)/(n₊+2) and 1/(n₋+2).
    """

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"slope": (K,), "offset": (K,), "n": rows}``."""
        needs_classes(dense.target, "Platt scaling")
        p, y, weight, _ = fitting(dense, rows, SMOOTH_ROWS)
        pairs = [_sigmoid_fit(logit(p[:, c]), y[:, c], weight) for c in range(dense.target.width)]
        return {"slope": [a for a, _ in pairs], "offset": [b for _, b in pairs], "n": len(p)}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the sigmoids."""
        from scipy.special import expit

        slope, offset = np.asarray(fitted["slope"]), np.asarray(fitted["offset"])
        return _mapped(dense, lambda p: renormalised(dense.target, expit(logit(p) * slope + offset)))


@dataclasses.dataclass(frozen=True)
class Isotonic:
    """A rising step curve per class, one class against the rest; it needs many rows (hundreds a class).

    Values stay 1/(n+2) away from 0 and 1, so that one wrong row cannot cost an infinite log-loss.

    Source: Zadrozny and Elkan 2002.
    """

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"from": K lists, "to": K lists, "n": rows}``: the corners of the curves."""
        from sklearn.isotonic import IsotonicRegression

        needs_classes(dense.target, "isotonic calibration")
        p, y, weight, _ = fitting(dense, rows, SMOOTH_ROWS)
        edge = 1.0 / (len(p) + 2)
        curves = [
            IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(p[:, c].astype(np.float64), y[:, c], weight)
            for c in range(dense.target.width)
        ]
        return {"from": [c.X_thresholds_.tolist() for c in curves], "to": [c.y_thresholds_.tolist() for c in curves], "n": len(p)}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the curves' values."""

        def curves(p: np.ndarray) -> np.ndarray:
            pairs = zip(fitted["from"], fitted["to"], strict=True)
            return renormalised(dense.target, np.stack([np.interp(p[:, c], x, to) for c, (x, to) in enumerate(pairs)], axis=1))

        return _mapped(dense, curves)


def needs_classes(target: Target, what: str) -> Target:
    """Return the target, or refuse a number."""
    if target.kind == "regression":
        raise UserError(f"{what} was asked for {target.name!r}, a regression", need="a single, ordinal or multi target")
    return target


def scores(target: Target, p: np.ndarray) -> np.ndarray:
    """Return log-probabilities (single, ordinal) or logits (multi) (N, K)."""
    return np.log(np.clip(p, LEAST, None)) if target.is_distribution else logit(p)


def logit(p: np.ndarray) -> np.ndarray:
    """Return log p/(1−p), with p kept off 0 and 1; computed in float64, since 1−1e-7 is lost in float32."""
    p = np.clip(np.asarray(p, dtype=np.float64), TINY, 1 - TINY)
    return np.log(p) - np.log1p(-p)


def renormalised(target: Target, p: np.ndarray) -> np.ndarray:
    """Bring rows of a distribution to sum 1 (a row of zeros becomes uniform); other kinds are left alone."""
    if not target.is_distribution:
        return p
    total = p.sum(axis=1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), 1 / target.width)


def likely(target: Target, z: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, K) of logits: their softmax where they are one distribution, else their sigmoids."""
    if target.is_distribution:
        return softmax(z)
    from scipy.special import expit

    return np.asarray(expit(z))


def _inverse_temperature(target: Target, z: np.ndarray, y: np.ndarray, weight: np.ndarray, low: float, high: float) -> float:
    """Return the 1/T from ``low`` to ``high`` at which the derivative of the log-loss is 0, or the end nearest to it."""
    from scipy.optimize import brentq

    def slope(inverse: float) -> float:
        return float((weight[:, None] * (likely(target, inverse * z) - y) * z).sum())

    if slope(low) >= 0:
        return low
    return high if slope(high) <= 0 else float(brentq(slope, low, high, xtol=1e-10))


def _mapped(dense: Dense, change: Any) -> Dense:
    """Apply ``change`` to the rows with an answer, in chunks, so that float64 work never doubles the table."""
    out = np.array(dense.p, dtype=np.float32)
    ok = np.flatnonzero(dense.ok)
    for start in range(0, len(ok), CHUNK):
        part = ok[start : start + CHUNK]
        out[part] = change(dense.p[part])
    return dense.with_p(out)


def _sigmoid_fit(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    positive = float((weight * y).sum())
    negative = float(weight.sum()) - positive
    goal = np.where(y > 0.5, (positive + 1) / (positive + 2), 1 / (negative + 2))
    problem = Problem(PerClass(z[:, None, None]), goal[:, None], weight, sigmoid_loss)
    slope, offset = problem.solve(np.array([[1.0], [0.0]]), maxiter=200, ftol=1e-14, gtol=1e-9).ravel()
    return float(slope), float(offset)
