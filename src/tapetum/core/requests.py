"""Images that one caller asks about at once, and their answers: what a service and a pipeline pass to each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tapetum.core.tables import Dense

LARGEST_NUMBER = 1e30  # of a side number: networks compute in 32 bits, where larger ones become infinite


@dataclasses.dataclass(frozen=True)
class ImageRequest:
    """Images of one caller; a decision step that looks at several rows sees these, and no others.

    Args:
        rows: of each row, the bytes of its files.
        side: of each row, its side numbers by name; empty where there are none.
        sequence: the rows follow one another, in this order.
    """

    rows: tuple[tuple[bytes, ...], ...]
    side: tuple[Mapping[str, float | None], ...] = ()
    sequence: bool = False

    def __len__(self) -> int:
        return len(self.rows)


@dataclasses.dataclass(frozen=True)
class ImageAnswers:
    """The answers to a request.

    Args:
        answered: target → answers, in the order of the rows.
        problems: row number → why it has no answer.
    """

    answered: dict[str, Dense]
    problems: dict[int, str]
