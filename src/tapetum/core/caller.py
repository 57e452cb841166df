"""What a call of the Python API changes for its own work in the caller's process is put back when the call ends.

Whoever changes something that holds for the whole process (torch's threads, its random state) first says how it is put back. Calls may be
inside of one another, or run at once in several threads: the last of them to end puts back what the caller had.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_LOCK = threading.RLock()
_RESTORE: dict[str, Callable[[], None]] = {}
_OPEN: list[object] = []  # the calls that run


@contextlib.contextmanager
def call() -> Iterator[None]:
    """Put back what was changed inside the block, once no other such block is open."""
    mark = object()
    with _LOCK:
        _OPEN.append(mark)
    try:
        yield
    finally:
        with _LOCK:
            _OPEN.remove(mark)
            while not _OPEN and _RESTORE:
                _RESTORE.popitem()[1]()


def put_back(name: str, settings: Callable[[], Callable[[], None]]) -> None:
    """Have something put back when the call ends; outside of a call (a process of our own) nothing is.

    Args:
        name: of what is about to change; the first in a call counts.
        settings: reads how it is now, and returns what restores that.
    """
    with _LOCK:
        if _OPEN and name not in _RESTORE:
            _RESTORE[name] = settings()
