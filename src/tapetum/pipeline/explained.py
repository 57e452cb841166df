"""Where a pipeline's answer to one image came from: a saliency map, and the nearest training images where it has a gallery."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tapetum.core.errors import DataError, TapetumError, UserError, listed, nearest
from tapetum.core.requests import ImageRequest
from tapetum.core.runs import Run
from tapetum.core.targets import Target, decode
from tapetum.core.vectors import Gallery
from tapetum.data.images import dataset
from tapetum.data.images.decode import Composition, compose
from tapetum.learn import saliency
from tapetum.learn.embedding import embed
from tapetum.learn.runtime import Runtime
from tapetum.pipeline import answer as members
from tapetum.pipeline.load import Member
from tapetum.pipeline.pipeline import Pipeline
from tapetum.pipeline.requests import Answering

NEAREST = 8  # training images shown
SIDE = 160  # pixels of their longer side
NO_GALLERY = "The pipeline keeps no training images to compare with (its recipe has no retrieval step)."
NO_MAP = "No single network answers one image by itself, so there is no map."


def explain(answering: Answering, request: ImageRequest, target: str | None = None) -> dict[str, Any]:
    """Return ``{"saliency": PNG as a data URL or None, "neighbours": [{"id", "cosine", "label", "image"}], "why": what is absent}``.

    The map is of one network: the first fold of the first member that answers the target.

    Args:
        answering: whose ``loaded`` is a pipeline.
        request: one image.
        target: whose answer; None: the first one.

    Raises:
        UserError: no such target.
        DataError: the image cannot be read.
    """
    pipeline = answering.loaded
    assert isinstance(pipeline, Pipeline)  # the caller chose this module by it
    names = list(pipeline.scored)
    name = names[0] if target is None else target
    if name not in names:
        raise UserError(f"there is no target {name[:80]!r} (there are: {listed(names)}).{nearest(name, names)}")
    found = answering([request])[0]
    if found.problems:
        raise DataError(f"the image cannot be read: {found.problems[0]}")
    member = next((one for one in pipeline.members if one.sequence.length == 1 and name in _targets(one)), None)
    map_ = None if member is None else _map(answering, member, request, name, found.answered[name].p[0])
    near = _neighbours(answering, request, name)
    why = [*([] if map_ else [NO_MAP]), *([] if pipeline.galleries else [NO_GALLERY])]
    return {"saliency": map_, "neighbours": near, "why": " ".join(why)}


def _targets(member: Member) -> list[str]:
    return list(next(iter(member.networks.values())).targets)


def _map(answering: Answering, member: Member, request: ImageRequest, target: str, p: np.ndarray) -> str:
    """Return the image under a map of what the class with the largest probability depends on."""
    manifest = answering.manifest([request])
    images = members.images_of(member, manifest, list(request.rows))
    batch = next(dataset.batches(images, [0], 1))
    fold, network = next(iter(member.networks.items()))
    scaling = member.scalings[fold]
    side = None if scaling is None else torch.from_numpy(scaling.apply(manifest))
    index = None if answering.loaded.targets[target].kind == "regression" else int(np.argmax(p))
    network = network.to("cpu")
    map_ = saliency.normalised(saliency.saliency(network, batch.x, target, index, "gradcam", side=side))
    x, map_ = (batch.x[0, 0], map_[0, 0]) if batch.x.ndim == 5 else (batch.x[0], map_[0])
    return _png(saliency.overlay(x, map_))


def _neighbours(answering: Answering, request: ImageRequest, target: str) -> list[dict[str, Any]]:
    """Return the training images whose vectors are nearest, by the first gallery."""
    pipeline = answering.loaded
    assert isinstance(pipeline, Pipeline)
    if not pipeline.galleries:
        return []
    (name, space, fold), gallery = next(iter(pipeline.galleries.items()))
    member = next(one for one in pipeline.members if one.name == name)
    images = members.images_of(member, answering.manifest([request]), list(request.rows))
    vector = embed(member.networks[fold], images, np.arange(1), space, Runtime(member.engine), scaling=member.scalings[fold]).matrix[0]
    if not np.isfinite(vector).all():
        return []
    paths = _training_files(pipeline)
    return [
        {
            "id": row_id,
            "cosine": cosine,
            "label": _label(gallery, row, pipeline.targets[target]),
            "image": _thumbnail(member, paths.get(row_id)),
        }
        for row, cosine in gallery.closest(vector, NEAREST)
        for row_id in [str(gallery.vectors.row_ids[row])]
    ]


def _label(gallery: Gallery, row: int, target: Target) -> str | None:
    truth = gallery.y.get(target.name)
    found = None if truth is None else decode(target, truth[row : row + 1])[0]
    return ", ".join(found) if isinstance(found, list) else None if found is None else str(found)


def _training_files(pipeline: Pipeline) -> dict[str, list[Path]]:
    """Return row id → files of the run that the pipeline lies in; nothing where it lies in none."""
    run = Run(pipeline.folder.parent)
    if pipeline.folder.name != run.pipeline.name or not run.manifest_file.exists():
        return {}
    manifest = run.checked(run.manifest_file.name).manifest()
    return {row_id: manifest.paths(row) for row, row_id in enumerate(manifest.row_ids)}


def _thumbnail(member: Member, files: list[Path] | None) -> str | None:
    """Return a training image as the member composes it, small; None where its file is not here any more."""
    if not files:
        return None
    try:
        image = member.form.fit(compose(files, Composition.from_input(member.settings))[0], "a training image")
    except TapetumError:
        return None
    shown = saliency.shown(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
    small = Image.fromarray(shown)
    small.thumbnail((SIDE, SIDE))
    return _png(np.asarray(small))


def _png(image: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
