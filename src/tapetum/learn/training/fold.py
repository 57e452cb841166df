"""One fold of one member, trained: stages → epochs → what is kept, going on where it stopped.

What an epoch trains on is in ``epochs.py``, its loop in ``loop.py``, its scores on held-out rows in ``heldout.py``, files in
``keep.py``, the job's spec and lock in ``job.py``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapetum.core import draws, files
from tapetum.core.config import Predict, Stage
from tapetum.core.runs import START
from tapetum.core.tables import Predictions
from tapetum.core.words import plural
from tapetum.data.images import dataset
from tapetum.learn import inference
from tapetum.learn.training import averaging, freezing, fronts, heldout, loop, optimizers, state
from tapetum.learn.training.epochs import Epochs, Fold

__all__ = ["Fold", "MayGoOn", "Training"]

MayGoOn = Callable[[int, float], bool]  # (epochs done, seconds of the last epoch) → whether another one may start
SHIPPED = Stage(epochs=1)  # the recipe's own size, which a pipeline shows images in


class Training(Epochs):
    """The training of one fold as it goes on: what is in memory, and what of it was kept.

    Args:
        fold: what to train.
    """

    def __init__(self, fold: Fold) -> None:
        super().__init__(fold)
        self.keeper = fold.keeper
        self.average: averaging.NoAverage = averaging.NoAverage()
        self.start = {key: value.detach().clone() for key, value in fold.network.state_dict().items()}
        self.start_of_objective = {key: value.detach().clone() for key, value in fold.objective.state_dict().items()}
        scored = {name: target for name, target in fold.network.targets.items() if target.scored}
        truths = {name: self.truth[name][fold.heldout] for name in scored}
        self.prior_loss = heldout.prior_loss(scored, truths, fold.objective.spreads, self._held_weight) if len(fold.heldout) else 0.0
        self.checkpoints: list[str] = []
        self.heldout: Predictions | None = None
        self.stop = ""
        self.after_epoch: Callable[[dict[str, Any]], None] | None = None  # told each row of the history once it is kept

    def run(self, may_go_on: MayGoOn | None = None) -> dict[str, Any]:
        """Train through the stages, from the folder's last state; return the final state.

        Args:
            may_go_on: asked at the end of every epoch; False cuts training there.
        """
        saved = self.keeper.state()
        if saved:
            self._take_back(saved)
        else:
            if self.keeper.writes:
                files.write_csv(self.keeper.folder / "schedule.csv", self.planned_rates())
            if self.fold.fitted and self.recipe.train.checkpoint in ("best", 0):
                self._before_training()
            self.stop = "budget" if self.fold.until == 0 else ""
        first = 0
        for number, stage in enumerate(self.fold.stages):
            last = number == len(self.fold.stages) - 1
            epochs = stage.epochs + (self.fold.tail if last else 0)
            if not self.stop and self.progress.epoch < first + epochs:
                with fronts.kept(self, stage, first + epochs - self.progress.epoch):
                    self._stage(number, stage, range(first, first + epochs), saved if saved.get("stage") == number else {}, may_go_on)
                saved = {}
            first += epochs
            self._predict_test(number, stage, first)
        if self.progress.epoch:
            self._at_the_end(self.fold.stages[-1])
        return self.keeper.finish(
            {**self.keeper.state(), "checkpoints": self.checkpoints, "stop": self.stop, "epochs": self.progress.epoch}
        )

    def begin(self) -> torch.optim.Optimizer:
        """Stand where the first stage starts, in training mode, and return its optimizer (for range tests)."""
        optimizer = self._start_of(0, self.fold.stages[0], {})
        freezing.train_mode(self.network, frozen_norm=self.recipe.train.frozen_norm)
        return optimizer

    # ------------------------------------------------------------------------------------------------ stages and epochs

    def _stage(self, number: int, stage: Stage, epochs: range, saved: dict[str, Any], may_go_on: MayGoOn | None) -> None:
        """Train those of a stage's epochs that are still to do."""
        optimizer = self._start_of(number, stage, saved)
        while self.progress.epoch < epochs.stop and not self.stop:
            freezing.train_mode(self.network, frozen_norm=self.recipe.train.frozen_norm)
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
            self.fold.log(self._line(row))
            if self.after_epoch is not None:
                self.after_epoch(row)

    def _start_of(self, number: int, stage: Stage, saved: dict[str, Any]) -> torch.optim.Optimizer:
        """Freeze what the stage freezes; return its optimizer and set its average, as they stood where training goes on."""
        freezing.freeze(self.network, stage.trains)
        optimizer = optimizers.build(self.network, self._optimizer_of(stage), self.fold.objective.parameters())
        averaging_now = self.recipe.average.name == "ema" or number == len(self.fold.stages) - 1
        steps = self._steps(stage, len(self._order()))
        self.average = (
            averaging.build(self.recipe.average, self.network, steps_per_epoch=steps, epochs=stage.epochs)
            if averaging_now
            else averaging.NoAverage()
        )
        for remark in self.average.remarks:
            self.fold.log(remark)
        if saved:
            whole = self._unpacked(saved)
            optimizer.load_state_dict(whole["optimizer"])
            self.average.load(*whole["average"])
        return optimizer

    def _optimizer_of(self, stage: Stage) -> Any:
        return self.recipe.optimizer.model_copy(update={} if stage.rate is None else {"rate": stage.rate})

    # ------------------------------------------------------------------------------------------------------- evaluation

    def _before_training(self) -> None:
        """Keep the network as it starts, with the probe's heads, as a checkpoint: training that makes it worse is then not taken."""
        row: dict[str, Any] = {}
        self.keeper.add(START, self._answered(START, SHIPPED, row), self.heldout)
        if len(self.fold.heldout):
            self.fold.log(f"{self.fold.member} fold {self.fold.number}: before training, loss {row['valid_loss']:.3f}")

    def _evaluate(self, stage: Stage, row: dict[str, Any], optimizer: torch.optim.Optimizer, number: int) -> dict[str, dict[str, Tensor]]:
        """Answer for the held-out rows with this epoch's weights (and their running average); add figures to ``row``.

        The images have the size that a pipeline shows them in, whatever the stage trains on: that is what the figure is of.

        Returns:
            Checkpoint → weights, to be kept.
        """
        row.update(epoch=self.progress.epoch, stage=number, size=str(stage.size or self.recipe.input.size))
        name = f"epoch-{self.progress.epoch:03d}"
        with optimizers.slow_weights(optimizer):
            found = {name: self._answered(name, SHIPPED, row)}
        if self.recipe.average.name == "ema" and self.average.weights() is not None:
            averaged: dict[str, Any] = {}
            with averaging.averaged(self.network, self.average.weights()):
                if self.recipe.average.refreshes:
                    self._refresh(SHIPPED)
                found[f"{name}/ema"] = self._answered(f"{name}/ema", SHIPPED, averaged)
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
            if not len(self.fold.heldout):
                best = list(range(len(self.history)))[-self.recipe.average.best :]  # nothing is held out to pick on
            names = [f"epoch-{self.history[i]['epoch']:03d}" for i in best]
            weights = averaging.soup([self.keeper.checkpoint(name) for name in names])
            how = "picked on the fold's own rows: its figure is in-sample" if len(self.fold.heldout) else "the last ones"
            self.fold.log(f"soup of {', '.join(names)}, {how}")
        if weights is None or kind in self.checkpoints:
            return
        row: dict[str, Any] = {}
        with averaging.averaged(self.network, weights):
            if self.recipe.average.refreshes:
                freezing.freeze(self.network, stage.trains)  # which a start that trains no further epoch has not done
                self._refresh(stage)
            found = self._answered(kind, SHIPPED, row)
        self.keeper.add(kind, found, self.heldout)
        if len(self.fold.heldout):
            self.fold.log(f"{self.fold.member} fold {self.fold.number}: {kind}, loss {row['valid_loss']:.3f}")

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
        table = Predictions.from_dense(
            list(every.values()),
            member=self.fold.member,
            role="test",
            checkpoint=name,
            manifest_hash=self.fold.manifest.content_hash(),
        )
        if self.keeper.writes:
            table.write(file)
        self.fold.log(f"{self.fold.member} fold {self.fold.number}: stage {number + 1} is done, {plural(len(rows), 'test row')} answered")

    @property
    def _held_weight(self) -> np.ndarray | None:
        """The weight of each held-out row; None where the manifest gives none."""
        return self.fold.manifest.weight[self.fold.heldout] if self.fold.manifest.weights is not None else None

    def _answered(self, checkpoint: str, stage: Stage, row: dict[str, Any]) -> dict[str, Tensor]:
        """Answer for the held-out rows, keep the answers under ``checkpoint``, and return the weights that gave them."""
        self.checkpoints.append(checkpoint)
        row.update(valid_loss=float("nan"), monitor=float("nan"))
        if len(self.fold.heldout):
            plain = self.recipe.predict.model_copy(update={"views": "plain"})
            answers = self._answers(stage, self.fold.heldout, plain)
            dense = answers.dense(self.network.targets, self.fold.manifest.row_ids, self.truth, self.fold.number)
            spreads, manifest = self.fold.objective.spreads, self.fold.manifest
            row.update(heldout.figures(dense, manifest.targets, self.recipe.train.monitor, spreads, self._held_weight))
            table = Predictions.from_dense(
                list(dense.values()), member=self.fold.member, checkpoint=checkpoint, manifest_hash=self.fold.manifest.content_hash()
            )
            self.heldout = table if self.heldout is None else Predictions.concat([self.heldout, table])
        return {key: value.detach().clone() for key, value in self.network.state_dict().items()}

    def _answers(self, stage: Stage, rows: np.ndarray, predict: Predict, *front: str) -> inference.Answers:
        """Answer for some rows with the network as it is; ``front`` keys random views."""
        images, ranks = self.inputs_of(stage)[1], self.runtime.ranks
        shared = ranks.count > 1 and len(rows) >= ranks.count
        mine = rows[ranks.rank :: ranks.count] if shared else rows
        with self.fold.answering.of(self.network, self.runtime, len(rows)) as runtime:
            found = inference.answer(self.network, images, mine, predict, runtime, side=self.side, key=(*front, *self.key))
        return inference.together(ranks.gathered(found), rows) if shared else found

    @torch.no_grad()
    def _refresh(self, stage: Stage) -> None:
        """Measure BatchNorm's statistics anew on un-mixed training images, for averaged weights.

        The rows come in an order drawn once for the fold: as they are in the table, a batch would often be of one class alone.
        """

        def forward(batch: dataset.Batch) -> None:
            with self.runtime.autocast():
                self.network(self.runtime.to_device(batch.x), None if self.side is None else self.side[batch.rows])

        rows = draws.generator(*self.key, "refresh").permutation(self.fold.train)
        sizes = [len(part) for part in np.array_split(rows, max(1, len(rows) // 64))]
        freezing.train_mode(self.network, frozen_norm=self.recipe.train.frozen_norm)  # frozen BatchNorms keep what they have
        averaging.refresh_norm(self.network, self._batches(stage, rows, sizes), forward, only=freezing.training_norms(self.network))

    def _watch(self, row: dict[str, Any], may_go_on: MayGoOn | None) -> None:
        """Decide whether training stops here: diverged, no improvement for long, or out of time."""
        value = -row["valid_loss"] if self.recipe.train.patience_on == "loss" else row["monitor"]
        if value > self.progress.best:
            self.progress.best, self.progress.waited = value, 0
        else:
            self.progress.waited += 1
        patience = self.recipe.train.patience
        first_loss = min((r["valid_loss"] for r in self.history), default=float("nan"))
        if reason := heldout.come_apart(row, first_loss, self.prior_loss):
            self.stop = reason
        elif patience is not None and len(self.fold.heldout) and self.progress.waited >= patience:
            self.stop = f"patience: no better for {plural(patience, 'epoch')}"
        elif self.progress.epoch < self.fold.epochs:
            cut = self.fold.until is not None and self.progress.epoch >= self.fold.until
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
        self.keeper.keep(tensors, found, self.heldout, self.history, marker)

    def _take_back(self, saved: dict[str, Any]) -> None:
        """Stand where the last whole epoch ended."""
        self.progress = loop.Progress(**saved["progress"])
        self.checkpoints, self.stop = list(saved["checkpoints"]), saved["stop"]
        self.history = self.keeper.history_so_far(self.progress.epoch)
        self.heldout = self.keeper.held_so_far(self.checkpoints)
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
        self.fold.log(f"warning: the loss was not finite: going on after epoch {self.progress.epoch} at {factor:g} of the rate")
        return self._start_of(number, stage, saved if saved.get("stage") == number else {})

    def _keep_nan(self, error: loop.NotFinite) -> None:
        ids = self.fold.manifest.row_ids
        value = {"step": error.step, "epoch": self.progress.epoch, "row_ids": list(dict.fromkeys(ids[row] for row in error.rows))}
        if self.keeper.writes:
            files.write_json(self.keeper.folder / "nan.json", value)

    def _line(self, row: dict[str, Any]) -> str:
        where = f"{self.fold.member} fold {self.fold.number}" if self.fold.number >= 0 else f"{self.fold.member} on all rows"
        keys = [key for key in row if "/" in key and ":" not in key and row[key] is not None]
        several = len({key.partition("/")[0] for key in keys}) > 1
        figures = ", ".join(f"{key if several else key.partition('/')[2]} {row[key]:.3f}" for key in keys)
        loss = f"loss {row['train_loss']:.3f}" + (f" / {row['valid_loss']:.3f}" if len(self.fold.heldout) else "")
        figures = f", {figures}" if figures else ""
        end = f" ({self.stop})" if self.stop else ""
        return f"{where}: epoch {self.progress.epoch}/{self.fold.epochs}, {loss}{figures}, {row['seconds']:.0f} s{end}"
