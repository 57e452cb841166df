"""What a reader of a report must know before trusting its figures, each as a word for the kind and a sentence."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import polars as pl

from tapetum.core import intervals, marks, metrics, places
from tapetum.core.folds import count_groups
from tapetum.core.tables import Dense
from tapetum.core.words import plural
from tapetum.show import words
from tapetum.show.fold_section import divided_groups
from tapetum.show.run_files import RunFiles
from tapetum.show.target_sections import sureness

FEW_GROUPS = 20  # below, an interval rests on so few independent units that it is wide and only roughly right
LEAN = 0.03  # mean predicted probability minus the share that is correct, from which it is a worry
ODD = 0.01  # p-value below which folds differ by more than their size explains
CHECKED = (
    "leaks, small classes, few groups, differences between folds, calibration, images of ImageNet, in-sample choices and unread images"
)
CHECKED_OF_ANSWERS = "few groups, calibration, images known from training and unread images"  # of an evaluation, which has no folds

NOT_SCORED = {  # of one image, and of several
    "missing": ("could not be read and has no prediction", "could not be read and have no prediction"),
    "uncovered": ("was not held out in any fold and is not scored", "were not held out in any fold and are not scored"),
    "unknown": ("has no label and is not scored", "have no label and are not scored"),
}


@dataclasses.dataclass(frozen=True)
class Worry:
    """One thing to know.

    Args:
        kind: one or two words.
        text: a sentence or two.
    """

    kind: str
    text: str


def worries(found: RunFiles, counts: dict[str, int]) -> list[Worry]:
    """Return what to worry about in a run, the marks of its figures first; empty where the checks find nothing.

    Args:
        found: the run.
        counts: rows by what became of them, as ``metrics.json`` has them.
    """
    out = [Worry(_kind(mark), f"[{number}] {mark}.") for number, mark in enumerate(found.metrics.get("marks") or [], start=1)]
    out += [Worry("Warning", f"{warning}.") for warning in found.metrics.get("warnings") or []]
    out += _in_sample(found) + _leaks(found)
    out += [Worry("ImageNet" if "ImageNet" in text else "Small classes", f"{text}.") for text in found.metrics.get("data") or []]
    groups = int(counts.get("groups") or 0)
    if 0 < groups < FEW_GROUPS:
        out.append(Worry("Few groups", f"The intervals rest on {plural(groups, 'group')} of images: they are rough. More groups help."))
    for target in found.targets:
        dense = found.held_out(target)
        if dense is not None and dense.scorable.any():
            out += _calibration(found, dense) + _folds(found, dense)
    return out + _absent(found, counts)


def _kind(mark: str) -> str:
    return "Leak" if "leak" in mark else "Mark"


def _in_sample(found: RunFiles) -> list[Worry]:
    head = found.metrics.get("headline")
    figure = marks.main(found.metrics.get("figures") or [], head["target"], head["metric"]) if head else None
    if figure is None or marks.how_of(figure) != marks.IN_SAMPLE:
        return []
    return [
        Worry("In-sample", "Something was chosen on the rows that the leading figure is measured on: it is too good by an unknown amount.")
    ]


def _leaks(found: RunFiles) -> list[Worry]:
    """Return groups and copies of an image that are on both sides of a fold."""
    manifest, audit, out = found.manifest, found.audit, []
    if manifest is None:
        return []
    if (divided := divided_groups(manifest)) and not any("leaks" in mark for mark in found.metrics.get("marks") or []):
        text = f"{plural(divided, 'group')} {'is' if divided == 1 else 'are'} divided between folds: models saw images of it."
        out.append(Worry("Leak", text))
    if audit is not None and "findings" in audit.columns:
        n = int(audit["findings"].list.contains("leak").fill_null(False).sum())
        if n:
            text = f"The audit finds {plural(n, 'image')} in two parts of the data, or in two folds that the data bring."
            out.append(Worry("Leak", text))
    if audit is not None and "duplicate" in audit.columns and "fold" in manifest.frame.columns:
        table = audit.select("row_id", "duplicate").drop_nulls().join(manifest.frame.select("row_id", "fold"), on="row_id")
        across = table.filter(pl.col("fold") >= 0).group_by("duplicate").agg(pl.col("fold").n_unique()).filter(pl.col("fold") > 1)
        if len(across):
            text = f"{plural(len(across), 'set')} of copies of one image {'is' if len(across) == 1 else 'are'} divided between folds."
            out.append(Worry("Leak", text))
    return out


def _calibration(found: RunFiles, dense: Dense) -> list[Worry]:
    """Tell of probabilities that are too high or too low by more than their error, which is clustered by group."""
    if dense.target.kind == "regression":
        return []
    stated, true = sureness(dense.where(dense.scorable))
    apart = (stated - true).reshape(int(dense.scorable.sum()), -1).mean(axis=1)
    lean = float(apart.mean())
    names, group = np.unique(found.groups(dense.row_ids)[dense.scorable].astype(str), return_inverse=True)
    error = math.sqrt(float((np.bincount(group, apart - lean) ** 2).sum())) / len(apart)
    if abs(lean) < LEAN or abs(lean) < 2 * error or len(names) < 3:
        return []
    side = "higher" if lean > 0 else "lower"
    name = f"of {dense.target.name} " if len(found.targets) > 1 else ""
    text = f"The predicted probabilities {name}are {100 * abs(lean):.0f} points {side} than the share that is correct, on average."
    return [Worry("Calibration", text)]


def _folds(found: RunFiles, dense: Dense) -> list[Worry]:
    """Tell of folds whose figures differ by more than their errors explain (Cochran's Q).

    Source: Cochran 1954, Biometrics 10, 101, doi 10.2307/3001666.
    """
    from scipy.stats import chi2

    head = found.metrics.get("headline") or {}
    metric = head["metric"] if head.get("target") == dense.target.name else metrics.default_metric(dense.target)
    groups, weight, measured = found.groups(dense.row_ids), found.weight(dense.row_ids), []
    for fold in sorted({int(f) for f in dense.fold[dense.scorable]}):
        rows = dense.scorable & (dense.fold == fold)
        part = dense.where(rows)
        kept = None if weight is None else weight[rows]
        one = intervals.interval(metric, part.target, part.p, part.y, groups[rows], weight=kept, answer=part.answer)
        if one.standard_error and math.isfinite(one.value) and count_groups(groups[rows]) >= intervals.FEWEST:
            measured.append((fold, one.value, one.standard_error))
    if len(measured) < 2:
        return []
    value, error = np.array([v for _, v, _ in measured]), np.array([e for _, _, e in measured])
    mean = np.average(value, weights=error**-2)
    p = float(chi2.sf((((value - mean) / error) ** 2).sum(), len(value) - 1))
    if p >= ODD:
        return []
    least, most = int(value.argmin()), int(value.argmax())
    said = f"{words.number(value[least])} in fold {measured[least][0]} and {words.number(value[most])} in fold {measured[most][0]}"
    text = (
        f"The {words.metric_name(metric)} {f'of {dense.target.name} ' if len(found.targets) > 1 else ''}differs between folds by more than "
        f"their size explains: {said}. Groups differ; new data may, too."
    )
    return [Worry("Folds differ", text)]


def _absent(found: RunFiles, counts: dict[str, int]) -> list[Worry]:
    """Tell of rows that are not in the figures, and of files that are gone since."""
    out = []
    for key, (one, many) in NOT_SCORED.items():
        if n := int(counts.get(key) or 0):
            out.append(Worry("Not scored", f"{plural(n, 'image')} {one if n == 1 else many}."))
    gone = [] if found.manifest is None else places.absent(found.manifest)
    if gone and found.manifest is not None:
        text = (
            f"The files of {plural(len(gone), 'row')} are no longer in {found.manifest.root} and are not shown; "
            "no figure depends on them. If the data moved: tapetum report RUN --data DIR."
        )
        out.append(Worry("Moved", text))
    return out
