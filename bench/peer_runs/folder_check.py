"""Checks a folder of images after a small one, which loads what the check needs; writes what it found and the seconds that it took."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def spent() -> float:
    """Return the CPU seconds of this process and of those that it has started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(check: Callable[[Path], dict[str, Any]]) -> None:
    """Run a check as ``SCRIPT FOLDER SMALL OUT``.

    Args:
        check: returns ``flagged`` (kind of fault → names of files) and ``sets`` (names of files that show the same).
    """
    folder, small, out = map(Path, sys.argv[1:])
    check(small)
    began, wall = spent(), time.perf_counter()
    found = check(folder)
    found |= {"cpu_s": spent() - began, "wall_s": time.perf_counter() - wall}
    out.write_text(json.dumps(found), encoding="utf-8")
