"""Ordered classes: K plain logits or K − 1 thresholds on one score (CORAL)? Both heads as probes on the same vectors and folds.

Run: ``python bench/ordinal.py [--data FOLDER] [--seeds N]``; needs the faces beside the repository.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import recorded
from tapetum.core import intervals, metrics
from tapetum.core.config import Data, Input, Model, Probe, Split
from tapetum.core.tables import Manifest
from tapetum.data import layouts, split
from tapetum.data.audit import check_files
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.decode import Composition
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import features, models, probe

AGES = "age_group:ordinal=0-2<3-9<10-19<20-29<30-39<40-49<50-59<60-69<70+"
HEADS = ("linear", "coral")
SHOWN = ("ordinal_mae", "accuracy", "quadratic_kappa", "log_loss")
SIZE, VIEWS = 288, ("plain", "hflip")  # as the probe sees images by default


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=recorded.DATA / "faces" / "labels.csv")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the folds")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    args = parser.parse_args()
    manifest = layouts.read(args.data, Data(targets=("gender", AGES)), lambda _: None)
    vectors = vectors_of(manifest)
    found = [one_draw(manifest, vectors, seed) for seed in range(args.seeds)]
    means = {head: {m: float(np.mean([draw[head][m] for draw in found])) for m in SHOWN} for head in HEADS}
    better = min(HEADS, key=lambda head: means[head]["ordinal_mae"])
    rows = [[head, *(f"{means[head][m]:.4f}" for m in SHOWN)] for head in HEADS]
    by_seed = [
        [str(s), *(f"{d[h]['ordinal_mae']:.4f}" for h in HEADS), recorded.difference(d["difference"], digits=4)]
        for s, d in enumerate(found)
    ]
    text = "\n\n".join(
        [
            f"{len(manifest)} faces, nine age groups, probes of `tf_efficientnet_lite0` at {SIZE} pixels, five folds; `ordinal_mae` is the "
            f"mean error in ranks. Means over {args.seeds} draws of the folds:",
            recorded.table(["head", *SHOWN], rows),
            "Each draw, with the paired difference CORAL − plain and its 95 % interval:",
            recorded.table(["seed", *HEADS, "coral − linear"], by_seed),
            f"The default head of an ordinal target is the better one, `{better}`.",
        ]
    )
    print(text)
    if not args.dry:
        values = {"rows": len(manifest), "means": means, "draws": found, "better": better}
        recorded.record("ordinal", "Ordered classes: plain or CORAL", text, values, "torch", "timm", "numpy", "scipy")
    return 0


def vectors_of(manifest: Manifest) -> np.ndarray:
    """Return the probe's vectors (N, V, D)."""
    settings = Input(size=SIZE)
    network = models.build(Model(), manifest.targets, 3, settings)
    form = Form.of(check_files(manifest, Composition.from_input(settings), recorded.log))
    return features.extract(network, images=ImageDataset(manifest, settings, EvalTransform(settings), form=form), views=VIEWS).vectors


def one_draw(manifest: Manifest, vectors: np.ndarray, seed: int) -> dict[str, Any]:
    """Return each head's out-of-fold scores, and the paired difference of the mean error in ranks."""
    part = split.assign_folds(manifest, Split(), seed, lambda _: None)
    target, groups = part.target("age_group"), part.groups
    y = part.truth("age_group")
    answers: dict[str, np.ndarray] = {}
    for head in HEADS:
        p = np.full_like(y, np.nan)
        for fold in np.unique(part.fold):
            train, held = part.fold != fold, part.fold == fold
            fitted = probe.fit_probe(vectors[train], y[train], target, groups[train], how=probe.Fitting(Probe().strengths, head, seed=seed))
            p[held] = fitted.predict(vectors[held])
        answers[head] = p
    difference = intervals.difference("ordinal_mae", target, (answers["coral"], answers["linear"]), y, groups)
    return {
        **{head: {m: metrics.score(m, target, p, y) for m in SHOWN} for head, p in answers.items()},
        "difference": difference.to_dict(),
    }


if __name__ == "__main__":
    sys.exit(main())
