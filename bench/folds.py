"""Thirty thousand rows, twenty-eight labels of which some are rare, groups of several rows: how long five folds take and how even they are.

Run: ``python bench/folds.py``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

import recorded
from tapetum.core import folds
from tapetum.core.targets import Target

ROWS, LABELS, GROUPS, FOLDS = 30_000, 28, 8_000, 5
SECONDS, POINTS = 5.0, 0.02  # bounds: time, and the distance of a class's share in a fold from an even one


def main() -> int:
    y, groups = labelled(ROWS, GROUPS)
    target = Target("labels", "multi", tuple(str(i) for i in range(LABELS)))
    began = time.perf_counter()
    fold = folds.assign({"labels": y}, [target], groups, FOLDS, 0)
    seconds = time.perf_counter() - began
    found = evenness(y, groups, fold)
    holds = seconds < SECONDS and found["worst"] <= 0
    lines = [
        ["seconds", f"{seconds:.2f}", f"< {SECONDS:g}"],
        ["largest distance of a class's share from 1/5", f"{found['distance']:.4f}", f"max({POINTS:g}, largest group's share)"],
        ["class farthest beyond its bound", f"{found['worst']:+.4f}", "≤ 0"],
        ["rows in the largest and smallest fold", f"{found['most']:,} and {found['least']:,}", "–"],
    ]
    shown = recorded.table(["", "measured", "bound"], lines)
    print(shown)
    if "--dry" not in sys.argv:
        text = (
            f"{ROWS:,} rows with {LABELS} labels (the rarest in {int(y.sum(0).min())} rows, the commonest in {int(y.sum(0).max()):,}) in "
            f"{len(np.unique(groups)):,} groups, {FOLDS} folds.\n\n{shown}"
        )
        recorded.record("folds", "Folds of many labels and groups", text, {"rows": ROWS, "seconds": seconds, **found}, "numpy")
    return 0 if holds else 1


def labelled(rows: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N, K) whose shares fall from a half to a few in ten thousand, and groups that share most of their labels."""
    rng = np.random.default_rng(0)
    shares = np.geomspace(0.4, 0.0004, LABELS)
    group = rng.integers(0, groups, rows)
    of_group = rng.random((groups, LABELS)) < shares
    own = rng.random((rows, LABELS)) < shares
    y = np.where(rng.random((rows, 1)) < 0.8, of_group[group], own).astype(np.float32)
    return y, np.array([f"g{g}" for g in group], dtype=object)


def evenness(y: np.ndarray, groups: np.ndarray, fold: np.ndarray) -> dict[str, Any]:
    """Return how far class shares are from even ones, and how far the worst class is beyond its bound."""
    _, place = np.unique(groups.astype(str), return_inverse=True)
    of_group = np.zeros((place.max() + 1, y.shape[1]))
    np.add.at(of_group, place, y)
    total = y.sum(axis=0)
    bound = np.maximum(POINTS, of_group.max(axis=0) / total)
    shares = np.stack([y[fold == k].sum(axis=0) / total for k in range(FOLDS)])
    distance = np.abs(shares - 1 / FOLDS).max(axis=0)
    sizes = np.bincount(fold, minlength=FOLDS)
    return {
        "distance": float(distance.max()),
        "worst": float((distance - bound).max()),
        "most": int(sizes.max()),
        "least": int(sizes.min()),
    }


if __name__ == "__main__":
    sys.exit(main())
