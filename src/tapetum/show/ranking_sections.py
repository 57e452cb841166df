"""ROC and precision–recall curves of each class, and the counts behind a threshold that the reader moves."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapetum.core import ranking
from tapetum.core.tables import Dense
from tapetum.show import plots, words
from tapetum.show.figures import Line

MOST_CURVES = 8  # classes that are drawn: of more, those of the lowest and of the highest average precision
MOST_LINES = 400  # classes in a table
MOST_POINTS = 100  # of a curve
STEPS = 100  # thresholds from 0 to 1
FEWER_STEPS, FEW_CLASSES, MOST_SLIDERS = 40, 40, 200  # more classes have fewer steps


def rankings(dense: Dense, weight: np.ndarray | None, most: int = MOST_LINES) -> dict[str, Any] | None:
    """Return the two curves of each class against the rest, with AUROC and average precision of all of them.

    Of a single target with two classes the second alone is drawn: the other is its mirror image.

    Args:
        dense: held-out predictions.
        weight: of each row; None: each counts 1.
        most: classes in the table.
    """
    scorable = dense.scorable
    rows = dense.where(scorable)
    if dense.target.kind == "regression" or not len(rows.row_ids):
        return None
    counted = np.ones(len(rows.row_ids)) if weight is None else weight[scorable]
    truth = rows.y > 0.5
    lines: list[dict[str, Any]] = []
    for k in _classes(dense):
        p, y = rows.p[:, k], truth[:, k]
        auroc, ap = (float(ranking.ranker(name, p, y)(counted)) for name in ("roc_auc", "average_precision"))
        lines.append({"place": k, "class": dense.target.classes[k], "n": int(y.sum()), "roc_auc": auroc, "average_precision": ap})
    defined = [line for line in lines if np.isfinite(line["roc_auc"]) and np.isfinite(line["average_precision"])]
    if not defined:
        return None
    ordered = sorted(defined, key=lambda line: (line["average_precision"], line["place"]))
    drawn = ordered if len(ordered) <= MOST_CURVES else ordered[: MOST_CURVES // 2] + ordered[-MOST_CURVES // 2 :]
    drawn = sorted(drawn, key=lambda line: line["place"])
    roc, pr = [], []
    for number, line in enumerate(drawn):
        right, wrong = _counts(rows.p[:, line["place"]], truth[:, line["place"]], counted)
        all_right, all_wrong = right[-1], wrong[-1]
        precision = right / np.maximum(right + wrong, 1e-12)
        roc.append(Line(*_ends(wrong / all_wrong, right / all_right), f"c{number}", f"{line['class']} {words.number(line['roc_auc'])}"))
        pr_x, pr_y = np.concatenate([[0.0], right / all_right]), np.concatenate([precision[:1], precision])
        pr.append(Line(*_simplified(pr_x, pr_y), f"c{number}", f"{line['class']} {words.number(line['average_precision'])}"))
    return {
        "roc": plots.unit_curves(roc, x_label="false positive rate", y_label="true positive rate", title="ROC curves; area", diagonal=True),
        "pr": plots.unit_curves(pr, x_label="recall", y_label="precision", title="Precision–recall curves; average precision"),
        "lines": ordered[:most],
        "left_out": len(ordered) - len(drawn),
        "roc_auc": float(np.mean([line["roc_auc"] for line in defined])),
        "average_precision": float(np.mean([line["average_precision"] for line in defined])),
        "several": len(lines) > 1,
    }


def thresholds(dense: Dense) -> dict[str, Any] | None:
    """Return, for a multi or two-class target, how many rows of each class lie above each threshold: right ones and wrong ones.

    Rows count once each, whatever their weight. ``data`` is what the page's slider reads.
    """
    rows = dense.where(dense.scorable)
    k = dense.target.width
    if not len(rows.row_ids) or not (dense.target.kind == "multi" or (dense.target.kind in ("single", "ordinal") and k == 2)):
        return None
    classes = sorted(sorted(_classes(dense), key=lambda c: -float(rows.y[:, c].sum()))[:MOST_SLIDERS])
    steps = STEPS if len(classes) <= FEW_CLASSES else FEWER_STEPS
    at = (np.arange(steps + 1) / steps).astype(np.float32)
    found: dict[str, list[Any]] = {"tp": [], "fp": [], "positive": []}
    for c in classes:
        p, y = rows.p[:, c], rows.y[:, c] > 0.5
        for name, part in (("tp", np.sort(p[y])), ("fp", np.sort(p[~y]))):
            found[name].append((len(part) - np.searchsorted(part, at, side="left")).tolist())
        found["positive"].append(int(y.sum()))
    names = [dense.target.classes[c] for c in classes]
    first = [_at(found, 0, share * steps // 10, steps, len(rows.row_ids)) for share in range(1, 10)]
    return {
        "data": {"classes": names, "steps": steps, "n": len(rows.row_ids), **found},
        "first": first,
        "left_out": k - len(names) if k > 2 else 0,
        "step": "thresholds" if dense.target.kind == "multi" else "bias",  # of decide.steps, which chooses on other folds
    }


def _at(found: dict[str, list[Any]], c: int, step: int, steps: int, n: int) -> dict[str, Any]:
    right, wrong, positive = found["tp"][c][step], found["fp"][c][step], found["positive"][c]
    return {
        "threshold": step / steps,
        "flagged": right + wrong,
        "precision": right / (right + wrong) if right + wrong else None,
        "recall": right / positive if positive else None,
        "specificity": 1 - wrong / (n - positive) if n > positive else None,
    }


def _classes(dense: Dense) -> list[int]:
    """Return the classes that have curves of their own."""
    return [1] if dense.target.kind in ("single", "ordinal") and dense.target.width == 2 else list(range(dense.target.width))


def _counts(p: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of right and of wrong rows at or above each distinct p, from the highest down."""
    order = np.argsort(-p, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    right, wrong = np.cumsum(weight[order] * truth[order])[ends], np.cumsum(weight[order] * ~truth[order])[ends]
    return right.astype(np.float64), wrong.astype(np.float64)


def _ends(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve from the origin, simplified."""
    return _simplified(np.concatenate([[0.0], x]), np.concatenate([[0.0], y]))


def _simplified(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve of the unit square without the points between others on a straight line; of many, some at equal ways along it.

    Taken by their number instead, corners would be cut: where a class is rare, most of its curve lies in the first few thresholds.
    """
    dx, dy = np.diff(x), np.diff(y)
    turns = ~np.isclose(dx[:-1] * dy[1:], dx[1:] * dy[:-1], atol=1e-12) | (dx[:-1] * dx[1:] + dy[:-1] * dy[1:] < 0)
    kept = np.concatenate([[True], turns, [True]])[: len(x)]
    x, y = x[kept], y[kept]
    if len(x) <= MOST_POINTS:
        return x, y
    way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    picked = np.unique(np.searchsorted(way, np.linspace(0, way[-1], MOST_POINTS)).clip(0, len(x) - 1))
    return x[picked], y[picked]
