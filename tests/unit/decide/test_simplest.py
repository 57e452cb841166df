"""The one-standard-error rule by hand, and the paired difference that its errors come from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core import intervals
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide.simplest import paired, simplest

FIGURES = {"probe": 0.80, "mean": 0.84, "finetune": 0.85}


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"probe": 0.06, "mean": 0.02}, "probe"),
        ({"probe": 0.04, "mean": 0.02}, "mean"),  # within one error of the best, though not the simplest
        ({"probe": 0.04, "mean": 0.009}, "finetune"),
        ({"probe": None, "mean": 0.0}, "probe"),  # an unknown error: nothing beats the simpler one
    ],
)
def test_the_first_within_one_error_wins(errors: dict[str, float | None], expected: str):
    asked = []

    def error(best: str, other: str) -> float | None:
        asked.append(best)
        return errors[other]

    assert simplest(FIGURES, error) == expected
    assert set(asked) == {"finetune"}


@pytest.mark.parametrize("figures", [{"a": 0.5}, {"a": 0.5, "b": 0.5}, {"a": -math.inf, "b": -math.inf}])
def test_the_first_of_equals_needs_no_error(figures: dict[str, float]):
    def never(best: str, other: str) -> float:
        raise AssertionError("asked for an error that nothing depends on")

    assert simplest(figures, never) == "a"


def test_an_undefined_simplest_one_is_beaten_where_errors_are_known():
    assert simplest({"a": -math.inf, "b": 0.1}, lambda *_: 0.5) == "b"
    assert simplest({"a": -math.inf, "b": 0.1}, lambda *_: None) == "a"


def test_paired_takes_what_was_decided():
    rng = np.random.default_rng(0)
    n, target = 60, Target("t", "single", ("x", "y", "z"))
    p = rng.dirichlet(np.ones(3), n).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)]
    ids, ok = np.array([f"r{i}" for i in range(n)], dtype=object), np.full(n, "ok", dtype=object)
    plain = Dense(target, ids, p, y, np.zeros(n, dtype=np.int16), ok)
    right = Dense(target, ids, p, y, plain.fold, ok, answer=y)
    groups, weight = np.arange(n) // 3, rng.random(n) + 0.5
    found = paired("accuracy", right, plain, groups, weight)
    own = intervals.interval("accuracy", target, p, y, groups, weight=weight)
    assert found.value == pytest.approx(1 - own.value)
    assert found.standard_error == pytest.approx(own.standard_error)
