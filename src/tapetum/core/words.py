"""Words that go with a count in a message: 1 image is, 2,624 images are."""

from __future__ import annotations


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a count and what is counted: ``1 image``, ``2,624 images``.

    Args:
        count: how many.
        one: what follows the number 1, as ``class is``.
        many: what follows any other number, as ``classes are``; None: ``one`` with an s.
    """
    return f"{count:,} {verb(count, one, many or one + 's')}"


def verb(count: int, one: str, many: str) -> str:
    """Return the words that go with a count that is not beside them, as its verb: ``is`` for 1, else ``are``."""
    return one if count == 1 else many
