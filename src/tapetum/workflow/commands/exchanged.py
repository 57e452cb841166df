"""How the features of images change where their first and last channel are exchanged; the audit tells by them which images are BGR."""

from __future__ import annotations

import numpy as np

from tapetum.core.config import Recipe
from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data.audit import check_files
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.decode import Composition
from tapetum.data.images.form import Form, without_odd
from tapetum.data.images.transforms import EvalTransform, Exchanged
from tapetum.learn import features, models
from tapetum.learn.runtime import Runtime
from tapetum.workflow.stages.networks import probe_input

ASKED = Target("order of channels", "single", ("as it is", "exchanged"))  # a network answers something; its features are asked for


def exchanged_features(manifest: Manifest, recipe: Recipe, record: Record) -> np.ndarray | None:
    """Return the features (N, D) of images less those of the same images with channels 1 and 3 exchanged.

    Args:
        manifest: the rows; what cannot be read is NaN.
        recipe: its backbone sees each image twice, as its probe would.
        record: told how far it is.

    Returns:
        None where images have not three channels, which the audit then says nothing of by features.
    """
    settings = probe_input(recipe)
    found = without_odd(check_files(manifest, Composition.from_input(settings), lambda _: None))
    if not (found["status"] == "ok").any() or Form.of(found).channels != 3:
        record("exchanged channels are looked for by colours alone: the images have not three channels")
        return None
    form, lost = Form.of(found), found.filter(found["status"] != "ok")
    model = recipe.model.model_copy(update={"head": None, "heads": {}, "targets": ()})
    network = models.build(model, (ASKED,), form.channels, settings, seed=recipe.seed, log=record)
    images = ImageDataset(manifest, settings, EvalTransform(settings), form=form, missing=dict(lost.select("row_id", "reason").iter_rows()))
    seen = []
    for part, name in ((images, "features"), (images.with_transform(Exchanged(images.transform)), "features of exchanged channels")):
        one = features.extract(network, part, runtime=Runtime(), batch=recipe.predict.batch, after_batch=record.share(name))
        seen.append(one.vectors.mean(axis=1))
    return np.asarray(seen[0] - seen[1])
