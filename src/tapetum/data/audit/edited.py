"""An audit's decisions as a person gives them back: the Parquet table, or the CSV that a spreadsheet made of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tapetum.core import table_files
from tapetum.core.errors import DataError, listed, nearest
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.data.audit.table import AUDIT_SCHEMA


def read_decisions(path: Path, manifest: Manifest, log: Log) -> pl.DataFrame:
    """Read an audit; a decision must concern a row of the data, and rows that the audit lacks are kept.

    Args:
        path: a ``.parquet`` or text table with ``row_id`` and ``decision``; of the other columns of an audit any may be absent.
        manifest: the rows that are decided.
        log: receives messages about rows without a decision.

    Raises:
        DataError: a column is absent, an id occurs twice, or a row that is excluded or relabelled is not in the data.
    """
    make = "make it: tapetum audit DATA"
    try:
        table = table_files.read_table(path, AUDIT_SCHEMA, ("row_id", "decision"), escaped=True, known=manifest.row_ids)
    except DataError as error:
        if error.need == "row_id, decision":
            raise DataError(f"data.audit: {error.what}", need="the audit of these data", fix=make) from None
        raise
    table = table.with_columns(pl.col("decision").str.strip_chars().str.to_lowercase())
    ids = table["row_id"].to_list()
    known = set(manifest.row_ids)
    if not known & set(ids):
        raise DataError(f"data.audit: {path} names none of these rows", need="the audit of these data", fix=make)
    if doubled := sorted({str(row_id) for row_id in table.filter(pl.col("row_id").is_duplicated())["row_id"].to_list()}):
        raise DataError(f"data.audit: {path} has rows twice: {listed(doubled)}", need="each row once", fix="remove one of them")
    strange = table.filter(~pl.col("row_id").is_in(known) & pl.col("decision").is_in(["exclude", "relabel"]))["row_id"].to_list()
    if strange:
        what = f"data.audit: {path} decides {len(strange)} rows that the data do not have: {listed(strange)}"
        raise DataError(f"{what}.{nearest(strange[0], known)}", fix="correct their row_id (a spreadsheet may have changed it)")
    have = set(ids)
    if absent := [row_id for row_id in manifest.row_ids if row_id not in have]:
        log(f"{path.name} decides nothing of {len(absent)} rows, which are kept: {listed(absent)}")
    return table
