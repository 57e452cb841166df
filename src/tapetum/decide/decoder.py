"""A chain and how far the images are believed against it: from probabilities image by image to probabilities in context."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.decide import hmm
from tapetum.decide.hmm import Chain
from tapetum.decide.sequences import Block, Sequences

HOUR = 120  # slots in one bin of the position prior: an hour of 30-second epochs
_FEW = 256  # sequences decoded together at least, where there are several settings


@dataclasses.dataclass(frozen=True)
class Decoder:
    """What decoding needs.

    A slot's log-emission is ``emission · (log p − prior_exponent · log prior) + position · drift``: a classifier's output holds the
    class shares it was trained on, which the chain brings as well; the exponent says how much of them to take out. Emissions below 1
    allow for neighbours that err together.

    Args:
        chain: how classes follow one another.
        prior: (K,) class shares of the rows that the base model was trained on.
        emission: the weight w.
        prior_exponent: a.
        drift: (bins, K) log ratio of the shares in each bin of slots since the sequence's beginning to those overall; the last bin holds
            for everything after it. Time to the end is left out: where recordings are cut by their labels, it gives the answer away.
        position: weight of the drift.
    """

    chain: Chain
    prior: np.ndarray
    emission: float = 1.0
    prior_exponent: float = 0.5
    drift: np.ndarray | None = None
    position: float = 0.0

    def log_emission(self, block: Block, log_p: np.ndarray) -> np.ndarray:
        """Return (S, T, K) of rows' log-probabilities (N, K); 0 where a slot has no row or the row no answer."""
        out = block.take(self.emission * (log_p - self.prior_exponent * np.log(self.prior)), 0.0)
        if self.drift is not None and self.position:
            out += self.position * self.drift[np.minimum(np.arange(out.shape[1]) // HOUR, len(self.drift) - 1)]
        return np.nan_to_num(out, nan=0.0)

    def posteriors(self, log_p: np.ndarray, sequences: Sequences) -> np.ndarray:
        """Return (N, K) by forward–backward; NaN for rows in no sequence."""
        return posteriors_each([self], log_p, sequences)[0]

    def path(self, log_p: np.ndarray, sequences: Sequences) -> np.ndarray:
        """Return (N,) class numbers by Viterbi; −1 for rows in no sequence."""
        out = np.full(len(log_p), -1, dtype=np.int64)
        for block in sequences:
            block.put(hmm.best_path(self.log_emission(block, log_p), block.lengths, self.chain), out)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "emission": self.emission,
            "prior_exponent": self.prior_exponent,
            "prior": self.prior.tolist(),
            "chain": self.chain.to_dict(),
            "drift": None if self.drift is None else self.drift.tolist(),
            "position": self.position,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Decoder:
        """Rebuild from :meth:`to_dict`."""
        drift = value["drift"]
        return cls(
            Chain.from_dict(value["chain"]),
            np.asarray(value["prior"], dtype=np.float64),
            value["emission"],
            value["prior_exponent"],
            None if drift is None else np.asarray(drift, dtype=np.float64),
            value["position"],
        )


def posteriors_each(decoders: Sequence[Decoder], log_p: np.ndarray, sequences: Sequences) -> list[np.ndarray]:
    """Return (N, K) for each of several decoders of one chain; few sequences go through the recursion under all of them at once."""
    out = [np.full(log_p.shape, np.nan) for _ in decoders]
    for block in sequences:
        together = max(1, _FEW // len(block.index))
        for start in range(0, len(decoders), together):
            some = decoders[start : start + together]
            stacked = np.stack([d.log_emission(block, log_p) for d in some], axis=1)
            shape = stacked.shape
            lengths = np.repeat(block.lengths, len(some))
            found = hmm.posteriors(stacked.reshape(-1, *shape[2:]), lengths, some[0].chain).reshape(shape)
            for i in range(len(some)):
                block.put(found[:, i], out[start + i])
    return out


def shares(truth: np.ndarray, classes: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Return class shares (K,) of class numbers (N,), half a row added to each class so that none is 0; ``weight`` (N,) of the rows."""
    known = truth >= 0
    counted = np.bincount(truth[known], None if weight is None else weight[known], classes) + 0.5
    return counted / counted.sum()


def estimate_drift(truth: np.ndarray, sequences: Sequences, classes: int) -> np.ndarray:
    """Return the drift (bins, K) of class numbers (N,), −1 unknown; each bin is shrunk to the overall shares by 20 rows."""
    bins = 1 + max((block.index.shape[1] - 1) // HOUR for block in sequences)
    table = np.zeros((bins, classes))
    for block in sequences:
        labels = block.take(truth, -1)
        slots = np.broadcast_to(np.arange(labels.shape[1]) // HOUR, labels.shape)
        known = labels >= 0
        table += np.bincount(slots[known] * classes + labels[known], minlength=bins * classes).reshape(bins, classes)
    overall = (table.sum(axis=0) + 0.5) / (table.sum() + 0.5 * classes)
    found = (table + 20 * overall) / (table.sum(axis=1, keepdims=True) + 20)
    return np.asarray(np.log(found / overall))
