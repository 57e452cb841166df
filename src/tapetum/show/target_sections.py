"""The sections about one target: confusion matrix, per-class results, calibration and the most confident errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapetum.core import draws, intervals, metrics, shares
from tapetum.core.folds import count_groups
from tapetum.core.tables import Dense
from tapetum.core.targets import Target, decode
from tapetum.show import figures, matrix, words
from tapetum.show.cell_images import openable
from tapetum.show.thumbnails import Thumbnails

MOST_CELLS = 40  # classes up to which a confusion matrix is a table with numbers
WORST, RIGHT = 18, 8
MOST_LINES = 400  # classes in a table
Thumbnail = Callable[[str], tuple[str | None, str]]  # row id → data URI, or None and why
MOST_POINTS = 4000  # of predictions against labels
PAIRS = 10
BINS = 10
PER_CLASS = ("precision", "recall", "f1", "average_precision", "roc_auc")


def confusion(dense: Dense, thumbnails: Thumbnails | None = None, targets: int = 1) -> dict[str, Any] | None:
    """Return the confusion matrix of a single or ordinal target, the pairs that are confused most often, and the images of its cells.

    Args:
        dense: held-out predictions.
        thumbnails: of the cells; None: cells open nothing.
        targets: of the run, which share the space for images.
    """
    target = dense.target
    rows = dense.where(dense.scorable)
    if target.kind not in ("single", "ordinal") or not len(rows.row_ids):
        return None
    given = answered(rows).argmax(1)
    counts = metrics.confusion(rows.y.argmax(1), given, len(target.classes))
    k = len(target.classes)
    similar = target.kind == "single" and k > 8
    order = matrix.similar_order(counts) if similar else list(range(k))
    wrong = [(counts[i, j], i, j) for i, j in np.argwhere(counts > 0).tolist() if i != j]
    pairs = [
        {"truth": target.classes[i], "answer": target.classes[j], "count": int(n), "of": int(counts[i].sum()), "cell": f"{i},{j}"}
        for n, i, j in sorted(wrong, key=lambda item: (-item[0], item[1], item[2]))[:PAIRS]
    ]
    opened = None if thumbnails is None else openable(rows, given, thumbnails, targets)
    cells = () if opened is None else opened["cells"]
    if k <= MOST_CELLS:
        figure = matrix.confusion_table(counts, target.classes, order, cells)
    else:
        figure = matrix.confusion_map(counts, target.classes, order, cells, targets)
    return {
        "figure": figure,
        "similar": similar,
        "pairs": pairs if k > 3 else [],
        "large": k > MOST_CELLS,
        "opened": opened,
    }


def outcomes(dense: Dense, most: int = MOST_LINES) -> list[dict[str, Any]]:
    """Return true positives, false negatives and false positives of each class of a multi target, as one bar each."""
    rows = dense.where(dense.scorable)
    if dense.target.kind != "multi" or not len(rows.row_ids):
        return []
    truth, answer = rows.y > 0.5, answered(rows) > 0.5
    parts = [np.sum(truth & answer, 0), np.sum(truth & ~answer, 0), np.sum(~truth & answer, 0)]
    longest = float(np.max(sum(parts), initial=1))
    out = []
    most_frequent = np.argsort(-(parts[0] + parts[1]), kind="stable")[:most]
    for k in sorted(most_frequent.tolist()):
        name = dense.target.classes[k]
        found, missed, added = (int(part[k]) for part in parts)
        bar = figures.stacked([("found", found), ("missed", missed), ("added", added)], longest)
        out.append({"class": name, "found": found, "missed": missed, "added": added, "bar": bar})
    return out


def reliability(dense: Dense, groups: np.ndarray) -> dict[str, Any] | None:
    """Return the reliability diagram: predicted probability against the share that is correct, in bins of equal width.

    Single and ordinal targets count the most probable class, multi targets every class; Wilson intervals stand only where every row is
    its own group. ``error`` is the expected calibration error over these bins.
    """
    keep = dense.scorable
    rows = dense.where(keep)
    if dense.target.kind == "regression" or not len(rows.row_ids):
        return None
    stated, true = sureness(rows)
    place = np.minimum((stated * BINS).astype(int), BINS - 1)
    n = np.bincount(place, minlength=BINS)
    full = n > 0
    mean = np.bincount(place, stated, minlength=BINS)[full] / n[full]
    seen = np.bincount(place, true.astype(np.float64), minlength=BINS)[full] / n[full]
    alone = count_groups(groups[keep]) == len(rows.row_ids) and dense.target.kind != "multi"
    ends = np.array([shares.wilson(round(s * m), int(m)) for s, m in zip(seen, n[full], strict=True)]) if alone else None
    figure = figures.reliability(mean, seen, n[full], *([ends[:, 0], ends[:, 1]] if ends is not None else []))
    error = float(np.sum(n[full] * np.abs(mean - seen)) / n.sum())
    lean = float(np.sum(n[full] * (mean - seen)) / n.sum())
    given = answered(rows)
    other = 0 if dense.target.kind == "multi" else int((given.argmax(1) != rows.p.argmax(1)).sum())
    return {
        "other": other,
        "figure": figure,
        "error": error,
        "lean": lean,
        "alone": alone,
        "stated": float(stated.mean()),
        "true": float(true.mean()),
    }


def sureness(rows: Dense) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted probabilities and whether each is of a correct answer: of the most probable class, or of every class (multi)."""
    if rows.target.kind == "multi":
        return rows.p.ravel().astype(np.float64), rows.y.ravel() > 0.5
    return rows.p.max(1).astype(np.float64), rows.y.argmax(1) == rows.p.argmax(1)


def numbers(dense: Dense) -> dict[str, Any] | None:
    """Return predictions against labels of a regression, with the residuals' mean and deviation."""
    rows = dense.where(dense.scorable)
    if dense.target.kind != "regression" or not len(rows.row_ids):
        return None
    truth, answer = rows.y[:, 0].astype(np.float64), rows.p[:, 0].astype(np.float64)
    drawn = draws.evenly(len(truth), MOST_POINTS)
    return {
        "figure": figures.scatter(truth[drawn], answer[drawn]),
        "lean": float((answer - truth).mean()),
        "spread": float((answer - truth).std()),
    }


def worst(dense: Dense, thumbnails: Thumbnails, most: int = WORST) -> dict[str, Any] | None:
    """Return the most confident errors, with their images.

    Single and ordinal: the largest gap in probability between the predicted class and the label. Multi: the largest sum of |p − y| over
    classes among rows with a wrong label. Regression: the largest error.
    """
    rows = dense.where(dense.scorable)
    if not len(rows.row_ids):
        return None
    target = dense.target
    answer = answered(rows)
    if target.kind == "regression":
        badness, wrong = np.abs(rows.p[:, 0] - rows.y[:, 0]), np.ones(len(rows.row_ids), dtype=bool)
    elif target.kind == "multi":
        badness, wrong = np.abs(rows.p - rows.y).sum(1), ((answer > 0.5) != (rows.y > 0.5)).any(1)
    else:
        true, given = rows.y.argmax(1), answer.argmax(1)
        place = np.arange(len(true))
        badness, wrong = rows.p[place, given] - rows.p[place, true], given != true
    order = np.argsort(-np.where(wrong, badness, -np.inf), kind="stable")[: min(most, int(wrong.sum()))]
    cards = [_card(rows, int(i), answer, thumbnails) for i in order]
    return {"cards": cards, "wrong": int(wrong.sum()), "of": len(rows.row_ids), "numbers": target.kind == "regression"}


def right(dense: Dense, thumbnails: Thumbnails, most: int = RIGHT) -> list[dict[str, Any]]:
    """Return correct predictions with their images: the most confident one of each of the most frequent classes.

    Of a regression the smallest errors, and of several labels the rows whose labels are all correct with the smallest sum of |p − y|.
    """
    rows = dense.where(dense.scorable)
    if not len(rows.row_ids):
        return []
    target, answer = dense.target, answered(rows)
    if target.kind in ("single", "ordinal"):
        true = rows.y.argmax(1)
        sure = np.where(answer.argmax(1) == true, rows.p[np.arange(len(true)), true], -1.0)
        frequent = np.argsort(-np.bincount(true, minlength=target.width), kind="stable")
        best = [int(np.where(true == k, sure, -2.0).argmax()) for k in frequent[:most]]
        shown = [i for k, i in zip(frequent, best, strict=False) if true[i] == k and sure[i] >= 0]
    else:
        apart = np.abs(rows.p - rows.y).sum(1)
        good = np.ones(len(apart), dtype=bool) if target.kind == "regression" else ((answer > 0.5) == (rows.y > 0.5)).all(1)
        shown = [int(i) for i in np.argsort(np.where(good, apart, np.inf), kind="stable")[: min(most, int(good.sum()))]]
    return [_card(rows, i, answer, thumbnails.small) for i in shown]


def classes(dense: Dense, groups: np.ndarray, weight: np.ndarray | None = None, most: int = MOST_LINES) -> dict[str, Any] | None:
    """Return each class's rows, answers and scores with their intervals; None for a regression.

    Intervals are clustered by group; where every row is its own group, recall and precision are plain shares and get Wilson's. Weights
    count in the scores; ``n`` and ``answered`` are rows.
    """
    keep = dense.scorable
    rows = dense.where(keep)
    kept_weight = None if weight is None else weight[keep]
    alone = count_groups(groups[keep]) == len(rows.row_ids) and kept_weight is None
    found = intervals.per_class_intervals(dense.target, rows.p, rows.y, groups[keep], weight=kept_weight, answer=rows.answer)
    if not found or not len(rows.row_ids):
        return None
    names = [name for name in PER_CLASS if name in found[0]]
    lines = []
    order = [line for line in found if line["n"]] if len(found) > most else found
    if len(found) > most:
        order = sorted(order, key=lambda line: (-1.0 if line["f1"] is None else line["f1"], line["class"]))[:most]
    for line in order:
        drawn = [{"value": line[name], "figure": _cell(line, name)} for name in names]
        lines.append({"class": line["class"], "n": line["n"], "answered": line["predicted"], "cells": drawn})
    return {"names": names, "lines": lines, "alone": alone, "more": len(found) - len(order)}


def answered(dense: Dense) -> np.ndarray:
    """Return the decisions (N, K) of 0 and 1: those that were made, else the largest p, or p ≥ ½ for multi."""
    if dense.answer is not None and not np.isnan(dense.answer).any():
        return dense.answer
    if dense.target.kind == "multi":
        return (dense.p >= 0.5).astype(np.float32)
    if dense.target.kind == "regression":
        return dense.p
    return np.eye(dense.target.width, dtype=np.float32)[dense.p.argmax(1)]


def _cell(line: dict[str, Any], name: str) -> Any:
    """Return a track with whiskers for a score that has an interval, else the number alone."""
    if f"{name}_low" not in line:
        return words.number(line[name], 2)
    return figures.whisker_cell(line[name], line[f"{name}_low"], line[f"{name}_high"])


def _card(rows: Dense, i: int, answer: np.ndarray, thumbnail: Thumbnail) -> dict[str, Any]:
    target = rows.target
    image, reason = thumbnail(str(rows.row_ids[i]))
    card = {"row_id": str(rows.row_ids[i]), "fold": int(rows.fold[i]), "image": image, "reason": reason}
    if target.kind == "regression":
        return card | {"truth": words.number(rows.y[i, 0]), "answer": words.number(rows.p[i, 0]), "stated": "", "true": ""}
    if target.kind == "multi":
        return card | _labels(target, rows, i, answer)
    true, given = int(rows.y[i].argmax()), int(answer[i].argmax())
    return card | {
        "truth": target.classes[true],
        "answer": target.classes[given],
        "stated": words.percent(float(rows.p[i, given])),
        "true": words.percent(float(rows.p[i, true])),
    }


def _labels(target: Target, rows: Dense, i: int, answer: np.ndarray) -> dict[str, str]:
    def text(row: np.ndarray) -> str:
        return ", ".join(decode(target, row[None])[0]) or "none"

    return {"truth": text(rows.y[i]), "answer": text(answer[i]), "stated": "", "true": ""}
