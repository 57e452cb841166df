"""What one member of a pipeline answers for some rows: its fold models in turn, and the neighbours in its galleries."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from tapetum.core.progress import Log
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.core.vectors import Gallery, Neighbors
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.given import Source
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import inference, windows
from tapetum.learn.embedding import embed
from tapetum.learn.runtime import Runtime
from tapetum.pipeline.load import Member

Tick = Callable[[int, int], None]


def images_of(member: Member, manifest: Manifest, sources: Sequence[Sequence[Source]] | None) -> ImageDataset:
    """Return the images of some rows as a member sees them."""
    return ImageDataset(manifest, member.settings, EvalTransform(member.settings), form=member.form, sources=sources)


def neighbors(member: Member, images: ImageDataset, galleries: Mapping[tuple[str, int], Gallery]) -> list[Neighbors]:
    """Return the nearest rows in each of a member's galleries, each searched with the vectors of its own fold's model."""
    runtime = Runtime(member.engine)
    every = np.arange(len(images.manifest))
    found = []
    for (target, fold), gallery in galleries.items():
        how = {"scaling": member.scalings[fold], "batch": member.predict.batch}
        found.append(gallery.nearest(embed(member.networks[fold], images, every, target, runtime, **how).matrix))  # type: ignore[arg-type]
    return found


def passes_of(member: Member) -> int:
    """Return how often a member sees each image: once for each network that has its own backbone."""
    return 1 if member.shared else len(member.networks)


def counted(tick: Tick, before: int, passes: int, rows: int) -> Callable[[int], None]:
    """Return what a member tells how many images it has seen, over all its passes."""
    return lambda done: tick((before + done) // max(passes, 1), rows)


def _after(count: Callable[[int], None], before: int, done: int) -> None:
    count(before + done)


def _watching(watch: inference.Watch, group: int, rows: int) -> inference.Watch:
    """Return what a group of networks tells: the rows of those before it count as done, and the vectors are of the first group."""
    done = None if watch.done is None else functools.partial(_after, watch.done, group * rows)
    return inference.Watch(done, None if group else watch.vectors)


def answer(
    member: Member,
    images: ImageDataset,
    targets: Mapping[str, Target],
    log: Log | None = None,
    watch: inference.Watch | None = None,
) -> tuple[dict[int, dict[str, Dense]], dict[int, str], dict[str, np.ndarray]]:
    """Return fold → target → what a member answers for every image, row number → why it has no answer, and its single views.

    Args:
        member: of the pipeline.
        images: as the member sees them.
        targets: the pipeline's.
        log: told how the member computes.
        watch: what is told meanwhile, the vectors by the first fold's network.
    """
    table = images.manifest
    runtime = Runtime(member.engine, log=log)
    every = np.arange(len(table))
    source = None
    if member.sequence.length > 1:
        source = dataclasses.replace(windows.of_recipe(table, member.sequence, member.step), images=images)
    groups = [list(member.networks)] if member.shared else [[fold] for fold in member.networks]
    found: dict[int, inference.Answers] = {}
    for number, folds in enumerate(groups):
        told = _watching(watch or inference.Watch(), number, len(table))
        scalings = {fold: member.scalings[fold] for fold in folds}
        sides = {f: None if s is None else runtime.to_device(torch.from_numpy(s.apply(table))) for f, s in scalings.items()}
        networks = {fold: runtime.to_device(member.networks[fold]) for fold in folds}
        if source is not None:
            padded = {fold: windows.padded(side, 0.0) for fold, side in sides.items() if side is not None} or None
            found |= windows.answer_folds(networks, source, every, member.predict, runtime, side=padded, watch=told)
            continue
        found |= inference.answer_folds(
            networks,
            images,
            every,
            member.predict,
            runtime,
            side=sides,
            key=("predict", member.name),
            watch=told,
        )
    empty = {name: np.full((len(table), t.width), np.nan, dtype=np.float32) for name, t in targets.items()}
    dense = {fold: answers.dense(targets, table.row_ids, empty, fold) for fold, answers in found.items()}
    first = next(iter(found.values()))
    kept = {name: np.mean([answers.draws[name] for answers in found.values()], axis=0) for name in first.draws}
    return dense, first.reasons, kept
