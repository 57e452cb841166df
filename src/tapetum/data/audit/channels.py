"""Faults of channels: blank ones, one channel twice, and channels in another order than in the other images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from tapetum.core import logistic

FEWEST = 40  # images from which the usual order of channels can be learnt
MOST_CHANNELS = 6
SURE, SURE_OF_COLOURS = 0.5, 0.7  # probability of another order from which it is reported, by features and by colours alone
PRIOR = 0.05  # share of images that may be expected to have another order
PENALTIES = (30.0, 10.0, 3.0, 1.0)  # on the weights, of which the images choose
FOLDS, ROUNDS, MOST_STEPS = 5, 4, 25
MOST_LEARNT = 4_000  # images that teach a model
BLANK = 0.5 / 255  # standard deviation of a channel that shows nothing
USUAL = 0.5  # a fault that more images have is how the data are


Chroma = Sequence[np.ndarray | None]
Swap = tuple[int, int, float]


def channel_faults(
    grids: Sequence[np.ndarray | None],
    doubled: Sequence[Sequence[tuple[int, int]]],
    chroma: Chroma,
    exchanged: np.ndarray | None = None,
) -> list[list[str]]:
    """Return what is wrong with the channels of each image, in words that begin with a kind of finding.

    Args:
        grids: (C, G + 1) of ``ImageStatistics.channels``; None where there is no image. Images of one channel have no such fault.
        doubled: pairs of equal channels of each.
        chroma: of ``ImageStatistics.chroma``; None where an image has not three channels.
        exchanged: (N, D) features of each image less those of the same with channels 1 and 3 exchanged; NaN where unknown.
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
    whole = [None if bad else grid for grid, bad in zip(grids, damaged, strict=True)]
    for row, (a, b, sure) in _swapped(whole, doubled, chroma, exchanged).items():
        out[row].append(f"swapped channels: probably {a + 1} and {b + 1} ({sure:.0%}), by the other images")
    return out


def _all_equal(grid: np.ndarray, pairs: Sequence[tuple[int, int]]) -> bool:
    """Tell whether an image is gray: all of its channels are equal, which is another finding."""
    return len(pairs) == len(grid) * (len(grid) - 1) // 2


def _swapped(
    grids: Sequence[np.ndarray | None], doubled: Sequence[Sequence[tuple[int, int]]], chroma: Chroma, exchanged: np.ndarray | None
) -> dict[int, Swap]:
    """Return the rows whose channels are probably in another order: row → the two that changed places, and how probable that is.

    Each image is judged by a model that the others taught: a logistic regression tells the images as they are from the same images with
    two channels exchanged, by features where they are at hand, else by where each channel is bright and by the tints that there are.
    One image in twenty is expected to be exchanged, so that what can as well be an unusual image is not reported. Of three channels only
    the first and the last are exchanged, as programs do that read BGR.
    """
    sizes = [len(grid) for grid, pairs in zip(grids, doubled, strict=True) if grid is not None and not pairs]
    if not sizes:
        return {}
    channels = max(set(sizes), key=sizes.count)
    rows = [r for r, grid in enumerate(grids) if grid is not None and len(grid) == channels and not doubled[r]]
    if not 2 <= channels <= MOST_CHANNELS or len(rows) < FEWEST:
        return {}
    seen = np.stack([grid for r in rows if (grid := grids[r]) is not None]).astype(np.float64)
    seen = seen - seen.mean(axis=1, keepdims=True)  # against their mean, which brightness and content change less
    swaps = [(0, 2)] if channels == 3 else list(combinations(range(channels), 2))
    by_features = channels == 3 and exchanged is not None and not np.isnan(exchanged[rows]).any()
    kept = [one for one in (chroma[r] for r in rows) if one is not None]
    odds = np.zeros((len(rows), len(swaps)))
    for number, (a, b) in enumerate(swaps):
        given = seen[:, a] - seen[:, b]
        if by_features and exchanged is not None:
            given = exchanged[rows].astype(np.float64)
        elif channels == 3 and len(kept) == len(rows):
            given = np.concatenate([given, np.stack(kept)], axis=1)
        odds[:, number] = _odds(given, PRIOR / len(swaps))
    p = odds / (1 + odds.sum(axis=1, keepdims=True))
    best = p.argmax(axis=1)
    found = np.flatnonzero(p.max(axis=1) > (SURE if by_features else SURE_OF_COLOURS))
    return {rows[i]: (*swaps[int(best[i])], float(p[i, best[i]])) for i in found}


def _odds(given: np.ndarray, prior: float) -> np.ndarray:
    """Return the cross-fitted odds (N,) that two channels are exchanged, by the penalty under which the images are likeliest.

    The model is fitted several times: images that seem exchanged teach the other order by that probability.

    Args:
        given: (N, D) a description that changes its sign where the two channels are exchanged.
        prior: share of images that may be expected to be exchanged.
    """
    fold = np.random.default_rng(0).permutation(len(given)) % FOLDS
    scaled = given / (np.sqrt((given**2).mean(axis=0)) + 1e-9)
    best, least = np.zeros(len(fold)), np.inf
    weights = np.zeros((FOLDS, given.shape[1]))
    for penalty in PENALTIES:
        odds = np.zeros(len(fold))
        for _ in range(ROUNDS):
            margins = _margins(scaled, fold, odds / (1 + odds), penalty, weights)
            odds = np.exp(-margins) * prior / (1 - prior)
        loss = -float(np.log((1 - prior + prior * np.exp(-margins)) / (1 + np.exp(-margins))).mean())
        if loss < least:
            best, least = odds, loss
    return best


def _margins(given: np.ndarray, fold: np.ndarray, exchanged: np.ndarray, penalty: float, weights: np.ndarray) -> np.ndarray:
    """Return the cross-fitted logits (N,) that images are as they are, where others are exchanged by a probability (N,).

    The weights (FOLDS, D) are where the search starts, and are then those that it found.
    """
    margins = np.zeros(len(given))
    for number in range(FOLDS):
        learn = np.flatnonzero(fold != number)[:MOST_LEARNT]
        weights[number] = _fitted(given[learn], exchanged[learn], penalty, weights[number])
        margins[fold == number] = given[fold == number] @ weights[number]
    return np.clip(margins, -30, 30)


def _fitted(given: np.ndarray, exchanged: np.ndarray, penalty: float, start: np.ndarray) -> np.ndarray:
    """Return the weights (D,) of a logistic regression without intercept: rows (N, D) are positive, or negative by a probability (N,)."""
    ones, inputs = np.ones(len(given)), given.shape[1]
    problem = logistic.Problem(logistic.Full(given), 1 - exchanged[:, None], ones, logistic.sigmoid_loss, penalty)
    bounds = [*[(None, None)] * inputs, (0.0, 0.0)]
    return problem.solve(np.append(start, 0.0)[:, None], bounds, maxiter=MOST_STEPS)[:-1, 0]
