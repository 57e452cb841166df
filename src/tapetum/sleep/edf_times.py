"""When each record of a file was made: its own times (EDF+), gaps between records, and files whose times cannot be."""

from __future__ import annotations

import dataclasses
import datetime
import math
from pathlib import Path

import numpy as np

from tapetum.core.errors import DataError
from tapetum.core.words import plural
from tapetum.sleep.edf_header import Header
from tapetum.sleep.issues import ALL, NOTE, Issues, epochs_of

LONGEST = 7 * 24 * 3600.0  # seconds; a time axis longer than a week is an error in the file
JITTER = 0.05  # from one record to the next, times may be off by so many record durations before that counts as a gap
MOST_GAPS = 20  # that get a row each


def time_axis(path: Path, header: Header, times: np.ndarray, issues: Issues) -> tuple[Header, np.ndarray, float]:
    """Return the header with a duration, when each record begins (records,), in seconds from the first, and what the first one says."""
    known = ~np.isnan(times)
    if all(one.is_annotations or not one.samples for one in header.signals):  # a file of annotations alone, whose records need no duration
        seconds = header.duration or 1.0
        return dataclasses.replace(header, duration=seconds), np.arange(len(times)) * seconds, 0.0
    if header.duration is None:
        steps = np.diff(times[known]) / np.diff(np.flatnonzero(known)) if known.sum() > 1 else np.zeros(0)
        if not len(steps) or float(np.median(steps)) <= 0:
            raise DataError(
                f"{path.name}: the duration of a record is no number above 0, and no annotations tell it",
                need="the seconds of a record, so that rates are known",
                fix="export the recording again",
            )
        header = dataclasses.replace(header, duration=round(float(np.median(steps)), 6))
        issues.add("the duration of a record is no number above 0", f"{header.duration:g} s, by the times in the records", epochs=ALL)
    duration = header.duration or 0.0
    even = np.arange(len(times)) * duration
    if not known.any():
        _check_length(path, len(times) * duration)
        if header.form and any(one.is_annotations for one in header.signals):
            issues.add("no record says its time", "records follow each other without gaps", epochs=ALL)
        return header, even, 0.0
    first = int(np.argmax(known))
    start = float(times[first] - even[first])  # a fraction of a second, or more in a cut-out part
    if abs(start) >= 1:
        issues.add(f"the first record is at {start:g} s, not at the start", "times count from the first record", kind=NOTE)
    offsets = times - start - even
    lost = ~known
    if lost.any() and header.form:
        where = np.flatnonzero(lost)
        issues.add(
            f"{plural(len(where), 'record does', 'records do')} not say their time",
            "each follows the one before",
            epochs=epochs_of(even[where[0]], even[where[-1]] + duration),
        )
    offsets = offsets[np.maximum.accumulate(np.where(known, np.arange(len(times)), 0))] if lost.any() else offsets
    offsets = np.where(np.isnan(offsets), 0.0, offsets)
    jumps = np.flatnonzero(np.abs(np.diff(offsets)) > JITTER * duration)
    if not len(jumps):
        _check_length(path, even[-1] + duration)
        if abs(offsets[-1]) > 1:
            issues.add(f"the times of the records drift by {offsets[-1]:+.1f} s", "records follow each other", kind=NOTE, epochs=ALL)
        return header, even, start
    onsets = even + offsets
    back = jumps[np.diff(offsets)[jumps] < 0]
    if len(back):
        at = int(back[0])
        raise DataError(
            f"{path.name}: record {at + 2} begins at {onsets[at + 1]:g} s, before record {at + 1} ends ({onsets[at] + duration:g} s)",
            need="records in the order of time that do not overlap",
            fix="export the recording again",
        )
    _check_length(path, onsets[-1] + duration)
    _say_gaps(header, onsets, jumps, issues)
    return header, onsets, start


def _say_gaps(header: Header, onsets: np.ndarray, jumps: np.ndarray, issues: Issues) -> None:
    """Write an issue for each gap; where there are very many, one for all."""
    duration = header.duration or 0.0
    marked = (
        "the file is discontinuous (EDF+D)" if header.form == "D" else "the header says that records are continuous, their times do not"
    )
    assumed = "its epochs have no signal; times are true"
    lost = [(float(onsets[at] + duration), float(onsets[at + 1])) for at in jumps.tolist()]
    if len(lost) > MOST_GAPS:
        total = sum(end - begin for begin, end in lost)
        issues.add(f"{marked}: {plural(len(lost), 'gap')} of {total:g} s together", assumed, epochs=epochs_of(lost[0][0], lost[-1][1]))
        return
    for begin, end in lost:
        issues.add(f"{marked}: a gap of {end - begin:g} s from {begin:g} s", assumed, epochs=epochs_of(begin, end))


def _check_length(path: Path, seconds: float) -> None:
    if not 0 < seconds <= LONGEST:
        raise DataError(
            f"{path.name} would last {seconds / 3600:,.1f} hours by its header",
            need="at most a week",
            fix="correct the duration of a record",
        )


def later(clock: datetime.time | None, seconds: float) -> datetime.time | None:
    """Return a time of day some whole seconds later."""
    if clock is None:
        return None
    return (datetime.datetime.combine(datetime.date(2000, 1, 1), clock) + datetime.timedelta(seconds=math.floor(seconds))).time()


def segments(onsets: np.ndarray, duration: float) -> tuple[tuple[float, float], ...]:
    """Return (start, end) of each part without a gap, in seconds."""
    breaks = np.flatnonzero(np.diff(onsets) > (1 + JITTER) * duration) + 1
    starts, ends = np.concatenate([[0], breaks]), np.concatenate([breaks - 1, [len(onsets) - 1]])
    return tuple((float(onsets[a]), float(onsets[b]) + duration) for a, b in zip(starts, ends, strict=True))
