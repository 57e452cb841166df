"""Which epochs of a signal are bad: flat, at the limit of the recorder, beyond what a body makes, drowned in mains hum, or lost."""

from __future__ import annotations

import dataclasses

import numpy as np

from tapetum.sleep.issues import EPOCH, QUALITY, Issues, spans
from tapetum.sleep.montage import Signal

FLAT = 0.5  # µV from the lowest to the highest value of an epoch, under which a signal is flat
LARGEST = 1000.0  # µV beyond which no EEG, EOG or EMG of sleep reaches
SECONDS = 0.5  # of an epoch at the limit, or beyond LARGEST, from which on it is bad
HUM = 0.8  # share of the power within ±1 Hz of 50 or 60 Hz
BAD_SHARE = 0.5  # of epochs from which on a channel is bad as a whole
KINDS = {
    "lost": "no signal (a gap)",
    "flat": "flat",
    "saturated": "at the limit of the recorder",
    "too large": f"beyond ±{LARGEST:g} µV",
    "hum": "mains hum",
}


@dataclasses.dataclass(frozen=True)
class Quality:
    """What is wrong with a signal.

    Args:
        signal: its source.
        by_kind: kind → epochs (T,) bool.
    """

    signal: str
    by_kind: dict[str, np.ndarray]

    @property
    def bad(self) -> np.ndarray:
        """Epochs with any fault (T,) bool."""
        return np.logical_or.reduce(list(self.by_kind.values()))

    @property
    def share(self) -> float:
        """Share of bad epochs; 1 for a recording shorter than an epoch."""
        return float(self.bad.mean()) if len(self.bad) else 1.0


def assess(signal: Signal) -> Quality:
    """Return the bad epochs of a signal of electrodes."""
    size = round(EPOCH * signal.rate)
    count = len(signal.values) // size
    epochs = signal.values[: count * size].reshape(count, size)
    lost = np.isnan(epochs).any(axis=1)
    span = np.ptp(np.nan_to_num(epochs), axis=1) if count else np.zeros(0)
    low, high = signal.limits
    at_limit = ((epochs <= low) | (epochs >= high)).sum(axis=1) >= SECONDS * signal.rate
    found = {"lost": lost, "flat": ~lost & (span <= (FLAT if signal.unit == "uV" else 0.0)), "saturated": ~lost & at_limit}
    if signal.unit == "uV":
        found["too large"] = ~lost & ~found["saturated"] & ((np.abs(epochs) > LARGEST).sum(axis=1) >= SECONDS * signal.rate)
    found["saturated"] &= ~found["flat"]
    found["hum"] = ~lost & ~found["flat"] & (_hum(epochs, signal.rate) > HUM)
    return Quality(signal.source, found)


def report(quality: Quality, issues: Issues) -> None:
    """Write an issue for each fault of a signal."""
    for kind, where in quality.by_kind.items():
        if kind != "lost" and where.any():
            whole = where.mean() >= BAD_SHARE
            what = f"{'bad channel' if whole else 'bad epochs'}: {KINDS[kind]} in {int(where.sum())} of {len(where)} epochs"
            issues.add(what, "another channel is preferred for staging", signal=quality.signal, kind=QUALITY, epochs=spans(where))


def _hum(epochs: np.ndarray, rate: float) -> np.ndarray:
    """Return the share of power (T,) within 1 Hz of 50 or 60 Hz, whichever is larger, of all above 0.5 Hz."""
    if rate <= 102 or not len(epochs):
        return np.zeros(len(epochs))
    out = np.zeros(len(epochs))
    for start in range(0, len(epochs), 64):  # an epoch at a time would be slow, a night at once too large
        part = np.nan_to_num(epochs[start : start + 64])
        power = np.abs(np.fft.rfft(part - part.mean(axis=1, keepdims=True), axis=1)) ** 2
        frequency = np.fft.rfftfreq(part.shape[1], 1 / rate)
        total = np.maximum(power[:, frequency > 0.5].sum(axis=1), 1e-12)
        mains = [power[:, np.abs(frequency - hertz) <= 1].sum(axis=1) / total for hertz in (50, 60)]
        out[start : start + 64] = np.maximum(*mains)
    return out
