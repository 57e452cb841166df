"""The streams of the command line: results on stdout, in an encoding that every stream can print."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tapetum.core.errors import UserError


def show(result: Mapping[str, Any] | Sequence[str]) -> None:
    """Print a result: a mapping as JSON for machines, lines as they are."""
    from tapetum.core.files import to_json

    if not isinstance(result, Mapping):
        print("\n".join(result))
        return
    text = to_json(result, indent=1)
    print(text if _can_print(text) else json.dumps(json.loads(text), indent=1))  # ASCII alone: no character may be replaced


def read_paths() -> Any:
    """Return the paths on standard input, one a line or with NUL between them (``find -print0``), as a table of paths.

    Raises:
        UserError: there are none, or it is an image or an archive.
    """
    import polars

    content = sys.stdin.buffer.read()
    if (
        content.startswith((b"\xff\xd8\xff", b"\x89PNG", b"PK\x03\x04", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"BM"))
        or b"ustar" in content[257:263]
    ):
        raise UserError("standard input holds an image or an archive", need="paths, one a line", fix="name the file itself")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes it
        text = content.decode("utf-16", "replace")
    else:
        text = os.fsdecode(content.removeprefix(codecs.BOM_UTF8))
    between = "\0" if "\0" in text else "\n"
    lines = [line.removesuffix("\r") for line in text.split(between)]
    paths = [line for line in lines if line.strip()]
    if not paths:
        raise UserError(
            "standard input names no images", need="paths, one a line", fix="as in: find photos -name '*.jpg' | tapetum predict …"
        )
    return polars.DataFrame({"path": paths})


def command_line() -> str:
    """Return the command as it was given, for the record."""
    return " ".join(["tapetum", *sys.argv[1:]])


def replace_unprintable() -> None:
    """Let both streams replace a character that they cannot encode: a table or a name never ends a finished command."""
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
    is_program = by_name or os.path.basename(getattr(started, "__file__", None) or "") == "tapetum"
    is_utf8 = sys.getfilesystemencoding().lower().replace("-", "") == "utf8"
    if is_utf8 or not is_program or sys.flags.ignore_environment or "TAPETUM_UTF8" in os.environ:
        return
    os.environ.setdefault("PYTHONIOENCODING", f"{getattr(sys.stdout, 'encoding', None) or 'utf-8'}:replace")
    os.environ |= {"PYTHONUTF8": "1", "TAPETUM_UTF8": "1"}
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def tell_address(address: str) -> None:
    """Print where a page can be opened, on stderr."""
    print(f"open {address} in a browser; Ctrl-C ends it and writes what was decided", file=sys.stderr, flush=True)
