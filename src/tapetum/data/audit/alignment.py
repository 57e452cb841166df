"""How alike two small images are once one is laid over the other: cut edges and sizes are searched by Gauss-Newton steps."""

from __future__ import annotations

import numpy as np

SIDE = 96
HASH_DISTANCE = 16  # bits of 64 in which candidates may differ
CROWD, FEWEST = 0.25, 50  # data look alike where so large a share of the rows, and so many, hang together by candidates
TRIED = 8  # candidates of each row that are aligned, the most alike by thumbnails
SURE = 0.985  # correlation from which two images are the same whatever the others
SAME, MARGIN = 0.75, 0.1  # else from which, if Fisher's z of it is so much above that of every other candidate of both
_WIDE = 2.0  # standard deviation, in pixels, of the blur that is taken away: what is larger is layout and light
_STRONGEST = 3.0  # robust deviations to which the strongest edges are cut: those of the layout would decide alone
_MOST = 0.06  # of a side by which an edge may be cut
_STEPS = ((2.0, 4), (0.0, 5))  # blur in pixels and steps at it: the coarse ones bring edges near, the fine ones align them
_BLOCK = 32


def patterns(images: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """Return images (N, S, S) without their slow changes, what whole rows and columns share, and the height of their strongest edges.

    The coarse step, with a blur, keeps that height: it brings edges together.
    """
    from scipy.ndimage import gaussian_filter

    values = np.asarray(images, dtype=np.float32)
    values = values - gaussian_filter(values, (0, _WIDE + 2 * blur, _WIDE + 2 * blur), mode="reflect", truncate=3)
    if blur:
        values = gaussian_filter(values, (0, blur, blur), mode="reflect", truncate=3)
    values = values - np.median(values, axis=2, keepdims=True)
    values = values - np.median(values, axis=1, keepdims=True)
    if blur:
        return values
    usual = 1.4826 * np.median(np.abs(values), axis=(1, 2), keepdims=True)
    usual = np.maximum(usual, 0.1 * values.std(axis=(1, 2), keepdims=True)) + 1e-6
    return np.asarray(np.clip(values / usual, -_STRONGEST, _STRONGEST))


def is_crowd(pairs: np.ndarray, count: int) -> bool:
    """Tell whether so many rows look alike: a large share of them hangs together by candidate pairs (P, 2)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    part = connected_components(graph, directed=False)[1]
    return bool(np.bincount(part, minlength=1).max() >= max(FEWEST, CROWD * count))


def best_of_each(pairs: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """Return the pairs (P, 2) that are among the ``most`` best of either of their rows."""
    rows, numbers = pairs.T.ravel(), np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((-values[numbers], rows))
    starts = np.searchsorted(rows[order], rows[order])
    return pairs[np.unique(numbers[order][np.arange(len(order)) - starts < most])]


def same(pairs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return which pairs (P, 2) show the same, given their correlations (P,): sure ones, and those far above the others of both rows."""
    z = np.arctanh(np.clip(values, -0.999, 0.9999))
    best: dict[int, list[float]] = {}
    for (a, b), value in zip(pairs.tolist(), z.tolist(), strict=True):
        for row in (a, b):
            best[row] = sorted([*best.get(row, [0.0, 0.0]), value])[-2:]
    others = [
        max(best[row][0] if best[row][1] == value else best[row][1] for row in pair) for pair, value in zip(pairs.tolist(), z, strict=True)
    ]
    return np.asarray((values >= SURE) | ((values >= SAME) & (z - np.array(others) >= MARGIN)))


def aligned(images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the correlation (P,) of the patterns of images (N, S, S), for pairs (P, 2) of them, after alignment."""
    out = np.empty(len(pairs))
    for start in range(0, len(pairs), _BLOCK):
        part = pairs[start : start + _BLOCK]
        rows, at = np.unique(part, return_inverse=True)  # a row is in several pairs
        first, second = at.reshape(part.shape).T
        moves = np.zeros((len(part), 4), dtype=np.float32)
        for blur, steps in _STEPS:
            shown = patterns(images[rows], blur)
            a, b = shown[first], shown[second]
            best = np.full(len(part), -1.0)
            for _ in range(steps):
                value, step = _step(a, b, moves)
                best = np.maximum(best, value)
                moves = np.clip(moves + step, -_MOST * SIDE, _MOST * SIDE)
            best = np.maximum(best, _step(a, b, moves)[0])
        out[start : start + len(part)] = best
    return out


def _step(a: np.ndarray, b: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of ``a``, moved, with ``b``, and the change of the moves (P, 4) that should raise it."""
    side = a.shape[1]
    place = np.arange(side, dtype=np.float32)
    along = (place - (side - 1) / 2) / ((side - 1) / 2)
    down = place + moves[:, 0:1] + moves[:, 1:2] * along
    right = place + moves[:, 2:3] + moves[:, 3:4] * along
    moved = _weights(down) @ a @ _weights(right).transpose(0, 2, 1)
    inside = (_within(down)[:, :, None] & _within(right)[:, None, :]).astype(np.float32)
    moved, still = _standard(moved, inside), _standard(b, inside)
    both = (moved + still) / 2
    dy, dx = np.gradient(both, axis=(1, 2))
    slopes = np.stack([dy * inside, dy * inside * along[:, None], dx * inside, dx * inside * along], axis=1).reshape(len(a), 4, -1)
    rest = (still - moved).reshape(len(a), -1, 1)
    normal = slopes @ slopes.transpose(0, 2, 1)
    normal += 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 4 * np.eye(4, dtype=np.float32) + 1e-9 * np.eye(4)
    step = np.linalg.solve(normal, slopes @ rest)[..., 0]
    return np.einsum("nij,nij->n", moved, still), np.clip(step, -2, 2).astype(np.float32)


def _weights(places: np.ndarray) -> np.ndarray:
    cells = np.arange(places.shape[1], dtype=np.float32)
    return np.maximum(1 - np.abs(np.clip(places, 0, places.shape[1] - 1)[:, :, None] - cells), 0)


def _within(places: np.ndarray) -> np.ndarray:
    return (places >= 0) & (places <= places.shape[1] - 1)


def _standard(images: np.ndarray, inside: np.ndarray) -> np.ndarray:
    count = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    centred = (images - (images * inside).sum(axis=(1, 2), keepdims=True) / count) * inside
    return centred / np.maximum(np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True)), 1e-12)
