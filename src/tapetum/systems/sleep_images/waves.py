"""Single waves, in µV at the electrodes' rate: what a scorer looks for in an epoch."""

from __future__ import annotations

import numpy as np

from tapetum.systems.sleep_images.channels import FAST


def add(samples: np.ndarray, wave: np.ndarray, rng: np.random.Generator) -> None:
    """Add a wave to an epoch's samples at a random place, whole."""
    start = int(rng.integers(0, max(1, len(samples) - len(wave))))
    samples[start : start + len(wave)] += wave[: len(samples) - start]


def spindle(rng: np.random.Generator) -> np.ndarray:
    """Return 0.6 to 1.5 seconds of 12.5 to 14.5 Hz that swell and fade."""
    t = np.arange(int(rng.uniform(0.6, 1.5) * FAST)) / FAST
    return np.asarray(rng.uniform(22, 38) * np.hanning(len(t)) * np.sin(2 * np.pi * rng.uniform(12.5, 14.5) * t), dtype=np.float32)


def k_complex(rng: np.random.Generator) -> np.ndarray:
    """Return a sharp negative wave and a slower positive one, at least half a second together."""
    t = np.arange(int(rng.uniform(0.9, 1.4) * FAST)) / FAST
    width = len(t) / FAST
    down = -np.exp(-0.5 * ((t - 0.3 * width) / (0.08 * width)) ** 2)
    up = 0.7 * np.exp(-0.5 * ((t - 0.6 * width) / (0.14 * width)) ** 2)
    return np.asarray(rng.uniform(75, 130) * (down + up), dtype=np.float32)


def vertex_wave(rng: np.random.Generator) -> np.ndarray:
    """Return a sharp negative wave of less than half a second."""
    t = np.arange(int(0.4 * FAST)) / FAST
    return np.asarray(-rng.uniform(50, 80) * np.exp(-0.5 * ((t - 0.2) / 0.045) ** 2), dtype=np.float32)


def sawtooth(rng: np.random.Generator) -> np.ndarray:
    """Return two to four seconds of 2 to 5 Hz triangles, notched."""
    t = np.arange(int(rng.uniform(2, 4) * FAST)) / FAST
    phase = (t * rng.uniform(2.2, 4.5)) % 1
    return np.asarray(rng.uniform(18, 28) * np.hanning(len(t)) ** 0.5 * (2 * phase - 1), dtype=np.float32)


def saccades(rng: np.random.Generator) -> np.ndarray:
    """Return a burst of two to five quick movements of the eyes, each of which the recorder's high-pass filter lets fade."""
    out = np.zeros(int(3.5 * FAST), dtype=np.float32)
    for at in rng.uniform(0, 1.8, int(rng.integers(2, 6))):
        t = np.arange(len(out) - int(at * FAST)) / FAST
        step = (1 - np.exp(-t / 0.03)) * np.exp(-t / 0.5)
        out[len(out) - len(t) :] += rng.choice((-1, 1)) * rng.uniform(30, 75) * step
    return out * np.minimum(1, np.arange(len(out), 0, -1) / (0.2 * FAST)).astype(np.float32)


def blink(rng: np.random.Generator) -> np.ndarray:
    """Return a quarter of a second in which lids close and open."""
    return np.asarray(rng.uniform(60, 110) * np.hanning(int(rng.uniform(0.22, 0.35) * FAST)), dtype=np.float32)


def heart(beats: np.ndarray, count: int, rate: int) -> np.ndarray:
    """Return ``count`` samples, in mV, of an ECG whose heart beats at ``beats`` seconds from the first sample."""
    out = np.zeros(count + 2 * rate, dtype=np.float32)
    shape = _beat(rate)
    for beat in beats[(beats > -0.6) & (beats < count / rate + 0.2)]:
        start = int((beat + 1) * rate) - int(0.25 * rate)
        out[max(0, start) : start + len(shape)] += shape[max(0, -start) : max(0, len(out) - start)]
    return out[rate : rate + count]


def _beat(rate: int) -> np.ndarray:
    """Return one beat, its R wave after a quarter of a second: P, Q, R, S and T as bell curves (seconds, mV, width)."""
    t = np.arange(int(0.8 * rate)) / rate
    parts = ((0.08, 0.06, 0.025), (0.225, -0.06, 0.01), (0.25, 0.6, 0.011), (0.28, -0.12, 0.012), (0.5, 0.14, 0.05))
    return np.asarray(sum(a * np.exp(-0.5 * ((t - at) / w) ** 2) for at, a, w in parts), dtype=np.float32)
