"""How far two scorers of the same night agree: accuracy, kappa, kappa of each stage, confusion, and the differences of their statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapetum.core.errors import DataError
from tapetum.core.words import plural
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.stages import STAGES


def agreement(a: Hypnogram, b: Hypnogram) -> dict[str, Any]:
    """Return ``{"epochs", "accuracy", "kappa", "by_stage", "confusion"}`` over the epochs that both scored.

    Raises:
        DataError: other epochs, or none that both scored.
    """
    if len(a) != len(b) or a.epoch != b.epoch:
        raise DataError(
            f"one hypnogram has {plural(len(a), 'epoch')} of {a.epoch:g} s, the other {len(b)} of {b.epoch:g} s",
            need="two hypnograms of the same night",
            fix="score the same recording twice, or cut both to the same epochs",
        )
    both = (a.stages >= 0) & (b.stages >= 0)
    if not both.any():
        raise DataError("no epoch was scored in both hypnograms", need="one or more")
    return from_confusion(_confusion(a.stages[both], b.stages[both]))


def from_confusion(table: np.ndarray) -> dict[str, Any]:
    """Return the same from counts (5, 5), row = the first scorer."""
    by_stage = {}
    for number, name in enumerate(STAGES):
        hit = int(table[number, number])
        only_a, only_b = int(table[number].sum()) - hit, int(table[:, number].sum()) - hit
        one = np.array([[hit, only_a], [only_b, int(table.sum()) - hit - only_a - only_b]])
        by_stage[name] = kappa(one)
    total = float(table.sum())
    return {
        "epochs": int(total),
        "accuracy": float(np.trace(table)) / total,
        "kappa": kappa(table),
        "by_stage": by_stage,
        "confusion": table.tolist(),
    }


def kappa(table: np.ndarray) -> float | None:
    """Return Cohen's kappa of counts (K, K); None where chance alone agrees everywhere (one class)."""
    total = float(table.sum())
    agree = float(np.trace(table)) / total
    chance = float((table.sum(axis=0) * table.sum(axis=1)).sum()) / total**2
    return None if chance >= 1 else (agree - chance) / (1 - chance)


def _confusion(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros((len(STAGES), len(STAGES)), dtype=np.int64)
    np.add.at(out, (a.astype(np.int64), b.astype(np.int64)), 1)
    return out
