"""An audit's decisions as a person gives them back: the Parquet table, or the CSV that a spreadsheet made of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from tapetum.core import table_files
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural, verb
from tapetum.data.audit.table import AUDIT_SCHEMA, DECISIONS, own_decision

_DONE = ("exclude", "relabel")  # what changes a row


def read_decisions(path: Path, manifest: Manifest, log: Log) -> pl.DataFrame:
    """Read an audit; a decision must concern a row of the data, and rows that the audit lacks are kept.

    Args:
        path: a ``.parquet`` or text table with ``row_id`` and ``decision``; of the other columns of an audit any may be absent.
        manifest: the rows that are decided.
        log: receives messages about rows without a decision.

    Raises:
        DataError: a column is absent, an id is blank or occurs twice, or a row that is excluded or relabelled is not in the data.
    """
    make = "make it: tapetum audit DATA"
    try:
        table = table_files.read_table(path, AUDIT_SCHEMA, ("row_id", "decision"), escaped=True, known=manifest.row_ids)
    except DataError as error:
        if error.need == "row_id, decision":
            raise DataError(f"data.audit: {error.what}", need="the audit of these data", fix=make) from None
        raise
    table = table.with_columns(pl.col("decision").str.strip_chars().str.to_lowercase())
    known = set(manifest.row_ids)
    table = _with_ids(table, path).with_columns(pl.Series("row_id", _as_known(table["row_id"].drop_nulls().to_list(), known), pl.String))
    ids = table["row_id"].to_list()
    if not known & set(ids):
        raise DataError(f"data.audit: {path} names none of these rows", need="the audit of these data", fix=make)
    if doubled := sorted({str(row_id) for row_id in table.filter(pl.col("row_id").is_duplicated())["row_id"].to_list()}):
        raise DataError(f"data.audit: {path} has rows twice: {listed(doubled)}", need="each row once", fix="remove one of them")
    strange = table.filter(~pl.col("row_id").is_in(known) & pl.col("decision").is_in(_DONE))["row_id"].to_list()
    if strange:
        what = f"data.audit: {path} decides {plural(len(strange), 'row')} that the data do not have: {listed(strange)}"
        raise DataError(f"{what}.{nearest(strange[0], known)}", fix="correct their row_id (a spreadsheet may have changed it)")
    have = set(ids)
    if absent := [row_id for row_id in manifest.row_ids if row_id not in have]:
        log(f"{path.name} decides nothing of {plural(len(absent), 'row')}, which are kept: {listed(absent)}")
    return table


def as_now(table: pl.DataFrame, checked: pl.DataFrame) -> pl.DataFrame:
    """Return decisions with the state that the files have now, since a file may have been mended after the audit.

    Args:
        table: of :func:`read_decisions`.
        checked: of ``check_files``, now.

    Raises:
        DataError: a row that is excluded or relabelled has another content than when it was audited, as where files were renamed.
    """
    now = table.drop("status").join(checked.select("row_id", "status", pl.col("sha256").alias("__now")), on="row_id", how="left")
    other = now.filter(pl.col("decision").is_in(_DONE) & (pl.col("sha256") != pl.col("__now")))["row_id"].to_list()
    if other:
        rows = plural(len(other), "excluded or relabelled row is", "excluded or relabelled rows are")
        raise DataError(
            f"data.audit: the {verb(len(other), 'image', 'images')} of {rows} not what was audited: {listed(other)}",
            need="decisions on these images",
            fix="audit the data again, or, if they show the same, remove the column sha256 from a CSV file of the audit",
        )
    return now.drop("__now")


def with_kept(table: pl.DataFrame, before: Path, log: Log) -> pl.DataFrame:
    """Return a new audit with what a person decided in the file that it replaces.

    Args:
        table: the new audit.
        before: the file; its rows of other contents, and what the program itself decided there, are passed over.
        log: told how many decisions are kept.
    """
    try:
        old = table_files.read_table(before, AUDIT_SCHEMA, ("row_id", "decision"), escaped=True, known=table["row_id"].to_list())
    except (DataError, UserError):
        return table  # no audit
    columns = ("row_id", "decision", "target", "suggested", "sha256")
    decided = {
        row["row_id"]: row for row in old.iter_rows(named=True) if row["decision"] in DECISIONS and row["decision"] != own_decision(row)
    }
    out, kept, other = [], [], []
    for row_id, decision, target, suggested, content in table.select(columns).iter_rows():
        mine = decided.get(row_id)
        if mine is not None and None not in (content, mine["sha256"]) and content != mine["sha256"]:
            other.append(row_id)
        elif mine is not None:
            kept.append(row_id)
            is_new = mine["decision"] == "relabel"
            out.append((mine["decision"], *((mine["target"], mine["suggested"]) if is_new else (target, suggested))))
            continue
        out.append((decision, target, suggested))
    if kept:
        log(f"{plural(len(kept), 'decision')} in {before.name} {verb(len(kept), 'is', 'are')} kept: {listed(kept)}")
    if other:
        log(
            f"warning: {plural(len(other), 'decision')} in {before.name} {verb(len(other), 'is', 'are')} on other "
            f"images of these names, and {verb(len(other), 'is', 'are')} not kept: {listed(other)}"
        )
    return table.with_columns(pl.Series(n, [row[i] for row in out], AUDIT_SCHEMA[n]) for i, n in enumerate(columns[1:4]))


def _with_ids(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return the rows that have an id; a decision without one is refused."""
    blank = table.filter(pl.col("row_id").is_null() & (pl.col("decision").fill_null("keep") != "keep"))
    if len(blank):
        what = f"data.audit: {path} decides {listed(blank['decision'].unique().to_list())} in {plural(len(blank), 'row')} without a row_id"
        raise DataError(what, need="the row that is meant", fix="fill in row_id, or remove the line")
    return table.filter(pl.col("row_id").is_not_null())


def _as_known(ids: Sequence[str], known: Collection[str]) -> list[str]:
    """Return ids as the data have them: the cells of a text file lost the blanks around them."""
    blank: dict[str, list[str]] = {}
    for row_id in known:
        if row_id != row_id.strip() and row_id.strip() not in known:
            blank.setdefault(row_id.strip(), []).append(row_id)
    only = {cell: found[0] for cell, found in blank.items() if len(found) == 1}
    return [row_id if row_id in known else only.get(row_id, row_id) for row_id in ids]
