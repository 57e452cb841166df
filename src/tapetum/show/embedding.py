"""A map of the images by their stored features: the first two principal components, coloured by label, errors ringed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import draws, stores
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.vectors import unit
from tapetum.show import plots, words
from tapetum.show.run_files import RunFiles
from tapetum.show.target_sections import answered

MOST_POINTS = 1200
NAMED = 9  # classes with a colour of their own
NEAREST = 5
OTHER = "other classes"


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Stored features.

    Args:
        folder: of the store.
        index: its content.
    """

    folder: Path
    index: dict[str, Any]

    @property
    def row_ids(self) -> list[str]:
        """The rows of the store."""
        return list(self.index["row_id"])

    @property
    def backbone(self) -> str:
        """What made them."""
        return str((self.index.get("what") or {}).get("backbone") or "")


def embedding(found: RunFiles, target: Target | None) -> dict[str, Any] | None:
    """Return the map of a target's held-out images; None where no features are stored, or for less than three images.

    Rows are drawn in proportion to the labels where there are many, the same ones every time.
    """
    dense = found.held_out(target) if target is not None else None
    store = None if dense is None else _store(found)
    if dense is None or store is None:
        return None
    rows = dense.where(dense.scorable)
    place = {row_id: i for i, row_id in enumerate(store.row_ids)}
    known = np.array([i for i, row_id in enumerate(rows.row_ids) if row_id in place], dtype=np.int64)
    if len(known) < 3:
        return None
    rows = rows.where(known)
    labels = labels_of(rows)
    taken = draws.evenly(len(labels), 20 * MOST_POINTS)
    ids, most = [str(rows.row_ids[i]) for i in taken], min(MOST_POINTS, len(taken))
    drawn = taken[draws.in_proportion([labels[i] for i in taken], ids, most, "map of a report")]
    rows, labels = rows.where(drawn), [labels[i] for i in drawn]
    held = stores.vectors(store.folder, store.index, mapped=True)
    if held.ndim != 3 or len(held) != len(place):
        return None  # an earlier version kept no hash
    vectors = np.asarray(held[np.array([place[str(row_id)] for row_id in rows.row_ids]), 0], dtype=np.float64)
    fine = np.asarray(np.isfinite(vectors).all(axis=1))
    rows, labels, vectors = rows.where(fine), [label for label, good in zip(labels, fine, strict=True) if good], vectors[fine]
    if len(labels) < 3:
        return None
    points, share = components(vectors)
    same = alike(vectors, labels)
    wrong = np.zeros(len(labels), dtype=bool) if rows.target.kind == "regression" else (answered(rows) != rows.y).any(axis=1)
    names = [name for name, _ in sorted(((n, labels.count(n)) for n in set(labels)), key=lambda item: (-item[1], str(item[0])))]
    figure = plots.point_map(points, labels, wrong, names, NAMED, OTHER)
    lines = [
        {"class": name, "n": int(mine.sum()), "same": float(same[mine].mean()), "wrong": int(wrong[mine].sum())}
        for name in names[:100]
        if (mine := np.array([label == name for label in labels])).any()
    ]
    return {
        "figure": figure,
        "n": len(labels),
        "of": int(dense.scorable.sum()),
        "share": words.percent(share),
        "same": words.percent(float(same.mean())),
        "nearest": min(NEAREST, len(labels) - 1),
        "lines": lines,
        "more": max(len(names) - 100, 0),
        "names": names[:200],
        "backbone": store.backbone,
        "rings": rows.target.kind != "regression",
    }


def components(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the first two principal components of vectors (N, D) → (N, 2), and the share of the variance that they hold.

    The same vectors give the same points on every run: the start of the solver is fixed, and so is the sign of a component.
    """
    from sklearn.decomposition import PCA

    points = np.zeros((len(vectors), 2))
    if not np.ptp(vectors, axis=0).any():  # all are the same
        return points, 0.0
    count = min(2, *vectors.shape)
    fitted = PCA(count, svd_solver="arpack" if count < min(vectors.shape) else "full", random_state=0)
    points[:, :count] = fitted.fit_transform(vectors)
    return points, float(fitted.explained_variance_ratio_.sum())


def alike(vectors: np.ndarray, labels: list[str]) -> np.ndarray:
    """Return, for each row (N,), which share of the nearest other rows by cosine has the same label."""
    directions = unit(vectors)
    cosine = directions @ directions.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : min(NEAREST, len(labels) - 1)]
    code = np.unique(np.array(labels, dtype=str), return_inverse=True)[1]
    return np.asarray((code[nearest] == code[:, None]).mean(axis=1))


def labels_of(rows: Dense) -> list[str]:
    """Return a label for the colour of each row: the class, the first of several, or a fifth of the range of numbers."""
    target = rows.target
    if target.kind == "regression":
        ends = np.quantile(rows.y[:, 0], [0.2, 0.4, 0.6, 0.8])
        names = [f"up to {words.number(end)}" for end in ends] + [f"above {words.number(ends[-1])}"]
        return [names[i] for i in np.searchsorted(ends, rows.y[:, 0], side="left")]
    has = rows.y > 0.5
    return [target.classes[int(row.argmax())] if row.any() else "none" for row in has]


def _store(found: RunFiles) -> Vectors | None:
    """Return the finished store of features that holds the most rows; of several the first by name."""
    best: Vectors | None = None
    for folder in stores.finished(found.run.features):
        index = stores.index(folder)
        if best is None or len(index["row_id"]) > len(best.row_ids):
            best = Vectors(folder, index)
    return best
