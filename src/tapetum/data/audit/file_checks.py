"""Checks of the files: is every one there and whole, and what is in it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from tapetum.core import allocator, progress, threads
from tapetum.core.errors import listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.data.images.archives import DecodeError
from tapetum.data.images.decode import Composition, read_row
from tapetum.data.images.form import odd_sizes

FILES_SCHEMA: dict[str, Any] = {
    "row_id": pl.String,
    "sha256": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "height": pl.Int32,
    "width": pl.Int32,
    "channels": pl.Int16,
    "dtype": pl.String,
}
T = TypeVar("T")


def check_files(manifest: Manifest, how: Composition, log: Log, workers: int | None = None) -> pl.DataFrame:
    """Read, hash and decode every image.

    Decoding finds most damage and not all: a third of damaged images decode without an error. The hash finds the rest from the second
    time on: a row whose content is not what its ``sha256`` says is ``missing`` too.

    Args:
        manifest: the rows.
        how: how the files of a row become an image.
        log: receives messages about progress and what was found.
        workers: threads; None for as many as there are processors.

    Returns:
        One row a manifest row, in its order: row_id, status (``ok`` or ``missing``), reason (null where ok), and, null where
        missing: sha256, height and width of the first view, channels and dtype (``uint8``, ``uint16``, ``float32``) of all of them.
    """
    found = scan(manifest, how, lambda paths, images, contents: None, log, workers)
    return pl.DataFrame([facts for facts, _ in found], schema=FILES_SCHEMA)


def scan(
    manifest: Manifest,
    how: Composition,
    measure: Callable[[list[Path], list[np.ndarray], list[bytes]], T],
    log: Log,
    workers: int | None = None,
) -> list[tuple[dict[str, Any], T | None]]:
    """Read, hash and decode every image once, and measure it while it is at hand.

    Args:
        manifest: the rows.
        how: how the files of a row become an image.
        measure: called in threads with the row's files, its views and the bytes of its files; what it returns is kept.
        log: receives messages about progress and what was found.
        workers: threads; None for as many as there are processors.

    Returns:
        For each row, in order, the facts of ``FILES_SCHEMA`` and what ``measure`` returned, None where the image cannot be read.
    """
    allocator.keep_memory()  # of a Python caller, for whom no command line did
    expected, how = manifest.frame["sha256"].to_list(), dataclasses.replace(how, least=None)  # every file is looked at whole once
    ids = manifest.row_ids

    def check(numbered: tuple[int, tuple[list[str]]]) -> tuple[dict[str, Any], T | None]:
        row, (names,) = numbered
        paths, contents = [manifest.root / name for name in names], list[bytes]()
        try:
            digest, images = read_row(paths, how, expected[row], contents)
        except DecodeError as error:
            return {"row_id": ids[row], "status": "missing", "reason": error.reason}, None
        if odd := views_differ(images):
            return {"row_id": ids[row], "status": "missing", "reason": odd}, None
        height, width = images[0].shape[:2]
        channels = max(image.shape[2] for image in images)
        dtype = next((p.dtype.name for p in images if p.dtype != np.uint8), "uint8")
        facts = {"sha256": digest, "status": "ok", "height": height, "width": width, "channels": channels, "dtype": dtype}
        return {"row_id": ids[row], **facts}, measure(paths, images, contents)

    workers = workers if workers is not None else os.cpu_count() or 1
    found, tick = [], progress.share(log, "checking images")
    for result in threads.mapped(check, enumerate(manifest.frame.select("path").iter_rows()), workers):
        found.append(result)
        tick(len(found), len(ids))
    checked = pl.DataFrame([facts for facts, _ in found], schema=FILES_SCHEMA)
    log(summary(checked))
    if (odd := odd_sizes(checked)) is not None:
        log(odd)
    return found


def views_differ(images: list[np.ndarray]) -> str:
    """Return why the views of a row do not go together (their channels, gray and RGB apart), or nothing."""
    channels = sorted({image.shape[2] for image in images})
    return "" if len(channels) == 1 or channels == [1, 3] else f"its views have {listed(channels)} channels"


def summary(found: pl.DataFrame) -> str:
    """Return one sentence on a table of :func:`check_files`: how many, and which cannot be read and why."""
    bad = found.filter(pl.col("status") != "ok")
    if not len(bad):
        return f"checked {plural(len(found), 'image')}: all can be read"
    examples = [f"{row['row_id']} ({row['reason']})" for row in bad.head(8).iter_rows(named=True)]
    more = f", … ({len(bad) - 8:,} more)" if len(bad) > 8 else ""
    return f"{len(bad):,} of {plural(len(found), 'image')} cannot be read: {listed(examples)}{more}"
