"""Stacking: a small regression on the members' log-probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapetum.core.logistic import Full, PerClass, Problem, sigmoid_loss, softmax_loss
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide.align import common
from tapetum.decide.calibrate import TINY, likely, needs_classes, scores
from tapetum.decide.ensemble import blend_rows, check_count
from tapetum.decide.steps import Rows


@dataclasses.dataclass(frozen=True)
class Stack:
    """Multinomial logistic regression on the members' log-probabilities (multi: one logistic regression a label, on their logits).

    The penalty pulls towards the geometric mean of the members rather than towards nothing, so few rows give a plain blend.

    Args:
        strength: inverse of the penalty, as scikit-learn's C.
        rows: fitted on at most this many.
    """

    strength: float = 1.0
    rows: int = 50_000

    def fit(self, members: Sequence[Dense], rows: Rows) -> dict[str, Any]:
        """Return ``{"weights": (M·K, K) or (M, K), "bias": (K,), "n": rows}``."""
        target = needs_classes(members[0].target, "stacking")
        stack, y, weight, _ = common(members, rows, self.rows)
        if target.is_distribution:
            start = np.tile(np.eye(target.width), (len(members), 1)) / len(members)
        else:
            start = np.full((len(members), target.width), 1 / len(members))
        coefficients, bias = fit_stack(target, _features(target, stack), y, weight, start=start, strength=self.strength)
        return {"weights": coefficients.tolist(), "bias": bias.tolist(), "n": len(y)}

    def apply(self, members: Sequence[Dense], rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the regression's probabilities."""
        target, w, bias = members[0].target, np.asarray(fitted["weights"]), np.asarray(fitted["bias"])
        check_count(w if target.kind == "multi" else np.zeros(len(w) // target.width), members)
        return blend_rows(members, lambda part: _stacked(target, _features(target, part), w, bias))


def fit_stack(
    target: Target, x: np.ndarray, y: np.ndarray, weight: np.ndarray, *, start: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise log-loss + ‖W − start‖²/(2·strength·n) over W and an unpenalised bias by L-BFGS.

    Args:
        target: single or ordinal (softmax of x·W + bias) or multi (sigmoid of Σ_m x_m·W_m + bias, a label at a time).
        x: features (n, M·K), multi (n, M, K).
        y: truth (n, K).
        weight: (n,).
        start: the penalty's centre, W's shape.
        strength: as scikit-learn's C; infinity for none.
    """
    # solved in centred, scaled features, in which L-BFGS needs far fewer steps; the penalty is that of the plain ones
    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    x = (x - centre) / scale
    scale = scale[:, None] if target.is_distribution else scale
    no_bias = np.zeros((1, target.width))
    problem = Problem(
        Full(x) if target.is_distribution else PerClass(x),
        y,
        weight,
        softmax_loss if target.is_distribution else sigmoid_loss,
        penalty=np.concatenate([np.broadcast_to(1 / (strength * scale**2), start.shape), no_bias]),
        centre=np.concatenate([start * scale, no_bias]),
    )
    first = np.concatenate([start * scale, _at(target, centre[None], start)])
    found = problem.solve(first, maxiter=300, ftol=1e-8, gtol=1e-6)
    w = found[:-1] / scale
    return w, found[-1] - _at(target, centre[None], w)[0]


def _features(target: Target, stack: np.ndarray) -> np.ndarray:
    z = np.moveaxis(scores(target, np.clip(stack, TINY, 1)), 0, 1).astype(np.float64)
    return z.reshape(len(z), -1) if target.is_distribution else z


def _at(target: Target, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return x @ w if target.is_distribution else (x * w).sum(axis=1)


def _stacked(target: Target, x: np.ndarray, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return likely(target, _at(target, x, w) + bias)
