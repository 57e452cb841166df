"""Ordered classes are decided by the median, where the expected error in ranks is least."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from simulated_predictions import dense_of
from tapetum.core import metrics
from tapetum.core.config import Decide
from tapetum.core.monitor import median_class
from tapetum.core.tables import decided
from tapetum.core.targets import Target
from tapetum.decide import chain
from tapetum.decide.steps import Rows

LEVEL = Target("level", "ordinal", ("low", "middle", "high"))
ONE = Target("level", "single", ("low", "middle", "high"))
P = np.array([[0.4, 0.25, 0.35], [0.6, 0.1, 0.3], [0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], dtype=np.float32)


def rows_of(target, p=P):
    truth = np.eye(3, dtype=np.float32)[np.arange(len(p)) % 3]
    dense = dense_of(target, p, truth, (np.arange(len(p)) % 2).astype(np.int16))
    return dense, Rows(np.arange(len(p)).astype(str).astype(object), dense.fold)


@given(arrays.arrays(np.float64, (5, 6), elements=st.floats(0.01, 1)))
def test_median_has_the_least_expected_error_in_ranks(p):
    p = p / p.sum(axis=1, keepdims=True)
    ranks = np.arange(6)
    expected = p @ np.abs(ranks[:, None] - ranks[None, :])  # of each label
    assert expected[np.arange(5), median_class(p)] == pytest.approx(expected.min(axis=1), abs=1e-4)


@pytest.mark.parametrize(
    ("target", "decide", "labels"),
    [
        (LEVEL, Decide(), [1, 0, 0, 2]),
        (LEVEL, Decide(ordered="largest"), [0, 0, 0, 2]),
        (LEVEL, Decide(ordered="largest", steps=("median",)), [1, 0, 0, 2]),
        (ONE, Decide(), [0, 0, 0, 2]),
    ],
)
def test_default_label_of_ordered_classes_alone_is_the_median(target, decide, labels):
    found = chain.fit({"m": rows_of(target)[0]}, rows_of(target)[1], decide)
    assert decided(found.nested).argmax(axis=1).tolist() == labels
    again = chain.apply(found.json, {"m": rows_of(target)[0]})
    assert decided(again).argmax(axis=1).tolist() == labels
    assert np.array_equal(again.p, P)


def test_a_label_that_another_step_set_stays():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 60).astype(np.float32)
    alone, biased = (chain.fit({"m": rows_of(LEVEL, p)[0]}, rows_of(LEVEL, p)[1], d) for d in (Decide(), Decide(steps=("bias",))))
    plain = chain.fit({"m": rows_of(LEVEL, p)[0]}, rows_of(LEVEL, p)[1], Decide(steps=("bias",), ordered="largest"))
    assert np.array_equal(decided(biased.nested), decided(plain.nested))
    assert not np.array_equal(decided(biased.nested), decided(alone.nested))


def test_rows_without_a_prediction_get_no_label():
    dense, rows = rows_of(LEVEL)
    p, status = dense.p.copy(), dense.status.copy()
    p[1], status[1] = np.nan, "missing"
    answer = chain.fit({"m": dataclasses.replace(dense, p=p, status=status)}, rows, Decide()).nested.answer
    assert np.isnan(answer).any(axis=1).tolist() == [False, True, False, False]


def test_the_median_errs_less_than_the_largest_probability():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(3, 0.7), 4000)
    drawn = (rng.random(4000)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    median, largest = (np.eye(3)[labels] for labels in (median_class(p), p.argmax(axis=1)))
    errors = [metrics.score("ordinal_mae", LEVEL, p, np.eye(3)[drawn], answer=answer) for answer in (median, largest)]
    assert errors[0] < errors[1]
