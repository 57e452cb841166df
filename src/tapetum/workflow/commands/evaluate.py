"""A finished pipeline on labelled images that it may never have seen: figures with intervals, tables by class, rows counted apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tapetum.core import columns, counts, intervals, metrics, places
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.known import read_known
from tapetum.core.monitor import prior_answer, prior_decision
from tapetum.core.runs import Record
from tapetum.core.tables import Dense, Manifest, decided
from tapetum.core.words import plural, verb
from tapetum.data.audit import exact_duplicates, hashes_of
from tapetum.data.images.decode import Composition
from tapetum.data.layouts.labelled import Wanted, place_of, read_columns, read_truth
from tapetum.data.split import join_duplicates
from tapetum.decide.steps import Rows
from tapetum.workflow.commands.evaluation_files import Evaluated
from tapetum.workflow.stages.measure import interval_of

if TYPE_CHECKING:
    from tapetum.pipeline import Pipeline

UNSEEN, KNOWN, PRIOR = "unseen images", "images known from training", "prior"


def evaluate(
    pipeline: Pipeline,
    source: Any,
    record: Record,
    *,
    target: Sequence[str] = (),
    split: str | None = None,
    on_bad: str | None = None,
    **declared: Any,
) -> Evaluated:
    """Answer labelled images and score the answers.

    Args:
        pipeline: loaded.
        source: a folder, a table, an archive, or a polars or pandas frame.
        record: receives messages about how the source is read, and what is missing, unknown or known from training.
        target: which targets, and the column of each truth that is called otherwise: ``TARGET`` or ``TARGET=COLUMN``.
        split: the part of the data to take, as ``test``.
        on_bad: ``refuse`` refuses images that cannot be read; ``skip`` counts rows of a class that the pipeline does not know as
            unlabelled.
            None: the first are counted as missing, the second are refused.
        declared: ``path``, ``id``, ``group``, ``sequence``, ``position`` and ``layout`` as for prediction.

    Raises:
        UserError: no column holds a truth.
        DataError: a class that the pipeline does not know, or no row that can be scored.
    """
    if on_bad not in (None, "refuse", "skip"):
        raise UserError(f"on_bad is {on_bad!r}", need="refuse or skip")
    targets = tuple(pipeline.targets.values())
    how = {key: value for key, value in declared.items() if value is not None} | ({"on_bad": on_bad} if on_bad else {})
    wanted = Wanted(targets, read_columns(target, targets), split, on_bad == "skip", how)
    manifest = read_truth(source, Data.model_validate(pipeline.spec["data"]), wanted, record)
    if len(places.absent(manifest)) == len(manifest):
        raise DataError(
            f"{place_of(source)}: none of the files of its {plural(len(manifest), 'image')} is there (the first is {manifest.paths(0)[0]})",
            need="paths that start from the folder of the table",
            fix="move the table to the folder that its paths start from, or correct the paths",
        )
    manifest = _hashed(manifest, Composition.from_input(pipeline.members[0].settings), record)
    pipeline = pipeline.for_rows(manifest, log=record)
    answered = pipeline.answer(manifest, record, record.share("predicting"))
    problems = {manifest.row_ids[row]: why for row, why in sorted(pipeline.problems.items())}
    if problems and on_bad == "refuse":
        named = listed(f"{row_id} ({why})" for row_id, why in problems.items())
        raise DataError(f"{len(problems)} of {plural(len(manifest), 'image')} cannot be read: {named}", fix="repair or remove them")
    asked = set(wanted.columns) or {t.name for t in manifest.targets}
    scored = [t for t in manifest.targets if t.scored and t.name in asked]
    answers = {t.name: dataclasses.replace(answered[t.name], y=manifest.truth(t.name)) for t in scored}
    if not any(dense.scorable.any() for dense in answers.values()):
        if all(np.isnan(dense.y).any(axis=1).all() for dense in answers.values()):
            need = f"labels of {listed(answers)}, in a column or as class folders"
            raise DataError(f"{place_of(source)}: no row has a label", need=need)
        raise DataError(f"{place_of(source)}: no row has both a label and a prediction", fix="check the images")
    listing = read_known(pipeline.folder)
    hashes = manifest.frame["sha256"].to_list()
    known = np.array([listing is not None and one in listing for one in hashes], dtype=bool)
    figures = _figures(answers, manifest, known)
    figures["marks"] = _marks(manifest, known, listing is not None, record)
    figures["known"] = [row_id for row_id, is_known in zip(manifest.row_ids, known, strict=True) if is_known]
    figures["problems"] = problems
    return Evaluated(figures, manifest, answers, known, problems)


def _hashed(manifest: Manifest, how: Composition, record: Record) -> Manifest:
    """Return the rows with their content hashes; rows of the same content share a group, but for blank images."""
    hashes = hashes_of(manifest)
    manifest = manifest.with_column("sha256", hashes) if any(hashes) else manifest
    return join_duplicates(manifest, exact_duplicates(manifest, hashes, how, record), record)


def _figures(answers: Mapping[str, Dense], manifest: Manifest, known: np.ndarray) -> dict[str, Any]:
    """Return headline, counts, figures, tables by class and confusion matrices; the leading rows are the unseen ones."""
    rows = Rows.of(manifest)
    parts = [(UNSEEN, "test", ~known), (KNOWN, "in-sample", known)]
    parts = [part for part in parts if part[2].any()]
    figures: list[dict[str, Any]] = []
    per_class, confusion = {}, {}
    for name, dense in answers.items():
        for i, (label, how, mask) in enumerate(parts):
            part, inside = dense.where(mask), rows.where(mask)
            series = [(label, how, part)]
            if i == 0 and part.scorable.any():
                weight = None if inside.weight is None else inside.weight[part.scorable]
                prior = np.where(part.ok[:, None], prior_answer(dense.target, part.y[part.scorable], weight)[:1], np.nan)
                series.append((PRIOR, "baseline", dataclasses.replace(part.with_p(prior), answer=prior_decision(dense.target, prior))))
                per_class[name] = _per_class(part, inside)
                if (matrix := _confusion(part)) is not None:
                    confusion[name] = matrix
            for title, kind, one in series:
                for metric in metrics.shown(dense.target):
                    figures.append({"target": name, "name": title, "metric": metric, "how": kind, **interval_of(metric, one, inside)})
    first = next(iter(answers.values()))
    return {
        "headline": {"target": first.target.name, "metric": metrics.headline_metric(first.target)},
        "counts": {
            "rows": len(manifest),
            "groups": len(set(manifest.groups.tolist())),
            "ok": int(first.ok.sum()),
            "missing": int((first.status == "missing").sum()),
            "unknown": {name: int(np.isnan(d.y).any(axis=1).sum()) for name, d in answers.items()},
            "scored": {name: int(d.scorable.sum()) for name, d in answers.items()},
            "known": int(known.sum()),
        },
        "figures": figures,
        "per_class": per_class,
        "confusion": confusion,
    }


def _per_class(dense: Dense, rows: Rows) -> list[dict[str, Any]]:
    know = dense.scorable
    inside, answer = rows.where(know), None if dense.answer is None else dense.answer[know]
    return intervals.per_class_intervals(dense.target, dense.p[know], dense.y[know], inside.groups, weight=inside.weight, answer=answer)


def _confusion(dense: Dense) -> dict[str, Any] | None:
    """Return classes and counts (truth down, answer across); several labels: right and wrong of each class; None for numbers."""
    part = dense.where(dense.scorable)
    if dense.target.kind == "regression":
        return None
    predicted, truth = decided(part), part.y
    if dense.target.kind == "multi":
        cells = {"tp": predicted * truth, "fp": predicted * (1 - truth), "fn": (1 - predicted) * truth, "tn": (1 - predicted) * (1 - truth)}
        return {"classes": list(dense.target.classes), **{key: value.sum(axis=0).astype(int).tolist() for key, value in cells.items()}}
    matrix = counts.confusion(truth.argmax(axis=1), predicted.argmax(axis=1), dense.target.width)
    return {"classes": list(dense.target.classes), "matrix": matrix.astype(int).tolist()}


def _marks(manifest: Manifest, known: np.ndarray, has_list: bool, record: Record) -> list[str]:
    """Return the marks of the figures, and log them."""
    marks = []
    if not has_list:
        marks.append("this pipeline has no list of its training images, so rows known from training are not told apart")
    elif known.all():
        marks.append(
            f"all {plural(len(known), 'row is', 'rows are')} known from training: every figure is in-sample, none is of unseen images"
        )
    elif known.any():
        names = listed(row_id for row_id, is_known in zip(manifest.row_ids, known, strict=True) if is_known)
        marks.append(
            f"{int(known.sum())} of {plural(len(known), 'row')} {verb(int(known.sum()), 'is', 'are')} "
            f"known from training and scored apart, in-sample: {names}"
        )
    for mark in marks:
        record(mark)
    return marks


def summary(found: Evaluated) -> str:
    """Return the result as at most eight lines: the leading figures with intervals, the baselines, counts and marks."""
    figures, lines = found.figures["figures"], []
    lead = figures[0]["name"]
    targets = list(found.answers)
    for name in targets[:4]:
        leading = [f for f in figures if f["target"] == name and f["name"] == lead]
        prior = {f["metric"]: f for f in figures if f["target"] == name and f["name"] == PRIOR}
        for f in leading[: 3 if len(targets) == 1 else 1]:
            base = prior.get(f["metric"], {}).get("value")
            beside = "" if base is None else f"  (baseline {base:.4f})"
            how = ", in-sample," if f["how"] == "in-sample" else ""
            lines.append(f"{name} {f['metric']}: {_value(f)}{how} on {f['n']} {lead} in {plural(f['groups'], 'group')}{beside}")
    if len(targets) > 4:
        lines.append(f"… {plural(len(targets) - 4, 'more target')}: see --json or --report")
    n = found.figures["counts"]
    lines.append(
        f"{plural(n['rows'], 'row')}: {n['missing']} missing, {_unknown(n['unknown'])} without a label, {n['known']} known from training"
    )
    lines += found.figures["marks"]
    apart = [
        f
        for f in figures
        if f["name"] == KNOWN and lead != KNOWN and f["metric"] == metrics.headline_metric(found.answers[f["target"]].target)
    ]
    lines += [f"{f['target']} {f['metric']}, in-sample: {_value(f)} on {f['n']} {KNOWN}" for f in apart[:1]]
    return "\n".join(lines)


def details(found: Evaluated, most: int = 15) -> str:
    """Return the table by class of each target and, up to ``most`` classes, its confusion matrix (truth down, answer across)."""
    blocks = []
    for name, rows in found.figures["per_class"].items():
        if rows:
            head = [f"{name}: class", "n", "predicted", "precision", "recall", "f1"]
            body = [[row["class"], str(row["n"]), str(row["predicted"]), *(_ranged(row, key) for key in head[3:])] for row in rows]
            blocks.append(_columns([head, *body]))
        matrix = found.figures["confusion"].get(name, {}).get("matrix")
        if matrix is not None and len(matrix) <= most:
            classes = found.figures["confusion"][name]["classes"]
            blocks.append(
                _columns([["label ↓ prediction →", *classes], *([c, *map(str, line)] for c, line in zip(classes, matrix, strict=True))])
            )
    return "\n\n".join(blocks)


def _columns(lines: Sequence[Sequence[str]]) -> str:
    return columns.aligned(lines, right=range(1, len(lines[0])))


def _value(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "not defined"
    if figure["low"] is None:
        return f"{figure['value']:.4f} ({figure.get('method') or 'no interval'})"
    return f"{figure['value']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"


def _ranged(row: Mapping[str, Any], key: str) -> str:
    bounds = "" if row[f"{key}_low"] is None else f" [{row[f'{key}_low']:.2f}, {row[f'{key}_high']:.2f}]"
    return f"{row[key]:.3f}{bounds}"


def _unknown(unknown: Mapping[str, int]) -> str:
    return str(next(iter(unknown.values()))) if len(unknown) == 1 else ", ".join(f"{name} {n}" for name, n in unknown.items())
