"""Work in threads over many items, without a waiting job for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
AHEAD = 4096  # items that are handed to the threads at once


def mapped(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """Yield what a function returns for each item, in order.

    ``Executor.map`` makes a job for every item before it returns the first result, and a job takes more memory than most results: a
    kilobyte. Here some thousand are made at a time.

    Args:
        function: called in threads.
        items: its arguments.
        workers: threads; one works in this thread.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        while part := list(islice(rest, AHEAD)):
            yield from pool.map(function, part)
