"""The usual distance between rows of a sequence."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.order import slots, usual_step


def test_missing_rows_do_not_move_the_step():
    assert usual_step(np.array([30.0] * 90 + [60.0] * 7 + [3000.0])) == 30
    assert usual_step(np.array([])) == 1


def test_a_few_doubled_rows_do_not_move_it_either():
    assert usual_step(np.array([0.1] * 2 + [30.0] * 98)) == pytest.approx(30)


def test_irregular_rows_do_not_make_the_step_small():
    assert usual_step(np.diff([0, 30, 60, 90.4, 95, 150, 180])) == pytest.approx(30, abs=0.2)
    assert usual_step(np.array([1.0] * 30 + [2.0] * 70)) == 1  # many rows are missing


def test_close_rows_have_slots_of_their_own_and_gaps_stay():
    first = np.array([True, False, False, False, True, False])
    assert slots(first, np.array([0, 0.1, 1, 46, 0, 2.0]), 1.0).tolist() == [0, 1, 2, 48, 0, 2]
    assert slots(first, np.array([0, 0.1, 1, 46, 0, 2.0]), 1.0, furthest=5).tolist() == [0, 1, 2, 7, 0, 2]
    assert slots(first, np.array([0, 0, 1, 1, 0, 1.0]), 1.0).tolist() == [0, 0, 1, 2, 0, 1]
