"""Vectors of identities: written by row for every fold, searched for held-out rows, and shipped as the pipeline's gallery.

A member with a target that names individuals (``scored = false``, cosine head) leaves beside its predictions a vector for each row
that its fold trains on or holds out. Held-out rows look for their neighbour among the rows that this very model was trained on, as
new images will.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files, hashes
from tapetum.core.choices import name_of
from tapetum.core.config import Recipe
from tapetum.core.tables import Manifest
from tapetum.core.vectors import Gallery, Neighbors, Vectors
from tapetum.core.words import plural
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.transforms import EvalTransform
from tapetum.decide.choose import EpochChoice
from tapetum.learn.answering import Answering
from tapetum.learn.choices import head_of
from tapetum.learn.embedding import embed
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.training.keep import Keeper
from tapetum.workflow.session import FoldRef, Prepared, Session
from tapetum.workflow.stages.networks import network_at

STEP = "retrieval"


@dataclasses.dataclass(frozen=True)
class Shipped:
    """The rows that one model of the pipeline searches for neighbours."""

    member: str
    fold: int
    target: str
    gallery: Gallery


def neighbors_of(session: Session, epochs: Mapping[str, EpochChoice], ids: Sequence[str]) -> Neighbors | None:
    """Return the nearest training row of each held-out row; None where no member learned identities.

    Args:
        session: whose run has the members' folders; vectors that are not there yet are computed and kept.
        epochs: member → the checkpoints chosen; each fold is searched at the one that answers for it.
        ids: row ids wanted, in order.
    """
    manifest = session.manifest
    truths = _truths(manifest)
    place = {row_id: i for i, row_id in enumerate(ids)}
    found: list[Neighbors] = []
    for member, member_recipe, target in _identities(session.recipe, manifest):
        if member not in epochs:
            continue
        work = _Work(session, member, member_recipe, target, _images(session.prepared, member_recipe))
        neighbors = Neighbors(
            np.full((len(ids), 1), np.nan, dtype=np.float32),
            {name: np.full((len(ids), 1, y.shape[1]), np.nan, dtype=np.float32) for name, y in truths.items()},
        )
        for fold, checkpoint in epochs[member].per_fold.items():
            vectors = work.vectors(fold, checkpoint, heldout=True)
            heldout = manifest.fold[work.rows(fold, heldout=True)] == fold
            here = work.gallery(fold, checkpoint, truths).nearest(vectors.where(heldout).matrix)
            known = [i for i, row_id in enumerate(vectors.row_ids[heldout]) if row_id in place]
            to = [place[row_id] for row_id in vectors.row_ids[heldout][known]]
            neighbors.cosine[to] = here.cosine[known]
            for name, y in here.y.items():
                neighbors.y[name][to] = y[known]
        found.append(neighbors)
    return Neighbors.joined(found) if found else None


def galleries(session: Session, decisions: Mapping[str, Any], ships: Mapping[str, Sequence[int]]) -> list[Shipped]:
    """Return what the pipeline searches: the training rows of every model that ships, where any target takes neighbours' labels.

    Args:
        session: whose run has the members' folders.
        decisions: decisions.json.
        ships: member → folds whose models go in; −1 is the one trained on all rows.
    """
    if not any(_shipped(chain) for chain in decisions["steps"].values()):
        return []
    manifest = session.manifest
    truths = _truths(manifest)
    found: list[Shipped] = []
    for member, member_recipe, target in _identities(session.recipe, manifest):
        work = _Work(session, member, member_recipe, target, _images(session.prepared, member_recipe))
        for fold in ships.get(member, ()):
            final, known = decisions["epochs"][member]["final"], Keeper(session.run.member(member, fold)).state()["checkpoints"]
            found.append(Shipped(member, fold, target, work.gallery(fold, final if final in known else known[-1], truths)))
    return found


def _shipped(chain: Mapping[str, Any]) -> bool:
    """Tell whether a target's steps, as they go into the pipeline, take neighbours' labels."""
    steps = zip(chain["steps"], chain["final"]["steps"], strict=True)
    return any(step["name"] == STEP and values["bound"] is not None for step, values in steps)


def _identities(recipe: Recipe, manifest: Manifest) -> Iterator[tuple[str, Recipe, str]]:
    """Yield (member, its recipe, target) where a member of single images gives vectors of identities."""
    for member, member_recipe in recipe.members().items():
        if member_recipe.sequence.length > 1 or not (member_recipe.stages or member_recipe.train.epochs):
            continue
        for target in manifest.targets:
            head = head_of(member_recipe.model, target)
            if target.is_identity and name_of(head) == "cosine":
                yield member, member_recipe, target.name


def _images(prepared: Prepared, member_recipe: Recipe) -> ImageDataset:
    return ImageDataset(
        prepared.manifest, member_recipe.input, EvalTransform(member_recipe.input), form=prepared.form, missing=prepared.reasons
    )


def _truths(manifest: Manifest) -> dict[str, np.ndarray]:
    return {t.name: manifest.truth(t.name) for t in manifest.targets if t.scored}


@dataclasses.dataclass(frozen=True)
class _Work:
    """The vectors of one member's identities, from its folders or computed into them."""

    session: Session
    member: str
    member_recipe: Recipe
    target: str
    images: ImageDataset

    def rows(self, fold: int, *, heldout: bool) -> np.ndarray:
        """Return the rows that a fold's file holds: those that train, with ``held`` those held out too, in the manifest's order."""
        train = self.session.prepared.fitting(fold)
        return np.union1d(train, self.session.prepared.heldout(fold)) if heldout else train

    def file(self, fold: int, checkpoint: str) -> Path:
        return self.session.run.member(self.member, fold) / "vectors" / f"{self.target}@{checkpoint.replace('/', '+')}.parquet"

    def vectors(self, fold: int, checkpoint: str, *, heldout: bool) -> Vectors:
        """Return the vectors of a fold's rows at a checkpoint."""
        file, rows = self.file(fold, checkpoint), self.rows(fold, heldout=heldout)
        wanted = np.array(self.session.prepared.manifest.row_ids, dtype=object)[rows]
        if file.exists():
            kept = Vectors.read(file)
            place = {row_id: i for i, row_id in enumerate(kept.row_ids)}
            if all(row_id in place for row_id in wanted):
                return kept.where(np.array([place[row_id] for row_id in wanted], dtype=np.int64))
        ref = FoldRef(self.member, self.member_recipe, fold)
        network, scaling = network_at(self.session, ref, checkpoint)
        plan = self.session.run.plan()["members"][self.member]
        how: dict[str, Any] = {"scaling": scaling, "batch": self.member_recipe.predict.batch}
        with Answering.from_plan(plan.get("answers")).of(network, Runtime(Engine.from_dict(plan["engine"])), len(rows)) as runtime:
            found = embed(network, self.images, rows, self.target, runtime, **how)
        folder = self.session.folder(ref)
        with hashes.renewed(folder, files.relative(file, folder)):
            found.write(file, {"member": self.member, "target": self.target, "fold": fold, "checkpoint": checkpoint})
        whose = "all rows" if fold < 0 else f"fold {fold}"
        self.session.log(f"member {self.member} {whose}: vectors of {self.target!r} for {plural(len(rows), 'row')} at {checkpoint}")
        return found

    def gallery(self, fold: int, checkpoint: str, truths: Mapping[str, np.ndarray]) -> Gallery:
        """Return a fold's training rows that have a vector and a known truth of some target."""
        rows = self.rows(fold, heldout=False)
        vectors = self.vectors(fold, checkpoint, heldout=False)
        known = np.logical_or.reduce([~np.isnan(y[rows]).any(axis=1) for y in truths.values()])
        use = known & np.isfinite(vectors.matrix).all(axis=1)
        return Gallery(vectors.where(use), {name: y[rows][use] for name, y in truths.items()})
