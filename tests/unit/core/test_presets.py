from __future__ import annotations

import pytest

from tapetum import api
from tapetum.core.errors import UserError
from tapetum.core.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_each_value_of_a_preset_is_recorded_with_its_name(name):
    loaded = api.load_recipe(preset=name)
    origins = {key: origin for key, _, origin in loaded.explain() if origin != "default"}
    assert set(origins.values()) <= {f"preset {name}"}
    assert set(PRESETS[name].values) <= set(loaded.origin)


def test_fast_trains_nothing_and_best_trains_two_members():
    assert api.load_recipe(preset="fast").recipe.train.epochs == 0
    assert api.load_recipe("dogs", preset="fast").recipe.stages == ()
    best = api.load_recipe(preset="best").recipe
    assert best.train.epochs > api.load_recipe().recipe.train.epochs
    assert sorted(member.seed for member in best.members().values()) == [0, 1]


def test_flags_override_a_preset_and_members_stay(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[[member]]\nname = "a"\n')
    loaded = api.load_recipe(file, preset="best", flags={"train.epochs": 3})
    assert list(loaded.recipe.members()) == ["a"]
    assert loaded.recipe.train.epochs == 3


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"Did you mean 'fast'"):
        api.load_recipe(preset="fasst")
