"""A night's signals from its cues, epoch by epoch, as arrays: what a recorder would hold, for an image or a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapetum.core import draws
from tapetum.systems.sleep_images import waves
from tapetum.systems.sleep_images.body import Body, Sleeper, asleep, breathing, live
from tapetum.systems.sleep_images.channels import CHANNELS, EEG, FAST, SECONDS, SLOW, bank
from tapetum.systems.sleep_images.cues import Cues

COUNT = FAST * SECONDS
# Share of each band at C3, C4, O1, O2; the alpha rhythm is strongest at the back of the head, slow waves and spindles further in front.
WEIGHT = {"slow": (1.0, 1.0, 0.7, 0.7), "theta": (1.0, 1.0, 0.8, 0.8), "alpha": (0.55, 0.55, 1.0, 1.0), "beta": (1.0, 1.0, 0.8, 0.8)}
CENTRAL = np.array([1.0, 1.0, 0.45, 0.45], dtype=np.float32)[:, None]
TOGETHER = 0.8  # of a wave's amplitude is the same at all electrodes
PINK = 3.5  # µV, at all times
RARE = {"Thermistor": 0.25, "Volume": 0.25, "Accelerometer X": 0.08, "Snore": 0.1, "Leg L": 0.06, "Leg R": 0.06}  # chance to be missing


def draw_sleeper(rng: np.random.Generator, seed: int) -> Sleeper:
    """Return somebody who comes to sleep, and how well the electrodes sit."""
    missing = {name for name in CHANNELS if rng.random() < RARE.get(name, 0.02)}
    if "Accelerometer X" in missing:
        missing |= {"Accelerometer Y", "Accelerometer Z"}
    if not set(EEG) - missing:
        missing.remove(EEG[int(rng.integers(len(EEG)))])
    head, own = rng.normal(0, 0.15), rng.normal(0, 0.15, len(CHANNELS))
    return Sleeper(
        gains={name: float(np.exp(own[i] + (head if name in EEG else 0))) for i, name in enumerate(CHANNELS)},
        missing=frozenset(missing),
        loose=frozenset(name for name in CHANNELS if CHANNELS[name].rate == FAST and rng.random() < 0.05),
        alpha=0.35 if rng.random() < 0.1 else float(np.exp(rng.normal(0, 0.15))),
        pulse=float(rng.uniform(0.75, 1.15)),
        breath=float(rng.uniform(3.2, 5.0)),
        pauses=float(rng.choice([2, 8, 20, 45], p=[0.35, 0.3, 0.2, 0.15])),
        snoring=float(rng.choice([5, 40, 90])),
        kicks=float(rng.choice([0, 25], p=[0.8, 0.2])),
        oxygen=float(rng.uniform(94, 98)),
        seed=seed,
    )


class Recording:
    """One night of one sleeper; any epoch can be drawn at any time, and the same one is always the same.

    Args:
        cues: of its epochs.
        sleeper: whose night it is.
    """

    def __init__(self, cues: Cues, sleeper: Sleeper) -> None:
        self.cues, self.sleeper = cues, sleeper
        rng = draws.generator("sleep recording", sleeper.seed)
        self.body: Body = live(cues, sleeper, rng)
        self.quiet = asleep(cues)
        self.level = {name: cues.level(name) for name in ("slow", "theta", "alpha", "beta", "tone", "roll")}
        self.offset = {name: rng.integers(0, 2**17, 8) for name in bank().noise}

    def __len__(self) -> int:
        return len(self.cues.levels)

    def epoch(self, number: int) -> dict[str, np.ndarray]:
        """Return channel → samples (float32) of an epoch, counted from 0; channels that were not recorded are left out."""
        rng = draws.generator("sleep epoch", self.sleeper.seed, number)
        moving = self._movement(number, rng)
        eeg, slow = self._eeg(number, rng)
        out = dict(zip(EEG, eeg, strict=True))
        out["E1-M2"], out["E2-M1"] = self._eyes(number, slow, rng)
        out["Chin"] = self._noise("muscle", 0, number) * np.float32(self.level["tone"][number])
        out["Leg L"], out["Leg R"] = self._legs(number, rng)
        for i, name in enumerate(out):
            out[name] = out[name] + moving * (60 * self._noise("drift", i % 8, number) + 25 * self._noise("muscle", 7 - i % 8, number))
        out["ECG"] = waves.heart(self.body.beats - number * SECONDS, COUNT, FAST) + np.float32(0.02) * self._noise("drift", 5, number)
        out |= self._breathing(number, rng)
        out["SpO2"] = self.body.oxygen[number * SECONDS : (number + 1) * SECONDS]
        out |= self._posture(number, moving, rng)
        kept = {name: self._electrode(name, out[name], number) for name in CHANNELS if name not in self.sleeper.missing}
        return {name: samples.astype(np.float32) for name, samples in kept.items()}

    def channel(self, name: str) -> np.ndarray:
        """Return a channel (samples,) through the night."""
        return np.concatenate([self.epoch(number)[name] for number in range(len(self))])

    def _noise(self, band: str, source: int, number: int) -> np.ndarray:
        return bank().cut(band, int(self.offset[band][source]) + number * COUNT)

    def _eeg(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the four channels (4, samples), and the slow waves that the eye electrodes pick up."""
        eeg = np.zeros((len(EEG), COUNT), dtype=np.float32)
        level = {name: float(self.level[name][number]) for name in WEIGHT}
        level["alpha"] *= self.sleeper.alpha
        own = np.float32(np.sqrt(1 - TOGETHER**2))
        for name, weight in WEIGHT.items():
            sources = np.stack([self._noise(name, i, number) for i in range(5)])
            waxing = 1 + 0.6 * self._noise("drift", 6, number) if name == "alpha" else np.float32(1)
            mixed = (np.float32(TOGETHER) * sources[0] + own * sources[1:]) * waxing
            eeg += np.array(weight, dtype=np.float32)[:, None] * np.float32(level[name]) * mixed
        eeg += np.stack([np.float32(PINK) * self._noise("pink", i, number) for i in range(len(EEG))])
        events: tuple[tuple[str, Callable[[np.random.Generator], np.ndarray]], ...] = (
            ("spindles", waves.spindle), ("complexes", waves.k_complex), ("vertex", waves.vertex_wave), ("sawtooth", waves.sawtooth),
        )  # fmt: skip
        added = np.zeros(COUNT, dtype=np.float32)
        for name, wave in events:
            for _ in range(self.cues.count(name)[number]):
                waves.add(added, wave(rng), rng)
        return eeg + CENTRAL * added, eeg[0]

    def _eyes(self, number: int, slow: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return both eye channels: the eyes move together, so the channels part; waves of the head are alike in both."""
        eyes = np.float32(1.3 * self.level["roll"][number]) * self._noise("roll", 0, number)
        for name, wave in (("saccades", waves.saccades), ("blinks", waves.blink)):
            for _ in range(self.cues.count(name)[number]):
                waves.add(eyes, wave(rng), rng)
        head = np.float32(0.35) * slow + np.float32(2) * self._noise("pink", 6, number)
        return head - eyes, head + eyes

    def _legs(self, number: int, rng: np.random.Generator) -> list[np.ndarray]:
        bursts = np.full(COUNT, 2.0, dtype=np.float32)
        kicks = self.sleeper.kicks * self.quiet[number] > rng.random() * 25
        for _ in range(kicks + int(self.cues.count("movements")[number] > 0)):
            waves.add(bursts, 30 * np.hanning(int(rng.uniform(0.8, 3) * FAST)), rng)
        return [bursts * self._noise("muscle", 2 + side, number) for side in range(2)]

    def _movement(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Return how much the body moves (samples,), 0 at rest."""
        moving = np.zeros(COUNT, dtype=np.float32)
        for _ in range(self.cues.count("movements")[number]):
            waves.add(moving, np.hanning(int(rng.uniform(2, 7) * FAST)), rng)
        return moving

    def _breathing(self, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        phase, depth = breathing(self.body, number)
        flow, effort = depth * np.sin(2 * np.pi * phase), np.maximum(depth, 0.5)  # effort goes on through a pause
        loud = np.repeat(np.clip(flow, 0, None) * self.quiet[number], 128 // SLOW)
        snore = self.sleeper.snoring * loud
        volume = 38 + 14 * np.log10(1 + snore[:: 128 // 8] / 4) + rng.normal(0, 0.7, SECONDS * 8)
        return {
            "Flow": 0.8 * flow + rng.normal(0, 0.02, len(flow)),
            "Thermistor": 90 * depth * np.sin(2 * np.pi * (phase - 0.08)) + rng.normal(0, 2, len(flow)),
            "Thorax": -85 * effort * np.cos(2 * np.pi * phase) + rng.normal(0, 2, len(flow)),
            "Abdomen": -85 * effort * np.cos(2 * np.pi * (phase - 0.04)) + rng.normal(0, 2, len(flow)),
            "Snore": (2 + snore) * rng.normal(size=len(snore)),
            "Volume": volume,
        }

    def _posture(self, number: int, moving: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        held = self.body.posture[np.searchsorted(self.body.turned, number, side="right") - 1]
        shake = 0.4 * moving[:: FAST // SLOW, None] + 0.004
        values = held + shake * rng.normal(size=(SECONDS * SLOW, 3))
        return {f"Accelerometer {axis}": values[:, i] for i, axis in enumerate("XYZ")}

    def _electrode(self, name: str, samples: np.ndarray, number: int) -> np.ndarray:
        """Return what the recorder gets of a signal: its gain, and of a bad electrode weak waves below drift and mains hum."""
        unit = CHANNELS[name].unit
        if unit not in ("uV", "mV"):
            return samples
        samples = samples * np.float32(self.sleeper.gains[name])
        if name in self.sleeper.loose:
            scale = np.float32(0.01 if unit == "mV" else 1.0)
            return np.float32(0.6) * samples + scale * (8 * self._noise("drift", 7, number) + 4 * self._noise("muscle", 6, number))
        return samples
