"""``tune.space``: which values of a key are tried, and how Optuna holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.errors import UserError


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's values of searched keys as Optuna's parameters, for the first trial; those outside the space are drawn."""
    whole = recipe.model_dump(mode="json")
    found: dict[str, Any] = {}
    for key, wish in recipe.tune.space.items():
        value: Any = whole
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(wish, (list, tuple)):
            text = files.to_json(value)
            found |= {key: text} if text in [files.to_json(each) for each in wish] else {}
        elif isinstance(value, (int, float)) and wish["low"] <= value <= wish["high"]:
            found[key] = value
    return found


def suggested(asked: Any, key: str, wish: Any) -> Any:
    """Return a trial's value for a key: of a list as JSON texts (so that lists and tables can be tried), else from a range."""
    if isinstance(wish, (list, tuple)):
        return json.loads(asked.suggest_categorical(key, [files.to_json(value) for value in wish]))
    low, high, log = wish["low"], wish["high"], bool(wish.get("log", False))
    if isinstance(low, int) and isinstance(high, int):
        return asked.suggest_int(key, low, high, log=log)
    return asked.suggest_float(key, float(low), float(high), log=log)


def decoded(value: Any, wish: Any) -> Any:
    """Return a value of a trial as the recipe has it."""
    return json.loads(value) if isinstance(wish, (list, tuple)) else value


def first(key: str, wish: Any) -> Any:
    """Return one of the values that a key would be given.

    Raises:
        UserError: neither a list nor a range.
    """
    if isinstance(wish, (list, tuple)) and len(wish):
        return wish[0]
    if isinstance(wish, Mapping) and set(wish) <= {"low", "high", "log"} and {"low", "high"} <= set(wish) and wish["low"] < wish["high"]:
        if wish.get("log") and wish["low"] <= 0:
            raise UserError(f"tune.space of {key!r} begins at {wish['low']} on a logarithmic scale", need="more than 0")
        return wish["low"]
    raise UserError(f"tune.space of {key!r} is {wish!r}", need="a list of values, or {low = …, high = …, log = true}")


def short(value: Any) -> str:
    """Return a value as the log and the table show it."""
    return f"{value:.3g}" if isinstance(value, float) else files.to_json(value)
