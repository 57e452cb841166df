"""The usual distance between rows of a sequence."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.order import usual_step


def test_missing_rows_do_not_move_the_step():
    assert usual_step(np.array([30.0] * 90 + [60.0] * 7 + [3000.0])) == 30
    assert usual_step(np.array([])) == 1


def test_a_few_doubled_rows_do_not_move_it_either():
    assert usual_step(np.array([0.1] * 2 + [30.0] * 98)) == pytest.approx(30)
