from __future__ import annotations

import sys

import pytest
from typer.main import get_command

from tapetum import api
from tapetum.cli import app, main
from tapetum.cli.options import LAYERS
from tapetum.core.config import Recipe, flatten
from tapetum.core.options import OPTIONS

GIVEN = {  # flag → words of the command line, what the recipe then holds
    "target": (["--target", "a:multi", "--target", "b"], ("a:multi", "b")),
    "derive": (["--derive", "ans = a*2 + b"], {"ans": "a*2 + b"}),
    "id": (["--id", "Id"], "Id"),
    "path": (["--path", "{Id}_red.png", "--path", "{Id}_blue.png"], ("{Id}_red.png", "{Id}_blue.png")),
    "group": (["--group", "patient"], "patient"),
    "sequence": (["--sequence", "night"], "night"),
    "position": (["--position", "epoch"], "epoch"),
    "layout": (["--layout", "table"], "table"),
    "on_bad": (["--on-bad", "skip"], "skip"),
    "test": (["--test", "t.csv"], ("t.csv",)),
    "track": (["--track", "tensorboard"], ("tensorboard",)),
    "extra": (["--extra", "e.csv"], ("e.csv",)),
    "join": (["--join", "j.csv"], ("j.csv",)),
    "side": (["--side", "age", "--side", "weight"], ("age", "weight")),
    "pseudo": (["--pseudo", "p.parquet"], "p.parquet"),
    "folds": (["--folds", "3"], 3),
    "holdout": (["--holdout", "0.2"], 0.2),
    "backbone": (["--backbone", "test_vit"], "test_vit"),
    "online": (["--online"], "hub"),
    "weights": (["--weights", "here/it"], "local-dir:here/it"),
    "size": (["--size", "64"], 64),
    "epochs": (["--epochs", "0"], 0),
    "batch": (["--batch", "16"], 16),
    "saliency": (["--saliency", "loss"], "loss"),
    "seed": (["--seed", "7"], 7),
}


@pytest.fixture
def loaded(monkeypatch):
    """Run ``tapetum fit`` with some words as far as the recipe and return it."""
    held = {}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # which main may set
    monkeypatch.setattr(api, "fit", lambda data, out, *, recipe, **how: held.update(recipe=recipe, out=out, **how) or {})

    def run(*words: str, command: str = "fit"):
        monkeypatch.setattr(sys, "argv", ["tapetum", command, "data", "--json", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        return held["recipe"]

    return run


@pytest.mark.parametrize("name", OPTIONS)
def test_each_flag_sets_its_key_alone_and_says_so(name, loaded):
    words, value = GIVEN[name]
    plain, found = loaded(), loaded(*words)
    assert found.origin == dict.fromkeys(found.origin, "flag") != {}
    before, after = (dict(flatten(one.recipe.model_dump())) for one in (plain, found))
    held = found.recipe
    for part in OPTIONS[name].key.split("."):
        held = getattr(held, part)
    assert held == value
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert all(key.startswith(OPTIONS[name].key) for key in changed)
    assert all(origin == "default" for _, _, origin in plain.explain())


def test_flags_lie_over_files_and_sets_over_flags(loaded, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('seed = 1\n[train]\nepochs = 1\nbatch = 8\n[model]\nbackbone = "test_vit"\n')
    found = loaded("-c", str(file), "--epochs", "2", "--batch", "auto", "--set", "train.epochs=3")
    train = found.recipe.train
    assert (found.recipe.seed, train.epochs, train.batch, found.recipe.model.backbone) == (1, 3, "auto", "test_vit")
    assert found.origin["train.epochs"] == "--set"
    assert found.origin["train.batch"] == "flag"


def test_named_weights_are_taken_where_the_hub_is_allowed(loaded):
    assert loaded("--online", "--weights", "none").recipe.model.weights == "none"
    assert loaded("--weights", "package:efficientnet-lite0").recipe.model.weights == "package:efficientnet-lite0"


@pytest.mark.parametrize(("words", "said"), [(["--folds", "1"], "--holdout"), (["--derive", "a*2"], "NAME=EXPRESSION")])
def test_what_cannot_be_read_ends_before_any_data_are(words, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tapetum", "split", "no-such-folder", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_flags_name_keys_that_recipes_have():
    known = {key for key, _ in flatten(Recipe().model_dump())}
    assert {flag.key for flag in OPTIONS.values()} <= known


def test_all_commands_that_take_a_recipe_take_all_its_layers():
    for name, command in get_command(app).commands.items():
        options = {parameter.name for parameter in command.params}
        of_a_table = {"path", "id", "group", "sequence", "position", "layout", "on_bad"}  # predict has them for its own images
        if options & (OPTIONS.keys() - {"target", "seed", "size"} - of_a_table):
            assert options >= LAYERS.keys(), name


NOT_TAKEN = {"find_rate": {"epochs", "saliency", "track"}, "tune": {"saliency", "track"}, "ablate": {"saliency", "track"}}


@pytest.mark.parametrize("command", NOT_TAKEN)
@pytest.mark.parametrize("name", OPTIONS)
def test_commands_that_train_take_the_flags_of_fit(name, command, loaded, monkeypatch):
    held = {}
    monkeypatch.setattr(api, command, lambda data, out, *, recipe, **how: held.update(recipe=recipe) or {})
    words, _ = GIVEN[name]
    monkeypatch.setattr(sys, "argv", ["tapetum", command.replace("_", "-"), "data", "--json", *words])
    with pytest.raises(SystemExit) as end:
        main()
    if name in NOT_TAKEN[command]:  # it would change nothing
        assert end.value.code == 2
        return
    assert not end.value.code
    assert dict(flatten(held["recipe"].recipe.model_dump())) == dict(flatten(loaded(*words).recipe.model_dump()))
