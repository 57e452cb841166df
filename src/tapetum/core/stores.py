"""A store of feature vectors on the disk: one array, and the index that says of which rows and by what they were computed.

The index is written last and keeps the hash of the array and the name of its folder, which is a hash of what computed it, so that an array
or an index of another store is noticed before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files, kept_json
from tapetum.core.arrays import load_array
from tapetum.core.errors import DataError

INDEX, VECTORS = "index.json", "vectors.npy"
_HASH, _KEY = "vectors_sha256", "key"


def write(folder: Path, vectors: np.ndarray, index: dict[str, Any]) -> None:
    """Write vectors (N, V, D) first, then their index."""
    files.remove(folder / INDEX)  # of other rows: a kill must not leave it beside these vectors
    place = files.write_array(folder / VECTORS, vectors)
    files.write_json(folder / INDEX, {_KEY: folder.name, _HASH: files.sha256(place), **index})


def finished(features: Path) -> Iterator[Path]:
    """Yield the finished stores of a run, by name."""
    yield from (folder for folder in sorted(features.glob("*")) if (folder / INDEX).exists())


def index(folder: Path) -> dict[str, Any]:
    """Return the index of a store.

    Raises:
        DataError: it is broken, or that of another store.
    """
    found = kept_json.read_object(folder / INDEX, having=("row_id",))
    if found.get(_KEY, folder.name) != folder.name:
        raise DataError(f"{folder / INDEX} is that of {str(found[_KEY])[:40]!r}, computed by other weights or settings", fix=_fix(folder))
    return found


def vectors(folder: Path, known: dict[str, Any], *, mapped: bool = False) -> np.ndarray:
    """Return the vectors (N, V, D) of a store.

    Args:
        folder: of the store.
        known: its :func:`index`.
        mapped: read from the disk what is used of them; all of the file is read once, to compare its hash.

    Raises:
        DataError: the file is not the one that was written with the index.
    """
    place = folder / VECTORS
    digest = known.get(_HASH)  # stores of earlier versions have none
    if not place.is_file():
        raise DataError(f"{place} is absent", fix=_fix(folder))
    if digest is not None and files.sha256(place) != digest:
        raise DataError(f"{place} is not the file that was written: its SHA-256 differs from {INDEX}", fix=_fix(folder))
    return load_array(place, mapped=mapped)


def _fix(folder: Path) -> str:
    return f"copy it again, or remove the folder {folder} and run tapetum fit again, which computes it anew"
