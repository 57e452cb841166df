"""What goes on through a whole night: heartbeats, breaths with their pauses, oxygen, turning over.

All of it is drawn once a recording, from its cues and from what is the sleeper's own, so that it runs on over the epochs' borders.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tapetum.systems.sleep_images.channels import SECONDS, SLOW
from tapetum.systems.sleep_images.cues import Cues

PAUSE = (12.0, 35.0)  # seconds
DELAY = 18.0  # seconds from a pause's end to the lowest oxygen


@dataclasses.dataclass(frozen=True)
class Sleeper:
    """What a recording's epochs have in common; no stage has a part in it.

    Args:
        gains: channel → factor of its amplitude.
        missing: channels that were not recorded.
        loose: channels with a bad electrode.
        alpha: factor of the alpha rhythm; one in ten sleepers has hardly any.
        pulse: seconds from beat to beat.
        breath: seconds from breath to breath.
        pauses: of breathing, an hour.
        snoring: µV.
        kicks: legs move every so many seconds; 0 for never.
        oxygen: percent, at rest.
        seed: of all draws by epoch.
    """

    gains: dict[str, float]
    missing: frozenset[str]
    loose: frozenset[str]
    alpha: float
    pulse: float
    breath: float
    pauses: float
    snoring: float
    kicks: float
    oxygen: float
    seed: int


@dataclasses.dataclass(frozen=True)
class Body:
    """The slow course of a night.

    Args:
        beats: (B,) seconds at which the heart beats.
        breaths: (R,) seconds at which breaths begin.
        depth: (R,) of each breath, 1 at rest.
        oxygen: (seconds,) percent.
        posture: (postures, 3) direction of gravity, in g.
        turned: (postures,) epoch from which each posture holds.
    """

    beats: np.ndarray
    breaths: np.ndarray
    depth: np.ndarray
    oxygen: np.ndarray
    posture: np.ndarray
    turned: np.ndarray


def asleep(cues: Cues) -> np.ndarray:
    """Return how much an epoch looks like sleep (T,), 0…1; of its cues alone."""
    return np.asarray(1 / (1 + (cues.level("alpha") / cues.level("theta")) ** 4))


def live(cues: Cues, sleeper: Sleeper, rng: np.random.Generator) -> Body:
    """Return the course of a night."""
    epochs = len(cues.levels)
    end = float(epochs * SECONDS)
    irregular = cues.level("breath")
    beats = _cycles(sleeper.pulse, 0.25 * irregular, end, rng)
    breaths = _cycles(sleeper.breath, 0.8 * irregular, end, rng)
    at = np.clip((breaths / SECONDS).astype(int), 0, epochs - 1)
    depth = np.clip(1 + irregular[at] * rng.normal(size=len(breaths)), 0.3, 2)
    quiet = asleep(cues)
    wanted = rng.poisson(sleeper.pauses * end / 3600)
    starts = rng.uniform(0, end, wanted)
    starts = np.sort(starts[rng.random(wanted) < quiet[np.clip((starts / SECONDS).astype(int), 0, epochs - 1)]])
    seconds = np.arange(int(end))
    fall = np.zeros(len(seconds))
    for start in starts:
        last, share = rng.uniform(*PAUSE), rng.choice([0.08, 0.4])
        depth[(breaths >= start) & (breaths < start + last)] *= share
        fall += (1 - share) * last / 5 * np.exp(-0.5 * ((seconds - start - last - DELAY) / 12) ** 2)
    wander = np.interp(seconds, np.linspace(0, end, epochs // 10 + 2), rng.normal(0, 0.5, epochs // 10 + 2))
    oxygen = np.round(np.clip(sleeper.oxygen + wander - fall, 55, 100))
    moves = np.flatnonzero(rng.random(epochs) < 0.15 * np.minimum(cues.count("movements"), 1))
    turned = np.r_[0, moves]
    direction = rng.normal(size=(len(turned), 3))
    return Body(beats, breaths, depth, oxygen, direction / np.linalg.norm(direction, axis=1, keepdims=True), turned)


def breathing(body: Body, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the phase of the breath (0 …, a breath a unit) and its depth, at the belts' rate through an epoch."""
    seconds = epoch * SECONDS + np.arange(SECONDS * SLOW) / SLOW
    phase = np.interp(seconds, body.breaths, np.arange(len(body.breaths)))
    return phase % 1, np.interp(seconds, body.breaths, body.depth)


def _cycles(length: float, irregular: np.ndarray, end: float, rng: np.random.Generator) -> np.ndarray:
    """Return when cycles begin, from before 0 to after ``end``."""
    count = int(end / length * 1.6) + 20
    at = np.clip((np.arange(count) * length / SECONDS).astype(int), 0, len(irregular) - 1)
    lasts = length * np.clip(1 + irregular[at] * rng.normal(size=count), 0.6, 1.8)
    begins = np.cumsum(lasts) - rng.uniform(1, 2) * length - lasts[0]
    return np.asarray(begins[: int(np.searchsorted(begins, end)) + 2])
