"""By what engine a member's held-out images are answered, measured once and kept in plan.json; and in how many views."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tapetum.core import draws
from tapetum.core.choices import name_of
from tapetum.core.config import Predict, Recipe, Spec
from tapetum.core.words import plural
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.transforms import EvalTransform
from tapetum.data.images.views import expand, first_draw
from tapetum.learn import engines, models, speed
from tapetum.learn.answering import images_to_repay, seconds_to_convert
from tapetum.learn.runtime import Engine
from tapetum.workflow.session import Prepared, Session

Uses = list[tuple[int, int]]  # (images that are answered at once with the same weights, how often)


def plan_answers(
    session: Session, member_recipe: Recipe, network: models.Network, own: Engine, plan: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the engine of a member's answers beside training, and from how many images at once it is worth a conversion.

    Args:
        session: of the run.
        member_recipe: the member's.
        network: of the member, as it starts.
        own: the engine that trains, by which answers are computed otherwise.
        plan: the member's folds and epochs.

    Returns:
        ``{"engine", "seconds_per_image", "parity", "convert_seconds", "from_images", "why"}``; with nothing but ``why`` where the engine
        that trains answers; None where nothing was looked at.
    """
    wanted, prepared = member_recipe.predict.engine, session.prepared
    force = wanted not in ("auto", "torch")
    uses = [use for use in _uses(member_recipe, prepared, plan) if force or use[0] >= engines.FEWEST]
    precision = member_recipe.train.model_copy(update={"precision": "auto" if own.precision == "bf16" else "32"})
    beside = engines.offered(precision, wanted, own)
    if not uses or not beside or member_recipe.input.size == "native" or session.devices > 1:
        return None
    shape, dtype = shape_of(member_recipe, prepared), getattr(torch, prepared.form.dtype)
    work = speed.Work(shape, training=False, dtype=dtype)
    as_own = member_recipe.train.model_copy(update={"precision": own.precision, "channels_last": own.channels_last})
    measured = speed.decide_engine(as_own, network, work, device=own.device, rate=True)
    each = measured.seconds[measured.engine.name]
    worth = [use for use in uses if force or use[0] * each * engines.FASTER > engines.FILLING]
    if not worth:
        most = max(images for images, _ in uses)
        return _told(
            session,
            f"{plural(most, 'image')} at once take {most * each:.1f} s by {own.name}, too little to convert the network for each time",
        )
    rows, times = sum(images * often for images, often in worth), sum(often for _, often in worth)
    judge = _judge(session, member_recipe, network)
    choice = engines.choose(measured, beside, network, work, rows, judge, force=force, conversions=times)
    best = choice.measured.engine
    if best.backend == "torch":
        return _told(session, choice.why)
    convert = seconds_to_convert(network, work, best)
    seconds = choice.measured.seconds
    least = 0 if force else images_to_repay(convert, each, seconds[best.name])
    why = f"{choice.why}; a conversion takes {convert:.1f} s and is repaid from {plural(least, 'image')} on" if least else choice.why
    session.log(f"held-out answers: {best.name}; {why}")
    return {**choice.to_dict(), "convert_seconds": round(convert, 2), "from_images": least, "why": why}


def _told(session: Session, why: str) -> dict[str, Any]:
    session.log(f"held-out answers: by the engine that trains; {why}")
    return {"why": why}


def _uses(member_recipe: Recipe, prepared: Prepared, plan: dict[str, Any]) -> Uses:
    """Return how many images are answered at once, and how often, until all folds are done."""
    if member_recipe.sequence.length > 1:
        kept = {"end-to-end": 0, "frozen": 1}.get(member_recipe.sequence.features, len(plan["folds"]))  # else each fold has a backbone
        return [(int((prepared.manifest.split != "test").sum()), kept)] if kept else []
    epochs = plan["epochs"] * (2 if member_recipe.average.name == "ema" else 1)
    views = count_answers(member_recipe, shape_of(member_recipe, prepared))
    uses: Uses = []
    for fold in plan["folds"]:
        rows = len(prepared.heldout(fold))
        uses += [(rows, epochs), *([(rows * views, 1)] if views else [])]
        frozen = sum(stage.epochs for stage in member_recipe.stages if stage.trains == "head" and not member_recipe.mix)
        uses += [(len(prepared.fitting(fold)) * (frozen if member_recipe.augment else 1), 1)] if frozen else []
    return [use for use in uses if use[1]]


def _judge(session: Session, member_recipe: Recipe, network: models.Network) -> engines.Judge:
    """Return what compares engines on some training rows, by the vectors that the network starts with."""
    prepared, manifest = session.prepared, session.manifest
    rows = np.flatnonzero((manifest.split == "train") & prepared.usable)
    rows = rows[draws.evenly(len(rows), max(engines.SAMPLE.values()))]
    images = ImageDataset(manifest, member_recipe.input, EvalTransform(member_recipe.input), form=prepared.form, missing=prepared.reasons)
    targets = [target for name, target in network.targets.items() if target.scored and name in manifest.frame.columns]
    return engines.by_vectors(network, engines.Sample(images, rows), {t.name: manifest.truth(t.name) for t in targets}, targets)


def shape_of(member_recipe: Recipe, prepared: Prepared) -> tuple[int, int, int]:
    """Return (C, H, W) of a member's images."""
    size = member_recipe.input.size
    height, width = prepared.form.size if size == "native" else (size, size) if isinstance(size, int) else size
    return prepared.form.channels, height, width


def one_view(member_recipe: Recipe) -> str:
    """Return why a member sees each image in one way only, or nothing."""
    if member_recipe.sequence.length > 1:
        return "it sees neighbouring images, and those as they are"
    return "predict.views is plain" if all(name_of(spec) == "plain" for spec in views_of(member_recipe.predict)) else ""


def count_answers(member_recipe: Recipe, shape: tuple[int, int, int]) -> int:
    """Return how many times each held-out image is answered so that ways of reducing its views can be compared; 0 where none are."""
    if member_recipe.predict.reduce != "auto" or one_view(member_recipe):
        return 0
    return count_views(member_recipe, shape) + (first_draw(views_of(member_recipe.predict)[0]) > 0)


def count_views(member_recipe: Recipe, shape: tuple[int, int, int]) -> int:
    """Return in how many views the pipeline answers an image."""
    image = torch.zeros((1, *shape), dtype=torch.uint8)
    return sum(1 for spec in views_of(member_recipe.predict) for _ in expand(image, spec, [0]))


def views_of(predict: Predict) -> tuple[Spec, ...]:
    """Return the views of ``[predict]``, one or several."""
    return predict.views if isinstance(predict.views, tuple) else (predict.views,)
