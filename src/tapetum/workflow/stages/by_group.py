"""What folds by image are worth: the probe once more, on folds that keep groups together.

A recipe may let groups cross folds (``split.scheme = "image"``, with its reason). Then other images of a held-out image's group train, and
every figure leaks. The probe on the same vectors and rows, under folds by group, shows how much of its figure that is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tapetum.core.runs import BY_GROUP_FILE
from tapetum.core.tables import Predictions
from tapetum.core.words import plural
from tapetum.data import split
from tapetum.learn.runtime import one_thread
from tapetum.workflow.session import Session
from tapetum.workflow.stages.networks import probe_input
from tapetum.workflow.stages.probe import fitted, vectors_for


def probe_by_group(session: Session) -> None:
    """Write the probe's held-out answers under folds by group, where the run's folds go by image; else nothing."""
    recipe, manifest = session.recipe, session.manifest
    if recipe.split.scheme != "image" or session.run.file(BY_GROUP_FILE).exists():
        return
    groups = manifest.groups[manifest.split == "train"].tolist()
    many, least = len(set(groups)), 2 if recipe.split.holdout is not None else recipe.split.folds
    if many == len(groups):
        return  # no group has two images, so nothing crosses
    if many < least or probe_input(recipe).normalise == "data":
        why = (
            f"there are {plural(many, 'group')} for {plural(least, 'fold')}"
            if many < least
            else "channels are measured on the run's own folds"
        )
        session.log(f"what folds by image are worth is not measured: {why}")
        return
    prepared = dataclasses.replace(session.prepared, manifest=split.by_group(manifest, recipe.split, recipe.seed), heldout_trains=False)
    apart, found = dataclasses.replace(session, prepared=prepared), vectors_for(session)
    with one_thread():
        tables = [fitted(apart, found, fold)[2] for fold in np.unique(prepared.manifest.fold).tolist() if fold >= 0]
    Predictions.concat(tables).write(session.run.file(BY_GROUP_FILE))
    session.log(f"probe: {plural(len(tables), 'fold')} by group fitted beside those by image, to measure what these are worth")
