"""Checks of a recipe's values: an error has the key, what was given, what is allowed and the nearest right key."""

from __future__ import annotations

import datetime
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tapetum.core.bounds import described
from tapetum.core.errors import UserError, closest
from tapetum.core.nested import flatten
from tapetum.core.renamed import LIKE, RENAMED

Model = TypeVar("Model", bound=BaseModel)
HINTS = {
    "split.folds": "One fold holds nothing out; for one quick split use --holdout 0.2 (split.holdout = 0.2)",
    "split.holdout": "It is the share of the rows that is held out, as 0.2",
}

FLAG_NAMES = {"target": "data.targets", "size": "input.size", "batch": "train.batch", "weights": "model.weights"}  # as flags are called
OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number", "bool_for_number")


def validate(model: type[Model], values: Mapping[str, Any], texts: Mapping[str, str] | None = None, where: str = "") -> Model:
    """Return the checked model of nested values.

    A number where text is wanted is read as that text (``precision = 32`` as ``"32"``).

    Args:
        model: the recipe's class.
        values: nested tables.
        texts: dotted key → the text of a value as it was typed, which a number cannot give back (``1e3``, ``007``).
        where: comes before every message, as ``member 'a': ``.

    Raises:
        UserError: names the first key that is wrong.
    """
    values = dict(values)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error
    bounded = {tuple(_path(values, p["loc"])) for p in found.errors() if p["type"] in OUT_OF_RANGE}
    for problem in found.errors():
        if tuple(_path(values, problem["loc"])) not in bounded:
            values = _as_text(values, problem, texts or {})
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _first_problem(model, error, values, where) from None


def suggestion(key: str, known: Iterable[str]) -> str | None:
    """Return the dotted key most like ``key``: in its own section, then anywhere, then one that ends alike."""
    known = list(dict.fromkeys(known))
    if FLAG_NAMES.get(key) in known:
        return FLAG_NAMES[key]
    section, _, last = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    ends = {k.rpartition(".")[2]: k for k in reversed(known)}
    for names, cutoff in ((siblings, 0.7), (ends, 0.75), (siblings, 0.6)):
        if close := closest(last, names, cutoff):
            return names[close]
    return closest(key, known)


def _as_text(values: dict[str, Any], problem: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values with the number that a problem names as text, if text is what is wanted there."""
    given = problem["input"]
    if problem["type"] not in ("string_type", "literal_error") or isinstance(given, (str, bytes, list, tuple, dict)) or given is None:
        return values
    path = _path(values, problem["loc"])
    typed = texts.get(".".join(map(str, path)))
    text = typed if typed is not None else _plain(given)
    if text is None or (problem["type"] == "literal_error" and repr(text) not in problem["ctx"]["expected"]):
        return values
    return _replaced(values, path, text)


def _plain(given: Any) -> str | None:
    """Return a number's or date's text; None for true and false, which mean something else."""
    if isinstance(given, bool) or not isinstance(given, (int, float, datetime.date, datetime.time)):
        return None
    return str(given)


def _replaced(values: Any, path: list[Any], text: str) -> Any:
    if not path:
        return text
    first, rest = path[0], path[1:]
    if isinstance(values, Mapping):
        return {**values, first: _replaced(values[first], rest, text)}
    return [_replaced(one, rest, text) if i == first else one for i, one in enumerate(values)]


def _path(values: Any, loc: Iterable[Any]) -> list[Any]:
    """Return the parts of a problem's place that lead through the values; pydantic also names the alternatives that it tried."""
    out = []
    for part in loc:
        listed = isinstance(values, (list, tuple)) and isinstance(part, int) and part < len(values)
        if listed or (isinstance(values, Mapping) and part in values):
            values = values[part]
            out.append(part)
    return out


def _first_problem(model: type[BaseModel], error: ValidationError, values: Mapping[str, Any], before: str) -> UserError:
    problem = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a typo may be why another key is missing
    path = [str(part) for part in _path(values, problem["loc"])]
    if problem["type"] == "extra_forbidden":
        key = ".".join(path)
        if key in RENAMED:
            beside = f"; {LIKE[key]}" if key in LIKE else ""
            return UserError(f"{before}the recipe has no key {key!r}; it is called {RENAMED[key]!r} now{beside}")
        offer = suggestion(key, known_keys(model, path))
        tail = f" Did you mean {offer!r}?" if offer else " See: tapetum explain"
        return UserError(f"{before}the recipe has no key {key!r}.{tail}")
    if problem["type"] == "missing":
        return UserError(f"{before}recipe key {'.'.join([*path, str(problem['loc'][-1])])!r} is missing")
    field, named = _field(model, path)
    key = ".".join(named)
    value: Any = values
    for part in _path(values, problem["loc"])[: len(named)]:
        value = value[part]
    need = described(field.annotation, tuple(field.metadata)) if field is not None else problem["msg"].removeprefix("Input should be ")
    return UserError(f"{before}recipe key {key!r} is {value!r}", need=need, fix=HINTS.get(key))


def known_keys(model: type[BaseModel], path: Iterable[str] = ()) -> list[str]:
    """Return every dotted key of a model; below a list of sections also those of the entry that ``path`` leads to."""
    blank = {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}
    dumped = {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in blank.items()}
    keys = [key for key, _ in flatten(dumped)] + list(model.model_fields)
    current, done = model, list[str]()
    for part in path:
        if not part.isdigit():
            if done:
                keys += [".".join([*done, name]) for name in current.model_fields]
            inner = _sections(current.model_fields[part].annotation) if part in current.model_fields else []
            if not inner:
                break
            current = inner[0]
        done.append(part)
    return keys


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the section classes that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in typing.get_args(annotation) for found in _sections(inner)]


def _field(model: type[BaseModel], path: list[str]) -> tuple[FieldInfo | None, list[str]]:
    """Return the deepest field that a path names, and the path to it."""
    field, named, current = None, list(path), model
    for i, part in enumerate(path):
        if part in current.model_fields:
            field, named = current.model_fields[part], path[: i + 1]
            inner = _sections(field.annotation)
            if not inner:
                break
            current = inner[0]
    return field, named
