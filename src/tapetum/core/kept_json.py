"""JSON files that a run keeps: objects and lists, checked to be what was written there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tapetum.core import files
from tapetum.core.errors import DataError


def read_list(path: Path | str) -> list[Any]:
    """Read a JSON list that a run keeps.

    Raises:
        DataError: the file is absent, broken, or something else than a list.
    """
    found = files.read_json(path)
    if not isinstance(found, list):
        raise _other(path, "holds no list", "list")
    return found


def read_object(path: Path | str, having: Iterable[str] = ()) -> dict[str, Any]:
    """Read a JSON object that a run keeps.

    Args:
        path: the file.
        having: keys that it must have.

    Raises:
        DataError: the file is absent, broken, something else than an object, or lacks a key.
    """
    found = files.read_json(path)
    lacks = [key for key in having if key not in found] if isinstance(found, dict) else []
    if not isinstance(found, dict) or lacks:
        raise _other(path, f"has no {lacks[0]!r}" if lacks else "holds no object", "object")
    return found


def _other(path: Path | str, what: str, kind: str) -> DataError:
    """Return the error for a file that holds something else than was written there."""
    return DataError(f"{path} {what}", need=f"the JSON {kind} that was written there", fix="restore the file, or make the run again")
