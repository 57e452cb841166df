"""The training loop, read from top to bottom: mix → forward → loss → backward → clip → step → average.

No hooks: the code shows the steps of a batch in their order. Everything that an epoch needs is in :class:`Epoch`;
everything that a restart needs is in :class:`Progress`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tapetum.core import draws
from tapetum.core.errors import DataError, EnvironmentFault
from tapetum.core.words import plural
from tapetum.data.images.dataset import Batch
from tapetum.learn.runtime import Runtime

Mix = Callable[[Tensor, dict[str, Tensor], torch.Generator], tuple[Tensor, dict[str, Tensor]]]
Objective = Callable[..., Tensor]  # (logits, y, weight[, whole]); see learn/training/objective.py


class NotFinite(DataError):
    """The loss turned NaN or infinite.

    Args:
        step: the optimizer step that was due.
        rows: the row numbers of the batch that made it.
    """

    def __init__(self, step: int, rows: list[int]) -> None:
        self.step, self.rows = step, rows
        super().__init__(f"the loss is not finite at step {step}", fix="lower optimizer.rate, or check the rows named in nan.json")


@dataclasses.dataclass
class Progress:
    """Where training stands; all of it is kept for a restart.

    Args:
        epoch: epochs done, counted over all stages.
        step: optimizer steps done.
        pieces: parts in which a batch is computed; memory may have raised it.
        batch: images a batch, where memory lowered it (``memory.keep_effective = false``); 0 keeps the recipe's.
        rate_factor: 1, or ½ after a restart from a loss that was not finite.
        best: best monitored figure so far, the greater the better.
        waited: epochs since then.
    """

    epoch: int = 0
    step: int = 0
    pieces: int = 1
    batch: int = 0
    rate_factor: float = 1.0
    best: float = -1e300
    waited: int = 0


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What one epoch trains with.

    Args:
        batches: images and row numbers.
        rates: the rate of each optimizer step (steps,).
        accumulate: batches a step; the last step of an epoch may have fewer.
        clip: bound of the gradients' global norm, or None.
        truth: target → (N, K) of all rows of the manifest, on the device.
        weight: (N,) of all rows, on the device.
        side: (N, S) scaled side numbers on the device, or None.
        mix: mixing of the batch, or None.
        key: (seed, member, fold), the front of every batch-wise draw.
    """

    batches: Iterable[Batch]
    rates: np.ndarray
    accumulate: int
    clip: float | None
    truth: Mapping[str, Tensor]
    weight: Tensor
    side: Tensor | None
    mix: Mix | None
    key: tuple[Any, ...]


class Group:
    """The batches whose gradients add up to one step; each counts by the weight of its known rows, as if they were one batch.

    Of several targets with other rows unknown, the mean over the targets counts. So a last batch that is small, and a last group that has
    fewer batches, give the mean over the rows that they have.

    Args:
        accumulate: batches a step.
    """

    def __init__(self, accumulate: int) -> None:
        self.accumulate, self.batches = accumulate, 0
        self._unit, self._total = 0, 0.0

    def share(self, weight: Tensor, y: Mapping[str, Tensor]) -> float:
        """Count a batch in, and return what its loss is multiplied by.

        Args:
            weight: of its rows; shares are in units of the first batch's rows, so that they stay near 1 in every precision.
            y: target → truths of its rows, NaN where unknown.
        """
        self.batches += 1
        if self.accumulate == 1:
            return 1.0
        self._unit = self._unit or max(weight.numel(), 1)
        known = torch.stack([~truth.isnan().any(dim=-1) for truth in y.values()]).to(weight).mean(dim=0)
        share = float((weight * known).sum()) / self._unit
        self._total += share
        return share

    @property
    def is_full(self) -> bool:
        """Whether it is time for a step."""
        return self.batches == self.accumulate

    def close(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide the gradients by what their batches weigh together, and begin the next group."""
        if self.accumulate > 1 and self._total > 0:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.div_(self._total)
        self.batches, self._unit, self._total = 0, 0, 0.0


def train_epoch(
    network: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    runtime: Runtime,
    epoch: Epoch,
    progress: Progress,
    after_step: Callable[[], None],
) -> dict[str, float]:
    """Train one epoch and count it in ``progress``.

    Args:
        network: gives a dict of logits for (x, side).
        objective: (logits, y, weight) → scalar; with ``whole`` where memory ran out and a batch is computed in pieces.
        optimizer: its groups carry ``scale``.
        runtime: device, precision, backward, clip and step.
        epoch: batches, rates, truth.
        progress: changed in place.
        after_step: called after each optimizer step (running averages).

    Returns:
        Mean loss, last rate, images, seconds, and in how many pieces a batch is computed.

    Raises:
        NotFinite: before any step is made on the batch that made it.
    """
    began = time.perf_counter()
    losses: list[float] = []
    sizes: list[int] = []
    step_of_epoch = 0
    group, parameters = Group(epoch.accumulate), trained(network, objective)
    optimizer.zero_grad(set_to_none=True)

    def step() -> None:
        nonlocal step_of_epoch
        group.close(parameters)
        runtime.step(network, optimizer, float(epoch.rates[min(step_of_epoch, len(epoch.rates) - 1)]) * progress.rate_factor, epoch.clip)
        step_of_epoch += 1
        progress.step += 1
        after_step()

    for number, batch in enumerate(epoch.batches):
        part = mixed(epoch, batch, (progress.epoch, number), runtime.ranks.rank)
        share = group.share(epoch.weight[batch.rows], part.y)
        losses.append(forward_backward(network, objective, runtime, epoch, progress, part, share))
        sizes.append(len(batch.rows))
        if group.is_full:
            step()
    if group.batches:
        step()  # the last, smaller group of batches counts too
    progress.epoch += 1
    mean = float(np.average(losses, weights=sizes)) if losses else float("nan")
    return {
        "train_loss": mean,
        "rate": float(epoch.rates[-1]),
        "images": sum(sizes),
        "seconds": time.perf_counter() - began,
        "pieces": progress.pieces,
    }


def trained(network: nn.Module, objective: Objective) -> list[nn.Parameter]:
    """Return the parameters that gradients are made for: the network's and those of the objective."""
    return [*network.parameters(), *(objective.parameters() if isinstance(objective, nn.Module) else ())]


class Mixed(NamedTuple):
    """A batch as it is trained on: row numbers, images (those of this process's part, or all), and the truth of each target."""

    rows: Tensor
    x: Tensor
    y: dict[str, Tensor]


def mixed(epoch: Epoch, batch: Batch, place: tuple[int, int], rank: int = 0) -> Mixed:
    """Return a batch's images and truths, mixed where the recipe mixes; its draws, and those of dropout, depend on ``place`` alone.

    Args:
        epoch: truth, mixing and the front of the keys.
        batch: images and row numbers.
        place: (epoch, number of the batch in it).
        rank: of this process, whose part of the batch has dropout of its own.
    """
    generator = torch.Generator().manual_seed(draws.key(*epoch.key, *place, "mix"))
    torch.manual_seed(draws.key(*epoch.key, *place, "dropout", *([rank] if rank else [])))
    x, y = batch.x, {name: truth[batch.rows] for name, truth in epoch.truth.items()}
    return Mixed(batch.rows, x, y) if epoch.mix is None else Mixed(batch.rows, *epoch.mix(x, y, generator))


def forward_backward(
    network: nn.Module,
    objective: Objective,
    runtime: Runtime,
    epoch: Epoch,
    progress: Progress,
    batch: Mixed,
    share: float = 1.0,
) -> float:
    """Run one batch through the network and add its gradients; where memory runs out, in ever smaller pieces.

    The effective batch stays: the pieces add up to the same gradient (BatchNorm sees the smaller pieces, and the log says so).
    The gradients are multiplied by ``share``, see :meth:`Group.share`.

    Returns:
        The batch's loss.
    """
    parameters = trained(network, objective)
    # Under accumulation the batches before this one have left gradients, which a failed attempt must not spoil.
    before = [None if p.grad is None else p.grad.detach().clone() for p in parameters]
    while True:
        try:
            return sum(_pieces(network, objective, runtime, epoch, progress, batch, share))
        except (RuntimeError, MemoryError) as error:
            if runtime.ranks.count > 1 and runtime.is_out_of_memory(error):
                what = f"memory ran out in process {runtime.ranks.rank} of {runtime.ranks.count}"
                raise EnvironmentFault(what, fix="use a smaller train.batch, or one device, which computes a batch in pieces") from None
            if not runtime.is_out_of_memory(error) or progress.pieces >= len(batch.x):
                raise
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        progress.pieces = min(2 * progress.pieces, len(batch.x))
        runtime.message(f"out of memory: a batch of {len(batch.x)} is now computed in {plural(progress.pieces, 'piece')}")


def _pieces(
    network: nn.Module,
    objective: Objective,
    runtime: Runtime,
    epoch: Epoch,
    progress: Progress,
    batch: Mixed,
    share: float,
) -> Iterator[float]:
    """Yield the share of each piece in the batch's loss, once its gradients are added."""
    rows, x, y = batch
    own = runtime.ranks.own(len(rows))
    first = int(own[0]) if len(x) < len(rows) else 0  # of the images that were read
    for part in own.chunk(progress.pieces):
        whole = {} if len(part) == len(rows) else {"whole": (y, epoch.weight[rows])}
        with runtime.autocast(), runtime.ranks.whole_batches():
            logits = network(runtime.to_device(x[part - first]), None if epoch.side is None else epoch.side[rows[part]])
            loss = objective(logits, {name: value[part] for name, value in y.items()}, epoch.weight[rows[part]], **whole)
        value = runtime.ranks.total(float(loss.detach()))
        if not np.isfinite(value):
            raise NotFinite(progress.step, [row for row in rows.flatten().tolist() if row >= 0])
        runtime.backward(loss * share)
        yield value
