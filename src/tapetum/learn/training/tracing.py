"""Where the time of training goes: the loop of training itself, with a clock around each of its parts."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from tapetum.data.images import dataset
from tapetum.data.images.archives import read_bytes
from tapetum.data.images.decode import read_row
from tapetum.learn.training import loop
from tapetum.learn.training.fold import Training

PARTS = ("read", "decode", "augment", "mix", "forward", "loss", "backward", "optimizer")  # in the order of a step
WARM = 2  # steps before the clock counts: the first ones reserve memory


class Clock:
    """Seconds of each part.

    Args:
        device: a GPU is waited for before each look at the clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._gpu = device.type == "cuda"

    @contextlib.contextmanager
    def around(self, part: str) -> Iterator[None]:
        """Count the time of a block."""
        began = self.now()
        try:
            yield
        finally:
            self.seconds[part] += self.now() - began

    def now(self) -> float:
        """Return the time once the device has nothing left to do."""
        if self._gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose calls count."""

        def call(*given: Any, **named: Any) -> Any:
            with self.around(part):
                return function(*given, **named)

        return call


class _Images(dataset.ImageDataset):
    """The images of training, whose files are read and decoded under the clock; nothing is held in memory."""

    clock: Clock

    @classmethod
    def of(cls, plain: dataset.ImageDataset, clock: Clock) -> _Images:
        """Return the same images."""
        other = cls.__new__(cls)
        other.__dict__.update(plain.__dict__)
        other.clock, other.kept = clock, dataset.ImageCache(0)
        other.transform = clock.timed("augment", plain.transform)
        return other

    def _decode(self, row: int) -> list[np.ndarray]:
        with self.clock.around("read"):
            contents = [read_bytes(path) for path in self.manifest.paths(row)]
        with self.clock.around("decode"):
            return read_row(contents, self.how, self._hashes[row])[1]


@dataclasses.dataclass(frozen=True)
class Traced:
    """What a trace found.

    Args:
        seconds: of each part, over all steps.
        total: seconds of all steps, with images decoded in the thread that trains.
        steps: batches.
        images: that were trained on.
        threaded: seconds of as many steps as training makes them, with its threads for images; None where it has none.
    """

    seconds: dict[str, float]
    total: float
    steps: int
    images: int
    threaded: float | None


def trace(training: Training, optimizer: torch.optim.Optimizer, steps: int) -> Traced:
    """Train some batches of the first stage, with a clock around each part.

    Args:
        training: at its start.
        optimizer: of its first stage.
        steps: batches.
    """
    workers = training.recipe.train.workers
    threaded = None
    if workers:
        _steps(training, optimizer, WARM)
        threaded = _steps(training, optimizer, steps)[0]
    clock = Clock(training.runtime.device)
    _put_clocks(training, clock)
    _steps(training, optimizer, WARM, clock)
    clock.seconds.update(dict.fromkeys(PARTS, 0.0))
    total, images, made = _steps(training, optimizer, steps, clock)
    return Traced(clock.seconds, total, made, images, threaded)


def _put_clocks(training: Training, clock: Clock) -> None:
    stage, runtime = training.fold.stages[0], training.runtime
    training.recipe = training.recipe.model_copy(update={"train": training.recipe.train.model_copy(update={"workers": 0})})
    augmented, plain = training.inputs_of(stage)
    training.images = dict.fromkeys(training.images, (_Images.of(augmented, clock), plain))
    vars(runtime).update(backward=clock.timed("backward", runtime.backward), step=clock.timed("optimizer", runtime.step))


def _steps(training: Training, optimizer: torch.optim.Optimizer, steps: int, clock: Clock | None = None) -> tuple[float, int, int]:
    """Train some batches of the first epoch; return seconds, images and batches."""
    epoch, made = training.epoch(0), [0]
    stream = epoch.batches
    network: Any = training.network
    objective: Any = training.fold.objective
    if clock is not None:
        network, objective = _Around(network, clock, "forward"), _Around(objective, clock, "loss")
        epoch = dataclasses.replace(epoch, mix=None if epoch.mix is None else clock.timed("mix", epoch.mix))

    def counted() -> Iterator[dataset.Batch]:
        for batch in itertools.islice(stream, steps):
            made[0] += 1
            yield batch

    epoch = dataclasses.replace(epoch, batches=counted())
    began = time.perf_counter()
    row = loop.train_epoch(network, objective, optimizer, training.runtime, epoch, training.progress, lambda: None)
    seconds = time.perf_counter() - began if clock is None else clock.now() - began
    return seconds, int(row["images"]), made[0]


class _Around(torch.nn.Module):
    """A module whose calls count; all else of it is its own."""

    def __init__(self, module: torch.nn.Module, clock: Clock, part: str) -> None:
        super().__init__()
        self.module, self._clock, self._part = module, clock, part

    def forward(self, *given: Any, **named: Any) -> Any:
        """Call the module under the clock."""
        with self._clock.around(self._part):
            return self.module(*given, **named)
