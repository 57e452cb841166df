"""Every number that a recipe may hold has a range: of each section's field, and of each parameter of each choice."""

from __future__ import annotations

import typing

import pytest
from pydantic import BaseModel

from tapetum.core import sections
from tapetum.core.bounds import LIMITS, _leaves, described, refusal
from tapetum.core.choices import Choice
from tapetum.core.config import Recipe
from tapetum.data import choices as data
from tapetum.decide import choices as decide
from tapetum.learn import choices as learn

SECTIONS = [Recipe] + [c for c in vars(sections).values() if isinstance(c, type) and issubclass(c, sections.Section)]
FIELDS = {f"{c.__name__}.{name}": field for c in SECTIONS for name, field in c.model_fields.items()}
CHOICES = {
    f"{key}.{parameter}": (choice, parameter)
    for package in (data, decide, learn)
    for table in vars(package).values()
    if isinstance(table, dict)
    for key, choice in table.items()
    if isinstance(choice, Choice)
    for parameter in choice.parameters
}


def takes_numbers(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return False
    return annotation in (int, float) or any(takes_numbers(one) for one in typing.get_args(annotation))


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if takes_numbers(field.annotation)])
def test_each_number_of_a_section_has_a_range(name):
    said = described(FIELDS[name].annotation, tuple(FIELDS[name].metadata))
    assert said.count("number") == sum(said.count(f"number{mark}") for mark in (", ", " from ")), said


@pytest.mark.parametrize("name", CHOICES)
def test_each_number_of_a_choice_has_a_range(name):
    choice, parameter = CHOICES[name]
    default = choice.parameters[parameter]
    numbers = [leaf for leaf in _leaves(default) if isinstance(leaf, (int, float)) and not isinstance(leaf, bool)]
    if numbers:
        assert parameter in choice.limits or parameter in LIMITS
    assert refusal(parameter, default, default, choice.limits) is None
