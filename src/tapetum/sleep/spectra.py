"""Multitaper spectrograms (Thomson 1982; for sleep: Prerau et al. 2017, doi 10.1152/physiol.00062.2015), on fixed scales in dB."""

from __future__ import annotations

import functools

import numpy as np

BANDS = {"EEG": (0.5, 35.0), "EOG": (0.3, 35.0), "EMG": (10.0, 70.0)}  # Hz shown
DECIBELS = {"EEG": (-15.0, 30.0), "EOG": (-15.0, 30.0), "EMG": (-25.0, 15.0)}  # of µV²/Hz, from black to white
BANDWIDTH = 2.0  # time · half bandwidth; 2·NW − 1 = 3 tapers
WINDOW, STEP = 2.0, 0.5  # seconds, within an epoch


def spectrogram(values: np.ndarray, rate: float, kind: str) -> np.ndarray:
    """Return an epoch's spectrogram (frequencies, times) uint8, the lowest frequency first."""
    frequency, _, power = multitaper(values, rate, WINDOW, STEP)
    low, high = BANDS[kind]
    inside = (frequency >= low) & (frequency <= high)
    if not inside.any():
        return np.zeros((1, 1), dtype=np.uint8)
    least, most = DECIBELS[kind]
    decibels = 10 * np.log10(np.maximum(power[inside], 1e-12))
    return np.asarray(np.rint(255 * np.clip((decibels - least) / (most - least), 0, 1)), dtype=np.uint8)


def multitaper(values: np.ndarray, rate: float, window: float, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frequencies (F,), times of the windows' middles (T,), and power (F, T) in the values' unit squared a hertz.

    Windows with a gap are NaN.
    """
    from scipy.fft import rfft  # in single precision eight times as fast as NumPy's

    size, hop = max(round(window * rate), 8), max(round(step * rate), 1)
    if len(values) < size:
        values = np.pad(values, (0, size - len(values)))
    parts = np.lib.stride_tricks.sliding_window_view(values, size)[::hop]
    tapers = _tapers(size)
    power = np.zeros((len(parts), size // 2 + 1), dtype=np.float32)
    for start in range(0, len(parts), 256):
        some = parts[start : start + 256]
        some = some - some.mean(axis=1, keepdims=True)
        power[start : start + 256] = (np.abs(rfft(some[:, None] * tapers, axis=-1)) ** 2).mean(axis=1)
    power[:, 1:-1] *= 2  # one side holds the power of both
    times = (np.arange(len(parts)) * hop + size / 2) / rate
    return np.fft.rfftfreq(size, 1 / rate), times, power.T / rate


@functools.lru_cache(maxsize=16)
def _tapers(size: int) -> np.ndarray:
    from scipy.signal.windows import dpss

    return np.asarray(dpss(size, BANDWIDTH, int(2 * BANDWIDTH) - 1), dtype=np.float32)  # single precision is exact to 0.001 dB
