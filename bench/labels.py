"""Many labels an image: a logistic regression each, or least squares with Platt scaling? Both as probes on the same vectors and folds.

Run: ``python bench/labels.py [--seed N]``; the faces beside the repository are the second set, where they are there. The simulated cells
are of a seed that ``make acceptance`` does not draw.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import ordinal
import recorded
from tapetum import api
from tapetum.core import intervals, metrics
from tapetum.core.config import Data, Probe, Split
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data import layouts, split
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import features, probe
from tapetum.workflow.stages import networks

WAYS: tuple[probe.Fit, ...] = ("likelihood", "least_squares")
SHOWN = ("average_precision", "macro_f1", "log_loss")
FOLDS = 3


@dataclasses.dataclass(frozen=True)
class Labelled:
    """One set: vectors (N, V, D), truth (N, K), groups and folds (N,)."""

    what: str
    target: Target
    vectors: np.ndarray
    truth: np.ndarray
    groups: np.ndarray
    fold: np.ndarray


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=100, help="of the simulation and of the folds")
    parser.add_argument("--size", default="small", help="how many samples are simulated")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    args = parser.parse_args()
    sets = [cells(args.size, args.seed)]
    photos = recorded.DATA / "faces" / "labels.csv"
    if photos.exists():
        sets.append(faces(photos, args.seed))
    found = [compare(one, args.seed) for one in sets]
    rows = [
        [f["what"], *(f"{f[way][m]:.3f}" for m in SHOWN for way in WAYS), recorded.difference(f["difference"]), f["chosen"]] for f in found
    ]
    head = ["images", *(f"{m}: {way}" for m in SHOWN for way in ("logistic", "least squares")), "average precision gained", "chosen"]
    text = (
        f"Probes of `tf_efficientnet_lite0` on the same vectors, {FOLDS} folds that cut no group, out of fold; macro-F1 with each label "
        "given to as many images as have it. The last columns: the paired difference with its 95 % interval, and in how many folds the "
        f"inner folds chose least squares.\n\n{recorded.table(head, rows)}"
    )
    print(text)
    if not args.dry:
        recorded.record("labels", "Many labels: logistic or least squares", text, {"sets": found}, "torch", "timm", "numpy", "scipy")
    return 0


def cells(size: str, seed: int) -> Labelled:
    """Return the training part of simulated cells as the probe of ``hpa-plus`` (cpu profile) sees it."""
    recipe = api.load_recipe("hpa-plus", profile="cpu").recipe
    with tempfile.TemporaryDirectory() as folder:
        simulated = api.simulate("hpa", Path(folder) / "hpa", size=size, seed=seed, log=recorded.log)
        manifest = layouts.read(Path(simulated["paths"]["source"]), recipe.data, recorded.log)
        known = manifest.where(np.flatnonzero(manifest.split != "test"))
        form, settings = Form(4, "uint8", (simulated["px"], simulated["px"])), networks.probe_input(recipe)
        network = networks.probe_network(recipe, form, known)
        images = ImageDataset(known, settings, EvalTransform(settings), form=form)
        vectors = features.extract(network, images, views=recipe.probe.views, log=recorded.log).vectors
    part = split.assign_folds(known, Split(folds=FOLDS), seed, recorded.log)
    target = next(t for t in part.targets if t.scored)
    return Labelled("simulated cells, 28 labels", target, vectors, part.truth(target.name), part.groups, part.fold)


def faces(photos: Path, seed: int) -> Labelled:
    """Return faces whose labels are nine age groups and two genders, all in one target."""
    manifest = layouts.read(photos, Data(targets=("gender", "age_group")), lambda _: None)
    vectors = ordinal.vectors_of(manifest)
    part: Manifest = split.assign_folds(manifest, Split(folds=FOLDS), seed, lambda _: None)
    names = tuple(f"{t.name} {c}" for t in part.targets for c in t.classes)
    truth = np.concatenate([part.truth(t.name) for t in part.targets], axis=1)
    return Labelled("faces, 11 labels", Target("labels", "multi", names), vectors, truth, part.groups, part.fold)


def compare(one: Labelled, seed: int) -> dict[str, Any]:
    """Return both fits' out-of-fold scores, the paired difference of the mean average precision, and what ``auto`` takes."""
    answers = {way: np.full_like(one.truth, np.nan) for way in WAYS}
    chosen = 0
    for fold in np.unique(one.fold):
        train, held = one.fold != fold, one.fold == fold
        for way in WAYS:
            rows = one.vectors[train], one.truth[train], one.target, one.groups[train]
            answers[way][held] = probe.fit_probe(*rows, how=probe.Fitting(Probe().strengths, fit=way, seed=seed)).predict(one.vectors[held])
        chosen += probe.fit_probe(*rows, how=probe.Fitting(Probe().strengths, seed=seed)).fit == "least_squares"
    better, plain = answers["least_squares"], answers["likelihood"]
    found = intervals.difference("average_precision", one.target, (better, plain), one.truth, one.groups)
    scores = {way: {m: scored(m, one, p) for m in SHOWN} for way, p in answers.items()}
    return {"what": one.what, "rows": len(one.truth), **scores, "difference": found.to_dict(), "chosen": f"{chosen} of {FOLDS}"}


def scored(metric: str, one: Labelled, p: np.ndarray) -> float | None:
    """Return a score; macro-F1 of labels given at their rates, so that it says how well images are ranked."""
    if metric != "macro_f1":
        return metrics.score(metric, one.target, p, one.truth)
    given = np.zeros_like(p)
    for k, count in enumerate(one.truth.sum(axis=0).astype(int)):
        given[np.argsort(-p[:, k], kind="stable")[:count], k] = 1
    return metrics.score(metric, one.target, given, one.truth)


if __name__ == "__main__":
    sys.exit(main())
