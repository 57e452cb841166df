"""`tapetum audit`: a table of everything found about each image, with the decision that training reads (``data.audit = "FILE"``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import audited, disk, files, places, stores, table_files
from tapetum.core.choices import name_of
from tapetum.core.config import Loaded
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.own_files import refuse_own
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.words import plural, verb
from tapetum.data import audit, layouts
from tapetum.data.audit.findings import count_kinds
from tapetum.data.audit.sets import about_the_data
from tapetum.data.audit.table import found_text
from tapetum.data.images.decode import Composition


def audit_source(
    source: Any,
    out: Path | str | None,
    loaded: Loaded,
    record: Record,
    *,
    target: str | None = None,
    data: Path | str | None = None,
    channels: bool = False,
) -> dict[str, Any]:
    """Audit data before training, or a run after it; a run's out-of-fold answers also tell which labels are suspect.

    Args:
        source: data as for ``fit``, or a run's folder.
        out: the file, ``.parquet`` or ``.csv``; None: ``audit.parquet`` in the run, else here.
        loaded: the recipe, for how images are composed; a run brings its own.
        record: receives messages about what was found.
        target: whose labels are judged; None: the first scored target that has classes.
        data: of a run: where its data are now, if they moved.
        channels: whether exchanged channels are looked for by what the recipe's backbone sees of each image as it is, and exchanged.

    Returns:
        ``{"out", "rows", "suspects", "findings", "data", "table"}``: how many rows each kind of finding has, sentences on the data as a
        whole, and a table that counts what was found and decided.

    Raises:
        UserError: no such target.
        DataError: the data of the run are not where they were.
    """
    run = Run.at(source)
    place = Path(out) if out is not None else Path("audit.parquet") if run is None else run.file("audit.parquet")
    table_files.ending(place)
    disk.refuse_unwritable(place)
    refuse_own(out, source)
    if run is not None:
        run.checked().checked(f"features/*/{stores.INDEX}")
    recipe = loaded.recipe if run is None else run.recipe()
    if run is None and data is not None:
        raise UserError("--data was given for data that no run was made from", need="a run, whose data moved", fix="audit the data alone")
    manifest = layouts.read(source, recipe.data, record, labelled=False) if run is None else _of_run(run, data, out, record)
    turned = any(name_of(spec) == "dihedral" for spec in recipe.augment)
    vectors = None if run is None else vectors_of(run, manifest.row_ids)
    exchanged = None
    if channels:
        from tapetum.workflow.commands.exchanged import exchanged_features  # imports torch

        exchanged = exchanged_features(manifest, recipe, record)
    how = Composition.from_input(recipe.input)
    table = audit.examine(manifest, how, record, vectors=vectors, dihedral=turned, exchanged=exchanged)
    if run is not None:
        table = judged(run, table, record, target=target)
    obeyed = [] if run is None else [run.file("audit.parquet")]  # the run's labels and rows are as this one decided
    for before in dict.fromkeys([*obeyed, place]):
        if before.exists():
            table = audit.with_kept(table, before, record)
    table_files.write_table(place, table, for_people=True)
    suspects = int(table["suspect"].fill_null(False).sum())
    decided = table.group_by("decision").len().sort("decision")
    about = about_the_data(manifest)
    lines = [found_text(table), *about, *(f"{n:>8,} decided {name}" for name, n in decided.iter_rows())]
    lines.append(f"{suspects:>8,} labels suspect" if run is not None else _without_a_run(manifest))
    lines.append(f"change the column 'decision' ({listed(audit.DECISIONS)}) and train with --set data.audit={place}")
    kinds = count_kinds([found or [] for found in table["findings"].to_list()])
    return {"out": str(place), "rows": len(table), "suspects": suspects, "findings": kinds, "data": about, "table": "\n".join(lines)}


def _without_a_run(manifest: Manifest) -> str:
    """Say what the audit of data alone leaves out."""
    if manifest.targets:
        return "labels are judged from a run: tapetum audit RUN"
    return "the images have no labels: copies with several labels, small classes and label suspects are left out"


def vectors_of(run: Run, row_ids: Sequence[str]) -> np.ndarray | None:
    """Return the vectors (N, D) that a run kept of its images, views averaged; rows without one are NaN. None where it kept none."""
    for folder in stores.finished(run.features):
        index = stores.index(folder)
        kept = {row_id: i for i, row_id in enumerate(index["row_id"])}
        vectors = stores.vectors(folder, index)
        if len(vectors) != len(kept) or vectors.ndim != 3:
            continue
        out = np.full((len(row_ids), vectors.shape[2]), np.nan, dtype=np.float32)
        known = [row for row, row_id in enumerate(row_ids) if row_id in kept]
        out[known] = vectors[[kept[row_ids[row]] for row in known]].mean(axis=1)
        return out
    return None


def _of_run(run: Run, data: Path | str | None, out: Path | str | None, record: Record) -> Manifest:
    """Return a run's rows where its images are; that they moved is no finding about them."""
    manifest = run.manifest(data)
    gone = places.absent(manifest)
    if gone and (out is None or len(gone) == len(manifest)):
        elsewhere = "" if len(gone) == len(manifest) else ", or write the audit of the others elsewhere: -o FILE"
        raise places.moved(manifest, gone, f"give the place where the data are now: --data DIR{elsewhere}")
    if gone:
        record(
            f"the images of {len(gone)} of {plural(len(manifest), 'row')} "
            f"{verb(len(gone), 'is', 'are')} not below {manifest.root}: {listed(gone)}. Nothing is decided of them"
        )
    return manifest


def judge_labels(run: Run, record: Record) -> int:
    """Add the suspect labels that a run's out-of-fold answers show to the audit that the run began with; return how many are suspect."""
    table = audited.read(run, run.manifest())
    if not set(audit.AUDIT_SCHEMA) <= set(table.columns):
        return 0
    table = judged(run, table, record)
    files.write_parquet(run.file("audit.parquet"), table)
    return int(table["suspect"].fill_null(False).sum())


def judged(run: Run, table: pl.DataFrame, record: Record, *, target: str | None = None) -> pl.DataFrame:
    """Return an audit with the suspect labels of a run's target; as it is where the run has no answers or no classes.

    Raises:
        UserError: no such target.
    """
    if not run.file("oof.parquet").exists():
        return table
    known = Predictions.read(run.file("oof.parquet"))
    names = [t.name for t in known.targets if t.kind != "regression"]
    if target is not None and target not in names:
        raise UserError(f"the run answers no target {target!r} with classes (it has: {listed(names)}).{nearest(target, names)}")
    if not names:
        return table
    dense = known.dense(target or names[0])
    return audit.add_suspects(table, dense, record, vectors=vectors_of(run, dense.row_ids.tolist()))
