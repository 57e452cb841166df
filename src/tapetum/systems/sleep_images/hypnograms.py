"""Nights as sequences of stages: a semi-Markov chain whose numbers were fitted to real nights by ``bench/fit_hypnograms.py``.

A stage lasts as long as its ages' ending probabilities say. Where it goes then depends on the stage before it (REM that is broken by N1
comes back) and on the eighth of the night (N3 early, REM late). A recording opens with wakefulness before sleep.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib import resources
from typing import Any

import numpy as np

STAGES = ("Wake", "N1", "N2", "N3", "REM")
WAKE, N1, N2, N3, REM = range(5)
K = len(STAGES)
NONE = K  # the stage before a recording's first
FULL = 731  # epochs of a whole night
AGES = 96  # oldest age, in epochs, that has an ending probability of its own
EDGES = (1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65)  # first age of each bin of the fitted ending probabilities
SETTLING = (25.0, 0.6)  # epochs awake before sleep: median and deviation of the logarithm, as in a sleep laboratory


@dataclasses.dataclass(frozen=True)
class Nights:
    """How recordings of one length go.

    Args:
        move: (phases, K + 1, K, K) probability of each next stage, given phase of the night, the stage before, and the stage that ends.
        ending: (K + 1, K, AGES) probability that a stage ends after age 1 …, given the stage before; the last holds for all older ages.
        length: epochs of a recording.
    """

    move: np.ndarray
    ending: np.ndarray
    length: int

    def phase(self, epoch: int) -> int:
        """Return the phase of the night (0 …) in which an epoch lies."""
        return min(len(self.move) - 1, len(self.move) * epoch // self.length)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return the stages (length,) int64 of one recording."""
        out = np.empty(self.length, dtype=np.int64)
        before, here, start = NONE, WAKE, 0
        while start < self.length:
            end = min(self.length, start + self._duration(before, here, rng))
            out[start:end] = here
            before, here = here, int(rng.choice(K, p=self.move[self.phase(end - 1), before, here]))
            start = end
        return out

    def _duration(self, before: int, here: int, rng: np.random.Generator) -> int:
        chances = self.ending[before, here]
        ended = np.flatnonzero(rng.random(AGES) < chances)
        return int(ended[0]) + 1 if len(ended) else AGES + int(rng.geometric(chances[-1]))


@functools.lru_cache(maxsize=64)
def nights(length: int) -> Nights:
    """Return recordings of ``length`` epochs: the phases of a night share them, and stages last shorter in shorter recordings.

    Durations shrink with the root of the length, so that a short recording has fewer changes of stage than a night and yet all phases.
    """
    numbers = fitted()
    pace = min(1.0, (length / FULL) ** 0.5)
    ending = np.stack([_at_pace(_by_age(np.array(row)), pace) for row in numbers["ending"]])
    ending = np.repeat(ending[None], K + 1, axis=0)
    ending[NONE, WAKE] = _at_pace(_settling(), pace)
    second, tilt = np.array(numbers["second"]), np.array(numbers["tilt"])
    move = second[None] * tilt[:, None]
    opening = np.broadcast_to(np.array(numbers["onset"]), (len(tilt), 1, K, K))
    move = np.concatenate([move, opening], axis=1)
    return Nights(move / move.sum(axis=-1, keepdims=True), ending, length)


@functools.lru_cache(maxsize=1)
def fitted() -> dict[str, Any]:
    """Return the fitted numbers: ``second`` [before][ends][next], ``tilt`` [phase][ends][next], ``ending`` [stage][bin of ages], ``onset``
    (shares of the first stage of sleep), ``shares`` (of the stages from the first to the last epoch of sleep), ``source``."""
    found: dict[str, Any] = json.loads((resources.files(__package__) / "hypnograms.json").read_text(encoding="utf-8"))
    return found


def shares(length: int, rng: np.random.Generator, *, bins: int = 16, draws: int = 400) -> np.ndarray:
    """Return the shares (bins, K) of the stages in each part of a recording, from drawn ones."""
    counts = np.full((bins, K), 1e-3)
    place = np.arange(length) * bins // length
    for _ in range(draws):
        np.add.at(counts, (place, nights(length).draw(rng)), 1)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _by_age(binned: np.ndarray) -> np.ndarray:
    """Return ending probabilities by age (AGES,) from those by bin."""
    return binned[np.searchsorted(EDGES, np.arange(1, AGES + 1), side="right") - 1]


def _settling() -> np.ndarray:
    """Return the ending probabilities (AGES,) of the wakefulness before sleep: a log-normal duration."""
    from scipy.stats import norm

    median, deviation = SETTLING
    reached = norm.sf((np.log(np.arange(AGES + 1) + 0.5) - np.log(median)) / deviation)
    return np.asarray(1 - reached[1:] / reached[:-1])


def _at_pace(ending: np.ndarray, pace: float) -> np.ndarray:
    """Return the ending probabilities of durations that are multiplied by ``pace`` and rounded up."""
    if pace == 1.0:
        return ending
    longest = 20 * AGES
    chances = np.concatenate([ending, np.full(longest - AGES, ending[-1])])
    alive = np.concatenate([[1.0], np.cumprod(1 - chances)])
    shares = -np.diff(alive)
    shorter = np.bincount(np.ceil(np.arange(1, longest + 1) * pace).astype(np.int64), weights=shares)[1:]
    left = 1 - np.concatenate([[0.0], np.cumsum(shorter)[:-1]])
    return np.clip(shorter[:AGES] / np.maximum(left[:AGES], 1e-300), 1e-3, 1 - 1e-6)
