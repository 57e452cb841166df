"""The parts of a long prediction as tasks: each answers about 50,000 rows, in the parts that one process would have made of them.

The driver writes its rows once; a task reads its own range of them. The parts say what they were made of, so what is done is seen in files.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files, locks
from tapetum.core.errors import EnvironmentFault
from tapetum.core.parts import Parts
from tapetum.core.progress import Log
from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.pipeline.folders import open_folder
from tapetum.workflow.commands import predict
from tapetum.workflow.commands.predict import Work, answered_part
from tapetum.workflow.launch.tasks import Place, Task, run_all

ROWS = 50_000  # of a task, in whole parts
KIND = "predict"


@dataclasses.dataclass(frozen=True)
class Range:
    """The parts of one task, one after another in the rows that the driver wrote.

    Args:
        first: row of the first part.
        numbers: of the parts.
        sizes: rows of each.
    """

    first: int
    numbers: list[int]
    sizes: list[int]


def ranges(sizes: Sequence[int], wanted: Sequence[int]) -> list[Range]:
    """Divide parts among tasks of about :data:`ROWS` rows.

    Args:
        sizes: rows of each part of the prediction.
        wanted: numbers of the parts that are not there yet, growing.
    """
    starts = np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))])
    most = -(-ROWS // predict.PART)
    found: list[Range] = []
    for number in wanted:
        last = found[-1] if found else None
        if last is None or last.numbers[-1] + 1 != number or sum(last.sizes) + sizes[number] > most * predict.PART:
            found.append(last := Range(int(starts[number]), [], []))
        last.numbers.append(number)
        last.sizes.append(sizes[number])
    return found


def predict_elsewhere(place: Place, work: Work, parts: Parts, marks: Mapping[int, str]) -> None:
    """Answer parts at another place; afterwards they are files.

    Args:
        place: where.
        work: the prediction.
        parts: where its parts are.
        marks: number of a part that is not there → what it is to be made of.
    """
    rows = parts.folder / ".rows.parquet"
    in_order = all(isinstance(part, range) for part in work.parts)
    table = work.manifest if in_order else work.manifest.where(np.concatenate([np.asarray(part) for part in work.parts]))
    table.write(rows)
    tasks = []
    for one in ranges([len(part) for part in work.parts], sorted(marks)):
        folder = files.make_folder(parts.folder / f".task-{one.numbers[0]:06d}")
        spec = {
            "format": 1,
            "kind": KIND,
            "pipeline": str(Path(work.loaded.folder).resolve()),
            "identity": work.identity,
            "generation": locks.generation_of(parts.folder),
            "engines": {member.name: member.engine.to_dict() for member in work.loaded.members if hasattr(member, "engine")},
            "first": one.first,
            "parts": [[number, size, marks[number]] for number, size in zip(one.numbers, one.sizes, strict=True)],
        }
        name = f"rows {one.first:,} to {one.first + sum(one.sizes):,}"
        gpu = any(engine["device"] == "cuda" for engine in spec["engines"].values())  # type: ignore[attr-defined]
        tasks.append(Task(name, files.write_json(folder / "spec.json", spec), gpu=gpu))
    run_all(place, tasks, work.log, "predicting")


def run_part(spec_file: Path, *, wait: bool = False, log: Log | None = None) -> dict[str, Any]:
    """Answer the parts of a task's spec; those that are there already stay. Return how many rows they have.

    Args:
        spec_file: what :func:`predict_elsewhere` wrote.
        wait: where another process works on the same task, until it ends.
        log: where messages go.

    Raises:
        EnvironmentFault: another process holds the task, this machine has another version of Tapetum or of the pipeline, or another command
            predicts into the same table by now.
    """
    spec, folder = files.read_json(spec_file), spec_file.parent.parent
    with locks.lock(spec_file.parent, wait=wait):
        parts = Parts(folder.with_name(folder.name.removesuffix(".parts")))
        sizes = [size for _, size, _ in spec["parts"]]
        total, starts = sum(sizes), itertools.accumulate(sizes, initial=0)
        placed = [(number, range(start, start + size), mark) for (number, size, mark), start in zip(spec["parts"], starts, strict=False)]
        left = [(number, rows, mark) for number, rows, mark in placed if parts.reasons(number, mark) is None]
        if left:
            record = Record(log)
            table = Manifest.read(folder / ".rows.parquet", rows=range(spec["first"], spec["first"] + total))
            work = Work(_loaded(spec), table, record)
            if work.identity != spec["identity"]:
                what = f"{spec_file} was written by another version of Tapetum, or the pipeline is another one by now"
                raise EnvironmentFault(what, fix="give the command again that predicts")
            tick = record.share("predicting")
            for number, rows, mark in left:
                answered = answered_part(work, table.where(rows), lambda done, _, before=rows.start: tick(before + done, total))  # type: ignore[misc]
                locks.check_generation(folder, spec["generation"])  # an orphan's rows may be others by now, or nobody waits for them
                parts.write(number, mark, *answered)
        return {"status": "done", "rows": total, "parts": len(sizes)}


def _loaded(spec: Mapping[str, Any]) -> Any:
    """Return the pipeline or export of a spec, by the engines of its driver."""
    loaded = open_folder(spec["pipeline"])
    if not spec["engines"]:  # an export has its own
        return loaded
    from tapetum.learn.runtime import Engine
    from tapetum.pipeline.fastest import with_engines

    return with_engines(loaded, {name: Engine.from_dict(one) for name, one in spec["engines"].items()})
