"""What the command line prints: results on stdout, progress on stderr."""

from __future__ import annotations

import sys
from typing import Any

LONG = ("table", "figures", "differences", "pairs", "leaderboard", "submissions")  # for machines, or shown as the table


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result: JSON for machines, the text under ``table`` and one ``key  value`` a line for people."""
    from tapetum.core.files import to_json

    if as_json:
        print(to_json(result, indent=1))
        return
    if result.get("table"):
        print(result["table"])
    for key, value in result.items():
        if key not in LONG:
            print(f"{key:12} {value if not isinstance(value, (dict, list)) else to_json(value)}")


def progress(message: str) -> None:
    """Say something on stderr at once; what begins with a carriage return is a bar that the next line replaces on a terminal."""
    passing, text = message.startswith("\r"), message.removeprefix("\r")
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="" if passing else "\n", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def command_line() -> str:
    """Return the command as it was given, for the record."""
    return " ".join(["tapetum", *sys.argv[1:]])
