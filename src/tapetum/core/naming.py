"""What messages call an option: they name flags (``--on-bad skip``), and callers from Python read arguments (``on_bad='skip'``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAMED = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|-[a-z])(?![\w-])")  # a flag
OTHER = re.compile(r"tapetum [a-z][a-z-]*[^.;:]*")  # a command of its own, with its flags
VALUE = (
    r"(?:[ =](?P<value>'[^']*'|\"[^\"]*\"|"
    r"(?!(?:above|or|and|with|without|for|to|is|was|were|of|in|as|takes|needs|where|makes|gives|keeps)\b)[^\s,;)?]+))?"
)
SWITCHES = ("--online", "--strict", "--by-class", "--zip", "--edf", "--simulate", "--json", "--verbose")  # flags without a value
_SHORT = {"-o": "out", "-c": "config"}
_OPTION = re.compile(rf"(?P<flag>{NAMED.pattern}){VALUE}")
_SET = re.compile(r"--set (?P<quote>'?)(?P<key>[a-z_.]+)=(?P<value>\[[^\]]*\]|[^\s,;)'?]+)(?P=quote)")
_COMMAND = re.compile(r"tapetum (?P<name>sleep [a-z]+|[a-z][a-z-]*)(?P<words>(?: (?:[A-Z][A-Z-]*\b|--?[a-z][a-z-]*(?: [^\s,;.)]+)?))*)")
_ARGUMENT = re.compile(r"(?<![\w.])(?P<name>[a-z][a-z_]*)=(?P<value>'[^']*'|\"[^\"]*\"|\[[^\]]*\]|[^\s,;)?.]+)")  # as in_python writes it
_RENAMED = {"split": "folds"}  # commands that the API calls otherwise


def in_python(text: str) -> str:
    """Return a message with Python's arguments and functions for flags and commands."""
    text = _COMMAND.sub(_call, text)
    text = _SET.sub(lambda found: f"{found['key'].replace('.', '__')}={_shown(found['value'])}", text)
    return _OPTION.sub(_argument, text)


def in_sets(text: str, keys: Mapping[str, str]) -> str:
    """Return a message with ``sets={"data.on_bad": 'skip'}`` for ``on_bad='skip'``: for a caller that sets recipe keys by ``sets`` alone.

    Args:
        text: from :func:`in_python`.
        keys: argument → recipe key; an argument with ``__`` for dots needs none, and others stay.
    """

    def shown(found: re.Match[str]) -> str:
        key = keys.get(found["name"], found["name"].replace("__", ".") if "__" in found["name"] else None)
        return found[0] if key is None else f'sets={{"{key}": {found["value"]}}}'

    return _ARGUMENT.sub(shown, text)


def _call(found: re.Match[str]) -> str:
    words = found["words"].strip()
    flags = [_argument(one) for one in _OPTION.finditer(words)]
    plain = _OPTION.sub("", words).replace("-", "_").split()
    name = _RENAMED.get(found["name"], found["name"].replace("-", "_").replace(" ", "_"))
    return f"tapetum.api.{name}({', '.join([*plain, *flags])})"


def _argument(found: re.Match[str]) -> str:
    flag = found["flag"]
    name = _SHORT.get(flag, flag.lstrip("-").replace("-", "_"))
    if flag in SWITCHES:
        after = found[0].removeprefix(flag)
        return f"{name}=True{after}"
    return f"{name}={_shown(found['value'])}"


def _shown(value: str | None) -> str:
    if value is None:
        return ""
    is_plain = value[0] in "'\"[{…" or re.fullmatch(r"[A-Z][A-Z-]*\d*|[+-]?[\d.]+(e-?\d+)?", value) is not None
    return value.replace("-", "_") if re.fullmatch(r"[A-Z][A-Z-]*", value) else value if is_plain else repr(value)
