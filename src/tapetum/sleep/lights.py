"""Lights off and lights on, as annotations and rows of tables name them; docs/sleep.md has the table."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterable

from tapetum.sleep.hypnogram import Hypnogram, Lights
from tapetum.sleep.issues import NOTE, Issues
from tapetum.sleep.tal import Annotation

# Letters alone, small, without accents: "Lights-Off" is lightsoff.
OFF = {
    "lightsoff", "lightoff", "lightsout", "lightout", "loff", "lichtaus", "lichteraus", "lumiereeteinte",
    "lumiereseteintes", "extinctiondeslumieres", "extinctionlumiere", "lucesapagadas", "luzapagada", "apagadodeluces",
    "luzesapagadas", "lucispente", "lucespenta", "lichtuit", "lichtenuit", "消灯", "소등", "关灯", "熄灯",
}  # fmt: skip
ON = {
    "lightson", "lighton", "lon", "lichtan", "lichteran", "lichtein", "lumiereallumee", "lumieresallumees",
    "allumagedeslumieres", "allumagelumiere", "lucesencendidas", "luzencendida", "encendidodeluces", "luzesacesas",
    "luzacesa", "luciaccese", "luceaccesa", "lichtaan", "lichtenaan", "点灯", "점등", "开灯",
}  # fmt: skip
_BETWEEN = re.compile(r"\s[-–—]\s|[,.:;()|@\d]+")  # what divides a text from a time or a remark


def kind_of(text: str) -> str | None:
    """Return ``off`` or ``on`` where a text names it, alone or beside a time or a remark (``Lights Off - 22:31``); else None."""
    for part in _BETWEEN.split(text):
        plain = unicodedata.normalize("NFC", "".join(c for c in unicodedata.normalize("NFKD", part.lower()) if c.isalpha()))
        if plain in OFF or plain in ON:
            return "off" if plain in OFF else "on"
    return None


def lights_of(events: Iterable[Annotation], end: float, issues: Issues) -> Lights:
    """Return lights off and on, in seconds from the start, as events name them.

    The first lights off and the last lights on count: somebody who was up in between was not yet up for the day.

    Args:
        events: of the recording or of a table.
        end: seconds at which the recording ends.
        issues: receives what was found and what was assumed.
    """
    times: dict[str, list[float]] = {"off": [], "on": []}
    for one in events:
        if (kind := kind_of(one.text)) is not None:
            times[kind].append(one.onset)
    off = min(times["off"], default=None)
    on = max((time for time in times["on"] if off is None or time > off), default=None)
    if times["on"] and on is None:
        issues.add("lights on is before lights off", "it is left out: the night ends with the recording")
    for kind, found in times.items():
        if len(found) > 1:
            issues.add(f"lights {kind} is there {len(found)} times", f"the {'first' if kind == 'off' else 'last'} one counts", kind=NOTE)
    if off is not None and off >= end:
        issues.add(f"lights off is at {off:g} s, after the recording ends", "it is left out: the night begins with the recording")
        off = None
    if on is not None and on <= 0:
        issues.add(f"lights on is at {on:g} s, before the recording begins", "it is left out: the night ends with the recording")
        on = None
    off = _inside("off", off, 0.0, end, issues)
    on = _inside("on", on, 0.0, end, issues)
    shown = [f"lights {kind} {time:g} s after the start" for kind, time in (("off", off), ("on", on)) if time is not None]
    if shown:
        issues.add(", ".join(shown), "statistics count between lights off and lights on; --lights-off, --lights-on override it", kind=NOTE)
    return Lights(off, on)


def lit(night: Hypnogram, find: Callable[[], Lights]) -> Hypnogram:
    """Return a hypnogram with lights off and on: its own where it has any, else what ``find`` finds."""
    return night if night.lights != Lights() else dataclasses.replace(night, lights=find())


def _inside(kind: str, time: float | None, start: float, end: float, issues: Issues) -> float | None:
    """Return a time within the recording."""
    if time is None or start <= time <= end:
        return time
    kept = start if time < start else end
    issues.add(f"lights {kind} is at {time:g} s, outside the recording", f"taken at its {'start' if kept == start else 'end'}")
    return kept
