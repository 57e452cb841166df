"""Which epochs of a signal are bad: flat, at the limit of the recorder, beyond what a body makes, drowned in mains hum, or lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tapetum.core.words import plural, verb
from tapetum.sleep.edf import Recording
from tapetum.sleep.issues import ALL, EPOCH, QUALITY, Issues, spans
from tapetum.sleep.montage import Montage, Signal

EEG = ("C4-M1", "C3-M2", "F4-M1", "F3-M2", "O2-M1", "O1-M2", "Cz", "Fz", "Fpz", "Pz", "Oz")  # in the order in which they are preferred
EOG = ("E1-M2", "E2-M1", "E1-E2")
EMG = ("Chin",)

FLAT = 0.5  # µV from the lowest to the highest value of an epoch, under which a signal is flat
LARGEST = 1000.0  # µV beyond which no EEG, EOG or EMG of sleep reaches
SECONDS = 0.5  # of an epoch at the limit, or beyond LARGEST, from which on it is bad
HUM = 0.8  # share of the power within ±1 Hz of 50 or 60 Hz
BAD_SHARE = 0.5  # of epochs from which on a channel is bad as a whole
# The same of epochs in which it is bad alone, while most other electrodes of its kind are good: then its own contact is at fault.
# 1 % of the time, as in the PREP pipeline (Bigdely-Shamlo et al. 2015, doi 10.3389/fninf.2015.00016).
ALONE_SHARE = 0.01
FEWEST = 2  # other electrodes, so that "alone" means anything
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


def candidates(montage: Montage, wanted: Sequence[str], slowest: float = 0.0) -> list[tuple[Signal, Quality]]:
    """Return those of some signals that a recording has at more than ``slowest`` samples a second, each once, with their quality."""
    found, seen = [], set()
    quiet = Montage(montage.recording, montage.table, Issues(""))  # what was assumed of names is said of the chosen one alone
    for name in wanted:
        parts = quiet.parts(name)
        if parts is None or parts in seen or montage.recording.channels[parts[0]].rate <= slowest:
            continue
        seen.add(parts)
        if (signal := quiet.signal(name)) is not None:
            found.append((signal, assess(signal)))
    return found


def examine(recording: Recording, table: Mapping[str, str], issues: Issues) -> None:
    """Write an issue for each fault of the EEG, EOG and chin electrodes of a recording."""
    if recording.epochs:
        for wanted in (EEG, EOG, EMG):
            report([quality for _, quality in candidates(Montage(recording, table, issues), wanted)], issues)


def report(found: Sequence[Quality], issues: Issues) -> None:
    """Write an issue for each fault of signals of one kind; an electrode that is bad as a whole is named so."""
    for quality in found:
        others = [one.bad for one in found if one is not quality and len(one.bad) == len(quality.bad)]
        alone = quality.bad & (np.mean(others, axis=0) < 0.5) if len(others) >= FEWEST else np.zeros(len(quality.bad), dtype=bool)
        for kind, where in quality.by_kind.items():
            if kind == "lost" or not where.any():
                continue
            what = f"{KINDS[kind]} in {int(where.sum())} of {plural(len(where), 'epoch')}"
            share = f"{100 * where.mean():.2g} %, {verb(int(where.sum()), 'epoch', 'epochs')} {spans(where)}"
            assumed = "another channel is preferred for staging"
            if where.mean() >= BAD_SHARE:
                issues.add(f"bad channel: {what} ({share})", assumed, signal=quality.signal, kind=QUALITY, epochs=ALL)
            elif (alone & where).mean() >= ALONE_SHARE:
                what, assumed = f"bad electrode: {what} ({share}), while others are good", f"its contact is in doubt throughout; {assumed}"
                issues.add(what, assumed, signal=quality.signal, kind=QUALITY, epochs=ALL)
            else:
                issues.add(f"bad epochs: {what}", assumed, signal=quality.signal, kind=QUALITY, epochs=spans(where))


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
