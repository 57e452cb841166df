"""What the paths take and give, for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_SENTENCES = {
    400: "the body cannot be read",
    401: "the token is absent or another one",
    403: "a page of another place sends the request",
    408: "the request was not sent in time",
    413: "too many bytes, images or pixels",
    415: "another type of content",
    421: "the service is not called so",
    422: "an image, or something beside it, is not as it must be",
    429: "too much waits: try again after the seconds of Retry-After",
    503: "not answered in time, or the service stops: try again after the seconds of Retry-After",
}


class Error(BaseModel):
    """A request that is not answered."""

    detail: str


class Answer(BaseModel):
    """What one target's answer is."""

    answer: str | float | list[str]
    p: dict[str, float] = {}


class Entry(BaseModel):
    """One image."""

    id: str
    status: str
    reason: str | None
    answers: dict[str, Answer]


class Answered(BaseModel):
    """The images of a request, in their order."""

    answers: list[Entry]


class Neighbour(BaseModel):
    """A training image near the one that is explained."""

    id: str
    cosine: float
    label: str | None
    image: str | None


class Explained(BaseModel):
    """Where an answer came from; images are data URLs."""

    saliency: str | None
    neighbours: list[Neighbour]
    why: str


class Health(BaseModel):
    """Whether requests are answered."""

    status: str
    waiting: int


ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": Error, "description": text} for status, text in _SENTENCES.items()}
REFUSED: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (401, 403, 421)}


def body(*, several: bool) -> dict[str, Any]:
    """Return the request body of a path in the words of OpenAPI.

    Args:
        several: it takes several images, not one alone.
    """
    text = {"type": "string", "contentEncoding": "base64", "format": "byte", "description": "a file in base64"}
    row = {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "description": "the files of one row"}]}
    most: dict[str, Any] = {"minItems": 1} if several else {"minItems": 1, "maxItems": 1}
    numbers = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
    beside = {
        "side": {"type": "array", "items": numbers, "description": "side numbers of each image, where the pipeline takes them"},
        "sequence": {"type": "boolean", "description": "the images follow one another, in this order"},
    }
    keys = {"images": {"type": "array", "items": row, **most}, **beside}
    in_json = {"type": "object", "required": ["images"], "additionalProperties": False, "properties": keys}
    file = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
    in_parts = {"type": "object", "required": ["image"], "properties": {"image": {"type": "array", "items": file, **most}}}
    content = {
        "multipart/form-data": {"schema": in_parts},
        "application/json": {"schema": in_json},
        "application/octet-stream": {"schema": file},
    }
    files = {"name": "files", "in": "query", "required": False, "schema": {"type": "integer", "minimum": 1, "maximum": 64, "default": 1}}
    files["description"] = "how many parts 'image' make one row"
    return {"requestBody": {"required": True, "content": content}, "parameters": [files]}
