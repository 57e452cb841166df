from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.monitor import monitor, prior_answer, prior_decision, skill
from tapetum.core.targets import Target

AGES = Target("age", "ordinal", ("a", "b", "c", "d", "e"))
KIND = Target("kind", "single", ("x", "y"))


def test_the_prior_of_ordered_classes_decides_for_the_median():
    y = np.eye(5, dtype=np.float32)[[0, 0, 1, 2, 3, 4, 4]]
    prior = prior_answer(AGES, y)
    np.testing.assert_array_equal(prior_decision(AGES, prior).argmax(axis=1), [2] * 7)
    assert prior_decision(KIND, prior[:, :2]) is None


def test_several_targets_are_each_set_against_the_prior_alone():
    ages, kinds = np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4]], np.eye(2, dtype=np.float32)[[0, 0, 0, 0, 1]]
    p = np.eye(5, dtype=np.float32)[[1, 1, 2, 3, 4]]
    answers = {"age": (p, ages), "kind": (kinds, kinds)}
    prior_mae = np.mean([2, 1, 0, 1, 2])  # always c
    expected = ((prior_mae - 0.2) / prior_mae + 1.0) / 2
    assert monitor("auto", {"age": AGES, "kind": KIND}, answers) == pytest.approx(expected, rel=1e-6)


def test_target_with_worthless_prior_weighs_no_more():
    """Rare labels: the prior names none of them, so its macro-F1 is 0; a ratio to it would be a million."""
    rare = Target("rare", "multi", ("a", "b"))
    y = np.zeros((20, 2), dtype=np.float32)
    y[:4, 0] = y[4:8, 1] = 1
    kinds = np.eye(2, dtype=np.float32)[np.arange(20) % 2]
    half, wrong = y.copy(), 1 - kinds
    half[:2, 0] = 0  # F1 of a: 2/3, of b: 1
    both = {"rare": rare, "kind": KIND}
    prior = (2 / 3 + 0) / 2  # always x
    below = -prior / (1 - prior)
    assert monitor("auto", both, {"rare": (half, y), "kind": (wrong, kinds)}) == pytest.approx((5 / 6 + below) / 2, rel=1e-6)
    assert monitor("auto", both, {"rare": (y, y), "kind": (kinds, kinds)}) == pytest.approx(1.0)


def test_skill_is_bounded_and_zero_where_nothing_can_be_told():
    number = Target("n", "regression")
    y = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    assert skill(number, y + 100, y) == -1.0  # however far off
    assert skill(number, np.full_like(y, 2), y) == 0.0  # the median
    assert skill(number, y + 0.5, np.full_like(y, 5)) == 0.0  # a constant number: the prior is right
    kinds = np.eye(2, dtype=np.float32)[[0, 0, 0]]
    assert skill(KIND, 1 - kinds, kinds) == 0.0  # one class alone
    assert skill(KIND, np.full_like(kinds, np.nan), kinds) == 0.0  # no answer


def test_best_score_is_the_truths_where_classes_are_absent():
    y = np.eye(5, dtype=np.float32)[[0, 0, 1, 1]]
    single = Target("s", "single", ("a", "b", "c", "d", "e"))
    assert skill(single, y, y) == pytest.approx(1.0)


def test_a_target_without_truth_is_left_out():
    kinds = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    unknown = np.full((3, 5), np.nan, dtype=np.float32)
    ages = np.full((3, 5), 0.2, dtype=np.float32)
    assert monitor("auto", {"age": AGES, "kind": KIND}, {"age": (ages, unknown), "kind": (kinds, kinds)}) == 1.0
    assert monitor("auto", {"age": AGES, "kind": KIND}, {"age": (ages, unknown), "kind": (kinds, kinds * np.nan)}) == -np.inf


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_weights_of_one_keep_the_prior_of_a_number(n):
    y = np.random.default_rng(n).normal(size=(n, 1)).astype(np.float32)
    target = Target("size", "regression")
    np.testing.assert_allclose(prior_answer(target, y, np.ones(n)), prior_answer(target, y), rtol=1e-6)
    twice = prior_answer(target, np.concatenate([y, y]))[:1]
    np.testing.assert_allclose(prior_answer(target, y, np.full(n, 2.0))[:1], twice, rtol=1e-6)
