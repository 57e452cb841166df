"""What each epoch of a fold trains on: its rows in order, their augmentation and mixing, the rate of every step."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from tapetum.core import draws, progress
from tapetum.core.config import Recipe, Stage
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.data.images import dataset, mixing, sampling
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform, TrainTransform
from tapetum.learn import models
from tapetum.learn.answering import NOTHING_ELSE, Answering
from tapetum.learn.runtime import Runtime
from tapetum.learn.side import Scaling
from tapetum.learn.training import freezing, loop, schedules
from tapetum.learn.training.keep import Keeper
from tapetum.learn.training.objective import Objective

AUTO_BATCH = 32  # images in a batch under train.batch = "auto"; where memory runs out, it is computed in pieces


@dataclasses.dataclass(frozen=True)
class Fold:
    """What training one fold needs.

    Args:
        manifest: all rows.
        recipe: the member's.
        member: its name.
        number: the fold held out; −1 trains on all rows and holds nothing out.
        train: row numbers that train.
        heldout: row numbers held out.
        network: on the runtime's device.
        objective: what is minimised.
        runtime: device and precision.
        keeper: the fold's folder.
        scaling: of side numbers, or None.
        form: channels and depth of all images.
        log: where messages go.
    """

    manifest: Manifest
    recipe: Recipe
    member: str
    number: int
    train: np.ndarray
    heldout: np.ndarray
    network: models.Network
    objective: Objective
    runtime: Runtime
    keeper: Keeper
    scaling: Scaling | None
    form: Form
    log: Log
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)  # row_id → why its image cannot be read
    until: int | None = None  # epochs after which training ends before its plan does
    windows: Any = None  # of neighbouring rows, for a model over sequences
    fitted: bool = False  # the heads start as the probe's, so that the network answers before it has trained
    answering: Answering = NOTHING_ELSE  # by what held-out rows are answered
    store: Path | None = None  # the run's vectors

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The recipe's stages, or the one that ``train`` describes."""
        return self.recipe.stages or (Stage(epochs=self.recipe.train.epochs),)

    @property
    def epochs(self) -> int:
        """Epochs of all stages and of the averaging after them."""
        return sum(stage.epochs for stage in self.stages) + self.tail

    @property
    def tail(self) -> int:
        """Further epochs of SWA after the last stage."""
        return self.recipe.average.epochs if self.recipe.average.name == "swa" else 0


class Epochs:
    """The epochs of one fold: what is in memory for them, how far they are, and what the next one trains with.

    Args:
        fold: what to train.
    """

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.recipe, self.network, self.runtime = fold.recipe, fold.network, fold.runtime
        self.key = (fold.recipe.seed, fold.member, fold.number)
        self.truth = {name: fold.manifest.truth(name) for name in fold.network.targets}
        self.on_device = {name: self.runtime.to_device(torch.from_numpy(y)) for name, y in self.truth.items()}
        self.weight = self.runtime.to_device(torch.from_numpy(fold.manifest.weight))
        scaled = None if fold.scaling is None else torch.from_numpy(fold.scaling.apply(fold.manifest))
        self.side = None if scaled is None else self.runtime.to_device(scaled)
        self.training = sampling.Training(
            targets=[t for t in fold.network.targets.values() if t.scored],
            truths={name: y[fold.train] for name, y in self.truth.items() if fold.network.targets[name].scored},
            weight=fold.manifest.weight[fold.train],
            groups=fold.manifest.groups[fold.train],
        )
        self.images: dict[Any, tuple[dataset.ImageDataset, dataset.ImageDataset]] = {}
        self.kept: dataset.ImageDataset | None = None  # activations in place of images, in a stage that keeps them
        self.progress = loop.Progress()
        self.history: list[dict[str, Any]] = []
        part = f"fold {fold.number}" if fold.number >= 0 else "all images"
        self._tell = progress.share(fold.log, f"training {fold.member}, {part}")

    def epoch(self, number: int) -> loop.Epoch:
        """Return what an epoch of the first stage trains with, whatever was trained before."""
        self.progress.epoch = number
        return self._epoch(self.fold.stages[0], range(number, number + 1))

    def _reported(self, batches: Iterator[Any], sizes: Sequence[int]) -> Iterator[Any]:
        """Yield an epoch's batches, and tell after each how many images of all epochs are trained on."""
        images = sum(sizes)
        done = self.progress.epoch * images
        for batch, size in zip(batches, sizes, strict=False):
            yield batch
            done += size
            self._tell(done, max(self.fold.epochs * images, done))

    def _order(self) -> sampling.Order:
        seed, member, fold = self.key
        return sampling.order(self.recipe.sample, self.training, seed=seed, member=member, fold=fold, epoch=self.progress.epoch)

    def _batch(self, stage: Stage) -> int:
        batch = self.recipe.train.batch
        return self.progress.batch or stage.batch or (AUTO_BATCH if batch == "auto" else batch)

    def _steps(self, stage: Stage, rows: int) -> int:
        """Return optimizer steps an epoch."""
        return math.ceil(sampling.count(rows, self._batch(stage)) / self.recipe.train.accumulate)

    def _epoch(self, stage: Stage, epochs: range) -> loop.Epoch:
        """Return the next epoch: its rows in order, their augmentation, and the rate of each step."""
        train, number = self.recipe.train, self.progress.epoch
        parts = sampling.batches(self._order(), self._batch(stage))
        order, sizes = np.concatenate([part.rows for part in parts]), [len(part) for part in parts]
        freezing.check_batch(self.network, min(sizes))
        if min(sizes) < self.runtime.ranks.count:
            what = f"an epoch has a batch of {plural(min(sizes), 'row')} for {plural(self.runtime.ranks.count, 'device')}"
            raise UserError(what, need="a row for each", fix="use fewer devices, or another train.batch")
        steps = math.ceil(len(parts) / train.accumulate)
        watched = [row["valid_loss"] for row in self.history[epochs.start :]]
        rates = self._rates(stage, steps, last=epochs.stop == self.fold.epochs, watched=watched)
        place, whole = number - epochs.start, False
        if place >= stage.epochs and self.recipe.average.full_batch:
            whole, start = True, stage.epochs * steps + place - stage.epochs
            epoch_rates = rates[start : start + 1]
        else:
            epoch_rates = rates[place * steps : (place + 1) * steps]

        def key(row_id: str, occurrence: int) -> int:
            return draws.key(*self.key, number, row_id, occurrence, 0)

        return loop.Epoch(
            batches=self._reported(self._batches(stage, self.fold.train[order], sizes, key), sizes),
            rates=epoch_rates,
            accumulate=len(parts) if whole else train.accumulate,
            clip=train.clip or None,
            truth=self.on_device,
            weight=self.weight,
            side=self.side,
            mix=self._mix(stage, number),
            key=self.key,
        )

    def _batches(
        self, stage: Stage, rows: np.ndarray, sizes: Sequence[int], key: Callable[[str, int], int] | None = None
    ) -> Iterator[dataset.Batch]:
        """Yield rows that train, as training sees them (with a key) or as evaluation does; of several processes each reads its own images.

        Raises:
            DataError: an image to train on was readable when the run began and is not any more; its label never trains on zeros.
        """
        images = self.inputs_of(stage)[1 if key is None else 0]
        own = key is not None and not self.recipe.mix  # what is mixed may come from anywhere in the batch
        share = self.runtime.ranks.share if own else (0, 1)
        whole = np.split(np.asarray(rows, dtype=np.int64), np.cumsum(sizes)[:-1])
        read = dataset.batches(images, rows, sizes, key, self.recipe.train.workers, share)
        for batch, every in zip(read, whole, strict=True):
            found = self._readable(batch)
            yield found if share == (0, 1) else dataclasses.replace(found, rows=torch.from_numpy(every))

    def _readable(self, batch: dataset.Batch) -> dataset.Batch:
        if batch.reasons:
            ids = self.fold.manifest.row_ids
            named = [f"{ids[row]} ({reason})" for row, reason in batch.reasons.items()]
            raise DataError(f"images to train on cannot be read any more: {listed(named, 5)}", fix="put them back as they were")
        return batch

    def _rates(self, stage: Stage, steps: int, *, last: bool, watched: Sequence[float] = ()) -> np.ndarray:
        """Return the rate of every step of a stage; the averaging of weights changes those of the last stage."""
        schedule, rate = stage.schedule or self.recipe.schedule, stage.rate or self.recipe.optimizer.rate
        rates = schedules.plan(schedule, steps_per_epoch=steps, epochs=stage.epochs, base_rate=rate, history=watched)
        return schedules.with_average(rates, self.recipe.average, steps_per_epoch=steps) if last else rates

    def planned_rates(self) -> pl.DataFrame:
        """Return the rate planned for every step: ``step`` and ``epoch`` from 1, ``rate`` (one that follows losses, as it starts)."""
        parts: list[np.ndarray] = []
        epochs: list[np.ndarray] = []
        for number, stage in enumerate(self.fold.stages):
            last = number == len(self.fold.stages) - 1
            steps = self._steps(stage, len(self._order()))
            rates = self._rates(stage, steps, last=last)
            each = [steps] * stage.epochs + [1 if self.recipe.average.full_batch else steps] * (self.fold.tail if last else 0)
            parts.append(rates)
            epochs.append(np.repeat(np.arange(len(each)) + 1 + sum(s.epochs for s in self.fold.stages[:number]), each))
        rate, epoch = np.concatenate(parts), np.concatenate(epochs)
        return pl.DataFrame({"step": np.arange(len(rate)) + 1, "epoch": epoch, "rate": rate})

    def _mix(self, stage: Stage, epoch: int) -> loop.Mix | None:
        """Return the batch's mixing at this point of training, or None."""
        if not self.recipe.mix:
            return None
        images = self.inputs_of(stage)[0]

        def pool(wanted: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            name, options = "half_cutmix", {}
            for spec in self.recipe.mix:
                if isinstance(spec, dict) and spec["name"] == name:
                    options = {key: spec[key] for key in ("target", "classes", "rarest") if key in spec}
            rows = self.fold.train[rng.choice(sampling.rare_rows(self.training, **options), size=wanted)]
            draw = int(rng.integers(1 << 31))
            drawn = dataset.batches(images, rows, wanted, lambda row_id, occurrence: draws.key(draw, row_id, occurrence))
            batch = self._readable(next(drawn))
            return batch.x, {target: truth[batch.rows] for target, truth in self.on_device.items()}

        mix = mixing.Mix(self.recipe.mix, bands=self.recipe.input.bands, pool=pool)
        return functools.partial(mix, progress=epoch / self.fold.epochs)

    def _after_short_memory(self, stage: Stage) -> None:
        """Let the batch fall for the epochs to come, where the recipe wants that instead of computing it in pieces."""
        if self.recipe.memory.keep_effective or self.progress.pieces == 1:
            return
        self.progress.batch = max(self.recipe.memory.floor, self._batch(stage) // self.progress.pieces)
        self.progress.pieces = 1
        self.fold.log(
            f"warning: memory ran out: batches are {plural(self.progress.batch, 'image')} from now on (memory.keep_effective = false)"
        )

    def inputs_of(self, stage: Stage) -> tuple[dataset.ImageDataset, dataset.ImageDataset]:
        """Return the images that a stage's network takes: of its size, or the activations that are kept."""
        return self.images_of(stage) if self.kept is None else (self.kept, self.kept)

    def images_of(self, stage: Stage) -> tuple[dataset.ImageDataset, dataset.ImageDataset]:
        """Return the images of a stage's size, as training and as evaluation see them; one memory serves both and every stage."""
        settings = self.recipe.input.model_copy(update={"size": stage.size or self.recipe.input.size})
        size = str(settings.size)
        if size not in self.images:
            base = (
                next(iter(self.images.values()))[1]
                if self.images
                else dataset.ImageDataset(
                    self.fold.manifest, settings, EvalTransform(settings), form=self.fold.form, missing=self.fold.missing
                )
            )
            self.images[size] = (
                base.with_transform(TrainTransform(settings, self.recipe.augment)),
                base.with_transform(EvalTransform(settings)),
            )
        return self.images[size]
