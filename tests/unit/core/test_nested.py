"""Nested tables laid over one another."""

from __future__ import annotations

import pytest

from tapetum.core.nested import merge


@pytest.mark.parametrize(
    ("low", "high", "merged"),
    [
        ({"schedule": {"name": "cosine", "warmup": 0, "options": {"floor": 1}}}, {"schedule": {"name": "plateau"}},
         {"schedule": {"name": "plateau", "warmup": 0}}),
        ({"schedule": {"name": "cosine", "options": {"floor": 1}}}, {"schedule": {"name": "cosine", "options": {"t": 2}}},
         {"schedule": {"name": "cosine", "options": {"floor": 1, "t": 2}}}),
        ({"sequence": {"length": 4, "head": {"name": "bilstm", "hidden": 8}}}, {"sequence": {"head": {"name": "transformer"}}},
         {"sequence": {"length": 4, "head": {"name": "transformer"}}}),
        ({"average": {"name": "ema", "decay": 0.9}}, {"average": {"name": "swa"}}, {"average": {"name": "swa", "decay": 0.9}}),
    ],
)  # fmt: skip
def test_another_choice_leaves_the_first_ones_parameters(low, high, merged):
    assert merge(low, high) == merged
