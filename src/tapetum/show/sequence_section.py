"""The sequences of a run: how well each is answered, and for a few of them labels, predictions and probabilities over the positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.show import figures, plots, words
from tapetum.show.figures import Line
from tapetum.show.run_files import RunFiles
from tapetum.show.target_sections import answered

MOST_CLASSES = 10  # with a line of their own: of more, the most frequent, and the rest together
MOST_LINES = 200  # sequences in the table
DRAWN = 4
MOST_POSITIONS = 3000  # of a sequence that is drawn: of a longer one the first
OTHER = "other"


def sequences(found: RunFiles, target: Target | None) -> dict[str, Any] | None:
    """Return the sequences of a target; None where the data have none, or the target has several labels an image.

    Drawn are the sequence with the lowest score, two in between, and the one with the highest.
    """
    manifest = found.manifest
    columns = () if manifest is None else manifest.frame.columns
    dense = found.held_out(target) if target is not None else None
    if manifest is None or dense is None or "sequence" not in columns or "position" not in columns or dense.target.kind == "multi":
        return None
    at = pl.DataFrame({"row_id": dense.row_ids.tolist()}).with_row_index("at")
    table = at.join(manifest.frame.select("row_id", "sequence", "position"), on="row_id", how="inner", maintain_order="left")
    table = table.filter(pl.col("sequence").is_not_null() & pl.col("position").is_not_null()).sort("sequence", "position", "at")
    parts = table.group_by("sequence", maintain_order=True).agg("at")
    each = [(str(name), dense.where(np.array(places, dtype=np.int64))) for name, places in parts.iter_rows() if len(places) > 1]
    lines = [line for name, rows in each if (line := _line(name, rows)) is not None]
    if not lines:
        return None
    number = dense.target.kind == "regression"
    ordered = sorted(lines, key=lambda line: (-line["score"] if number else line["score"], line["sequence"]))
    chosen = {round(i * (len(ordered) - 1) / (DRAWN - 1)) for i in range(DRAWN)}
    names = {ordered[i]["sequence"]: i for i in sorted(chosen)}
    rows_of = dict(each)
    return {
        "score": "mean absolute error" if number else "accuracy",
        "lines": ordered[:MOST_LINES],
        "more": max(len(ordered) - MOST_LINES, 0),
        "n": len(ordered),
        "most": MOST_POSITIONS,
        "drawn": [ordered[i] | _drawn(name, _first(rows_of[name])) for name, i in names.items()],
    }


def _line(name: str, rows: Dense) -> dict[str, Any] | None:
    scored = rows.where(rows.scorable)
    if not len(scored.row_ids):
        return None
    if rows.target.kind == "regression":
        score = float(np.abs(scored.p - scored.y).mean())
    else:
        score = float((answered(scored).argmax(1) == scored.y.argmax(1)).mean())
    return {"sequence": name, "n": len(rows.row_ids), "scored": len(scored.row_ids), "score": score}


def _first(rows: Dense) -> Dense:
    return rows.where(np.arange(min(len(rows.row_ids), MOST_POSITIONS)))


def _drawn(name: str, rows: Dense) -> dict[str, Any]:
    """Return the drawings of one sequence: of classes a hypnogram and a hypnodensity, of numbers two curves."""
    if rows.target.kind == "regression":
        x = np.arange(len(rows.row_ids))
        both = [Line(x, rows.y[:, 0].astype(float), "one", "label"), Line(x, rows.p[:, 0].astype(float), "two", "prediction")]
        return {"figures": [figures.curves(both, x_label="position", y_label=rows.target.name, whole_x=True)]}
    truth, answer, p, names = _few_classes(rows)
    known = (truth >= 0) & (answer >= 0)
    right = words.percent(float((truth == answer)[known].mean())) if known.any() else "–"
    label = f"hypnogram of {name}: labels and predictions of {plural(len(truth), 'position')}, {right} alike"
    mean = ", ".join(f"{one} {words.percent(float(value))}" for one, value in zip(names, np.nanmean(p, axis=0), strict=True))
    return {
        "figures": [
            plots.hypnogram(truth, answer, names, label),
            plots.density(p, names, f"hypnodensity of {name}: predicted probabilities, on average {mean}"),
        ]
    }


def _few_classes(rows: Dense) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Return label and prediction of each row as places among a few classes, probabilities of these, and their names."""
    k = rows.target.width
    unknown, lost = np.isnan(rows.y).any(axis=1), ~rows.ok
    truth, answer = np.nan_to_num(rows.y).argmax(1), np.nan_to_num(answered(rows)).argmax(1)
    p, names = rows.p.astype(np.float64), list(rows.target.classes)
    if k > MOST_CLASSES:
        kept = np.sort(np.argsort(-np.bincount(truth[~unknown], minlength=k), kind="stable")[: MOST_CLASSES - 1])
        place = np.full(k, MOST_CLASSES - 1)
        place[kept] = np.arange(len(kept))
        truth, answer = place[truth], place[answer]
        p = np.concatenate([p[:, kept], 1 - p[:, kept].sum(axis=1, keepdims=True)], axis=1)
        names = [*(names[c] for c in kept), OTHER]
    return np.where(unknown, -1, truth), np.where(lost, -1, answer), p, names
