"""Filters of a sleep laboratory, without delay: Butterworth band-passes by kind of signal, and a notch at the mains."""

from __future__ import annotations

import numpy as np

DEGREE = 4  # of each filter, run forward and backward
PASS = {"EEG": (0.5, 35.0), "EOG": (0.3, 35.0), "EMG": (10.0, 70.0), "ECG": (0.3, 70.0)}  # Hz, of the challenge's images
NOTCH = 30.0  # quality: the notch is mains / 30 wide
SHORTEST = 2.0  # seconds of signal between gaps that are worth filtering
MAINS = (50.0, 60.0)


def kind_of(name: str) -> str | None:
    """Return ``EEG``, ``EOG``, ``EMG`` or ``ECG``; None for signals that are drawn as they are."""
    if name.startswith(("E1", "E2")):
        return "EOG"
    if name.startswith(("Chin", "Leg")):
        return "EMG"
    if name == "ECG":
        return "ECG"
    first = name.split("-", maxsplit=1)[0]
    return "EEG" if first[:1] in "FCOPT" and len(first) <= 3 and first[-1:] in "z12345678" else None


def filtered(values: np.ndarray, rate: float, kind: str, mains: float | None) -> np.ndarray:
    """Return a signal (samples,) float32 in its band; gaps (NaN) stay gaps, and what lies on either side does not mix.

    Args:
        values: samples.
        rate: samples a second. An upper edge above its Nyquist limit is left out.
        kind: ``EEG``, ``EOG``, ``EMG`` or ``ECG``.
        mains: frequency of the notch; None for none.
    """
    from scipy.signal import butter, iirnotch, sosfiltfilt, tf2sos

    low, high = PASS[kind]
    if low >= 0.45 * rate:  # the whole band lies beyond what was sampled
        return values
    edges: float | tuple[float, float] = (low, high) if high < 0.45 * rate else low
    sections = butter(DEGREE, edges, "bandpass" if high < 0.45 * rate else "highpass", fs=rate, output="sos")
    if mains is not None and mains < 0.49 * rate:
        sections = np.concatenate([sections, tf2sos(*iirnotch(mains, NOTCH, fs=rate))])
    out = np.array(values, dtype=np.float32)
    for start, end in _pieces(values):
        piece = values[start:end].astype(np.float64)
        out[start:end] = sosfiltfilt(sections, piece) if end - start > SHORTEST * rate else piece - piece.mean()
    return out


def find_mains(values: np.ndarray, rate: float) -> float | None:
    """Return 50 or 60, whichever stands out of a signal's spectrum more; None where neither does."""
    from scipy.signal import welch

    if rate <= 2 * MAINS[1] + 8:
        return None
    known = values[~np.isnan(values)][: int(600 * rate)]
    if len(known) < 8 * rate:
        return None
    frequency, power = welch(known, rate, nperseg=int(4 * rate))
    height = {}
    for hertz in MAINS:
        peak = power[np.abs(frequency - hertz) <= 0.5].max()
        around = np.median(power[(np.abs(frequency - hertz) > 1) & (np.abs(frequency - hertz) < 4)])
        height[hertz] = float(peak / max(around, 1e-20))
    best = max(height, key=lambda hertz: height[hertz])
    return best if height[best] > 3 else None


def _pieces(values: np.ndarray) -> list[tuple[int, int]]:
    known = np.concatenate([[0], (~np.isnan(values)).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(known))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
