"""Every name that a recipe may use leads somewhere, and what may be set of it is what the function takes, with the same defaults."""

from __future__ import annotations

import inspect
import math

import pytest

from tapetum.core import config
from tapetum.core.choices import Choice, pick
from tapetum.core.registry import find_recipes
from tapetum.data import choices as data
from tapetum.decide import choices as decide
from tapetum.learn import choices as learn
from tapetum.workflow.choices import ALL

TABLES = {
    f"{package.__name__.split('.')[1]}.{name}.{key}": choice
    for package in (data, decide, learn)
    for name, table in vars(package).items()
    if name.isupper() and isinstance(table, dict)
    for key, choice in table.items()
    if isinstance(choice, Choice)
}
BY_THE_CALLER = {  # parameters that a recipe sets and the caller acts on: how often, how long, on which rows
    "data.MIXES": {"probability", "until", "numbers", "fill", "target", "classes", "rarest"},
    "learn.OPTIMIZERS": set(),
}


def same(a, b):
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b)
    return a == b


@pytest.mark.parametrize("name", TABLES)
def test_parameters_are_those_of_the_function(name):
    choice = TABLES[name]
    taken = inspect.signature(choice.load()).parameters
    if choice.where.startswith(("torch.", "timm.")):
        return  # the library's own defaults are stated in the table on purpose; that they are taken is tested where they are built
    extra = BY_THE_CALLER.get(name.rpartition(".")[0], set())
    for key, default in choice.parameters.items():
        if key in taken:
            assert same(taken[key].default, default), f"{key}: {taken[key].default!r} in the code, {default!r} in the table"
        else:
            assert key in extra, f"{choice.where} takes no {key!r}"


def test_every_table_was_seen():
    assert {name.rpartition(".")[0] for name in TABLES} >= {
        "data.AUGMENTS", "data.LAYOUTS", "data.MIXES", "data.SAMPLERS", "data.VIEWS",
        "decide.BLENDS", "decide.CALIBRATORS", "decide.STEPS",
        "learn.HEADS", "learn.LOSSES", "learn.OPTIMIZERS", "learn.SCHEDULES", "learn.SHARINGS",
    }  # fmt: skip


@pytest.mark.parametrize("name", find_recipes())
def test_every_recipe_here_names_and_sets_only_what_there_is(name):
    for member in config.load(name).recipe.members().values():
        config.check_choices(member, ALL)
        for loss, options in member.loss.options.items():
            pick({"name": loss, **options}, learn.LOSSES, "loss")
