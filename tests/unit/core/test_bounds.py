"""Ranges of numbers: what they hold, how they are said, and what a choice's parameter refuses."""

import math

import pytest

from tapetum.core.bounds import Range, refusal
from tapetum.core.choices import Choice, pick
from tapetum.core.errors import UserError


@pytest.mark.parametrize(
    ("limit", "inside", "outside", "said"),
    [
        (Range(0, 1), (0, 1, 0.5), (-0.01, 1.01), "a number from 0 to 1"),
        (Range(0, above=True), (1e-9, 1e9), (0, -1), "a number, above 0"),
        (Range(0, 1, below=True), (0, 0.999), (1,), "a number, 0 or more and below 1"),
        (Range(1), (1, 2), (0,), "a number, 1 or more"),
        (Range(words=("fit",)), (-5, 5), (math.nan, math.inf), "a number or 'fit'"),
    ],
)
def test_a_range_holds_its_ends_as_it_says(limit, inside, outside, said):
    assert all(limit.holds(value) for value in inside)
    assert not any(limit.holds(value) for value in outside)
    assert limit.text() == said


@pytest.mark.parametrize(
    ("name", "value", "default", "refused"),
    [
        ("probability", 0.5, 1.0, False),
        ("probability", 1.5, 1.0, True),
        ("probability", "often", 1.0, True),
        ("probability", True, 1.0, True),
        ("fill", "mean", 0.0, False),
        ("fill", "maen", 0.0, True),
        ("layers", 2.5, 2, True),
        ("layers", 0, 2, True),
        ("scale", [0.5, 0.9], (0.6, 1.0), False),
        ("scale", [0.9, 0.5], (0.6, 1.0), True),
        ("scale", [0.5], (0.6, 1.0), True),
        ("scale", 0.5, (0.6, 1.0), True),
        ("nesterov", 1, False, True),
        ("bound", "fit", "fit", False),
        ("bound", 1.5, "fit", True),
        ("tau", math.nan, 1.0, True),
        ("eps", math.inf, 1e-8, True),
    ],
)
def test_a_parameter_takes_only_numbers_of_its_range(name, value, default, refused):
    assert (refusal(name, value, default, {}) is not None) is refused


def test_the_refusal_names_choice_parameter_value_and_range():
    table = {"drop": Choice("a:b", limits={"share": Range(0, 0.5)}, share=0.1)}
    assert pick({"name": "drop", "share": 0.5}, table, "augment")[1] == {"share": 0.5}
    with pytest.raises(UserError, match=r"augment 'drop' has share = 0.6; needed: a number from 0 to 0.5"):
        pick({"name": "drop", "share": 0.6}, table, "augment")
