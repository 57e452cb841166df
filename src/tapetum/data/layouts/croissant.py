"""Layout ``croissant``: ML Croissant metadata (JSON-LD) beside its files; nothing is fetched.

Read: one record set whose fields come from a CSV file (``extract.column``) or from a set of files (``extract.fileProperty``, with a
``transform.regex``), images from a column of paths or from the files themselves, file sets inside a zip archive. Anything else (JSON
paths, references between tables, inline data) is refused by name. What it writes holds everything that a table holds.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec.html (1.0).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.data.layouts.delimited import read_delimited
from tapetum.data.layouts.listing import listing, refuse_undecodable
from tapetum.data.layouts.sheet import ARCHIVE_MARK, Sheet
from tapetum.data.layouts.table import write as write_table

NAMES = ("croissant.json", "metadata.json")
IMAGE = "sc:ImageObject"
_TYPES: dict[Any, str] = {pl.Float64: "sc:Float", pl.Int16: "sc:Integer"}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "includes": "cr:includes",
    "recordSet": "cr:recordSet",
    "regex": "cr:regex",
    "source": "cr:source",
    "transform": "cr:transform",
}


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if not isinstance(source, Path):
        return None
    for path in [source / name for name in NAMES] if source.is_dir() else [source]:
        if path.suffix == ".json" and path.is_file() and "mlcommons.org/croissant" in path.read_text(encoding="utf-8", errors="replace"):
            return f"{path.name} is Croissant metadata"
    return None


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read the metadata file, or the folder that holds it."""
    path = source if source.is_file() else next(source / name for name in NAMES if (source / name).is_file())
    meta, root = files.read_json(path), path.parent
    things = {_id(item): item for item in meta.get("distribution", [])}
    records = _record_set(meta, path)
    tables: dict[str, pl.DataFrame] = {}
    columns: list[pl.Series] = []
    paths: list[str] = []
    for field in records.get("field", []):
        name = str(field.get("name") or _id(field)).rpartition("/")[2]
        columns.append(_read_field(field, name, things, tables, root))
        if field.get("dataType") in (IMAGE, "ImageObject"):
            paths.append(name)
    if len({len(column) for column in columns}) != 1:
        raise DataError(f"record set {_id(records)!r} of {path.name} mixes fields of several sources", need="one table or one set of files")
    log(f"{path.name}: record set {_id(records)!r}, {plural(len(columns[0]), 'record')}, fields {listed(c.name for c in columns)}")
    return Sheet(pl.DataFrame(columns), root, path.name, {"path": paths[0] if len(paths) == 1 else tuple(paths)} if paths else {})


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Write ``place/croissant.json`` and ``place/records.csv``; the images stay where they are.

    Raises:
        UserError: what a text table cannot hold, by name.
    """
    table = write_table(manifest, place / "records.csv", log)
    frame = read_delimited(table)[0]
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"records/{name}",
            "name": name,
            "dataType": _data_type(manifest, name),
            "source": {"fileObject": {"@id": table.name}, "extract": {"column": name}},
        }
        for name in frame.columns
    ]
    meta = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": place.name,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": table.name,
                "name": table.name,
                "contentUrl": table.name,
                "encodingFormat": "text/csv",
                "sha256": files.sha256(table),
            }
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}],
    }
    log(f"metadata written to {place / NAMES[0]}; the images stay where they are")
    files.write_json(place / NAMES[0], meta)
    return place


def _data_type(manifest: Manifest, name: str) -> str:
    if name not in manifest.frame.columns or name == "path":
        return IMAGE
    return _TYPES.get(type(manifest.frame.schema[name]), "sc:Text")


def _record_set(meta: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the record set that has images; with none or several the sets are listed."""
    sets = [s for s in meta.get("recordSet", []) if s.get("field") and "data" not in s]
    imaged = [s for s in sets if any(f.get("dataType") in (IMAGE, "ImageObject") for f in s["field"])]
    chosen = imaged or sets
    if len(chosen) != 1:
        names = listed(_id(s) for s in meta.get("recordSet", []))
        raise DataError(f"{path.name} has the record sets {names or 'none'}", need="one with a field of dataType sc:ImageObject")
    return dict(chosen[0])


def _read_field(field: Mapping[str, Any], name: str, things: Mapping[str, Any], tables: dict[str, pl.DataFrame], root: Path) -> pl.Series:
    source = field.get("source") or {}
    extract = source.get("extract") or {}
    known = {"fileObject", "fileSet", "extract", "transform", "@id", "@type"}
    odd = sorted(set(source) - known) + [f"extract.{k}" for k in extract if k not in ("column", "fileProperty")]
    if odd or "references" in field or "subField" in field or not extract:
        what = odd or [k for k in ("references", "subField") if k in field] or ["no extract"]
        raise UserError(
            f"Croissant field {name!r} uses {listed(what)}", need="extract.column of a CSV file or extract.fileProperty of a file set"
        )
    origin = _id(source.get("fileObject") or source.get("fileSet") or {})
    if origin not in things:
        raise DataError(f"Croissant field {name!r} comes from {origin!r}, which the distribution lacks (it has: {listed(things)})")
    if origin not in tables:
        tables[origin] = _open(things[origin], things, root)
    table = tables[origin]
    column = extract.get("column") or extract["fileProperty"]
    if column not in table.columns:
        raise DataError(f"Croissant field {name!r} reads {column!r} of {origin!r}, which has: {listed(table.columns)}")
    return _transformed(table[column], source.get("transform"), name)


def _open(thing: Mapping[str, Any], things: Mapping[str, Any], root: Path) -> pl.DataFrame:
    """Return a file object's table, or a file set's files as a table of properties."""
    if thing.get("@type") in ("cr:FileSet", "FileSet"):
        return _file_set(thing, things, root)
    path = _local(thing, root)
    if "csv" not in str(thing.get("encodingFormat", "")) and path.suffix.lower() not in (".csv", ".tsv"):
        raise UserError(f"Croissant file {path.name} is {thing.get('encodingFormat')!r}", need="a CSV file")
    return read_delimited(path)[0]


def _file_set(thing: Mapping[str, Any], things: Mapping[str, Any], root: Path) -> pl.DataFrame:
    inside = _id(thing.get("containedIn") or {})
    above = _local(things[inside], root) if inside else root
    archived = above.is_file()
    patterns = thing.get("includes", "**")
    patterns = [patterns] if isinstance(patterns, str) else patterns
    names = [n for n in listing(above).files if any(_glob(p).fullmatch(n) for p in patterns)]
    refuse_undecodable(names, above.name)
    if not names:
        raise DataError(f"Croissant file set {_id(thing)!r} is empty: nothing in {above.name} is called {listed(patterns)}")
    before = above.relative_to(root).as_posix() + (ARCHIVE_MARK if archived else "/") if above != root else ""
    return pl.DataFrame(
        {
            "content": [before + name for name in names],
            "fullpath": names,
            "filename": [name.rpartition("/")[2] for name in names],
            "filepath": names,
        }
    )


def _glob(pattern: str) -> re.Pattern[str]:
    """Return a glob as a regular expression: ``*`` stays within a folder, ``**`` crosses folders."""
    rules = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./"))
    return re.compile("".join(rules.get(part, re.escape(part)) for part in parts))


def _local(thing: Mapping[str, Any], root: Path) -> Path:
    """Return a file object's file on this machine, its SHA-256 checked."""
    url = str(thing.get("contentUrl", ""))
    path = root / (url.rpartition("/")[2] if "://" in url else url)
    if not path.exists():
        raise DataError(f"Croissant file {_id(thing)!r} ({url}) is not at {path}", need="the file on this machine", fix="fetch it yourself")
    stated = thing.get("sha256")
    if stated and path.is_file() and files.sha256(path) != stated:
        raise DataError(f"{path} has another SHA-256 than the metadata say", fix="fetch it again, or correct the metadata")
    return path


def _transformed(column: pl.Series, transform: Any, name: str) -> pl.Series:
    for step in [transform] if isinstance(transform, Mapping) else transform or []:
        if odd := sorted(set(step) - {"regex", "@type"}):
            raise UserError(f"Croissant field {name!r} uses transform {listed(odd)}", need="regex")
        pattern = re.compile(step["regex"])
        cells = [pattern.search(cell) if cell is not None else None for cell in column.to_list()]
        column = pl.Series(name, [(m[1] if m.groups() else m[0]) if m else None for m in cells], dtype=pl.String)
    return column.alias(name)


def _id(item: Mapping[str, Any]) -> str:
    return str(item.get("@id") or item.get("name") or "")
