"""Tapetum's training a turn at a time: an epoch as ``fit`` trains, or as many images of random numbers that are in memory already."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import turn

from tapetum.core import files
from tapetum.core.tables import Manifest


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", type=Path, help="of a fold")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--engine", type=json.loads, help="instead of the fold's own")
    parser.add_argument("--tensors", action="store_true")
    wish = parser.parse_args()
    from tapetum.core import allocator
    from tapetum.learn.training import job
    from tapetum.learn.training.fold import Training
    from tapetum.learn.training.keep import Keeper

    allocator.keep_memory()  # as the command does
    spec = files.read_json(wish.spec) | ({"engine": wish.engine} if wish.engine else {})
    manifest = Manifest.read(wish.manifest, spec["data_root"])
    training = Training(job.build(spec, manifest, Keeper(wish.spec.parent), lambda _: None))
    optimizer = training.begin()
    turn.take(on_tensors(training, optimizer) if wish.tensors else epochs(training, optimizer))


def epochs(training: Any, optimizer: Any) -> Callable[[str], int]:
    from tapetum.learn.training import loop

    def epoch(_: str) -> int:
        of_epoch = training.epoch(0)
        row = loop.train_epoch(
            training.network, training.fold.objective, optimizer, training.runtime, of_epoch, training.progress, lambda: None
        )
        return int(row["images"])

    return epoch


def on_tensors(training: Any, optimizer: Any) -> Callable[[str], int]:
    """Return what trains the same network on the same engine, by as many random images as an epoch has."""
    runtime, network, train = training.runtime, training.network, training.fold.recipe.train
    training.epoch(0)  # puts the network into the mode that an epoch has
    size, steps = training.fold.recipe.input.size, len(training.fold.train) // train.batch
    (target,) = network.targets.values()
    x = runtime.to_device(torch.rand(train.batch, 3, size, size))
    y = torch.nn.functional.one_hot(torch.arange(train.batch) % target.width, target.width).float()

    def turn_of(_: str) -> int:
        for _ in range(steps):
            with runtime.autocast():
                (logits,) = network(x).values()
            loss = torch.nn.functional.cross_entropy(logits.float(), y)
            runtime.backward(loss)
            runtime.step(network, optimizer, 1e-6)
            optimizer.zero_grad(set_to_none=True)
        return steps * train.batch

    return turn_of


if __name__ == "__main__":
    main()
