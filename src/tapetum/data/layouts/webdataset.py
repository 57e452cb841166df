"""Layout ``webdataset``: tar archives in which files of one sample share their name up to the first dot; images are read in place.

``0001.png`` (or ``0001.red.png``, ``0001.green.png``: several images, in the order of their names), ``0001.cls`` (a class), ``0001.txt``
(a text) and ``0001.json`` (columns). What it holds: everything that a manifest holds, in the JSON. Compressed archives are not read.
"""

from __future__ import annotations

import collections
import io
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.stand_ins import HEAD, stand_in
from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.data.images.archives import read_bytes, read_head
from tapetum.data.images.tars import Place, is_image, open_tar, places
from tapetum.data.layouts.folder import refuse_columns
from tapetum.data.layouts.listing import children, is_hidden, refuse_outside, refuse_undecodable
from tapetum.data.layouts.roles import PLAIN_ROLES
from tapetum.data.layouts.sheet import ARCHIVE_MARK, Sheet

KEY = "__key__"
WORDS = ("cls", "txt")


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if not isinstance(source, Path):
        return None
    if source.is_file():
        return "it is a tar archive" if source.suffix.lower() == ".tar" else None
    names = [p.name for p in children(source)] if source.is_dir() else []
    return "it is a folder of tar archives" if names and all(name.lower().endswith(".tar") for name in names) else None


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read one archive or a folder of them, in the order of their names."""
    shards = [source] if source.is_file() else [shard for shard in children(source) if shard.suffix.lower() == ".tar"]
    rows: list[dict[str, Any]] = []
    for shard in shards:
        rows += _samples(shard, log)
    if not rows:
        raise DataError(f"{source} holds no samples", need="images called KEY.png beside KEY.json, KEY.cls or KEY.txt")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    frame = pl.DataFrame([_column(name, [row.get(name) for row in rows], source) for name in columns])
    log(f"{source.name}: {plural(len(rows), 'sample')} in {plural(len(shards), 'archive')}")
    roles = {"path": "path", "id": "row_id" if "row_id" in columns else KEY}
    rest = [name for name in columns if name not in (KEY, "path", "row_id")]
    return Sheet(frame, source.parent if source.is_file() else source, source.name, roles, ("cls",) if rest == ["cls"] else (), found=True)


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Write one archive; the same manifest gives the same bytes.

    Raises:
        UserError: what the layout cannot hold, by name.
    """
    refuse_columns(manifest, {*PLAIN_ROLES, *manifest.side}, "a WebDataset")
    clash = sorted({t.name for t in manifest.targets} & {KEY, *WORDS, "row_id", "path"})
    if place.suffix != ".tar" or clash:
        raise UserError(f"{place.name} and targets {listed(clash)} cannot be written", need="a name that ends with .tar, and other names")
    names = [c for c in manifest.frame.columns if c != "path"]
    with files.whole(place) as aside, tarfile.open(aside, "w") as tar:
        for row, cells in enumerate(manifest.frame.select(names).iter_rows(named=True)):
            key = f"{row:08d}"
            paths = manifest.paths(row)
            for i, path in enumerate(paths):
                number = f".{i:02d}" if len(paths) > 1 else ""
                _add(tar, f"{key}{number}{path.suffix.lower()}", read_bytes(path))
            known = {name: cell for name, cell in cells.items() if cell is not None}
            _add(tar, f"{key}.json", files.to_json(known).encode())
    log(f"{plural(len(manifest), 'sample')} written to {place}")
    return place


def _samples(shard: Path, log: Log) -> list[dict[str, Any]]:
    """Return the samples of one archive, in its order.

    Raises:
        DataError: the archive, or a text in it, cannot be read; a sample without an image.
    """
    rows: dict[str, dict[str, Any]] = {}
    other: list[str] = []
    with open(shard, "rb") as file:
        for name, place in _members(shard):
            folder, _, base = name.rpartition("/")
            stem, _, ending = base.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            if ending in (*WORDS, "json"):
                rows.setdefault(key, {KEY: key}).update(_texts(name, ending, place, file, shard))
            elif is_image(name, place, file):
                rows.setdefault(key, {KEY: key}).setdefault("path", []).append(f"{shard.name}{ARCHIVE_MARK}{name}")
            else:
                other.append(name)
    refuse_undecodable((path for row in rows.values() for path in row.get("path", ())), shard.name)
    if other:
        log(f"{shard.name}: {plural(len(other), 'file')} of other kinds left out: {listed(other)}")
    bare = [key for key, row in rows.items() if "path" not in row]
    if bare:
        raise DataError(f"{shard.name} has {plural(len(bare), 'sample')} without an image: {listed(bare)}", fix="correct the archive")
    for row in rows.values():
        row["path"] = sorted(row["path"])
    return list(rows.values())


def _members(shard: Path) -> list[tuple[str, Place]]:
    """Return the visible members of an archive.

    Raises:
        DataError: it cannot be read whole, a name leads out of it, or two members have one name.
    """
    try:
        with open_tar(shard) as tar:
            members = places(tar)
    except (tarfile.TarError, OSError) as error:
        packed = "unpack" in (stand_in(read_head(shard, HEAD)) or "")
        fix = "unpack compressed archives first" if packed else "fetch it again, or unpack it and name the folder"
        raise DataError(f"{shard.name} is not a plain tar archive that can be read ({error})", fix=fix) from None
    refuse_outside((name for name, _ in members), shard)
    members = [(name, place) for name, place in members if not is_hidden(name)]
    names = [name for name, _ in members]
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        need = "each name once, or nothing says which one counts"
        raise DataError(f"{shard.name} holds several files of one name: {listed(twice)}", need=need, fix="unpack it and name the folder")
    return members


def _texts(name: str, ending: str, place: Place, file: BinaryIO, shard: Path) -> dict[str, Any]:
    if place.reason:
        raise DataError(f"{shard.name} member {name} is {place.reason}", fix="correct the archive")
    content = place.read(file)
    try:
        if ending in WORDS:
            return {ending: content.decode("utf-8").strip() or None}
        value = files.from_json(content)
    except ValueError as error:
        raise DataError(f"{shard.name} member {name} cannot be read ({error})", fix="repair it") from None
    if not isinstance(value, dict) or KEY in value or "path" in value:
        raise DataError(f"{shard.name} member {name} holds no columns", need=f"a JSON object without {KEY} and path")
    return value


def _column(name: str, cells: list[Any], source: Path) -> pl.Series:
    try:
        return pl.Series(name, cells, strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        kinds = sorted({type(cell).__name__ for cell in cells if cell is not None})
        raise DataError(f"{source.name} has cells of several kinds in {name!r}: {listed(kinds)}", need="one kind a column") from None


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
