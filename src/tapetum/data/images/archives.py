"""The bytes of an image, from a file or in place from a zip or plain tar archive (``a.zip!/folder/x.png``)."""

from __future__ import annotations

import errno
import functools
import os
import stat
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path

from tapetum.core.errors import DataError, nearest
from tapetum.data.images import formats, tars

MARKS = (".zip!/", ".tar!/")

_open: dict[tuple[int, str], tuple[tuple[int, ...], zipfile.ZipFile]] = {}
_lock = threading.Lock()


_ABSENT = ("no such file", "there is no archive", "no such member")  # how the reasons of absence begin


def is_absence(reason: str | None) -> bool:
    """Tell whether the reason why an image cannot be read is that it is not there, rather than damaged."""
    return reason is not None and reason.startswith(_ABSENT)


class DecodeError(DataError):
    """An image that cannot be read.

    Args:
        path: the file, or the zip member.
        reason: why, as it goes into tables: ``"truncated after 3,000 bytes"``.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = _text(path), reason
        super().__init__(f"{self.path} cannot be read ({reason})", fix="repair or remove it, or go on without it: --on-bad skip")


def read_bytes(path: Path | str) -> bytes:
    """Return the bytes of a file or of an archive's member.

    Raises:
        DecodeError: there is no such file or member, or it cannot be read.
    """
    archive, member = split(path)
    if member is not None:
        return _read_tarred(path, archive, member) if archive.lower().endswith(".tar") else _read_member(path, archive, member)
    try:
        with open(Path(path), "rb", opener=_plain) as file:  # a blank text is the folder at work
            return file.read()
    except FileNotFoundError:
        plain = "an address: nothing is downloaded" if "://" in _text(path) else "no such file"
        linked = os.readlink(path) if os.path.islink(path) else ""
        annexed = ".git/annex/" in linked.replace(os.sep, "/")
        fetch = "a git-annex link whose content is not here: fetch it with git annex get"
        raise DecodeError(path, fetch if annexed else f"a link to {linked}, which does not exist" if linked else plain) from None
    except IsADirectoryError:
        raise DecodeError(path, "a folder") from None
    except OSError as error:
        raise DecodeError(path, error.strerror or str(error)) from None


def read_head(path: Path | str, count: int = formats.HEAD) -> bytes:
    """Return the first bytes of a file or of an archive's member; nothing where it cannot be read."""
    archive, member = split(path)
    try:
        if member is None:
            with open(path, "rb", opener=_plain) as file:
                return file.read(count)
        if archive.lower().endswith(".tar"):
            with open(archive, "rb") as file:
                return _tar_index(archive)[member].read(file, count)
        with _archive(archive).open(member) as inner:
            return inner.read(count)
    except (OSError, KeyError, RuntimeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error, tarfile.TarError):
        return b""


def split(path: Path | str) -> tuple[str, str | None]:
    """Return (archive, member) of ``a.zip!/x.png`` or ``a.tar!/x.png``; the member is None for a plain file."""
    text = _text(path)
    found = [at for at in (text.lower().find(mark) for mark in MARKS) if at >= 0]
    if not found:
        return text, None
    return text[: min(found) + 4], text[min(found) + len(MARKS[0]) :]


def open_zip(archive: Path | str) -> zipfile.ZipFile:
    """Open a zip archive whose members' names are UTF-8 wherever their bytes are, also where the archive does not say so (macOS).

    A name whose bytes are not UTF-8 keeps them as lone surrogates, as Python does for files.
    """
    opened = zipfile.ZipFile(archive)
    for name, info in list(opened.NameToInfo.items()):
        if not info.flag_bits & 0x800 and not name.isascii():
            info.filename = name.encode("cp437").decode("utf-8", "surrogateescape")
        info.filename = member_name(info.filename)
        if info.filename != name:
            opened.NameToInfo[info.filename] = opened.NameToInfo.pop(name)
    return opened


def member_name(name: str) -> str:
    """Return a zip member's name with ``/`` between folders: some programs on Windows write a backslash, others begin with ``./``."""
    return name.replace("\\", "/").removeprefix("./")


def _read_member(path: Path | str, archive: str, member: str) -> bytes:
    try:
        opened = _archive(archive)
    except FileNotFoundError:
        raise DecodeError(path, f"there is no archive {archive}") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise DecodeError(path, f"{archive} is not a zip archive that can be read: {error}") from None
    try:
        return opened.read(member)
    except KeyError:
        raise DecodeError(path, f"no such member in the archive.{nearest(member, opened.namelist())}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise DecodeError(path, f"damaged or locked zip member: {error}") from None


def _read_tarred(path: Path | str, archive: str, member: str) -> bytes:
    try:
        places = _tar_index(archive)
        if member not in places:
            raise DecodeError(path, f"no such member in the archive.{nearest(member, places)}")
        place = places[member]
        if place.reason:
            raise DecodeError(path, place.reason)
        with open(archive, "rb") as file:
            data = place.read(file)
    except FileNotFoundError:
        raise DecodeError(path, f"there is no archive {archive}") from None
    except (tarfile.TarError, OSError) as error:
        raise DecodeError(path, f"{archive} is not a plain tar archive that can be read: {error}") from None
    if len(data) < place.size:
        raise DecodeError(path, f"truncated after {len(data):,} bytes")
    return data


def _tar_index(archive: str) -> dict[str, tars.Place]:
    """Return where each member's bytes are in a plain tar archive; of several members with one name the last, as unpacked."""
    return _tar_index_as_of(archive, _state(archive))


@functools.lru_cache(maxsize=64)
def _tar_index_as_of(archive: str, state: tuple[int, ...]) -> dict[str, tars.Place]:
    with tars.open_tar(archive) as tar:
        return dict(tars.places(tar))


def _archive(archive: str) -> zipfile.ZipFile:
    """Return the open archive, opened anew where the file was replaced.

    A forked process opens its own, because a shared handle shares its place in the file.
    """
    key, state = (os.getpid(), archive), _state(archive)
    with _lock:
        if key not in _open or _open[key][0] != state:
            _open[key] = state, open_zip(archive)
        return _open[key][1]


def _state(archive: str) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written again."""
    found = os.stat(archive)
    _check_plain(found.st_mode)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _plain(path: str, flags: int) -> int:
    """Open a file that has an end: a pipe waits for who writes into it, and a device may go on for ever."""
    opened = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_plain(os.fstat(opened).st_mode)
    except OSError:
        os.close(opened)
        raise
    return opened


def _check_plain(mode: int) -> None:
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "a pipe, a socket or a device, and no file")


def _text(path: Path | str) -> str:
    return path.as_posix() if isinstance(path, Path) else str(path)
