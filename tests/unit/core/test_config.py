"""The recipe: what lies over what, where each value came from, and how typos are answered."""

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core import config
from tapetum.core.choices import Choice, load, name_of, pick
from tapetum.core.errors import UserError

LOSSES = {"cross_entropy": Choice("a:b", kinds=("single",), reduction="mean"), "focal": Choice("a:b", gamma=2.0, alpha=0.25)}


@pytest.fixture
def recipe(tmp_path):
    def write(text, name="mine.toml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def origins(loaded):
    return {key: origin for key, _, origin in loaded.explain()}


def test_defaults_are_a_recipe():
    loaded = config.load()
    assert loaded.recipe == config.Recipe()
    assert set(origins(loaded).values()) == {"default"}


def test_each_layer_overrides_the_one_before(recipe):
    base = recipe(
        "seed = 1\n[train]\nepochs = 2\nbatch = 16\n[input]\nsize = 64\n[profile.cpu.train]\nbatch = 8\n[profile.cpu.input]\nsize = 32"
    )
    over = recipe("[train]\nepochs = 3\n[optimizer]\nrate = 0.5", "over.toml")
    loaded = config.load(
        base, over=[over], profile="cpu", flags={"input.size": 48, "split.folds": None}, sets=["optimizer.rate=0.25", "seed=7"]
    )
    train, found = loaded.recipe.train, origins(loaded)
    assert (train.epochs, train.batch, loaded.recipe.input.size, loaded.recipe.optimizer.rate, loaded.recipe.seed) == (3, 8, 48, 0.25, 7)
    assert found["train.epochs"] == f"file {over}"
    assert found["train.batch"] == "profile cpu"
    assert found["input.size"] == "flag"
    assert found["optimizer.rate"] == "--set"
    assert found["seed"] == "--set"
    assert found["split.folds"] == "default"
    assert origins(config.load(base))["train.batch"] == "recipe mine"


def test_the_full_profile_is_the_recipe_itself(recipe):
    base = recipe("[train]\nepochs = 2\n[profile.cpu.train]\nepochs = 1")
    assert config.load(base, profile="full").recipe.train.epochs == 2
    with pytest.raises(UserError, match=r"no profile 'gpu' \(there are: full, cpu\)"):
        config.load(base, profile="gpu")


def test_members_override_sections_and_profiles_reach_them(recipe):
    base = recipe(
        "[train]\nepochs = 4\nbatch = 8\n"
        "[[member]]\nname = 'a'\ntrain = { epochs = 6 }\n"
        "[[member]]\nname = 'b'\nonly_folds = [0, 2]\ninput = { size = 96 }\n"
        "[profile.cpu.member.a.train]\nepochs = 1\n"
    )
    members = config.load(base).recipe.members()
    assert [(name, m.train.epochs, m.train.batch, m.input.size) for name, m in members.items()] == [("a", 6, 8, 224), ("b", 4, 8, 96)]
    assert config.load(base).recipe.only_folds("b") == (0, 2)
    assert config.load(base).recipe.only_folds("a") is None
    assert config.load(base, profile="cpu").recipe.members()["a"].train.epochs == 1
    assert list(config.load().recipe.members()) == ["main"]
    with pytest.raises(UserError, match="same name"):
        config.load(sets=["member=[{name='a'}, {name='a'}]"]).recipe.members()
    with pytest.raises(UserError, match="no name"):
        config.load(sets=["member=[{seed=1}]"]).recipe.members()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\nepoch_s = 3", r"no key 'train.epoch_s'. Did you mean 'train.epochs'"),
        ("[trian]\nepochs = 3", r"no key 'trian'. Did you mean 'train'"),
        ("epochs = 3", r"no key 'epochs'. Did you mean '(train|average).epochs'"),
        ("[train]\nzzqqxx = 3", "tapetum explain"),
        ("[train]\nepochs = 'many'", "recipe key 'train.epochs' is 'many'; needed: a whole number, 0 or more"),
        ("[train]\nepochs = -1", "recipe key 'train.epochs' is -1; needed: a whole number, 0 or more"),
        ("[split]\nfolds = 1", "recipe key 'split.folds' is 1"),
        ("[input]\nresize = 'zoom'", "'stretch', 'crop' or 'pad'"),
        ("[input", "is not TOML"),
    ],
)
def test_a_wrong_recipe_is_answered_with_what_would_be_right(recipe, text, says):
    with pytest.raises(UserError, match=says):
        config.load(recipe(text))


def test_a_recipe_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.toml does not exist"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(UserError, match="there is no recipe 'nonesuch'"):
        config.load("nonesuch")


@pytest.mark.parametrize(
    ("text", "value"),
    [("name=night", "night"), ("name='a b'", "a b"), ("seed=3", 3), ("input.size=[64, 32]", (64, 32)), ("mix=['mixup']", ("mixup",))],
)
def test_set_reads_toml_values_and_bare_words(text, value):
    found = config.load(sets=[text]).recipe
    for part in text.partition("=")[0].split("."):
        found = getattr(found, part)
    assert found == value


def test_set_without_a_value_is_refused():
    with pytest.raises(UserError, match="has no '='"):
        config.load(sets=["train.epochs"])


def test_names_and_parameters_of_choices_are_checked_at_once():
    tables = {"mix": LOSSES, "sample": LOSSES}
    config.load(sets=["mix=['focal', {name='focal', gamma=1.0}]", "sample='focal'"], choices=tables)
    with pytest.raises(UserError, match=r"no mix 'focl' \(there are: cross_entropy, focal\). Did you mean 'focal'"):
        config.load(sets=["mix=['focl']", "sample='focal'"], choices=tables)
    with pytest.raises(UserError, match=r"has no parameter 'gama'.*Did you mean 'gamma'"):
        config.load(sets=["mix=[{name='focal', gama=1.0}]", "sample='focal'"], choices=tables)
    with pytest.raises(UserError, match="no sample 'focl'"):
        config.load(sets=["sample='focal'", "member=[{name='a', sample='focl'}]"], choices={"sample": LOSSES})


def test_a_choice_has_its_name_alone_or_in_its_table():
    assert name_of("focal") == name_of({"name": "focal", "gamma": 1.0}) == "focal"


def test_choice_is_picked_by_name_or_import_path():
    assert pick({"name": "focal", "gamma": 1.0}, LOSSES, "loss")[1] == {"gamma": 1.0, "alpha": 0.25}
    assert pick({"name": "math:hypot", "x": 1}, LOSSES, "loss")[1] == {"x": 1}
    assert load("math:hypot")(3, 4) == 5
    for where in ("math:hypo", "no_such_module:f"):
        with pytest.raises(UserError, match="needed: 'package"):
            load(where)
    with pytest.raises(UserError, match="has no name"):
        pick({"gamma": 1}, LOSSES, "loss")


@pytest.mark.parametrize(
    "sets",
    [
        [],
        ["data.derive={ans='mask*6 + age'}", "data.targets=['a:ordinal=x<y', {name='b', kind='multi'}]"],
        ["member=[{name='a', train={epochs=1}}, {name='b'}]", "stages=[{epochs=2, size=64}, {epochs=1, schedule={name='flat'}}]"],
        ["model.heads={'odd name.x'='arcface'}", "loss.options={focal={gamma=1.5}}", "name='quote \" and \\\\ and ü'"],
        ["tune.space={'optimizer.rate'={low=1e-5, high=0.1, log=true}}"],
    ],
)
def test_a_recipe_written_out_reads_back_the_same(sets, recipe):
    before = config.load(sets=sets).recipe
    after = config.load(recipe(before.to_toml())).recipe
    assert after == before
    assert after.hash() == before.hash()


def test_the_hash_follows_values_and_not_profiles_or_notes(recipe):
    base = config.load().recipe.hash()
    assert config.load(sets=["seed=1"]).recipe.hash() != base
    assert config.load(recipe("[profile.cpu.train]\nepochs = 1\n[statements]\nG01 = 'train.epochs'")).recipe.hash() == base


leaf = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
tree = st.recursive(
    leaf.filter(lambda v: v is not None),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=5), tree, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_table_written_as_toml_reads_back(table):
    assert tomllib.loads(config.dump_toml(table)) == table


def test_tables_merge_and_lists_replace():
    low, high = {"a": {"x": 1, "y": [1, 2]}, "b": 1}, {"a": {"y": [3]}, "b": {"z": 0}}
    assert config.merge(low, high) == {"a": {"x": 1, "y": [3]}, "b": {"z": 0}}
    assert low["a"]["y"] == [1, 2]
    assert config.unflatten(dict(config.flatten({"a": {"b": {"c": 1}, "d": {}}}))) == {"a": {"b": {"c": 1}, "d": {}}}


@pytest.mark.parametrize("name", ["..", "a/b", "a\\b", ".hidden", " a", "a:b", "a\nb"])
def test_a_member_whose_name_can_be_no_folder_is_refused(tmp_path, name):
    (tmp_path / "r.toml").write_text(f"[[member]]\nname = {json.dumps(name)}\n", encoding="utf-8")
    with pytest.raises(UserError, match="can be a folder's"):
        config.load(tmp_path / "r.toml").recipe.members()


def test_members_whose_names_differ_in_case_alone_are_refused(tmp_path):
    (tmp_path / "r.toml").write_text('[[member]]\nname = "A"\n[[member]]\nname = "a"\n', encoding="utf-8")
    with pytest.raises(UserError, match="the same name"):
        config.load(tmp_path / "r.toml").recipe.members()


def test_a_set_of_two_lines_is_never_half_obeyed():
    with pytest.raises(UserError, match=r"train\.epochs"):
        config.load(sets=["train.epochs=3\nseed=4"])


MEMBERS = "[[member]]\nname = 'a'\n[[member]]\nname = 'b'\nenabled = false\n[profile.cpu.member.a.train]\nepochs = 3\n"


def test_members_are_switched_off_and_on_by_name(recipe):
    path = recipe(MEMBERS)
    assert list(config.load(path).recipe.members()) == ["a"]
    both = config.load(path, profile="cpu", sets=["member.b.enabled=true", "member.b.train.epochs=5"]).recipe.members()
    assert {name: member.train.epochs for name, member in both.items()} == {"a": 3, "b": 5}
    with pytest.raises(UserError, match=r"no member 'c' \(there are: a, b\)"):
        config.load(path, sets=["member.c.enabled=true"])
    with pytest.raises(UserError, match=r"no \[\[member\]\] is enabled"):
        config.load(path, sets=["member.a.enabled=false"]).recipe.members()
    with pytest.raises(UserError, match="enabled = 'yes'"):
        config.load(path, sets=["member.a.enabled='yes'"]).recipe.members()


def test_a_member_watches_its_own_targets(recipe):
    path = recipe(
        "[train]\nmonitor = 'ans/macro_f1'\n[[member]]\nname = 'all'\n[[member]]\nname = 'age'\nmodel = { targets = ['age'] }\n"
        "[[member]]\nname = 'named'\nmodel = { targets = ['age'] }\ntrain = { monitor = 'age/accuracy' }\n"
    )
    members = config.load(path).recipe.members()
    assert [member.train.monitor for member in members.values()] == ["ans/macro_f1", "auto", "age/accuracy"]
