"""Averages of weights along training: exponential, stochastic (equal), and soups of checkpoints; statistics refreshed afterwards.

An averager is updated after every optimizer step, gives the averaged state dict, and comes back from tensors and numbers bit for bit.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tapetum.core.config import Average
from tapetum.core.errors import DataError, UserError
from tapetum.core.words import plural
from tapetum.learn.training.schedules import swa_start

Weights = dict[str, Tensor]


class NoAverage:
    """No average while training runs (a soup is made of checkpoints at its end, see :func:`soup`)."""

    count = 0
    remarks: tuple[str, ...] = ()

    def update(self, network: nn.Module) -> None:
        """Do nothing."""

    def weights(self) -> Weights | None:
        """Return None: the network's own weights are to be taken."""
        return None

    def state(self) -> tuple[Weights, dict[str, Any]]:
        """Return what a restart needs: tensors and JSON values."""
        return {}, {}

    def load(self, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` gave."""


class _Averager(NoAverage):
    """An average that torch keeps in a copy of the network; ``step`` counts optimizer steps, ``count`` those that were averaged in."""

    def __init__(self, model: AveragedModel) -> None:
        self.model = model
        self.step, self.count = 0, 0
        self._begun = int(model.n_averaged)

    def weights(self) -> Weights | None:
        """Return the averaged state dict, or None before the first average."""
        return self.model.module.state_dict() if self.count else None

    def state(self) -> tuple[Weights, dict[str, Any]]:
        """Return the average and the counts."""
        tensors = {k: v.detach().cpu().clone() for k, v in self.model.module.state_dict().items()}
        return tensors, {"step": self.step, "count": self.count}

    def load(self, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` gave.

        Raises:
            DataError: it is of another network.
        """
        odd = sorted(set(tensors) ^ set(self.model.module.state_dict()))
        if odd:
            raise DataError(f"the saved average is of another network: {odd[0]!r} is on one side only", need="the same recipe")
        self.model.module.load_state_dict(tensors)
        self.step, self.count = int(rest["step"]), int(rest["count"])
        self.model.n_averaged.fill_(self._begun + self.count)


class Ema(_Averager):
    """θ' ← d·θ' + (1 − d)·θ after every step, of weights and of floating-point buffers.

    Args:
        network: its weights are the first average.
        decay: d, at most.
        steps: all optimizer steps. The horizon 1 / (1 − d) is kept within a tenth of them, else the average would still be the initial
            weights; and d rises from 0.1 as (1 + t) / (10 + t).
    """

    def __init__(self, network: nn.Module, decay: float, steps: int) -> None:
        model = AveragedModel(network, multi_avg_fn=self._mix, use_buffers=True)
        model.n_averaged.fill_(1)  # the network as it starts; torch would take the first step's weights as they are
        super().__init__(model)
        self.decay = max(0.0, min(decay, 1 - 10 / max(steps, 1)))
        if self.decay < decay:
            self.remarks = (
                f"EMA decay {decay:g} is lowered to {self.decay:.4g}: its horizon would exceed a tenth of the {plural(steps, 'step')}",
            )

    def update(self, network: nn.Module) -> None:
        """Average the network in."""
        self.model.update_parameters(network)
        self.step, self.count = self.step + 1, self.count + 1

    def _mix(self, average: Sequence[Tensor], current: Sequence[Tensor], _: Tensor | int) -> None:
        """Move the averages of one kind of number towards the current values; whole numbers are those of the last step."""
        if average[0].is_floating_point():
            decay = min(self.decay, (1 + self.step) / (10 + self.step))
            get_ema_multi_avg_fn(decay)(list(average), list(current), 0)
        else:
            for old, new in zip(average, current, strict=True):
                old.copy_(new)


class Swa(_Averager):
    """Equal average of late weights, one taken at each epoch's end (or at each step); buffers are the network's last.

    Args:
        network: gives the shapes.
        first: optimizer step after which weights are taken.
        every: steps from one to the next.

    Source: Izmailov et al. 2018, arXiv 1803.05407.
    """

    def __init__(self, network: nn.Module, first: int, every: int) -> None:
        super().__init__(AveragedModel(network))
        self.first, self.every = first, every

    def update(self, network: nn.Module) -> None:
        """Average the network in, where it is time to."""
        self.step += 1
        if self.step > self.first and (self.step - self.first) % self.every == 0:
            self.model.update_parameters(network)
            self.count += 1


def build(average: Average, network: nn.Module, *, steps_per_epoch: int, epochs: int) -> NoAverage:
    """Return the recipe's averager.

    Args:
        average: the recipe's section.
        network: as it is now; build again when a stage unfreezes more of it.
        steps_per_epoch: optimizer steps.
        epochs: of the schedule, without SWA's further ones.
    """
    if average.name == "ema":
        return Ema(network, average.decay, steps_per_epoch * epochs)
    if average.name == "swa":
        every = 1 if average.full_batch else steps_per_epoch
        return Swa(network, swa_start(average, epochs) * steps_per_epoch, every)
    return NoAverage()


@contextlib.contextmanager
def averaged(network: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Put averaged weights into the network while the block runs; its own come back bit for bit. None leaves it alone."""
    if weights is None:
        yield
        return
    before = {name: value.detach().clone() for name, value in network.state_dict().items()}
    try:
        network.load_state_dict(weights)
        yield
    finally:
        network.load_state_dict(before)


def soup(states: Sequence[Mapping[str, Tensor]]) -> Weights:
    """Return the equal average of checkpoints; whole-number buffers are the first one's.

    Args:
        states: state dicts of one network, the best first.

    Source: Wortsman et al. 2022, arXiv 2203.05482 (uniform soup).
    """
    if not states:
        raise UserError("a soup of no checkpoints", need="average.best of 1 or more")
    mixed = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            mixed[name] = (sum(s[name].double() for s in states) / len(states)).to(first.dtype)  # type: ignore[union-attr]
        else:
            mixed[name] = first.clone()
    return mixed


def best(scores: Sequence[float | None], k: int, *, greater_is_better: bool) -> list[int]:
    """Return the places of the k best scores, best first, the earlier of equals first; None and NaN never count."""
    known = [(value, i) for i, value in enumerate(scores) if value is not None and not math.isnan(value)]
    return [i for _, i in sorted(known, key=lambda pair: (-pair[0] if greater_is_better else pair[0], pair[1]))][:k]


class _Pooled:
    """Mean and variance of a BatchNorm's inputs over all rows of all batches, from those of each batch.

    The variance is that of all values together: the mean of the batches' variances and the variance of their means, each batch counted by
    its values. In double precision, and never as a difference of large squares.

    Source: Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance".
    """

    def __init__(self, norm: _BatchNorm) -> None:
        self.count = 0
        self.mean = torch.zeros_like(norm.running_mean, dtype=torch.float64, device="cpu")  # type: ignore[arg-type]
        self.spread = torch.zeros_like(self.mean)  # sum of squared distances from the mean

    def add(self, norm: _BatchNorm, given: tuple[Tensor, ...], out: Tensor) -> None:
        """Take in the batch that the layer has just seen; with a momentum of 1 its buffers are that batch's own."""
        count = given[0].numel() // len(self.mean)
        mean, variance = norm.running_mean.double().cpu(), norm.running_var.double().cpu()  # type: ignore[union-attr]
        total, apart = self.count + count, mean - self.mean
        self.spread += variance * (count - 1) + apart.square() * (self.count * count / total)
        self.mean += apart * (count / total)
        self.count = total

    def put(self, norm: _BatchNorm) -> None:
        """Write what all batches together gave into the layer."""
        if self.count:
            norm.running_mean.copy_(self.mean)  # type: ignore[union-attr]
            norm.running_var.copy_(self.spread / max(self.count - 1, 1))  # type: ignore[union-attr]


@torch.no_grad()
def refresh_norm(
    network: nn.Module, batches: Iterable[Any], forward: Callable[[Any], Any] | None = None, only: Collection[str] | None = None
) -> int:
    """Take BatchNorm statistics anew from un-mixed training images, as averaged weights need; return how many layers had it.

    Everything but the BatchNorms stays in eval mode (no dropout), so that the statistics are those of inference. A layer's statistics are
    those of all its values together, however they were cut into batches; what a layer sees depends on the batch through the layers before
    it, so rows should come in random order, not class by class.

    Args:
        network: with the averaged weights in it; its mode comes back afterwards.
        batches: what ``forward`` takes, one after the other; 2 images or more each.
        forward: runs one batch; None calls the network.
        only: names of the layers that are measured; None: all.
    """
    named = [(name, m) for name, m in network.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    norms = [norm for name, norm in named if only is None or name in only]
    if not norms:
        return 0
    modes = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    pooled = [_Pooled(norm) for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0  # the buffers are those of the last batch
        norm.train()
    hooks = [norm.register_forward_hook(pool.add) for norm, pool in zip(norms, pooled, strict=True)]
    try:
        for batch in batches:
            (forward or network)(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    for norm, pool in zip(norms, pooled, strict=True):
        pool.put(norm)
    return len(norms)
