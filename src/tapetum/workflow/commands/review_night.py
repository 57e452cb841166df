"""`tapetum sleep review`: the review page on the epochs of a night; what comes out is the corrected hypnogram and a log of the changes."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from tapetum.core import extras, files, table_files
from tapetum.core.errors import DataError
from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.show.review import queue
from tapetum.show.review.review import Review
from tapetum.show.review.store import Store
from tapetum.sleep import engines, exports, render, review, scored
from tapetum.sleep.drawing import GROUPS, HEIGHT, REDUCED
from tapetum.sleep.edf import Recording, read_edf
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.issues import Issue
from tapetum.sleep.stage import bad_epochs, shown_signal
from tapetum.sleep.stages import STAGES, UNSCORED
from tapetum.sleep.statistics import statistics
from tapetum.workflow.commands.review_page import needs_extra, refuse_places, serve

KEYS = {"Wake": "w", "N1": "1", "N2": "2", "N3": "3", "REM": "r"}
NAMES = {"keep": "confirm", "exclude": "unscored"}
LARGE, SMALL = 1920, 480  # pixels: of the epoch, and of its neighbours
KEPT = 200  # images in memory, some 200 KB each
AROUND = 2  # neighbours shown on either side
QUALITY = 85


@dataclasses.dataclass(frozen=True)
class Reviewing:
    """What is reviewed and where it is kept.

    Args:
        stages: hypnograms (files, or folders that hold that of the recording); the first is reviewed, others are further scorers.
            Empty: that beside the recording, or its annotations.
        table: names of channels.
        scheme: what numbers of stages mean.
        decisions: the SQLite file; None: beside the corrected hypnogram.
        port: to listen at; 0 takes a free one.
        is_served: False only writes what was decided before.
    """

    stages: Sequence[Path]
    table: Mapping[str, str]
    scheme: str = "auto"
    decisions: Path | None = None
    port: int = 0
    is_served: bool = True


class Epochs:
    """JPEGs of a night's epochs by their number, from 0, drawn when they are asked for; rows of channels that it lacks are left out.

    Args:
        prepared: the recording, ready to be drawn.
    """

    def __init__(self, prepared: render.Prepared) -> None:
        self._prepared = prepared
        there = {band["name"] for band in prepared.bands if band["source"] is not None}
        self._rows = [group.rows for group in GROUPS if there & set(group.channels)]
        self.jpeg = functools.lru_cache(maxsize=KEPT)(self._jpeg)

    def channels(self, row: int) -> int:
        """Return 1: the bands of an epoch are one image."""
        return 1

    def _jpeg(self, row: int, channel: int | None = None, small: bool = False) -> bytes:
        width, texts = (SMALL, render.NO_TEXTS) if small else (LARGE, render.NAMES)
        ((_, image),) = render.epochs(self._prepared, width, numbers=[row], texts=texts)
        scale = len(image) / (HEIGHT // REDUCED)
        kept = np.concatenate([image[round(first * scale) : round(last * scale)] for first, last in self._rows])
        out = io.BytesIO()
        Image.fromarray(kept).save(out, "JPEG", quality=QUALITY)
        return out.getvalue()


def review_night(
    path: Path, out: Path, how: Reviewing, record: Record, ready: Callable[[str], object] | None = None
) -> tuple[dict[str, Any], list[Issue]]:
    """Serve the page until it is stopped, then write the corrected hypnogram and the log of its changes.

    Args:
        path: an EDF or BDF file.
        out: the corrected hypnogram, ``.csv``, ``.tsv``, ``.json`` or ``.edf``.
        how: what is reviewed and where it is kept.
        record: receives messages.
        ready: called with the address when the page can be opened.

    Returns:
        ``{"out", "changes", "decisions", "epochs", "listed", "decided", "confirmed", "changed", "unscored", "before", "after"}``, where
        the last two are statistics; and what was assumed of the files.

    Raises:
        EnvironmentFault: the extra ``review`` is not installed.
        DataError: no hypnogram, or decisions on another night.
    """
    if how.is_served:
        needs_extra()
    if out.suffix.lower() == ".edf":  # known before anybody has decided anything
        extras.need("sleep", "writing EDF", "edfio")
    recording = read_edf(path)
    night, *others = _hypnograms(recording, how)
    found = review.reasons(night, bad_epochs(shown_signal(recording, how.table), len(night)), others=others)
    made = _queue(recording, night, others, found)
    store_file = how.decisions or out.with_name(f"{out.stem}-review.sqlite")
    refuse_places(store_file, out, _changes_of(out))
    own = files.fingerprint([path.stat().st_size, len(night), night.stages.tolist()])
    opened = Review(made, Store(store_file, own))
    try:
        if how.is_served:
            prepared = render.prepare(recording, how.table, recording.issues)
            _serve(opened, prepared, night, how.port, record, ready)
        values = _written(opened, night, out)
    finally:
        opened.store.close()
    listed = sum(bool(some) for some in found)
    return {**values, "decisions": str(store_file), "epochs": len(night), "listed": listed}, list(recording.issues)


def _hypnograms(recording: Recording, how: Reviewing) -> list[Hypnogram]:
    """Return the hypnogram that is reviewed, then those of further scorers."""
    if not how.stages:
        try:
            return [scored.truth_of(recording, how.scheme, recording.issues)]
        except DataError as error:
            raise DataError(
                error.what,
                need=error.need,
                fix=f"stage it first: tapetum sleep stage {recording.path} -o staged; then --stages staged",
            ) from None
    return [engines.of_files(place, scheme=how.scheme)(recording, how.table, recording.issues) for place in how.stages]


def _queue(recording: Recording, night: Hypnogram, others: Sequence[Hypnogram], found: review.Reasons) -> queue.Queue:
    """Return the epochs as rows of the review page."""
    count, labels = len(night), night.labels()
    given = [label if label in STAGES else None for label in labels]
    ids = [f"epoch {number + 1}" for number in range(count)]
    frame = pl.DataFrame({"row_id": ids, "path": [[recording.path.name]] * count, "stage": pl.Series(given, dtype=pl.String)})
    manifest = Manifest(frame, (Target("stage", "single", STAGES),), recording.path.parent)
    p = np.full((count, len(STAGES)), np.nan) if night.p is None else night.p
    known = np.flatnonzero(~np.isnan(p).any(axis=1)).tolist()
    sure = np.full(count, np.nan)
    sure[known] = p[known].max(axis=1)
    return queue.Queue(
        manifest,
        manifest.targets[0],
        review.in_order(night, found, others),
        [tuple(kind for kind, _ in some) for some in found],
        [_note(number, night, some) for number, some in enumerate(found)],
        [None if label is None else (label,) for label in given],
        [_suggested(number, night, others) for number in range(count)],
        {},
        {n: (*range(max(n - AROUND, 0), n), *range(n + 1, min(n + 1 + AROUND, count))) for n in range(count)},
        sure,
        {n: tuple(zip(STAGES, p[n].tolist(), strict=True)) for n in known},
    )


def _note(number: int, night: Hypnogram, found: Sequence[tuple[str, str]]) -> str:
    """Return when an epoch begins and what was found, in words."""
    seconds = round(number * night.epoch)
    texts = [f"begins at {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}", *(words for _, words in found if words)]
    return "; ".join(texts)


def _suggested(number: int, night: Hypnogram, others: Sequence[Hypnogram]) -> tuple[str, ...] | None:
    """Return the most probable stage, or that of the next scorer, where it is not the epoch's own."""
    stage = int(night.stages[number])
    found = [] if night.p is None or np.isnan(night.p[number]).any() else [int(night.p[number].argmax())]
    found += [int(other.stages[number]) for other in others]
    return next(((STAGES[one],) for one in found if one not in (UNSCORED, stage)), None)


def _serve(
    opened: Review, prepared: render.Prepared, night: Hypnogram, port: int, record: Record, ready: Callable[[str], object] | None
) -> None:
    from tapetum.show.review import app

    def changes() -> str:
        return table_files.as_csv(review.corrected(night, _decisions(opened))[1], for_people=True)

    title = opened.queue.manifest.frame["path"][0][0]
    pages = app.build(opened, Epochs(prepared), changes, title, app.Look(KEYS, NAMES, is_wide=True))
    serve(pages, plural(len(night), "epoch"), port, record, ready)


def _decisions(opened: Review) -> list[review.Decision]:
    stages = {"keep": lambda labels: None, "exclude": lambda labels: UNSCORED, "relabel": lambda labels: STAGES.index(labels[0])}
    return [
        review.Decision(opened.place[one.row_id], stages[one.action](one.labels), one.at, one.reviewer) for one in opened.store.standing()
    ]


def _changes_of(out: Path) -> Path:
    return out.with_name(f"{out.stem}-changes.csv")


def _written(opened: Review, night: Hypnogram, out: Path) -> dict[str, Any]:
    """Write the corrected hypnogram and the log; return what the decisions came to."""
    new, log = review.corrected(night, _decisions(opened))
    exports.export(new, out)
    changes = table_files.write_table(_changes_of(out), log, for_people=True)
    decided = [opened.place[row_id] for row_id in opened.holding()]
    changed = [n for n in decided if new.stages[n] != night.stages[n]]
    unscored = [n for n in changed if new.stages[n] == UNSCORED]
    return {
        "out": str(out),
        "changes": str(changes),
        "decided": len(decided),
        "confirmed": len(decided) - len(changed),
        "changed": len(changed) - len(unscored),
        "unscored": len(unscored),
        "before": statistics(night),
        "after": statistics(new),
    }
