"""Among images that all look alike, a cut copy is told from its look-alikes."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from tapetum.data.audit import alignment, near_duplicates
from tapetum.data.audit.image_statistics import detail, thumbnail


def cells(count):
    """Return photographs of one layout that differ in fine marks alone."""
    rng = np.random.default_rng(0)
    layout = 128 + 30 * np.kron(rng.normal(size=(12, 12)), np.ones((16, 16)))
    marks = rng.normal(size=(count, 192, 192))
    for axis in (1, 2):
        for _ in range(4):
            marks = (marks + np.roll(marks, 1, axis) + np.roll(marks, 2, axis)) / 3
    return np.uint8(np.clip(layout + 30 * marks, 0, 255))[..., None]


def test_look_alikes_are_no_copies_and_a_cut_copy_is():
    images = list(cells(60))
    images.append(images[3][4:, 3:])
    small = np.stack([thumbnail(image) for image in images])
    names = [str(i) for i in range(61)]
    by_thumbnails = near_duplicates.find_duplicates(names, small)
    assert (by_thumbnails.set >= 0).sum() > 10
    found = near_duplicates.find_duplicates(names, small, details=lambda row: detail(images[row], alignment.SIDE))
    assert np.flatnonzero(found.set >= 0).tolist() == [3, 60]


def found_among(images):
    """Return the sets of copies among images that all look alike, decided after alignment."""
    small = np.stack([thumbnail(image) for image in images])
    names = [str(i) for i in range(len(images))]
    found = near_duplicates.find_duplicates(names, small, details=lambda row: detail(images[row], alignment.SIDE)).set
    return {tuple(np.flatnonzero(found == first).tolist()) for first in set(found.tolist()) - {-1}}


def noisy(image, seed, scale=6.0):
    return np.uint8(np.clip(image + np.random.default_rng(seed).normal(scale=scale, size=image.shape), 0, 255))


def test_images_of_the_same_grain_are_no_copies():
    rng = np.random.default_rng(1)
    marks = [gaussian_filter(rng.normal(size=(20, 192, 192)), (0, blur, blur)) * blur for blur in (2, 8)]
    large = 10 * (3.5 * marks[0] + 3.5 * marks[1])
    twin = 0.93 * large[5] + 0.37 * large[19]
    pairs = np.array([(row + 1, row) for row in range(18)] + [(19, 5)])
    for last, is_copy in ((twin, False), (large[5], True)):
        images = [noisy(128 + one[..., None], number, 2.0) for number, one in enumerate([*large[:19], last])]
        small = np.stack([detail(image, alignment.SIDE) for image in images])
        values, moves = alignment.aligned(small, pairs)
        assert alignment.SAME < values[-1] < alignment.SURE
        assert alignment.same(small, pairs, values, moves).tolist() == [False] * 18 + [is_copy]


def test_three_noisy_copies_of_a_look_alike_are_one_set():
    images = list(cells(60))
    copies = [noisy(images[3], 0), noisy(images[3][4:, 3:], 1)]
    pairs = np.array([[1, 0], [2, 0], [2, 1]])
    alike, _ = alignment.aligned(np.stack([detail(image, alignment.SIDE) for image in (images[3], *copies)]), pairs)
    assert alike.max() < alignment.SURE
    assert found_among([*images, *copies]) == {(3, 60, 61)}


def test_evidence_does_not_depend_on_the_block(monkeypatch):
    images = np.stack([detail(image, alignment.SIDE) for image in cells(5)])
    pairs = np.array([[1, 0], [2, 0], [3, 1], [4, 2]])
    _, moves = alignment.aligned(images, pairs)
    whole = alignment.evidence(images, pairs, moves)
    monkeypatch.setattr(alignment, "_BLOCK", 3)
    np.testing.assert_allclose(alignment.evidence(images, pairs, moves), whole, rtol=1e-5)


def test_small_sets_of_copies_are_no_crowd():
    pairs = np.array([(3 * i + a, 3 * i + b) for i in range(100) for a, b in ((1, 0), (2, 0), (2, 1))])
    assert not alignment.is_crowd(pairs, 300)
    chain = np.stack([np.arange(1, 100), np.arange(99)], axis=1)
    assert alignment.is_crowd(chain, 300)
