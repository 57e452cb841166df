"""Labels are compared; a class that no image has is compared by its probability, since rounding would decide its label."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simulated_predictions import single
from tapetum.core.agreement import agreement
from tapetum.core.errors import DataError
from tapetum.core.tables import Dense
from tapetum.core.targets import Target


def several(p, threshold):
    p = np.asarray(p, dtype=np.float32)
    ids = np.array([f"r{i}" for i in range(len(p))], dtype=object)
    status, folds = np.full(len(p), "ok", dtype=object), np.zeros(len(p), dtype=np.int16)
    target = Target("t", "multi", tuple("abc"[: p.shape[1]]))
    return Dense(target, ids, p, np.full_like(p, np.nan), folds, status, answer=(p >= threshold).astype(np.float32))


def test_agreement_counts_labels_and_the_largest_difference():
    dense, _ = single(n=400)
    other = dense.p.copy()
    other[:3] = np.roll(other[:3], 1, axis=1)
    found = agreement({"t": dense}, {"t": dense.with_p(other)})
    assert (found.images, found.targets["t"]["agreement"]) == (400, 397 / 400)
    assert found.targets["t"]["largest_difference"] == pytest.approx(np.abs(other - dense.p).max())
    assert found.low
    assert not agreement({"t": dense}, {"t": dense}).low


def test_a_class_without_images_does_not_disagree_by_rounding():
    p = np.column_stack([np.linspace(0, 1, 20), np.full(20, 0.3)])
    moved = p + np.array([0, 1e-6])
    bounds = np.array([0.5, 0.3 + 5e-7])
    assert (several(p, bounds).answer != several(moved, bounds).answer).any(axis=1).all()
    assert agreement({"t": several(p, bounds)}, {"t": several(moved, bounds)}).targets["t"]["agreement"] == 1
    far = several(p + np.array([0, 0.1]), bounds)
    assert agreement({"t": several(p, bounds)}, {"t": far}).targets["t"]["agreement"] == 0


def test_a_class_that_varies_is_compared_by_label():
    p = np.linspace(0, 1, 20)[:, None]
    assert agreement({"t": several(p, 0.5)}, {"t": several(p + 0.06, 0.5)}).targets["t"]["agreement"] == 0.95


def test_labels_that_rounding_can_decide_are_close_calls():
    one, _ = single(n=30, k=3)
    dense = Dense(one.target, *(value[:3] for value in (one.row_ids, one.p, one.y, one.fold, one.status)))
    p = np.array([[0.41, 0.40, 0.19], [0.90, 0.06, 0.04], [0.2, 0.7, 0.1]], dtype=np.float32)
    q = np.array([[0.40, 0.41, 0.19], [0.10, 0.86, 0.04], [0.2, 0.7, 0.1]], dtype=np.float32)
    found = agreement({"t": dense.with_p(p)}, {"t": dense.with_p(q)})
    assert (found.targets["t"]["differ"], found.targets["t"]["close_calls"]) == (2, 1)
    assert "2 with another label, 1 of them close calls" in found.summary()
    assert "2 with another label, 1 of them close calls" in found.low[0]
    assert "close calls" not in agreement({"t": dense}, {"t": dense}).summary()


def test_several_labels_are_close_where_none_moved_far():
    p, q = [[0.52, 0.1], [0.52, 0.9], [0.1, 0.9]], [[0.49, 0.1], [0.49, 0.2], [0.1, 0.9]]
    found = agreement({"t": several(p, 0.5)}, {"t": several(q, 0.5)}).targets["t"]
    assert (found["differ"], found["close_calls"]) == (2, 1)


def test_rows_that_only_one_could_read_are_named():
    dense, _ = single(n=4)
    status = dense.status.copy()
    status[2] = "missing"
    with pytest.raises(DataError, match="r2"):
        agreement({"t": dense}, {"t": dataclasses.replace(dense, status=status)})
