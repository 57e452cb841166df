"""Every command with -o, and every function of the API with ``out``, refuses a place that it cannot write, before it does anything."""

from __future__ import annotations

import inspect

import pytest
from typer.main import get_command

import small_runs
from tapetum import api
from tapetum.cli import app, mending
from tapetum.core.errors import ENVIRONMENT, EnvironmentFault, UserError

COMMANDS = {name: one for name, one in mending.flat(get_command(app)).items() if not one.hidden}
WRITING = {name: options for name, one in COMMANDS.items() if (options := [p for p in one.params if {"-o", "--report"} & set(p.opts)])}
OUTSIDE = {"reproduce": ["--simulate"]}  # further words that a command asks for by itself
NAMED = {"reproduce": "dogs", "simulate": "dogs"}  # first arguments that are names
FUNCTIONS = {name: one for name in api.__all__ if callable(one := getattr(api, name)) and "out" in inspect.signature(one).parameters}
FOLDERS = {"fit", "trace", "find_rate", "tune", "ablate", "reproduce", "export", "simulate", "decide", "sleep_stage", "sleep_render"}


def words(name, folder):
    """Return what a command needs besides its output: the name of a folder wherever a path is asked for."""
    out = list(OUTSIDE.get(name, []))
    for number, one in enumerate(p for p in COMMANDS[name].params if p.required and p.name != "out"):
        value = NAMED[name] if name in NAMED and number == 0 else folder
        out += [value] if one.param_type_name == "argument" else [one.opts[0], value]
    return out


def outputs():
    for name, options in WRITING.items():
        for option in options:
            yield name, next(flag for flag in option.opts if flag in ("-o", "--report"))


def test_commands_that_write_are_found():
    assert {"fit", "predict", "tune", "find-rate", "ablate", "report", "sleep stage", "export", "evaluate"} <= set(WRITING)
    assert len(FUNCTIONS) >= 20


@pytest.mark.parametrize(("name", "flag"), list(outputs()))
def test_commands_refuse_a_place_below_a_file(name, flag, tmp_path):
    (tmp_path / "a-file").write_text("")
    (tmp_path / "data").mkdir()
    said = small_runs.cli(*name.split(), *words(name, tmp_path / "data"), flag, tmp_path / "a-file" / "inside" / "out.csv")
    assert (said.code, "cannot be written" in said.error, "Not a directory" in said.error) == (ENVIRONMENT, True, True), said.err
    assert sorted(place.name for place in tmp_path.iterdir()) == ["a-file", "data"]
    assert not list((tmp_path / "data").iterdir())


def call(name, folder, out):
    """Call a function of the API with the name of a folder wherever it needs a path."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "out"]
    return FUNCTIONS[name](**{one: "dogs" if name in NAMED and one == "name" else str(folder) for one in needed}, out=out)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_refuse_a_place_below_a_file(name, tmp_path):
    (tmp_path / "a-file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"cannot be written: the system makes no file in .*a-file"):
        call(name, tmp_path, tmp_path / "a-file" / "out.csv")


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - {"evaluate"}))  # which writes either
def test_functions_refuse_a_place_of_the_other_kind(name, tmp_path):
    place, kind = tmp_path / "there.csv", "file" if name in FOLDERS else "folder"
    place.write_text("kept") if kind == "file" else place.mkdir()
    with pytest.raises(UserError, match=f"there.csv is a {kind}"):
        call(name, tmp_path, place)
    assert place.is_dir() or place.read_text() == "kept"
