"""The only module that writes: every file is whole or absent.

A file is written aside, flushed to disk and renamed over its name, so a reader (or the next start after a kill) sees the old
file or the new one, never half of one. A folder is made whole in the same way and carries its marker last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import disk, threads
from tapetum.core.errors import DataError, TapetumError, UserError, first_line
from tapetum.core.stand_ins import HEAD, stand_in

META_KEY = "tapetum"
STREAMED = 65_536  # rows of a group in a table that is written batch by batch
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # of a damaged table; the second is no Exception
FLUSHES = 8  # files of a folder that are put on the disk at once
_OLD = re.compile(r"\.(.+)-[a-z0-9_]{8}\.old")  # a folder that was moved away while its new content took its name


@contextlib.contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Yield a path aside of ``path``; when the block ends well, what was written there becomes ``path``.

    The path aside keeps the suffix of ``path``, for writers that look at it.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder", need="the name of a file to write", fix=f"name one, as {path / 'NAME'}{path.suffix}")
    disk.make_folders(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".aside{path.suffix}", dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        disk.flush(aside)
        aside.chmod(0o666 & ~disk.UMASK)
        os.replace(aside, path)
        disk.flush(path.parent)
    except (OSError, pl.exceptions.ComputeError) as error:
        raise disk.of_system(error, aside, path) from None
    finally:
        with contextlib.suppress(OSError):  # swept later; the error that led here counts
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Yield a fresh folder aside of ``path``; when the block ends well, it replaces ``path``.

    Where the new folder cannot take its name, the old one gets it back. After a kill between the two renames :func:`sweep` gives it back.
    """
    path = Path(path)
    disk.make_folders(path.parent)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".aside", dir=path.parent))
    try:
        yield aside
        aside.chmod(0o777 & ~disk.UMASK)
        for _ in threads.mapped(disk.flush, [aside, *aside.rglob("*")], FLUSHES):  # a disk takes many at once in the time of one
            pass
        if path.exists():
            _exchange(aside, path)
        else:
            os.replace(aside, path)
        disk.flush(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(aside: Path, path: Path) -> None:
    old = aside.with_suffix(".old")
    os.replace(path, old)
    try:
        os.replace(aside, path)
    except BaseException:
        os.replace(old, path)
        raise
    with contextlib.suppress(OSError):  # the new folder stands; what is left of the old one is swept later
        remove(old)


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Write ``content`` whole."""
    with whole(path) as aside:
        aside.write_bytes(content)
    return Path(path)


def write_text(path: Path | str, content: str) -> Path:
    """Write ``content`` whole, as UTF-8 with unchanged line ends."""
    return write_bytes(path, content.encode())


def write_json(path: Path | str, value: Any) -> Path:
    """Write ``value`` as indented JSON; numpy numbers and arrays and paths are accepted, NaN is refused."""
    return write_text(path, to_json(value, indent=1) + "\n")


def write_parquet(path: Path | str, frame: pl.DataFrame, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a table as Parquet (zstd) with ``meta`` as JSON in the file's metadata."""
    with whole(path) as aside:
        frame.write_parquet(aside, compression="zstd", metadata={META_KEY: to_json(dict(meta or {}))})
    return Path(path)


def write_csv(path: Path | str, frame: pl.DataFrame, *, header: bool = True) -> Path:
    """Write a table as comma-separated UTF-8."""
    with whole(path) as aside:
        frame.write_csv(aside, include_header=header)
    return Path(path)


def write_streamed(path: Path | str, frame: pl.LazyFrame, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a table as :func:`write_parquet` does, batch by batch: it may be larger than memory."""
    with whole(path) as aside:
        frame.sink_parquet(aside, compression="zstd", metadata={META_KEY: to_json(dict(meta or {}))}, row_group_size=STREAMED)
    return Path(path)


def write_csv_parts(path: Path | str, frames: Iterable[pl.DataFrame]) -> Path:
    """Write tables of the same columns one after another as comma-separated UTF-8."""
    with whole(path) as aside, aside.open("wb") as file:
        for number, frame in enumerate(frames):
            frame.write_csv(file, include_header=number == 0)
    return Path(path)


def write_array(path: Path | str, array: np.ndarray) -> Path:
    """Write one array as ``.npy`` (no pickle)."""
    with whole(path) as aside, aside.open("wb") as file:
        plain = types.SimpleNamespace(write=file.write)  # into a real file numpy writes by itself, and its error lacks the system's number
        np.save(plain, array, allow_pickle=False)
    return Path(path)


def read_lines(path: Path | str) -> list[str]:
    """Return the lines of a text; a line may hold what Unicode alone calls a line end, as U+2028, which ``splitlines`` would cut at."""
    return re.split(r"\r\n|\r|\n", read_text(path))


def append_line(path: Path | str, value: Any) -> Path:
    """Append ``value`` as one line of JSON; the whole file is rewritten, so a kill cannot leave half a line."""
    path = Path(path)
    before = read_text(path) if path.exists() else ""
    return write_text(path, before + to_json(value) + "\n")


def copy(source: Path | str, path: Path | str) -> Path:
    """Copy one file whole."""
    with whole(path) as aside:
        shutil.copyfile(source, aside)
    return Path(path)


def remove(path: Path | str) -> None:
    """Remove a file or a folder if it is there."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path | str, age: float = 3600.0) -> list[Path]:
    """Remove what killed writers left aside below a folder; what was touched within ``age`` seconds may still be in use and stays.

    A folder that was moved away and never replaced gets its name back.
    """
    before = time.time() - age
    left = [p for p in Path(folder).rglob(".*") if p.suffix == ".old" or ".aside" in p.suffixes]
    stale = [p for p in left if p.exists() and p.stat().st_mtime < before]
    for path in stale:
        name = _OLD.fullmatch(path.name)
        if name is not None and not path.with_name(name[1]).exists():
            os.replace(path, path.with_name(name[1]))
        else:
            remove(path)
    return stale


def make_folder(path: Path | str) -> Path:
    """Make a folder and its parents; the error is clear when a file is in the way."""
    try:
        disk.make_folders(Path(path))
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{path} is a file", need="a folder", fix="choose another place with -o") from None
    return Path(path)


def read_text(path: Path | str, error: type[TapetumError] = DataError) -> str:
    """Read UTF-8 text, with or without a byte-order mark, whatever the machine's own encoding is.

    Args:
        path: the file.
        error: what to raise: ``UserError`` where the file says how to work, ``DataError`` where it is what to work on.

    Raises:
        TapetumError: the file is absent, a folder, or not UTF-8; the error has its name and the first line that cannot be read.
    """
    try:
        content = (Path(path) if isinstance(path, str) else path).read_bytes()
    except FileNotFoundError:
        raise error(f"{path} does not exist", fix="check the path") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder", need="a file", fix="check the path") from None
    if content and (what := stand_in(content)) is not None:
        raise error(f"{path} is {what}")
    save = "save it again as UTF-8 (in a spreadsheet: CSV UTF-8)"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4096]:
        raise error(f"{path} is UTF-16 text or no text at all", need="UTF-8", fix=save)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        at = wrong.start + 3 * content.startswith(b"\xef\xbb\xbf")  # a mark is not counted by the decoder
        line = content.count(b"\n", 0, at) + 1
        shown = content[max(0, at - 12) : at + 8].splitlines()
        near = next((part for part in shown if content[at : at + 1] in part), content[at : at + 1])
        raise error(f"{path} is not UTF-8 (line {line}: {near!r})", need="UTF-8", fix=save) from None


def from_json(text: str | bytes) -> Any:
    """Return what JSON text says; a ``ValueError`` where it is none, or nests too deep to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def read_json(path: Path | str) -> Any:
    """Read JSON; an absent or broken file is named."""
    path = Path(path)
    try:
        return from_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error})", fix="remove it and run the command again") from None


def read_parquet(path: Path | str, rows: range | None = None) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Read a table, or some rows of it, and the JSON that :func:`write_parquet` put beside it."""
    path = Path(path)
    try:
        meta = pl.read_parquet_metadata(path)
        if rows is None:
            frame = pl.read_parquet(path, glob=False)
        else:
            frame = pl.scan_parquet(path, glob=False).slice(rows.start, len(rows)).collect()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", fix="check the path") from None
    except (*UNREADABLE, OSError) as error:
        if path.is_dir():
            raise DataError(f"{path} is a folder", need="a table", fix="check the path") from None
        if (known := disk.of_system(error, path, path)) is not error:
            raise known from None
        with contextlib.suppress(OSError), path.open("rb") as file:
            if (what := stand_in(file.read(HEAD))) is not None:
                raise DataError(f"{path} is {what}") from None
        raise DataError(f"{path} is not a Parquet file ({first_line(error)})", fix="check the path") from None
    try:
        return frame, dict(json.loads(meta.get(META_KEY, "{}")))
    except (ValueError, TypeError):
        raise DataError(f"{path} is damaged: what {META_KEY} keeps beside the table is no JSON", fix="write or copy it again") from None


def read_csv(path: Path | str) -> pl.DataFrame:
    """Read a table that Tapetum wrote; its columns may begin with whole numbers and go on with fractions; an empty file has none."""
    path = Path(path)
    try:
        return pl.read_csv(path, infer_schema_length=None)
    except pl.exceptions.NoDataError:
        return pl.DataFrame()
    except (*UNREADABLE, OSError) as error:
        if (known := disk.of_system(error, path, path)) is not error:
            raise known from None
        raise DataError(f"{path} is not a table ({first_line(error)})", fix="remove it and run the command again") from None


def can_hold(text: str) -> bool:
    """Tell whether a file in UTF-8 can hold a text; half of a character (a lone surrogate) is none."""
    return not any("\ud800" <= mark <= "\udfff" for mark in text)


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON in the order given, numpy and paths understood, NaN refused; bytes of a file name that are no text are escaped."""
    text = json.dumps(value, indent=indent, default=_plain, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate becomes \\udce9, which JSON reads back


def sha256(path: Path | str) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any, length: int = 16) -> str:
    """Return a short hex hash of a JSON-able value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, default=_plain, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:length]


def plain_name(text: str) -> str:
    """Return a text as the name of a file: what a system cannot hold in a name, or would take for a folder, is written as ``%2F``."""
    out = "".join(f"%{ord(c):02X}" if c in '/\\:*?"<>|%' or ord(c) < 32 else c for c in text)
    return out.replace(".", "%2E", 1) if out.startswith(".") else out


def relative(path: Path | str, start: Path | str) -> str:
    """Return ``path`` as it is reached from the folder ``start``, with forward slashes, so that a run can be moved."""
    return Path(os.path.relpath(path, start)).as_posix()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
