"""What the service takes of a caller, and how it says no."""

from __future__ import annotations

import dataclasses
from typing import Any

from tapetum.core.errors import UserError

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of the service.

    Args:
        images: in one request.
        waiting: images that wait at most; further requests are refused with 429.
        batch: images answered at once.
        body: bytes of one request.
        held: bytes of all requests that are in memory at once; further requests are refused with 503.
        reading: seconds in which a request must have been sent: its headers, and then its body.
        deadline: seconds in which a request must have been answered once it has been read.
        pixels: of an image.
        connections: open at once.
    """

    images: int = 32
    waiting: int = 128
    batch: int = 32
    body: int = 32 * MIB
    held: int = 256 * MIB
    reading: float = 30.0
    deadline: float = 30.0
    pixels: int = 50_000_000
    connections: int = 256

    @classmethod
    def of(cls, **given: Any) -> Limits:
        """Return the default bounds with others; where a request may be large, so may all together."""
        return cls(**{"held": max(cls.held, 2 * given.get("body", cls.body)), **given})

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) <= 0:
                raise UserError(f"the service's limit {field.name!r} is {getattr(self, field.name)}", need="a number above 0")
        if self.held < self.body:
            raise UserError(f"one request may have {self.body} bytes, and all together {self.held}", need="at least as many together")


class Refusal(Exception):
    """A request that is not answered: the status, and a sentence for the caller.

    Args:
        status: of HTTP.
        detail: what was found and what is needed.
        retry: seconds after which another try makes sense; None: it makes none.
    """

    def __init__(self, status: int, detail: str, retry: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry = status, detail, retry

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        return {} if self.retry is None else {"retry-after": str(max(1, round(self.retry)))}
