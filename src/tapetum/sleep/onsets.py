"""When the rows of a table begin: seconds, or times of day, which are counted from the first."""

from __future__ import annotations

import datetime
import itertools
import math
import re
from collections.abc import Sequence

from tapetum.core import table_files
from tapetum.sleep.issues import NOTE, Issues

_CLOCK = re.compile(r"(?:\d{4}-\d\d-\d\d[ T])?(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*([ap]m)?", re.IGNORECASE)
DAY = 24 * 3600.0


def finite(cell: str) -> float | None:
    """Return a cell's number, with a point or a comma; None where it is none."""
    try:
        found = table_files.number(cell, True)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def onsets_of(cells: Sequence[str | None], name: str, issues: Issues) -> tuple[list[float] | None, datetime.time | None]:
    """Return the seconds at which rows begin, and the time of day of the first; (None, None) where the cells tell neither.

    Args:
        cells: seconds, or times of day (``22:30:00``, ``2024-05-01 22:30:00``, ``10:30:00 PM``); steps are of less than 12 hours.
        name: of their column.
        issues: receives what was assumed.
    """
    seconds = [None if cell is None else finite(cell) for cell in cells]
    if all(one is not None for one in seconds):
        return [one for one in seconds if one is not None], None
    times = [None if cell is None else _of_day(cell) for cell in cells]
    if any(one is None for one in times):
        issues.add(f"column {name!r} holds neither seconds nor times of day", "each row is one epoch, in the order of the file")
        return None, None
    known = [one for one in times if one is not None]
    out = [0.0]
    for before, after in itertools.pairwise(known):
        out.append(out[-1] + (after - before + DAY / 2) % DAY - DAY / 2)
    first = int(known[0])
    clock = datetime.time(first // 3600, first // 60 % 60, first % 60)
    issues.add(f"column {name!r} holds times of day", f"they count from the first, {clock}", kind=NOTE)
    return out, clock


def _of_day(cell: str) -> float | None:
    """Return the seconds since midnight of a time of day; None where it is none."""
    found = _CLOCK.fullmatch(cell.strip())
    if found is None:
        return None
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if found[5]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found[5].lower() == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return hour * 3600 + minute * 60 + second + (float(f"0.{found[4]}") if found[4] else 0.0)
