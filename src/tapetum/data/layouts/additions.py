"""What is laid over a table: joined columns, rows left out, pseudo-labels and a limit on the training rows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import draws, files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.prediction_csv import read_alone, read_table
from tapetum.core.progress import Log
from tapetum.core.tables import Predictions
from tapetum.core.targets import Target, decode
from tapetum.core.words import plural, verb
from tapetum.data.layouts.delimited import read_delimited
from tapetum.data.layouts.roles import ID_NAMES
from tapetum.data.layouts.sheet import Sheet

PSEUDO = "pseudo"  # the manifest's column that marks pseudo-labelled rows


def refuse_twice(source: Any, data: Data) -> None:
    """Refuse a table that is given twice: as that, not as rows that are there twice.

    Raises:
        UserError: names it.
    """
    named = [("the data", source), *(("--test", place) for place in data.test), *(("--extra", place) for place in data.extra)]
    seen: dict[str, str] = {}
    for flag, place in named:
        if not isinstance(place, (str, Path)):
            continue
        key = os.path.realpath(place)
        if key in seen:
            twice = f"twice as {flag}" if seen[key] == flag else f"as {seen[key]} and as {flag}"
            raise UserError(f"{place} is given {twice}", need="each table once", fix="leave one of the two out")
        seen[key] = flag


def join_tables(sheet: Sheet, data: Data, log: Log) -> Sheet:
    """Add the columns of ``data.join`` tables, matched by the id column, else by all columns of the same name.

    Raises:
        UserError: no column in common.
        DataError: a key that occurs twice in the joined table.
    """
    frame = sheet.frame
    for place in data.join:
        path = Path(place) if Path(place).exists() else sheet.root / place  # from here, else beside the data
        more = files.read_parquet(path)[0] if path.suffix.lower() == ".parquet" else read_delimited(path)[0]
        shared = [c for c in frame.columns if c in more.columns]
        own_id = data.id or next((c for c in shared if c.lower() in ID_NAMES), None)
        keys = [own_id] if own_id in shared else shared
        clash = [c for c in shared if c not in keys]
        if not keys:
            raise UserError(
                f"{path.name} has no column in common with {sheet.name} (it has: {listed(more.columns, 20)})", need="an id to join by"
            )
        if clash:
            raise UserError(f"{path.name} and {sheet.name} both have the columns {listed(clash)}", fix="rename them in one of the tables")
        doubled = more.filter(pl.struct(keys).is_duplicated())
        if len(doubled):
            names = listed(doubled.select(keys).unique(maintain_order=True).iter_rows())
            raise DataError(f"{path.name} has several rows for {listed(keys)} = {names}", need="one row for each")
        more = more.with_columns(pl.col(k).cast(frame.schema[k]) for k in keys).with_columns(pl.lit(True).alias("__matched"))
        frame = frame.join(more, on=keys, how="left", maintain_order="left")
        matched = int(frame["__matched"].fill_null(False).sum())
        frame = frame.drop("__matched")
        log(f"{path.name} joined by {listed(keys)}: {matched} of {plural(len(frame), 'row')} found theirs")
    return dataclasses.replace(sheet, frame=frame)


def leave_out(frame: pl.DataFrame, data: Data, log: Log) -> pl.DataFrame:
    """Leave out the row ids listed in ``data.exclude``, a text file with one a line (``#`` starts a comment).

    Raises:
        UserError: no such file.
        DataError: an id that is in no row.
    """
    if data.exclude is None:
        return frame
    path = Path(data.exclude)
    if not path.is_file():
        raise UserError(f"{path} does not exist", need="a text file with one row id a line")
    have = set(frame["row_id"].to_list())
    lines = _ids_of(path) if _is_table(path) else [_without_comment(line, have) for line in files.read_lines(path)]
    wanted = [line for line in dict.fromkeys(lines) if line]
    unknown = [row_id for row_id in wanted if row_id not in have]
    if unknown:
        raise DataError(
            f"{path.name} names {plural(len(unknown), 'row')} that the data do not have: {listed(unknown)}.{nearest(unknown[0], have)}"
        )
    log(f"{len(wanted)} of {plural(len(frame), 'row')} left out by {path.name}: {listed(wanted)}")
    return frame.filter(~pl.col("row_id").is_in(wanted))


def _without_comment(line: str, have: set[str]) -> str:
    """Return a line without what comes after ``#``, unless the ``#`` belongs to an id."""
    line = line.strip()
    ids = [
        row_id for row_id in (line, *(line[:at].strip() for at in range(len(line), 0, -1) if line[at : at + 1] == "#")) if row_id in have
    ]
    return ids[0] if ids else line.partition("#")[0].strip()


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv", ".parquet")


def _ids_of(path: Path) -> list[str]:
    """Return the ids of a table: its column row_id or id, else its first."""
    table = files.read_parquet(path)[0] if path.suffix.lower() == ".parquet" else read_delimited(path)[0]
    column = next((name for name in table.columns if name.lower() in ID_NAMES), table.columns[0])
    return [str(cell) for cell in table[column].to_list() if cell is not None]


def add_pseudo_labels(frame: pl.DataFrame, targets: Sequence[Target], data: Data, log: Log) -> pl.DataFrame:
    """Let confident predictions train as hard labels: unlabelled extra rows are filled, test rows get an extra copy.

    The rows are marked in the column ``pseudo``. A label counts as confident where its probability is at least ``data.pseudo_bound``
    (several labels: every class is at or above the bound, or at or below one less the bound).

    Raises:
        DataError: the predictions cover none of the test or extra rows.
        UserError: no target that can have pseudo-labels.
    """
    if data.pseudo is None:
        return frame
    predictions = _predicted(data.pseudo, targets)
    names = {t.name for t in predictions.targets}
    usable = [t for t in targets if t.name in names and t.kind != "regression"]
    if not usable:
        raise UserError(
            f"{data.pseudo} predicts {listed(sorted(names))}", need=f"a target with classes among {listed(t.name for t in targets)}"
        )
    splits = frame["split"].fill_null("train").to_list() if "split" in frame.columns else ["train"] * len(frame)
    place = {row_id: i for i, row_id in enumerate(frame["row_id"].to_list()) if splits[i] in ("test", "extra")}
    labels: dict[int, dict[str, object]] = {}
    covered: set[int] = set()
    for target in usable:
        dense = predictions.dense(target.name)
        sure = dense.ok & _confident(predictions.target(target.name), dense.p, data.pseudo_bound)
        answers = decode(predictions.target(target.name), dense.p)
        for row_id, is_sure, answer in zip(dense.row_ids, sure, answers, strict=True):
            if row_id in place:
                covered.add(place[row_id])
                if is_sure:
                    labels.setdefault(place[row_id], {})[target.name] = answer
    if not covered:
        raise DataError(f"{data.pseudo} covers no test or extra row of the data", fix="name their tables: --test FILE or data.extra")
    out = _with_labels(frame, usable, splits, labels)
    bound, count = f"{data.pseudo_bound:g}", int(out[PSEUDO].sum())
    log(
        f"pseudo-labels: {count} of {plural(len(covered), 'predicted row')} "
        f"{verb(count, 'is', 'are')} confident at {bound} and {verb(count, 'trains', 'train')} as extra"
    )
    return out


def _predicted(file: str, targets: Sequence[Target]) -> Predictions:
    """Return the predictions of a Parquet table, or of a CSV for the targets that its columns name (``p_<class>``: the only one)."""
    if Path(file).suffix.lower() != ".csv":
        return Predictions.read(file)
    columns = read_table(file).columns
    having = [t for t in targets if t.kind != "regression" and t.scored and t.expression is None]
    named = [t for t in having if any(column.startswith(f"{t.name}_p_") for column in columns)]
    if not named and len(having) != 1:
        names = listed(f"{t.name}_p_<class>" for t in having)
        raise UserError(f"{file} does not say which target it predicts", need=f"columns called as one of {names}")
    return Predictions.concat([read_alone(file, like=_with_classes(t, columns)) for t in named or having])


def _with_classes(target: Target, columns: Sequence[str]) -> Target:
    """Return a target whose classes are known: declared, else those of its columns ``p_<class>``."""
    prefix = next((start for start in (f"{target.name}_p_", "p_") if any(c.startswith(start) for c in columns)), "p_")
    found = tuple(c.removeprefix(prefix) for c in columns if c.startswith(prefix))
    return target if target.classes else dataclasses.replace(target, classes=found)


def draw_limit(frame: pl.DataFrame, targets: Sequence[Target], data: Data, log: Log) -> pl.DataFrame:
    """Keep ``data.limit`` training rows, drawn in proportion to the joint labels; the others become split ``spare``.

    The draw depends on the row ids alone. Shares are rounded by largest remainder.
    """
    if data.limit is None:
        return frame
    splits = frame["split"].fill_null("train").to_list() if "split" in frame.columns else ["train"] * len(frame)
    trains = [i for i, split in enumerate(splits) if split == "train"]
    if data.limit >= len(trains):
        log(f"limit {data.limit}: there are only {plural(len(trains), 'training row')}, all of them are used")
        return frame
    names = [t.name for t in targets if t.scored and t.name in frame.columns and t.kind != "regression"]
    cells = frame.select(names).rows() if names else [()] * len(frame)
    row_ids = frame["row_id"].to_list()
    places = draws.in_proportion([cells[row] for row in trains], [row_ids[row] for row in trains], data.limit, "limit")
    kept = {trains[place] for place in places}
    marked = ["spare" if split == "train" and i not in kept else split for i, split in enumerate(splits)]
    log(
        f"limit: {len(kept)} of {plural(len(trains), 'training row')} drawn in proportion to their "
        "labels; the others are spare and stay uncovered"
    )
    return frame.with_columns(pl.Series("split", marked, dtype=pl.String))


def _confident(target: Target, p: np.ndarray, bound: float) -> np.ndarray:
    values = np.nan_to_num(p, nan=0.5 if target.kind == "multi" else 0.0)
    if target.kind == "multi":
        return ((values >= bound) | (values <= 1 - bound)).all(axis=1)
    return values.max(axis=1) >= bound


def _with_labels(
    frame: pl.DataFrame, targets: Sequence[Target], splits: Sequence[str], labels: dict[int, dict[str, object]]
) -> pl.DataFrame:
    """Fill unlabelled extra rows in place and append an extra copy of each confident test row."""
    from tapetum.data.layouts.cells import DTYPES

    names = [t.name for t in targets]
    frame = frame.with_columns(pl.lit(None, DTYPES[t.kind]).alias(t.name) for t in targets if t.name not in frame.columns)
    frame = frame.with_columns(pl.Series("split", splits, dtype=pl.String))
    cells = {name: frame[name].to_list() for name in names}
    marks = [False] * len(frame)
    doubled = []
    for row, found in labels.items():
        if splits[row] == "test":
            doubled.append(row)
        elif all(cells[name][row] is None for name in names):
            marks[row] = True
            for name, label in found.items():
                cells[name][row] = label
    filled = frame.with_columns(
        *(pl.Series(t.name, cells[t.name], dtype=DTYPES[t.kind]) for t in targets), pl.Series(PSEUDO, marks, dtype=pl.Boolean)
    )
    added = frame[doubled].with_columns(
        pl.concat_str(pl.lit("pseudo:"), pl.col("row_id")).alias("row_id"),
        pl.lit("extra").alias("split"),
        pl.lit(True).alias(PSEUDO),
        *(pl.Series(t.name, [labels[row].get(t.name) for row in doubled], dtype=DTYPES[t.kind]) for t in targets),
    )
    return pl.concat([filled, added.select(filled.columns)], how="vertical")
