"""Files in the place of data: pointers of Git LFS and git-annex, saved web pages, shadows of macOS, empty files."""

from __future__ import annotations

import re

HEAD = 512  # bytes that are enough to tell

_STARTS = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
    (b"version https://hawser.github.com/spec/", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
    (b"\0\x05\x16\x07", "the resource fork that macOS leaves beside a file (._NAME): remove it"),
    (b"\0\x05\x16\0", "the resource fork that macOS leaves beside a file: remove it"),
    (b"%PDF-", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    *((b"BZh%d1AY&SY" % level, "a bzip2 archive: unpack it") for level in range(1, 10)),
    (b"\xfd7zXZ\0", "an xz archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old Office document: save it as CSV"),
)
_ANNEX = re.compile(rb"(?:\.\./)*(?:\.git/annex|/annex)/objects/\S+\s*")
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


def stand_in(start: bytes) -> str | None:
    """Return what a file is that takes the place of data, with what to do; None where its first bytes do not tell.

    Args:
        start: its first :data:`HEAD` bytes or more.
    """
    if not start:
        return "an empty file"
    if _ANNEX.match(start[:HEAD]):
        return "a git-annex pointer, not the file itself: fetch it with git annex get"
    if _PAGE.match(start[:HEAD]):
        return "a web page (HTML), as a failed download leaves it: fetch the file again"
    if start.startswith(b"PK\x03\x04"):
        return "an Excel workbook or another zip archive: save it as CSV, or unpack it"
    if len(start) >= 16 and not start[:HEAD].strip(b"\0"):
        return "nothing but zero bytes: fetch it again"
    return next((what for begin, what in _STARTS if start.startswith(begin)), None)
