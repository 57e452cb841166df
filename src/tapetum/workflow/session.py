"""What the stages of a run share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tapetum.core import draws, hashes
from tapetum.core.config import TRAINED, Recipe
from tapetum.core.errors import DataError
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.trackers import Trackers
from tapetum.data.images.form import Form
from tapetum.workflow.launch.tasks import Place

if TYPE_CHECKING:
    from tapetum.workflow.stages.budget import Clock


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
        train_rows: how many rows each fold trains on; None: all that it does not hold out.
        seed: of the draw of those.
        heldout_trains: whether held-out rows train, too.
    """

    manifest: Manifest
    bad: frozenset[int]
    train: np.ndarray
    extra: np.ndarray
    test: np.ndarray
    form: Form
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    train_rows: int | None = None
    seed: int = 0
    heldout_trains: bool = False

    @property
    def usable(self) -> np.ndarray:
        """Which rows (N,) can train or be scored: their images can be read."""
        return ~np.isin(np.arange(len(self.manifest)), list(self.bad))

    def fitting(self, fold: int) -> np.ndarray:
        """Rows that train when ``fold`` is held out: the other folds and the extra rows, without bad images (−1: all folds).

        Rows of weight 0 are not among them: they count in no loss, no class rates and no statistics. With ``heldout_trains`` the rows
        that are held out are among them. Where ``split.train_rows`` is fewer, they are drawn in proportion to the labels; a refit on
        all folds draws as many.
        """
        folds = self.manifest.fold
        every = np.union1d(self.train, self.extra)
        every = every[self.manifest.weight[every] > 0]
        rows = every[(folds[every] != fold) | (fold < 0) | self.heldout_trains].astype(np.int64)
        if self.train_rows is None or self.train_rows >= len(rows):
            return rows
        frame, targets = self.manifest.frame[rows], self.manifest.targets
        names = [t.name for t in targets if t.scored and t.kind != "regression" and t.name in frame.columns]
        labels = frame.select(names).rows() if names else [()] * len(rows)
        return rows[draws.in_proportion(labels, frame["row_id"].to_list(), self.train_rows, "train rows", self.seed, fold)]

    def heldout(self, fold: int) -> np.ndarray:
        """Rows that ``fold`` holds out, bad images included (they are answered as missing); −1 holds nothing out."""
        split_ = self.manifest.split
        return np.flatnonzero((self.manifest.fold == fold) & (split_ == "train") & (fold >= 0))


@dataclasses.dataclass(frozen=True)
class FoldRef:
    """One fold of one member.

    Args:
        member: its name.
        recipe: the member's own, resolved.
        fold: its number; −1 is the one trained on all rows.
    """

    member: str
    recipe: Recipe
    fold: int


@dataclasses.dataclass(frozen=True)
class Session:
    """What all stages of a run share.

    Args:
        run: its folder.
        prepared: its rows and what each is for.
        recipe: with its members.
        log: receives messages about what happens.
        clock: of the budget; None where there is none.
        trackers: get each epoch's figures.
        place: where folds train; None: in this process.
        devices: processes that train a fold together.
    """

    run: Run
    prepared: Prepared
    recipe: Recipe
    log: Record
    clock: Clock | None = None
    trackers: Trackers = dataclasses.field(default_factory=Trackers)
    place: Place | None = None
    devices: int = 1

    @property
    def manifest(self) -> Manifest:
        """The rows."""
        return self.prepared.manifest

    def ref(self, member: str, fold: int) -> FoldRef:
        """Return a fold of a member of the recipe."""
        return FoldRef(member, self.recipe.members()[member], fold)

    def folder(self, ref: FoldRef) -> Path:
        """Return the folder of a member's fold."""
        return self.run.member(ref.member, ref.fold)

    def heldout_answers(self, member: str, file: str) -> dict[int, Predictions]:
        """Return fold → the held-out answers that a member's folds keep in ``file``.

        Raises:
            DataError: a file is that of another fold, or of other rows, or of another recipe.
        """
        found, rows, ids = {}, self.manifest.content_hash(), np.array(self.manifest.row_ids, dtype=object)
        for fold, path in self.run.folds_of(member, file).items():
            hashes.check_fold(path.parent)
            found[fold] = table = Predictions.read(path)
            if set(table.frame["row_id"].unique().to_list()) - set(ids[self.prepared.heldout(fold)].tolist()):
                raise misplaced(path, f"has answers of rows that fold {fold} does not hold out")
            if table.manifest_hash not in ("", rows):
                raise misplaced(path, "was written for other rows")
            if table.recipe_hash.startswith(TRAINED) and table.recipe_hash != self.recipe.trained_hash():
                raise misplaced(path, "was written by another recipe")
        return found

    def without_budget(self) -> Session:
        """Return the same session without a budget."""
        return dataclasses.replace(self, clock=None)


def misplaced(path: Path, what: str) -> DataError:
    """Return the error for a file of a fold that was copied there from elsewhere."""
    return DataError(f"{path} {what}", fix=hashes.mend_fold(path.parent))
