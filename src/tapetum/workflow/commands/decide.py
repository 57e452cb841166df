"""``tapetum decide``: decide a run again, or the predictions of any framework. Files need no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files, hashes, locks, places
from tapetum.core.config import Data, Decide, load
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.marks import CROSS_VALIDATED, IN_SAMPLE
from tapetum.core.progress import Log
from tapetum.core.runs import HASHED, Record, Run
from tapetum.core.tables import FINAL, Dense, Manifest, Predictions
from tapetum.data import layouts
from tapetum.decide import chain, external, leaderboard
from tapetum.decide.steps import Rows
from tapetum.workflow.choices import ALL
from tapetum.workflow.commands.figure_tables import text_of
from tapetum.workflow.session import Session


def decide_again(
    root: Path | str, sets: Sequence[str], *, data: Path | str | None = None, log: Log | None = None, command: str = "tapetum decide"
) -> dict[str, Any]:
    """Decide a finished run again under another ``[decide]``, and write decisions, figures, pipeline and report anew.

    Args:
        root: the run.
        sets: ``decide.key=value``; the run's recipe is changed by them. None runs the recipe's own section.
        data: where the data are now, if they moved; the test rows are answered again.
        log: where messages go.
        command: kept in the record.

    Raises:
        DataError: images of test rows are not there.
        UserError: a key outside ``[decide]``, which would need training.
    """
    from tapetum.workflow.commands.finish import finish, ship_run
    from tapetum.workflow.stages.decide import decide_run
    from tapetum.workflow.stages.measure import measure_run
    from tapetum.workflow.stages.prepare import check_neighbours, prepared_of

    run = Run.existing(root)
    outside = [text for text in sets if not text.startswith("decide.")]
    if outside:
        raise UserError(f"--set {outside[0]!r} is not a decision", need="keys of [decide]", fix="train again: tapetum fit")
    loaded = load(run.recipe_file, sets=sets, choices=ALL, stored=True)
    record = Record(log)
    with locks.lock(run.root):
        prepared = prepared_of(run.checked(*HASHED), data)
        check_neighbours(prepared.manifest, loaded.recipe)
        places.refuse_absent(prepared.manifest.where(prepared.test), "say where the data are now: --data DIR")
        session = Session(run, prepared, loaded.recipe, record)
        hashes.forget(run.root)
        with record.stage("decisions"):
            decided = measure_run(session, decide_run(session))
        with record.stage("pipeline"):
            ship_run(session, decided)
        run.adopt(loaded)
        return finish(session, decided, command)


def decide_tables(
    tables: Mapping[str, Path],
    manifest: Manifest,
    target: str,
    decide: Decide,
    out: Path,
    record: Record,
    *,
    classes: Sequence[str] | None = None,
    strict: bool = False,
) -> dict[str, Any]:
    """Decide predictions from any framework: calibrate, blend and step as ``[decide]`` says, cross-fitted over the manifest's folds.

    Args:
        tables: member → a Predictions file (``.parquet``), a CSV (``id, p_class…``), or ``.npy`` with ``.ids.txt`` beside it.
        manifest: truth, folds, groups, sequences.
        target: which target.
        decide: the recipe's section.
        out: a folder for oof.parquet, oof.csv, decisions.json and metrics.json.
        record: receives messages about the notes.
        classes: order of the columns of arrays, which cannot say it themselves.
        strict: refuse where a member lacks rows that another holds.

    Returns:
        ``{"out", "table", "coverage"}``.
    """
    members = {name: read_member(path, manifest, target, name, classes, record) for name, path in tables.items()}
    scored = np.flatnonzero(manifest.split == "train")
    rows = Rows.of(manifest, [manifest.row_ids[r] for r in scored])
    found = chain.fit(members, rows, decide, strict=strict)
    for note in found.notes:
        record(f"warning: {note}")
    decided = {f"decided ({how})": (how, dense) for how, dense in ((CROSS_VALIDATED, found.nested), (IN_SAMPLE, found.optimistic))}
    entries = [*members.items(), *((name, dense) for name, (_, dense) in decided.items())]
    board = leaderboard.leaderboard(entries, rows, how={name: how for name, (how, _) in decided.items()})
    Predictions.from_dense(found.nested, source="blend", manifest_hash=manifest.content_hash()).write(out / "oof.parquet")
    external.write_csv(out / "oof.csv", found.nested, record)
    files.write_json(out / "decisions.json", {"format": 1, "steps": {target: found.json}})
    files.write_json(out / "metrics.json", {"leaderboard": board.to_dicts(), "coverage": found.coverage.to_dict()})
    return {"out": str(out), "table": text_of(board), "coverage": str(found.coverage)}


def read_member(
    path: Path, manifest: Manifest, target: str, member: str, classes: Sequence[str] | None = None, log: Record | None = None
) -> Dense:
    """Return one target's out-of-fold answers from a file of any kind that Tapetum reads."""
    if path.suffix == ".parquet":
        every = Predictions.read(path)
        table = every.select(role="oof")
        if not len(table):
            held = listed(every.frame["role"].unique().sort().to_list())
            raise DataError(
                f"{path} holds no out-of-fold predictions (its rows are: {held})",
                need="predictions of labelled rows by models that were not trained on them, as oof.parquet of a run",
            )
        _same_classes(table, manifest, target, path)
    elif path.suffix == ".npy":
        table = external.read_array(path, path.with_suffix(".ids.txt"), manifest, target, classes=classes, member=member, log=log)
    elif path.suffix == ".csv":
        table = external.read_csv(path, manifest, target, member=member, partial=True, log=log)
    else:
        raise UserError(f"{path} is neither .parquet, .csv nor .npy", need="predictions in one of these")
    return table.dense(target, FINAL if FINAL in table.members else table.members[0])


def _same_classes(table: Predictions, manifest: Manifest, target: str, path: Path) -> None:
    ours, theirs = manifest.target(target).classes, table.target(target).classes
    if ours != theirs:
        raise DataError(f"{path} has classes {listed(theirs)} for {target!r}", need=f"those of the manifest in its order: {listed(ours)}")


def manifest_of(path: Path, target: str | None, record: Record) -> Manifest:
    """Read a manifest from Parquet, or from a text table as ``tapetum split -o M.csv`` writes it; no image is looked at.

    Raises:
        UserError: a text table, which cannot name its targets, without ``target``.
    """
    if path.suffix.lower() == ".parquet":
        return Manifest.read(path)
    if target is None:
        raise UserError(f"{path} is a text table, which does not name its targets", fix="name it: --target NAME, as for fit")
    return layouts.read(path, Data(targets=(target,), on_bad="skip"), record)
