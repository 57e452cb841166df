"""The fields of an EDF or BDF header: fixed places, text padded with spaces. What is not as the standard says becomes an issue.

Standards: Kemp et al. 1992 (EDF), Kemp and Olivan 2003 (EDF+), www.edfplus.info; BioSemi's BDF has 24-bit samples. The fields that identify
the patient and the recording are looked at here alone; their content is neither kept nor quoted.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping

from tapetum.sleep.issues import NOTE, Issues

HEAD = 256  # bytes of the fixed part, and of each signal's part
FIXED = {
    "version": 8, "patient": 80, "recording": 80, "date": 8, "time": 8, "header bytes": 8, "reserved": 44, "records": 8, "duration": 8,
    "signals": 4,
}  # fmt: skip
SIGNAL = {
    "label": 16, "transducer": 80, "unit": 8, "physical min": 8, "physical max": 8, "digital min": 8, "digital max": 8, "prefilter": 80,
    "samples": 8, "signal reserved": 32,
}  # fmt: skip
PRIVATE = ("patient", "recording")
_THREE = re.compile(r"(\d{1,2})\s?([.:'\-/ ])\s?(\d{1,2})\s?([.:'\-/ ])\s?(\d{1,2}|yy)", re.IGNORECASE)
_STARTDATE = re.compile(r"Startdate\s+(?:X|(\d{1,2})-([A-Za-z]{3})-(\d{2,4}))(?:\s|$)", re.IGNORECASE)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_BIRTH = re.compile(r"\d{1,2}-([A-Za-z]{3})-\d{4}")
_FIRST, _LAST = 1985, 2084  # years that two digits can say

Fields = Mapping[str, bytes]


def fixed_fields(head: bytes) -> dict[str, bytes]:
    """Return the fields of a file's first 256 bytes."""
    out, at = {}, 0
    for name, width in FIXED.items():
        out[name] = head[at : at + width]
        at += width
    return out


def signal_fields(head: bytes, count: int) -> list[dict[str, bytes]]:
    """Return the fields of each of ``count`` signals; in the file one kind of field of all signals follows the other."""
    out: list[dict[str, bytes]] = [{} for _ in range(count)]
    at = HEAD
    for name, width in SIGNAL.items():
        for one in out:
            one[name] = head[at : at + width]
            at += width
    return out


def text(field: bytes) -> str:
    """Return a field's text without its padding. Bytes beyond ASCII are read as UTF-8 where they are that, else as Latin-1."""
    plain = field.split(b"\0", 1)[0] if field.strip(b" \0") else b""
    try:
        found = plain.decode("utf-8")
    except UnicodeDecodeError:
        found = plain.decode("latin-1")
    return "".join(letter if letter.isprintable() else " " for letter in found).strip()


def number(field: bytes) -> float | None:
    """Return the finite number that a field says, with a point or a comma; None where it says none."""
    plain = text(field).replace(",", ".")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", plain):
        return None
    found = float(plain)
    return found if math.isfinite(found) else None


def whole(field: bytes) -> int | None:
    """Return the whole number that a field says, or None."""
    found = number(field)
    return int(found) if found is not None and found == int(found) else None


def check_bytes(fields: Fields, issues: Issues, signal: str = "") -> None:
    """Note fields with bytes that are no printable ASCII, and numbers with a decimal comma."""
    foreign = [name for name, field in fields.items() if name != "version" and any(byte > 126 for byte in field)]
    control = [name for name, field in fields.items() if name != "version" and any(byte < 32 for byte in field)]
    if foreign:
        issues.add(f"{_named(foreign)} holds bytes beyond ASCII", "read as UTF-8 or Latin-1", signal=signal)
    if control:
        issues.add(f"{_named(control)} holds control characters (as zero bytes) in place of spaces", "read without them", signal=signal)
    for name in ("duration", "physical min", "physical max", "digital min", "digital max"):
        if b"," in fields.get(name, b"") and number(fields[name]) is not None:
            issues.add(f"{name} is written with a comma ({text(fields[name])})", "the comma is a decimal point", signal=signal)


def clock(fields: Fields, issues: Issues) -> datetime.time | None:
    """Return the time of day at which the recording starts; None where the header does not say it. The date is checked, and not used."""
    _check_date(fields, issues)
    found = _THREE.fullmatch(text(fields["time"]))
    try:
        time = None if found is None else datetime.time(int(found[1]), int(found[3]), int(found[5]))
    except ValueError:
        time = None
    if time is None:
        issues.add(f"the start time is {text(fields['time'])!r}, which is no time", "times count from the start of the recording")
    elif found is not None and {found[2], found[4]} != {"."}:
        issues.add(f"the start time is {text(fields['time'])!r}, which is not of the form hh.mm.ss", f"it is {time.isoformat()}")
    return time


def check_identification(fields: Fields, issues: Issues) -> None:
    """Note identifications that are not as EDF+ wants them; what they say stays in the header."""
    patient, recording = text(fields["patient"]).split(), text(fields["recording"])
    if len(patient) < 4:
        issues.add("the patient identification has fewer than its four subfields", "none of them is used", kind=NOTE)
    if any((birth := _BIRTH.fullmatch(part)) is not None and birth[1] != birth[1].upper() for part in patient):
        issues.add("the month of the date of birth is not in capitals", "the date is not used", kind=NOTE)
    if not recording.startswith("Startdate") or len(recording.split()) < 5:
        issues.add("the recording identification lacks 'Startdate' or some of its four subfields", "none of them is used", kind=NOTE)
    check_start(fields, issues)


def check_start(fields: Fields, issues: Issues) -> None:
    """Note a start date in the recording identification that is not as EDF+ wants it, or another than the header's."""
    recording = text(fields["recording"])
    found = _STARTDATE.match(recording)
    if found is not None and found[2] is not None:
        if found[2].upper() not in _MONTHS:
            issues.add("the month of the start date in the recording identification is none", "the date is not used")
        elif found[2] != found[2].upper():
            issues.add("the month of the start date is not in capitals", "read as it is meant", kind=NOTE)
        if not _FIRST <= int(found[3]) <= _LAST:
            issues.add(f"the start date lies outside {_FIRST}–{_LAST}", "the date is not used, only the time of day")
        other = _THREE.fullmatch(text(fields["date"]))
        if other is not None and other[5].isdigit() and (int(other[1]), int(other[5])) != (int(found[1]), int(found[3]) % 100):
            issues.add("the header has two start dates that differ", "neither is used, only the time of day", kind=NOTE)
    elif found is None and recording.startswith("Startdate"):
        issues.add("the start date in the recording identification cannot be read", "the date is not used")


def _check_date(fields: Fields, issues: Issues) -> None:
    found = _THREE.fullmatch(text(fields["date"]))
    not_used = "the date is not used, only the time of day"
    if found is None:
        issues.add("the start date is not of the form dd.mm.yy", not_used)
        return
    if found[5].lower() == "yy":
        issues.add(f"the start date lies after {_LAST} (its year is 'yy')", not_used)
        return
    year = int(found[5])
    try:
        datetime.date(year + (1900 if year >= _FIRST % 100 else 2000), int(found[3]), int(found[1]))
    except ValueError:
        issues.add("the start date is no day of the calendar", not_used)
        return
    if {found[2], found[4]} != {"."}:
        issues.add("the start date is not of the form dd.mm.yy", not_used)


def _named(names: list[str]) -> str:
    shown = [f"the {name} identification" if name in PRIVATE else f"the field '{name}'" for name in names]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
