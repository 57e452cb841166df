"""Which images are labelled first: by hand, and by what must hold whatever the numbers are."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.decide.labelling import uncertainty, worth_labelling


def test_uncertainty_is_the_margin_of_two_classes():
    p = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [1, 0, 0], [np.nan] * 3])
    assert uncertainty(p, "single")[:3] == pytest.approx([0.5, 1, 0])
    assert np.isnan(uncertainty(p, "single")[3])
    assert uncertainty(np.array([[0.9, 0.5], [1.0, 0.1]]), "multi") == pytest.approx([1, 0.2])


def test_copies_of_a_chosen_image_come_late():
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0.01]], dtype=np.float32)
    unsure = np.array([1, 0.99, 0.5, 0.98])
    assert worth_labelling(unsure, vectors)[:2].tolist() == [0, 2]
    assert worth_labelling(unsure, vectors, known=np.array([[1.0, 0]]))[0] == 2


def test_every_row_is_listed_once_and_unreadable_ones_last():
    rng = np.random.default_rng(0)
    unsure, vectors = rng.random(30), rng.normal(size=(30, 4))
    unsure[[3, 8]], vectors[3] = np.nan, np.nan
    order = worth_labelling(unsure, vectors, count=10)
    assert sorted(order.tolist()) == list(range(30))
    assert set(order[-2:].tolist()) == {3, 8}
    assert (np.diff(unsure[order[10:28]]) <= 0).all()
    assert worth_labelling(np.zeros(0), np.zeros((0, 4))).tolist() == []
