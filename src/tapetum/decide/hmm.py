"""Hidden Markov chains over classes, many sequences at once: estimation, forward–backward and Viterbi, with or without durations.

Durations are explicit (semi-Markov) by letting the state be (class, age): at each age a class ends with a probability of its own and
past the oldest age with a constant one, which makes the semi-Markov chain an ordinary one and keeps the recursions exact.
Source: Rabiner 1989 (doi 10.1109/5.18626); Yu 2010 on hidden semi-Markov models (doi 10.1016/j.artint.2009.11.011).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tapetum.core.errors import DataError
from tapetum.core.words import plural

_TINY = 1e-300
_FLOATS = 8_000_000  # of forward messages held at once


@dataclasses.dataclass(frozen=True)
class Chain:
    """How classes follow one another.

    Args:
        start: (K,) shares of the first slot.
        move: (K, K), row = from; rows sum to 1. With ``ending``, the diagonal is 0: it says where to, once a class ends.
        ending: (K, D) probability that a class ends after age 1 … D slots; the last holds for all older ages. None: geometric.
    """

    start: np.ndarray
    move: np.ndarray
    ending: np.ndarray | None = None

    def __post_init__(self) -> None:
        k = len(self.start)
        if self.move.shape != (k, k) or (self.ending is not None and len(self.ending) != k):
            raise DataError(f"transitions have shape {self.move.shape} for {plural(k, 'class', 'classes')}", need=f"({k}, {k})")
        wrong = ~np.isclose(self.move.sum(axis=1), 1.0, atol=1e-3) | (self.move < 0).any(axis=1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(f"row {row} of the transitions is {self.move[row].tolist()}", need="shares that sum to 1")
        if self.ending is not None and not (self.ending.ndim == 2 and self.ending.size and _are_shares(self.ending)):
            raise DataError(
                f"ending is {self.ending.tolist()}",
                need=f"({k}, D) shares from 0 to 1, by class and age, those of the last age above 0, else a class never ends",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        ending = None if self.ending is None else self.ending.tolist()
        return {"start": self.start.tolist(), "move": self.move.tolist(), "ending": ending}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Chain:
        """Rebuild from :meth:`to_dict`, or from a bare ``{"move": …}``, with ``ending`` or without (start: its stationary shares)."""
        move = np.asarray(value["move"], dtype=np.float64)
        ending = None if value.get("ending") is None else np.asarray(value["ending"], dtype=np.float64)
        if value.get("start") is not None:
            return cls(np.asarray(value["start"], dtype=np.float64), move, ending)
        chain = cls(stationary(move), move, ending)
        if ending is None:
            return chain
        slots = chain.start * _survival(ending).sum(axis=1)  # runs of a class times their mean length
        return dataclasses.replace(chain, start=slots / slots.sum())


def _are_shares(ending: np.ndarray) -> bool:
    return bool((ending >= 0).all() and (ending <= 1).all() and (ending[:, -1] > 0).all())


def stationary(move: np.ndarray) -> np.ndarray:
    """Return the shares (K,) that transitions (K, K) leave unchanged; of several such the one that equal shares come to.

    Half of each share waits at every step: the same shares stay, and a chain that goes round in a circle settles too. Squaring takes 2^60
    steps, enough for one that hardly moves.
    """
    after = (np.eye(len(move)) + move) / 2
    for _ in range(60):
        after = after @ after
        after /= after.sum(axis=1, keepdims=True)
    share = after.mean(axis=0)
    return np.asarray(share / share.sum())


def estimate(labels: list[np.ndarray], classes: int, *, smoothing: float = 1.0, longest: int = 0) -> Chain:
    """Count a chain from labelled sequences.

    Args:
        labels: arrays (S, T) of class numbers, −1 where unknown or past the end; pairs with an unknown slot are not counted.
        classes: K.
        smoothing: what is added to each count; for ``ending`` five times this many runs of constant probability.
        longest: oldest age D with a probability of its own; 0: geometric durations.

    Returns:
        The chain; classes never seen move by the shares of all classes.
    """
    pairs, first = np.zeros((classes, classes)), np.zeros(classes)
    for block in labels:
        known = (block[:, :-1] >= 0) & (block[:, 1:] >= 0)
        codes = block[:, :-1][known] * classes + block[:, 1:][known]
        pairs += np.bincount(codes, minlength=classes * classes).reshape(classes, classes)
        opening = block[:, 0][block[:, 0] >= 0]
        first += np.bincount(opening, minlength=classes)
    share = (pairs.sum(axis=0) + smoothing) / (pairs.sum() + smoothing * classes)
    start = (first + smoothing * share) / (first.sum() + smoothing)
    counts = pairs + smoothing * share
    if not longest:
        return Chain(start, counts / counts.sum(axis=1, keepdims=True))
    ended, at_risk = _ages(labels, classes, longest)
    overall = (pairs.sum(axis=1) - np.diag(pairs) + smoothing) / (pairs.sum(axis=1) + 2 * smoothing)
    weight = 5 * smoothing
    ending = (ended + weight * overall[:, None]) / (at_risk + weight)
    np.fill_diagonal(counts, 0.0)
    return Chain(start, counts / counts.sum(axis=1, keepdims=True), np.clip(ending, 1e-4, 1 - 1e-4))


def _ages(labels: list[np.ndarray], classes: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Count, for each class and age, runs that ended there and runs that could have; runs cut by an edge count while they are seen."""
    ended, at_risk = np.zeros((classes, longest)), np.zeros((classes, longest))
    for block in labels:
        age = np.zeros(len(block), dtype=np.int64)
        for t in range(block.shape[1] - 1):
            here, after = block[:, t], block[:, t + 1]
            same = (here == block[:, t - 1]) if t else np.zeros(len(block), dtype=bool)
            born = (here != block[:, t - 1]) & (block[:, t - 1] >= 0) if t else np.zeros(len(block), dtype=bool)
            age = np.where(born, 1, np.where(same & (age > 0), age + 1, 0))  # 0: the beginning was not seen
            seen = (age > 0) & (here >= 0) & (after >= 0)
            cell = (here[seen], np.minimum(age[seen], longest) - 1)
            np.add.at(at_risk, cell, 1)
            np.add.at(ended, cell, (after != here)[seen])
    return ended, at_risk


def posteriors(log_emission: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """Forward–backward.

    Args:
        log_emission: (S, T, K); 0 in a slot says nothing (gaps).
        lengths: (S,) slots of each sequence, in descending order.
        chain: the transitions.

    Returns:
        (S, T, K) probability of each class given the whole sequence; rows past the end are 0.
    """
    out = np.zeros(log_emission.shape)
    ages = 1 if chain.ending is None else chain.ending.shape[1]
    for part in _parts(log_emission.shape, ages):
        e = np.exp(log_emission[part] - log_emission[part].max(axis=2, keepdims=True)).transpose(1, 0, 2)
        run = _forward_backward if chain.ending is None else _forward_backward_ages
        out[part] = run(np.ascontiguousarray(e), lengths[part], chain).transpose(1, 0, 2)
    return out


def best_path(log_emission: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """Viterbi.

    Args:
        log_emission: (S, T, K).
        lengths: (S,), descending.
        chain: the transitions, as for :func:`posteriors`.

    Returns:
        (S, T) int64, the most probable sequence of classes; −1 past the end.
    """
    out = np.full(log_emission.shape[:2], -1, dtype=np.int64)
    ages = 1 if chain.ending is None else chain.ending.shape[1]
    chain = _without_ages(chain)
    run = _viterbi if chain.ending is None else _viterbi_ages
    for part in _parts(log_emission.shape, ages):
        out[part] = run(np.ascontiguousarray(log_emission[part].transpose(1, 0, 2)), lengths[part], chain).T
    return out


def _parts(shape: tuple[int, ...], ages: int) -> Iterator[slice]:
    sequences, slots, classes = shape
    size = max(1, _FLOATS // max(1, slots * classes * ages))
    for start in range(0, sequences, size):
        yield slice(start, start + size)


def _alive(lengths: np.ndarray, slots: int) -> np.ndarray:
    """Return how many sequences reach each slot (T,); lengths descend, so these are the first ones."""
    return np.searchsorted(-lengths, -np.arange(1, slots + 1), side="right")


def _forward_backward(e: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """Return (T, S, K) from emissions (T, S, K); each message is scaled to sum to 1, which cancels in the end."""
    slots, sequences, k = e.shape
    alive, back = _alive(lengths, slots), np.ascontiguousarray(chain.move.T)
    forward = np.zeros_like(e)
    message = np.broadcast_to(chain.start, (sequences, k))
    for t in range(slots):
        n = alive[t]
        message = message[:n] * e[t, :n]
        message /= message.sum(axis=1, keepdims=True) + _TINY
        forward[t, :n] = message
        message = message @ chain.move
    behind = np.ones((sequences, k))
    for t in range(slots - 1, -1, -1):
        n = alive[t]
        forward[t, :n] *= behind[:n]
        ahead = (behind[:n] * e[t, :n]) @ back
        behind[:n] = ahead / (ahead.sum(axis=1, keepdims=True) + _TINY)
    return forward / (forward.sum(axis=2, keepdims=True) + _TINY)


def _survival(ending: np.ndarray) -> np.ndarray:
    """Return how often runs reach each age (K, D), the last column for all ages beyond it too; a row sums to the mean length of a run."""
    survive = np.cumprod(np.concatenate([np.ones((len(ending), 1)), 1 - ending[:, :-1]], axis=1), axis=1)
    survive[:, -1] /= ending[:, -1]
    return np.asarray(survive)


def _first_ages(chain: Chain) -> np.ndarray:
    """Return (K, D): a sequence opens in the middle of a run, of an age as common as runs that reach it."""
    assert chain.ending is not None
    survive = _survival(chain.ending)
    return chain.start[:, None] * survive / survive.sum(axis=1, keepdims=True)


def _forward_backward_ages(e: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """The same over states (class, age)."""
    assert chain.ending is not None
    slots, sequences = e.shape[:2]
    ending, staying = chain.ending, 1 - chain.ending
    alive = _alive(lengths, slots)
    forward = np.zeros((slots, sequences, *ending.shape))
    message = np.broadcast_to(_first_ages(chain), (sequences, *ending.shape))
    for t in range(slots):
        n = alive[t]
        here = forward[t, :n]
        np.multiply(message[:n], e[t, :n, :, None], out=here)
        here /= here.sum(axis=(1, 2), keepdims=True) + _TINY
        stay = here * staying
        message = np.empty_like(stay)
        message[:, :, 0] = np.einsum("skd,kd->sk", here, ending) @ chain.move
        message[:, :, 1:] = stay[:, :, :-1]
        message[:, :, -1] += stay[:, :, -1]
    out = np.zeros_like(e)
    behind = np.ones((sequences, *ending.shape))
    for t in range(slots - 1, -1, -1):
        n = alive[t]
        out[t, :n] = np.einsum("skd,skd->sk", forward[t, :n], behind[:n])
        seen = behind[:n] * e[t, :n, :, None]
        older = np.concatenate([seen[:, :, 1:], seen[:, :, -1:]], axis=2)
        ahead = staying * older + ending * (seen[:, :, 0] @ chain.move.T)[:, :, None]
        behind[:n] = ahead / (ahead.max(axis=(1, 2), keepdims=True) + _TINY)
    return out / (out.sum(axis=2, keepdims=True) + _TINY)


def _viterbi(log_e: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """Return (T, S) int64 from log emissions (T, S, K)."""
    slots, sequences, k = log_e.shape
    alive, move = _alive(lengths, slots), np.log(chain.move + _TINY)
    came = np.zeros((slots, sequences, k), dtype=np.int16)
    score = np.log(chain.start + _TINY) + log_e[0]
    for t in range(1, slots):
        n = alive[t]
        options = score[:n, :, None] + move
        came[t, :n] = options.argmax(axis=1)
        score[:n] = np.take_along_axis(options, came[t, :n, None, :].astype(np.int64), axis=1)[:, 0] + log_e[t, :n]
    path = np.full((slots, sequences), -1, dtype=np.int64)
    here = score.argmax(axis=1)
    for t in range(slots - 1, -1, -1):
        n = alive[t]
        path[t, :n] = here[:n]
        here[:n] = came[t, np.arange(n), here[:n]]
    return path


def _without_ages(chain: Chain) -> Chain:
    """Return a chain whose classes end with the same probability at every age as the ordinary chain that it is; others as they are."""
    if chain.ending is None or chain.ending.shape[1] > 1:
        return chain
    return Chain(chain.start, np.diag(1 - chain.ending[:, 0]) + chain.ending * chain.move)


def _viterbi_ages(log_e: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """The same over states (class, age), two ages or more; a class is entered at age 1 from the best (class, age) that ends."""
    assert chain.ending is not None
    slots, sequences, k = log_e.shape
    oldest = chain.ending.shape[1] - 1
    ending, staying, move = np.log(chain.ending + _TINY), np.log(1 - chain.ending + _TINY), np.log(chain.move + _TINY)
    alive = _alive(lengths, slots)
    from_class = np.zeros((slots, sequences, k), dtype=np.int16)
    from_age = np.zeros((slots, sequences, k), dtype=np.int16)  # by the class that ended
    was_oldest = np.zeros((slots, sequences, k), dtype=bool)
    score = np.log(_first_ages(chain) + _TINY) + log_e[0, :, :, None]
    for t in range(1, slots):
        n = alive[t]
        ended = score[:n] + ending
        from_age[t, :n] = ended.argmax(axis=2)
        options = ended.max(axis=2)[:, :, None] + move
        from_class[t, :n] = options.argmax(axis=1)
        stay = score[:n] + staying
        after = np.concatenate([options.max(axis=1)[:, :, None], stay[:, :, :-1]], axis=2)
        was_oldest[t, :n] = stay[:, :, -1] > after[:, :, -1]
        after[:, :, -1] = np.maximum(after[:, :, -1], stay[:, :, -1])
        score[:n] = after + log_e[t, :n, :, None]
    path = np.full((slots, sequences), -1, dtype=np.int64)
    here, age = np.divmod(score.reshape(sequences, -1).argmax(axis=1), oldest + 1)
    for t in range(slots - 1, -1, -1):
        n, some = alive[t], np.arange(alive[t])
        path[t, :n] = here[:n]
        fresh = age[:n] == 0
        before = np.where(fresh, from_class[t, some, here[:n]], here[:n])
        still_oldest = (age[:n] == oldest) & was_oldest[t, some, here[:n]]
        age[:n] = np.where(fresh, from_age[t, some, before], age[:n] - ~still_oldest)
        here[:n] = before
    return path
