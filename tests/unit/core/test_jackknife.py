"""The spread of a figure between groups: against the textbook's formulas."""

import numpy as np
import pytest

from tapetum.core import jackknife


def test_standard_error_of_group_means_is_the_textbooks():
    values = np.random.default_rng(0).normal(size=30)
    left = (values.sum() - values) / 29
    found = jackknife.spread(left, np.ones(30), np.ones(30))
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    assert found.effective == pytest.approx(30)
    assert found.freedom <= 29


def test_types_of_groups_count_as_often_as_they_stand():
    left, times = np.array([0.4, 0.6, 0.5]), np.array([3.0, 2.0, 4.0])
    whole = jackknife.spread(np.repeat(left, times.astype(int)), np.ones(9), np.ones(9))
    found = jackknife.spread(left, times, np.ones(3))
    assert (found.standard_error, found.freedom) == pytest.approx((whole.standard_error, whole.freedom))


def test_few_groups_with_errors_leave_few_degrees_of_freedom():
    one = np.full(50, 0.99)
    one[0] = 1.0
    assert jackknife.spread(one, np.ones(50), np.ones(50)).freedom == pytest.approx(1.1, abs=0.2)
    even = np.random.default_rng(1).normal(0.9, 0.01, 50)
    assert jackknife.spread(even, np.ones(50), np.ones(50)).freedom > 30


def test_undefined_groups_and_rounding_add_no_spread():
    assert jackknife.spread(np.array([0.5, np.nan]), np.ones(2), np.ones(2)) is None
    assert jackknife.spread(np.array([0.1 + 0.2, 0.3, 0.3]), np.ones(3), np.ones(3)).standard_error == 0


@pytest.mark.parametrize("groups", [12, 500])
def test_any_figure_of_weighted_rows_has_a_standard_error(groups):
    """More groups than can be left out one by one are put into blocks, and the error stays about the same."""
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(groups), 3)
    values = rng.normal(size=groups)[codes]
    found = jackknife.standard_error(lambda weight: float(np.average(values, weights=weight)), codes, groups, most=100)
    assert found == pytest.approx(values[::3].std(ddof=1) / np.sqrt(groups), rel=1e-9 if groups == 12 else 0.25)
    assert jackknife.standard_error(lambda weight: 1.0, np.zeros(3, dtype=int), 1) is None
