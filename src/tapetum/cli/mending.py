"""Fixes that fit the command: a message names a recipe's flag, and each command shows the flag that it has for that.

One message serves several commands, with different flags. A flag that the running command lacks is shown as its ``--set``, else what
names it is left out, so that nobody is sent to an option that is refused.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

from tapetum.core.errors import TapetumError
from tapetum.core.naming import NAMED, OTHER, VALUE
from tapetum.core.options import OPTIONS

_SENTENCES = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
_ALTERNATIVES = re.compile(r"(?<=[.?!])\s+(?=[A-Z])|, or |; or,? ?|; ")  # of a fix


_APPS: list[Any] = []  # the one command line, handed in by the package that builds it


def know(app: Any) -> None:
    """Keep the command line whose commands and flags messages are fitted to."""
    _APPS[:] = [app]


def suited(error: TapetumError, command: str | None) -> str:
    """Return an error's sentence with flags that the command has.

    Args:
        error: as it was raised.
        command: the one that runs; None leaves the sentence as it is.
    """
    if command is None or not NAMED.search(error.text):
        return error.text
    fix = None if error.fix is None else _fitted(error.fix, command, whole=True)
    need = None if error.need is None else _fitted(error.need, command)
    return str(TapetumError(_fitted(error.what, command), need=need or None, fix=fix or None))


def suited_text(text: str, command: str | None = None) -> str:
    """Return a message of the log with flags that the command has (None: the one that runs)."""
    if not NAMED.search(text):
        return text
    command = command or running()
    return text if command is None else _fitted(text, command)


def running() -> str | None:
    """Return the name of the command that this process runs; None where it is no command of Tapetum's."""
    named = [word for word in sys.argv[1:] if not word.startswith("-")]
    names = (" ".join(named[:2]), *named[:1])  # a group's command has two words
    return next((name for name in names if name in _commands()), None)


def options_of(command: str) -> set[str]:
    """Return the flags of a command, as ``--set`` and ``-o``."""
    return {flag for parameter in _commands()[command].params for flag in parameter.opts}


def lacking(text: str, command: str) -> list[str]:
    """Return the flags that a text names and the command lacks; those of a command that the text itself names are not its own."""
    return [flag for flag in NAMED.findall(_without_others(text)) if flag not in options_of(command)]


def _fitted(text: str, command: str, whole: bool = False) -> str:
    """Return the text with the command's own flags; what has no flag is left out, with its alternative or its sentence."""
    for flag in dict.fromkeys(lacking(text, command)):
        text = _as_set(text, flag, command)
    if not lacking(text, command):
        return text
    if whole:
        return ", or ".join(piece.rstrip(".,;") for piece in _ALTERNATIVES.split(text) if not lacking(piece, command))
    kept = [piece for piece in _SENTENCES.split(text) if not lacking(piece, command)]
    return " ".join(kept) if kept else NAMED.sub(lambda found: _plain(found[1], command), text)


def _as_set(text: str, flag: str, command: str) -> str:
    """Return the text with ``--flag VALUE`` as ``--set key=VALUE`` where the command has that, and ``--set key=VALUE`` as a flag."""
    if flag == "--set":
        for name, one in OPTIONS.items():
            option = _option(name)
            if option in options_of(command):
                text = re.sub(rf"--set '?{re.escape(one.key)}=([^\s,;')?]+)'?", rf"{option} \1", text)
        return text
    key, several = next(
        ((one.key, one.kind is list and one.key != "data.path") for name, one in OPTIONS.items() if _option(name) == flag), ("", False)
    )
    if not key or "--set" not in options_of(command) or (command == "decide" and not key.startswith("decide.")):
        return text

    def shown(found: re.Match[str]) -> str:
        value = "hub" if flag == "--online" else (found["value"] or "…").strip("'\"")
        return f"""--set '{key}=["{value}"]'""" if several else f"--set {key}={value}"

    pattern = re.escape(flag) + (r"(?P<value>)(?![\w-])" if flag == "--online" else r"(?![\w-])" + VALUE)
    return re.sub(pattern, shown, text)


def _plain(flag: str, command: str) -> str:
    return flag if flag in options_of(command) else flag.lstrip("-").replace("-", " ")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _without_others(text: str) -> str:
    return OTHER.sub("", text)


@functools.cache
def _commands() -> dict[str, Any]:
    from typer.main import get_command

    return flat(get_command(_APPS[0]))


def flat(group: Any, before: str = "") -> dict[str, Any]:
    """Return the commands of a group by name; those of a group in it by both names, as ``sleep stage``."""
    out: dict[str, Any] = {}
    for name, one in group.commands.items():
        out |= flat(one, f"{before}{name} ") if hasattr(one, "commands") else {f"{before}{name}": one}
    return out
