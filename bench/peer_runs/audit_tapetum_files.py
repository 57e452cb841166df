"""Tapetum's checks of the files and hashes alone: read, SHA-256, format, decode, thumbnail, perceptual hash, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_check
import numpy as np
from audit_tapetum import listed, sets_of

from tapetum.data import audit
from tapetum.data.audit.image_statistics import THUMBNAIL, header, misnamed, thumbnail
from tapetum.data.images.decode import Composition


def check(folder: Path) -> dict[str, Any]:
    manifest = listed(folder)
    found = audit.scan(manifest, Composition(), measure, lambda _: None, 1)
    empty = np.zeros((THUMBNAIL, THUMBNAIL), dtype=np.float32)
    small = np.stack([empty if one is None else one[1] for _, one in found])
    sets = audit.find_duplicates([facts.get("sha256") for facts, _ in found], small).set
    names = manifest.row_ids
    flagged = {"unreadable": [facts["row_id"] for facts, _ in found if facts["status"] != "ok"]}
    flagged |= {"misnamed": [facts["row_id"] for facts, one in found if one is not None and any(one[0])]}
    return {"flagged": flagged, "sets": sets_of((name, names[number]) for name, number in zip(names, sets, strict=True) if number >= 0)}


def measure(
    paths: list[Path], images: list[np.ndarray], contents: list[bytes]
) -> tuple[list[str | None], np.ndarray, list[tuple[int, int]]]:
    return [misnamed(*one) for one in zip(paths, contents, strict=True)], thumbnail(images[0]), [header(data) for data in contents]


if __name__ == "__main__":
    folder_check.main(check)
