"""What every command promises: -h, an example that parses, --json."""

from __future__ import annotations

import shlex

import pytest
from typer.main import get_command

import small_runs
import tapetum
from tapetum.cli import app

COMMANDS = get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_examples_and_json(name):
    said = small_runs.cli(name, "-h", verbose=False)
    assert said.code == 0
    assert "--json" in said.out
    examples = [line.strip() for line in said.out.splitlines() if line.strip().startswith(f"tapetum {name}")]
    assert examples
    for example in (line for line in COMMANDS[name].epilog.splitlines() if line.strip().startswith("tapetum ")):
        words = shlex.split(example)
        assert words[1] == name
        COMMANDS[name].make_context(name, words[2:], resilient_parsing=False).close()


def test_version_answers():
    said = small_runs.cli("--version")
    assert (said.code, said.out) == (0, f"tapetum {tapetum.__version__}\n")


def test_completion_is_offered_on_request():
    assert "--install-completion" in small_runs.cli("-h").out
