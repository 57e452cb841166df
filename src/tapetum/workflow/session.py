"""What the stages of a run share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tapetum.core.tables import Manifest
from tapetum.data.images.form import Form


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The run's rows and what each is for.

    Args:
        manifest: with hashes and folds.
        bad: row numbers of images that cannot be read, kept as rows with status ``missing``.
        train: row numbers that train and are held out in turn.
        extra: row numbers that train and never score.
        test: row numbers of the test part.
        form: channels and depth that all images have in common.
        reasons: row_id → why its image cannot be read.
    """

    manifest: Manifest
    bad: frozenset[int]
    train: np.ndarray
    extra: np.ndarray
    test: np.ndarray
    form: Form
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def usable(self) -> np.ndarray:
        """Which rows (N,) can train or be scored: their images can be read."""
        return ~np.isin(np.arange(len(self.manifest)), list(self.bad))

    def fitting(self, fold: int) -> np.ndarray:
        """Rows that train when ``fold`` is held out: the other folds and the extra rows, without bad images (−1: all folds)."""
        own = self.manifest.fold
        every = np.union1d(self.train, self.extra)
        return every[(own[every] != fold) | (fold < 0)].astype(np.int64)

    def heldout(self, fold: int) -> np.ndarray:
        """Rows that ``fold`` holds out, bad images included (they are answered as missing); −1 holds nothing out."""
        split_ = self.manifest.split
        return np.flatnonzero((self.manifest.fold == fold) & (split_ == "train") & (fold >= 0))
