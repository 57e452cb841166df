"""What the command line prints: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from tapetum.cli.mending import suited_text

LONG = (
    "table",
    "figures",
    "differences",
    "pairs",
    "leaderboard",
    "submissions",
    "answers",
    "details",
    "headline",
    "counts",
    "per_class",
    "confusion",
    "marks",
    "known",
    "problems",
)  # for machines, or shown as the table

_PERCENT = re.compile(r"\((\d+)%\)")
_tenths: dict[str, int | None] = {}  # of each bar, the tenth that was printed last


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result: JSON for machines, the text under ``table`` and one ``key  value`` a line for people."""
    from tapetum.core.files import to_json

    if as_json:
        text = to_json(result, indent=1)
        print(text if _can_say(text) else json.dumps(json.loads(text), indent=1))  # ASCII alone: no character may be replaced
        return
    if result.get("table"):
        print(result["table"])
    for key, value in result.items():
        if key not in LONG:
            print(f"{key:12} {value if not isinstance(value, (dict, list)) else to_json(value)}")


def progress(message: str) -> None:
    """Say something on stderr at once; what begins with a carriage return is a bar that the next line replaces on a terminal.

    Elsewhere such a bar is a line at each tenth of the work.
    """
    passing, text = message.startswith("\r"), message.removeprefix("\r")
    if not passing:
        text = suited_text(text)
    if passing and not sys.stderr.isatty():
        what, _, rest = text.partition(":")
        tenth = int(found[1]) // 10 if (found := _PERCENT.search(rest)) else None
        if tenth is not None and _tenths.get(what) == tenth:
            return
        _tenths[what] = None if tenth == 10 else tenth
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="" if passing else "\n", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def command_line() -> str:
    """Return the command as it was given, for the record."""
    return " ".join(["tapetum", *sys.argv[1:]])


def speak_anywhere() -> None:
    """Let both streams replace a character that they cannot say: a table or a name never ends a finished command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def file_names_are_utf8() -> None:
    """Start this command line again in Python's UTF-8 mode where the locale's encoding is another, if the process is its own.

    Under such a locale Python reads a file called ``café`` as other characters: class names and row ids would differ from those of
    every other machine. What is printed keeps the locale's encoding.
    """
    started = sys.modules["__main__"]
    by_name = getattr(getattr(started, "__spec__", None), "name", "") == "tapetum.__main__"
    own = by_name or os.path.basename(getattr(started, "__file__", None) or "") == "tapetum"
    is_utf8 = sys.getfilesystemencoding().lower().replace("-", "") == "utf8"
    if is_utf8 or not own or sys.flags.ignore_environment or "TAPETUM_UTF8" in os.environ:
        return
    os.environ.setdefault("PYTHONIOENCODING", f"{getattr(sys.stdout, 'encoding', None) or 'utf-8'}:replace")
    os.environ |= {"PYTHONUTF8": "1", "TAPETUM_UTF8": "1"}
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)


def _can_say(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
