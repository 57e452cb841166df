"""The order of rows in time."""

from __future__ import annotations

import numpy as np


def usual_step(distances: np.ndarray) -> float:
    """Return the distance between neighbours of a sequence: the 5 % quantile of all distances, which missing rows do not move.

    Args:
        distances: from each row to the next of its sequence, above 0; of none of them the step is 1.
    """
    return float(np.quantile(distances, 0.05)) if len(distances) else 1.0
