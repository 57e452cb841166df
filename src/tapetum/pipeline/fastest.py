"""The engines by which a pipeline answers so many images: as it was planned, or another where that saves time and keeps the labels."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tapetum.core import cache, draws, files
from tapetum.core.agreement import Agreement, agreement
from tapetum.core.config import Spec, Train
from tapetum.core.errors import TapetumError
from tapetum.core.progress import Log
from tapetum.core.runs import Run
from tapetum.core.tables import Dense, Manifest
from tapetum.data.images import archives
from tapetum.data.images.views import expand
from tapetum.learn import engines, sessions, speed
from tapetum.learn.runtime import Engine, Runtime
from tapetum.pipeline.load import Member

SERVED = 10_000  # images that a service is expected to answer, so that a conversion is worth its seconds
PARITY = "agreements"  # file of the user's cache: how far a pipeline's answers by an engine agree with those by torch


def planned(pipeline: Any, rows: int) -> Any:
    """Return a pipeline that answers as it was planned, or by torch where a conversion would cost more than so few images need."""
    return with_engines(pipeline, {member.name: _planned(member, rows) for member in pipeline.members})


def for_service(pipeline: Any, log: Log | None = None) -> Any:
    """Return a pipeline by the engine that answers many images fastest, ready to answer: what is converted is converted now.

    Engines are compared on training images of the run that the pipeline lies in. Without them it answers as it was planned.
    """
    some = _training_images(pipeline)
    if some is not None and log is not None:
        log("measuring which engine answers fastest, up to a minute the first time")
    out = planned(pipeline, SERVED) if some is None else fastest(pipeline, some, log=log, rows=SERVED)
    for member in out.members:
        if member.engine.backend != "torch":
            runtime, x = Runtime(member.engine), torch.zeros((1, *_shape(member)), dtype=getattr(torch, member.form.dtype))
            with torch.inference_mode():
                for network in list(member.networks.values())[: 1 if member.shared else None]:
                    runtime.to_device(network).head_inputs(x)
    return out


def _training_images(pipeline: Any) -> Manifest | None:
    """Return some rows of the run that the pipeline lies in whose files are still there; None where they are too few to compare."""
    run = Run(pipeline.folder.parent)
    if pipeline.folder.name != run.pipeline.name or not run.manifest_file.exists():
        return None
    manifest = run.checked(run.manifest_file.name).manifest()
    rows = [row for row in draws.evenly(len(manifest), max(engines.SAMPLE.values())).tolist() if all(map(_is_there, manifest.paths(row)))]
    return manifest.where(np.array(rows)) if len(rows) >= engines.SAMPLE["32"] else None


def _is_there(path: Path) -> bool:
    try:
        return bool(archives.read_head(path))
    except TapetumError:
        return False


def fastest(pipeline: Any, manifest: Manifest, wanted: str = "auto", log: Log | None = None, *, rows: int | None = None) -> Any:
    """Return a pipeline that answers the rows of a manifest by the fastest engine that gives torch's labels.

    Args:
        pipeline: loaded.
        manifest: the rows; some of them are answered twice where an engine is compared with torch for the first time.
        wanted: ``auto``, or the name of an engine; ``torch`` is the reference.
        log: told what was chosen, where that is not what the pipeline was planned with.
        rows: how many images are to be answered; None: those of the manifest.

    Raises:
        UserError: an engine that is not known.
        EnvironmentFault: an engine that is not installed.
    """
    sessions.check(wanted)
    if wanted == "torch":
        return with_engines(pipeline, {member.name: member.engine.by_torch() for member in pipeline.members})
    count = len(manifest) if rows is None else rows
    out = planned(pipeline, count)
    for member in out.members:
        own = member.predict.engine if wanted == "auto" else wanted  # of the recipe, where the caller names none
        if _takes_others(member) and (wanted != "auto" or member.engine.backend == "torch") and member.engine.backend != own:
            out = with_engines(out, {member.name: _chosen(out, member, manifest, count, own, log)})
    return out


def _chosen(pipeline: Any, member: Member, manifest: Manifest, count: int, wanted: str, log: Log | None) -> Engine:
    """Return the engine of a member for so many images; those of the manifest are compared."""
    network, torchs = next(iter(member.networks.values())), member.engine.by_torch()
    shape, dtype = _shape(member), getattr(torch, member.form.dtype)
    views: int = sum(1 for spec in _views(member) for _ in expand(torch.zeros((1, *shape), dtype=dtype), spec, [0]))
    rows, force = count * views * (1 if member.shared else len(member.networks)), wanted != "auto"
    beside = engines.offered(Train(precision="auto" if torchs.precision == "bf16" else "32"), wanted, torchs)
    if not beside or not (force or rows >= engines.FEWEST):
        return member.engine
    work, train = speed.Work(shape, training=False, dtype=dtype), Train(precision=torchs.precision, channels_last=torchs.channels_last)
    measured = speed.Measured(torchs, {})
    if rows >= engines.FEWEST:
        measured = speed.decide_engine(train, network, work, rate=True, device=torchs.device)
    choice = engines.choose(measured, beside, network, work, rows, _judge(pipeline, member, manifest), force=force)
    engines.said(choice, log)
    return choice.measured.engine


def _judge(pipeline: Any, member: Member, manifest: Manifest) -> engines.Judge:
    """Return what compares whole answers to some of the rows; what it finds is remembered for the pipeline."""
    references: dict[int, Mapping[str, Dense]] = {}

    def judge(engine: Engine, count: int) -> Agreement:
        key = files.fingerprint([pipeline.spec, member.name, engine.to_dict(), count])
        if (kept := cache.read(PARITY).get(key)) is not None:
            return Agreement(**kept)
        rows = draws.evenly(len(manifest), count)
        some = manifest.where(rows)
        if count not in references:
            references[count] = with_engines(pipeline, {member.name: engine.reference()}).answer(some)
        found = agreement(references[count], with_engines(pipeline, {member.name: engine}).answer(some), engine.name)
        cache.add(PARITY, {key: found.to_dict()})
        return found

    return judge


def _planned(member: Member, rows: int) -> Engine:
    if member.engine.backend == "torch":
        return member.engine
    network = next(iter(member.networks.values()))
    times = 1 if member.shared else len(member.networks)
    return engines.usable(member.engine, network, _shape(member), getattr(torch, member.form.dtype), rows * times)


def _takes_others(member: Member) -> bool:
    """Tell whether a member's backbone can be converted: images of one size, answered each by itself."""
    return member.settings.size != "native" and member.sequence.length == 1


def _shape(member: Member) -> tuple[int, int, int]:
    size = member.settings.size
    height, width = member.form.size if isinstance(size, str) else (size, size) if isinstance(size, int) else size
    return member.form.channels, height, width


def _views(member: Member) -> tuple[Spec, ...]:
    views = member.predict.views
    return views if isinstance(views, tuple) else (views,)


def reference(pipeline: Any) -> Any:
    """Return a pipeline that answers by torch in 32 bits, however it was planned."""
    return with_engines(pipeline, {member.name: member.engine.reference() for member in pipeline.members})


def with_engines(pipeline: Any, chosen: Mapping[str, Engine]) -> Any:
    """Return the same pipeline with other engines for some members."""
    out = copy.copy(pipeline)
    out.members = [dataclasses.replace(m, engine=chosen.get(m.name, m.engine)) for m in pipeline.members]
    return out
