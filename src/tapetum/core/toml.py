"""TOML in and out."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w

from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.core.nested import unflatten


def read_toml(path: Any) -> dict[str, Any]:
    """Read a TOML file, with or without a byte-order mark; an error names the file and the fault."""
    try:
        return tomllib.loads(files.read_text(path, UserError))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    except RecursionError:
        raise UserError(f"{path} is not TOML: it nests too deep") from None


def dump_toml(table: Mapping[str, Any]) -> str:
    """Return TOML for JSON-like values, each key with its value on one line; None is left out (TOML has no null)."""
    text = _on_one_line(tomli_w.dumps(_without_none(table), indent=0))
    return text.encode("utf-8", "backslashreplace").decode()  # bytes of a file name that are no text


def toml_value(value: Any) -> str:
    """Return a value as TOML has it on one line."""
    text = tomli_w.dumps({"v": [[_without_none(value)]]}, indent=0)  # inside of arrays, tables are on one line
    return _on_one_line(text).strip().removeprefix("v = [[").removesuffix("]]")


def _on_one_line(text: str) -> str:
    """Put the arrays of tomli-w's text, an entry a line, on one line each; a line break inside of a string is always escaped."""
    return text.replace("[\n", "[").replace(",\n]", "]").replace(",\n", ", ")


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return [_without_none(part) for part in value] if isinstance(value, (list, tuple)) else value


def assignment(text: str) -> dict[str, Any]:
    """Return the nested tables of one ``key=value``; the value is TOML, or else a bare word."""
    key, sign, value = text.partition("=")
    if not sign:
        raise UserError(f"--set {text!r} has no '='", need="--set key=value, as --set train.epochs=3")
    try:
        found = tomllib.loads(f"v = {value}")
        parsed = found["v"] if len(found) == 1 else value  # what comes after a line's end is no key of its own
    except (tomllib.TOMLDecodeError, RecursionError):
        parsed = value
    return unflatten({key.strip(): parsed})
