"""Progress through the log: a message that begins with a carriage return is not kept, and the next one replaces it."""

from __future__ import annotations

import time
from collections.abc import Callable

PASSING = "\r"
Log = Callable[[str], None]


def share(log: Log | None, what: str) -> Callable[[int, int], None]:
    """Return a function that takes ``(done, total)`` and passes each new percent on, with the rate and the time left.

    Args:
        log: where messages go; None for nowhere.
        what: the work, as ``features``.
    """
    first: tuple[float, int] | None = None  # the time of the first call, and how far the work was
    shown = -1

    def tick(done: int, total: int) -> None:
        nonlocal shown, first
        first = first or (time.monotonic(), done)
        percent = 100 * done // max(total, 1)
        if log is None or percent == shown:
            return
        shown = percent
        rate = (done - first[1]) / max(time.monotonic() - first[0], 1e-3)
        left = f", {_number(rate)}/s, {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
        log(f"{PASSING}{what}: {done:,} of {total:,} ({percent}%){left}")

    return tick


def duration(seconds: float) -> str:
    """Return a duration in words, as ``40 s``, ``3 min`` or ``2 h 5 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
