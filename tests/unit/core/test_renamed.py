"""A former recipe key is answered with its name of today; what an earlier version stored is read under it."""

import json

import pytest

from tapetum import api
from tapetum.core import config
from tapetum.core.config import Recipe
from tapetum.core.errors import UserError
from tapetum.core.renamed import RENAMED, with_new_names
from tapetum.core.runs import Run

FORMER = "[train]\nepoch = 'last'\n[profile.cpu.train]\nepoch = 2\n[[member]]\nname = 'a'\ntrain = { epoch = 1 }\n"


@pytest.mark.parametrize("old", RENAMED)
def test_table_leads_from_unknown_to_known_keys(old):
    known = [key for key, _ in config.flatten(Recipe().model_dump())]
    assert old not in known
    assert RENAMED[old] in known
    assert RENAMED[old].split(".")[0] == old.split(".")[0]


@pytest.mark.parametrize(
    "given",
    [
        {"sets": ["train.epoch='last'"]},
        {"flags": {"train.epoch": "last"}},
        {"sets": ["member=[{name='a', train={epoch=1}}]"]},
        {"recipe": "file"},
        {"over": ["file"]},
        {"recipe": "profile", "profile": "cpu"},
    ],
)
def test_written_former_key_is_answered_with_new_one(given, tmp_path):
    for name, text in {"file": "[train]\nepoch = 'last'\n", "profile": "[profile.cpu]\ntrain = { epoch = 2 }\n"}.items():
        (tmp_path / f"{name}.toml").write_text(text)
    named = {key: str(tmp_path / f"{value}.toml") if key == "recipe" else value for key, value in given.items()}
    if "over" in named:
        named["over"] = [tmp_path / "file.toml"]
    with pytest.raises(UserError, match=r"no key 'train\.epoch'; it is called 'train\.checkpoint' now"):
        api.load_recipe(**named)


def test_python_keyword_is_answered_with_new_key(tmp_path):
    with pytest.raises(UserError, match=r"it is called 'train\.checkpoint' now"):
        api.fit(tmp_path, tmp_path / "run", train__epoch="last")


def test_stored_run_is_read_under_new_key(tmp_path):
    run = Run(tmp_path)
    run.recipe_file.write_text(FORMER)
    recipe = run.recipe()
    assert recipe.train.checkpoint == "last"
    assert recipe.members()["a"].train.checkpoint == 1
    assert recipe.profile["cpu"]["train"] == {"checkpoint": 2}


def test_stored_spec_is_read_under_new_key():
    values = json.loads(Recipe().model_dump_json())
    values["train"]["epoch"] = values["train"].pop("checkpoint")
    values["tune"]["space"] = {"train.epoch": [1, 2], "train.epochs": [3]}
    recipe = Recipe.stored(values)
    assert recipe.train.checkpoint == "best"
    assert recipe.tune.space == {"train.checkpoint": [1, 2], "train.epochs": [3]}


def test_values_without_former_keys_stay():
    values = {"loss": {"weights": {"a.b": 1}}, "member": [{"name": "a"}], "profile": {"cpu": {"member": {"a": {"seed": 1}}}}}
    assert with_new_names(values) == values


def test_a_former_key_names_both_keys_that_may_be_meant():
    with pytest.raises(UserError, match=r"it is called 'train\.checkpoint' now; the number of epochs is 'train\.epochs'"):
        config.load(sets=["train.epoch=1"])
