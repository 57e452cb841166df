"""What is kept between runs for the user on this machine: small JSON files, and converted models, in the platform's cache folder.

Nothing here is needed: a cache that is absent, broken or cannot be written is the same as an empty one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tapetum.core import files
from tapetum.core.errors import TapetumError

MOST = 500  # entries of a file; the oldest go first
MOST_BYTES = 1 << 30  # of the files that :func:`add_bytes` keeps; those used longest ago go first


def folder() -> Path:
    """Return Tapetum's cache folder: ``XDG_CACHE_HOME`` where it is set, else the platform's; it need not exist."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "tapetum"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tapetum"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tapetum" / "Cache"
    return Path.home() / ".cache" / "tapetum"


def read(name: str) -> dict[str, Any]:
    """Return a file's entries; none where it is absent or cannot be read."""
    try:
        found = files.read_json(folder() / f"{name}.json")
    except (OSError, RuntimeError, TapetumError):  # RuntimeError: there is no home folder
        return {}
    return found if isinstance(found, dict) else {}


def add(name: str, entries: Mapping[str, Any]) -> None:
    """Add entries to a file, in place of those of the same keys; where it cannot be written nothing happens."""
    kept = {key: value for key, value in read(name).items() if key not in entries} | dict(entries)
    try:
        files.write_json(folder() / f"{name}.json", dict(list(kept.items())[-MOST:]))
    except (OSError, RuntimeError, TapetumError):
        return


def read_bytes(kind: str, name: str) -> bytes | None:
    """Return a kept file, which counts as used now; None where it is absent or cannot be read."""
    try:
        place = folder() / kind / name
        content = place.read_bytes()
        os.utime(place)
    except (OSError, RuntimeError):
        return None
    return content


def has_bytes(kind: str, name: str) -> bool:
    """Tell whether a file is kept."""
    try:
        return (folder() / kind / name).is_file()
    except (OSError, RuntimeError):
        return False


def add_bytes(kind: str, name: str, content: bytes) -> None:
    """Keep a file under a name that says what it holds; where it cannot be written, or is too large, nothing happens."""
    if len(content) > MOST_BYTES:
        return
    try:
        place = folder() / kind
        there = sorted((one for one in place.glob("*") if one.is_file()), key=lambda one: one.stat().st_mtime, reverse=True)
        used = len(content)
        for one in there:
            used += one.stat().st_size
            if used > MOST_BYTES:
                files.remove(one)
        files.write_bytes(place / name, content)
    except (OSError, RuntimeError, TapetumError):
        return
