"""How far two ways of computing agree on the same images: the share of equal labels, and the largest difference of a probability.

Of labels that differ, close calls are counted: there rounding alone can decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapetum.core.answers import labels
from tapetum.core.errors import DataError, listed
from tapetum.core.tables import Dense, decided
from tapetum.core.words import plural

AGREEMENT = 0.995  # share of images whose label must be the reference's
CLOSE = 0.005  # of a number: part of the deviation of the reference's answers by which it may differ and count as the same
CLOSE_CALL = 0.05  # of a probability: the reference's best two classes lie nearer, or a label of several moved by less
CONSTANT = 1e-3  # a class whose probability moves by less than this over all images has no label to compare: rounding would decide it


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far two ways agree.

    Args:
        images: that both could read.
        targets: target → ``{"agreement", "largest_difference", "differ", "close_calls"}``: the share of equal labels, of a probability,
            images with another label, and how many of those are close calls, see :data:`CLOSE_CALL`.
    """

    images: int
    targets: dict[str, dict[str, float]]

    @property
    def low(self) -> list[str]:
        """The targets that agree too little, in words."""
        return [
            f"{name}: {one['agreement']:.2%} of the labels agree, largest difference {one['largest_difference']:.2g}{_close(one)}"
            for name, one in self.targets.items()
            if one["agreement"] < AGREEMENT
        ]

    def summary(self) -> str:
        """Return the least agreement and the largest difference as words."""
        worst = min(self.targets.values(), key=lambda one: one["agreement"])
        most = max(one["largest_difference"] for one in self.targets.values())
        share = f"{worst['agreement']:.1%} of the labels of {plural(self.images, 'image')} agree"
        return f"{share}, largest difference {most:.2g}{_close(worst)}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)


def _close(one: Mapping[str, float]) -> str:
    """Return how many labels differ, and how many of those are close calls, in words; nothing where none differs."""
    if not one["differ"]:
        return ""
    return f"; {one['differ']:,} with another label, {one['close_calls']:,} of them close calls (within {CLOSE_CALL:g} of it)"


def agreement(ours: Mapping[str, Dense], theirs: Mapping[str, Dense], other: str = "the other") -> Agreement:
    """Compare two answers to the same rows.

    Args:
        ours: target → the reference's answers.
        theirs: target → the other's.
        other: what errors call the other.

    Raises:
        DataError: rows that only one could read, or no row that can be read.
    """
    out: dict[str, dict[str, float]] = {}
    for name, mine in ours.items():
        also = theirs[name]
        if not np.array_equal(mine.ok, also.ok):
            odd = mine.row_ids[np.flatnonzero(mine.ok != also.ok)].tolist()
            raise DataError(f"images were answered by one of the pipeline and {other} only: {listed(odd, 3)}", fix="repair or remove them")
        if not mine.ok.any():
            raise DataError("not one image to compare the answers on can be read", fix="give images that can: --images DIR")
        p, q = mine.p[mine.ok], also.p[mine.ok]
        same = _same(mine, also, p, q)
        out[name] = {
            "agreement": float(same.mean()),
            "largest_difference": float(np.abs(p - q).max()),
            "differ": int((~same).sum()),
            "close_calls": int((~same & _is_close(mine, also, p, q)).sum()),
        }
    first = next(iter(ours.values()))
    return Agreement(int(first.ok.sum()), out)


def _same(mine: Dense, also: Dense, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return which of the rows that can be read (N,) have the same label."""
    if mine.target.kind == "regression":
        near: np.ndarray = np.abs(p - q)[:, 0] <= CLOSE * max(float(p.std()), 1e-6)
        return near
    if mine.target.kind == "multi":
        moves = np.ptp(p, axis=0) >= CONSTANT
        alike = (decided(mine)[mine.ok] == decided(also)[mine.ok]) | (~moves & (np.abs(p - q) < CONSTANT))
        return np.asarray(alike.all(axis=1))
    pairs = zip(labels(mine), labels(also), mine.ok, strict=True)
    return np.array([a == b for a, b, ok in pairs if ok])


def _is_close(mine: Dense, also: Dense, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return in which of the rows that can be read (N,) rounding alone can decide the label."""
    if mine.target.kind == "regression":
        return np.zeros(len(p), dtype=bool)
    if mine.target.kind == "multi":  # a label that flips lies no farther from its threshold than its probability moved
        other = decided(mine)[mine.ok] != decided(also)[mine.ok]
        near: np.ndarray = (~other | (np.abs(p - q) < CLOSE_CALL)).all(axis=1)
        return near
    best = np.sort(p, axis=1)
    return np.asarray(best[:, -1] - best[:, -2] < CLOSE_CALL)
