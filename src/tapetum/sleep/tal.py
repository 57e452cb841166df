"""Annotations of EDF+ and BDF+: time-stamped lists (TAL) in the bytes of their signal, read with whatever can be read.

A list is ``onset[\\x15duration]\\x14text\\x14…\\x14\\0``. The first of a record, with an empty text, is the record's own time.
"""

from __future__ import annotations

import dataclasses
import re

from tapetum.sleep.issues import Issues

_LIST = re.compile(rb"([+-]?\d+(?:[.,]\d*)?)(?:\x15(-?[\d.,]*))?\x14([^\0]*?)\x14?(?:\0|$)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A text at a time.

    Args:
        onset: seconds from the start of the recording; it may be negative.
        duration: seconds; None where there is none.
        text: what it says.
    """

    onset: float
    duration: float | None
    text: str


def record_time(content: bytes) -> float | None:
    """Return the time (in seconds) that a record's annotation bytes begin with, or None."""
    found = _LIST.match(content)
    if found is None:
        return None
    return _seconds(found[1])


def read_lists(content: bytes, *, timed: bool, issues: Issues, signal: str) -> list[Annotation]:
    """Return the annotations in one record's bytes of one signal.

    Args:
        content: the bytes.
        timed: the first list is the record's own time and may carry texts as well.
        issues: receives what cannot be read.
        signal: its name, for issues.
    """
    out: list[Annotation] = []
    at, first = 0, True
    while at < len(content):
        if content[at] == 0:
            at += 1
            continue
        found = _LIST.match(content, at)
        if found is None:
            issues.add("records hold annotation bytes that are no time-stamped list", "these bytes are left out", signal=signal)
            at = content.find(b"\0", at)
            if at < 0:
                break
            continue
        onset, duration = _seconds(found[1]), None
        if found[2]:
            duration = _seconds(found[2])
            if duration is None or duration < 0:
                issues.add("annotations have a duration that is none", "taken to have none", signal=signal)
                duration = None
        for text in found[3].split(b"\x14"):
            if onset is not None and (text or not (first and timed)):
                out.append(Annotation(onset, duration, _text(text, issues, signal)))
        at, first = found.end(), False
    return [one for one in out if one.text]


def _seconds(content: bytes) -> float | None:
    try:
        return float(content.replace(b",", b"."))
    except ValueError:
        return None


def _text(content: bytes, issues: Issues, signal: str) -> str:
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        issues.add("annotations hold bytes that are no UTF-8", "read as Latin-1", signal=signal)
        return content.decode("latin-1").strip()
