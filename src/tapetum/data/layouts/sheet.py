"""A sheet: rows as a source gives them, before its columns have meanings; and which files of a source are images."""

from __future__ import annotations

import dataclasses
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.errors import DataError, UserError, listed
from tapetum.data.images import formats
from tapetum.data.images.archives import read_bytes, read_head

Say = Callable[[str], None]

ARCHIVE_MARK = "!/"  # pictures.zip!/a.png is the member a.png of pictures.zip


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Rows and columns of one source.

    Args:
        frame: the columns; text where the source is text, blank cells null.
        root: the folder that paths start from.
        name: how errors call the source (``labels.csv``).
        roles: what the layout itself knows: role (``id``, ``path``, ``group``, …) → column or columns.
        targets: target specs that the layout brings; they hold where the user names none.
        derive: derived targets that the layout brings.
        found: every picture was seen on disk while reading.
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
        names: relative paths with ``/``, as :func:`list_files` gives them.
    """
    named = {name for name in names if formats.has_image_name(name)}
    rest = [name for name in names if name not in named]
    before = f"{source.as_posix()}{ARCHIVE_MARK}" if source.is_file() else f"{source.as_posix()}/"
    return named | {name for name in rest if formats.is_image(name, read_head(before + name))}


def is_hidden(path: str) -> bool:
    """Tell whether a relative path (with ``/``) is hidden or the shadow that macOS leaves in archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def split_archive(path: str) -> tuple[str, str] | None:
    """Return (archive, member) of ``a.zip!/x.png``, or None for a plain file."""
    archive, mark, member = path.partition(ARCHIVE_MARK)
    return (archive, member) if mark else None


def list_files(folder: Path) -> list[str]:
    """Return every file below a folder or inside a zip or tar archive, as sorted relative paths with ``/``.

    Raises:
        UserError: there is no such folder.
        DataError: an archive that cannot be read.
    """
    if folder.is_file():
        return sorted(archive_names(folder))
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist", fix="check the path")
    out: list[str] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add(real)
        inner = Path(place).relative_to(folder).as_posix()
        out += [name if inner == "." else f"{inner}/{name}" for name in names]
    return sorted(out)


def archive_names(archive: Path) -> list[str]:
    """Return the names of the files in a zip or tar archive.

    Raises:
        DataError: the archive is absent or damaged.
    """
    try:
        if archive.suffix.lower() == ".tar":
            with tarfile.open(archive) as tar:
                return [member.name.removeprefix("./") for member in tar if member.isfile()]
        with zipfile.ZipFile(archive) as inside:
            return [info.filename for info in inside.infolist() if not info.is_dir()]
    except FileNotFoundError:
        raise DataError(f"archive {archive} does not exist", fix="check the path") from None
    except (zipfile.BadZipFile, tarfile.TarError, OSError) as error:
        raise DataError(f"archive {archive} cannot be read ({error})", fix="fetch it again") from None


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


def refuse_missing(missing: Iterable[str], total: int, name: str) -> DataError:
    """Return the error for picture files that a table names and that are not there."""
    gone = list(missing)
    return DataError(
        f"{name} names {len(gone)} of {total} picture files that do not exist: {listed(gone)}",
        fix="mend the paths, or go on without them: --on-bad skip",
    )


def copy_picture(source: Path, place: Path) -> Path:
    """Copy a picture, byte for byte, also out of an archive."""
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
