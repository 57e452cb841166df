"""Hashes of the files that belong together: one that was changed, cut or exchanged since is named before it is used.

A folder keeps them in a file of its own, written when what they are of is whole. Folders of earlier versions have none, and are read as
before. What is changed on purpose is changed between :func:`forget` and :func:`keep`, or within :func:`renewed`, so that a kill leaves
files without a hash and never a hash of other content.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tapetum.core import files, kept_json, places
from tapetum.core.errors import DataError

RECORD = "hashes.json"
_KEY = "sha256"
AGAIN = "put it back, or run tapetum fit again with -o {}, which makes it anew"  # of a run


def keep(folder: Path, names: Iterable[str]) -> None:
    """Write the hashes of files, named from the folder with ``/``."""
    files.write_json(folder / RECORD, {_KEY: of_files(folder, names)})


def of_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return name → SHA-256 of files of a folder, in the order of the names."""
    return {name: files.sha256(folder / name) for name in sorted(names)}


def kept(folder: Path) -> dict[str, str]:
    """Return name → SHA-256 as a folder keeps them; empty where it keeps none.

    Raises:
        DataError: the file holds something else.
    """
    place = folder / RECORD
    found = kept_json.read_object(place, having=(_KEY,))[_KEY] if place.exists() else {}
    if not isinstance(found, dict):
        raise DataError(f"{place} has no JSON object as {_KEY!r}", fix="remove it, or copy the whole folder again")
    return found


def forget(folder: Path) -> None:
    """Remove the hashes of a folder whose files are about to change."""
    files.remove(folder / RECORD)


@contextlib.contextmanager
def renewed(folder: Path, *names: str) -> Iterator[None]:
    """Let files change within the block, and keep their new hashes beside those of the others; of a folder without hashes nothing."""
    known = kept(folder)
    if not known:
        yield
        return
    others = {name: digest for name, digest in known.items() if name not in names}
    files.write_json(folder / RECORD, {_KEY: others})
    yield
    files.write_json(folder / RECORD, {_KEY: others | of_files(folder, [name for name in names if (folder / name).exists()])})


def check(folder: Path, fix: Callable[[str], str], wanted: Callable[[str], bool] = bool, *, goes_on: bool = False) -> None:
    """Refuse files of a folder that are not those whose hashes it keeps.

    Args:
        folder: with or without hashes.
        fix: name → what mends a file that is another.
        wanted: of the names, which are compared; all.
        goes_on: a file may be absent together with the folder that it was in, since the caller makes that anew.

    Raises:
        DataError: names the file, or the folder that is absent.
    """
    for name, digest in kept(folder).items():
        if not wanted(name):
            continue
        inner = places.inside(folder, name).parent
        if inner.is_dir():
            compare(folder, {name: digest}, RECORD, fix=fix(name))
        elif not goes_on:
            raise DataError(f"{_highest_absent(inner)} is absent, and {RECORD} names files in it", fix=AGAIN.format(folder))


def matching(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return what tells whether a name fits one of some patterns, in which ``*`` stands for folders, too."""
    return lambda name: any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _highest_absent(place: Path) -> Path:
    """Return the highest folder of those above a place, and itself, that is not there."""
    while not place.parent.is_dir():
        place = place.parent
    return place


def check_fold(folder: Path) -> None:
    """Refuse files of a fold's folder that are not those that the fold wrote."""
    check(folder, lambda name: mend_fold(folder))


def mend_fold(folder: Path) -> str:
    """Return what mends a fold's folder that holds files from elsewhere."""
    return f"put the fold's own files back, or remove the folder {folder} and run tapetum fit again, which makes the fold anew"


def compare(folder: Path, digests: Mapping[str, str], marker: str, *, fix: str) -> None:
    """Refuse files that are not those that were written.

    Args:
        folder: that they are in.
        digests: file → SHA-256, as ``marker`` has them.
        marker: the file of the folder that says so.
        fix: what mends a changed file.

    Raises:
        DataError: names the file.
    """
    for name, digest in digests.items():
        place = places.inside(folder, name, fix)
        if not place.is_file():
            raise DataError(f"{place} is absent", fix=fix)
        if files.sha256(place) != digest:
            raise DataError(f"{place} is not the file that was written: its SHA-256 differs from {marker}", fix=fix)
