"""The generated pages of docs/ equal their sources; every recipe key and every choice has a meaning."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tapetum.core import config, sections
from tapetum.workflow.choices import ALL

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", ["reference/recipe.md", "reference/commands.md", "decisions/index.md"])
def test_a_page_equals_what_the_code_gives(generate, file):
    page = (DOCS / file).read_text(encoding="utf-8")
    assert page == generate.pages()[file], "run: python docs/generate.py"


def test_every_recipe_key_has_a_meaning(generate):
    words = generate.meanings(sections) | generate.meanings(config)
    bare = [key for key in generate.recipe_keys() if not words[key]]
    assert bare == []


def test_every_choice_says_what_it_does(generate):
    assert [f"{key} {name}" for key, table in ALL.items() for name, choice in table.items() if not generate.summary(choice.where)] == []
