"""How well the labels of simulated nights can be told at all: from an epoch's cues, with its place in the night, and from the whole night.

All three are Bayes' rule with the generator's own numbers; the last is forward–backward over (stage before, stage, age), which is exact.
A scorer's slips are in the labels, so they are in what can be reached.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapetum.core import draws
from tapetum.systems.sleep_images import hypnograms
from tapetum.systems.sleep_images.cues import SCORED, Cues, log_after, log_alone
from tapetum.systems.sleep_images.hypnograms import AGES, NONE, WAKE, K, Nights

_TINY = 1e-300
BINS = 16  # parts of a night, each with its own shares of stages


def labels_given_epochs(cues: Cues, prior: np.ndarray) -> np.ndarray:
    """Return the probability of each label (T, K) from each epoch alone; ``prior`` is (K,) or (T, K)."""
    return _normal(log_alone(cues), prior) @ SCORED


def labels_given_night(cues: Cues) -> np.ndarray:
    """Return the probability of each label (T, K) from the whole recording."""
    return stages_given_night(cues, hypnograms.nights(len(cues.levels))) @ SCORED


def stages_given_night(cues: Cues, nights: Nights) -> np.ndarray:
    """Return the probability of each stage (T, K) by forward–backward."""
    logs = log_after(cues)
    seen = np.exp(logs - logs.max(axis=(1, 2), keepdims=True))
    same = np.ascontiguousarray(np.diagonal(seen, axis1=1, axis2=2))  # (T, K): the stage goes on
    length, ending, staying = len(seen), nights.ending, 1 - nights.ending
    forward = np.zeros((length, K + 1, K, AGES))
    forward[0, NONE, WAKE, 0] = 1.0
    for t in range(1, length):
        before, here = forward[t - 1], forward[t]
        stay = before * staying
        here[:, :, 1:] = stay[:, :, :-1]
        here[:, :, -1] += stay[:, :, -1]
        here *= same[t][None, :, None]
        leave = (before * ending).sum(axis=-1)[:, :, None] * nights.move[nights.phase(t - 1)]  # (before, from, to)
        here[:K, :, 0] = leave.sum(axis=0) * seen[t]
        here /= here.sum() + _TINY
    out = np.zeros((length, K))
    behind = np.ones((K + 1, K, AGES))
    for t in range(length - 1, -1, -1):
        out[t] = (forward[t] * behind).sum(axis=(0, 2))
        if not t:
            break
        older = np.concatenate([behind[:, :, 1:], behind[:, :, -1:]], axis=2) * same[t][None, :, None]
        entered = behind[:K, :, 0] * seen[t]  # (from, to)
        moved = (nights.move[nights.phase(t - 1)] * entered[None]).sum(axis=-1)  # (before, from)
        behind = staying * older + ending * moved[:, :, None]
        behind /= behind.max() + _TINY
    return np.asarray(out / out.sum(axis=1, keepdims=True))


def ceilings(recordings: Sequence[tuple[Cues, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Return the scores to be expected of who knows the generator.

    Args:
        recordings: cues, and which epochs are scored (T,) bool, of each recording.

    Returns:
        ``frame_wise``, ``position`` and ``order``: each with ``macro_f1`` and ``accuracy``.
    """
    by_place = {
        length: hypnograms.shares(length, draws.generator("simulate", "sleep", "shares", length), bins=BINS, draws=200)
        for length in sorted({len(cues.levels) for cues, _ in recordings})
    }
    found: dict[str, list[np.ndarray]] = {"frame_wise": [], "position": [], "order": []}
    for cues, scored in recordings:
        length = len(scored)
        places = by_place[length][np.arange(length) * BINS // length]
        found["frame_wise"].append(labels_given_epochs(cues, by_place[length].mean(axis=0))[scored])
        found["position"].append(labels_given_epochs(cues, places)[scored])
        found["order"].append(labels_given_night(cues)[scored])
    return {name: expected_scores(np.concatenate(parts)) for name, parts in found.items()}


def expected_scores(p: np.ndarray) -> dict[str, float]:
    """Return the accuracy and macro-F1 to be expected of the best decisions where labels have the probabilities ``p`` (N, K).

    Accuracy is best at the largest probability; macro-F1 at the largest p·w, whose weights are climbed to.
    """
    weights = np.ones(K)
    best = _expected_f1(p, weights)
    for step in (1.5, 1.2, 1.1, 1.05) * 3:
        for k in range(K):
            for factor in (step, 1 / step):
                tried = weights.copy()
                tried[k] *= factor
                if (value := _expected_f1(p, tried)) > best:
                    weights, best = tried, value
    return {"macro_f1": best, "accuracy": float(p.max(axis=1).mean())}


def _expected_f1(p: np.ndarray, weights: np.ndarray) -> float:
    decided = np.eye(K)[(p * weights).argmax(axis=1)]
    return float((2 * (p * decided).sum(axis=0) / np.maximum(p.sum(axis=0) + decided.sum(axis=0), _TINY)).mean())


def _normal(logs: np.ndarray, prior: np.ndarray) -> np.ndarray:
    p = np.exp(logs - logs.max(axis=1, keepdims=True)) * prior
    return np.asarray(p / (p.sum(axis=1, keepdims=True) + _TINY))
