"""EDF, EDF+, BDF and BDF+ files written byte by byte from the standards' tables, with none of the package's own code."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

NAME = "Grimalkin"  # planted in every header as the patient's name; no output may hold it
PATIENT = f"MCH-0234567 F 02-MAY-1951 {NAME}"
RECORDING = f"Startdate 02-MAR-2002 PSG-1234/2002 {NAME}_Jr Telemetry03"


@dataclass
class Signal:
    """A signal: its header fields as text or bytes, and its digital samples (records, samples)."""

    label: str | bytes
    samples: np.ndarray
    unit: str | bytes = "uV"
    physical: tuple[str, str] = ("-3276.8", "3276.7")
    digital: tuple[str, str] = ("-32768", "32767")
    stated: str | None = None  # samples in a record, where they are stated otherwise


@dataclass
class File:
    """A file; any field of the fixed header can be set as text or bytes."""

    signals: list[Signal]
    version: str | bytes = "0"
    patient: str | bytes = PATIENT
    recording: str | bytes = RECORDING
    date: str | bytes = "02.03.02"
    time: str | bytes = "22.30.15"
    header: str | None = None
    reserved: str = ""
    records: str | None = None
    duration: str | bytes = "1"
    count: str | None = None
    width: int = 2
    tals: list[list[bytes]] = field(default_factory=list)  # a list of records for each annotation signal
    annotation_label: str = "EDF Annotations"

    def bytes(self) -> bytes:
        """Return the file."""
        room = max((len(one) for signal in self.tals for one in signal), default=0)
        room += -room % (2 * self.width * 3)
        signals = list(self.signals)
        many = len(self.tals[0]) if self.tals else len(self.signals[0].samples)
        number = len(signals) + len(self.tals)
        head = [
            pad(self.version, 8), pad(self.patient, 80), pad(self.recording, 80), pad(self.date, 8), pad(self.time, 8),
            pad(self.header or str(256 * (number + 1)), 8), pad(self.reserved, 44),
            pad(self.records or str(many), 8), pad(self.duration, 8),
            pad(self.count or str(number), 4),
        ]  # fmt: skip
        rows = [
            [s.label, "electrode", s.unit, *s.physical, *s.digital, "HP:0.1Hz", s.stated or str(s.samples.shape[1]), ""] for s in signals
        ]
        rows += [[self.annotation_label, "", "", "-1", "1", "-32768", "32767", "", str(room // self.width), ""] for _ in self.tals]
        for column, width in enumerate((16, 80, 8, 8, 8, 8, 8, 80, 8, 32)):
            head += [pad(row[column], width) for row in rows]
        body = b""
        for i in range(many):
            body += b"".join(b"".join(int(v).to_bytes(self.width, "little", signed=True) for v in s.samples[i]) for s in signals)
            body += b"".join(signal[i].ljust(room, b"\0") for signal in self.tals)
        return b"".join(head) + body


def pad(value: str | bytes, width: int) -> bytes:
    """Return a field."""
    content = value if isinstance(value, bytes) else value.encode("ascii")
    assert len(content) <= width
    return content.ljust(width)


def tal(time: float, *texts: tuple[float, float | None, str]) -> bytes:
    """Return a record's annotation bytes: its time, then (onset, duration, text)."""
    out = f"+{time:g}\x14\x14\0".encode()
    for onset, duration, text in texts:
        out += f"{onset:+g}".encode() + (f"\x15{duration:g}".encode() if duration is not None else b"") + f"\x14{text}\x14\0".encode()
    return out


def wave(records: int, samples: int, seed: int = 0, amplitude: float = 300.0) -> np.ndarray:
    """Return digital samples (records, samples) of noise."""
    return np.random.default_rng(seed).normal(0, amplitude, (records, samples)).astype(np.int64)


def plain(many: int = 60, **changed: object) -> File:
    """Return an EDF file of two EEG channels, 10 samples a second."""
    return File([Signal("EEG C3-A2", wave(many, 10)), Signal("EEG C4-A1", wave(many, 10, 1))], **changed)  # type: ignore[arg-type]


def plus(many: int = 60, form: str = "EDF+C", times: list[float] | None = None, **changed: object) -> File:
    """Return an EDF+ file of the same channels with one annotation signal."""
    found = plain(many, reserved=form, **changed)
    found.tals = found.tals or [[tal(t) for t in (times or range(many))]]
    return found
