"""Takes a users' folder, table or archive in its own layout, gives a Manifest; and writes a Manifest back into a layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapetum.data.layouts.reading import loose, read, write

__all__ = ["loose", "read", "write"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tapetum.data.layouts import reading

        return getattr(reading, name)
    raise AttributeError(f"module 'tapetum.data.layouts' has no attribute {name!r}")
