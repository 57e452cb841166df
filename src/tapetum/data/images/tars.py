"""The files of a plain tar archive: links lead to what they name, and an archive that ends early or goes on behind its end is refused.

Python's ``tarfile`` stops at a damaged header, at an end without a mark, and at the first of two archives put together, without a word.
"""

from __future__ import annotations

import dataclasses
import posixpath
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tapetum.data.images import formats

_BLOCK, _LINKS, _LARGEST = tarfile.BLOCKSIZE, 40, 1 << 32  # bytes; links in a row; bytes of a sparse file


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the bytes of a file are in its archive.

    Args:
        start: of its first byte.
        size: of the file.
        pieces: (offset in the file, bytes) that are stored, of a sparse file; the rest is zeros. None: all of it.
        reason: why there are none; empty where there are.
    """

    start: int
    size: int
    pieces: tuple[tuple[int, int], ...] | None = None
    reason: str = ""

    def read(self, file: BinaryIO, most: int | None = None) -> bytes:
        """Return the bytes from the open archive; fewer where it ends before."""
        if self.reason:
            return b""
        if self.pieces is None:
            file.seek(self.start)
            return file.read(self.size if most is None else min(self.size, most))
        whole, at = bytearray(self.size if most is None else min(self.size, most)), self.start
        for offset, length in self.pieces:
            file.seek(at)
            part = file.read(max(0, min(length, len(whole) - offset)))
            whole[offset : offset + len(part)] = part
            at += length
        return bytes(whole)


def open_tar(archive: Path | str) -> tarfile.TarFile:
    """Open a plain tar archive, its members' names in UTF-8 under every locale; a compressed one cannot be read in place."""
    return tarfile.open(archive, "r:", encoding="utf-8", errors="surrogateescape")


def places(tar: tarfile.TarFile) -> list[tuple[str, Place]]:
    """Return (name, where its bytes are) of every member that is no folder, in the archive's order.

    Raises:
        tarfile.ReadError: the archive is damaged, ends before its end mark, or goes on behind it.
    """
    members = list(tar)
    _check_end(tar)
    by_name = {_name(info): info for info in members}
    return [(_name(info), _place(info, by_name)) for info in members if not info.isdir()]


def _name(info: tarfile.TarInfo) -> str:
    return info.name.removeprefix("./")


def _place(info: tarfile.TarInfo, by_name: Mapping[str, tarfile.TarInfo]) -> Place:
    """Return where a member's bytes are; a link leads to another member of the archive, and never out of it."""
    found: tarfile.TarInfo | None = info
    for _ in range(_LINKS):
        if found is None or not (found.islnk() or found.issym()):
            break
        above = posixpath.dirname(found.name) if found.issym() else ""
        found = by_name.get(posixpath.normpath(posixpath.join(above, found.linkname)))
    if found is None or found.islnk() or found.issym():
        return Place(0, 0, reason=f"a link to {info.linkname}, which is not in the archive")
    if not found.isfile():
        return Place(0, 0, reason="a folder, a device or a pipe, not a file")
    sparse = getattr(found, "sparse", None)
    if sparse is not None and found.size > _LARGEST:
        return Place(0, 0, reason=f"a sparse file of {found.size:,} bytes")
    return Place(found.offset_data, found.size, None if sparse is None else tuple((int(at), int(size)) for at, size in sparse))


def _check_end(tar: tarfile.TarFile) -> None:
    """Refuse an archive of which ``tarfile`` saw a part."""
    file = tar.fileobj
    if file is None:
        return
    file.seek(tar.offset)
    block = file.read(_BLOCK)
    if not block:
        raise tarfile.ReadError(f"it ends after {tar.offset:,} bytes without its end mark")
    if len(block) < _BLOCK or block.strip(b"\0"):
        raise tarfile.ReadError(f"damaged or cut off at byte {tar.offset:,}")
    while block := file.read(1 << 16):
        if block.strip(b"\0"):
            raise tarfile.ReadError("more follows behind its end, as where two archives were put together")


def is_image(name: str, place: Place, file: BinaryIO) -> bool:
    """Tell whether a member is an image: by its name, else by its first bytes."""
    return formats.is_image(name, place.read(file, formats.HEAD))
