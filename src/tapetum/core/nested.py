"""Nested tables laid over one another, and dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table over another: tables merge, everything else is replaced.

    A table that names another choice than the one below it does not take over that one's parameters.
    """
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(_without_parameters(key, out[key], value), value) if both else value
    return out


NAMED_SECTIONS = ("average", "loss")  # sections with a name whose other keys are for every name
WITH_OPTIONS = ("optimizer", "schedule")  # sections that keep the parameters of their name under options


def _without_parameters(key: str, low: Mapping[str, Any], high: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of a table stays where another one names a choice: all of it, unless the name is another."""
    named = low.get("name"), high.get("name")
    if None in named or named[0] == named[1] or key in NAMED_SECTIONS:
        return low
    return {k: v for k, v in low.items() if k != "options"} if key in WITH_OPTIONS else {}


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
