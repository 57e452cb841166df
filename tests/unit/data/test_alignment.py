"""Among images that all look alike, a cut copy is told from its look-alikes."""

from __future__ import annotations

import numpy as np

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


def test_small_sets_of_copies_are_no_crowd():
    pairs = np.array([(3 * i + a, 3 * i + b) for i in range(100) for a, b in ((1, 0), (2, 0), (2, 1))])
    assert not alignment.is_crowd(pairs, 300)
    chain = np.stack([np.arange(1, 100), np.arange(99)], axis=1)
    assert alignment.is_crowd(chain, 300)
