"""Faults of channels: blank ones, one channel twice, and channels in another order than in the other images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

FEWEST = 40  # images from which the usual order of channels can be learnt
MOST_CHANNELS = 6
SURE = 0.95  # probability of another order from which it is reported
DOUBTFUL = 0.25  # share of images whose order is told with less than that, above which nothing is reported
BLANK = 0.5 / 255  # standard deviation of a channel that shows nothing
USUAL = 0.5  # a fault that more images have is how the data are


def channel_faults(grids: Sequence[np.ndarray | None], doubled: Sequence[Sequence[tuple[int, int]]]) -> list[list[str]]:
    """Return what is wrong with the channels of each image, in words that begin with a kind of finding.

    Args:
        grids: (C, G + 1) of ``ImageStatistics.channels``; None where there is no image. Images of one channel have no such fault.
        doubled: pairs of equal channels of each.
    """
    out: list[list[str]] = [[] for _ in grids]
    blank = [[c for c, one in enumerate(grid) if one[-1] < BLANK] if grid is not None and len(grid) > 1 else [] for grid in grids]
    partly = [len(found) if grid is not None and 0 < len(found) < len(grid) else 0 for grid, found in zip(grids, blank, strict=True)]
    equal = [
        [(a, b) for a, b in pairs if a not in empty and b not in empty] if grid is not None and not _all_equal(grid, pairs) else []
        for grid, pairs, empty in zip(grids, doubled, blank, strict=True)
    ]
    many = sum(grid is not None for grid in grids) * USUAL
    for row in range(len(grids)):
        if partly[row] and sum(map(bool, partly)) <= many:
            out[row].append(f"blank channel: {', '.join(str(c + 1) for c in blank[row])}")
        if equal[row] and sum(map(bool, equal)) <= many:
            out[row].append(f"equal channels: {', '.join(f'{a + 1} and {b + 1}' for a, b in equal[row])}")
    damaged = [bool(notes) for notes in out]
    for row, (a, b) in _swapped([None if bad else grid for grid, bad in zip(grids, damaged, strict=True)], doubled).items():
        out[row].append(f"swapped channels: {a + 1} and {b + 1}, by the other images")
    return out


def _all_equal(grid: np.ndarray, pairs: Sequence[tuple[int, int]]) -> bool:
    """Tell whether an image is gray: all of its channels are equal, which is another finding."""
    return len(pairs) == len(grid) * (len(grid) - 1) // 2


def _swapped(grids: Sequence[np.ndarray | None], doubled: Sequence[Sequence[tuple[int, int]]]) -> dict[int, tuple[int, int]]:
    """Return the rows whose channels are in another order: row → the two that changed places.

    A logistic regression learns to tell the images as they are from the same images with two channels exchanged; each image is judged
    by a model of the others. Where that is in doubt of many (gray images, stains alike) nothing is reported. Of three channels only the
    first and the last are exchanged, as programs do that read BGR.
    """
    sizes = [len(grid) for grid, pairs in zip(grids, doubled, strict=True) if grid is not None and not pairs]
    if not sizes:
        return {}
    channels = max(set(sizes), key=sizes.count)
    rows = [r for r, grid in enumerate(grids) if grid is not None and len(grid) == channels and not doubled[r]]
    if not 2 <= channels <= MOST_CHANNELS or len(rows) < FEWEST:
        return {}
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen = np.stack([grid for r in rows if (grid := grids[r]) is not None]).astype(np.float64)
    swaps = [(0, 2)] if channels == 3 else list(combinations(range(channels), 2))
    orders = [list(range(channels)), *([b if c == a else a if c == b else c for c in range(channels)] for a, b in swaps)]
    given = np.concatenate([_described(seen[:, order]) for order in orders])
    order = np.repeat(np.arange(len(orders)), len(rows))
    images = np.tile(np.arange(len(rows)), len(orders))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=300))
    p = cross_val_predict(model, given, order, groups=images, cv=GroupKFold(5), method="predict_proba")
    first = p[: len(rows)]
    if (first.max(axis=1) < SURE).mean() > DOUBTFUL:
        return {}
    found = np.flatnonzero((first.argmax(axis=1) > 0) & (first.max(axis=1) >= SURE))
    return {rows[i]: swaps[int(first[i].argmax()) - 1] for i in found}


def _described(grids: np.ndarray) -> np.ndarray:
    """Return what tells the order of channels (N, …): each against their mean, which brightness and content change less."""
    return (grids - grids.mean(axis=1, keepdims=True)).reshape(len(grids), -1)
