"""What reviewing and labelling have in common: their options, the page that is served, and what is written when it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import disk, extras, table_files
from tapetum.core.config import Input
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.show.review.review import Review


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


def refuse_places(store_file: Path, *written_: Path) -> None:
    """Refuse to write a table over the file in which decisions are kept, or where nothing can be written, before anybody decides.

    Raises:
        UserError: they are one file, or the table's name is that of a folder.
        EnvironmentFault: a table cannot be written there.
    """
    for place in written_:
        disk.refuse_unwritable(place)
        if place.resolve() == store_file.resolve():
            raise UserError(
                f"{place} is both the file of decisions and a table that is written at the end",
                need="two files",
                fix="name another file of decisions: --decisions review.sqlite",
            )


def pages_of(review: Review, composed: Input, export: Callable[[], str], title: str) -> Any:
    """Return the application that shows a review."""
    from tapetum.show.review import app, pictures

    return app.build(review, pictures.Pictures(review.queue.manifest, composed), export, title)


def serve(pages: Any, what: str, port: int, record: Record, ready: Callable[[str], object] | None) -> None:
    """Serve a page until it is stopped; its address and what is reviewed, as ``5 images``, are told when it can be opened."""
    from tapetum.show.local import serve_here

    def opened(taken: int) -> None:
        address = f"http://127.0.0.1:{taken}/"
        record(f"review of {what} at {address}")
        if ready is not None:
            ready(address)

    serve_here(pages, port, opened)


def written(review: Review, table: pl.DataFrame, out: Path, store_file: Path, *, for_people: bool = True) -> dict[str, Any]:
    """Write a table of what was decided, and return what to say of it; ``for_people``: see :func:`tapetum.core.table_files.write_table`."""
    table_files.write_table(out, table, for_people=for_people)
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
    extras.need("review", "the review page", "starlette", "uvicorn")


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
