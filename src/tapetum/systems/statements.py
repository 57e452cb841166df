"""The write-ups' statements and where each is: in a recipe's keys, in a command, or in a file of the run.

``systems/statements.csv`` lists what the teams wrote; a system of another package has a ``statements.csv`` of its own. A recipe's
``[statements]`` says for each where it is, parted by commas: a recipe key (``input.size``; parts of a list by their name,
``augment.affine``), a command (``tapetum audit``) or a file that a run writes (``ledger.jsonl``).
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from importlib import resources
from typing import Any

from tapetum.core import config
from tapetum.core.config import Recipe
from tapetum.core.errors import UserError, listed
from tapetum.core.registry import find_systems, system_with

PLUS, TABLE = "-plus", "statements.csv"
FILE_ENDINGS = (".csv", ".json", ".jsonl", ".html", ".parquet")


@dataclasses.dataclass(frozen=True)
class Statement:
    """One statement of a write-up.

    Args:
        id: a letter for the system and two digits.
        system: the recipe as written.
        text: its words.
    """

    id: str
    system: str
    text: str


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a statement stands.

    Args:
        kind: ``key``, ``command`` or ``file``.
        name: the dotted key, the command, the file.
        value: what the recipe holds there; None for commands and files.
    """

    kind: str
    name: str
    value: Any = None


def statements(system: str | None = None) -> list[Statement]:
    """Return the write-ups' statements in order, of one system or of all."""
    found: list[Statement] = []
    for package in ("tapetum.systems", *(one.package for one in find_systems().values())):
        place = resources.files(package) / TABLE
        if place.is_file():
            rows = csv.DictReader(io.StringIO(place.read_text(encoding="utf-8")))
            found += [Statement(row["id"], row["system"], row["statement"]) for row in rows]
    return [s for s in found if system is None or s.system == system]


def system_of(recipe: str) -> str | None:
    """Return the recipe as written (``dogs`` for ``dogs-plus``) of a recipe that belongs to a system, or None."""
    return None if system_with(recipe) is None else recipe.removesuffix(PLUS)


def places(recipe: Recipe, mapping: Mapping[str, str] | None = None) -> dict[str, list[Place]]:
    """Return statement id → where it is in a recipe.

    Args:
        recipe: whose values are shown.
        mapping: statement id → places parted by commas; None for the recipe's own ``[statements]``.

    Raises:
        UserError: an id that no write-up has, or a key that the recipe has not.
    """
    mapped = recipe.statements if mapping is None else mapping
    known = {s.id for s in statements()}
    strange = sorted(set(mapped) - known)
    if strange:
        raise UserError(f"[statements] of recipe {recipe.name!r} names {listed(strange)}", need="ids of the system's statements.csv")
    values = recipe.model_dump(mode="json", exclude={"profile", "statements"})
    return {key: [_place(recipe.name, values, text.strip()) for text in line.split(",")] for key, line in mapped.items()}


def of_run(recipe: Recipe) -> list[dict[str, Any]]:
    """Return the statements of a recipe's system as a report shows them: id, text, places with values, and what is otherwise in ``-plus``.

    A ``-plus`` recipe shows the statements of the system as written at their keys too; where its value differs, the written one stands
    beside it.
    """
    system = system_of(recipe.name)
    if system is None or not statements(system):
        return []
    written = config.load(system).recipe
    merged = {**written.statements, **recipe.statements}
    full = _resolved(written, written.statements)
    resolved = _resolved(recipe, merged)
    rows = []
    for statement in statements(system):
        here = resolved.get(statement.id, [])
        there = {p.name: p.value for p in full.get(statement.id, [])}
        shown = []
        for place in here:
            line: dict[str, Any] = {"kind": place.kind, "name": place.name, "value": place.value}
            if place.kind == "key" and place.name in there and there[place.name] != place.value:
                line["written"] = there[place.name]
            shown.append(line)
        rows.append({"id": statement.id, "text": statement.text, "places": shown})
    return rows


def _resolved(recipe: Recipe, mapping: Mapping[str, str]) -> dict[str, list[Place]]:
    """Return the places of a mapping that a recipe has; keys that it has not (a step that plus leaves out) become None."""
    values = recipe.model_dump(mode="json", exclude={"profile", "statements"})
    out: dict[str, list[Place]] = {}
    for key, line in mapping.items():
        for text in line.split(","):
            try:
                place = _place(recipe.name, values, text.strip())
            except UserError:
                place = Place("key", text.strip(), None)
            out.setdefault(key, []).append(place)
    return out


def _place(recipe: str, values: Mapping[str, Any], text: str) -> Place:
    if text.startswith("tapetum "):
        return Place("command", text)
    if text.endswith(FILE_ENDINGS):
        return Place("file", text)
    value: Any = values
    for part in text.split("."):
        value = _inside(value, part)
        if value is None:
            raise UserError(f"[statements] of recipe {recipe!r} names the key {text!r}", need="a key that the recipe sets")
    return Place("key", text, value)


def _inside(value: Any, part: str) -> Any:
    """Return a part of a value: by key, of a list by name, or that key of each of its tables; None where there is none."""
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list):
        named = [one for one in value if one == part or (isinstance(one, Mapping) and one.get("name") == part)]
        if named:
            return named[0]
        each = [one.get(part) for one in value if isinstance(one, Mapping)]
        return each if each and any(one is not None for one in each) else None
    return None
