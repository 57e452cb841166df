"""What the signals of an epoch show of its stage, as numbers, and what a scorer writes down.

An epoch's stage sets its cues: log-amplitudes that are normal around the stage's own, alike from one epoch to the next, and counts of
events that are Poisson. Signals are drawn from the cues alone. So nobody who looks at an image can know more of the stage than who
sees the cues, and the best that can be known of these is Bayes' rule.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tapetum.systems.sleep_images.hypnograms import K

#            Wake   N1     N2     N3     REM    deviation within a stage
LEVELS = {  # natural logarithms of amplitudes (µV, µV/s, …) that signals.py turns into waves
    "slow": (1.60, 1.75, 2.35, 3.25, 1.65, 0.45),  # 0.5–2 Hz
    "theta": (1.30, 1.90, 1.85, 1.85, 1.85, 0.45),  # 4–8 Hz
    "alpha": (2.30, 1.45, 1.10, 0.90, 1.25, 0.75),  # 8–12 Hz
    "beta": (1.30, 0.95, 0.70, 0.45, 0.90, 0.45),  # 16–30 Hz
    "tone": (2.90, 2.45, 2.15, 2.00, 1.20, 0.65),  # chin
    "roll": (1.50, 2.70, 1.10, 0.70, 1.30, 1.00),  # slow rolling eyes
    "breath": (-1.30, -1.60, -2.20, -2.70, -1.45, 0.60),  # how irregular breathing and heart are
}
EVENTS = {  # events an epoch
    "spindles": (0.0, 0.0, 1.10, 0.50, 0.0),
    "complexes": (0.0, 0.0, 0.60, 0.40, 0.0),
    "vertex": (0.0, 0.60, 0.10, 0.0, 0.0),
    "sawtooth": (0.0, 0.0, 0.0, 0.0, 0.45),
    "saccades": (0.90, 0.12, 0.03, 0.01, 1.20),
    "blinks": (2.20, 0.20, 0.03, 0.01, 0.10),
    "movements": (0.55, 0.22, 0.07, 0.03, 0.12),
}
ALIKE = 0.45  # correlation of neighbouring epochs' levels around those of their stages
MEANS = np.array([row[:K] for row in LEVELS.values()]).T  # (K, levels)
DEVIATIONS = np.array([row[K] for row in LEVELS.values()])  # (levels,)
RATES = np.array(list(EVENTS.values())).T  # (K, events)

# What a scorer writes for each stage. Rows as in the AASM's inter-scorer programme (Rosenberg & Van Hout 2013, doi 10.5664/jcsm.2350),
# where one scorer against the majority errs about half as often as two scorers against each other; N1 is the worst.
SCORED = np.array(
    [
        [0.950, 0.035, 0.008, 0.000, 0.007],
        [0.065, 0.790, 0.110, 0.000, 0.035],
        [0.006, 0.035, 0.920, 0.030, 0.009],
        [0.002, 0.000, 0.118, 0.880, 0.000],
        [0.010, 0.025, 0.020, 0.000, 0.945],
    ]
)


@dataclasses.dataclass(frozen=True)
class Cues:
    """The cues of a recording.

    Args:
        levels: (T, levels) natural logarithms, in the order of ``LEVELS``.
        events: (T, events) counts, in the order of ``EVENTS``.
    """

    levels: np.ndarray
    events: np.ndarray

    def level(self, name: str) -> np.ndarray:
        """Return an amplitude by epoch (T,)."""
        return np.asarray(np.exp(self.levels[:, list(LEVELS).index(name)]))

    def count(self, name: str) -> np.ndarray:
        """Return the number of events by epoch (T,)."""
        return np.asarray(self.events[:, list(EVENTS).index(name)])


def draw_cues(stages: np.ndarray, rng: np.random.Generator) -> Cues:
    """Return the cues of stages (T,)."""
    fresh = rng.normal(size=(len(stages), len(LEVELS)))
    around = np.empty_like(fresh)
    around[0] = fresh[0]
    for t in range(1, len(stages)):
        around[t] = ALIKE * around[t - 1] + np.sqrt(1 - ALIKE**2) * fresh[t]
    return Cues(MEANS[stages] + around * DEVIATIONS, rng.poisson(RATES[stages]))


def draw_scores(stages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what a scorer writes down for stages (T,)."""
    return np.asarray((rng.random((len(stages), 1)) > np.cumsum(SCORED[stages], axis=1)[:, :-1]).sum(axis=1))


def log_alone(cues: Cues) -> np.ndarray:
    """Return log p(cues of an epoch | stage) (T, K), up to a term that no stage changes."""
    off = (cues.levels[:, None] - MEANS) / DEVIATIONS
    return np.asarray(-0.5 * (off**2).sum(axis=-1) + _log_events(cues))


def log_after(cues: Cues) -> np.ndarray:
    """Return log p(cues of an epoch | cues of the one before, its stage, the epoch's stage) (T, K, K), up to a term that no stage changes.

    Row 0 knows no epoch before; it is the same for every stage before.
    """
    off = (cues.levels[:, None] - MEANS) / DEVIATIONS  # (T, K, levels)
    step = off[1:, None, :, :] - ALIKE * off[:-1, :, None, :]
    pairs = -0.5 * (step**2).sum(axis=-1) / (1 - ALIKE**2)
    first = np.broadcast_to(-0.5 * (off[:1, None] ** 2).sum(axis=-1), (1, K, K))
    return np.asarray(np.concatenate([first, pairs]) + _log_events(cues)[:, None, :])


def _log_events(cues: Cues) -> np.ndarray:
    """Return log p(counts | stage) (T, K); −∞ where a stage never has an event."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = cues.events[:, None] * np.log(RATES)
    return np.asarray(np.where(cues.events[:, None] == 0, 0.0, logs).sum(axis=-1) - RATES.sum(axis=-1))
