"""How alike two small images are once one is laid over the other: cut edges and sizes are searched by Gauss-Newton steps.

A copy and an image of something similar (cells of neighbouring wafers have the same grain) both correlate. They differ in where they
disagree: a copy disagrees a little everywhere in its finest detail, by noise and compression, and nowhere in what is large or in one place.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SIDE = 96
HASH_DISTANCE = 16  # bits of 64 in which candidates may differ
CROWD, FEWEST = 0.25, 50  # data look alike where so large a share of the rows, and so many, hang together by candidates
TRIED = 8  # candidates of each row that are aligned, the most alike by thumbnails
SURE = 0.985  # correlation from which two images are the same whatever the others
SAME, MARGIN = 0.75, 0.1  # else from which, and stands out if Fisher's z of it is so much above that of every other candidate of both
EVIDENCE, ALONE = 2.7, 3.1  # evidence of a copy that a pair needs besides: one that stands out, and any other
UNUSUAL, SAMPLE = 4.0, 500  # robust deviations by which the latter exceeds the usual evidence, and candidates that tell what is usual
_WIDE = 2.0  # standard deviation, in pixels, of the blur that is taken away: what is larger is layout and light
_STRONGEST = 3.0  # robust deviations to which the strongest edges are cut: those of the layout would decide alone
_MOST = 0.06  # of a side by which an edge may be cut
_STEPS = ((2.0, 4), (0.0, 5))  # blur in pixels and steps at it: the coarse ones bring edges near, the fine ones align them
_BLOCK = 32
_LARGE = (4.0, 8.0)  # standard deviations, in pixels, of the two blurs between which large marks are
_FINE, _HIGHEST = (1.0, 2.0), 8.0  # and fine ones, with the robust deviations to which they are cut
_PATCHES, _EDGE = 6, 6  # patches along a side, and pixels at the edges that belong to none
_LOCAL = 0.4  # weight of the patch that differs most beside Fisher's z of the large marks


def patterns(images: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """Return images (N, S, S) without their slow changes, what whole rows and columns share, and the height of their strongest edges.

    The coarse step, with a blur, keeps that height: it brings edges together.
    """
    from scipy.ndimage import gaussian_filter

    values = np.asarray(images, dtype=np.float32)
    values = values - gaussian_filter(values, (0, _WIDE + 2 * blur, _WIDE + 2 * blur), mode="reflect", truncate=3)
    if blur:
        values = gaussian_filter(values, (0, blur, blur), mode="reflect", truncate=3)
    values = _without_layout(values)
    return values if blur else _cut(values, _STRONGEST)


def _marks(images: np.ndarray, blurs: tuple[float, float], strongest: float) -> np.ndarray:
    """Return the marks of images (N, S, S) of sizes between two blurs, without layout, the strongest cut."""
    from scipy.ndimage import gaussian_filter

    less, more = (gaussian_filter(images, (0, blur, blur), mode="reflect", truncate=3) for blur in blurs)
    return _cut(_without_layout(less - more), strongest)


def _without_layout(values: np.ndarray) -> np.ndarray:
    values = values - np.median(values, axis=2, keepdims=True)
    return np.asarray(values - np.median(values, axis=1, keepdims=True))


def _cut(values: np.ndarray, strongest: float) -> np.ndarray:
    """Return values (N, S, S) in robust deviations of each image, at most so many."""
    usual = 1.4826 * np.median(np.abs(values), axis=(1, 2), keepdims=True)
    usual = np.maximum(usual, 0.1 * values.std(axis=(1, 2), keepdims=True)) + 1e-6
    return np.asarray(np.clip(values / usual, -strongest, strongest))


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


def same(images: np.ndarray, pairs: np.ndarray, values: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return which pairs (P, 2) of images (N, S, S) show the same: sure ones, and others with evidence of a copy.

    A pair that does not stand out among those of its rows, as one of three copies, needs more evidence, and more than is usual: marks that
    are part of the layout speak for every pair.

    Args:
        images: small images.
        pairs: all candidates.
        values: (P,) correlation of each pair.
        moves: (P, 4) of the alignment, both of :func:`aligned`.
    """
    sure = values >= SURE
    open_ = np.flatnonzero(~sure & (values >= SAME))
    some = np.linspace(0, len(pairs) - 1, min(len(pairs), SAMPLE)).astype(np.int64)
    usual = evidence(images, pairs[some], moves[some])
    middle = np.median(usual) if len(usual) else 0.0
    unusual = middle + UNUSUAL * 1.4826 * np.median(np.abs(usual - middle)) if len(usual) else 0.0
    needed = np.where(_stands_out(pairs, values), EVIDENCE, max(ALONE, unusual))
    sure[open_] = evidence(images, pairs[open_], moves[open_]) >= needed[open_]
    return np.asarray(sure)


def _stands_out(pairs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return which pairs (P, 2) correlate far more than the others of both rows."""
    z = np.arctanh(np.clip(values, -0.999, 0.9999))
    best: dict[int, list[float]] = {}
    for (a, b), value in zip(pairs.tolist(), z.tolist(), strict=True):
        for row in (a, b):
            best[row] = sorted([*best.get(row, [0.0, 0.0]), value])[-2:]
    others = [
        max(best[row][0] if best[row][1] == value else best[row][1] for row in pair) for pair, value in zip(pairs.tolist(), z, strict=True)
    ]
    return np.asarray(z - np.array(others) >= MARGIN)


def evidence(images: np.ndarray, pairs: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return how much speaks for a copy (P,) against something similar, of pairs (P, 2) of images (N, S, S).

    That is Fisher's z of the correlation of the large marks, less the logarithm of how much of the fine marks the patch that differs most
    does not share, weighted.
    """
    out = np.empty(len(pairs))
    for block, rows, first, second in _blocks(pairs):
        shown, moved = np.asarray(images[rows], dtype=np.float32), moves[block]
        large, fine = _marks(shown, _LARGE, _STRONGEST), _marks(shown, _FINE, _HIGHEST)
        z = np.arctanh(np.clip(_step(large[first], large[second], moved)[0], -0.999, 0.9999))
        out[block] = z - _LOCAL * np.log(_worst_patch(fine[first], fine[second], moved) + 1e-3)
    return out


def _blocks(pairs: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield some pairs (P, 2) at a time: which they are, the rows in them, each once, and the places of both ends among these rows."""
    for start in range(0, len(pairs), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows, at = np.unique(pairs[block], return_inverse=True)  # a row is in several pairs
        first, second = at.reshape(-1, 2).T
        yield block, rows, first, second


def _worst_patch(a: np.ndarray, b: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return the mean square (N,) that ``a``, moved and scaled, leaves of its worst patch of ``b``, beside that of ``b``."""
    down, right = _places(a.shape[1], moves)
    inner = (a.shape[1] - 2 * _EDGE) // _PATCHES * _PATCHES
    cut = slice(_EDGE, _EDGE + inner)
    moved, still = _moved(a, down, right)[:, cut, cut], b[:, cut, cut]
    gain = (moved * still).sum(axis=(1, 2), keepdims=True) / np.maximum((moved**2).sum(axis=(1, 2), keepdims=True), 1e-12)
    rest = ((still - gain * moved) ** 2).reshape(len(a), _PATCHES, inner // _PATCHES, _PATCHES, inner // _PATCHES).mean(axis=(2, 4))
    return np.asarray(rest.max(axis=(1, 2)) / np.maximum((still**2).mean(axis=(1, 2)), 1e-12))


def aligned(images: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation (P,) of the patterns of images (N, S, S), for pairs (P, 2) of them, after alignment, and its moves (P, 4)."""
    out, found = np.empty(len(pairs)), np.zeros((len(pairs), 4), dtype=np.float32)
    for block, rows, first, second in _blocks(pairs):
        moves = np.zeros((len(first), 4), dtype=np.float32)
        for blur, steps in _STEPS:
            shown = patterns(images[rows], blur)
            a, b = shown[first], shown[second]
            best, kept = np.full(len(first), -1.0), moves.copy()
            for number in range(steps + 1):
                value, step = _step(a, b, moves)
                better = value > best
                best[better], kept[better] = value[better], moves[better]
                if number < steps:
                    moves = np.clip(moves + step, -_MOST * SIDE, _MOST * SIDE)
        out[block], found[block] = best, kept
    return out, found


def _step(a: np.ndarray, b: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of ``a``, moved, with ``b``, and the change of the moves (P, 4) that should raise it."""
    along = _along(a.shape[1])
    down, right = _places(a.shape[1], moves)
    moved = _moved(a, down, right)
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


def _along(side: int) -> np.ndarray:
    """Return where each pixel lies along a side, −1…1."""
    return np.linspace(-1, 1, side, dtype=np.float32)


def _places(side: int, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return from which row and which column (N, S) each pixel comes: shifted, and stretched from the middle."""
    place, along = np.arange(side, dtype=np.float32), _along(side)
    return place + moves[:, 0:1] + moves[:, 1:2] * along, place + moves[:, 2:3] + moves[:, 3:4] * along


def _moved(images: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return images (N, S, S) as they are at other places."""
    return np.asarray(_weights(down) @ images @ _weights(right).transpose(0, 2, 1))


def _weights(places: np.ndarray) -> np.ndarray:
    cells = np.arange(places.shape[1], dtype=np.float32)
    return np.maximum(1 - np.abs(np.clip(places, 0, places.shape[1] - 1)[:, :, None] - cells), 0)


def _within(places: np.ndarray) -> np.ndarray:
    return (places >= 0) & (places <= places.shape[1] - 1)


def _standard(images: np.ndarray, inside: np.ndarray) -> np.ndarray:
    count = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    centred = (images - (images * inside).sum(axis=(1, 2), keepdims=True) / count) * inside
    return centred / np.maximum(np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True)), 1e-12)
