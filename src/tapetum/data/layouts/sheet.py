"""A sheet: rows as a source gives them, before its columns have meanings; and which files of a source are images."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.errors import DataError, listed
from tapetum.core.targets import same_text
from tapetum.core.words import plural
from tapetum.data.images import formats
from tapetum.data.images.archives import read_bytes, read_head
from tapetum.data.layouts.listing import archive_names

ARCHIVE_MARK = "!/"  # images.zip!/a.png is the member a.png of images.zip


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Rows and columns of one source.

    Args:
        frame: the columns; text where the source is text, blank cells null.
        root: the folder that paths start from.
        name: how errors call the source (``labels.csv``).
        roles: columns whose meaning the layout defines: role (``id``, ``path``, ``group``, …) → column or columns.
        targets: target specs that the layout brings; they hold where the user names none.
        derive: derived targets that the layout brings.
        found: every image was seen on disk while reading.
        layout: the layout that it was read as.
    """

    frame: pl.DataFrame
    root: Path
    name: str
    roles: dict[str, Any] = dataclasses.field(default_factory=dict)
    targets: tuple[Any, ...] = ()
    derive: dict[str, str] = dataclasses.field(default_factory=dict)
    found: bool = False
    layout: str = ""


def images_among(source: Path, names: Sequence[str]) -> set[str]:
    """Return those of some files below a folder, or inside a zip or tar archive, that are images by their name or their first bytes.

    Args:
        source: the folder or the archive.
        names: relative paths with ``/``, as :mod:`~tapetum.data.layouts.listing` gives them.
    """
    named = {name for name in names if formats.has_image_name(name)}
    rest = [name for name in names if name not in named]
    before = f"{source.as_posix()}{ARCHIVE_MARK}" if source.is_file() else f"{source.as_posix()}/"
    return named | {name for name in rest if formats.is_image(name, read_head(before + name))}


def split_archive(path: str) -> tuple[str, str] | None:
    """Return (archive, member) of ``a.zip!/x.png``, or None for a plain file."""
    archive, mark, member = path.partition(ARCHIVE_MARK)
    return (archive, member) if mark else None


def missing_files(paths: Iterable[str], root: Path) -> list[str]:
    """Return those of ``paths`` (relative to ``root``) that are not there; each folder and archive is listed once."""
    listings: dict[str, set[str]] = {}

    def holds(path: str) -> bool:
        inside = split_archive(path)
        if inside is not None:
            place, name = inside
            if place not in listings:
                listings[place] = set(archive_names(root / place)) if (root / place).is_file() else set()
        else:
            place, _, name = path.rpartition("/")
            if place not in listings:
                folder = Path("/") if path.startswith("/") and not place else root / place
                listings[place] = set(os.listdir(folder)) if folder.is_dir() else set()
        return name in listings[place]

    return [path for path in paths if not holds(path)]


def refuse_missing(missing: Iterable[str], rows: Sequence[Sequence[str]], name: str, root: Path, beside: str | None = None) -> DataError:
    """Return the error for image files that a table names and that are not there; rows of several files are counted by file.

    Args:
        missing: the files.
        rows: the files of each row.
        name: of the table.
        root: the folder that paths start from.
        beside: the option that leads to all of them, if one does.
    """
    gone, total = list(missing), sum(map(len, rows))
    what = f"{name} names {len(gone)} of {plural(total, 'image file')} that do not exist: {listed(gone)}"
    otherwise = "correct the paths, or go on without them: --on-bad skip"
    return DataError(
        what + count_complete(rows, gone) + _alike(gone[0], root), fix=f"say where they are: {beside}" if beside else otherwise
    )


def _alike(path: str, root: Path) -> str:
    """Return the name of the file that is there in place of a missing one, if they differ in case, accents' form or ending alone."""
    if split_archive(path) is not None:
        return ""
    folder = root / path.rpartition("/")[0]
    names = os.listdir(folder) if folder.is_dir() else []
    wanted = same_text(path.rpartition("/")[2]).casefold()
    found = sorted(name for name in names if same_text(name).casefold() == wanted)
    found = found or sorted(name for name in names if same_text(PurePosixPath(name).stem).casefold() == PurePosixPath(wanted).stem)
    return f". In its place there is {found[0]!r}" if found else ""


def count_complete(rows: Sequence[Sequence[str]], missing: Iterable[str]) -> str:
    """Return how many rows have all their files, and how many of each file are there: ``0 of 200 rows complete: green 50, red 50``.

    Args:
        rows: the files of each row.
        missing: those that are not there.

    Returns:
        The text after a full stop, or an empty string where rows have one file each.
    """
    gone, width = set(missing), max(map(len, rows), default=0)
    if width < 2:
        return ""
    complete = sum(not gone.intersection(row) for row in rows)
    whole = [row for row in rows if len(row) == width]
    counts = [sum(row[i] not in gone for row in whole) for i in range(width)]
    named = ", ".join(f"{label} {count}" for label, count in zip(_place_names(whole[0]), counts, strict=True))
    return f". {complete} of {plural(len(rows), 'row')} complete: {named}"


def _place_names(row: Sequence[str]) -> list[str]:
    """Return the part in which the files of a row differ: ``red``, ``green`` of ``a/x_red.png``, ``a/x_green.png``."""
    parts = [re.split(r"[^A-Za-z0-9]+", path) for path in row]
    if len({len(one) for one in parts}) == 1:
        differs = [i for i in range(len(parts[0])) if len({one[i] for one in parts}) > 1]
        names = ["_".join(one[i] for i in differs) for one in parts]
        if differs and len(set(names)) == len(names):
            return names
    return [f"file {i + 1}" for i in range(len(row))]


def copy_image(source: Path, place: Path) -> Path:
    """Copy an image, byte for byte, also out of an archive."""
    return files.write_bytes(place, read_bytes(source))


def relative_to(path: str, root: Path, new_root: Path) -> str:
    """Return ``path`` (relative to ``root``) as seen from ``new_root``, with ``/``; absolute where no way leads there."""
    here, there = os.path.abspath(root), os.path.abspath(new_root)
    if here == there:
        return path
    try:
        return PurePosixPath(os.path.relpath(os.path.join(here, path), there).replace(os.sep, "/")).as_posix()
    except ValueError:  # another drive
        return Path(here, path).as_posix()
