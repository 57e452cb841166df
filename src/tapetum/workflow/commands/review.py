"""`tapetum review`: a page on this machine on which a person decides what the audit found; what comes out is what training reads."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files, places, table_files
from tapetum.core.choices import name_of
from tapetum.core.config import Input, Loaded, Recipe
from tapetum.core.errors import EnvironmentFault, UserError, listed, nearest
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data import audit, layouts
from tapetum.data.images.decode import Composition
from tapetum.show.review import queue
from tapetum.show.review.review import Review, fingerprint
from tapetum.show.review.store import Store
from tapetum.show.run_files import read_run

STORE, OUT = "review.sqlite", "decisions.csv"


@dataclasses.dataclass(frozen=True)
class Reviewing:
    """What is reviewed and where it is kept.

    Args:
        audited: an audit of the data; None: that of the run, else one is made now.
        decisions: the SQLite file in which decisions are kept; None: ``review.sqlite`` in the run, else here.
        out: the table of decisions, ``.csv`` or ``.parquet``; None: ``decisions.csv`` beside the SQLite file.
        target: whose labels are decided; None: the first scored one that has classes.
        data: of a run: where its data are now, if they moved.
        port: to listen at on the loopback address; 0 takes a free one.
        is_served: False only writes the table of what was decided before.
        unlabelled: a folder or table of images without labels, which are labelled instead.
    """

    audited: Path | None = None
    decisions: Path | None = None
    out: Path | None = None
    target: str | None = None
    data: Path | None = None
    port: int = 0
    is_served: bool = True
    unlabelled: Path | None = None


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
    run = Run(Path(source)) if isinstance(source, (str, Path)) and (Path(source) / "recipe.toml").exists() else None
    recipe = loaded.recipe if run is None else run.recipe()
    manifest = layouts.read(source, recipe.data, record) if run is None else run.manifest(how.data)
    if run is not None and len(gone := places.absent(manifest)) == len(manifest):
        raise places.moved(manifest, gone, "give the place where the data are now: --data DIR")
    store_file = how.decisions or (Path(STORE) if run is None else run.file(STORE))
    place = how.out or store_file.with_name(OUT)
    table_files.ending(place)
    files.refuse_own(place, source, how.audited)
    about = target_of(manifest, how.target)
    table = _audit(run, manifest, recipe, how.audited, record)
    found = queue.build(manifest, table, about, None if run is None else _answers(run, manifest, about))
    review = Review(found, Store(store_file, fingerprint(manifest)))
    if how.is_served:
        title = Path(source).resolve().name if isinstance(source, (str, Path)) else "images"
        pages = pages_of(review, recipe.input, lambda: table_files.as_csv(review.table(table)), title)
        serve(pages, len(manifest), how.port, record, ready)
    return written(review, review.table(table), place, store_file)


def pages_of(review: Review, composed: Input, export: Callable[[], str], title: str) -> Any:
    """Return the application that shows a review."""
    from tapetum.show.review import app, pictures

    return app.build(review, pictures.Pictures(review.queue.manifest, composed), export, title)


def serve(pages: Any, rows: int, port: int, record: Record, ready: Callable[[str], object] | None) -> None:
    """Serve it until it is stopped; the address is told when it can be opened."""
    from tapetum.show.local import serve_here

    def opened(taken: int) -> None:
        address = f"http://127.0.0.1:{taken}/"
        record(f"review of {rows:,} images at {address}")
        if ready is not None:
            ready(address)

    serve_here(pages, port, opened)


def written(review: Review, table: pl.DataFrame, out: Path, store_file: Path) -> dict[str, Any]:
    """Write a table of what was decided, and return what to say of it."""
    table_files.write_table(out, table)
    decided = [one.action for one in review.holding().values()]
    agreement = review.agreement()
    found = {
        "out": str(out),
        "decisions": str(store_file),
        "rows": len(review.queue.manifest),
        "decided": len(decided),
        "kept": decided.count("keep"),
        "excluded": decided.count("exclude"),
        "relabelled": decided.count("relabel"),
        "contested": [last.row_id for _, last in review.store.contested()],
        "kappa": agreement["kappa"],
        "twice": agreement["images"],
    }
    review.store.close()
    return found


def needs_extra() -> None:
    """Refuse to go on without what the page needs."""
    if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise EnvironmentFault("the review page needs starlette and uvicorn, which are not installed", fix="pip install 'tapetum[review]'")


def target_of(manifest: Manifest, name: str | None) -> Target | None:
    """Return the target whose labels are decided, by its name or the first that has classes; None where none has."""
    known = [t for t in manifest.targets if t.kind != "regression" and t.expression is None and not t.is_identity]
    if name is None:
        return known[0] if known else None
    found = next((t for t in known if t.name == name), None)
    if found is None:
        names = [t.name for t in known]
        raise UserError(f"the data have no target {name!r} with classes (they have: {listed(names)}).{nearest(name, names)}")
    return found


def _audit(run: Run | None, manifest: Manifest, recipe: Recipe, given: Path | None, record: Record) -> pl.DataFrame:
    """Return the audit that is reviewed, with every column: the given one, that of the run, or one made now."""
    if given is not None:
        return audit.read_decisions(given, manifest, record)
    if run is not None and run.file("audit.parquet").exists():
        table, _ = files.read_parquet(run.file("audit.parquet"))
        if set(audit.AUDIT_SCHEMA) <= set(table.columns):
            return table
    turned = any(name_of(spec) == "dihedral" for spec in recipe.augment)
    return audit.examine(manifest, Composition.from_input(recipe.input), record, dihedral=turned)


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
    for row_id, p in zip(dense.row_ids, dense.p, strict=True):
        if row_id in place and not np.isnan(p).any():
            sure[place[row_id]] = p.max() if target.kind != "multi" else np.maximum(p, 1 - p).min()
    members = [
        [d for fold in folds if (d := found.of_member(name, fold, target.name)) is not None] for name, folds in found.members.items()
    ]
    return queue.Answers(sure, queue.disagreement([parts for parts in members if parts], manifest.row_ids))
