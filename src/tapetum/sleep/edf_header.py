"""The header of an EDF, EDF+, BDF or BDF+ file, brought in order: a repair is a row of the issue table; what cannot be read is refused."""

from __future__ import annotations

import dataclasses
import datetime
import math
from pathlib import Path

from tapetum.core.errors import DataError
from tapetum.core.stand_ins import stand_in
from tapetum.core.words import plural
from tapetum.sleep import edf_fields as fields
from tapetum.sleep.edf_fields import HEAD, number, text, whole
from tapetum.sleep.issues import ALL, NOTE, Issues
from tapetum.sleep.units import plain_unit

ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
FASTEST = 1_000_000  # samples a second beyond which a rate cannot be meant
RANGES = ("physical min", "physical max", "digital min", "digital max")
_BITS = {2: (-32768, 32767), 3: (-8388608, 8388607)}


@dataclasses.dataclass(frozen=True)
class SignalHeader:
    """What a header says of a signal, after repairs.

    Args:
        name: its label, made unique.
        unit: ``uV``, ``mV``, ``%`` …; blank where it is not known.
        gain, offset: physical value = digital · gain + offset; ``gain`` is None where the header does not tell (values stay digital).
        samples: in a record.
        limits: the least and the largest physical value; −∞ and ∞ where they are not known.
        is_annotations: it holds text.
    """

    name: str
    unit: str
    gain: float | None
    offset: float
    samples: int
    is_annotations: bool
    limits: tuple[float, float] = (-math.inf, math.inf)


@dataclasses.dataclass(frozen=True)
class Header:
    """What a header says of the file, after repairs.

    Args:
        clock: time of day at the start, or None.
        records: as the header states them; None where it does not (−1, no number).
        duration: of a record in seconds; None where it does not say it.
        start: byte at which the records begin.
        sample_bytes: 2 (EDF) or 3 (BDF).
        form: blank for EDF and BDF, ``C`` or ``D`` for EDF+ and BDF+ (continuous, discontinuous).
        signals: in the order of the file.
    """

    clock: datetime.time | None
    records: int | None
    duration: float | None
    start: int
    sample_bytes: int
    form: str
    signals: tuple[SignalHeader, ...]

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        return self.sample_bytes * sum(signal.samples for signal in self.signals)


def read_header(path: Path, issues: Issues) -> Header:
    """Read and repair the header of a file.

    Raises:
        DataError: no EDF or BDF file, or one whose layout cannot be told; it says which field is wrong and what would be needed.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
        fixed = fields.fixed_fields(head)
        sample_bytes = _version(path, head, fixed, size, issues)
        count = _count_signals(path, fixed, file.read(min(size, 16 * 1024 * HEAD)), size, issues)
        file.seek(0)
        each = fields.signal_fields(file.read(HEAD * (count + 1)), count)
    fields.check_bytes(fixed, issues)
    records, duration = _records(fixed, issues), _duration(fixed)
    names = _names(each, issues)
    samples = _samples(path, each, names, (size, records, sample_bytes), issues)
    start = _start(fixed, count, size, (records or 0) * sum(samples) * sample_bytes, issues)
    sample_bytes = _sample_bytes(sample_bytes, each, (size - start, records, sum(samples)), issues)
    form = _form(fixed, issues)
    time = fields.clock(fixed, issues)
    if form:
        fields.check_identification(fixed, issues)
    else:
        fields.check_start(fixed, issues)
    signals = [_signal(one, name, many, sample_bytes, issues) for one, name, many in zip(each, names, samples, strict=True)]
    return Header(time, records, duration, start, sample_bytes, form, tuple(signals))


def _version(path: Path, head: bytes, fixed: fields.Fields, size: int, issues: Issues) -> int:
    """Return the bytes of a sample that the version states."""
    if (what := stand_in(head)) is not None:
        raise DataError(f"{path.name} is {what}", need="an EDF or BDF file")
    if size < HEAD:
        raise DataError(
            f"{path.name} has {size} bytes, less than a header", need="an EDF or BDF file", fix="copy it again from the recorder"
        )
    version = fixed["version"]
    if version[:1] == b"\xff" and version[1:].strip(b" \0").upper() == b"BIOSEMI":
        issues.add("samples have 24 bits (BDF)", "read as they are", kind=NOTE)
        return 3
    if version.strip(b" \0") == b"0":
        return 2
    stated, many = whole(fixed["header bytes"]), whole(fixed["signals"])
    if stated is None or many is None or many < 1 or stated != HEAD * (many + 1):
        raise DataError(
            f"{path.name} is no EDF or BDF file: its first bytes are {bytes(version)!r}",
            need="'0' (EDF) or 255 and BIOSEMI (BDF) at the start",
            fix="export the recording again as EDF+",
        )
    issues.add(f"the version is {text(version)!r}", "the file is EDF, as the rest of its header")
    return 2


def _count_signals(path: Path, fixed: fields.Fields, rest: bytes, size: int, issues: Issues) -> int:
    """Return how many signals the header describes: as stated, or as its length says."""
    head = bytes(HEAD) + rest
    stated, length = whole(fixed["signals"]), whole(fixed["header bytes"])
    agree = stated is not None and stated > 0 and length == HEAD * (stated + 1) <= min(size, len(head))
    if stated is not None and (agree or _plausible(head, stated, size)):
        return stated
    by_length = length // HEAD - 1 if length is not None and length % HEAD == 0 else 0
    if _plausible(head, by_length, size):
        issues.add(
            f"the number of signals is {text(fixed['signals'])!r}, which the length of the header does not hold",
            f"there are {by_length}, as it is long",
            epochs=ALL,
        )
        return by_length
    raise DataError(
        f"{path.name}: the header states {text(fixed['signals'])!r} signals and a length of {text(fixed['header bytes'])!r} bytes, and "
        f"describes neither (the file has {size:,} bytes)",
        need="a number of signals from 1 on with 256 bytes of header each",
        fix="export the recording again",
    )


def _plausible(head: bytes, count: int, size: int) -> bool:
    """Return whether the header of so many signals has numbers where numbers belong."""
    if count < 1 or HEAD * (count + 1) > min(size, len(head)):
        return False
    each = fields.signal_fields(head, count)
    sampled = [whole(one["samples"]) is not None for one in each]
    ranges = [number(one[name]) is not None for one in each for name in RANGES]
    return sum(sampled) >= max(count - 1, 1) and 2 * sum(ranges) >= len(ranges)


def _records(fixed: fields.Fields, issues: Issues) -> int | None:
    found = whole(fixed["records"])
    if found is not None and found >= 0:
        return found
    stated = "-1 (not known while recording)" if found == -1 else repr(text(fixed["records"]))
    issues.add(f"the number of records is {stated}", "counted from the size of the file", epochs=ALL)
    return None


def _duration(fixed: fields.Fields) -> float | None:
    found = number(fixed["duration"])
    return found if found is not None and found > 0 else None


def _form(fixed: fields.Fields, issues: Issues) -> str:
    """Return whether records are continuous (C), discontinuous (D), or the file is plain EDF (blank)."""
    reserved = text(fixed["reserved"])
    if reserved[:5].upper() in ("EDF+C", "BDF+C", "EDF+D", "BDF+D"):
        if not reserved.startswith(("EDF+", "BDF+")):
            issues.add(f"the form is {reserved[:5]!r}", f"it is {reserved[:5].upper()}", kind=NOTE)
        return reserved[4].upper()
    if reserved[:4].upper() in ("EDF+", "BDF+"):
        issues.add(f"the form is {reserved!r}, neither EDF+C nor EDF+D", "the times in the records decide")
        return "D"
    return ""


def _names(each: list[dict[str, bytes]], issues: Issues) -> list[str]:
    """Return a name for each signal: its label; numbered where labels are blank or doubled."""
    out: list[str] = []
    for i, one in enumerate(each, start=1):
        label = " ".join(text(one["label"]).split())
        meant = next((known for known in ANNOTATIONS if label.lower() == known.lower() and label != known), None)
        if meant is not None:
            issues.add(f"signal {i} has the label {label!r}", f"it is {meant!r}", signal=meant)
            label = meant
        if label in ("", "-", "--", "?"):
            issues.add(f"signal {i} has the label {label!r}", f"it is called 'signal {i}'", signal=f"signal {i}")
            label = f"signal {i}"
        elif len(text(one["label"])) == 16 and label not in ANNOTATIONS:
            issues.add("the label fills its 16 characters and may be cut off", "taken as it is", signal=label, kind=NOTE)
        number_of, name = 1, label
        while name in out and label not in ANNOTATIONS:
            number_of += 1
            name = f"{label} ({number_of})"
        if name != label:
            issues.add(f"several signals are called {label!r}", f"this one is called {name!r}", signal=name)
        fields.check_bytes(one, issues, name)
        out.append(name)
    return out


def _samples(path: Path, each: list[dict[str, bytes]], names: list[str], size: tuple[int, int | None, int], issues: Issues) -> list[int]:
    """Return how many samples each signal has in a record; one that is not stated is what the others leave of the file."""
    found = [whole(one["samples"]) for one in each]
    found = [None if many is not None and many < 0 else many for many in found]
    lacking = [i for i, many in enumerate(found) if many is None]
    known = sum(many for many in found if many is not None)
    data, records, width = size[0] - HEAD * (len(each) + 1), size[1], size[2]
    if lacking:
        stated = text(each[lacking[0]]["samples"])
        left = data // (width * records) - known if records and data % (width * records) == 0 else 0
        if len(lacking) > 1 or left < 1:
            raise DataError(
                f"{path.name}: signal {names[lacking[0]]!r} has {stated!r} samples in a record", need="a whole number from 0 on",
                fix="export the recording again",
            )  # fmt: skip
        issues.add(
            f"the number of samples in a record is {stated!r}", f"{left}, what is left of a record", signal=names[lacking[0]], epochs=ALL
        )
        found[lacking[0]] = left
    out = [many or 0 for many in found]
    if not sum(out):
        raise DataError(f"{path.name}: no signal has a sample in a record", need="at least one", fix="export the recording again")
    for name, many in zip(names, out, strict=True):
        if not many:
            issues.add("0 samples in a record (0 Hz)", "the signal is left out", signal=name, epochs=ALL)
    return out


def _start(fixed: fields.Fields, count: int, size: int, data: int, issues: Issues) -> int:
    """Return the byte at which the records begin: after the signals' headers, or where the header says, if only that fits the file."""
    usual, stated = HEAD * (count + 1), whole(fixed["header bytes"])
    if stated == usual:
        return usual
    if stated is not None and usual < stated < size and size - stated == data:
        issues.add(
            f"the header is {stated} bytes long, more than its {plural(count, 'signal needs', 'signals need')}",
            f"records begin at byte {stated}",
            epochs=ALL,
        )
        return stated
    issues.add(
        f"the length of the header is {text(fixed['header bytes'])!r}",
        f"it has {usual} bytes: 256, and 256 for each of {plural(count, 'signal')}",
        epochs=ALL,
    )
    return usual


def _sample_bytes(stated: int, each: list[dict[str, bytes]], layout: tuple[int, int | None, int], issues: Issues) -> int:
    """Return 2 or 3 bytes a sample: as the version says, unless only the other fits the file's size or the digital range."""
    data, records, samples = layout
    other = 5 - stated
    extremes = [found for one in each for name in ("digital min", "digital max") if (found := number(one[name])) is not None]
    beyond = any(not -32768 <= value <= 32767 for value in extremes)
    fits = {width: data == (records or -1) * samples * width for width in (2, 3)}
    divides = {width: data % (samples * width) == 0 for width in (2, 3)}
    by_size = fits[other] and not fits[stated]
    by_range = not fits[stated] and beyond == (other == 3) and divides[other]
    by_range &= not divides[stated] or (records is None and beyond)
    if by_size or by_range:
        why = "the size of the file" if by_size else "the digital range (and the size of the file)"
        issues.add(
            f"the header is that of {8 * stated}-bit samples, {why} that of {8 * other}-bit ones",
            f"samples have {8 * other} bits",
            epochs=ALL,
        )
        return other
    if stated == 2 and beyond:
        issues.add(
            "a digital range is wider than 16 bits", "samples have 16 bits, as the file's size says; the scale is as stated", epochs=ALL
        )
    return stated


def _signal(one: dict[str, bytes], name: str, samples: int, width: int, issues: Issues) -> SignalHeader:
    if name in ANNOTATIONS:
        return SignalHeader(name, "", None, 0.0, samples, True)
    unit = plain_unit(text(one["unit"]))
    gain, offset = _scale(one, name, width, issues)
    if not unit:
        issues.add("the unit is blank", "values are in no known unit", signal=name, kind=NOTE)
    ends = sorted((number(one["physical min"]) or 0.0, number(one["physical max"]) or 0.0))
    limits = (ends[0], ends[1]) if gain is not None else (-math.inf, math.inf)
    return SignalHeader(name, unit if gain is not None else "", gain, offset, samples, False, limits)


def _scale(one: dict[str, bytes], name: str, width: int, issues: Issues) -> tuple[float | None, float]:
    """Return gain and offset; no gain where physical or digital range do not define one."""
    digital = "values stay digital, in no known unit"

    def unknown(what: str) -> tuple[None, float]:
        issues.add(what, digital, signal=name, epochs=ALL)
        return None, 0.0

    for key in RANGES:
        if number(one[key]) is None:
            return unknown(f"the {key} is {text(one[key])!r}, no number")
    low, high, bottom, top = (number(one[key]) or 0.0 for key in RANGES)
    if low == high:
        return unknown(f"physical min and max are both {low:g}")
    if top == bottom:
        return unknown(f"digital min and max are both {top:g}")
    if top < bottom:
        issues.add(
            f"the digital max ({top:g}) is less than the min ({bottom:g})",
            "they are exchanged; whether the polarity is right cannot be told", signal=name, epochs=ALL,
        )  # fmt: skip
        bottom, top = top, bottom
    if low > high:
        issues.add(
            f"physical min ({low:g}) is above max ({high:g})", "the signal is inverted, as stated", signal=name, kind=NOTE, epochs=ALL
        )
    if (bottom, top) != (max(bottom, _BITS[width][0]), min(top, _BITS[width][1])):
        issues.add(
            f"the digital range {bottom:g} to {top:g} is wider than samples can be", "the scale is as stated", signal=name, kind=NOTE
        )
    gain = (high - low) / (top - bottom)
    return gain, low - gain * bottom
