"""Keyword arguments of the API and options of the command line are one table."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.main import get_command

from tapetum import api
from tapetum.api.recipe import recipe_of
from tapetum.cli import app
from tapetum.core.errors import KindError, UserError
from tapetum.core.options import OPTIONS, to_keys

CLI = {parameter.name: parameter for parameter in get_command(app).commands["fit"].params}


def test_fit_takes_what_the_command_takes():
    arguments = inspect.signature(api.fit).parameters
    assert set(CLI) - {"set", "json", "verbose"} == set(arguments) - {"sets", "log", "command"}
    assert set(OPTIONS) <= set(arguments)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_is_the_same_in_both(name):
    option = CLI[name]
    assert (option.multiple, option.is_flag) == (OPTIONS[name].kind is list, OPTIONS[name].kind is bool)
    assert option.help == OPTIONS[name].help


def test_one_value_is_enough_where_a_list_is_wanted():
    recipe = recipe_of(None, {"target": "label", "test": Path("t.csv"), "side": "age", "derive": "a=b*2", "path": "file"}).recipe
    assert (recipe.data.targets, recipe.data.test, recipe.data.side) == (("label",), ("t.csv",), ("age",))
    assert (recipe.data.derive, recipe.data.path) == ({"a": "b*2"}, "file")
    assert recipe_of(None, {"data__targets": "label"}).recipe.data.targets == ("label",)


def test_zero_is_a_value_and_none_is_not():
    assert to_keys({"epochs": 0, "folds": None, "online": False, "target": ()}) == {"train.epochs": 0}
    assert to_keys({"online": True, "weights": "none"}) == to_keys({"weights": "none", "online": True}) == {"model.weights": "none"}
    assert to_keys({"seed": np.int64(3), "size": (32, 48)}) == {"seed": 3, "input.size": [32, 48]}


def test_a_table_is_the_section_of_that_name():
    assert recipe_of(None, {"sequence": {"length": 5}}).recipe.sequence.length == 5
    assert recipe_of(None, {"sequence": "night"}).recipe.data.sequence == "night"


def test_a_loaded_recipe_cannot_be_changed():
    with pytest.raises(UserError, match=r"a loaded recipe and profile, input\.size were given"):
        recipe_of(api.load_recipe(), {"size": 32}, profile="cpu")


@pytest.mark.parametrize("given", ["nosuch", Path("nosuch"), ""])
def test_a_path_that_is_not_there_is_refused_first(given):
    for function in (api.fit, api.tune, api.ablate, api.find_rate, api.audit, api.folds):
        with pytest.raises(UserError, match=r"nosuch does not exist|a path is blank"):
            function(given)


def test_folds_by_keywords(tmp_path):
    frame = pl.DataFrame({"file": [f"{n}.png" for n in range(12)], "label": ["a", "b"] * 6, "who": [n // 2 for n in range(12)]})
    found = api.folds(frame, target="label", group="who", folds=3, on_bad="skip")
    assert len(found["folds"]) >= 3
    assert found.path is None
    assert found.to_polars().height == len(found["folds"])
    assert repr(found) == found["table"]


@pytest.mark.parametrize(("typed", "meant"), [("targte", "target"), ("profil", "profile"), ("epoch", "epochs"), ("optimiser", "optimizer")])
def test_a_misspelt_argument_is_answered_by_an_argument(typed, meant):
    with pytest.raises(UserError, match=f"there is no argument '{typed}'. Did you mean '{meant}'"):
        recipe_of(None, {typed: "x"}, profile=None)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"epochs": 1, "train__epochs": 2}, "epochs= and train__epochs both set train.epochs, to 1 and 2"),
        ({"epochs": 1, "sets": {"train.epochs": 2}}, "both set train.epochs"),
        ({"epochs": 1, "train": {"epochs": 2}}, "both set train.epochs"),
        ({"weights": "none", "model__weights": "hub"}, "both set model.weights"),
        ({"sets": ["train.epochs=2"]}, "sets is"),
        ({"out": 5}, "out is 5; needed: the path"),
        ({"out": ""}, "out is ''"),
        ({"log": True}, "log is True; needed: a function"),
        ({"recipe": {"seed": 3}}, "recipe is {'seed': 3}; needed: a name, a TOML file"),
        ({"budget": 5}, "budget is 5; needed: a time"),
        ({"profile": 1}, "profile is 1"),
    ],
)
def test_arguments_that_contradict_or_cannot_be_are_refused(given, says, tmp_path):
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        api.fit(tmp_path, **given)
    assert "--" not in str(caught.value)


def test_same_value_twice_and_a_table_of_keys_are_taken():
    assert to_keys({"epochs": 2, "sets": {"train.epochs": 2, "train.batch": 8}}) == {"train.epochs": 2, "train.batch": 8}


def test_values_of_one_member_are_keywords(tmp_path):
    file = tmp_path / "two.toml"
    file.write_text('[[member]]\nname = "a"\n[[member]]\nname = "b"\n')

    members = api.load_recipe(file, flags=to_keys({"member__a__train__epochs": 3})).recipe.members()
    assert (members["a"].train.epochs, members["b"].train.epochs) == (3, 8)
    with pytest.raises(UserError, match=r"member .a.: the recipe has no key .train\.epochz."):
        api.load_recipe(file, flags=to_keys({"member__a__train__epochz": 3}))


@pytest.mark.parametrize("port", ["x", "80", -1, 70000, True, 1.5, [1]])
def test_port_that_is_none_is_refused_before_anything(port, tmp_path):
    with pytest.raises(KindError, match=r"port is .*; needed: a whole number from 0 to 65535"):
        api.serve(tmp_path, port=port)
    with pytest.raises(KindError, match=r"port is"):
        api.review(tmp_path, port=port)
