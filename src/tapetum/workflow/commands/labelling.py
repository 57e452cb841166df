"""`tapetum review RUN --unlabelled DIR`: a queue of images without labels, and a table of the labels given that ``fit`` reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files, spreadsheets, table_files
from tapetum.core.config import Recipe
from tapetum.core.errors import UserError, listed
from tapetum.core.own_files import refuse_own
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.decide.labelling import confidence, uncertainty, worth_labelling
from tapetum.show.review.queue import Queue
from tapetum.show.review.review import Review
from tapetum.show.review.store import Store
from tapetum.workflow.commands.review_page import Reviewing, needs_extra, pages_of, refuse_places, serve, target_of, written

STORE, OUT = "labelling.sqlite", "labelled.csv"


def label_source(source: Any, record: Record, how: Reviewing, ready: Callable[[str], object] | None = None) -> dict[str, Any]:
    """Serve a page that asks for labels, those first that help the run's pipeline most; then write the table of labels.

    Args:
        source: a run.
        record: receives messages.
        how: what is labelled (``unlabelled``) and where it is kept.
        ready: called with the address when the page can be opened.

    Returns:
        As :func:`~tapetum.workflow.commands.review.review_source`, and ``labelled``: how many rows the table has.

    Raises:
        UserError: the source is no run, has no target with classes, or has rows of several files.
        EnvironmentFault: the extra ``review`` is not installed.
        DataError: the decisions are of another folder or target.
    """
    folder = how.unlabelled
    run = Run.at(source)
    if run is not None:
        run.checked()
    if folder is None or run is None:
        raise UserError(
            f"{source} is no run", need="the run whose model tells which images to label", fix="make one: tapetum fit DATA -o RUN"
        )
    if how.audited is not None:
        raise UserError("images without a label are not reviewed by an audit", fix="leave out --audit or --unlabelled")
    store_file = how.decisions or run.file(STORE)
    place = how.out or store_file.with_name(OUT)
    table_files.ending(place)
    refuse_places(store_file, place)
    refuse_own(place, source, folder)
    if how.is_served:
        needs_extra()
    from tapetum.pipeline.pipeline import Pipeline

    pipeline, recipe = Pipeline.load(run.root), run.recipe()
    manifest = pipeline.read([folder], record)
    if any(len(paths) > 1 for paths in manifest.frame["path"].to_list()):
        raise UserError(f"the rows of {folder} have several files each", need="one image a row to label it here")
    target = target_of(Manifest(run.manifest().frame.head(0), tuple(pipeline.scored.values()), run.root), how.target)
    if target is None:
        raise UserError(f"{source} answers no target with classes", need="a run that classifies")
    store = Store(store_file, files.fingerprint(["unlabelled", str(folder.resolve()), target.name]))
    manifest = _without_known(manifest, run, store, record)
    review = Review(_queue(pipeline, manifest, target, record) if how.is_served else _plain(manifest, target), store)
    if how.is_served:
        pages = pages_of(review, recipe.input, lambda: table_files.as_csv(labelled(review, recipe, place)), folder.resolve().name)
        serve(pages, plural(len(manifest), "image"), how.port, record, ready)
    table = labelled(review, recipe, place)
    spreadsheets.warn(place, table, record)
    return {**written(review, table, place, store_file, for_people=False), "labelled": len(table)}


def labelled(review: Review, recipe: Recipe, out: Path) -> pl.DataFrame:
    """Return the images that were given a label, as ``fit --extra`` reads them beside the data that the recipe describes.

    Args:
        review: queue and decisions.
        recipe: of the run, whose columns have names.
        out: where the table is written; paths are seen from there.
    """
    data, target, manifest = recipe.data, review.queue.target, review.queue.manifest
    column = data.path if isinstance(data.path, str) and data.path and not set("{*/") & set(data.path) else "file"
    rows: list[tuple[str, tuple[str, ...]]] = []
    for row_id, one in sorted(review.holding().items()):
        if one.action == "relabel" and (row := review.place.get(row_id)) is not None:
            rows.append((_seen_from(manifest.root / manifest.frame["path"][row][0], out.parent), one.labels))
    several = target is not None and target.kind == "multi"
    columns: dict[str, Any] = {column: [path for path, _ in rows]}
    if isinstance(data.id, str) and data.id:
        columns[data.id] = [path for path, _ in rows]
    if isinstance(data.group, str) and data.group:
        columns[data.group] = pl.Series([None] * len(rows), dtype=pl.String)
    name = "label" if target is None else target.name
    columns[name] = pl.Series(
        [list(labels) if several else labels[0] for _, labels in rows], dtype=pl.List(pl.String) if several else pl.String
    )
    return pl.DataFrame(columns)


def _seen_from(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _without_known(manifest: Manifest, run: Run, store: Store, record: Record) -> Manifest:
    """Return the rows that the run did not learn from; those that were decided here stay, so that their decisions do."""
    learnt = run.manifest()
    learnt = learnt.where(learnt.split != "test")
    ours = {os.path.abspath(path) for row in range(len(learnt)) for path in learnt.paths(row)}
    decided, there = store.holding(), set(manifest.row_ids)
    keep = np.array(
        [row_id in decided or os.path.abspath(manifest.paths(row)[0]) not in ours for row, row_id in enumerate(manifest.row_ids)],
        dtype=bool,
    )
    if not keep.all():
        record(f"{plural(int((~keep).sum()), 'image is', 'images are')} left out, since the run learnt from them")
    if lost := [row_id for row_id in decided if row_id not in there]:
        record(
            f"{plural(len(lost), 'decision is', 'decisions are')} on images that are not there now; "
            f"they are kept in {store.path.name}: {listed(lost, 3)}"
        )
    return manifest.where(keep)


class _Vectors:
    """The vectors of rows (N, D) as a network tells them; NaN where it tells none, which makes all rows equally far from one another."""

    def __init__(self, rows: int) -> None:
        self.matrix = np.full((rows, 1), np.nan, dtype=np.float32)

    def take(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Take the vectors of some rows."""
        if self.matrix.shape[1] != vectors.shape[1]:
            self.matrix = np.full((len(self.matrix), vectors.shape[1]), np.nan, dtype=np.float32)
        self.matrix[rows] = vectors


def _queue(pipeline: Any, manifest: Manifest, target: Target, record: Record) -> Queue:
    """Return the images, those of most worth first, with what the pipeline would answer."""
    seen = _Vectors(len(manifest))
    dense: Dense = pipeline.answer(manifest, record, record.share("predicting"), vectors=seen.take)[target.name]
    problems = dict(pipeline.problems)
    unsure, sure = uncertainty(dense.p, target.kind), confidence(dense.p, target.kind)
    several = target.kind == "multi"
    suggested: list[tuple[str, ...] | None] = [None] * len(manifest)
    for row in np.flatnonzero(~np.isnan(unsure)).tolist():
        on = np.flatnonzero(dense.p[row] > 0.5).tolist() if several else [int(dense.p[row].argmax())]
        suggested[row] = tuple(target.classes[k] for k in on)
    found = _plain(manifest, target)
    notes = [problems.get(row, "") for row in range(len(manifest))]
    kinds: list[tuple[str, ...]] = [("unreadable",) if row in problems else () for row in range(len(manifest))]
    if len(manifest) > len(problems) and np.isnan(seen.matrix).all():
        record("the network has no vector of a single image: those of which it is least sure come first, also where they show the same")
    order = worth_labelling(unsure, seen.matrix)
    return Queue(manifest, target, order, kinds, notes, found.given, suggested, found.twins, found.around, sure)


def _plain(manifest: Manifest, target: Target) -> Queue:
    """Return the images in their own order, of which nothing is known."""
    count = len(manifest)
    unknown: list[tuple[str, ...] | None] = [None] * count
    return Queue(manifest, target, np.arange(count), [()] * count, [""] * count, unknown, unknown, {}, {}, np.full(count, np.nan))
