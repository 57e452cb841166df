from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.monitor import monitor, prior_answer, prior_decision
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
    prior_mae, prior_f1 = np.mean([2, 1, 0, 1, 2]), (8 / 9 + 0) / 2  # always c; always x
    expected = (prior_mae / 0.2 + 1.0 / prior_f1) / 2
    assert monitor("auto", {"age": AGES, "kind": KIND}, answers) == pytest.approx(expected, rel=1e-6)
