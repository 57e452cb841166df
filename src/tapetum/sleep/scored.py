"""A laboratory's own scoring: which hypnogram belongs to which recording, and which night to which subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tapetum.core.delimited import read_delimited
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.sleep.edf import Recording
from tapetum.sleep.engines import fitted
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.hypnogram_files import AFTER, beside, of_annotations, read_hypnogram
from tapetum.sleep.issues import Issues
from tapetum.sleep.nights import hypnograms, night_of

_MARKS = ("hypnogram", "_stages", "_events")


def is_hypnogram(path: Path) -> bool:
    """Return whether an EDF file's name says that it holds a hypnogram alone."""
    return any(mark in path.stem.lower() for mark in _MARKS)


def truth_of(recording: Recording, scheme: str, issues: Issues) -> Hypnogram:
    """Return the laboratory's scoring of a recording: a file of the same stem beside it, else its own annotations.

    Raises:
        DataError: neither, or a hypnogram of another length.
    """
    path = beside(recording.path, recording.path.parent)
    if path is None:
        return of_annotations(recording, scheme=scheme, issues=issues)
    return fitted(read_hypnogram(path, scheme=scheme, issues=issues), recording, path.name, issues)


def subjects(table: Path | str | None) -> Callable[[Path], str]:
    """Return a function that tells the subject of a recording.

    Args:
        table: CSV with the columns ``night`` (the file's name, or its stem) and ``subject``; None: each night its own.

    Raises:
        DataError: other columns; the function raises it for a night that is not in the table.
    """
    if table is None:
        return lambda path: str(path.resolve())
    frame, _ = read_delimited(Path(table))
    if not {"night", "subject"} <= set(frame.columns):
        raise DataError(f"{table} has the columns {', '.join(frame.columns)}", need="night and subject", fix="name the columns so")
    known = {str(night): subject for night, subject in frame.select("night", "subject").iter_rows()}

    def subject_of(path: Path) -> str:
        found = known.get(path.name) or known.get(path.stem)
        if not found:
            raise DataError(f"{table} does not name the subject of {path.name}", need="a row for each night", fix="add it")
        return str(found)

    return subject_of


def reader(epoch: float, scheme: str, log: Log) -> Callable[[Path], Hypnogram]:
    """Return a function that reads a hypnogram and logs what was assumed."""

    def read(path: Path) -> Hypnogram:
        issues = Issues(path.name)
        night = read_hypnogram(path, epoch=epoch, scheme=scheme, issues=issues)
        for one in issues:
            log(f"{one.file}: {one.what}: {one.assumed}")
        return night

    return read


def pairs(places: Sequence[Path], read: Callable[[Path], Hypnogram]) -> list[tuple[Hypnogram, Hypnogram]]:
    """Return the pairs of hypnograms of two files, or of two folders whose files (of staged nights: folders) have the same names.

    Raises:
        UserError: not two places, or a file in one folder alone.
    """
    if len(places) != 2:
        raise UserError(
            f"{plural(len(places), 'place is', 'places are')} given", need="one hypnogram, or two (files or folders) to compare"
        )
    if not any(place.is_dir() for place in places):
        return [(read(places[0]), read(places[1]))]
    a, b = ({_name(path): path for path in hypnograms(place)} for place in places)
    alone = sorted(set(a) ^ set(b))
    if alone:
        raise UserError(f"nights are in one place alone: {listed(alone)}", need="the same names in both")
    return [(read(a[stem]), read(b[stem])) for stem in sorted(a)]


def _name(path: Path) -> str:
    """Return the night of a hypnogram: the folder's name where it was staged, else the file's without ``-hypnogram``, ``_stages`` …"""
    place = night_of(path)
    if place != path:
        return place.name
    return next((name for after in AFTER if after and (name := path.stem.removesuffix(after)) != path.stem), path.stem)
