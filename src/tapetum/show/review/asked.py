"""What a request asks of a review: its filter, and the values of its JSON body, each of the type that it must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.show.review.review import STATES, Filter

MOST_BODY = 100_000  # bytes of a decision
DIGITS = 18  # of a number in an address


def number(text: str) -> int | None:
    """Return the number that a part of an address is; None where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else None


def filter_of(given: Mapping[str, str]) -> Filter:
    """Return which images an address asks for; what it does not say is as on the first page."""
    state = given.get("state", "open")
    return Filter(
        given.get("kind", "")[:100],
        given.get("label", ""),
        state if state in STATES else "open",
        given.get("text", "")[:1000],
        2 if given.get("pass") == "2" else 1,
    )


async def body(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request sends.

    Raises:
        UserError: it is longer than :data:`MOST_BODY`, or no JSON object.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BODY:
            raise UserError(f"the request is longer than {MOST_BODY:,} bytes")
        parts.append(part)
    try:
        given = files.from_json(b"".join(parts))
    except ValueError:
        raise UserError("the request is no JSON") from None
    if not isinstance(given, dict):
        raise UserError("the request is no JSON object")
    return given


def whole(given: Mapping[str, Any], name: str) -> int:
    """Return a whole number of a body, which must be there: a decision without a row is none about the first."""
    value = given.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{name} is {value!r}", need="a whole number")
    return value


def turn(given: Mapping[str, Any]) -> int:
    """Return which pass a body is of; 1 where it does not say."""
    value = given.get("pass", 1)
    if isinstance(value, bool) or value not in (1, 2):
        raise UserError(f"pass is {value!r}", need="1 or 2")
    return int(value)


def text(given: Mapping[str, Any], name: str) -> str:
    """Return a short text of a body; empty where there is none."""
    return _text(given.get(name) or "", name)[:100]


def texts(given: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of texts of a body; empty where there is none."""
    value = given.get(name, [])
    if not isinstance(value, list):
        raise UserError(f"{name} is {value!r}", need="a list of texts")
    return [_text(one, name) for one in value]


def labels(given: Mapping[str, Any]) -> list[str]:
    """Return the labels of a decision; relabel names them even where there are none, which is none of the classes."""
    if given.get("action") == "relabel" and "labels" not in given:
        raise UserError("relabel comes without labels", need="a list of classes, empty for none of them")
    return texts(given, "labels")


def wanted(given: Mapping[str, Any]) -> Filter:
    """Return the filter in a body."""
    value = given.get("filter") or {}
    if not isinstance(value, dict):
        raise UserError(f"filter is {value!r}", need="an object of texts")
    return filter_of({key: _text(one, f"filter.{key}") for key, one in value.items()})


def _text(value: Any, name: str) -> str:
    """Return a text that a file can hold."""
    if not isinstance(value, str) or not files.can_hold(value):
        raise UserError(f"{name} is {value!r}", need="a text")
    return value
