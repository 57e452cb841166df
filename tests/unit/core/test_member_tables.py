"""[[member]] tables: what they may have, checked whether a member is enabled or not."""

from __future__ import annotations

import pytest

from tapetum import api
from tapetum.core import config
from tapetum.core.errors import UserError

OFF = "member=[{name='a'}, {name='b', enabled=false, %s}]"


@pytest.mark.parametrize("key", ["data", "split", "probe", "decide", "tune", "statements", "profile", "member"])
def test_sections_of_the_run_are_refused_in_members(key):
    with pytest.raises(UserError, match=rf"member 'b' has {key}, .*sections that a member may have: seed, input, .*predict"):
        config.load(sets=["member=[{name='a'}, {name='b', " + key + "={}}]"]).recipe.members()


def test_keys_of_the_run_within_predict_are_refused():
    with pytest.raises(UserError, match=r"member 'a' has predict\.arrays"):
        config.load(sets=["member=[{name='a', predict={arrays=true}}]"]).recipe.members()
    kept = config.load(sets=["member=[{name='a', predict={views='flips'}}]"]).recipe.members()["a"]
    assert kept.predict.views == "flips"


def test_every_section_is_of_members_or_of_the_run():
    from tapetum.core import members

    assert {*members.SECTIONS, *members.OF_THE_RUN, "name"} == set(config.Recipe.model_fields)
    assert set(members.OF_THE_RUN_IN_PREDICT) < set(config.Predict.model_fields)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("modle={x=1}", r"member 'b': the recipe has no key 'modle'\. Did you mean 'model'"),
        ("train={epochs='x'}", r"member 'b': .*train\.epochs"),
        ("train=5", r"member 'b': .*train"),
        ("split={folds=3}", "member 'b' has split"),
        ("only_folds=[true]", r"member 'b' has only_folds = \[True\]"),
        ("sample='shufle'", "shufle"),
    ],
)
def test_disabled_members_are_checked_as_enabled_ones(wrong, says):
    with pytest.raises(UserError, match=says):
        api.load_recipe(None, sets=[OFF % wrong])
    on = OFF.replace("enabled=false", "enabled=true")
    with pytest.raises(UserError, match=says):
        api.load_recipe(None, sets=[on % wrong])


def test_a_misspelled_switch_is_named():
    with pytest.raises(UserError, match=r"no key 'enable'.*'enabled'"):
        api.load_recipe("mask", sets=["member.eca.enable=true"])


@pytest.mark.parametrize("value", ["true", "5", "[]", "'on'"])
def test_a_member_set_to_a_plain_value_is_refused(value):
    with pytest.raises(UserError, match=r"member\.eca is set to .*member\.eca\.enabled = true"):
        api.load_recipe("mask", sets=[f"member.eca={value}"])


def test_names_that_no_key_reaches_are_refused():
    with pytest.raises(UserError, match=r"name 'v1\.5'.*without dots"):
        config.load(sets=["member=[{name='v1.5'}]"]).recipe.members()


def test_disabled_members_are_returned_when_asked_for():
    recipe = config.load(sets=[OFF % "seed=4"]).recipe
    assert list(recipe.members()) == ["a"]
    assert {name: one.seed for name, one in recipe.members(off=True).items()} == {"a": 0, "b": 4}
