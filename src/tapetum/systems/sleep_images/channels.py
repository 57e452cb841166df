"""The channels of a simulated polysomnography: names, units, rates; and noise of the bands that waves are made of."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from tapetum.core import draws

SECONDS = 30  # of an epoch
FAST, SLOW = 256, 32  # samples a second of electrodes, and of belts and pressures


@dataclasses.dataclass(frozen=True)
class Channel:
    """A signal as a recorder keeps it: ``rate`` is in samples a second."""

    name: str
    unit: str
    rate: int


CHANNELS = {
    channel.name: channel
    for channel in (
        *(Channel(name, "g", SLOW) for name in ("Accelerometer X", "Accelerometer Y", "Accelerometer Z")),
        *(Channel(name, "uV", FAST) for name in ("C3-M2", "C4-M1", "O1-M2", "O2-M1", "E1-M2", "E2-M1", "Chin")),
        Channel("ECG", "mV", FAST),
        Channel("Flow", "cmH2O", SLOW),
        *(Channel(name, "uV", SLOW) for name in ("Thermistor", "Thorax", "Abdomen")),
        Channel("Snore", "uV", 128),
        Channel("Volume", "dB", 8),
        *(Channel(name, "uV", FAST) for name in ("Leg L", "Leg R")),
        Channel("SpO2", "%", 1),
    )
}
EEG = ("C3-M2", "C4-M1", "O1-M2", "O2-M1")
BANDS = {  # Hz; recorder's filters are 0.5–35 (EEG), 0.3–35 (EOG), 10–70 (EMG)
    "slow": (0.5, 2.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 12.0),
    "beta": (16.0, 30.0),
    "roll": (0.15, 0.45),
    "drift": (0.05, 0.4),
    "muscle": (10.0, 70.0),
    "pink": (0.5, 35.0),  # falls with the frequency
}


class Bank:
    """Noise of each band, mean 0 and deviation 1, drawn once a process and read in a circle; each band's circle has a length of its own."""

    def __init__(self) -> None:
        self.noise: dict[str, np.ndarray] = {}
        for number, (name, (low, high)) in enumerate(BANDS.items()):
            length = 2**17 + 2 * 997 * number
            rng = draws.generator("simulate", "sleep", "noise", name)
            frequency = np.fft.rfftfreq(length, 1 / FAST)
            inside = (frequency >= low) & (frequency <= high)
            spectrum = np.fft.rfft(rng.standard_normal(length)) * inside
            if name == "pink":
                spectrum /= np.sqrt(np.maximum(frequency, low))
            wave = np.fft.irfft(spectrum, length)
            wave = (wave / wave.std()).astype(np.float32)
            self.noise[name] = np.concatenate([wave, wave[: FAST * SECONDS]])

    def cut(self, name: str, start: int, count: int = FAST * SECONDS) -> np.ndarray:
        """Return ``count`` samples of a band from a place of its circle; a view, not to be written to."""
        wave = self.noise[name]
        begin = start % (len(wave) - FAST * SECONDS)
        return wave[begin : begin + count]


@functools.lru_cache(maxsize=1)
def bank() -> Bank:
    """Return the noise; kept for the next epoch."""
    return Bank()
