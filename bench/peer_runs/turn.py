"""The side of ``bench/turns.py`` that works: a process sets up, then does its work once for every line that it reads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def take(way: Callable[[str], Any]) -> None:
    """Say that this process is ready, and then work for every line of standard input; what ``way`` returns goes back as JSON.

    Args:
        way: gets the line: empty, or a word that the caller gave.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed goes to the log
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(way(line.strip())), file=out, flush=True)
