"""What lies in a folder or an archive: its files and folders, without hidden ones, runs, pipelines and Python environments."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tapetum.core import locks
from tapetum.core.errors import DataError, EnvironmentFault, UserError, listed
from tapetum.core.places import leads_out
from tapetum.core.stand_ins import HEAD, stand_in
from tapetum.data.images.archives import open_zip, read_head
from tapetum.data.images.tars import open_tar, places

RUN_MARKS = ("run-id.json", locks.HOLDER, "pipeline.json")  # one of them is in every run (from its first moment) and pipeline
MARKS = (*RUN_MARKS, "pyvenv.cfg")
UNSEEN = (  # what systems and network drives leave, not hidden by a dot
    *("__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found", "@eadir", "@recycle", "#recycle", "#snapshot"),
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """Files and folders below a place, as sorted relative paths with ``/``.

    Args:
        files: every visible file.
        folders: every visible folder; one that holds nothing but runs and hidden files is none.
        hidden: how many files are hidden.
        runs: folders that were passed over because they are runs, pipelines or Python environments.
    """

    files: list[str]
    folders: list[str]
    hidden: int
    runs: list[str]


def listing(place: Path) -> Listing:
    """List a folder or a zip or tar archive.

    Raises:
        UserError: there is no such place, or it is itself a run or a pipeline.
        DataError: an archive that cannot be read, or a folder that cannot be listed.
        EnvironmentFault: Python does not read this machine's file names as UTF-8, and some are not ASCII.
    """
    if place.is_file():
        names, folders = archive_names(place), set[str]()
    elif place.is_dir():
        names, folders = _walk(place)
    else:
        raise UserError(f"{place} does not exist", fix="check the path")
    runs = {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in MARKS}
    if "" in runs and any(mark in names for mark in RUN_MARKS):
        raise UserError(f"{place} is a run or a pipeline, not data", need="a folder of images", fix="name the folder that was trained on")
    runs = {run for run in runs if run and not any(above in runs for above in _above(run))}
    within = {name for name in (*names, *folders) if name in runs or any(above in runs for above in _above(name))}
    seen = [name for name in names if name not in within and not is_hidden(name)]
    full = {above for name in seen for above in _above(name)}
    kept = full | {f for f in folders - within if not is_hidden(f) and not _holds_only_runs(f, folders, runs)}
    hidden = sum(name not in within for name in names) - len(seen)
    return Listing(sorted(seen), sorted(kept), hidden, sorted(run for run in runs if not is_hidden(run)))


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run, a pipeline or a Python environment, and so never data."""
    return any((folder / mark).exists() for mark in MARKS)


def children(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name: hidden things, runs and folders that hold nothing but runs left out."""
    seen = (p for p in sorted(folder.iterdir()) if not is_hidden(p.name))
    return [p for p in seen if not (p.is_dir() and (is_run(p) or _is_shelf(p)))]


def is_hidden(path: str) -> bool:
    """Tell whether a relative path (with ``/``) is hidden, or what macOS, Windows and Python leave beside files."""
    return any(part.startswith(".") or part.lower() in UNSEEN for part in path.split("/"))


def archive_names(archive: Path) -> list[str]:
    """Return the names of the files in a zip or tar archive.

    Raises:
        DataError: the archive is absent or damaged, or a name leads out of it.
    """
    try:
        if archive.suffix.lower() == ".tar":
            with open_tar(archive) as tar:
                names = [name for name, _ in places(tar)]
        else:
            with open_zip(archive) as inside:
                names = [info.filename for info in inside.infolist() if not info.is_dir()]
    except FileNotFoundError:
        raise DataError(f"archive {archive} does not exist", fix="check the path") from None
    except (zipfile.BadZipFile, tarfile.TarError, OSError) as error:
        head = read_head(archive, HEAD) if archive.is_file() else b""
        what = stand_in(head) if not head.startswith(b"PK") else None
        if what is not None and archive.is_file():
            raise DataError(f"archive {archive} is {what}") from None
        raise DataError(f"archive {archive} cannot be read ({error})", fix="fetch it again") from None
    refuse_outside(names, archive)
    return names


def refuse_outside(names: Iterable[str], archive: Path) -> None:
    """Refuse names in an archive that lead out of it.

    Raises:
        DataError: the first of them are named.
    """
    outside = [name for name in names if leads_out(name)]
    if outside:
        raise DataError(f"archive {archive} has names that lead out of it: {listed(outside)}", fix="pack it again from inside its folder")


def refuse_undecodable(names: Iterable[str], where: str) -> None:
    """Refuse file names whose bytes are not UTF-8: no table could hold them, and every machine would read them differently.

    Raises:
        DataError: the first of them are named by ``repr``.
    """
    odd = [name for name in names if not is_text(name)]
    if odd:
        raise DataError(
            f"file names of {where} are not UTF-8 ({len(odd)}): {listed(map(repr, odd))}",
            fix="rename the files, or unpack the archive again with the encoding of its names",
        )


def is_text(name: str) -> bool:
    """Tell whether a name is UTF-8, rather than bytes that Python could only keep as they are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk(place: Path) -> tuple[list[str], set[str]]:
    names: list[str] = []
    folders: set[str] = set()
    chain: dict[str, frozenset[str]] = {}  # folder → what it and the folders above it really are
    for at, below, found in os.walk(place, followlinks=True, onerror=functools.partial(_refuse_closed, place)):
        real, above = os.path.realpath(at), chain.get(os.path.dirname(at), frozenset())
        if real in above:  # a link back to a folder above; a second way to a folder beside is a folder of its own
            below.clear()
            inside = Path(at).relative_to(place).as_posix()
            folders.discard(inside)
            continue
        chain[at] = above | {real}
        inner = Path(at).relative_to(place).as_posix()
        before = "" if inner == "." else f"{inner}/"
        marks = [name for name in found if name in MARKS] if before else []
        if marks:  # what lies in a run is not looked at
            below.clear()
        names += [before + name for name in marks or found]
        folders.update(before + name for name in below)
    if sys.getfilesystemencoding().lower().replace("-", "") != "utf8":
        _refuse_other_encoding([*names, *folders], place)
    return names, folders


def _refuse_closed(place: Path, error: OSError) -> None:
    """Refuse a folder that cannot be listed: its images would be left out without a word; hidden ones hold no data."""
    inside = os.path.relpath(error.filename or place, place).replace(os.sep, "/")
    if inside == "." or not is_hidden(inside):
        raise DataError(
            f"the folder {error.filename or place} cannot be listed ({error.strerror})",
            need="a folder that may be read, or its images would be left out",
            fix="give yourself the right to read it (chmod u+rx), or move it elsewhere",
        )


def _refuse_other_encoding(names: list[str], place: Path) -> None:
    odd = [name for name in names if not name.isascii()]
    if odd:
        raise EnvironmentFault(
            f"Python reads file names as {sys.getfilesystemencoding()} here, and {place} has others: {listed(map(repr, odd), 3)}",
            need="UTF-8, as on every other machine",
            fix="start Python with -X utf8, or set PYTHONUTF8=1",
        )


def _above(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _holds_only_runs(folder: str, folders: set[str], runs: set[str]) -> bool:
    """Tell whether a folder without visible files holds runs and, beside them, nothing that is empty on its own account."""
    if not any(run.startswith(f"{folder}/") for run in runs):
        return False
    inner = [f for f in folders if f.rpartition("/")[0] == folder and not is_hidden(f)]
    return all(f in runs or _holds_only_runs(f, folders, runs) for f in inner)


def _is_shelf(folder: Path) -> bool:
    inner = [p for p in folder.iterdir() if not is_hidden(p.name)]
    return bool(inner) and all(p.is_dir() and is_run(p) for p in inner)
