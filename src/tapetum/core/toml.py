"""TOML in and out, nested tables laid over one another, and dotted keys."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from tapetum.core import files
from tapetum.core.errors import UserError


def read_toml(path: Any) -> dict[str, Any]:
    """Read a TOML file, with or without a byte-order mark; what is wrong in it is said with the file's name."""
    try:
        return tomllib.loads(files.read_text(path, UserError))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from None


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table over another: tables merge, everything else is replaced."""
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf; an empty table is a leaf."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested tables."""
    out: dict[str, Any] = {}
    for key, value in flat.items():
        *parts, last = key.split(".")
        table = out
        for part in parts:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[last] = value
    return out


def dump_toml(table: Mapping[str, Any]) -> str:
    """Return TOML for JSON-like values; None is left out (TOML has no null)."""
    lines = [f"{_toml_key(k)} = {toml_value(v)}" for k, v in table.items() if v is not None and not _is_table(v)]
    for key, value in table.items():
        if _is_table(value):
            lines += ["", f"[{_toml_key(key)}]", *_toml_table(value, _toml_key(key))]
    return "\n".join(lines).strip() + "\n"


def _toml_table(table: Mapping[str, Any], prefix: str) -> list[str]:
    lines = [f"{_toml_key(k)} = {toml_value(v)}" for k, v in table.items() if v is not None and not _is_table(v)]
    for key, value in table.items():
        if _is_table(value):
            name = f"{prefix}.{_toml_key(key)}"
            lines += ["", f"[{name}]", *_toml_table(value, name)]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _toml_key(key: str) -> str:
    return key if key and all(c.isalnum() or c in "-_" for c in key) and key.isascii() else _toml_text(key)


def _toml_text(value: Any) -> str:
    return files.to_json(value).replace("\x7f", "\\u007f")  # the one character that JSON may hold bare and TOML may not


def toml_value(value: Any) -> str:
    """Return a value as TOML has it on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(k)} = {toml_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return _toml_text(value)


def assignment(text: str) -> dict[str, Any]:
    """Return the nested tables of one ``key=value``; the value is TOML, or else a bare word."""
    key, sign, value = text.partition("=")
    if not sign:
        raise UserError(f"--set {text!r} has no '='", need="--set key=value, as --set train.epochs=3")
    try:
        found = tomllib.loads(f"v = {value}")
        parsed = found["v"] if len(found) == 1 else value  # what stands behind a line's end is no key of its own
    except tomllib.TOMLDecodeError:
        parsed = value
    return unflatten({key.strip(): parsed})
