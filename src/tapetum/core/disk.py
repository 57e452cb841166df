"""What :mod:`tapetum.core.files` asks of the system: that content and names are on the disk, and what went wrong there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tapetum.core.errors import EnvironmentFault, UserError

_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS)  # what systems answer that cannot flush such a thing


def _umask() -> int:
    """Return the process's umask; Linux reports it, elsewhere it can only be read by setting it."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Umask:\s*([0-7]+)", Path("/proc/self/status").read_text(encoding="ascii", errors="replace"), re.MULTILINE)
        if found is not None:
            return int(found[1], 8)
    value = os.umask(0)
    os.umask(value)
    return value


_KEPT: list[Path] = []  # of this process, see :func:`kept`
UMASK = _umask()  # read once: reading it again could open the files of another thread to everybody for a moment


def flush(path: Path) -> None:
    """Ask the system to put a file or a folder's entries on the disk (folders: where the system can)."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders, and one that may only be written into cannot be opened
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:  # one that says that the content is lost must not be passed over
        if error.errno not in _NO_FLUSH:
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Refuse inside the block to make a folder anew that was there: who works in it would go on in an empty one."""
    folder = folder.absolute()
    _KEPT.append(folder)
    try:
        yield
    finally:
        _KEPT.remove(folder)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, each of them on the disk: a file's name is only as lasting as that of its folder.

    Raises:
        FileNotFoundError: it would be in a folder that is :func:`kept` and is gone.
    """
    for place in tuple(_KEPT):
        if folder.absolute().is_relative_to(place) and not place.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(absent):
        flush(place.parent)


Kind = Literal["file", "folder", "either"]


def refuse_unwritable(path: Path | str, kind: Kind = "file") -> None:
    """Refuse a place that could not be written at the end of a long work; nothing is left behind, not even its folder.

    Args:
        path: to be written; it may be there, and so may files in it.
        kind: what will be written there.

    Raises:
        UserError: it is a folder where a file is written, or a file where a folder is.
        EnvironmentFault: the system makes no file there, with its reason.
    """
    path = Path(path)
    try:
        is_folder = path.is_dir()
        if (is_folder and kind == "file") or (kind == "folder" and path.is_file()):
            there, other = ("folder", "file") if is_folder else ("file", "folder")
            raise UserError(f"{path} is a {there}", need=f"the name of a {other} to write", fix="choose another name with -o")
        folder = path if is_folder else path.parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = os.strerror(number_of(error) or errno.EIO)
        what = f"{path} cannot be written: the system makes no file in {folder} ({reason})"
        raise EnvironmentFault(what, fix="choose another place with -o") from None


def number_of(error: BaseException) -> int | None:
    """Return the system's number of an error, which polars writes into its text alone; None where there is none."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return getattr(error, "errno", None) or (int(found[1]) if found else None)


def of_system(error: BaseException, aside: Path, path: Path) -> BaseException:
    """Return a reader's or writer's error with the number that the system gave and the file's name, which polars' errors lack.

    One without a number, or of another file than ``aside``, is returned as it is.
    """
    number = number_of(error)
    if number is None or getattr(error, "filename", None) not in (None, str(aside), aside):
        return error
    return OSError(number, os.strerror(number), str(path))
