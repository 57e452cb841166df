"""Test rows answered by the frozen pipeline itself, so that a submission is what the pipeline predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tapetum.core import files, metrics
from tapetum.core.marks import TEST, texts
from tapetum.core.metrics import headline_metric
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.core.words import plural, verb
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import Rows
from tapetum.workflow.session import Session
from tapetum.workflow.stages.decide import source_of
from tapetum.workflow.stages.measure import everywhere, interval_of

if TYPE_CHECKING:
    from tapetum.pipeline.combine import Answered

BEFORE_STEPS = "test-before-steps.parquet"  # the test rows' answers before the decision steps, where there are any
ARRAYS = "arrays"  # folder of each member's probabilities as NumPy arrays, where predict.arrays asks for them
ON_TEST = "test rows"  # name of the figures on test rows that have a truth
SINGLE_VIEWS = "test rows, single views"  # the mean over views, each scored by itself


def answer_test_rows(session: Session, figures: dict[str, Any]) -> None:
    """Write test.parquet with the pipeline's answers for the manifest's test rows.

    Args:
        session: whose run has its pipeline.
        figures: metrics.json; the scores of test rows that have a truth are added, and nothing was chosen on them.
    """
    run, prepared, recipe, record = session.run, session.prepared, session.recipe, session.log
    if not len(prepared.test):
        return
    from tapetum.pipeline import Pipeline
    from tapetum.pipeline.combine import combine

    pipeline = Pipeline.load(run.pipeline)
    shown = np.union1d(prepared.test, np.flatnonzero(prepared.manifest.beside_test))
    asked = np.isin(shown, prepared.test)  # the others are their neighbours alone
    part = prepared.manifest.where(prepared.test)

    def keep(by_member: Answered, rows: Rows) -> None:
        if recipe.predict.arrays:
            _write_arrays(run, by_member, pipeline.scored, asked)
        if before := without_steps(pipeline.decisions):
            undecided = {name: d.where(asked) for name, d in combine(before, pipeline.scored, by_member, rows).items()}
            _table(session, pipeline.decisions, undecided).write(run.file(BEFORE_STEPS))
        else:
            files.remove(run.file(BEFORE_STEPS))

    found = pipeline.answer(prepared.manifest.where(shown), record, told=keep)
    answered = {name: dataclasses.replace(d.where(asked), y=part.truth(name)) for name, d in found.items()}
    draws = {member: {name: p[:, asked] for name, p in kept.items()} for member, kept in pipeline.draws.items()}
    others, rows = [f for f in figures["figures"] if f["name"] not in (ON_TEST, SINGLE_VIEWS)], Rows.of(part)
    figures["figures"] = [*others, *_scores(answered, rows, record), *_single_views(answered, draws, rows, record)]
    carried = texts(everywhere(prepared, recipe))
    figures["figures"] = [{**f, "marks": carried} if f["how"] == TEST else f for f in figures["figures"]]
    files.write_json(run.file("metrics.json"), figures)
    _table(session, pipeline.decisions, answered).write(run.file("test.parquet"))


def without_steps(decisions: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return decisions.json without its decision steps; None where it has none."""
    if not any(fitted["steps"] for fitted in decisions["steps"].values()):
        return None
    steps = {name: {**fitted, "steps": [], "final": {**fitted["final"], "steps": []}} for name, fitted in decisions["steps"].items()}
    return {**decisions, "steps": steps}


def _table(session: Session, decisions: Mapping[str, Any], answered: Mapping[str, Dense]) -> Predictions:
    """Return the test rows' answers as a table of predictions."""
    hashes: dict[str, Any] = {"manifest_hash": session.manifest.content_hash(), "recipe_hash": session.recipe.hash()}
    return Predictions.concat(
        [Predictions.from_dense(d, source=source_of(d.target, decisions), role="test", **hashes) for d in answered.values()]
    )


def _write_arrays(run: Run, answered: Answered, targets: Mapping[str, Target], asked: np.ndarray) -> None:
    """Write each member's probabilities of the rows asked for, the mean of its folds, as NumPy arrays; name rows, classes, folds."""
    folder = run.file(ARRAYS)
    described: dict[str, Any] = {}
    for member, by_fold in answered.items():
        first = next(iter(by_fold.values()))
        for name in (name for name in first if name in targets):
            dense = mean_of([by_fold[fold][name] for fold in by_fold]).where(asked)
            file = f"{files.plain_name(member)}.{files.plain_name(name)}.npy"
            files.write_array(folder / file, dense.p)
            described[file] = {"member": member, "target": name, "classes": list(targets[name].classes), "folds": list(by_fold)}
            rows = dense.row_ids.tolist()
    files.write_json(folder / "arrays.json", {"arrays": described, "rows": rows})


def _single_views(
    answered: Mapping[str, Dense], draws: Mapping[str, Mapping[str, np.ndarray]], rows: Rows, record: Record
) -> list[dict[str, Any]]:
    """Return the mean of the scores of single test-time views, where one member kept them (``predict.keep_draws``).

    Several evaluations of each image can be put together in two ways: here each is scored and the scores are averaged; the answer
    itself averages their probabilities and is scored once.
    """
    kept = [views for views in draws.values() if views]
    if len(draws) != 1 or not kept:
        return []
    found: list[dict[str, Any]] = []
    for name, dense in answered.items():
        know = dense.scorable
        if dense.answer is not None or not know.any() or name not in kept[0]:
            continue
        metric = headline_metric(dense.target)
        inside = rows.where(know)
        weight = inside.weight
        each = [metrics.score(metric, dense.target, p[know], dense.y[know], weight) for p in kept[0][name]]
        known = [value for value in each if value is not None]
        if known:
            value = float(np.mean(known))
            spread = {"low": None, "high": None, "n": int(know.sum()), "groups": len(set(inside.groups.tolist()))}
            found.append({"target": name, "name": SINGLE_VIEWS, "metric": metric, "how": TEST, "value": value, **spread})
            low, high = min(known), max(known)
            record(f"{metric} of {plural(len(known), 'single view')} of the test rows: mean {value:.4f}, from {low:.4f} to {high:.4f}")
    return found


def _scores(answered: Mapping[str, Dense], rows: Rows, record: Record) -> list[dict[str, Any]]:
    """Return the figures of the test rows whose truth is known, target by target; none where there is none."""
    found: list[dict[str, Any]] = []
    for name, dense in answered.items():
        if not dense.scorable.any():
            continue
        for metric in dict.fromkeys([headline_metric(dense.target), metrics.default_metric(dense.target)]):
            value = interval_of(metric, dense, rows)
            found.append({"target": name, "name": ON_TEST, "metric": metric, "how": TEST, **value})
        known = int(np.count_nonzero(dense.scorable))
        record(
            f"{known} of {plural(len(dense.row_ids), 'test row')} {verb(known, 'has', 'have')} a "
            f"known {name!r}: they are scored apart, and nothing is chosen on them"
        )
    return found
