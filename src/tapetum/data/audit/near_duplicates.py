"""Which rows show the same image: to the byte, or nearly so.

Candidates come from a perceptual hash (and from feature vectors where they are at hand); each pair is verified on the thumbnails, since
a hash of 64 bits also finds images that are merely laid out alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tapetum.core.unions import Unions
from tapetum.core.vectors import unit
from tapetum.data.audit import alignment

HASH_DISTANCE = 14  # bits of 64 in which near duplicates may differ; wide, because pairs are verified
COSINE = 0.95  # of feature vectors, likewise
ALIKE = 0.87  # normalised correlation of thumbnails from which two images of one hash are the same
MORE_ALIKE = 0.005  # and for each bit in which the hashes differ, so much more; neighbours of vectors count as 14 bits apart
_SHIFT = 1  # pixels of a thumbnail by which a cropped copy may lie aside
_BLOCK = 2048
_SQUARE = 1000


@dataclasses.dataclass(frozen=True)
class DuplicateSets:
    """Sets of rows that show the same image.

    Args:
        set: (N,) number of the row's set, the smallest row in it; −1 where it has no duplicate.
        exact: (N,) bool, whether some other row has the same bytes.
        alike: (N,) correlation with the most similar duplicate, 1 for exact ones, NaN without.
        apart: pairs of rows that look alike and are in no common set, because their groups are different ones of the data.
    """

    set: np.ndarray
    exact: np.ndarray
    alike: np.ndarray
    apart: tuple[tuple[int, int], ...] = ()


def find_duplicates(
    hashes: Sequence[str | None],
    thumbnails: np.ndarray,
    *,
    vectors: np.ndarray | None = None,
    dihedral: bool = False,
    groups: Sequence[str | None] | None = None,
    details: Callable[[int], np.ndarray] | None = None,
) -> DuplicateSets:
    """Return which rows show the same image; being so is passed on (union-find).

    Rows with the same bytes always are in one set. Rows that look alike are, unless that would bring different groups of the data
    together: two people may look alike.

    Args:
        hashes: content hash of each row; None where the image could not be read.
        thumbnails: (N, 32, 32) of ``image_statistics.thumbnail``; rows of zeros are compared by content alone.
        vectors: (N, D) features whose neighbours are candidates too; rows of NaN are passed over.
        dihedral: whether images turned or mirrored are the same, as cells are.
        groups: (N,) the group that the data give each row, or None; None: no row has one.
        details: returns the image of a row, (96, 96), for rows that look like many others; None: thumbnails decide on those too.
    """
    count = len(hashes)
    first: dict[str, int] = {}
    exact = [(first.setdefault(digest, row), row) for row, digest in enumerate(hashes) if digest is not None]
    pairs = {pair: 1.0 for pair in exact if pair[0] != pair[1]}
    same = np.zeros(count, dtype=bool)
    same[[row for pair in pairs for row in pair]] = True
    flat = np.asarray(~thumbnails.any(axis=(1, 2)))
    plain = perceptual_hashes(thumbnails)
    for turn in range(8 if dihedral else 1):
        turned = turn_over(thumbnails, turn)
        codes = plain if turn == 0 else perceptual_hashes(turned)
        near, product = _near(codes, plain, 1 - HASH_DISTANCE / 32, flat)
        if turn == 0 and details is not None and alignment.is_crowd(near, count):
            later = np.array([first.get(digest or "") != row for row, digest in enumerate(hashes)])  # equal bytes are compared once
            wide, _ = _near(codes, plain, 1 - alignment.HASH_DISTANCE / 32, flat | later)
            _verify_look_alikes(wide, thumbnails, details, pairs)
            near, product = near[:0], product[:0]
        _verify(near, ALIKE + MORE_ALIKE * 32 * (1 - product), turned, thumbnails, pairs)
    if vectors is not None:
        directions = unit(vectors)
        skip = flat | np.asarray(np.isnan(vectors).any(axis=1))
        near, product = _near(directions, directions, COSINE, skip)
        _verify(near, np.full(len(near), ALIKE + MORE_ALIKE * HASH_DISTANCE), thumbnails, thumbnails, pairs)
    own = groups if groups is not None else [None] * count
    sets, apart = _united([pair for pair in exact if pair[0] != pair[1]], pairs, own)
    alike = np.full(count, np.nan)
    for (a, b), value in pairs.items():
        if sets[a] == sets[b]:
            alike[a], alike[b] = np.fmax(alike[a], value), np.fmax(alike[b], value)
    return DuplicateSets(np.where(np.isnan(alike), -1, sets), same, alike, apart)


def _united(
    exact: Sequence[tuple[int, int]], pairs: Mapping[tuple[int, int], float], groups: Sequence[str | None]
) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """Return the set of each row (N,), named by its smallest row, and the pairs that groups keep apart; the most alike unite first."""
    together = Unions[int]()
    inside: list[set[str]] = [set() if group is None else {group} for group in groups]
    apart = []
    by_bytes = set(exact)
    near = sorted((pair for pair in pairs if pair not in by_bytes), key=lambda pair: (-pairs[pair], pair))
    for pair, of_bytes in [*((one, True) for one in exact), *((one, False) for one in near)]:
        first, second = sorted(map(together.first, pair))
        if first == second:
            continue
        if of_bytes or inside[first] <= inside[second] or inside[second] <= inside[first]:  # no group meets a new one
            together.join(first, second)
            inside[first] |= inside[second]
        else:
            apart.append(pair)
    sets = np.array([together.first(row) for row in range(len(groups))], dtype=np.int64)
    return sets, tuple(sorted(pair for pair in apart if sets[pair[0]] != sets[pair[1]]))


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return the perceptual hash (Zauner 2010) of each thumbnail as (N, 64) float32 of ±1/8, so that products are 1 − distance / 32.

    The bits are those of ``imagehash.phash``: which of the 64 lowest coefficients of the cosine transform are above their median.
    """
    from scipy.fft import dctn

    out = np.empty((len(thumbnails), 64), dtype=np.float32)
    for start in range(0, len(thumbnails), _BLOCK):
        part = thumbnails[start : start + _BLOCK]
        low = part.min(axis=(1, 2), keepdims=True)
        scale = 255 / np.maximum(np.ptp(part, axis=(1, 2), keepdims=True), 1e-12)
        lowest = dctn(((part - low) * scale).astype(np.uint8).astype(np.float64), axes=(1, 2))[:, :8, :8].reshape(len(part), 64)
        out[start : start + len(part)] = (lowest > np.median(lowest, axis=1, keepdims=True)) * 0.25 - 0.125
    return out


def turn_over(images: np.ndarray, turn: int) -> np.ndarray:
    """Return square images (N, S, S) in one of the eight positions of a square; 0 leaves them as they are."""
    out = np.rot90(images, turn % 4, axes=(1, 2))
    return out if turn < 4 else out[:, :, ::-1]


def _near(a: np.ndarray, b: np.ndarray, bound: float, skip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs (P, 2) of rows whose vectors have a product of at least ``bound``, the smaller row second, and the products (P,).

    Only pairs below the diagonal are compared, in squares that stay in the processor's cache.
    """
    rows = np.flatnonzero(~skip)
    a, b = np.ascontiguousarray(a[rows], dtype=np.float32), np.ascontiguousarray(b[rows], dtype=np.float32)
    found, products = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    for start in range(0, len(rows), _SQUARE):
        for left in range(0, start + 1, _SQUARE):
            product = a[start : start + _SQUARE] @ b[left : left + _SQUARE].T
            first, second = np.divmod(np.flatnonzero(product >= bound - 1e-6), product.shape[1])
            keep = first + start > second + left
            first, second = first[keep], second[keep]
            found.append(np.stack([rows[first + start], rows[second + left]], axis=1))
            products.append(product[first, second])
    return np.concatenate(found), np.concatenate(products)


def _verify(
    candidates: np.ndarray, bound: np.ndarray, turned: np.ndarray, thumbnails: np.ndarray, pairs: dict[tuple[int, int], float]
) -> None:
    """Add to ``pairs`` those candidates whose thumbnails, shifted by a pixel at most, are alike to the bound of each."""
    for start in range(0, len(candidates), _BLOCK):
        part = candidates[start : start + _BLOCK]
        alike = correlations(turned[part[:, 0]], thumbnails[part[:, 1]])
        same = alike >= bound[start : start + _BLOCK]
        for (a, b), value in zip(part[same].tolist(), alike[same].tolist(), strict=True):
            pairs[b, a] = max(pairs.get((b, a), 0.0), value)


def _verify_look_alikes(
    candidates: np.ndarray, thumbnails: np.ndarray, details: Callable[[int], np.ndarray], pairs: dict[tuple[int, int], float]
) -> None:
    """Add to ``pairs`` those candidates that are the same after alignment, where whole data look alike."""
    alike = [correlations(thumbnails[p[:, 0]], thumbnails[p[:, 1]]) for p in np.array_split(candidates, len(candidates) // _BLOCK + 1)]
    tried = alignment.best_of_each(candidates, np.concatenate(alike), alignment.TRIED)
    rows = np.unique(tried)
    images = np.stack([details(row) for row in rows.tolist()]) if len(rows) else np.empty((0, alignment.SIDE, alignment.SIDE), np.uint8)
    at = np.searchsorted(rows, tried)
    values, moves = alignment.aligned(images, at)
    for number in np.flatnonzero(alignment.same(images, at, values, moves)).tolist():
        a, b = tried[number].tolist()
        pairs[b, a] = max(pairs.get((b, a), 0.0), float(values[number]))


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the normalised correlation (N,) of images (N, S, S) pairwise, the largest over shifts by up to a pixel."""
    inner = slice(_SHIFT, -_SHIFT)
    still = _standard(b[:, inner, inner])
    best = np.full(len(a), -1.0)
    size = a.shape[1] - 2 * _SHIFT
    for top in range(2 * _SHIFT + 1):
        for left in range(2 * _SHIFT + 1):
            moved = _standard(a[:, top : top + size, left : left + size])
            best = np.maximum(best, np.einsum("nij,nij->n", moved, still))
    return best


def _standard(images: np.ndarray) -> np.ndarray:
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    return centred / np.maximum(np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True)), 1e-12)
