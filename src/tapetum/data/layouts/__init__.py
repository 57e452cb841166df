"""Takes a users' folder, table or archive in its own layout, gives a Manifest; and writes a Manifest back into a layout."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapetum.data.layouts.frame import is_frame
    from tapetum.data.layouts.reading import read, write
    from tapetum.data.layouts.table import flags
    from tapetum.data.layouts.unlabelled import holds_rows, loose

__all__ = ["flags", "holds_rows", "is_frame", "loose", "read", "write"]

_PLACES = {
    "read": "reading",
    "write": "reading",
    "flags": "table",
    "loose": "unlabelled",
    "holds_rows": "unlabelled",
    "is_frame": "frame",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
