"""Predict the rows of a manifest in parts: what is held in memory does not grow with the rows, and a command that was killed goes on.

Each part is written when it is done. Where decisions look at several rows (sequences, class rates of a set), parts hold what the members
answer, and the decisions are made once, on all rows.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import answers, files, locks, spreadsheets, table_files
from tapetum.core.errors import DataError, listed
from tapetum.core.parts import Parts, holds_parts, made_of, refuse_foreign
from tapetum.core.progress import Log
from tapetum.core.runs import Record
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.words import plural, verb
from tapetum.decide.apart import joint_steps
from tapetum.decide.steps import assemble
from tapetum.pipeline.combine import combine
from tapetum.pipeline.frozen import Frozen, unseen

PART = 1024  # rows; a kill loses the work on at most as many

Answered = dict[str, Dense]
Numbers = range | np.ndarray  # of rows
Elsewhere = Callable[["Work", Parts, Mapping[int, str]], None]  # answers the parts of some numbers, each with its mark


@dataclasses.dataclass(frozen=True)
class Work:
    """A prediction to be made.

    Args:
        loaded: a pipeline or an export.
        manifest: the rows.
        log: told of progress and of missing rows.
    """

    loaded: Frozen
    manifest: Manifest
    log: Record

    @functools.cached_property
    def is_joint(self) -> bool:
        """Whether an answer depends on other rows."""
        return self.in_sequences or bool(joint_steps(self.loaded.spec["decisions"], self.loaded.scored))

    @property
    def in_sequences(self) -> bool:
        """Whether a member answers sequences."""
        return any(getattr(one, "sequence", None) is not None and one.sequence.length > 1 for one in self.loaded.members)

    @functools.cached_property
    def parts(self) -> Sequence[Numbers]:
        """The row numbers of each part; a sequence that a member answers is never divided."""
        total = len(self.manifest)
        if self.is_joint and getattr(self.loaded, "galleries", None):
            return [range(total)]  # decisions need the neighbours of all rows at once
        if not self.in_sequences:
            return in_order(total)
        return _whole_sequences(self.manifest)

    @functools.cached_property
    def identity(self) -> str:
        """A hash of what is the same for all parts."""
        engines = [getattr(getattr(one, "engine", None), "name", "") for one in self.loaded.members]
        return files.fingerprint([self.loaded.spec, importlib.metadata.version("tapetum"), self.is_joint, engines])


def in_order(total: int) -> list[range]:
    """Return the rows of each part, one after another."""
    return [range(start, min(start + PART, total)) for start in range(0, max(total, 1), PART)]


def _whole_sequences(manifest: Manifest) -> list[np.ndarray]:
    rows: dict[Any, list[int]] = {}
    names = manifest.frame["sequence"].to_list() if "sequence" in manifest.frame.columns else [None] * len(manifest)
    for row, name in enumerate(names):
        rows.setdefault((name,) if name is not None else row, []).append(row)
    parts: list[list[int]] = [[]]
    for some in rows.values():
        if parts[-1] and len(parts[-1]) + len(some) > PART:
            parts.append([])
        parts[-1] += some
    return [np.array(part, dtype=np.int64) for part in parts]


@dataclasses.dataclass(frozen=True)
class Written:
    """A table that was written.

    Args:
        reasons: row id → why it has no answer.
        rows: makes the table of labels and probabilities, a row an image.
    """

    reasons: dict[str, str]
    rows: Callable[[], pl.DataFrame]


def answer(work: Work, *, refuse: bool = False) -> tuple[Answered, dict[int, str]]:
    """Return the answers to all rows, in memory, and row number → why it has none.

    Args:
        work: what is predicted.
        refuse: refuse images that cannot be read.
    """
    tick, done = work.log.share("predicting"), 0
    problems: dict[int, str] = {}
    found: list[tuple[np.ndarray, Answered]] = []
    for part in work.parts if not work.is_joint else [range(len(work.manifest))]:
        table = work.manifest.where(part)
        found.append((np.asarray(part), work.loaded.answer(table, work.log, _moved(tick, done, len(work.manifest)))))
        problems |= {int(part[row]): why for row, why in work.loaded.problems.items()}
        done += len(part)
    answered = {name: assemble([(part, dense[name]) for part, dense in found]) for name in found[0][1]} if found[1:] else found[0][1]
    if refuse:
        _refuse(work, _reasons(answered, problems))
    return answered, problems


def write(work: Work, out: Path, *, refuse: bool = False, elsewhere: Elsewhere | None = None) -> Written:
    """Write the answers as a Predictions table (``.parquet``) or as labels and probabilities (``.csv``), part by part.

    Args:
        work: what is predicted.
        out: the table.
        refuse: refuse images that cannot be read; parts that are done stay for the next try.
        elsewhere: answers parts at another place; None: this process does.

    Raises:
        DataError: images that cannot be read.
        EnvironmentFault: another process predicts into the same table.
    """
    if len(work.parts) == 1:
        answered, problems = answer(work, refuse=refuse)
        _write_whole(work, answered, out)
        _remove_left(out, work.log)
        return Written(_reasons(answered, problems), functools.partial(answers.flat_table, answered))
    parts = Parts(out)
    refuse_foreign(parts.folder)
    with locks.lock(parts.folder):
        reasons = finish(work, parts, elsewhere)
        if refuse:
            _refuse(work, reasons)
        rows: Callable[[], pl.DataFrame] = functools.partial(_read_flat, out)
        if work.is_joint:
            answered = _decided(work, parts)
            _write_whole(work, answered, out)
            rows = functools.partial(answers.flat_table, answered)
        elif out.suffix.lower() == ".csv":
            rows = functools.partial(pl.read_csv, out, schema_overrides=next(_flat(work, parts)).schema)
            files.write_csv_parts(out, spreadsheets.watched(out, _flat(work, parts), work.log))
        else:
            parts.join(len(work.parts), out)
    files.remove(parts.folder)
    return Written(reasons, rows)


def _remove_left(out: Path, log: Log) -> None:
    """Remove the parts of a longer prediction into the same table that was killed: the table is whole without them."""
    folder = Parts(out).folder
    if not folder.is_dir() or not holds_parts(folder):
        return
    with locks.lock(folder):
        log(f"{folder} held parts of another prediction into {out.name} that did not end: removed")
    files.remove(folder)


def _read_flat(out: Path) -> pl.DataFrame:
    table = Predictions.read(out)
    return answers.flat_table({target.name: table.dense(target.name) for target in table.targets})


def _refuse(work: Work, reasons: Mapping[str, str]) -> None:
    if reasons:
        named = listed(f"{row_id} ({why})" for row_id, why in reasons.items())
        what = f"{len(reasons)} of {plural(len(work.manifest), 'image')} cannot be read: {named}"
        raise DataError(what, fix="repair or remove them, or go on without them: --on-bad skip")


def _reasons(answered: Answered, problems: Mapping[int, str]) -> dict[str, str]:
    """Return row id → why it has no answer."""
    first = next(iter(answered.values()))
    return {first.row_ids[row]: problems.get(row, "no answer") for row in np.flatnonzero(~first.ok).tolist()}


def finish(work: Work, parts: Parts, elsewhere: Elsewhere | None = None) -> dict[str, str]:
    """Answer the parts that are not there yet; return row id → why it has no answer."""
    marks = [made_of(work.manifest.where(part), work.identity) for part in work.parts]
    kept = _standing(parts, marks)
    total, done = len(work.manifest), sum(len(work.parts[number]) for number in kept)
    if kept:
        work.log(
            f"going on: {done:,} of {plural(total, 'row')} {verb(done, 'is', 'are')} predicted "
            f"already ({len(kept):,} of {plural(len(marks), 'part')} in {parts.folder})"
        )
    if elsewhere is not None and len(kept) < len(marks):
        elsewhere(work, parts, {number: mark for number, mark in enumerate(marks) if number not in kept})
        kept = _standing(parts, marks)
        done = sum(len(work.parts[number]) for number in kept)
    for reasons in kept.values():
        for row_id, why in reasons.items():
            work.log(f"warning: missing: {row_id} ({why})")
    tick = work.log.share("predicting")
    tick(done, total)
    reasons = {row_id: why for found in kept.values() for row_id, why in found.items()}
    for number in [number for number in range(len(marks)) if number not in kept]:
        table, mine = answered_part(work, work.manifest.where(work.parts[number]), _moved(tick, done, total))
        parts.write(number, marks[number], table, mine)
        reasons |= mine
        done += len(work.parts[number])
    return reasons


def _standing(parts: Parts, marks: Sequence[str]) -> dict[int, dict[str, str]]:
    """Return the number of each part that is there → row id → why it has no answer."""
    return {number: found for number, mark in enumerate(marks) if (found := parts.reasons(number, mark)) is not None}


def answered_part(work: Work, table: Manifest, tick: Callable[[int, int], None]) -> tuple[Predictions, dict[str, str]]:
    """Return the final answers to some rows, or those of the members where decisions look at all rows, and the reasons of missing rows."""
    raw: list[Mapping[str, Mapping[int, Mapping[str, Dense]]]] = []
    final = work.loaded.answer(table, work.log, tick, told=lambda found, _: raw.append(found))
    reasons = _reasons(final, work.loaded.problems)
    if not work.is_joint:
        return answers.table_of(final, work.loaded.spec), reasons
    tables = [
        Predictions.from_dense(list(dense.values()), member=member, role="test")
        for member, folds in raw[0].items()
        for dense in folds.values()
    ]
    return Predictions.concat(tables), reasons


def _decided(work: Work, parts: Parts) -> Answered:
    """Return the final answers of what the members answered, part by part."""
    tables = [parts.read(number) for number in range(len(work.parts))]
    answered: dict[str, dict[int, Answered]] = {}
    for member, fold, target in tables[0].frame.select("member", "fold", "target").unique(maintain_order=True).iter_rows():
        every = [(np.asarray(part), table.dense(target, member, fold=fold)) for part, table in zip(work.parts, tables, strict=True)]
        answered.setdefault(member, {}).setdefault(fold, {})[target] = assemble(every)
    return combine(work.loaded.spec["decisions"], work.loaded.scored, answered, unseen(work.manifest), work.log)


def _flat(work: Work, parts: Parts) -> Iterator[pl.DataFrame]:
    for number in range(len(work.parts)):
        table = parts.read(number)
        yield answers.flat_table({name: table.dense(name) for name in work.loaded.scored})


def _write_whole(work: Work, answered: Answered, out: Path) -> None:
    if out.suffix.lower() == ".csv":
        table_files.write_matched(out, answers.flat_table(answered), work.log)
    else:
        answers.table_of(answered, work.loaded.spec).write(out)


def _moved(tick: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: tick(before + done, total)
