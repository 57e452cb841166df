"""Tapetum's audit of a folder of images that has no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_check
import polars as pl

from tapetum.core.tables import Manifest
from tapetum.data import audit
from tapetum.data.images.decode import Composition


def check(folder: Path) -> dict[str, Any]:
    names = sorted(path.name for path in folder.iterdir())
    manifest = Manifest(pl.DataFrame({"row_id": names, "path": [[name] for name in names]}), (), folder)
    table = audit.examine(manifest, Composition(), lambda _: None, workers=1)
    flagged: dict[str, list[str]] = {}
    sets: dict[str, list[str]] = {}
    for name, kinds, copies in table.select("row_id", "findings", "duplicate").iter_rows():
        for kind in kinds:
            flagged.setdefault(kind, []).append(name)
        if copies is not None:
            sets.setdefault(copies, []).append(name)
    return {"flagged": flagged, "sets": list(sets.values())}


if __name__ == "__main__":
    folder_check.main(check)
