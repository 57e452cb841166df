"""Tapetum's audit of a folder of images that has no labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import folder_check
import polars as pl

from tapetum.core.tables import Manifest
from tapetum.data import audit
from tapetum.data.images.decode import Composition


def check(folder: Path) -> dict[str, Any]:
    table = audit.examine(listed(folder), Composition(), lambda _: None, workers=1)
    flagged: dict[str, list[str]] = {}
    for name, kinds in table.select("row_id", "findings").iter_rows():
        for kind in kinds:
            flagged.setdefault(kind, []).append(name)
    return {"flagged": flagged, "sets": sets_of(table.select("row_id", "duplicate").drop_nulls().iter_rows())}


def listed(folder: Path) -> Manifest:
    names = sorted(path.name for path in folder.iterdir())
    return Manifest(pl.DataFrame({"row_id": names, "path": [[name] for name in names]}), (), folder)


def sets_of(rows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the rows of each set, of pairs (row, set)."""
    sets: dict[str, list[str]] = {}
    for name, of in rows:
        sets.setdefault(of, []).append(name)
    return list(sets.values())


if __name__ == "__main__":
    folder_check.main(check)
