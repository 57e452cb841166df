"""Channels as they are wanted: found by what their labels mean, re-referenced where only electrodes were recorded, in microvolts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tapetum.core.errors import DataError, listed, nearest
from tapetum.sleep.edf import Channel, Recording
from tapetum.sleep.issues import ALL, NOTE, Issues
from tapetum.sleep.names import Name, meaning
from tapetum.sleep.units import TO_MICROVOLTS

PARTS = {"Chin": ("Chin 1", "Chin 2"), "E1-E2": ("E1", "E2")}  # derivations whose electrodes may be recorded one by one


@dataclasses.dataclass(frozen=True)
class Signal:
    """A signal as it was wanted.

    Args:
        name: what was wanted.
        source: the channel or channels that it is made of, as ``EEG C3 − EEG A2``.
        unit: ``uV`` where the recorder's unit is one of volts; blank where the unit is not known.
        rate: samples a second.
        values: (samples,) float32, NaN in gaps.
        limits: the least and largest value that the recorder could write; a signal at its limit is saturated.
    """

    name: str
    source: str
    unit: str
    rate: float
    values: np.ndarray
    limits: tuple[float, float]


class Montage:
    """The channels of a recording by meaning.

    Args:
        recording: what was read.
        table: compact label → name, from :func:`tapetum.sleep.names.load`.
        issues: receives what was assumed of names and references.
    """

    def __init__(self, recording: Recording, table: Mapping[str, str], issues: Issues) -> None:
        self.recording, self.table, self.issues = recording, table, issues
        self.names: dict[str, Name] = {label: meaning(label, table) for label in recording.channels}

    def signal(self, wanted: str) -> Signal | None:
        """Return a signal such as ``C3-M2``, ``Chin`` or ``SpO2``; None where the recording does not have it."""
        parts = self.parts(wanted)
        return None if parts is None else self._made(wanted, parts)

    def labelled(self, label: str) -> Signal:
        """Return the channel of a label as the recorder wrote it, or a difference of two, ``A − B``, given as ``A|B``.

        Raises:
            DataError: there is no such label.
        """
        parts = [part.strip() for part in label.split("|")]
        for part in parts:
            if part not in self.recording.channels:
                there = list(self.recording.channels)
                raise DataError(
                    f"{self.recording.path.name} has no channel {part!r} (it has: {listed(there, 40)}).{nearest(part, there)}",
                    need="a label of the file",
                )
        return self._made(label, (parts[0], parts[1] if len(parts) > 1 else None))

    def parts(self, wanted: str) -> tuple[str, str | None] | None:
        """Return the label or the two labels (minuend, subtrahend) that make a signal; None where there are none."""
        by_name: dict[str, str] = {}
        for label, name in self.names.items():
            by_name.setdefault(name.name, label)
        if wanted in by_name:
            return by_name[wanted], None
        first, second = PARTS.get(wanted, tuple(wanted.split("-")) if "-" in wanted else (wanted, ""))
        if second and first in by_name and second in by_name and self._alike(by_name[first], by_name[second]):
            return by_name[first], by_name[second]
        if first in by_name:
            return by_name[first], None
        if not second or wanted in PARTS:
            return None
        return next(((label, None) for label, name in self.names.items() if name.electrode == first), None)

    def _alike(self, a: str, b: str) -> bool:
        one, other = self.recording.channels[a], self.recording.channels[b]
        return one.rate == other.rate and one.unit == other.unit and bool(one.unit)

    def _made(self, wanted: str, parts: tuple[str, str | None]) -> Signal:
        label, other = parts
        channel = self.recording.channels[label]
        values, low, high = self.recording.samples(label), *self.recording.limits(label)
        if other is not None:
            second = self.recording.limits(other)
            values, low, high = values - self.recording.samples(other), low - second[1], high - second[0]
            self.issues.add(f"{wanted!r} was not recorded", f"{label} − {other}", signal=wanted, kind=NOTE, epochs=ALL)
        else:
            self._say_reference(wanted, label)
        unit, factor = _unit(channel)
        return Signal(
            wanted,
            label if other is None else f"{label} − {other}",
            unit,
            channel.rate,
            values * np.float32(factor),
            (low * factor, high * factor),
        )

    def _say_reference(self, wanted: str, label: str) -> None:
        found = self.names[label]
        if "-" not in wanted or found.name == wanted or not found.electrode:
            return
        if found.reference:
            assumed, what = f"{found.name} in its place", f"{wanted!r} was not recorded"
        else:
            assumed, what = "as it was recorded, with a reference that the label does not name", f"there is nothing to make {wanted!r} of"
        self.issues.add(what, f"{label}: {assumed}", signal=wanted, epochs=ALL)


def _unit(channel: Channel) -> tuple[str, float]:
    """Return ``uV`` and the factor to it for volts, the unit itself and 1 for others."""
    factor = TO_MICROVOLTS.get(channel.unit)
    return (channel.unit, 1.0) if factor is None else ("uV", factor)
