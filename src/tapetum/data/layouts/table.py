"""Layout ``table``: a CSV (comma, semicolon, tab or bar; UTF-8) or Parquet file, one line an image.

What it holds: ids, paths, every kind of target, groups, sequences, splits, folds, weights, side numbers and content hashes. A CSV holds
no class order, so ordinal targets are declared again on reading; an empty set of labels is ``[]``, a blank cell is unknown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files, spreadsheets
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target, sorted_classes
from tapetum.core.words import plural
from tapetum.data.layouts.delimited import DELIMITERS, read_delimited, to_delimited
from tapetum.data.layouts.folder import refuse_columns
from tapetum.data.layouts.roles import PLAIN_ROLES
from tapetum.data.layouts.sheet import Sheet, relative_to

NONE = "[]"  # a cell of a row that has none of several labels
SUFFIXES = (".csv", ".tsv", ".txt", ".tab")


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if isinstance(source, Path) and source.suffix.lower() in SUFFIXES:
        return "it ends like a text table"
    return "it is a Parquet file" if isinstance(source, Path) and source.suffix.lower() == ".parquet" else None


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read a CSV or Parquet table; paths start from its folder."""
    if source.suffix.lower() == ".parquet":
        frame, how = files.read_parquet(source)[0], "Parquet"
    else:
        frame, delimiter = read_delimited(source)
        how = f"separated by {DELIMITERS.get(delimiter, repr(delimiter))}"
    log(f"{source.name}: {plural(len(frame), 'row')}, {plural(len(frame.columns), 'column')}, {how}")
    kept = _manifest(source)
    targets = kept.targets if kept is not None and data.targets else ()
    own = tuple({k: v for k, v in t.to_dict().items() if k != "expression"} for t in targets if t.expression is None)
    derive = {t.name: t.expression for t in targets if t.expression is not None}
    return Sheet(frame, source.parent if kept is None else kept.root, source.name, targets=own, derive=derive)


def _manifest(source: Path) -> Manifest | None:
    """Return a Parquet manifest: its targets keep their order of classes where they are named anew, and it knows where its images are."""
    try:
        return Manifest.read(source) if source.suffix.lower() == ".parquet" else None
    except DataError:
        return None  # a plain table


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Write a table; the ending of ``place`` says which: ``.csv``, ``.tsv`` or ``.parquet``.

    Raises:
        UserError: what the format cannot hold, by name.
    """
    refuse_columns(manifest, {*PLAIN_ROLES, *manifest.side}, "a table")
    frame = flat_paths(manifest, place.parent)
    if place.suffix.lower() == ".parquet":
        return files.write_parquet(place, frame)
    delimiter = "\t" if place.suffix.lower() in (".tsv", ".tab") else ","
    for target in manifest.targets:
        if target.kind == "multi" and target.name in frame.columns:
            frame = frame.with_columns(joined_labels(frame, target.name, target.separator))
    spreadsheets.warn(place, frame, log)
    return files.write_text(place, to_delimited(frame, delimiter))


def flags(manifest: Manifest) -> str:
    """Return the flags by which a written text table is read back: its targets with their kinds, and several paths a row."""
    words = [f"--target {_spec(target, manifest)}" for target in manifest.targets if target.expression is None]
    words += [f"--derive '{target.name}={target.expression}'" for target in manifest.targets if target.expression is not None]
    several = manifest.frame["path"].list.len().max()
    if isinstance(several, int) and several > 1:
        words += [f"--path path_{i + 1}" for i in range(several)]
    return " ".join([*words, *(f"--side {name}" for name in manifest.side)])


def _spec(target: Target, manifest: Manifest) -> str:
    details = {"ordinal": "<".join(target.classes), "regression": ",".join(f"{b:g}" for b in target.borders)}.get(target.kind, "")
    if target.kind in ("single", "multi") and not target.is_identity and not any("," in name for name in target.classes):
        cells = manifest.frame[target.name].drop_nulls()
        found = sorted_classes(cells.explode().drop_nulls().unique() if target.kind == "multi" else cells.unique())
        details = "" if found == target.classes else ",".join(target.classes)  # the order that a table of text does not have
    plain = target.kind == "single" and not details and not target.is_identity
    word = "identity" if target.is_identity else target.kind
    text = target.name if plain else f"{target.name}:{word}" + (f"={details}" if details else "")
    return f"'{text}'" if set(text) & set(" <>,=;") else text


def flat_paths(manifest: Manifest, root: Path) -> pl.DataFrame:
    """Return the manifest's columns with paths as seen from ``root``: ``path``, or ``path_1``, ``path_2``, … where rows have several.

    Raises:
        UserError: rows with different numbers of images.
    """
    frame = manifest.frame
    counts = frame["path"].list.len().unique().to_list()
    if len(counts) > 1:
        raise UserError(
            f"rows have {listed(sorted(counts))} images each", need="the same number in every row", fix="keep the Parquet manifest"
        )
    paths = [[relative_to(p, manifest.root, root) for p in row] for row in frame["path"].to_list()]
    names = ["path"] if counts in ([1], []) else [f"path_{i + 1}" for i in range(counts[0])]
    columns = [pl.Series(name, [row[i] for row in paths], dtype=pl.String) for i, name in enumerate(names)]
    rest = [c for c in frame.columns if c not in ("row_id", "path") and not (c == "sha256" and frame[c].null_count() == len(frame))]
    return frame.select("row_id").with_columns(columns).with_columns(frame.select(rest))


def joined_labels(frame: pl.DataFrame, name: str, separator: str) -> pl.Series:
    """Return a column of label lists as text: ``[]`` where a row has none of the labels, blank where they are unknown.

    Raises:
        UserError: a label that holds the separator, or that is ``[]`` itself: neither can be read back.
    """
    for row_id, labels in zip(frame["row_id"].to_list(), frame[name].to_list(), strict=True):
        if odd := [label for label in labels or () if separator in label or label == NONE]:
            what = f"label {odd[0]!r} " + ("reads as no label at all" if odd[0] == NONE else f"holds the separator {separator!r}")
            raise UserError(f"row {row_id!r} cannot be written as text: {name}: {what}", fix="write Parquet, or choose another separator")
    cells = [None if labels is None else separator.join(labels) or NONE for labels in frame[name].to_list()]
    return pl.Series(name, cells, dtype=pl.String)
