"""Several answers about one row, one a view of its image, to one."""

from __future__ import annotations

import numpy as np

from tapetum.core.targets import Target

REDUCERS = ("plain", "mean", "logits", "max")  # the simplest first; plain takes the image as it is and needs no other view


def reduced(stack: np.ndarray, how: str, target: Target) -> np.ndarray:
    """Reduce the views' probabilities to one answer a row.

    Args:
        stack: (V, N, K); NaN rows stay NaN.
        how: ``mean``; or ``max``: of several labels each class's largest, which then are larger throughout, so thresholds must be fitted
            on maxima too; of a distribution the largest values brought back to a sum of 1; of a number the mean.
        target: what is answered.

    Returns:
        (N, K) float32.
    """
    if how != "max" or target.kind == "regression":
        return stack.mean(axis=0, dtype=np.float64).astype(np.float32)
    most = stack.max(axis=0)
    return most / most.sum(axis=1, keepdims=True) if target.is_distribution else most
