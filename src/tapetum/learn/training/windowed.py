"""Training over windows of neighbouring rows: what differs from training on single images, and nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tapetum.core import draws, files
from tapetum.core.config import Predict, Recipe, Stage
from tapetum.core.errors import DataError
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.data.images import dataset, sampling
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import features, inference, models, windows
from tapetum.learn.answering import Answering
from tapetum.learn.models import sequence as networks
from tapetum.learn.runtime import Runtime
from tapetum.learn.training.fold import Fold, Training
from tapetum.learn.training.keep import Keeper

MEASURED = 32  # training rows whose windows tell the scale of vectors, end to end
TWICE = 2  # windows in which an epoch shows a row on average, where every step is answered


class OverSequences(Training):
    """The training of one fold of a sequence model.

    Args:
        fold: with ``windows``.
    """

    def __init__(self, fold: Fold) -> None:
        super().__init__(fold)
        trains = torch.zeros(len(fold.manifest), dtype=torch.bool)
        trains[torch.from_numpy(fold.train)] = True  # a window may show rows that are held out (folds by image): never their truth
        trains = self.runtime.to_device(trains)
        unknown = {name: torch.where(trains[:, None], y, torch.nan) for name, y in self.on_device.items()}
        self.on_device = {name: windows.padded(y, torch.nan) for name, y in unknown.items()}
        self.weight = windows.padded(self.weight, 0.0)
        self.side = None if self.side is None else windows.padded(self.side, 0.0)

    def _source(self, stage: Stage, *, augmented: bool) -> windows.Source:
        source: windows.Source = self.fold.windows
        if source.vectors is not None:
            return source
        return dataclasses.replace(source, images=self.inputs_of(stage)[0 if augmented else 1])

    def _order(self) -> sampling.Order:
        """Return the epoch's target rows; where every step is answered, a drawn part of them is enough to show each row twice."""
        whole = super()._order()
        if self.recipe.sequence.target != "all":
            return whole
        some = min(len(whole), max(2, math.ceil(TWICE * len(whole) / self.recipe.sequence.length)))
        return sampling.Order(whole.rows[:some], whole.occurrence[:some])

    def _batches(
        self, stage: Stage, rows: np.ndarray, sizes: Sequence[int], key: Callable[[str, int], int] | None = None
    ) -> Iterator[dataset.Batch]:
        return self._source(stage, augmented=key is not None).batches(rows, sizes, key, self.recipe.train.workers)

    def _answers(self, stage: Stage, rows: np.ndarray, predict: Predict, *front: str) -> inference.Answers:
        network: Any = self.network
        source = self._source(stage, augmented=False)
        side = None if self.side is None else {0: self.side}
        return windows.answer_folds({0: network}, source, rows, predict, self.runtime, side=side)[0]


def training_of(fold: Fold) -> Training:
    """Return the training that suits a fold."""
    return Training(fold) if fold.windows is None else OverSequences(fold)


def prepare(
    spec: dict[str, Any],
    recipe: Recipe,
    manifest: Manifest,
    base: models.Network,
    train: np.ndarray,
    folder: Path,
    runtime: Runtime,
    log: Log,
) -> tuple[networks.SequenceNetwork, windows.Source]:
    """Return the sequence network at step 0, and its windows: over images, or over vectors computed once.

    Args:
        spec: of the job; ``features`` says where the vectors come from.
        recipe: of the member.
        manifest: all rows.
        base: the network of single images that the recipe describes.
        train: row numbers that train.
        folder: the fold's, from which the spec's places are counted.
        runtime: that computes the vectors.
        log: where messages go.
    """
    windows.check(recipe)
    network = networks.around(base, recipe.model, recipe.sequence, side=len(manifest.side), seed=recipe.seed + spec["fold"], log=log)
    for name in network.targets:
        network.head(name).measure(torch.from_numpy(manifest.truth(name)[train]))
    source = windows.of_recipe(manifest, recipe.sequence)
    wanted = spec["features"]
    if recipe.predict.views not in ("plain", ("plain",)):
        log(f"member {spec['member']} is a sequence model, which takes the plain view only")
    if wanted is not None and recipe.augment:
        log(f"member {spec['member']} trains on kept vectors, which no augmentation changes")
    if wanted is None:
        _measure_some(network, recipe, manifest, train, source, Form.from_dict(spec["form"]), runtime)
        return network, source
    if wanted["from"] is not None:
        load_base(network, Keeper(folder / wanted["from"]["folder"]), wanted["from"]["checkpoint"])
    part = manifest.where(np.flatnonzero((manifest.split != "test") & ~manifest.beside_test))
    known = {"form": Form.from_dict(spec["form"]), "missing": spec.get("missing", {})}
    images = dataset.ImageDataset(part, recipe.input, EvalTransform(recipe.input), **known)
    answering = Answering.from_plan(spec.get("answers")).runtime(runtime, len(part))
    vectors, reasons = _vectors(network, manifest, images, (folder / wanted["store"]).resolve(), answering, log)
    network.measure(torch.from_numpy(vectors[train]))
    network.backbone = nn.Identity()  # its vectors are at hand: neither trained nor kept with every epoch
    return network, dataclasses.replace(source, vectors=vectors, reasons=reasons)


@torch.no_grad()
def _measure_some(
    network: networks.SequenceNetwork,
    recipe: Recipe,
    manifest: Manifest,
    train: np.ndarray,
    source: windows.Source,
    form: Form,
    runtime: Runtime,
) -> None:
    """Take the scale of the steps' vectors from some training rows, as the backbone starts."""
    some = train[draws.evenly(len(train), MEASURED)]
    images = dataset.ImageDataset(manifest, recipe.input, EvalTransform(recipe.input), form=form)
    runtime.to_device(network).eval()
    found = []
    for batch in dataclasses.replace(source, images=images).batches(some, 8):
        x: Any = runtime.to_device(batch.x)
        values, mask = (x.values, x.mask) if network.joined is None else network.cut(x.values, x.mask)
        found.append(torch.from_numpy(windows.step_vectors(network, values[mask], runtime)))
    network.measure(torch.cat(found))


def load_base(network: models.Network, keeper: Keeper, checkpoint: str) -> None:
    """Take backbone and normalisation from a checkpoint of another member's fold.

    Raises:
        DataError: the checkpoint does not fit.
    """
    state = keeper.checkpoint(checkpoint)
    trunk_keys = {key for key in network.state_dict() if key.startswith("backbone.") or key in ("mean", "std")}
    if not trunk_keys <= set(state):
        raise DataError(f"{keeper.folder} was trained with another backbone", fix="fit again in a new folder")
    network.load_state_dict({key: state[key] for key in trunk_keys}, strict=False)


def _vectors(
    network: networks.SequenceNetwork,
    manifest: Manifest,
    images: dataset.ImageDataset,
    store: Path,
    runtime: Runtime,
    log: Log,
) -> tuple[np.ndarray, dict[int, str]]:
    """Return the vectors of all rows (N, P, D) from the run's store, and why some rows have none; only ``images`` are computed."""
    seen = networks.StepVectors(network)
    found = features.extract(seen, images, store=store, runtime=runtime, log=log)
    flat = found.of(manifest.row_ids)[:, 0]
    reasons = {row: found.reasons[row_id] for row, row_id in enumerate(manifest.row_ids) if row_id in found.reasons}
    return flat.reshape(len(flat), network.positions, -1), reasons


def features_of(member_recipe: Recipe, run_features: Path, folder: Path, chosen: tuple[Path, str] | None) -> dict[str, Any] | None:
    """Return a spec's ``features``: None end to end, else the store and the fold whose backbone gives them, relative to the fold's folder.

    Args:
        member_recipe: the member's recipe.
        run_features: the run's store.
        folder: the fold's folder.
        chosen: (folder, checkpoint) of another member's fold; None for the pretrained backbone.
    """
    if member_recipe.sequence.length == 1 or member_recipe.sequence.features == "end-to-end":
        return None
    place = None if chosen is None else {"folder": files.relative(chosen[0], folder), "checkpoint": chosen[1]}
    return {"store": files.relative(run_features, folder), "from": place}
