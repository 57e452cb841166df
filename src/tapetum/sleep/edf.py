"""Read a recording: its channels on a true time axis, its annotations, and the issue table of what was wrong with the file.

Samples are read from the file when they are asked for, one channel at a time. Decision 040 says why the reader is our own.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from pathlib import Path

import numpy as np

from tapetum.core.errors import DataError
from tapetum.core.places import refuse_nowhere
from tapetum.core.words import plural
from tapetum.sleep.edf_header import FASTEST, Header, SignalHeader, read_header
from tapetum.sleep.edf_times import later, segments, time_axis
from tapetum.sleep.issues import ALL, EPOCH, NOTE, Issues, epochs_of
from tapetum.sleep.tal import Annotation, read_lists, record_time


@dataclasses.dataclass(frozen=True)
class Channel:
    """One signal of a recording.

    Args:
        name: its label, made unique.
        unit: of its values; blank where it is not known.
        rate: samples a second.
    """

    name: str
    unit: str
    rate: float
    _signal: SignalHeader = dataclasses.field(repr=False)
    _place: int = dataclasses.field(repr=False)  # its first sample in a record


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that was read.

    Args:
        path: its file.
        clock: time of day at its start; None where the file does not say it.
        duration: seconds from its start to its end, gaps included.
        channels: by name, in the order of the file; those without samples are left out.
        annotations: in the order of time.
        issues: what was wrong.
        segments: (start, end) in seconds; more than one where there are gaps.
    """

    path: Path
    clock: datetime.time | None
    duration: float
    channels: dict[str, Channel]
    annotations: tuple[Annotation, ...]
    issues: Issues
    segments: tuple[tuple[float, float], ...]
    _header: Header = dataclasses.field(repr=False)
    _onsets: np.ndarray = dataclasses.field(repr=False)  # (records,) seconds

    @property
    def epochs(self) -> int:
        """Whole epochs of 30 s."""
        return int(self.duration // EPOCH + 1e-9)

    def limits(self, name: str) -> tuple[float, float]:
        """Return the least and largest value that the recorder could write of a channel, half a step inside."""
        signal = self.channels[name]._signal
        step = abs(signal.gain or 0.0)
        return signal.limits[0] + step / 2, signal.limits[1] - step / 2

    def samples(self, name: str) -> np.ndarray:
        """Return a channel's values (duration · rate,) float32 in its unit; NaN in gaps."""
        channel = self.channels[name]
        signal, place, width = channel._signal, channel._place, self._header.sample_bytes
        raw = _records(self.path, self._header, len(self._onsets))[:, width * place : width * (place + signal.samples)]
        values = _numbers(np.ascontiguousarray(raw), width).astype(np.float32)
        if signal.gain is not None:
            values = values * np.float32(signal.gain) + np.float32(signal.offset)
        values = values.reshape(len(self._onsets), signal.samples)
        if len(self.segments) == 1:
            return values.reshape(-1)
        out = np.full(round(self.duration * channel.rate), np.nan, dtype=np.float32)
        for onset, part in zip(self._onsets, values, strict=True):
            start = round(onset * channel.rate)
            out[start : start + signal.samples] = part[: max(0, len(out) - start)]
        return out


def read_edf(path: Path | str) -> Recording:
    """Read an EDF, EDF+, BDF or BDF+ file.

    Args:
        path: the file.

    Returns:
        The recording; ``issues`` names everything in the file that is not as the standard says.

    Raises:
        DataError: a file that is none of these, or one whose content cannot be told; the message names the field.
    """
    path = Path(path)
    refuse_nowhere(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder", need="an EDF or BDF file")
    issues = Issues(path.name)
    header = read_header(path, issues)
    count = _count_records(path, header, issues)
    found = _read_annotations(path, header, count, issues)
    header, onsets, shift = time_axis(path, header, found.times, issues)
    duration = float(header.duration or 0.0)
    parts = segments(onsets, duration)
    channels = _channels(path, header, duration, issues)
    end = parts[-1][1]
    moved = [dataclasses.replace(one, onset=one.onset - shift) for one in found.annotations]
    _check_annotations(moved, end, issues)
    ordered = tuple(sorted(moved, key=lambda one: one.onset))
    return Recording(path, later(header.clock, shift), end, channels, ordered, issues, parts, header, onsets)


@dataclasses.dataclass(frozen=True)
class _Annotations:
    times: np.ndarray  # (records,) seconds, NaN where a record does not say it
    annotations: list[Annotation]


def _records(path: Path, header: Header, count: int) -> np.ndarray:
    """Return the file's records (count, record bytes) uint8, not yet read."""
    shape = (count, header.record_bytes)
    return np.memmap(path, dtype=np.uint8, mode="r", offset=header.start, shape=shape)


def _numbers(raw: np.ndarray, width: int) -> np.ndarray:
    """Return little-endian whole numbers of 2 or 3 bytes (records, samples)."""
    if width == 2:
        return raw.view("<i2")
    parts = raw.reshape(len(raw), -1, 3).astype(np.int32)
    return np.asarray(((parts[..., 0] | parts[..., 1] << 8 | parts[..., 2] << 16) ^ 0x800000) - 0x800000)


def _count_records(path: Path, header: Header, issues: Issues) -> int:
    """Return how many whole records are read, and say where that is not what the header states."""
    data = path.stat().st_size - header.start
    fit, left = divmod(max(data, 0), header.record_bytes)
    stated, seconds = header.records, header.duration or math.nan
    from_end = epochs_of(fit * seconds, max(stated or 0, fit + 1) * seconds) if math.isfinite(seconds) else ALL
    if fit == 0:
        what = "it ends in the header" if data <= 0 else f"{data:,} bytes follow the header, a record has {header.record_bytes:,}"
        raise DataError(f"{path.name} holds no whole record: {what}", need="at least one", fix="copy it again from the recorder")
    if stated is None:
        if left:
            issues.add(f"the file ends inside record {fit + 1}", "the part of a record is left out", epochs=from_end)
        return fit
    if stated == 0:
        issues.add("the header states 0 records", f"the file holds {fit}, which are read", epochs=ALL)
        return fit
    if stated > fit:
        inside = f", and ends inside record {fit + 1}" if left else ""
        issues.add(f"the header states {plural(stated, 'record')}, the file holds {fit}{inside}", "whole records are read", epochs=from_end)
        return fit
    if fit > stated and not left and _all_timed(path, header, stated, fit):
        issues.add(
            f"the header states {plural(stated, 'record')}, the file holds {fit}",
            "all are read",
            epochs=epochs_of(stated * seconds, fit * seconds),
        )
        return fit
    if data > stated * header.record_bytes:
        extra = data - stated * header.record_bytes
        issues.add(f"{extra:,} bytes follow the last record", f"they are left out, {plural(stated, 'record is', 'records are')} read")
    return stated


def _all_timed(path: Path, header: Header, start: int, end: int) -> bool:
    """Return whether records beyond those stated begin with a time, as all of EDF+ do; of plain EDF, true."""
    place, timed = 0, next((one for one in header.signals if one.is_annotations), None)
    if not header.form or timed is None:
        return True
    for one in header.signals:
        if one is timed:
            break
        place += one.samples * header.sample_bytes
    raw = _records(path, header, end)
    return all(record_time(raw[i, place : place + timed.samples * header.sample_bytes].tobytes()) is not None for i in range(start, end))


def _read_annotations(path: Path, header: Header, count: int, issues: Issues) -> _Annotations:
    """Return the time of each record, from the first annotation signal, and all annotations."""
    times = np.full(count, np.nan)
    found: list[Annotation] = []
    place, number = 0, 0
    raw = _records(path, header, count)
    for signal in header.signals:
        width = signal.samples * header.sample_bytes
        if signal.is_annotations and width:
            for i in range(count):
                content = raw[i, place : place + width].tobytes()
                if not number:
                    time = record_time(content)
                    times[i] = np.nan if time is None else time
                found += read_lists(content, timed=not number, issues=issues, signal=signal.name)
            number += 1
        place += width
    if number > 1:
        issues.add(f"there are {number} annotation signals", "all are read; the first has the times of the records", kind=NOTE)
    if number and not header.form:
        issues.add("there are annotations, but the header does not say EDF+ or BDF+", "they are read as those of EDF+")
    if header.form and not number:
        issues.add(
            f"the header says EDF+{header.form}, but there is no annotation signal", "records follow each other without gaps", epochs=ALL
        )
        if header.form == "D":
            raise DataError(
                f"{path.name} is discontinuous (EDF+D) and has no annotation signal, so nobody can tell when its records were made",
                need="an 'EDF Annotations' signal with the time of each record",
                fix="export the recording again, as EDF+C or with annotations",
            )
    return _Annotations(times, found)


def _channels(path: Path, header: Header, duration: float, issues: Issues) -> dict[str, Channel]:
    out, place = {}, 0
    for signal in header.signals:
        if signal.samples and not signal.is_annotations:
            rate = signal.samples / duration
            if rate > FASTEST:
                raise DataError(
                    f"{path.name}: {signal.name!r} would have {rate:g} samples a second", need=f"at most {FASTEST:,}", fix="export it again"
                )
            out[signal.name] = Channel(signal.name, signal.unit, rate, signal, place)
        place += signal.samples
    rates = sorted({channel.rate for channel in out.values()})
    if len(rates) > 1:
        shown = ", ".join(f"{rate:g}" for rate in rates)
        issues.add(f"channels have different rates ({shown} samples a second)", "each keeps its own", kind=NOTE)
    return out


def _check_annotations(found: list[Annotation], end: float, issues: Issues) -> None:
    """Note annotations outside the recording; their texts are not quoted."""
    early, late = (sum(test(one) for one in found) for test in (lambda one: one.onset < 0, lambda one: one.onset >= end))
    if early:
        issues.add(
            f"{plural(early, 'annotation begins', 'annotations begin')} before the recording",
            "they are kept; what they say of the time before is left out",
        )
    if late:
        issues.add(
            f"{plural(late, 'annotation begins', 'annotations begin')} after the recording ends",
            "they are kept; no epoch is there",
            kind=NOTE,
        )
