"""One fold of one member, trained: stages → epochs → what is kept, going on where it stopped.

The loop of an epoch stands in ``loop.py``, files in ``keep.py``, the job's spec and lock in ``job.py``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from tapetum.core import draws, files, metrics
from tapetum.core.config import Predict, Recipe, Stage
from tapetum.core.derived import with_derived
from tapetum.core.errors import DataError, listed
from tapetum.core.monitor import monitor, prior_answer
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.data.images import dataset, mixing, sampling
from tapetum.data.images.transforms import Augment, Evaluate
from tapetum.learn import inference, models
from tapetum.learn.runtime import Runtime
from tapetum.learn.side import Scaling
from tapetum.learn.training import averaging, loop, optimizers, schedules, stages, state
from tapetum.learn.training.keep import Keeper
from tapetum.learn.training.objective import Objective

Say = Callable[[str], None]
MayGoOn = Callable[[int, float], bool]  # (epochs done, seconds of the last epoch) → whether another one may start
AUTO_BATCH = 32  # pictures in a batch under train.batch = "auto"; where memory runs out, it is computed in pieces
FLAT = 1e-4  # spread of a probability over the held-out rows below which the network answers the same for every picture
RISING = 3.0  # validation loss over the best one so far, beyond which training has come apart, if the prior alone would do better


@dataclasses.dataclass(frozen=True)
class Fold:
    """What training one fold needs.

    Args:
        manifest: all rows.
        recipe: the member's.
        member: its name.
        number: the fold held out; −1 trains on all rows and holds nothing out.
        train: row numbers that train.
        held: row numbers held out.
        network: on the runtime's device.
        objective: what is minimised.
        runtime: device and precision.
        keeper: the fold's folder.
        scaling: of side numbers, or None.
        say: where messages go.
    """

    manifest: Manifest
    recipe: Recipe
    member: str
    number: int
    train: np.ndarray
    held: np.ndarray
    network: models.Network
    objective: Objective
    runtime: Runtime
    keeper: Keeper
    scaling: Scaling | None
    say: Say
    until: int = 0  # epochs after which a repeated plan was cut; 0: none
    windows: Any = None  # of neighbouring rows, for a model over sequences

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


class Training:
    """The training of one fold as it goes on: what is in memory, and what of it was kept.

    Args:
        fold: what to train.
    """

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.recipe, self.network, self.runtime, self.keeper = fold.recipe, fold.network, fold.runtime, fold.keeper
        self.key = (fold.recipe.seed, fold.member, fold.number)
        self.truth = {name: fold.manifest.truth(name) for name in fold.network.targets}
        self.on_device = {name: self.runtime.to_device(torch.from_numpy(y)) for name, y in self.truth.items()}
        self.weight = self.runtime.to_device(torch.from_numpy(fold.manifest.weight))
        scaled = None if fold.scaling is None else torch.from_numpy(fold.scaling.apply(fold.manifest))
        self.side = None if scaled is None else self.runtime.to_device(scaled)
        self.training = sampling.Training(
            targets=list(fold.network.targets.values()),
            truths={name: y[fold.train] for name, y in self.truth.items()},
            weight=fold.manifest.weight[fold.train],
            groups=fold.manifest.groups[fold.train],
        )
        self.average: averaging.Nothing = averaging.Nothing()
        self.start = {key: value.detach().clone() for key, value in fold.network.state_dict().items()}
        self.start_of_objective = {key: value.detach().clone() for key, value in fold.objective.state_dict().items()}
        held = {name: y[fold.held] for name, y in self.truth.items()}
        self.prior_loss = (
            sum(self._loss(t, prior_answer(t, held[n]), held[n]) for n, t in fold.network.targets.items()) if len(fold.held) else 0.0
        )
        self.pictures: dict[Any, tuple[dataset.Pictures, dataset.Pictures]] = {}
        self.progress = loop.Progress()
        self.checkpoints: list[str] = []
        self.history: list[dict[str, Any]] = []
        self.held: Predictions | None = None
        self.stop = ""

    def run(self, may_go_on: MayGoOn | None = None) -> dict[str, Any]:
        """Train through the stages, from where the folder says; return the final state.

        Args:
            may_go_on: asked at the end of every epoch; False cuts training there.
        """
        saved = self.keeper.state()
        if saved:
            self._take_back(saved)
        else:
            files.write_csv(self.keeper.folder / "schedule.csv", self.planned_rates())
        first = 0
        for number, stage in enumerate(self.fold.stages):
            last = number == len(self.fold.stages) - 1
            epochs = stage.epochs + (self.fold.tail if last else 0)
            if not self.stop and self.progress.epoch < first + epochs:
                self._stage(number, stage, range(first, first + epochs), saved if saved.get("stage") == number else {}, may_go_on)
                saved = {}
            first += epochs
            self._predict_test(number, stage, first)
        self._at_the_end(self.fold.stages[-1])
        return self.keeper.finish(
            {**self.keeper.state(), "checkpoints": self.checkpoints, "stop": self.stop, "epochs": self.progress.epoch}
        )

    def begin(self) -> torch.optim.Optimizer:
        """Stand where the first stage starts, in training mode, and return its optimizer (for range tests)."""
        optimizer = self._start_of(0, self.fold.stages[0], {})
        stages.train_mode(self.network, frozen_norm=self.recipe.train.frozen_norm)
        return optimizer

    def epoch(self, number: int) -> loop.Epoch:
        """Return what an epoch of the first stage trains with, whatever was trained before."""
        self.progress.epoch = number
        return self._epoch(self.fold.stages[0], range(number, number + 1))

    # ------------------------------------------------------------------------------------------------ stages and epochs

    def _stage(self, number: int, stage: Stage, epochs: range, saved: dict[str, Any], may_go_on: MayGoOn | None) -> None:
        """Train those of a stage's epochs that are still to do."""
        optimizer = self._start_of(number, stage, saved)
        while self.progress.epoch < epochs.stop and not self.stop:
            stages.train_mode(self.network, frozen_norm=self.recipe.train.frozen_norm)
            epoch = self._epoch(stage, epochs)
            began = time.perf_counter()
            try:
                row = loop.train_epoch(
                    self.network,
                    self.fold.objective,
                    optimizer,
                    self.runtime,
                    epoch,
                    self.progress,
                    lambda: self.average.update(self.network),
                )
            except loop.NotFinite as error:
                self._keep_nan(error)
                if self.progress.rate_factor < 1 or not self.recipe.train.restart_on_nan:
                    raise
                optimizer = self._back_to_last_good(number, stage)
                continue
            self._after_short_memory(stage)
            found = self._evaluate(stage, row, optimizer, number)
            row["seconds"] = time.perf_counter() - began
            self._watch(row, may_go_on)
            self.history.append(row)
            self._keep(number, optimizer, found)
            self.fold.say(self._line(row))

    def _start_of(self, number: int, stage: Stage, saved: dict[str, Any]) -> torch.optim.Optimizer:
        """Freeze what the stage freezes; return its optimizer and set its average, as they stood where training goes on."""
        stages.freeze(self.network, stage.trains)
        optimizer = optimizers.build(self.network, self._optimizer_of(stage), self.fold.objective.parameters())
        averaging_now = self.recipe.average.name == "ema" or number == len(self.fold.stages) - 1
        steps = self._steps(stage, len(self._order()))
        self.average = (
            averaging.build(self.recipe.average, self.network, steps_per_epoch=steps, epochs=stage.epochs)
            if averaging_now
            else averaging.Nothing()
        )
        for remark in self.average.remarks:
            self.fold.say(remark)
        if saved:
            whole = self._unpacked(saved)
            optimizer.load_state_dict(whole["optimizer"])
            self.average.load(*whole["average"])
        return optimizer

    def _order(self) -> sampling.Order:
        seed, member, fold = self.key
        return sampling.order(self.recipe.sample, self.training, seed=seed, member=member, fold=fold, epoch=self.progress.epoch)

    def _batch(self, stage: Stage) -> int:
        batch = self.recipe.train.batch
        return self.progress.batch or stage.batch or (AUTO_BATCH if batch == "auto" else batch)

    def _steps(self, stage: Stage, rows: int) -> int:
        """Return optimizer steps an epoch; a last batch too small for BatchNorm joins the one before."""
        batch = self._batch(stage)
        batches = rows // batch + (rows % batch >= 2 or rows < batch)
        return math.ceil(batches / self.recipe.train.accumulate)

    def _epoch(self, stage: Stage, epochs: range) -> loop.Epoch:
        """Return the next epoch: its rows in order, their augmentation, and the rate of each step."""
        train, number = self.recipe.train, self.progress.epoch
        parts = sampling.batches(self._order(), self._batch(stage))
        order, sizes = np.concatenate([part.rows for part in parts]), [len(part) for part in parts]
        stages.check_batch(self.network, min(sizes))
        steps = math.ceil(len(parts) / train.accumulate)
        watched = [row["valid_loss"] for row in self.history[epochs.start :]]
        rates = self._rates(stage, steps, last=epochs.stop == self.fold.epochs, watched=watched)
        place, whole = number - epochs.start, False
        if place >= stage.epochs and self.recipe.average.full_batch:
            whole, start = True, stage.epochs * steps + place - stage.epochs
            own = rates[start : start + 1]
        else:
            own = rates[place * steps : (place + 1) * steps]

        def key(row_id: str, occurrence: int) -> int:
            return draws.key(*self.key, number, row_id, occurrence, 0)

        return loop.Epoch(
            batches=self._batches(stage, self.fold.train[order], sizes, key),
            rates=own,
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
        """Yield rows as training sees them (with a key) or as evaluation does.

        Raises:
            DataError: a picture to train on was readable when the run began and is not any more; its label never trains on zeros.
        """
        pictures = self._pictures(stage)[1 if key is None else 0]
        for batch in dataset.batches(pictures, rows, sizes, key, self.recipe.train.workers):
            if batch.reasons and key is not None:
                ids = self.fold.manifest.row_ids
                named = [f"{ids[row]} ({reason})" for row, reason in batch.reasons.items()]
                raise DataError(f"pictures to train on cannot be read any more: {listed(named, 5)}", fix="put them back as they were")
            yield batch

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
        pictures = self._pictures(stage)[0]

        def pool(wanted: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            name, options = "half_cutmix", {}
            for spec in self.recipe.mix:
                if isinstance(spec, dict) and spec["name"] == name:
                    options = {key: spec[key] for key in ("target", "classes", "rarest") if key in spec}
            rows = self.fold.train[rng.choice(sampling.rare_rows(self.training, **options), size=wanted)]
            draw = int(rng.integers(1 << 31))
            batch = next(dataset.batches(pictures, rows, wanted, lambda row_id, occurrence: draws.key(draw, row_id, occurrence)))
            return batch.x, {target: truth[batch.rows] for target, truth in self.on_device.items()}

        mix = mixing.Mix(self.recipe.mix, bands=self.recipe.input.bands, pool=pool)
        return functools.partial(mix, progress=epoch / self.fold.epochs)

    def _after_short_memory(self, stage: Stage) -> None:
        """Let the batch fall for the epochs to come, where the recipe wants that instead of computing it in pieces."""
        if self.recipe.memory.keep_effective or self.progress.pieces == 1:
            return
        self.progress.batch = max(self.recipe.memory.floor, self._batch(stage) // self.progress.pieces)
        self.progress.pieces = 1
        self.fold.say(f"memory ran out: batches are {self.progress.batch} pictures from now on (memory.keep_effective = false)")

    def _pictures(self, stage: Stage) -> tuple[dataset.Pictures, dataset.Pictures]:
        """Return the pictures of a stage's size, as training and as evaluation see them; one memory serves both and every stage."""
        settings = self.recipe.input.model_copy(update={"size": stage.size or self.recipe.input.size})
        size = str(settings.size)
        if size not in self.pictures:
            base = (
                next(iter(self.pictures.values()))[1]
                if self.pictures
                else dataset.Pictures(self.fold.manifest, settings, Evaluate(settings))
            )
            self.pictures[size] = (base.with_transform(Augment(settings, self.recipe.augment)), base.with_transform(Evaluate(settings)))
        return self.pictures[size]

    def _optimizer_of(self, stage: Stage) -> Any:
        return self.recipe.optimizer.model_copy(update={} if stage.rate is None else {"rate": stage.rate})

    # ------------------------------------------------------------------------------------------------------- evaluation

    def _evaluate(self, stage: Stage, row: dict[str, Any], optimizer: torch.optim.Optimizer, number: int) -> dict[str, dict[str, Tensor]]:
        """Answer for the held-out rows with this epoch's weights (and their running average); add figures to ``row``.

        Returns:
            Checkpoint → weights, to be kept.
        """
        row.update(epoch=self.progress.epoch, stage=number, size=str(stage.size or self.recipe.input.size))
        name = f"epoch-{self.progress.epoch:03d}"
        with optimizers.slow_weights(optimizer):
            found = {name: self._answered(name, stage, row)}
        if self.recipe.average.name == "ema" and self.average.weights() is not None:
            averaged: dict[str, Any] = {}
            with averaging.averaged(self.network, self.average.weights()):
                found[f"{name}/ema"] = self._answered(f"{name}/ema", stage, averaged)
            row.update({f"ema:{key}": value for key, value in averaged.items()})
        return found

    def _at_the_end(self, stage: Stage) -> None:
        """Add the checkpoint that an average of the whole training gives: ``swa`` or ``soup``."""
        kind = self.recipe.average.name
        weights: averaging.Weights | None = None
        if kind == "swa":
            weights = self.average.weights()
        elif kind == "soup":
            scores = [row["monitor"] for row in self.history]
            best = averaging.best(scores, self.recipe.average.best, greater_is_better=True)
            if not len(self.fold.held):
                best = list(range(len(self.history)))[-self.recipe.average.best :]  # nothing is held out to pick on
            names = [f"epoch-{self.history[i]['epoch']:03d}" for i in best]
            weights = averaging.soup([self.keeper.checkpoint(name) for name in names])
            how = "picked on the fold's own rows: its figure is optimistic" if len(self.fold.held) else "the last ones"
            self.fold.say(f"soup of {', '.join(names)}, {how}")
        if weights is None or kind in self.checkpoints:
            return
        row: dict[str, Any] = {}
        with averaging.averaged(self.network, weights):
            if self.recipe.average.refresh_norm:
                self._refresh(stage)
            found = self._answered(kind, stage, row)
        self.keeper.add(kind, found, self.held)
        if len(self.fold.held):
            self.fold.say(f"{self.fold.member} fold {self.fold.number}: {kind}, loss {row['valid_loss']:.3f}")

    def _predict_test(self, number: int, stage: Stage, end: int) -> None:
        """Write the answers for the test rows at a stage's end, where it asks for them, to ``stage-<n>.parquet``; done ones stay."""
        file = self.keeper.folder / f"stage-{number + 1}.parquet"
        rows = np.flatnonzero(self.fold.manifest.split == "test")
        if not stage.predict or self.fold.number < 0 or not len(rows) or self.progress.epoch < end or file.exists():
            return
        name = f"epoch-{end:03d}" + ("/ema" if self.recipe.average.name == "ema" else "")
        with averaging.averaged(self.network, self.keeper.checkpoint(name)):
            answers = self._answers(stage, rows, self.recipe.predict, "predict")
        every = answers.dense(self.network.targets, self.fold.manifest.row_ids, self.truth, self.fold.number)
        scored = [dense for dense in every.values() if dense.target.scored]
        hashed = self.fold.manifest.content_hash()
        Predictions.from_dense(scored, member=self.fold.member, role="test", checkpoint=name, manifest_hash=hashed).write(file)
        self.fold.say(f"{self.fold.member} fold {self.fold.number}: stage {number + 1} is done, {len(rows)} test rows answered")

    def _answered(self, checkpoint: str, stage: Stage, row: dict[str, Any]) -> dict[str, Tensor]:
        """Answer for the held-out rows, keep the answers under ``checkpoint``, and return the weights that gave them."""
        self.checkpoints.append(checkpoint)
        row.update(valid_loss=float("nan"), monitor=float("nan"))
        if len(self.fold.held):
            plain = self.recipe.predict.model_copy(update={"views": "plain"})
            answers = self._answers(stage, self.fold.held, plain)
            dense = answers.dense(self.network.targets, self.fold.manifest.row_ids, self.truth, self.fold.number)
            own = {n: (d.p[d.ok], d.y[d.ok]) for n, d in dense.items()}
            row["valid_loss"] = sum(self._loss(d.target, *own[n]) for n, d in dense.items())
            targets, shown = with_derived(own, self.network.targets, self.fold.manifest.targets)
            row["monitor"] = monitor(self.recipe.train.monitor, targets, shown)
            row.update({f"{n}/{m}": metrics.score(m, targets[n], *both) for n, both in shown.items() for m in _columns(targets[n])})
            row["spread"] = max(_spread(d.target, *shown[n]) for n, d in dense.items())
            table = Predictions.from_dense(
                list(dense.values()), member=self.fold.member, checkpoint=checkpoint, manifest_hash=self.fold.manifest.content_hash()
            )
            self.held = table if self.held is None else Predictions.concat([self.held, table])
        return {key: value.detach().clone() for key, value in self.network.state_dict().items()}

    def _answers(self, stage: Stage, rows: np.ndarray, predict: Predict, *front: str) -> inference.Answers:
        """Answer for some rows with the network as it stands; ``front`` keys random views."""
        pictures = self._pictures(stage)[1]
        return inference.answer(self.network, pictures, rows, predict, self.runtime, side=self.side, key=(*front, *self.key))

    @torch.no_grad()
    def _refresh(self, stage: Stage) -> None:
        """Measure BatchNorm's statistics anew on un-mixed training pictures, for averaged weights."""

        def forward(batch: dataset.Batch) -> None:
            with self.runtime.autocast():
                self.network(self.runtime.to_device(batch.x), None if self.side is None else self.side[batch.rows])

        rows = self.fold.train
        sizes = [len(part) for part in np.array_split(rows, max(1, len(rows) // 64))]
        averaging.refresh_norm(self.network, self._batches(stage, rows, sizes), forward)

    def _watch(self, row: dict[str, Any], may_go_on: MayGoOn | None) -> None:
        """Decide whether training stops here: come apart, no better for long, or out of time."""
        value = -row["valid_loss"] if self.recipe.train.patience_on == "loss" else row["monitor"]
        if value > self.progress.best:
            self.progress.best, self.progress.waited = value, 0
        else:
            self.progress.waited += 1
        patience = self.recipe.train.patience
        first_loss = min((r["valid_loss"] for r in self.history), default=float("nan"))
        if row.get("spread", 1.0) < FLAT:
            self.stop = "collapsed: the answer is the same for every picture"
        elif row["valid_loss"] > max(RISING * first_loss, self.prior_loss):
            self.stop = f"collapsed: validation loss {row['valid_loss']:.3g} after {first_loss:.3g}"
        elif patience is not None and len(self.fold.held) and self.progress.waited >= patience:
            self.stop = f"patience: no better for {patience} epochs"
        elif self.progress.epoch < self.fold.epochs:
            cut = self.fold.until and self.progress.epoch >= self.fold.until
            if cut or (may_go_on is not None and not may_go_on(self.progress.epoch, row["seconds"])):
                self.stop = "budget"

    # --------------------------------------------------------------------------------------------------- keep and resume

    def _keep(self, stage: int, optimizer: torch.optim.Optimizer, found: dict[str, dict[str, Tensor]]) -> None:
        whole = {
            "network": self.network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": list(self.average.state()),
            "runtime": self.runtime.state(),
        }
        tensors, rest = state.pack({**whole, "objective": self.fold.objective.state_dict()})
        marker = {
            "status": "running", "stage": stage, "progress": dataclasses.asdict(self.progress), "checkpoints": self.checkpoints,
            "stop": self.stop, "rest": rest,
        }  # fmt: skip
        self.keeper.keep(tensors, found, self.held, self.history, marker)

    def _take_back(self, saved: dict[str, Any]) -> None:
        """Stand where the last whole epoch ended."""
        self.progress = loop.Progress(**saved["progress"])
        self.checkpoints, self.stop = list(saved["checkpoints"]), saved["stop"]
        self.history = self.keeper.history_so_far(self.progress.epoch)
        self.held = self.keeper.held_so_far(self.checkpoints)
        whole = self._unpacked(saved)
        self.network.load_state_dict(whole["network"])
        self.runtime.load_state(whole["runtime"])
        self.fold.objective.load_state_dict(whole["objective"])

    def _unpacked(self, saved: dict[str, Any]) -> dict[str, Any]:
        return state.unpack(self.keeper.tensors(saved), saved["rest"])

    def _back_to_last_good(self, number: int, stage: Stage) -> torch.optim.Optimizer:
        """Return to the last whole epoch (or the start) at half the rate."""
        saved = self.keeper.state()
        factor = self.progress.rate_factor / 2
        if saved:
            self._take_back(saved)
        else:
            self.network.load_state_dict(self.start)
            self.fold.objective.load_state_dict(self.start_of_objective)
            self.progress = loop.Progress()
        self.progress.rate_factor = factor
        self.fold.say(f"the loss was not finite: going on after epoch {self.progress.epoch} at {factor:g} of the rate")
        return self._start_of(number, stage, saved if saved.get("stage") == number else {})

    def _loss(self, target: Target, p: np.ndarray, y: np.ndarray) -> float:
        """Return the plain validation loss of probabilities: log-loss, or the mean squared error of a number in units of its spread."""
        value = metrics.score("rmse" if target.kind == "regression" else "log_loss", target, p, y)
        if value is None:
            return float("nan")
        return (value / self.fold.objective.spreads.get(target.name, 1.0)) ** 2 if target.kind == "regression" else value

    def _keep_nan(self, error: loop.NotFinite) -> None:
        ids = self.fold.manifest.row_ids
        value = {"step": error.step, "epoch": self.progress.epoch, "row_ids": list(dict.fromkeys(ids[row] for row in error.rows))}
        files.write_json(self.keeper.folder / "nan.json", value)

    def _line(self, row: dict[str, Any]) -> str:
        where = f"{self.fold.member} fold {self.fold.number}" if self.fold.number >= 0 else f"{self.fold.member} on all rows"
        keys = [key for key in row if "/" in key and ":" not in key and row[key] is not None]
        several = len({key.partition("/")[0] for key in keys}) > 1
        figures = ", ".join(f"{key if several else key.partition('/')[2]} {row[key]:.3f}" for key in keys)
        loss = f"loss {row['train_loss']:.3f}" + (f" / {row['valid_loss']:.3f}" if len(self.fold.held) else "")
        figures = f", {figures}" if figures else ""
        end = f" ({self.stop})" if self.stop else ""
        return f"{where}: epoch {self.progress.epoch}/{self.fold.epochs}, {loss}{figures}, {row['seconds']:.0f} s{end}"


def _spread(target: Target, p: np.ndarray, y: np.ndarray) -> float:
    """Return how much the answers differ between pictures; of a number, as a multiple of the truth's deviation; one row says nothing."""
    if len(p) < 2:
        return 1.0
    unit = max(float(np.nanstd(y)), 1e-12) if target.kind == "regression" and not np.isnan(y).all() else 1.0
    return float(p.std(axis=0).max()) / unit


def _columns(target: Target) -> tuple[str, ...]:
    """Return the metrics that a history shows for a target."""
    main = metrics.default_metric(target)
    return (main, "accuracy") if target.kind in ("single", "ordinal") else (main,)
