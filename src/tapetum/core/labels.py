"""Several labels as one cell of a table, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.errors import DataError
from tapetum.core.targets import Target, decode, encode


def in_words(labels: Sequence[str] | None) -> str:
    """Return the labels of an image for people: joined by a plus, ``no label`` where none of the classes holds, blank where unknown."""
    return "" if labels is None else " + ".join(labels) or "no label"


def cells_of(target: Target, answer: np.ndarray) -> list[str | None]:
    """Return a cell for each row of decided labels (N, K); None for a row of NaN.

    Several labels are joined by the target's separator, or are a JSON list where a class holds that separator.
    """
    found = decode(target, answer)
    if target.kind != "multi":
        return [None if one is None else str(one) for one in found]
    plain = not any(target.separator in name for name in target.classes)
    join = target.separator.join if plain else lambda names: json.dumps(names, ensure_ascii=False)
    return [None if one is None else join(one) for one in found]


def answer_of(target: Target, cells: Sequence[str | None], row_ids: Sequence[str]) -> np.ndarray:
    """Return the decided labels (N, K) float32 of cells that :func:`cells_of` made; a blank is no label at all where there may be several.

    Raises:
        DataError: a label that is no class; the row is named.
    """
    if target.kind != "multi":
        return encode(target, [cell or None for cell in cells], row_ids)
    return encode(target, [labels_of(target, cell or "", row_id) for cell, row_id in zip(cells, row_ids, strict=True)], row_ids)


def labels_of(target: Target, cell: str, row_id: Any) -> list[Any]:
    """Return the labels of one cell that :func:`cells_of` made, or a person: a whole class name is itself, whatever it holds.

    Raises:
        DataError: it begins like a list and is none; the row is named.
    """
    if cell in target.classes:
        return [cell]
    if not cell.startswith("["):
        return [name for name in cell.split(target.separator) if name]
    try:
        return list(files.from_json(cell))
    except ValueError:
        raise DataError(f"row {row_id!r} has the labels {cell!r}", need='a JSON list such as ["a", "b"]') from None
