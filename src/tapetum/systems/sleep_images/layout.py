"""Layout ``sleep``: the SNUH sleep challenge, one image a 30-second epoch, exams in folders, tables without a header.

``trainset-for_user.csv`` (exam, image, label), ``testset-for_user.csv`` (exam, image), images ``<exam>/<exam>_NNNN.png``, beside the
tables or below ``trainset`` and ``testset``. NNNN is the order in time.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural, verb
from tapetum.data.layouts.delimited import read_delimited, to_delimited
from tapetum.data.layouts.folder import refuse_columns
from tapetum.data.layouts.listing import is_hidden, refuse_undecodable
from tapetum.data.layouts.sheet import Sheet, copy_image, images_among
from tapetum.sleep.nights import in_the_night

STAGES = ("Wake", "N1", "N2", "N3", "REM")
TRAIN, TEST = "trainset-for_user.csv", "testset-for_user.csv"
SAMPLE_ANSWERS = "files.csv"  # the sample submission: one label a line, in the order of the test table
PLACES = {"train": ("", "trainset", "train", "images"), "test": ("", "testset", "test", "images")}
_EPOCH = re.compile(r"_(\d+)\.[A-Za-z]+$")


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if not isinstance(source, Path):
        return None
    if source.name in (TRAIN, TEST):
        return f"a table called {source.name}"
    return f"{TRAIN} is in it" if source.is_dir() and (source / TRAIN).is_file() else None


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read the folder or one of its tables.

    Columns beside id, path, sequence and position: ``stage``, and for use as side numbers ``progress`` (place in the night, 0 to 1)
    and ``epochs`` (length of the exam). Images of an exam that stand in no table are context where ``data.blank = "context"``.
    """
    root = source if source.is_dir() else source.parent
    tables = [TRAIN, TEST] if source.is_dir() else [source.name]
    frames = [_part(root, table, data, log) for table in tables if (root / table).is_file()]
    if not frames:
        raise DataError(
            f"{TRAIN} is not in {root}",
            need=f"a folder with {TRAIN}, {TEST} and a folder of images for each exam",
            fix="check the path, or read the data as another layout: --layout",
        )
    frame = pl.concat(frames)
    _refuse_doubled(frame)
    _log_faults(frame, data, log)
    if source.is_dir():
        _log_unnamed_exams(root, set(frame["exam"].to_list()), log)
    frame = in_the_night(frame)
    roles = {"id": "image", "path": "path", "sequence": "exam", "position": "position", "split": "split"}
    targets = ({"name": "stage", "classes": list(STAGES)},)
    return Sheet(frame, root, root.name, roles, targets)


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Write the tables, and a copy of every image into its exam's folder.

    Raises:
        UserError: what the layout cannot hold, by name.
    """
    refuse_columns(manifest, {"sequence", "position", "split"}, "the sleep layout")
    frame, splits = manifest.frame, manifest.split
    if [t.name for t in manifest.targets] != ["stage"] or not {"sequence", "position"} <= set(frame.columns):
        raise UserError("the sleep layout holds exams of stages", need="the target 'stage', and a sequence and position for every row")
    for row, (row_id, exam, position) in enumerate(frame.select("row_id", "sequence", "position").iter_rows()):
        epoch = _EPOCH.search(row_id)
        named = exam is not None and row_id.startswith(f"{exam}_") and epoch is not None and int(epoch[1]) == position
        hidden_truth = splits[row] == "test" and frame["stage"][row] is not None
        held = splits[row] in ("train", "test") or (splits[row] == "spare" and frame["stage"][row] is None)  # or in no table
        if not named or hidden_truth or len(frame["path"][row]) != 1 or not held:
            raise UserError(
                f"row {row_id!r} (exam {exam!r}, position {position!r}) cannot be held by the sleep layout",
                need="ids such as EXAM_0007.png, one image each, split train or test, no stage in test rows",
            )
    columns = frame.select("sequence", "row_id", "stage")
    with files.whole_folder(place) as aside:
        for row, (exam, row_id, _) in enumerate(columns.iter_rows()):
            copy_image(manifest.paths(row)[0], aside / exam / row_id)
        files.write_text(aside / TRAIN, to_delimited(columns.filter(pl.Series(splits == "train")), header=False))
        if (splits == "test").any():
            hidden = columns.filter(pl.Series(splits == "test")).drop("stage")
            files.write_text(aside / TEST, to_delimited(hidden, header=False))
    log(f"{plural(len(manifest), 'epoch')} written to {place}")
    return place


def _part(root: Path, table: str, data: Data, log: Log) -> pl.DataFrame:
    split = "test" if table == TEST else "train"
    header = ["exam", "image"] if split == "test" else ["exam", "image", "stage"]
    frame, _ = read_delimited(root / table, header)
    if split == "test":
        frame = frame.with_columns(pl.lit(None, pl.String).alias("stage"))
    if frame.select("exam", "image").null_count().sum_horizontal()[0]:
        raise DataError(f"{table} has rows without an exam or an image", fix="fill them in or remove the rows")
    frame = _in_their_exam(frame, table, data, log)
    exams = frame["exam"].unique(maintain_order=True).to_list()
    folders = {exam: _folder(root, exam, split, table) for exam in exams}
    log(f"{table}: {plural(len(frame), 'epoch')} of {plural(len(exams), 'exam')}")
    in_table = set(frame["image"].to_list())
    frame = _with_context(frame, root, folders, data, log)
    positions = [_position(image) for image in frame["image"].to_list()]
    paths = [f"{folders[exam]}/{image}" for exam, image in frame.select("exam", "image").iter_rows()]
    # images of a test exam that no answer is wanted for are its neighbours alone
    parts = [split if split == "train" or image in in_table else "spare" for image in frame["image"].to_list()]
    return frame.with_columns(
        pl.Series("position", positions, dtype=pl.Float64), pl.Series("path", paths, dtype=pl.String), pl.Series("split", parts)
    )


def _in_their_exam(frame: pl.DataFrame, table: str, data: Data, log: Log) -> pl.DataFrame:
    """Refuse images whose name is not that of an epoch of their exam; where ``on_bad`` is skip, leave them out and name them."""
    problems = {row: _problem(exam, image) for row, (exam, image) in enumerate(frame.select("exam", "image").iter_rows())}
    wrong = {row: problem for row, problem in problems.items() if problem}
    if not wrong:
        return frame
    named = listed(wrong.values(), 5)
    if data.on_bad == "refuse":
        raise DataError(
            f"{table} names {named}",
            need="names such as EXAM_0007.png, whose number is the order in time, each in the row of its own exam",
            fix="correct the table, or go on without these rows: --on-bad skip",
        )
    log(
        f"warning: {len(wrong)} of {plural(len(frame), 'row')} of {table} "
        f"{verb(len(wrong), 'is', 'are')} left out, for the image is no epoch of the exam: it names {named}"
    )
    return frame[[row for row in problems if row not in wrong]]


def _problem(exam: str, image: str) -> str:
    """Return what is wrong with the name of an exam's image, or an empty text."""
    number = _EPOCH.search(image)
    if image.startswith(f"{exam}_") and number:
        return ""
    return f"the image {image!r} in the exam {exam!r}" + (f", which is not called {exam}_{number[1]}" if number else "")


def _with_context(frame: pl.DataFrame, root: Path, folders: dict[str, str], data: Data, log: Log) -> pl.DataFrame:
    """Add images of the exams that stand in no table, or count them; what is no epoch of its exam is left out."""
    unnamed, strange, doubled = _in_no_table(frame, root, folders)
    if strange:
        log(
            f"warning: {plural(len(strange), 'image')} in folders of exams "
            f"{verb(len(strange), 'is no epoch', 'are no epochs')} of them and "
            f"{verb(len(strange), 'is', 'are')} left out: {listed(strange)}"
        )
    if doubled and data.blank == "context" and data.on_bad == "refuse":
        raise DataError(
            f"{plural(len(doubled), 'image')} that no table names {verb(len(doubled), 'has', 'have')} "
            f"the number of another epoch: {listed(doubled)}",
            need="one image for each epoch",
            fix="remove these files, or leave them out: --on-bad skip",
        )
    if doubled:
        log(
            f"warning: {plural(len(doubled), 'image')} that no table names "
            f"{verb(len(doubled), 'has', 'have')} the number of another epoch and "
            f"{verb(len(doubled), 'is', 'are')} left out: {listed(doubled)}"
        )
    if not unnamed:
        return frame
    what = (
        f"{plural(len(unnamed), 'further image')} of these exams {verb(len(unnamed), 'is', 'are')} "
        f"in no table ({listed(name for _, name in unnamed)})"
    )
    if data.blank != "context":
        log(f"{what} and {verb(len(unnamed), 'is', 'are')} left out; --set data.blank=context keeps them")
        return frame
    log(f"{what} and {verb(len(unnamed), 'is', 'are')} kept as context")
    more = pl.DataFrame([(*row, None) for row in unnamed], schema=frame.schema, orient="row")
    return pl.concat([frame, more]).sort("exam", "image", maintain_order=True)


def _in_no_table(frame: pl.DataFrame, root: Path, folders: dict[str, str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Return (exam, image) of epochs that stand in no table, images that are no epochs, and those whose number another image has."""
    known = set(frame["image"].to_list())
    numbers = {(exam, _position(image)): image for exam, image in frame.select("exam", "image").iter_rows()}
    unnamed, strange, doubled = [], [], []
    for exam, folder in folders.items():
        names = [entry.name for entry in os.scandir(root / folder) if entry.name not in known and entry.is_file()]
        others = [name for name in names if not is_hidden(name)]
        refuse_undecodable(others, folder)
        for name in sorted(images_among(root / folder, others)):
            if _problem(exam, name):
                strange.append(f"{folder}/{name}")
            elif (first := numbers.setdefault((exam, _position(name)), name)) != name:
                doubled.append(f"{folder}/{name} (beside {first})")
            else:
                unnamed.append((exam, name))
    return unnamed, strange, doubled


def _refuse_doubled(frame: pl.DataFrame) -> None:
    """Refuse an exam in both tables, and two images at one place of an exam."""
    both = (
        frame.filter(pl.col("split") != "spare")
        .group_by("exam")
        .agg(pl.col("split").n_unique())
        .filter(pl.col("split") > 1)["exam"]
        .sort()
        .to_list()
    )
    if both:
        raise DataError(f"{TRAIN} and {TEST} both name the exams {listed(both)}", need="an exam in one of them", fix="correct the tables")
    twice = frame.group_by("exam", "position").agg(pl.col("image").sort()).filter(pl.col("image").list.len() > 1).sort("exam", "position")
    if len(twice):
        named = [f"{int(row['position'])} of {row['exam']} ({' and '.join(row['image'])})" for row in twice.iter_rows(named=True)]
        raise DataError(
            f"{plural(len(twice), 'number stands', 'numbers stand')} twice in an exam: {listed(named)}",
            need="one image for each epoch",
            fix="correct the tables",
        )


def _log_faults(frame: pl.DataFrame, data: Data, log: Log) -> None:
    """Log what is strange and goes on all the same: gaps in an exam's numbers, and training exams without a label."""
    ordered = frame.select("exam", "position").sort("exam", "position")
    gaps = ordered.with_columns((pl.col("position") - pl.col("position").shift(1).over("exam") - 1).alias("lost")).filter(
        pl.col("lost") > 0
    )
    if len(gaps):
        named = [
            f"{exam} {int(position - lost)}" + (f"–{int(position - 1)}" if lost > 1 else "") for exam, position, lost in gaps.iter_rows()
        ]
        log(
            f"warning: {plural(len(gaps), 'gap')} in the numbers of exams: "
            f"{listed(named)} ({plural(int(gaps['lost'].sum()), 'epoch')}). Epochs before "
            "and after a gap are no neighbours: windows, transitions and rules do not reach across it"
        )
    train = frame.filter(pl.col("split") == "train")
    blank = train.group_by("exam").agg(pl.col("stage").is_null().all()).filter("stage")["exam"].sort().to_list()
    if blank and len(blank) < train["exam"].n_unique():
        goes = "; its epochs train and score nothing" if data.blank == "context" else ""
        log(f"warning: {plural(len(blank), 'exam')} in {TRAIN} {verb(len(blank), 'has', 'have')} no label at all: {listed(blank)}{goes}")


def _log_unnamed_exams(root: Path, named: set[str], log: Log) -> None:
    """Log folders of exams that stand in no table."""
    found = set()
    for place in dict.fromkeys(place for places in PLACES.values() for place in places):
        for folder in sorted((root / place).iterdir()) if (root / place).is_dir() else ():
            if folder.is_dir() and folder.name not in named and any(folder.glob(f"{glob.escape(folder.name)}_*")):
                found.add(f"{place}/{folder.name}" if place else folder.name)
    if found:
        log(
            f"warning: {plural(len(found), 'folder')} of exams {verb(len(found), 'is', 'are')} in no "
            f"table and {verb(len(found), 'is', 'are')} left out: {listed(sorted(found))}"
        )


def _folder(root: Path, exam: str, split: str, table: str) -> str:
    for place in PLACES[split]:
        if (root / place / exam).is_dir():
            return f"{place}/{exam}" if place else exam
    tried = listed(f"{place}/{exam}" if place else exam for place in PLACES[split])
    raise DataError(f"{table} names the exam {exam!r}, which has no folder", need=f"one of {tried}", fix="unpack it beside the table")


def _position(image: str) -> int:
    found = _EPOCH.search(image)
    return int(found[1]) if found else 0
