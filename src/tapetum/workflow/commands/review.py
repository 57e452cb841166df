"""`tapetum review`: a page on this machine on which a person decides what the audit found; what comes out is what training reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import audited, places, table_files
from tapetum.core.choices import name_of
from tapetum.core.config import Loaded, Recipe
from tapetum.core.own_files import refuse_own
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.data import audit, layouts
from tapetum.data.images.decode import Composition
from tapetum.decide.labelling import confidence
from tapetum.show.review import queue
from tapetum.show.review.review import Review, fingerprint
from tapetum.show.review.store import Store
from tapetum.show.run_files import read_run
from tapetum.workflow.commands.review_page import Reviewing, needs_extra, pages_of, refuse_places, serve, target_of, written

STORE, OUT = "review.sqlite", "decisions.csv"


def review_source(
    source: Any, loaded: Loaded, record: Record, how: Reviewing, ready: Callable[[str], object] | None = None
) -> dict[str, Any]:
    """Serve the page until it is stopped, then write the decisions.

    Args:
        source: data as for ``fit``, or a run's folder.
        loaded: the recipe, for how images are composed; a run brings its own.
        record: receives messages.
        how: what is reviewed and where it is kept.
        ready: called with the address when the page can be opened.

    Returns:
        ``{"out", "decisions", "rows", "decided", "kept", "excluded", "relabelled", "contested", "kappa", "twice"}``.

    Raises:
        EnvironmentFault: the extra ``review`` is not installed.
        UserError: no such target.
        DataError: the decisions are of other data.
    """
    if how.is_served:
        needs_extra()
    run = Run.at(source)
    if run is not None:
        run.checked()
    recipe = loaded.recipe if run is None else run.recipe()
    manifest = layouts.read(source, recipe.data, record, labelled=False) if run is None else run.manifest(how.data)
    if run is not None and len(gone := places.absent(manifest)) == len(manifest):
        raise places.moved(manifest, gone, "give the place where the data are now: --data DIR")
    store_file = how.decisions or (Path(STORE) if run is None else run.file(STORE))
    place = how.out or store_file.with_name(OUT)
    table_files.ending(place)
    refuse_places(store_file, place)
    refuse_own(place, source, how.audited)
    about = target_of(manifest, how.target)
    table = _audit(run, manifest, recipe, how.audited, record)
    found = queue.build(manifest, table, about, None if run is None else _answers(run, manifest, about))
    review = Review(found, Store(store_file, fingerprint(manifest)))
    if how.is_served:
        title = Path(source).resolve().name if isinstance(source, (str, Path)) else "images"
        pages = pages_of(review, recipe.input, lambda: table_files.as_csv(review.table(table), for_people=True), title)
        serve(pages, plural(len(manifest), "image"), how.port, record, ready)
    return written(review, review.table(table), place, store_file)


def _audit(run: Run | None, manifest: Manifest, recipe: Recipe, given: Path | None, record: Record) -> pl.DataFrame:
    """Return the audit that is reviewed, with every column and every row: the given one, that of the run, or one made now."""
    if given is not None:
        return _whole(audit.read_decisions(given, manifest, record), manifest)
    table = None if run is None else audited.found(run, manifest)
    if table is not None and set(audit.AUDIT_SCHEMA) <= set(table.columns):
        return _whole(table, manifest)
    turned = any(name_of(spec) == "dihedral" for spec in recipe.augment)
    return audit.examine(manifest, Composition.from_input(recipe.input), record, dihedral=turned)


def _whole(table: pl.DataFrame, manifest: Manifest) -> pl.DataFrame:
    """Return an audit with a row for each that it lacks, so that what is decided of it is written too."""
    there = set(table["row_id"].to_list())
    lacking = [row_id for row_id in manifest.row_ids if row_id not in there]
    added = pl.DataFrame({"row_id": pl.Series(lacking, dtype=pl.String), "decision": pl.Series(["keep"] * len(lacking), dtype=pl.String)})
    return pl.concat([table, added], how="diagonal")


def _answers(run: Run, manifest: Manifest, target: Target | None) -> queue.Answers | None:
    """Return how sure the run's out-of-fold predictions are, and how far its members' are apart."""
    if target is None or not run.file("oof.parquet").exists():
        return None
    found = read_run(run.root)
    if found.final is None or target.name not in {t.name for t in found.targets}:
        return None
    dense = found.final.dense(target.name)
    sure = np.full(len(manifest), np.nan)
    place = {row_id: row for row, row_id in enumerate(manifest.row_ids)}
    for row_id, p in zip(dense.row_ids, confidence(dense.p, target.kind).tolist(), strict=True):
        if row_id in place:
            sure[place[row_id]] = p
    members = [
        [d for fold in folds if (d := found.of_member(name, fold, target.name)) is not None] for name, folds in found.members.items()
    ]
    return queue.Answers(sure, queue.disagreement([parts for parts in members if parts], manifest.row_ids))
