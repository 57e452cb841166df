"""Put prediction tables of several machines together, once it is certain that every row is there and none of them twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files, table_files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.words import plural
from tapetum.data import layouts

KEY = ("target", "member", "source", "checkpoint", "draw")  # of a row's answer, besides its id; a fold's model may be another one


def merge(tables: Sequence[Path], out: Path, of: Any, *, log: Log, **declared: Any) -> dict[str, Any]:
    """Write one table of several; its rows are in the order of what was predicted.

    Args:
        tables: what ``predict -o`` wrote: all ``.parquet`` or all ``.csv``.
        out: the table to write, of the same kind.
        of: what was predicted: a table, a folder or a manifest, as ``predict`` takes it.
        log: told how ``of`` is read.
        declared: columns of ``of``, as for ``predict``.

    Returns:
        ``{"out", "rows", "tables"}``.

    Raises:
        UserError: tables of several kinds.
        DataError: rows that are missing, doubled or of something else: they are named, and nothing is written.
    """
    kinds = sorted({Path(one).suffix.lower() for one in (*tables, out)})
    if len(kinds) > 1 or kinds[0] not in (".parquet", ".csv"):
        raise UserError(
            f"tables of the kinds {listed(kind or 'without an ending' for kind in kinds)} cannot be one",
            need="all .parquet or all .csv, -o too",
        )
    wanted = _wanted(of, log, declared)
    if kinds == [".csv"]:
        frames = [table_files.read_any(place) for place in tables]  # every cell is text, as it is written
        for place in tables:
            _refuse_cut(place)
        _check_answers(tables[0], frames[0])
        _check_columns(tables, frames)
        whole, ids = pl.concat(frames), frames[0].columns[0]  # the first column is that of the ids, whatever it is called
        _check_whole(tables, [frame.select(pl.col(ids).alias("row_id")) for frame in frames], wanted)
        at = {row_id: place for place, row_id in enumerate(wanted)}
        table_files.write_matched(out, whole[np.argsort([at[row_id] for row_id in whole[ids].to_list()])], log)
    else:
        read = [Predictions.read(place) for place in tables]
        _check_alike(read, tables)
        _check_whole(tables, [one.frame for one in read], wanted)
        joined = _concat(read)
        Predictions(_ordered(joined.frame, wanted), joined.targets, joined.manifest_hash, joined.recipe_hash).write(out)
    return {"out": str(out), "rows": len(wanted), "tables": len(tables)}


def _wanted(of: Any, log: Log, declared: Mapping[str, Any]) -> list[str]:
    """Return the ids of what was predicted, in order."""
    if isinstance(of, Path) and of.suffix.lower() == ".parquet" and "targets" in files.read_parquet(of, range(0))[1]:
        return Manifest.read(of).row_ids
    return layouts.loose([of], Data(), log, declared=declared).row_ids


def _check_columns(tables: Sequence[Path], frames: Sequence[pl.DataFrame]) -> None:
    """Refuse a table that has other columns than the first one.

    Raises:
        DataError: names both.
    """
    for place, frame in zip(tables, frames, strict=True):
        if frame.columns != frames[0].columns:
            what = f"{place} has the columns {listed(frame.columns)}, and {tables[0]} has {listed(frames[0].columns)}"
            raise DataError(what, need="tables of one pipeline")


def _check_answers(place: Path, frame: pl.DataFrame) -> None:
    """Refuse a table without answers, as one of images.

    Raises:
        DataError: it has neither a status nor probabilities.
    """
    if not any(name.startswith("p_") or name.removeprefix("tapetum_") == "status" for name in frame.columns):
        raise DataError(f"{place} has no column 'status' (it has: {listed(frame.columns)})", need="a table that tapetum predict wrote")


def _refuse_cut(place: Path) -> None:
    """Refuse a table whose last line has no end: what is left of a cell may look whole.

    Raises:
        DataError: it has none.
    """
    with place.open("rb") as file:
        file.seek(max(0, place.stat().st_size - 1))
        if file.read() not in (b"\n", b"\r"):
            raise DataError(f"{place} ends in the middle of a line", fix="copy it again, or end its last line if it is whole")


def _check_alike(read: Sequence[Predictions], tables: Sequence[Path]) -> None:
    """Refuse tables of two pipelines.

    Raises:
        DataError: names two of them.
    """
    for place, one in zip(tables, read, strict=True):
        if [t.to_dict() for t in one.targets] != [t.to_dict() for t in read[0].targets]:
            raise DataError(f"{place} and {tables[0]} answer other targets or classes", need="tables of one pipeline")
        made = [(a, b) for a, b in zip(_made_of(one), _made_of(read[0]), strict=True) if a and b]
        if any(a != b for a, b in made):
            raise DataError(f"{place} and {tables[0]} are of two pipelines with the same classes", need="tables of one pipeline")


def _concat(read: Sequence[Predictions]) -> Predictions:
    """Return the tables below one another, with what any of them says of where they come from."""
    whole = pl.concat([one.frame for one in read])
    return Predictions(whole, read[0].targets, *(next(filter(None, known), "") for known in zip(*map(_made_of, read), strict=True)))


def _made_of(one: Predictions) -> tuple[str, str]:
    return one.manifest_hash, one.recipe_hash


def _check_whole(tables: Sequence[Path], frames: Sequence[pl.DataFrame], wanted: Sequence[str]) -> None:
    """Refuse a union that is not whole.

    Raises:
        DataError: names the missing, doubled and foreign rows.
    """
    numbered = pl.concat(
        [frame.select("row_id", *(n for n in KEY if n in frame.columns)).with_columns(table=n) for n, frame in enumerate(frames)]
    )
    key = [name for name in KEY if name in numbered.columns]
    ids = pl.DataFrame({"row_id": pl.Series(wanted, dtype=pl.String)})
    problems = []
    foreign = numbered.join(ids, on="row_id", how="anti")
    if len(foreign):
        problems.append(
            f"{plural(foreign['row_id'].n_unique(), 'row is', 'rows are')} not among what was predicted: {_named(foreign, tables)}"
        )
    doubled = numbered.filter(pl.struct("row_id", *key).is_duplicated())
    if len(doubled):
        problems.append(f"{plural(doubled['row_id'].n_unique(), 'row is', 'rows are')} in more than one place: {_named(doubled, tables)}")
    answers = numbered.select(key).unique(maintain_order=True) if key else pl.DataFrame({"one": [0]})
    asked = ids.join(answers, how="cross")
    missing = asked.join(numbered, on=["row_id", *key], how="anti")["row_id"].unique(maintain_order=True).to_list()
    if missing:
        problems.append(f"{plural(len(missing), 'row is', 'rows are')} missing: {listed(missing)}")
    if problems:
        what = f"the {plural(len(tables), 'table is', 'tables are')} not the whole of {plural(len(wanted), 'row')}: {'; '.join(problems)}"
        raise DataError(what, fix="predict the missing rows, and give each table once")


def _named(rows: pl.DataFrame, tables: Sequence[Path]) -> str:
    """Return row ids, each with the tables that have it."""
    each = rows.group_by("row_id", maintain_order=True).agg(pl.col("table").unique().sort())
    return listed(f"{row_id} ({', '.join(str(tables[n]) for n in places)})" for row_id, places in each.head(20).iter_rows())


def _ordered(frame: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
    """Return the rows in the order wanted; what a row has several answers of stays in its order: target after target."""
    place = pl.DataFrame({"row_id": pl.Series(wanted, dtype=pl.String), "_place": range(len(wanted))})
    first = frame.select(KEY).unique(maintain_order=True).with_row_index("_answer")
    return (
        frame.join(place, on="row_id", how="left").join(first, on=list(KEY), how="left").sort("_answer", "_place").drop("_answer", "_place")
    )
