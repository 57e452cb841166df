"""The review list: epochs that a scorer should look at first, and why."""

from __future__ import annotations

import numpy as np
import polars as pl

from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.stages import STAGES

SURE = 0.6  # largest probability under which an epoch is listed
MOST = 0.25  # share of the epochs that are listed at most


def review_list(night: Hypnogram, bad: np.ndarray | None = None, before: Hypnogram | None = None) -> pl.DataFrame:
    """Return epochs to look at, the least certain first.

    Args:
        night: the answer.
        bad: epochs (T,) with a bad signal.
        before: the engine's own answer, where steps changed it.

    Returns:
        ``epoch`` (from 1), ``onset`` (s), ``stage``, ``p`` (of the stage), ``second`` and ``p_second``, ``reason``.
    """
    stages, count = night.stages, len(night)
    p = np.full((count, len(STAGES)), np.nan) if night.p is None else night.p
    known = ~np.isnan(p).any(axis=1)
    filled = np.where(known[:, None], p, 0.0)
    own = np.where(stages >= 0, filled[np.arange(count), np.maximum(stages, 0)], 0.0)
    reasons: list[list[str]] = [[] for _ in range(count)]
    for i in range(count):
        if stages[i] < 0:
            reasons[i].append("no stage")
        elif known[i] and own[i] < SURE:
            reasons[i].append("uncertain")
        if before is not None and before.stages[i] != stages[i] and stages[i] >= 0:
            reasons[i].append(f"context: {before.labels()[i]} before")
        if bad is not None and i < len(bad) and bad[i]:
            reasons[i].append("bad signal")
        if 0 < i < count - 1 and stages[i - 1] == stages[i + 1] != stages[i] and known[i] and own[i] < 0.8:
            reasons[i].append("alone among its neighbours")
    listed = np.array([i for i in range(count) if reasons[i]], dtype=np.int64)
    listed = listed[np.argsort(own[listed], kind="stable")][: max(int(MOST * count), 1)]
    second = np.array([_second(filled[i], int(stages[i])) for i in listed], dtype=np.int64)
    shown = known[listed] if len(listed) else np.zeros(0, dtype=bool)
    labels = night.labels()
    return pl.DataFrame(
        {
            "epoch": listed + 1,
            "onset": listed * night.epoch,
            "stage": pl.Series([labels[i] for i in listed], dtype=pl.String),
            "p": pl.Series([round(float(own[i]), 4) if ok else None for i, ok in zip(listed, shown, strict=True)], dtype=pl.Float64),
            "second": pl.Series([STAGES[k] if ok else None for k, ok in zip(second, shown, strict=True)], dtype=pl.String),
            "p_second": pl.Series(
                [round(float(filled[i, k]), 4) if ok else None for i, k, ok in zip(listed, second, shown, strict=True)], dtype=pl.Float64
            ),
            "reason": pl.Series(["; ".join(reasons[i]) for i in listed], dtype=pl.String),
        }
    )


def _second(p: np.ndarray, stage: int) -> int:
    """Return the most probable other stage."""
    left = p.copy()
    if stage >= 0:
        left[stage] = -1.0
    return int(left.argmax())
