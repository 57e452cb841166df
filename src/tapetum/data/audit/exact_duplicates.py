"""Rows whose images are the same to the byte; blank images say nothing about who is on them, and are no duplicates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import threads
from tapetum.core.errors import listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.data.images.archives import DecodeError, read_bytes
from tapetum.data.images.decode import Composition, compose, content_hash


def exact_duplicates(manifest: Manifest, hashes: Sequence[str | None], how: Composition, log: Log) -> dict[str, str]:
    """Return row id → a name shared by rows whose images are the same to the byte, but for blank images.

    Args:
        manifest: the rows.
        hashes: of each row's content; None or empty where there is none.
        how: how the files of a row become an image.
        log: told how many duplicates and blank images there are.
    """
    rows = pl.DataFrame({"row": range(len(manifest)), "sha256": pl.Series(hashes, dtype=pl.String)})
    same = rows.filter(pl.col("sha256").is_not_null() & (pl.col("sha256") != "") & pl.col("sha256").is_duplicated())
    first = dict(same.group_by("sha256", maintain_order=True).agg(pl.col("row").first()).iter_rows())
    blank = {digest for digest, row in first.items() if _is_blank(manifest, row, how)}
    ids = manifest.row_ids
    found = {ids[row]: digest for row, digest in same.iter_rows() if digest not in blank}
    if found:
        log(f"{plural(len(found), 'row is', 'rows are')} byte-equal duplicates of other rows; duplicates share a fold")
        _warn_of_conflicts(manifest, {row: digest for row, digest in same.iter_rows() if digest not in blank}, log)
    if blank:
        named = [ids[first[digest]] for digest in blank]
        log(
            f"{plural(len(same) - len(found), 'row is', 'rows are')} blank images with the same bytes "
            f"({listed(sorted(named))}); blank images join no groups"
        )
    return found


def _warn_of_conflicts(manifest: Manifest, found: dict[int, str], log: Log) -> None:
    """Warn of equal images with several labels, which train against one another; ``found``: row → its set."""
    split = manifest.split
    for target in manifest.targets:
        if not target.scored or target.name not in manifest.frame.columns:
            continue
        cells = manifest.frame[target.name].to_list()
        first: dict[str, int] = {}
        pairs: dict[str, tuple[int, int]] = {}
        for row, digest in found.items():
            if cells[row] is None or split[row] not in ("train", "extra"):
                continue
            other = first.setdefault(digest, row)
            if _plain(cells[other]) != _plain(cells[row]):
                pairs.setdefault(digest, (other, row))
        if pairs:
            named = [" and ".join(f"{manifest.row_ids[row]} ({_shown(cells[row])})" for row in pair) for pair in pairs.values()]
            log(
                f"warning: {plural(len(pairs), 'image is', 'images are')} there several times with several labels of {target.name!r}, "
                f"of which at least one is wrong: {listed(named, 3)}"
            )


def _plain(cell: Any) -> Any:
    return sorted(cell) if isinstance(cell, list) else cell


def _shown(cell: Any) -> str:
    return listed(cell, 5) or "none" if isinstance(cell, list) else str(cell)


def hashes_of(manifest: Manifest) -> list[str | None]:
    """Return the content hash of each row as :func:`~tapetum.data.audit.check_files` gives it, without decoding; None for lost files."""

    def digest(row: int) -> str | None:
        try:
            return content_hash([read_bytes(path) for path in manifest.paths(row)])
        except DecodeError:
            return None

    return list(threads.mapped(digest, range(len(manifest)), os.cpu_count() or 1))


def _is_blank(manifest: Manifest, row: int, how: Composition) -> bool:
    """Tell whether every channel of a row's image has one value."""
    try:
        views = compose(manifest.paths(row), how)
    except DecodeError:
        return False
    return all(bool(np.ptp(view.reshape(-1, view.shape[-1]), axis=0).max() == 0) for view in views)
