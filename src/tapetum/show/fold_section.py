"""The folds of a run: what each holds out, and what was reached on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from tapetum.core import metrics
from tapetum.core.errors import listed
from tapetum.core.folds import count_groups
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.show import words
from tapetum.show.run_files import RunFiles

MOST_CLASS_COLUMNS = 12  # classes up to which the folds table counts each of them
MOST_NAMES = 12  # of absent classes


def fold_table(found: RunFiles) -> dict[str, Any] | None:
    """Return how many rows, groups and rows of each class a fold holds out, and what was reached on it."""
    if found.manifest is None or not (found.manifest.fold >= 0).any():
        return None
    manifest, target = found.manifest, main_target(found)
    truth = manifest.truth(target.name) if target is not None else np.zeros((len(manifest), 0))
    classes = list(target.classes) if target is not None and target.kind != "regression" else []
    metric = _main_metric(found, target)
    dense = found.held_out(target) if target is not None else None
    lines = []
    trains, every = manifest.split == "train", sorted({int(f) for f in manifest.fold if f >= 0})
    for fold in every:
        rows = (manifest.fold == fold) & trains
        per_class = np.nansum(truth[rows], axis=0).astype(int).tolist() if classes else []
        line = {"fold": fold, "rows": int(rows.sum()), "groups": count_groups(manifest.groups[rows]), "counts": per_class}
        line["absent"] = listed([name for name, n in zip(classes, per_class, strict=True) if n == 0], MOST_NAMES)
        scores = [
            _score(found, metric, None if dense is None else dense.where(among(dense.row_ids, manifest.frame["row_id"].filter(rows))))
        ]
        scores += [_score(found, metric, found.of_member(m, fold, target.name) if target is not None else None) for m in found.members]
        lines.append(line | {"scores": scores})
    split = manifest.split
    return {
        "lines": lines,
        "classes": classes if len(classes) <= MOST_CLASS_COLUMNS else [],
        "many": len(classes) > MOST_CLASS_COLUMNS,
        "target": target.name if target is not None else "",
        "metric": words.metric_name(metric) if metric else None,
        "names": ["final", *found.members],
        "idle": [fold for fold in every if dense is not None and not np.any(dense.fold[dense.status != "uncovered"] == fold)],
        "divided": divided_groups(manifest),
        "by_image": found.run.recipe_file.exists() and found.run.recipe().split.scheme == "image",
        "apart": {name: int(np.sum(split == name)) for name in ("test", "extra") if np.any(split == name)},
    }


def among(row_ids: np.ndarray, wanted: Iterable[str]) -> np.ndarray:
    """Return which ids (N,) are wanted; ``np.isin`` compares each text with every other one."""
    known = set(wanted)
    return np.fromiter((row_id in known for row_id in row_ids.tolist()), dtype=bool, count=len(row_ids))


def divided_groups(manifest: Manifest) -> int:
    """Return how many groups have training rows in several folds."""
    trains = manifest.split == "train"
    pairs = {(str(group), int(fold)) for group, fold in zip(manifest.groups[trains], manifest.fold[trains], strict=True)}
    many = Counter(group for group, _ in pairs)
    return sum(n > 1 for n in many.values())


def main_target(found: RunFiles) -> Target | None:
    """Return the target that the page is about."""
    name = (found.metrics.get("headline") or {}).get("target")
    targets = found.targets
    return next((t for t in targets if t.name == name), targets[0] if targets else None)


def _main_metric(found: RunFiles, target: Target | None) -> str | None:
    if target is None:
        return None
    return (found.metrics.get("headline") or {}).get("metric") or metrics.default_metric(target)


def _score(found: RunFiles, metric: str | None, dense: Dense | None) -> float | None:
    if metric is None or dense is None or not dense.scorable.any():
        return None
    rows = dense.where(dense.scorable)
    return metrics.score(metric, rows.target, rows.p, rows.y, found.weight(rows.row_ids), answer=rows.answer)
