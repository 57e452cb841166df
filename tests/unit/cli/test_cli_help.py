"""What every command promises: -h, an example that parses, --json."""

from __future__ import annotations

import json
import shlex

import pytest
from typer.main import get_command

import small_runs
import tapetum
from tapetum.cli import app
from tapetum.cli.mending import flat

COMMANDS = flat(get_command(app))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_examples_and_json(name):
    said = small_runs.cli(*name.split(), "-h", verbose=False)
    assert said.code == 0
    assert "--json" in said.out
    examples = [line.strip() for line in said.out.splitlines() if line.strip().startswith(f"tapetum {name}")]
    assert examples
    for example in (line for line in COMMANDS[name].epilog.splitlines() if line.strip().startswith("tapetum ")):
        words = shlex.split(example)
        many = len(name.split())
        assert words[1 : 1 + many] == name.split()
        COMMANDS[name].make_context(name, words[1 + many :], resilient_parsing=False).close()


def test_version_answers():
    said = small_runs.cli("--version")
    assert (said.code, said.out) == (0, f"tapetum {tapetum.__version__}\n")


def test_completion_is_offered_on_request():
    assert "--install-completion" in small_runs.cli("-h").out


def test_commands_are_listed_with_whole_sentences():
    lines = small_runs.cli("-h").out.partition("Commands:")[2].partition("Example:")[0]
    assert "..." not in lines
    assert all(name.split()[0] in lines for name in COMMANDS)


def test_recipes_are_a_column_of_names_and_their_whole_lines():
    recipes = json.loads(small_runs.cli("recipes", "--json").out)["recipes"]
    said = small_runs.cli("recipes").out.splitlines()
    start, shown, name = max(map(len, recipes)) + 2, {}, ""
    for line in said:
        name = line[:start].strip() or name
        shown.setdefault(name, []).append(line[start:])
    assert {name: " ".join(parts) for name, parts in shown.items()} == recipes
    assert max(map(len, said)) <= 100


def test_reproduce_names_the_system_before_it_asks_for_data():
    said = small_runs.cli("reproduce", "mask-pluss")
    assert said.code == 2
    assert "there is no reference system 'mask-pluss'" in said.err
    assert "Did you mean 'mask-plus'?" in said.err


def test_help_of_help_is_the_help():
    from tapetum.cli import _help_words

    assert [_help_words(words) for words in (["help"], ["help", "help"], ["help", "fit"])] == [["--help"], ["--help"], ["fit", "--help"]]


def test_recipes_are_told_without_their_own_names():
    from tapetum import api

    found = api.recipes()
    assert found
    assert not [name for name, line in found.items() if line.startswith((f"{name}:", "#")) or not line]


def test_an_empty_recipe_of_another_package_is_listed(tmp_path, monkeypatch):
    from tapetum import api

    (tmp_path / "bare.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr("tapetum.api.recipe.find_recipes", lambda: {"bare": tmp_path / "bare.toml"})
    assert api.recipes() == {"bare": ""}
