"""Places of files: a path that is not there is refused early, and a manifest's images are found again when both moved together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapetum.core.errors import DataError, KindError, UserError, listed, nearest, unexpanded
from tapetum.core.words import plural, verb

if TYPE_CHECKING:
    from tapetum.core.tables import Manifest

ARCHIVE_MARK = "!/"
PIPELINE = "pipeline.json"  # the file that makes a folder a pipeline
EXPORT = "ensemble.json"  # the file that makes a folder an exported pipeline


def refuse_nowhere(*given: Any) -> None:
    """Refuse paths that are blank or not there; whatever else is given (a frame, None) is not looked at.

    Raises:
        UserError: names the first such path, and the name beside it that is most like it.
    """
    for one in given:
        if not isinstance(one, (str, os.PathLike)):
            continue
        if os.fspath(one) == "":
            raise UserError("a path is blank", need="a file or folder")
        place = Path(os.fsdecode(one))
        if not place.exists():
            if (fix := unexpanded(one)) is not None:
                raise UserError(f"{os.fsdecode(one)} does not exist", need="the path of a file or folder", fix=fix)
            if archive_of(place) is not None:
                what = f"{one} is an image in an archive"
                raise UserError(what, need="a file or folder", fix="name the archive, or predict this image alone: tapetum predict")
            beside = sorted(os.listdir(place.parent)) if place.parent.is_dir() else ()
            raise UserError(f"{one} does not exist", fix=nearest(place.name, beside).strip() or "check the path")


def archive_of(place: Path) -> Path | None:
    """Return the archive of ``a.zip!/x.png``, which is there; None for every other path."""
    archive, mark, member = place.as_posix().partition(ARCHIVE_MARK)
    return Path(archive) if mark and member and not place.exists() and Path(archive).is_file() else None


def pipeline_folder(path: Path | str) -> Path:
    """Return the folder of a pipeline: the path itself, or the one in a run.

    Raises:
        UserError: there is none.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise KindError(f"{path!r} is no pipeline", need="the folder of a pipeline or run")
    refuse_nowhere(path)
    place = Path(path)
    for folder in (place, place / "pipeline"):
        if (folder / PIPELINE).exists():
            return folder
    if place.name in (PIPELINE, EXPORT) and place.is_file():
        raise UserError(f"{path} is a file of a pipeline", need="its folder", fix=f"name {place.parent}")
    if (place / EXPORT).exists():
        need = "the run or the pipeline that it was made of"
        raise UserError(f"{path} is an exported pipeline", need=need, fix="it answers by: tapetum predict EXPORT IMAGES")
    raise UserError(f"{path} holds no pipeline (no {PIPELINE})", fix="make one with: tapetum fit DATA -o RUN")


def inside(folder: Path, name: object, fix: str = "copy the whole folder again") -> Path:
    """Return a place in a folder that somebody else may have made, as the folder's own file names it.

    Raises:
        DataError: the name leads out of the folder: what is read from there would be another person's choice.
    """
    if not isinstance(name, str) or any(mark in name for mark in "\0\\:") or leads_out(name):
        raise DataError(f"{folder} names a file that is not in it: {str(name)[:200]!r}", need="a place inside of the folder", fix=fix)
    return folder / name


def leads_out(name: str) -> bool:
    """Tell whether a name with ``/`` leads out of the folder or archive that it is in."""
    return name.startswith("/") or ".." in name.split("/")


def free_folder(place: Path | str) -> Path:
    """Return a place for a new folder: this one, or the first of ``place-2``, ``place-3``, … that is not there."""
    place = Path(place)
    number, found = 1, place
    while found.exists():
        number += 1
        found = place.with_name(f"{place.name}-{number}")
    return found


def kept_root(root: Path, manifest: Path) -> dict[str, str]:
    """Return what a manifest's file keeps of its root: the absolute path, and the way from the file's own folder."""
    absolute = os.path.abspath(root)
    try:
        way = Path(os.path.relpath(absolute, os.path.abspath(manifest.parent))).as_posix()
    except ValueError:  # another drive
        way = Path(absolute).as_posix()
    return {"root": Path(absolute).as_posix(), "root_from_here": way}


def found_root(manifest: Path, meta: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> Path:
    """Return the root under which the first images lie: as it was kept, the same way from the manifest, or the manifest's own folder.

    Args:
        manifest: the file.
        meta: with ``root`` and, in newer files, ``root_from_here``.
        paths: the rows' files.

    Returns:
        The kept root where none of them holds the images.
    """
    kept = Path(meta["root"])
    places = (kept, manifest.parent / meta.get("root_from_here", "."), manifest.parent)
    some = [paths[row][0] for row in sorted({0, len(paths) // 2, len(paths) - 1}) if 0 <= row < len(paths) and paths[row]]
    return next((Path(os.path.normpath(place)) for place in places if any(_is_there(place, path) for path in some)), kept)


def absent(manifest: Manifest) -> list[str]:
    """Return the ids of rows that have a file which is not there; rows that could not be read when they were hashed do not count."""
    hashes = manifest.frame["sha256"]
    hashed = hashes.null_count() < len(manifest)
    known: dict[str, bool] = {}

    def is_there(path: str) -> bool:
        file = path.partition(ARCHIVE_MARK)[0]
        if file not in known:
            known[file] = _is_there(manifest.root, file)
        return known[file]

    rows = zip(manifest.row_ids, manifest.frame["path"].to_list(), hashes.to_list(), strict=True)
    return [row_id for row_id, paths, digest in rows if (digest is not None or not hashed) and not all(map(is_there, paths))]


def refuse_absent(manifest: Manifest, fix: str) -> None:
    """Refuse to go on without images that were there before.

    Raises:
        DataError: the root, how many rows lack files, and ``fix``: how to give the new place.
    """
    gone = absent(manifest)
    if gone:
        raise moved(manifest, gone, fix)


def moved(manifest: Manifest, gone: Sequence[str], fix: str) -> DataError:
    """Return the error for images that are not where the manifest says."""
    place = "" if manifest.root.is_dir() else ", which is no folder"
    return DataError(
        f"the images of {len(gone)} of {plural(len(manifest), 'row')} {verb(len(gone), 'is', 'are')} "
        f"not below {manifest.root}{place}: {listed(gone, 3)}",
        fix=fix,
    )


def _is_there(root: Path, path: str) -> bool:
    return (root / path.partition(ARCHIVE_MARK)[0]).exists()
