"""Every flag that a message names exists on the command that prints it, and every command that it names exists.

Messages are read from the source. Which command can print one is read from imports: a command's function, the functions of
``tapetum.api`` that it calls, and every module that these import, at the top or inside a function, or by a choice's name.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from typer.main import get_command

import tapetum
from tapetum.cli import app
from tapetum.cli.mending import flat, lacking, options_of, suited, suited_text
from tapetum.core.errors import DataError, UserError
from tapetum.core.naming import NAMED
from tapetum.core.options import OPTIONS

SOURCE = Path(tapetum.__file__).parent
COMMANDS = flat(get_command(app))
RECIPE_FLAGS = {f"--{name.replace('_', '-')}": flag.key for name, flag in OPTIONS.items()}
BY_RECIPE = [name for name in COMMANDS if "--set" in options_of(name) and name != "decide"]  # whose --set takes every key
CHOICE = re.compile(r"tapetum(?:\.\w+)+:\w+")
PROGRAMS = ("tapetum.workflow.launch.", "tapetum.workflow.commands.job")  # start other programs: a text that is one option is theirs
OTHER = re.compile(r"tapetum (sleep [a-z]+|[a-z][a-z-]*)([^.;:]*)")


def name_of(path):
    parts = ["tapetum", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}


def imports(node):
    found = set()
    for n in ast.walk(node):
        if isinstance(n, ast.Import):
            found |= {alias.name for alias in n.names}
        elif isinstance(n, ast.ImportFrom) and n.module:
            found |= {n.module, *(f"{n.module}.{alias.name}" for alias in n.names)}
        elif isinstance(n, ast.Constant) and isinstance(n.value, str) and CHOICE.fullmatch(n.value):
            found.add(n.value.partition(":")[0])
    return found & TREES.keys()


def messages(tree):
    """Yield the texts of a module that are no docstrings; what is filled in is X."""
    aside = {
        id(n.body[0].value)
        for n in ast.walk(tree)
        if isinstance(getattr(n, "body", None), list) and n.body and isinstance(n.body[0], ast.Expr)
    }
    aside |= {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for n in ast.walk(tree):
        if id(n) in aside:
            continue
        if isinstance(n, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in n.values)
        elif isinstance(n, ast.Constant) and isinstance(n.value, str):
            yield n.value


def is_argument(module, text):
    """Tell whether a text is an option that is handed to another program, rather than a message."""
    return module.startswith(PROGRAMS) and re.fullmatch(r"--?[\w-]+(=\S*)?", text) is not None


SAID = {
    module: [text for text in messages(tree) if NAMED.search(text) and "<" not in text.split("--")[0] and not is_argument(module, text)]
    for module, tree in TREES.items()
    if not module.startswith("tapetum.cli")
}
API = {f.name: f for module in TREES if module.startswith("tapetum.api.") for f in TREES[module].body if isinstance(f, ast.FunctionDef)}
PRINTS = {
    f.name: f
    for module, tree in TREES.items()
    if module.startswith("tapetum.cli.")
    for f in tree.body
    if isinstance(f, ast.FunctionDef) and f.decorator_list
}


def called(node, name):
    return {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name}


def of_api(name, seen):
    """Return the modules that a function of the API imports, with those of others that it calls."""
    if name in seen or name not in API:
        return set()
    seen.add(name)
    inner = {n.id for n in ast.walk(API[name]) if isinstance(n, ast.Name)} & API.keys()
    return imports(API[name]).union(*(of_api(one, seen) for one in inner))


@functools.cache
def reached(command):
    """Return the modules whose messages a command can print."""
    callback = COMMANDS[command].callback
    function = PRINTS[callback.__name__]
    left = [*imports(function), "tapetum.core.config", *(m for one in called(function, "api") for m in of_api(one, set()))]
    found = set()
    while left:
        module = left.pop()
        if module not in found and not module.startswith(("tapetum.api", "tapetum.cli")):
            found.add(module)
            left += imports(TREES[module])
    return found


def test_commands_and_messages_were_found():
    assert "tapetum.data.layouts.roles" in reached("predict") & reached("fit") & reached("evaluate")
    assert "tapetum.data.layouts.submission" in reached("submit")
    assert "tapetum.data.layouts.folder" in reached("audit"), "through a choice's name"
    assert sum(map(len, SAID.values())) > 60
    assert set(PRINTS) >= {COMMANDS[name].callback.__name__ for name in COMMANDS}


@pytest.mark.parametrize("module", [module for module, texts in SAID.items() if texts])
def test_what_a_message_names_exists(module):
    able = [command for command in COMMANDS if module in reached(command)] or list(COMMANDS)
    for text in SAID[module]:
        for flag in lacking(text, "doctor"):  # which has next to none
            there = [command for command in able if flag in options_of(command)]
            assert there, f"{module}: {text!r} names {flag}, which none of {able} has"
        for command, rest in OTHER.findall(text):
            assert command in COMMANDS, f"{module}: {text!r}"
            assert set(NAMED.findall(rest)) <= options_of(command), f"{module}: {text!r}"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_names_only_flags_that_it_has(command):
    for module in sorted(reached(command)):
        for text in SAID.get(module, ()):
            shown = suited_text(text, command)
            assert shown, f"{module}: {text!r} says nothing to the users of {command}"
            as_fix = suited(DataError("the file is damaged", fix=text), command)
            assert as_fix.startswith("the file is damaged")
            for said in (shown, as_fix):
                assert not lacking(said, command), f"{module}: {text!r} becomes {said!r} for {command}"


@pytest.mark.parametrize("command", BY_RECIPE)
def test_recipe_key_fix_survives_where_the_recipe_can_be_set(command):
    for module in sorted(reached(command)):
        for text in SAID.get(module, ()):
            flags = lacking(text, command)
            if not flags or not set(flags) <= RECIPE_FLAGS.keys():
                continue
            shown = suited(DataError("damaged", fix=text), command)
            for flag in flags:
                assert f"{RECIPE_FLAGS[flag]}=" in shown, f"{module}: {text!r} becomes {shown!r} for {command}"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fit", "x; needed: y. mend the paths, or go on without them: --on-bad skip"),
        ("reproduce", "x; needed: y. mend the paths, or go on without them: --set data.on_bad=skip"),
        ("submit", "x; needed: y. mend the paths"),
        (None, "x; needed: y. mend the paths, or go on without them: --on-bad skip"),
    ],
)
def test_one_message_serves_each_command(command, said):
    assert suited(UserError("x", need="y", fix="mend the paths, or go on without them: --on-bad skip"), command) == said


@pytest.mark.parametrize(
    ("text", "command", "said"),
    [
        (
            "use --weights DIR, or allow the hub with --online",
            "audit",
            "use --set model.weights=DIR, or allow the hub with --set model.weights=hub",
        ),
        ("name it: --target label:multi", "reproduce", """name it: --set 'data.targets=["label:multi"]'"""),
        ("use --folds 2 or fewer", "trace", "use --set split.folds=2 or fewer"),
        ("keep it: --set data.on_bad=skip", "predict", "keep it: --on-bad skip"),
        ("There is no column 'a'. Did you mean --group b?", "submit", "There is no column 'a'."),
        ("make one: tapetum fit DATA -o RUN", "doctor", "make one: tapetum fit DATA -o RUN"),
    ],
)
def test_a_flag_is_shown_as_the_command_has_it(text, command, said):
    assert suited_text(text, command) == said


def test_the_command_line_prints_the_mend_of_its_own_command(tmp_path, capsys, monkeypatch):
    import sys

    from tapetum.cli import main

    for command, words, mend in (("split", ["--folds", "1"], "--holdout 0.2"), ("tune", ["--set", "split.folds=1"], "--holdout 0.2")):
        monkeypatch.setattr(sys, "argv", ["tapetum", command, str(tmp_path), *words])
        with pytest.raises(SystemExit):
            main()
        assert mend in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["tapetum", "trace", str(tmp_path), "--set", "split.folds=1"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "--set split.holdout=0.2" in said
    assert "--holdout" not in said.replace("split.holdout", "")
