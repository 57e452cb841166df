"""What copies across folds are worth: the score claimed by folds that ignore copies against folds with the audit's groups.

Run: ``python bench/leak.py [--seeds 5]``; needs the dogs beside the repository. Near copies of some photographs are added; the audit
finds them by their pixels alone, and nothing of what was planted is told to it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import ordinal
import planted
import recorded
from tapetum.core import intervals, metrics
from tapetum.core.config import Data, Split
from tapetum.core.tables import Manifest
from tapetum.core.vectors import unit
from tapetum.data import audit, layouts, split
from tapetum.data.images.decode import Composition

SHARES = (0.1, 0.3)  # of the photographs get a near copy
SHOWN = ("accuracy", "macro_f1", "log_loss")
FOLDS = 5


def main() -> int:
    args = recorded.seeds_of(__doc__, 5, "the copies and of the folds")
    source = layouts.read(recorded.DATA / "dogs" / "labels.csv", Data(targets=("breed",)), lambda _: None)
    vectors = ordinal.vectors_of(source)
    found = [one for seed in range(args.seeds) for one in draws(source, vectors, seed)]
    text = told(found, args.seeds)
    print(text)
    if not args.dry:
        recorded.record("leak", "Copies across folds", text, {"draws": found}, "numpy", "scikit-learn", "pillow", "torch", "timm")
    return 0


def draws(source: Manifest, known: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Return what one draw gives at each share; a larger share holds the copies of the smaller ones.

    Args:
        source: the photographs.
        known: their vectors (N, V, D).
        seed: of copies and folds.
    """
    rng = np.random.default_rng(seed)
    labels = source.frame["breed"].to_list()
    with tempfile.TemporaryDirectory() as place:
        folder, rows = Path(place), []
        for number, label in enumerate(labels):
            path = source.paths(number)[0]
            shutil.copyfile(path, folder / f"{number:04d}{path.suffix}")
            rows.append((f"{number:04d}{path.suffix}", label, number))
        order = rng.permutation(len(labels))[: round(max(SHARES) * len(labels))].tolist()
        for number in order:
            (folder / f"{number:04d}-copy.jpg").write_bytes(planted.COPIES["near duplicate"](source.paths(number)[0], rng))
            rows.append((f"{number:04d}-copy.jpg", labels[number], number))
        table = folder / "labels.csv"
        table.write_text("file,breed\n" + "".join(f"{name},{label}\n" for name, label, _ in rows), encoding="utf-8")
        manifest = layouts.read(table, Data(targets=("breed",)), lambda _: None)
        made = ordinal.vectors_of(manifest.where(np.arange(len(manifest)) >= len(labels)))
        vectors = np.concatenate([known, made]).reshape(len(manifest), -1)
        sets = audit.duplicates(audit.examine(manifest, Composition(), lambda _: None, workers=1))
        directions = unit(vectors)
        original = np.array([number for _, _, number in rows])
        out = []
        for share in SHARES:
            keep = np.arange(len(rows)) < len(labels) + round(share * len(labels))
            part = manifest.where(keep)
            there = {row_id: sets[row_id] for row_id in part.row_ids if row_id in sets}
            out.append({"seed": seed, "share": share, **compared(part, directions[keep], original[keep], there, seed)})
            recorded.log(f"seed {seed}, {share:.0%} copies")
    return out


def compared(manifest: Manifest, directions: np.ndarray, original: np.ndarray, sets: dict[str, str], seed: int) -> dict[str, Any]:
    """Return the out-of-fold scores on both kinds of folds, their paired differences, and how many pairs each lets cross folds."""
    target, y = manifest.target("breed"), manifest.truth("breed")
    answers, crossing = {}, {}
    for name, duplicates in (("blind", {}), ("audit", sets)):
        fold = split.assign_folds(manifest, Split(folds=FOLDS), seed, lambda _: None, duplicates=duplicates).fold
        answers[name] = out_of_fold(directions, y, fold)
        crossing[name] = sum(len(set(fold[original == number].tolist())) > 1 for number in np.unique(original))
    groups = np.array([str(number) for number in original], dtype=object)
    parts = (answers["blind"], answers["audit"])
    return {
        "rows": len(manifest),
        "copies": len(manifest) - len(np.unique(original)),
        "crossing": crossing,
        **{name: {m: metrics.score(m, target, p, y) for m in SHOWN} for name, p in answers.items()},
        "difference": {m: intervals.difference(m, target, parts, y, groups).to_dict() for m in SHOWN},
    }


def out_of_fold(directions: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return a probe's probabilities for each row, by the model of the other folds."""
    from sklearn.linear_model import LogisticRegression

    p = np.zeros_like(y)
    truth = y.argmax(axis=1)
    for number in np.unique(fold):
        model = LogisticRegression(C=30, max_iter=500).fit(directions[fold != number], truth[fold != number])
        p[np.ix_(fold == number, model.classes_)] = model.predict_proba(directions[fold == number])
    return p


def told(found: list[dict[str, Any]], seeds: int) -> str:
    """Return the tables."""
    means, each = [], []
    for share in SHARES:
        mine = [one for one in found if one["share"] == share]
        means.append(
            [
                f"{share:.0%}",
                f"{sum(one['copies'] for one in mine) / seeds:.0f}",
                *(f"{sum(one['crossing'][name] for one in mine) / seeds:.1f}" for name in ("blind", "audit")),
                *(f"{np.mean([one[name][m] for one in mine]):.3f}" for m in ("accuracy", "log_loss") for name in ("blind", "audit")),
            ]
        )
        each += [
            [f"{share:.0%}", str(one["seed"]), *(recorded.difference(one["difference"][m]) for m in ("accuracy", "log_loss"))]
            for one in mine
        ]
    head = ["copies", "pairs", "cross: ignored", "cross: audit"]
    head += [f"{m}: {name}" for m in ("accuracy", "log-loss") for name in ("ignored", "audit")]
    return (
        f"Near copies of a share of the 175 dogs (cut, smaller, brighter or darker, compressed again) get their original's label and are "
        f"added. A probe on Lite0 vectors, {FOLDS} folds: drawn as if the copies were other photographs (`ignored`), and drawn after "
        f"`tapetum audit` found them (`audit`). Pairs whose two images are in different folds, and the out-of-fold scores; means of "
        f"{seeds} seeds.\n\n{recorded.table(head, means)}\n\nWhat ignoring them claims too much, seed by seed: ignored − audit with 95 % "
        "intervals clustered by photograph (a copy and its original are one). A higher accuracy and a lower log-loss are the leak.\n\n"
        + recorded.table(["copies", "seed", "accuracy", "log-loss"], each)
    )


if __name__ == "__main__":
    sys.exit(main())
